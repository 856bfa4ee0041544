"""``status`` tells the truth about runs in every condition, from the ledger alone."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from command_line import callsheet

from runner import events as ev
from runner.commands import invoke
from runner.ledger import Ledger

MANIFEST = """\
callsheet: 1
name: shop
catalogue:
  products: [{ sku: A, link: "https://cdn.example.com/a.png" }]
  key: sku
targets:
  still:
    uses: creatify/product-image
    with: { product_url: "{{ product.link }}" }
"""
NOW = 1_770_000_000.0


def planned(name: str) -> ev.Planned:
    """A job of the target ``still``."""
    return ev.Planned(
        job=f"still/{name}",
        at=NOW,
        target="still",
        product=name,
        operation="creatify/product-image",
        lane="creatify",
        fingerprint="f",
        title=name,
        credits=2.0,
    )


def submitted(name: str) -> list[ev.JobEvent]:
    """The job up to its paid request."""
    job = f"still/{name}"
    return [
        planned(name),
        ev.DependenciesMet(job=job, at=NOW),
        ev.SubmitStarted(job=job, at=NOW + 1, attempt=1, key=f"cs-{name}"),
    ]


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    """A campaign that has not run."""
    (tmp_path / "campaign.yaml").write_text(MANIFEST, encoding="utf-8")
    return tmp_path


def opened(campaign: Path) -> Ledger:
    """The campaign's ledger for writing."""
    return Ledger.open(campaign / "runs" / "shop" / "ledger.jsonl", campaign="shop", rehearsal=False, now=NOW, threaded=False)


@pytest.fixture
def troubled(campaign: Path) -> Path:
    """One job of each kind: ready, held, uncertain, running, failed; the account halted; the run killed."""
    with opened(campaign) as ledger:
        ledger.plan([ev.RunStarted(job="", at=NOW, run="r1", limits={"creatify": 4})])
        ledger.plan([planned("ready"), ev.DependenciesMet(job="still/ready", at=NOW)])
        ledger.plan([planned("held"), ev.GateClosed(job="still/held", at=NOW)])
        ledger.plan([*submitted("lost"), ev.SubmitUncertain(job="still/lost", at=NOW + 2, message="no answer")])
        ledger.plan([*submitted("busy"), ev.Accepted(job="still/busy", at=NOW + 2, remote_id="r-1", credits=2.0)])
        refused = ev.SubmitRefused(
            job="still/bad", at=NOW + 2, message="the \x1b[31mpicture\x07 is [bold]too small[/bold]", cause="bad_input", hint=""
        )
        ledger.plan([*submitted("bad"), refused])
        ledger.plan([ev.LaneHalted(job="", at=NOW + 3, lane="creatify", message="no credit left", hint="top up the account")])
    return campaign


def test_before_anything_has_run_it_says_how_to_begin(campaign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 and the command to type, for status and for report; nothing is created by asking."""
    for command in ("status", "report"):
        assert invoke([command, str(campaign)]) == 2
        assert f"begin with: callsheet run {campaign}" in capsys.readouterr().err
    assert not (campaign / "runs").exists()


def test_trouble_is_listed_with_what_to_type(troubled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every kind of waiting job, the halted account and the failure are named; the killed run is called that; exit code 0."""
    assert invoke(["status", str(troubled)]) == 0
    said = capsys.readouterr().out
    for words in ("was killed", "creatify is halted. No credit left. Top up the account.", "--approve TARGET", "--retry failed"):
        assert words in " ".join(said.split()), said
    assert "[bold]too small[/bold]" in said
    assert "\x1b" not in said
    assert "\x07" not in said


def test_the_same_as_json(troubled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """States, credits, halts and advice are there for scripts; a killed run has no end."""
    assert invoke(["status", str(troubled), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["summary"]["states"] == {"ready": 1, "held": 1, "uncertain": 1, "running": 1, "failed": 1}
    assert document["last_run"]["exit_code"] is None
    assert document["halted"] == {"creatify": "No credit left. Top up the account."}
    assert document["credits"] == {"creatify": 4.0}
    assert len(document["next"]) == 6


def test_a_run_under_way_is_named(campaign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """While somebody holds the ledger, status shows process and host and advises to wait; afterwards it does not."""
    with opened(campaign) as ledger:
        ledger.plan([ev.RunStarted(job="", at=NOW, run="r1")])
        assert invoke(["status", str(campaign)]) == 0
        said = capsys.readouterr().out
        assert f"process {os.getpid()} on " in said
        assert "Wait:" in said
    assert invoke(["status", str(campaign), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["running_now"] is None


def test_a_lock_file_left_by_a_crash_is_no_run(campaign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The owner's name alone proves nothing: the process may be gone, the file may be garbage."""
    opened(campaign).close()
    lock = campaign / "runs" / "shop" / "ledger.jsonl.lock"
    for left in (
        b'{"pid":4194305,"host":"gone","since":1.0}\n',
        f'{{"pid":{os.getpid()},"host":"x","since":1}}'.encode(),
        b"\xff{",
    ):
        lock.write_bytes(left)
        assert invoke(["status", str(campaign), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["running_now"] is None


def test_a_damaged_ledger_is_an_error_of_its_own(troubled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 4 with the line's number, for status and report, as text and as JSON."""
    path = troubled / "runs" / "shop" / "ledger.jsonl"
    lines = path.read_bytes().split(b"\n")
    lines[3] = lines[3].replace(b"ready", b"READY")
    path.write_bytes(b"\n".join(lines))
    assert invoke(["status", str(troubled)]) == 4
    assert "line 4" in capsys.readouterr().err
    assert invoke(["report", str(troubled), "--json"]) == 4
    assert json.loads(capsys.readouterr().out)["kind"] == "LedgerCorrupt"


@pytest.mark.parametrize("columns", [40, 60, 120])
def test_no_line_is_wider_than_the_terminal(troubled: Path, columns: int) -> None:
    """At any width the page fits, and without a terminal it has no colours."""
    done = callsheet("status", ".", cwd=troubled, env={"COLUMNS": str(columns)})
    assert done.code == 0, done.err
    assert "\x1b" not in done.out
    assert max(map(len, done.out.splitlines())) <= columns


def test_reports_refuse_an_unknown_format_before_writing(troubled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt format is exit code 2 with a guess, and no folder appears."""
    assert invoke(["report", str(troubled), "--format", "htm"]) == 2
    assert "'html'" in capsys.readouterr().err
    assert not (troubled / "runs" / "shop" / "report").exists()
