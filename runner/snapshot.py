"""What the ledger knew at one place of its journal, so that opening it again reads only what came after.

Owns the side file ``<ledger>.snapshot``: its form, its checksum, and the question whether it belongs to a journal. It holds nothing that the
journal does not tell; a snapshot that is damaged, of another ledger, or of another version is passed over without a word. Written only after
the journal was fsynced, so that a journal which is shorter than its snapshot has lost lines.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from runner.disk import REAL_DISK, Disk, replace_file
from runner.events import LaneHalted, RunEnded, RunStarted
from runner.journal import Header
from runner.seams import JobState

FORMAT = 1
_MAGIC = b"callsheet snapshot\n"
_BLOCK = 1 << 22


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A place in a journal, and what stands before it."""

    format: int
    header: Header
    size: int
    """Bytes of the journal up to here."""
    lines: int
    crc: int
    """CRC-32 of all these bytes: a journal that was damaged before this place is never opened by its snapshot."""


class Snapshot(msgspec.Struct, kw_only=True):
    """What the ledger knew there. ``offsets`` and ``previous`` are the bytes of the ledger's arrays."""

    place: Place
    order: str
    """Byte order and item sizes of the arrays."""
    jobs: list[JobState]
    committed: dict[str, float]
    runs: int
    run_started: RunStarted | None
    run_ended: RunEnded | None
    halted: dict[str, LaneHalted]
    losses: list[tuple[int, int]]
    offsets: bytes
    previous: bytes


def snapshot_path(ledger: Path) -> Path:
    """Where the snapshot of a ledger lies."""
    return ledger.with_name(f"{ledger.name}.snapshot")


def write_snapshot(ledger: Path, snapshot: Snapshot, disk: Disk = REAL_DISK) -> None:
    """Put the snapshot in place. Raises ``OSError``."""
    body = msgspec.msgpack.encode(snapshot)
    place = msgspec.msgpack.encode(snapshot.place)
    head = _MAGIC + b"%08x%08x%08x" % (len(place), zlib.crc32(place), zlib.crc32(body))
    replace_file(snapshot_path(ledger), (head, place, body), disk)


def read_place(ledger: Path) -> Place | None:
    """Where the snapshot was taken; None when there is none that can be read."""
    with contextlib.suppress(OSError, ValueError, msgspec.DecodeError), snapshot_path(ledger).open("rb") as file:
        head = file.read(len(_MAGIC) + 24)
        length, crc = int(head[-24:-16], 16), int(head[-16:-8], 16)
        if not head.startswith(_MAGIC) or length > _BLOCK:
            return None
        place = file.read(length)
        if zlib.crc32(place) == crc:
            found = msgspec.msgpack.decode(place, type=Place)
            return found if found.format == FORMAT else None
    return None


def read_snapshot(ledger: Path) -> Snapshot | None:
    """The snapshot, if it belongs to this journal as it is now; None otherwise."""
    place = read_place(ledger)
    if place is None:
        return None
    with contextlib.suppress(OSError, ValueError, msgspec.DecodeError):
        if checksum(ledger, place.size) != place.crc:
            return None
        content = snapshot_path(ledger).read_bytes()
        start = len(_MAGIC) + 24
        length, crc = int(content[start - 24 : start - 16], 16), int(content[start - 8 : start], 16)
        body = memoryview(content)[start + length :]
        if zlib.crc32(body) == crc:
            return msgspec.msgpack.decode(body, type=Snapshot)
    return None


def checksum(path: Path, size: int) -> int | None:
    """CRC-32 of the first ``size`` bytes; None when the file is shorter. Raises ``OSError``."""
    crc = 0
    for block in _blocks(path, size):
        crc = zlib.crc32(block, crc)
        size -= len(block)
    return crc if size == 0 else None


def _blocks(path: Path, size: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        while size > 0 and (block := file.read(min(_BLOCK, size))):
            size -= len(block)
            yield block
