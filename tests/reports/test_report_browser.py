"""The HTML report in a real browser, opened from disk: cards come from the data, hostile text stays text."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from report_samples import HOSTILE, Row, again, failed, hostile_rows, info_of, still, video

from runner.model import JobRow
from runner.reports import write_reports

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")]


def dumped(folder: Path, rows: list[JobRow], fragment: str = "") -> str:
    """The page's document after its scripts have run."""
    index = write_reports(info_of(folder), again(rows), folder / "report", formats=("html",))["html"]
    done = subprocess.run(
        [
            str(BROWSER),
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
            *("--disable-background-networking", "--disable-component-update", f"--user-data-dir={folder / 'profile'}"),
            *("--virtual-time-budget=5000", "--window-size=1280,1600", "--enable-logging=stderr", "--dump-dom"),
            index.as_uri() + fragment,
        ],
        capture_output=True,
        check=True,
        timeout=90,
    )
    complaints = [line for line in done.stderr.decode("utf-8", "replace").splitlines() if "CONSOLE" in line]
    assert complaints == []
    return done.stdout.decode("utf-8")


def test_cards_are_drawn_from_the_data(tmp_path: Path) -> None:
    """From a file address, under the policy: a still, a video with its poster, and a reason for the failed one."""
    rows = [
        Row(target="still", artifacts=(still(tmp_path, "a b/ü#1.png"),)).made(),
        Row(artifacts=(video(tmp_path, "a b/clip.mp4"),)).made(),
        failed("the <b>picture</b> is too small"),
    ]
    page = dumped(tmp_path, rows)
    assert page.count('<article class="card') == 3
    assert 'src="../artifacts/a%20b/%C3%BC%231.png"' in page
    assert 'loading="lazy"' in page
    assert re.search(
        r'<video preload="none" controls="" [^>]*muted="" playsinline="" [^>]*poster="posters/[0-9a-f]{64}.jpg"', page
    )
    assert "the &lt;b&gt;picture&lt;/b&gt; is too small" in page
    assert ">3 jobs<" in page


def test_hostile_text_does_not_run(tmp_path: Path) -> None:
    """Scripts, handlers and addresses from the catalogue are shown as text."""
    rows = [*hostile_rows(), *(failed(text, product=text) for text in HOSTILE)]
    page = dumped(tmp_path, rows, "#job=1")
    assert "<title>pwned" not in page
    assert "<title>spring" in page
    assert "onerror=" not in re.sub(r">[^<]*<|\"[^\"]*\"", "", page)
    assert page.count('<article class="card') == len(rows)
    assert '<dialog id="job" aria-labelledby="job-title" open=""' in page
    assert "&lt;/script&gt;" in page


def test_filters_come_from_the_address(tmp_path: Path) -> None:
    """A shared link shows the same selection."""
    rows = [Row(product=f"P{n}", title=f"Thing {n}").made() for n in range(5)]
    page = dumped(tmp_path, rows, "#text=thing+3")
    assert page.count('<article class="card') == 1
    assert "1 of 5 jobs" in page


def test_many_jobs_are_drawn_a_page_at_a_time(tmp_path: Path) -> None:
    """Ten thousand jobs do not become ten thousand cards at once."""
    rows = [Row(product=f"P{n}").made() for n in range(10_000)]
    page = dumped(tmp_path, rows)
    assert 60 <= page.count('<article class="card') <= 600
    assert "10,000 jobs" in page
    assert "Show more" in page
