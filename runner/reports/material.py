"""What every report format is made from.

Owns one value, ``Material``, and the names of the files. Reads nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from runner.model import JobRow, RunInfo
from runner.reports.summary import Summary

Rows: TypeAlias = Callable[[], Iterator[JobRow]]
"""Starts a new pass over all jobs, in manifest order."""

FILES = {
    "html": "index.html",
    "markdown": "report.md",
    "json": "report.json",
    "csv": "jobs.csv",
    "junit": "junit.xml",
}
"""Format -> its file, relative to the folder that reports are written to."""


@dataclass(frozen=True, slots=True)
class Material:
    """The campaign, its jobs, its numbers, where to write, and which formats are being written."""

    info: RunInfo
    rows: Rows
    summary: Summary
    folder: Path
    formats: tuple[str, ...]

    def path(self, format_name: str) -> Path:
        """Where this format's (first) file goes."""
        return self.folder / FILES[format_name]
