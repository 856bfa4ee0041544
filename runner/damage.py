"""What is wrong with a ledger file, line by line.

Owns the reading of a file that may be damaged anywhere: which lines are what was written, which can be put right to the byte, where lines are
missing. Changes nothing, takes no lock, and never stops at the first bad line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from runner.errors import IllegalTransition
from runner.events import AnyEvent, name_of
from runner.healing import halves, heal
from runner.journal import VERSION, Header, open_frame, trouble
from runner.lifecycle import CAMPAIGN_EVENTS, TABLE, advance
from runner.model import State

decode_event: Callable[[bytes], AnyEvent] = msgspec.json.Decoder(AnyEvent).decode
STORY_LINES = 12
"""The most lines of a job's story that a finding shows."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One line of the file as it stands. ``payload`` is None when nothing can be made of it."""

    line: int
    offset: int
    raw: bytes
    payload: bytes | None
    claims: int = 0
    """The number that the line bears; 0 for none."""
    why: str = ""
    """What is wrong with it, in words that follow "line 12 ..."; empty when it is as it was written."""
    torn: bool = False
    """It follows the last newline: it was never committed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. ``kind``: checksum, line-ends, order, missing, header, unknown-event, not-json, illegal, newer, torn."""

    line: int
    offset: int
    kind: str
    why: str
    job: str = ""
    story: tuple[str, ...] = ()
    """The job's lines before this one, the newest last."""
    exact: bool = False
    """It can be put right to the byte."""


@dataclass(frozen=True, slots=True)
class Examination:
    """What verifying found. ``events`` counts the lines that are as they were written, without the header."""

    path: Path
    header: Header | None
    lines: int
    bytes: int
    events: int
    jobs: int
    findings: tuple[Finding, ...]
    torn: int
    """Bytes after the last newline: never committed, and harmless."""

    @property
    def good(self) -> bool:
        """Nothing is wrong."""
        return not self.findings


def pieces(path: Path) -> Iterator[Piece]:
    """Every line in the order of the file, healed where its damage is one byte."""
    with path.open("rb") as file:
        line, offset = 0, 0
        held: Piece | None = None
        for raw in file:
            line += 1
            new = list(_read(raw, line, offset))
            offset += len(raw)
            if held is not None:
                joined = _joined(held, new[0])
                if joined is not None:
                    held = None
                    yield joined
                    continue
                yield held
                held = None
            if len(new) == 1 and new[0].payload is None and not new[0].torn:
                held = new[0]
                continue
            yield from new
        if held is not None:
            yield held


def _read(raw: bytes, line: int, offset: int) -> Iterator[Piece]:
    text, committed = (raw[:-1], True) if raw.endswith(b"\n") else (raw, False)
    opened = open_frame(text)
    if opened and committed:
        yield Piece(line, offset, raw, *opened)
        return
    whole = None if committed else open_frame(text[:-1])
    if whole:
        yield Piece(line, offset, raw, *whole, why="has something else in its newline's place")
    elif not committed:
        yield Piece(line, offset, raw, None, why="was never finished", torn=True)
    elif healed := heal(text):
        yield Piece(line, offset, raw, *_opened(healed), why=trouble(raw))
    elif both := halves(text):
        for half in both:
            yield Piece(line, offset, raw, *_opened(half), why="holds two lines: the newline between them is damaged")
    else:
        yield Piece(line, offset, raw, None, why=trouble(raw))


def _joined(first: Piece, second: Piece) -> Piece | None:
    """Two bad lines that were one: a byte of it became a newline."""
    if second.payload is not None or second.torn:
        return None
    healed = heal(first.raw + second.raw.removesuffix(b"\n"))
    if healed is None:
        return None
    return Piece(first.line, first.offset, first.raw + second.raw, *_opened(healed), why="is broken in two by a stray newline")


def _opened(line: bytes) -> tuple[bytes, int]:
    opened = open_frame(line)
    if opened is None:
        raise AssertionError("a healed line is a good line")
    return opened


def read_header_of(piece: Piece) -> Header | None:
    """The piece as a header; None when it is none."""
    if piece.payload is None:
        return None
    try:
        return msgspec.json.decode(piece.payload, type=Header)
    except msgspec.DecodeError:
        return None


# ------------------------------------------------------------------------------------------------------- verifying


class _Examiner:
    """Replays a file and notes what does not fit; goes on after everything."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.states: dict[str, State] = {}
        self.header: Header | None = None
        self.lines = self.events = self.torn = self.size = 0
        self._expected = 1

    def hear(self, piece: Piece) -> None:
        self.size = piece.offset + len(piece.raw)
        if piece.torn:
            self.torn = len(piece.raw)
            return
        self.lines = piece.line
        if piece.why:
            kind = "line-ends" if "CR LF" in piece.why else "checksum"
            self._note(piece, kind, piece.why, exact=piece.payload is not None)
        if piece.payload is None:
            return
        self._follow(piece)
        if piece.line == 1 and self.header is None:
            self._open(piece)
        else:
            self._replay(piece, piece.payload)

    def _follow(self, piece: Piece) -> None:
        """Hold the line's number against the one that should come."""
        number = piece.claims or self._expected
        missing = number - self._expected
        if missing > 0:
            lines = "line is" if missing == 1 else f"{missing:,} lines are"
            self._note(piece, "missing", f"was written as line {number:,}: {lines} missing or unreadable before it")
        elif missing < 0:
            self._note(piece, "order", f"was written as line {number:,} and stands in another's place", exact=True)
        self._expected = max(self._expected, number + 1)

    def _open(self, piece: Piece) -> None:
        self.header = read_header_of(piece)
        if self.header is None:
            self._note(piece, "header", "is not a ledger header")
        elif self.header.version > VERSION:
            self._note(piece, "newer", f"says that a newer Callsheet wrote this ledger (version {self.header.version})")

    def _replay(self, piece: Piece, payload: bytes) -> None:
        try:
            event = decode_event(payload)
        except msgspec.DecodeError as error:
            self._note(piece, *understood(payload, error))
            return
        if not piece.why:
            self.events += 1
        if name_of(event) in CAMPAIGN_EVENTS:
            return
        try:
            self.states[event.job] = advance(event.job, self.states.get(event.job), event)
        except IllegalTransition as error:
            self._note(piece, "illegal", f"does not fit what stands before it: {error.message}", job=event.job)
            rows = (row[name_of(event)] for row in TABLE.values() if name_of(event) in row)
            self.states[event.job] = next(rows, State.PENDING)

    def _note(self, piece: Piece, kind: str, why: str, *, job: str = "", exact: bool = False) -> None:
        self.findings.append(Finding(piece.line, piece.offset, kind, why, job=job, exact=exact))


def understood(payload: bytes, error: Exception) -> tuple[str, str]:
    """Kind and words for a line that is as it was written and yet no event."""
    try:
        document = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "not-json", "is not JSON"
    name = document.get("event") if isinstance(document, dict) else None
    known = {name for row in TABLE.values() for name in row} | CAMPAIGN_EVENTS
    if isinstance(name, str) and name not in known:
        return (
            "unknown-event",
            f"holds the event {name[:60]!r}, which this version does not know: was it written by a newer Callsheet?",
        )
    return "unknown-event", f"cannot be understood: {error}"


def examine(path: Path) -> Examination:
    """Read the whole file and say everything that is wrong with it. Raises ``OSError``."""
    examiner = _Examiner()
    for piece in pieces(path):
        examiner.hear(piece)
    stories = _stories(path, {finding.job: finding.line for finding in examiner.findings if finding.job})
    findings = tuple(_with_story(finding, stories) for finding in examiner.findings)
    return Examination(
        path, examiner.header, examiner.lines, examiner.size, examiner.events, len(examiner.states), findings, examiner.torn
    )


def _with_story(finding: Finding, stories: dict[str, list[tuple[int, str]]]) -> Finding:
    lines = [text for number, text in stories.get(finding.job, ()) if number < finding.line][-STORY_LINES:]
    return Finding(
        finding.line, finding.offset, finding.kind, finding.why, job=finding.job, story=tuple(lines), exact=finding.exact
    )


def _stories(path: Path, jobs: dict[str, int]) -> dict[str, list[tuple[int, str]]]:
    """The lines of these jobs, with their numbers."""
    stories: dict[str, list[tuple[int, str]]] = {job: [] for job in jobs}
    if not jobs:
        return stories
    for piece in pieces(path):
        if piece.payload is None or piece.torn:
            continue
        try:
            event = decode_event(piece.payload)
        except msgspec.DecodeError:
            continue
        if event.job in stories and event.job:
            stories[event.job].append((piece.line, piece.payload.decode("utf-8", "replace")))
    return stories
