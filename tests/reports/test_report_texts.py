"""CSV, Markdown, JSON and JUnit XML: right for their readers, harmless whatever stands in the catalogue."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import Element

import pytest
from defusedxml.ElementTree import parse
from report_samples import HOSTILE, START, Row, again, failed, hostile_rows, info_of, stored

from runner.errors import UsageError
from runner.model import JSON, JobRow, MediaKind, State
from runner.reports import FORMATS, write_reports
from runner.reports.as_csv import COLUMNS, neutral
from runner.reports.as_markdown import escaped

TEXTS = ("markdown", "json", "csv", "junit")


def written(folder: Path, rows: list[JobRow], name: str, *, campaign: str = "spring") -> str:
    """One format's text, as bytes on disk say it."""
    paths = write_reports(info_of(folder, campaign=campaign), again(rows), folder, formats=(name,))
    return paths[name].read_bytes().decode("utf-8")


# ------------------------------------------------------------------------------------------------------ the door


def test_all_formats_are_written_where_they_belong(tmp_path: Path) -> None:
    """The answer names every file, and nothing half-written is left beside them."""
    paths = write_reports(info_of(tmp_path), again([Row().made()]), tmp_path)
    assert {name: path.relative_to(tmp_path).as_posix() for name, path in paths.items()} == {
        "html": "index.html",
        "markdown": "report.md",
        "json": "report.json",
        "csv": "jobs.csv",
        "junit": "junit.xml",
    }
    assert set(paths) == set(FORMATS)
    assert all(path.is_file() for path in paths.values())
    assert not list(tmp_path.rglob("*.part*"))


def test_an_unknown_format_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    """The message says what was probably meant; the folder stays as it was."""
    with pytest.raises(UsageError) as caught:
        write_reports(info_of(tmp_path), again([]), tmp_path / "out", formats=("json", "markdwn"))
    assert "markdown" in caught.value.hint
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_a_usage_error(tmp_path: Path) -> None:
    """A file where the folder should be is said in words."""
    (tmp_path / "taken").write_text("x")
    with pytest.raises(UsageError, match="cannot be written"):
        write_reports(info_of(tmp_path), again([]), tmp_path / "taken" / "deeper", formats=("csv",))


def test_a_failed_report_leaves_the_old_one(tmp_path: Path) -> None:
    """When the ledger cannot be read to the end, the file of the last report stays whole."""
    before = written(tmp_path, [Row().made()], "csv")
    passes = iter((again([Row().made()])(), failing()))
    with pytest.raises(ValueError, match="torn"):
        write_reports(info_of(tmp_path), passes.__next__, tmp_path, formats=("csv",))
    assert (tmp_path / "jobs.csv").read_bytes().decode() == before
    assert [path.name for path in tmp_path.iterdir()] == ["jobs.csv"]


def failing() -> Iterator[JobRow]:
    """A ledger that breaks after its first job."""
    yield Row().made()
    raise ValueError("torn")


@pytest.mark.parametrize("name", TEXTS)
def test_the_same_ledger_gives_the_same_report(tmp_path: Path, name: str) -> None:
    """No clock and no chance in a report."""
    rows = [Row().made(), failed("no")]
    assert written(tmp_path, rows, name) == written(tmp_path, rows, name)


@pytest.mark.parametrize("name", TEXTS)
def test_an_empty_campaign_can_be_reported(tmp_path: Path, name: str) -> None:
    """Nothing planned yet still makes a valid file."""
    assert written(tmp_path, [], name)


# ----------------------------------------------------------------------------------------------------------- CSV


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "' =1"),
        ("\r=1", "'\n=1"),
        ("\tplain", "' plain"),
        ("\x00=1", "'=1"),
        ("\u202e=1", "'=1"),
        ("  =1", "'  =1"),
        ("\n=1", "'\n=1"),
        ("＝1", "'＝1"),
        ("plain", "plain"),
        ("a=b", "a=b"),
        ("", ""),
        ("a\x1b[0mb", "a[0mb"),
        ("a\r\nb", "a\nb"),
    ],
)
def test_formulas_are_neutralised(text: str, expected: str) -> None:
    """No text can begin as a formula, hidden behind a control character or not."""
    assert neutral(text) == expected


def test_csv_can_be_read_back(tmp_path: Path) -> None:
    """Every row has every column; texts keep commas, quotes and newlines; numbers are bare; times are ISO."""
    row = Row(title='a "b", c\nd; =1', actual=-2.5, times=(0, 10, 70, 75), cell=(("ratio", "9x16"), ("voice", "a,b"))).made()
    text = written(tmp_path, [row], "csv")
    (found,) = list(csv.DictReader(text.splitlines(keepends=True), strict=True))
    assert tuple(found) == COLUMNS
    assert found["title"] == 'a "b", c\nd; =1'
    assert found["cell"] == "ratio=9x16,voice=a,b"
    assert (found["credits_actual"], found["processing_seconds"]) == ("-2.5", "60.0")
    assert ",-2.5," in text
    assert found["submitted_at"] == "2025-10-09T08:53:20Z"
    assert text.startswith('"key",')
    assert text.endswith("\r\n")


def test_csv_of_hostile_rows_is_harmless(tmp_path: Path) -> None:
    """Whatever stands in the catalogue: the right number of cells, no formula, no control character."""
    rows = hostile_rows()
    text = written(tmp_path, rows, "csv")
    cells = list(csv.reader(text.splitlines(keepends=True), strict=True))
    assert len(cells) == len(rows) + 1
    for line in cells:
        assert len(line) == len(COLUMNS)
        for cell in line:
            assert cell.lstrip()[:1] not in tuple("=+-@")
            assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", cell)


# ------------------------------------------------------------------------------------------------------ Markdown


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_text_has_no_live_sign(text: str) -> None:
    """Pipes, backticks, brackets, HTML, mentions and bare links are all taken out of action; it stays one line."""
    found = escaped(text)
    assert "\n" not in found
    assert "<" not in found
    assert ">" not in found
    assert not re.search(r"(?<!\\)(?:\\\\)*[|`\[\]*_()]", found)
    assert "://" not in found
    assert not re.search(r"@\w|www\\?\.", found)


def test_markdown_is_short_and_says_what_matters(tmp_path: Path) -> None:
    """Totals, targets, lanes, failures with advice; links only to reports that exist."""
    rows = [Row(actual=11).made(), failed("too | small", product="P|2")]
    text = written(tmp_path, rows, "markdown", campaign="a_b <c>")
    assert text.startswith("# a\\_b &lt;c&gt;\n")
    assert "**1 of 2 jobs succeeded**" in text
    assert "| clip | 2 | 1 | 1 | 0 |" in text
    assert "too \\| small" in text
    assert "](" not in text
    both = write_reports(info_of(tmp_path), again(rows), tmp_path, formats=("markdown", "csv"))
    assert "[CSV](jobs.csv)" in both["markdown"].read_text()
    assert "index.html" not in both["markdown"].read_text()


def test_markdown_tables_keep_their_columns(tmp_path: Path) -> None:
    """Every line of a table has as many cells as its head, whatever the texts are."""
    rows = hostile_rows() + [failed(text, product=text) for text in HOSTILE]
    text = written(tmp_path, rows, "markdown")
    width = 0
    for line in text.splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line.replace("\\\\", "")))
        if line.startswith("|"):
            width = width or cells
            assert cells == width, line
        else:
            width = 0
    assert len(text) < 30_000


def test_markdown_names_a_rehearsal_and_halted_lanes(tmp_path: Path) -> None:
    """Nobody can take a rehearsal for the real thing, or miss why the run stopped."""
    info = info_of(tmp_path, rehearsal=True, halted={"kling": "no `credit`"})
    text = write_reports(info, again([]), tmp_path, formats=("markdown",))["markdown"].read_text()
    assert "**REHEARSAL:**" in text
    assert "**kling is halted.** no \\`credit\\`." in text


# ---------------------------------------------------------------------------------------------------------- JSON


def test_json_keeps_everything(tmp_path: Path) -> None:
    """Schema 1: campaign, summary and one object per job, with texts unchanged and unknown numbers null."""
    row = Row(title="Łódź </script>", params={"a": [1, {"b": None}], "big": 2**70}, times=(0, 10, 70, 75)).made()
    document = json.loads(written(tmp_path, [row, failed("why")], "json"))
    assert document["schema"] == 1
    assert document["campaign"]["name"] == "spring"
    assert document["campaign"]["as_of"] == START + 3600
    good, bad = document["jobs"]
    assert good["title"] == "Łódź </script>"
    assert good["params"] == {"a": [1, {"b": None}], "big": 2**70}
    assert good["error"] is None
    assert bad["error"]["message"] == "why"
    assert good["processing_seconds"] == 60
    assert good["credits_actual"] is None
    assert document["summary"]["states"] == {"succeeded": 1, "failed": 1}
    assert document["summary"]["targets"][0]["open"] == 0
    assert document["summary"]["failures"][0]["count"] == 1


def test_json_of_hostile_rows_is_strict(tmp_path: Path) -> None:
    """No NaN, no lone surrogate, no bottomless nesting: any JSON reader takes it."""
    bottomless: JSON = "x"
    for _ in range(3000):
        bottomless = [bottomless]
    row = replace(Row(params={"a": math.inf, "deep": bottomless}).made(), credits_actual=math.nan)
    text = written(tmp_path, [*hostile_rows(), row], "json")
    document = json.loads(text, parse_constant=pytest.fail)
    assert len(document["jobs"]) == len(HOSTILE) + 1
    assert document["jobs"][-1]["params"]["a"] is None


# --------------------------------------------------------------------------------------------------------- JUnit


def root_of(folder: Path) -> Element:
    """The document as an ordinary reader sees it."""
    root = parse(folder / "junit.xml").getroot()
    assert root is not None
    return root


def first(parent: Element, path: str) -> Element:
    """The first element there."""
    found = parent.find(path)
    assert found is not None
    return found


def number_in(element: Element, name: str) -> int:
    """An attribute that is a number."""
    return int(element.get(name, "none"))


def test_junit_maps_states_to_verdicts(tmp_path: Path) -> None:
    """Failed is a failure, uncertain an error, everything unfinished or skipped is skipped; counts agree with cases."""
    rows = [Row(state=state, product=f"{state}", target="a" if place % 2 else "b").made() for place, state in enumerate(State)]
    rows[list(State).index(State.FAILED)] = replace(rows[0], state=State.FAILED, error_class="refused", error_message="a\n<b>")
    written(tmp_path, rows, "junit")
    root = root_of(tmp_path)
    assert root.tag == "testsuites"
    assert {suite.get("name") for suite in root} == {"a", "b"}
    totals = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    for suite in root:
        assert number_in(suite, "tests") == len(suite.findall("testcase"))
        for count, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert number_in(suite, count) == len(suite.findall(f"testcase/{tag}"))
        for count in totals:
            totals[count] += number_in(suite, count)
    assert totals == {"tests": 12, "failures": 1, "errors": 1, "skipped": 9}
    assert {name: number_in(root, name) for name in totals} == totals
    failure = first(root, ".//failure")
    assert (failure.get("type"), failure.get("message")) == ("refused", "a <b>")
    assert "a\n<b>" in (failure.text or "")


def test_junit_groups_jobs_that_come_mixed(tmp_path: Path) -> None:
    """Jobs of several targets in any order end in one suite each, with artifacts named and the time taken."""
    artifact = stored(tmp_path, "x/y & z.mp4", MediaKind.VIDEO)
    rows = [Row(target="ab"[n % 2], product=f"{n}", artifacts=(artifact,), times=(0, 1, 2, 2.5)).made() for n in range(6)]
    written(tmp_path, rows, "junit")
    root = root_of(tmp_path)
    assert sorted([case.get("name") for case in suite] for suite in root) == [["a/0", "a/2", "a/4"], ["b/1", "b/3", "b/5"]]
    case = first(root, ".//testcase")
    assert case.get("time") == "2.500"
    assert case.get("classname") == "spring.a"
    assert "x/y & z.mp4" in (first(case, "system-out").text or "")
    assert root.get("time") == "15.000"


def test_junit_of_hostile_rows_is_well_formed(tmp_path: Path) -> None:
    """Characters that XML cannot hold are gone; everything else is escaped."""
    rows = hostile_rows() + [failed(text, product=text, error_class=text, cause=text) for text in HOSTILE]
    written(tmp_path, rows, "junit", campaign=HOSTILE[7] + "\ufffe")
    root = root_of(tmp_path)
    assert len(list(root.iter("testcase"))) == len(rows)
