"""Sorts out a damaged journal: what can be read, in the order in which it was written, each line once, and the holes in between.

Owns what the numbers of the lines, and the bytes of those that cannot be read, tell of what is missing. Decides nothing about jobs, changes
nothing. Lines of a newer version are never dropped: such a file is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from runner.damage import Piece, decode_event, pieces, read_header_of
from runner.errors import LedgerError
from runner.events import AnyEvent
from runner.journal import Header

LEAST_LINE = 57
"""Bytes of the shortest line; a stretch of that many unreadable bytes may have been one more line."""
_JOB = re.compile(rb'"job":"((?:[^"\\]|\\.)*)"')


@dataclass(slots=True)
class Reading:
    """The damaged file, sorted out. ``entries`` are good events and, as (lines, legible jobs, all legible), holes."""

    header: Header | None = None
    entries: list[AnyEvent | tuple[int, frozenset[str], bool]] = field(default_factory=list)
    healed: int = 0
    lost: int = 0
    changed: bool = False


@dataclass(frozen=True, slots=True, order=True)
class _Good:
    """A line that can be read: the number it had, and where it was found."""

    number: int
    order: int
    payload: bytes
    claimed: bool
    """The line bears its number itself; otherwise it is counted."""


def read_damaged(path: Path, least_lines: int = 0) -> Reading:
    """Sort out a file. ``least_lines`` is how many lines it is known to have had. Raises ``LedgerError`` for a newer version's."""
    reading = Reading()
    good: list[_Good] = []
    bad: list[tuple[int, Piece]] = []
    number, line = 0, 0
    for order, piece in enumerate(pieces(path)):
        reading.changed = reading.changed or bool(piece.why)
        if piece.torn:
            continue
        if piece.payload is None:
            if piece.line > 1:
                bad.append((order, piece))
            continue
        reading.healed += bool(piece.why)
        number, line = piece.claims or max(1, number + piece.line - line), piece.line
        if reading.header is None and (header := read_header_of(piece)):
            reading.header = header
            continue
        good.append(_Good(number, order, piece.payload, bool(piece.claims)))
    _sort(good, bad, reading, least_lines)
    return reading


def _sort(good: list[_Good], bad: list[tuple[int, Piece]], reading: Reading, least_lines: int) -> None:
    """Good lines in the order in which they were written, each once, and the holes between them."""
    ordered = sorted(good)
    reading.changed = reading.changed or ordered != good
    last, place, seen = 1, -1, b""
    for line in ordered:
        if line.payload == seen and (line.number == last or not line.claimed):
            reading.changed = True
            continue
        here = [piece for at, piece in bad if place < at < line.order]
        _hole(reading, here, line.number - last - 1, exact=line.claimed)
        last, place, seen = line.number, max(place, line.order), line.payload
        _understand(reading, line.payload)
    _hole(reading, [piece for at, piece in bad if at > place], max(0, least_lines - last), exact=least_lines > 0)


def _hole(reading: Reading, bad: list[Piece], lines: int, *, exact: bool) -> None:
    """Note lost lines: as many as the numbers say, or else as many as the bytes may have held."""
    if not exact:
        lines = max(lines, sum(max(1, len(piece.raw) // LEAST_LINE) for piece in bad))
    if lines <= 0:
        return
    told = [found for piece in bad for found in _JOB.findall(piece.raw)]
    jobs = frozenset(key for text in told if (key := _text(text)))
    reading.entries.append((lines, jobs, len(told) == len(bad) == lines))
    reading.lost += lines
    reading.changed = True


def _text(raw: bytes) -> str:
    try:
        return str(msgspec.json.decode(b'"' + raw + b'"'))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""


def _understand(reading: Reading, payload: bytes) -> None:
    try:
        reading.entries.append(decode_event(payload))
    except msgspec.DecodeError as error:
        raise LedgerError(
            f"a line that is as it was written cannot be understood: {error}",
            hint="it was probably written by a newer Callsheet: upgrade (pip install --upgrade callsheet), then repair",
        ) from error
