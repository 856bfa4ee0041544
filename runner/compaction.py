"""Makes a journal smaller without changing what anybody reads from it.

Owns the choice of lines that no reader needs any more: of jobs that have ended, the polls that only repeated that the provider is at work, and the
downloads that were put off. Everything else stays. In particular every life of a job stays, with all its submissions: the number of lives is part
of the idempotency keys, and what was paid for is history. States, rows, results and sums are the same before and after.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runner import events as ev
from runner.damage import decode_event
from runner.disk import REAL_DISK, Disk, remove_file, replace_file
from runner.errors import LedgerError
from runner.events import AnyEvent
from runner.journal import frame, read_header, read_lines
from runner.ledger import Ledger
from runner.lifecycle import TERMINAL
from runner.locking import Lock
from runner.snapshot import snapshot_path


@dataclass(frozen=True, slots=True)
class Compaction:
    """What a compaction did. Sizes in bytes."""

    path: Path
    lines_before: int
    lines_after: int
    bytes_before: int
    bytes_after: int


def compact(path: Path, *, now: float, disk: Disk = REAL_DISK) -> Compaction:
    """Rewrite the ledger at ``path`` without the lines that nobody needs; ``now`` in Unix seconds.

    Whoever dies in between leaves the old file or the new one. Raises ``LedgerLocked``, ``LedgerCorrupt`` (nothing is changed), ``LedgerError``.
    """
    lock = Lock(path)
    lock.acquire(now)
    try:
        return _compact(path, disk)
    except OSError as error:
        raise LedgerError(
            f"{path} cannot be compacted: {error.strerror}", hint="the ledger is as it was; free some space, then try again"
        ) from error
    finally:
        lock.release()


def _compact(path: Path, disk: Disk) -> Compaction:
    ledger = Ledger.read(path)
    if ledger is None:
        raise LedgerError(f"there is no ledger {path}", hint="begin with: callsheet run MANIFEST")
    with ledger:
        ended = {key for key, job in ledger.jobs.items() if job.state in TERMINAL}
    before, size = sum(1 for _ in read_lines(path)), path.stat().st_size
    counted = _Counted(_kept(path, ended))
    if read_header(path) is None:
        raise LedgerError(f"there is no ledger {path}", hint="begin with: callsheet run MANIFEST")
    remove_file(snapshot_path(path), disk)  # first: an old snapshot beside a shorter journal would look like lost lines
    replace_file(path, counted, disk)
    return Compaction(path, before, counted.lines, size, path.stat().st_size)


class _Counted:
    """Payloads as lines with new numbers, counted as they pass."""

    def __init__(self, payloads: Iterator[bytes]) -> None:
        self.lines = 0
        self._payloads = payloads

    def __iter__(self) -> Iterator[bytes]:
        for payload in self._payloads:
            self.lines += 1
            yield frame(payload, self.lines)


def _kept(path: Path, ended: set[str]) -> Iterator[bytes]:
    """The payloads of all lines that stay, the header's first."""
    seen_at_work: set[str] = set()
    for line in read_lines(path):
        if line.number == 1 or _is_needed(decode_event(line.payload), ended, seen_at_work):
            yield line.payload


def _is_needed(event: AnyEvent, ended: set[str], seen_at_work: set[str]) -> bool:
    if event.job not in ended:
        return True
    match event:
        case ev.CollectDeferred():
            return False
        case ev.Observed(phase="running"):  # the first one since the submission says when the provider began
            first = event.job not in seen_at_work
            seen_at_work.add(event.job)
            return first
        case ev.Observed():
            return False
        case ev.SubmitStarted() | ev.Planned():
            seen_at_work.discard(event.job)
            return True
        case _:
            return True
