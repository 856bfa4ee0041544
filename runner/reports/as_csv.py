"""``jobs.csv``: one line per job, for spreadsheets.

Owns the columns (only ever added at the end) and what makes them safe: text that a spreadsheet would take for a formula begins
with ``'``, control characters are removed, every text is quoted. RFC 4180: comma, CRLF, UTF-8 without a mark. Numbers stay bare.

A text is neutralised when its first character other than space is one of ``= + - @`` (their full-width forms included), or when
it begins with a tab or carriage return. Readers that want the text itself take one leading ``'`` away.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TypeAlias

from runner.model import JobRow
from runner.reports.cleaning import finite, visible
from runner.reports.material import Material
from runner.reports.summary import processing_seconds, queue_seconds
from runner.reports.wording import timestamp
from runner.reports.writing import replacing

_Value: TypeAlias = str | int | float | None

COLUMNS = (
    "key",
    "target",
    "product",
    "title",
    "cell",
    "state",
    "reason",
    "operation",
    "lane",
    "attempts",
    "remote_id",
    "fingerprint",
    "credits_estimated",
    "credits_actual",
    "error_class",
    "error_cause",
    "error_message",
    "error_hint",
    "planned_at",
    "submitted_at",
    "started_at",
    "ready_at",
    "finished_at",
    "queue_seconds",
    "processing_seconds",
    "artifacts",
    "artifact_sha256",
    "values",
)
"""Times are ISO 8601 UTC; several artifacts or values stand on lines of their own within the cell."""

_FORMULA_STARTS = frozenset("=+-@＝＋－＠")


def write_csv(material: Material) -> Path:
    """Write the file and say where. Raises OSError."""
    path = material.path("csv")
    with replacing(path) as stream:
        writer = csv.writer(stream, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\r\n")
        writer.writerow(COLUMNS)
        for row in material.rows():
            writer.writerow([neutral(value) if isinstance(value, str) else value for value in _cells(row)])
    return path


def neutral(text: str) -> str:
    """The text as a spreadsheet may have it: never a formula, no control characters but newlines."""
    clean = visible(text)
    if text[:1] in ("\t", "\r") or clean.lstrip()[:1] in _FORMULA_STARTS:
        return "'" + clean
    return clean


def _cells(row: JobRow) -> tuple[_Value, ...]:
    """The row's values in the order of ``COLUMNS``."""
    return (
        *(row.key, row.target, row.product, row.title),
        ",".join(f"{axis}={value}" for axis, value in row.cell),
        *(row.state.value, row.reason, row.operation, row.lane, row.attempts, row.remote_id, row.fingerprint),
        *(finite(row.credits_estimated), finite(row.credits_actual)),
        *(row.error_class, row.error_cause, row.error_message, row.error_hint),
        *(timestamp(at) for at in (row.planned_at, row.submitted_at, row.started_at, row.ready_at, row.finished_at)),
        *(_rounded(queue_seconds(row)), _rounded(processing_seconds(row))),
        "\n".join(artifact.path for artifact in row.artifacts),
        "\n".join(artifact.sha256 for artifact in row.artifacts),
        "\n".join(f"{name}={value}" for name, value in row.values.items()),
    )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
