"""CSV, TSV and their relatives: a header line, then one product a record.

Owns the dialect. Rules where files differ:

- The delimiter of a ``.csv`` or ``.txt`` is the one of ``, ; tab |`` that splits the header into most columns (comma wins a tie),
  or what a first line ``sep=;`` says. A ``.tsv`` has tabs.
- Quotes are ``"``, doubled inside; a quoted value may hold line ends. A quote that is closed in mid-value or never is an error.
- White space around column names is dropped, their spelling kept. Two columns of one name are an error: no template could say
  which one it means. A column without a name is called ``column_N``; at the right edge it is dropped.
- A record that is too short is filled with ``""``. One that is too long is an error unless the extra values are empty.
- Blank lines, and records in which every value is empty, are skipped.

Values stay text, exactly as they stand. Row numbers are the lines on which records begin. Never holds more than one record.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from runner.bounds import raised_by
from runner.errors import CatalogueError
from runner.model import JSON
from runner.sources.opening import Options, read_lines

_DELIMITERS = ",;\t|"
_MAX_HEADER_LINES = 20
_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}


class Record(NamedTuple):
    """One record, and the line on which it begins."""

    line: int
    cells: list[str]


@dataclass(frozen=True, slots=True)
class DelimitedSource:
    """Rows of a delimited file as mappings of text. ``delimiter`` None: found out from the header."""

    path: Path
    options: Options = field(default_factory=Options)
    delimiter: str | None = None

    def rows(self) -> Iterator[tuple[int, Mapping[str, JSON]]]:
        """(line, fields), lazily. Raises ``CatalogueError``."""
        yield from self.text_rows()

    def text_rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        """As ``rows``, for readers that build on this one."""
        records = _records(self.path, self.options, self.delimiter)
        names = _column_names(next(records), str(self.path))
        width = len(names)
        for line, found in records:
            cells = found if len(found) == width else _fitted(found, width, str(self.path), line)
            if any(cells) and any(cell.strip() for cell in cells):
                yield line, dict(zip(names, cells, strict=True))

    def columns(self) -> list[str]:
        """The column names alone. Raises ``CatalogueError``."""
        return _column_names(next(_records(self.path, self.options, self.delimiter)), str(self.path))


def _records(path: Path, options: Options, delimiter: str | None) -> Iterator[Record]:
    """The header record, then the others; blank lines are left out."""
    file = str(path)
    # The csv module has one limit for the whole process; its default of 128 KiB is too small for product pages.
    csv.field_size_limit(options.limits.catalogue_value_chars)
    lines = read_lines(path, options)
    skipped = 0
    for first in lines:
        skipped += 1
        if first[:4].lower() == "sep=" and len(first.strip("\r\n")) == 5 and skipped == 1:
            delimiter = first[4]
        elif first.strip():
            break
    else:
        raise CatalogueError("the file is empty", file=file, hint="the first line must name the columns")
    start = [first]
    if delimiter is None:
        delimiter = _sniffed(start, lines)
    reader = csv.reader(chain(start, lines), delimiter=delimiter, strict=True)
    offset = skipped - 1
    while True:
        line = offset + reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise _broken(error, file, line, delimiter, options) from error
        if cells:
            yield Record(line, cells)


def _sniffed(start: list[str], lines: Iterator[str]) -> str:
    """The delimiter that splits the header best. Appends to ``start`` the lines it had to read."""
    while True:
        widths: dict[str, int] = {}
        unfinished = False
        for delimiter in _DELIMITERS:
            try:
                widths[delimiter] = len(next(csv.reader(start, delimiter=delimiter, strict=True)))
            except csv.Error as error:
                unfinished = unfinished or "unexpected end" in str(error)
        if not unfinished or len(start) >= _MAX_HEADER_LINES or (more := next(lines, None)) is None:
            return max(widths, key=lambda candidate: widths[candidate], default=",")
        start.append(more)


def _broken(error: csv.Error, file: str, line: int, delimiter: str, options: Options) -> CatalogueError:
    words = str(error)
    if "field larger" in words:
        return CatalogueError(
            f"a value in this record is longer than {options.limits.catalogue_value_chars:,} characters",
            file=file,
            row=line,
            hint=f'look for a quote (") that is opened here and never closed; {raised_by("catalogue_value_chars")}',
        )
    if "unexpected end" in words:
        return CatalogueError(
            'a quote (") opened in this record is never closed',
            file=file,
            row=line,
            hint='close it; inside quotes write "" for "',
        )
    if "expected after" in words:
        return CatalogueError(
            f'a quoted value in this record goes on after its closing quote (") instead of a {_NAMES.get(delimiter, delimiter)}',
            file=file,
            row=line,
            hint='inside quotes write "" for "',
        )
    return CatalogueError(f"this record cannot be read: {words}", file=file, row=line, hint="export the file again")


def _column_names(header: Record, file: str) -> list[str]:
    names = [cell.strip().lstrip("\ufeff").strip() for cell in header.cells]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise CatalogueError(
            "the header names no columns", file=file, row=header.line, hint="the first line must name the columns"
        )
    names = [name or f"column_{number}" for number, name in enumerate(names, start=1)]
    places: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        if name in places:
            raise CatalogueError(
                f"columns {places[name]} and {number} are both called {name!r}",
                file=file,
                row=header.line,
                hint="rename or remove one of them",
            )
        places[name] = number
    return names


def _fitted(cells: list[str], width: int, file: str, line: int) -> list[str]:
    """``cells`` filled or cut to ``width``. Raises ``CatalogueError`` when a value would be lost."""
    if any(cell.strip() for cell in cells[width:]):
        raise CatalogueError(
            f"this record has {len(cells)} values, the header only {width} columns",
            file=file,
            row=line,
            hint="put quotes around values that hold the delimiter",
        )
    return cells[:width] + [""] * (width - len(cells))
