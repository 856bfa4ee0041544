"""Reports made from the ledger alone: HTML, Markdown, JSON, CSV, JUnit XML.

Owns the list of formats and the one way to write them. Nothing in this package changes the ledger or an artifact, asks a
provider or reads the clock, so that the same ledger always gives the same report. Heavy libraries load when HTML is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

from runner.errors import UsageError
from runner.model import RunInfo
from runner.reports.as_csv import write_csv
from runner.reports.as_html import write_html
from runner.reports.as_json import write_json
from runner.reports.as_junit import write_junit
from runner.reports.as_markdown import write_markdown
from runner.reports.material import Material, Rows
from runner.reports.summary import Summary, summarise

__all__ = ["FORMATS", "Summary", "summarise", "write_reports"]

FORMATS: Mapping[str, Callable[[Material], Path]] = {
    "html": write_html,
    "markdown": write_markdown,
    "json": write_json,
    "csv": write_csv,
    "junit": write_junit,
}
"""Every format by name; each writes its file below ``Material.folder`` and says where."""


def write_reports(
    info: RunInfo,
    rows: Rows,
    folder: Path,
    *,
    formats: Sequence[str] = ("html", "markdown", "json", "csv", "junit"),
) -> Mapping[str, Path]:
    """Write the reports into ``folder`` and say where each one is (format -> path).

    The files are ``index.html`` (with its data and posters in folders beside it), ``report.md``, ``report.json``, ``jobs.csv`` and
    ``junit.xml``, each put in place whole. ``rows`` starts a new pass over all jobs each time it is called. Raises
    ``UsageError`` for an unknown format (before anything is written) or when a file cannot be written.
    """
    chosen = tuple(dict.fromkeys(formats))
    for name in chosen:
        if name not in FORMATS:
            raise UsageError(f"unknown report format {name!r}", hint=_hint(name))
    material = Material(info=info, rows=rows, summary=summarise(info, rows()), folder=folder, formats=chosen)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return {name: FORMATS[name](material) for name in chosen}
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UsageError(
            f"the report cannot be written to {error.filename or folder}: {reason}",
            hint="Check that the folder exists, is writable and has room, or choose another one.",
        ) from error


def _hint(name: str) -> str:
    close = get_close_matches(name, FORMATS, n=1)
    known = "Formats are " + ", ".join(FORMATS) + "."
    return f"Did you mean {close[0]!r}? {known}" if close else known
