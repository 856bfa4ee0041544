"""``junit.xml``: jobs as test cases, so that a CI system shows a campaign as it shows a test run.

One ``testsuite`` per target, one ``testcase`` per job. A failed job is a ``failure`` (type: the error class), an uncertain one an
``error`` (somebody must settle it), everything else that did not succeed is ``skipped`` with its state. Owns this mapping and the
escaping for XML 1.0: characters that XML cannot hold are removed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from html import escape
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, TextIO

from runner.model import JobRow, State
from runner.reports.cleaning import one_line, visible, xml_text
from runner.reports.material import Material
from runner.reports.summary import Group
from runner.reports.wording import STATE_WORDS, timestamp
from runner.reports.writing import replacing

_SPOOL_BYTES = 1_000_000
_MAX_MESSAGE = 2_000


def write_junit(material: Material) -> Path:
    """Write the file and say where. Raises OSError."""
    path = material.path("junit")
    with ExitStack() as stack:
        # Rows come in any order, suites must be whole: each target's cases wait in a file of their own, in one pass.
        spools: dict[str, IO[str]] = {}
        seconds: dict[str, float] = {}
        for row in material.rows():
            if row.target not in spools:
                spools[row.target] = stack.enter_context(_spool())
            spools[row.target].write(_case(material.info.campaign, row))
            seconds[row.target] = seconds.get(row.target, 0.0) + _took(row)
        with replacing(path) as stream:
            _write_suites(stream, material, lambda group: (spools.get(group.name), seconds.get(group.name, 0.0)))
    return path


def _spool() -> IO[str]:
    return SpooledTemporaryFile(max_size=_SPOOL_BYTES, mode="w+", encoding="utf-8", newline="")


def _write_suites(stream: TextIO, material: Material, cases: Callable[[Group], tuple[IO[str] | None, float]]) -> None:
    summary = material.summary
    suites = [(group, *cases(group)) for group in summary.targets]
    total = sum(seconds for _, _, seconds in suites)
    stream.write('<?xml version="1.0" encoding="UTF-8"?>\n')
    stream.write(f"<testsuites{_attributes(name=_named(material), **_counts(summary.states, total))}>\n")
    for group, spool, seconds in suites:
        counts = _counts(group.states, seconds)
        when = timestamp(material.info.last_run_started_at or material.info.created_at).removesuffix("Z")
        stream.write(f"<testsuite{_attributes(name=group.name, **counts, timestamp=when or '1970-01-01T00:00:00')}>\n")
        if spool is not None:
            spool.seek(0)
            stream.writelines(spool)
        stream.write("</testsuite>\n")
    stream.write("</testsuites>\n")


def _named(material: Material) -> str:
    return material.info.campaign + (" (REHEARSAL)" if material.info.rehearsal else "")


def _counts(counts: Mapping[State, int], seconds: float) -> dict[str, str]:
    jobs = sum(counts.values())
    failed, uncertain = counts.get(State.FAILED, 0), counts.get(State.UNCERTAIN, 0)
    skipped = jobs - failed - uncertain - counts.get(State.SUCCEEDED, 0)
    return {
        "tests": str(jobs),
        "failures": str(failed),
        "errors": str(uncertain),
        "skipped": str(skipped),
        "time": f"{seconds:.3f}",
    }


def _case(campaign: str, row: JobRow) -> str:
    attributes = _attributes(classname=f"{campaign}.{row.target}", name=row.key, time=f"{_took(row):.3f}")
    body = _verdict(row) + _output(row)
    return f"<testcase{attributes}>{body}</testcase>\n" if body else f"<testcase{attributes}/>\n"


def _verdict(row: JobRow) -> str:
    if row.state is State.SUCCEEDED:
        return ""
    if row.state is State.FAILED:
        message = one_line(row.error_message, _MAX_MESSAGE) or "failed"
        text = "\n".join(part for part in (row.error_cause, visible(row.error_message), visible(row.error_hint)) if part)
        return f"<failure{_attributes(type=row.error_class or 'failed', message=message)}>{_text(text)}</failure>"
    if row.state is State.UNCERTAIN:
        message = "It is not known whether the provider took this job: settle it with `callsheet reconcile`."
        return f"<error{_attributes(type='uncertain', message=message)}/>"
    why = one_line(row.reason, _MAX_MESSAGE)
    return f"<skipped{_attributes(message=STATE_WORDS[row.state] + (f': {why}' if why else ''))}/>"


def _output(row: JobRow) -> str:
    lines = [f"artifact: {artifact.path}" for artifact in row.artifacts]
    if row.remote_id:
        lines.append(f"remote id: {row.remote_id}")
    return f"<system-out>{_text(chr(10).join(lines))}</system-out>" if lines else ""


def _took(row: JobRow) -> float:
    if row.submitted_at is None or row.finished_at is None:
        return 0.0
    seconds = row.finished_at - row.submitted_at
    return seconds if 0 <= seconds < 1e9 else 0.0


def _attributes(**values: str) -> str:
    return "".join(f' {name}="{_text(value).replace(chr(10), "&#10;")}"' for name, value in values.items())


def _text(text: str) -> str:
    return escape(xml_text(visible(text)), quote=True)
