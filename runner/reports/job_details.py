"""Everything that is known of one job, as headings, labels and text for a person.

Owns the wording and order of a job's details in the HTML report. All values are plain text: nothing here is ever markup or a link.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from runner.model import JSON, JobRow, StoredArtifact
from runner.reports.cleaning import one_line, plain, shortened, visible
from runner.reports.failures import advice_for
from runner.reports.summary import processing_seconds, queue_seconds
from runner.reports.wording import STATE_WORDS, duration, moment, number, size

MAX_TEXT = 20_000
"""Longer texts are cut here; the ledger has them whole."""

_Field: TypeAlias = tuple[str, str]


def detail_of(row: JobRow) -> list[object]:
    """``[key, title, failure message, what to do, [[heading, [[label, text]]]]]``; empty texts where there is nothing."""
    failed = bool(row.error_message or row.error_class)
    sections = [[heading, [list(item) for item in fields]] for heading, fields in _sections(row) if fields]
    return [
        _text(row.key),
        _text(row.title),
        _text(row.error_message) if failed else "",
        _text(advice_for(row)) if failed else "",
        sections,
    ]


def _sections(row: JobRow) -> Iterator[tuple[str, list[_Field]]]:
    yield "Parameters", [(one_line(name, 80), _value(value)) for name, value in row.params.items()]
    yield "Results", [(one_line(name, 80), _text(value)) for name, value in row.values.items()]
    yield "Files", [(one_line(artifact.name, 80), _artifact(artifact)) for artifact in row.artifacts]
    yield "Job", _known(_identity(row))
    yield "Times", _known(_times(row))
    yield "Credits", _known((("Charged", _credits(row.credits_actual)), ("Estimated", _credits(row.credits_estimated))))


def _identity(row: JobRow) -> Iterator[_Field]:
    yield "Target", _text(row.target)
    yield "Product", _text(row.product)
    for axis, value in row.cell:
        yield one_line(axis, 80), _text(value)
    yield "Operation", _text(row.operation)
    yield "Lane", _text(row.lane)
    yield "State", STATE_WORDS[row.state]
    yield "Planned because", _text(row.reason)
    yield "Attempts", number(row.attempts)
    yield "Remote id", _text(row.remote_id)
    yield "Failure class", _text(" / ".join(part for part in (row.error_class, row.error_cause) if part))
    yield "Fingerprint", _text(row.fingerprint)


def _times(row: JobRow) -> Iterator[_Field]:
    moments = (
        ("Planned", row.planned_at),
        ("Submitted", row.submitted_at),
        ("Started", row.started_at),
        ("Ready", row.ready_at),
        ("Finished", row.finished_at),
    )
    for label, at in moments:
        yield label, moment(at) if at is not None else ""
    for label, seconds in (("In the queue", queue_seconds(row)), ("Processing", processing_seconds(row))):
        yield label, duration(seconds) if seconds is not None else ""


def _artifact(artifact: StoredArtifact) -> str:
    info = artifact.info
    facts = (
        f"{info.width} × {info.height}" if info.width and info.height else "",
        duration(info.seconds) if info.seconds is not None else "",
        " ".join(part for part in (info.format, info.codec) if part),
        size(info.bytes),
    )
    return _text("\n".join((artifact.path, " · ".join(fact for fact in facts if fact), f"SHA-256 {artifact.sha256}")))


def _value(value: JSON) -> str:
    """Text as it is, everything else as JSON."""
    if isinstance(value, str):
        return _text(value)
    return _text(json.dumps(plain(value), ensure_ascii=False, indent=None))


def _credits(value: float | None) -> str:
    return "" if value is None else number(value)


def _text(text: str) -> str:
    if len(text) > MAX_TEXT:
        return shortened(visible(text[:MAX_TEXT]), MAX_TEXT - 1) + "…"
    return visible(text)


def _known(fields: Iterable[_Field]) -> list[_Field]:
    return [(label, text) for label, text in fields if text]
