"""The append-only file of JSON lines under the ledger.

Owns the bytes: framing, checksums, the torn tail, and when a line counts as safe on disk. Knows nothing of jobs.

* A newline commits a line. What follows the last newline is a torn write and is cut off before the next append. (A whole line with
  something else in its newline's place is no torn write: it gets its newline back.)
* Every line ends with its number and a checksum of what stands before that: ``... ,"line":12,"crc":"xxxxxxxx"}`` (CRC-32, hex). A line
  whose sum is wrong, or which is not the line it says it is, is reported with its number: lines cannot be lost, doubled or moved unseen.
  Nothing is repaired silently.
* The first line is the header: format, version, campaign, whether it is a rehearsal, a random id.
* ``append`` writes at once (a few microseconds) and all or nothing: when the disk is full the file is cut back to where it was.
* ``durable`` waits until everything appended so far is fsynced; concurrent callers share one fsync.
* One writer: ``locking.Lock``. Who deletes, replaces or writes to the file all the same is noticed at the next fsync.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shlex
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, ClassVar, Self

import anyio
import anyio.to_thread
import msgspec

from runner.disk import REAL_DISK, Disk, replace_file, write_all
from runner.errors import LedgerCorrupt, LedgerError
from runner.locking import Lock

VERSION = 1
_CRC_BYTES = 18  # len(',"crc":"00000000"}')


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The journal's first line."""

    callsheet: str
    version: int
    campaign: str
    rehearsal: bool
    id: str
    """Random, so that idempotency keys of two ledgers never meet."""
    created: float


@dataclass(frozen=True, slots=True)
class Line:
    """One committed line: its number from 1, byte offset, and JSON payload (checksum verified)."""

    number: int
    offset: int
    payload: bytes


def frame(document: bytes, number: int | None = None) -> bytes:
    """A JSON object's bytes as a journal line: its number, a checksum and a newline added."""
    body = document[:-1] if number is None else b'%b,"line":%d' % (document[:-1], number)
    return b'%b,"crc":"%08x"}\n' % (body, zlib.crc32(body))


_NUMBER = re.compile(rb',"line":([0-9]{1,15})\Z')


def open_frame(line: bytes) -> tuple[bytes, int] | None:
    """A line's payload and the number it bears (0: none); ``line`` is without its newline. None when the checksum is missing or wrong."""
    tail = line[-_CRC_BYTES:]
    if len(line) <= _CRC_BYTES or not tail.startswith(b',"crc":"') or not tail.endswith(b'"}'):
        return None
    body = line[:-_CRC_BYTES]
    if tail[8:16] != b"%08x" % zlib.crc32(body):
        return None
    found = _NUMBER.search(body, max(0, len(body) - 24))
    return (body[: found.start()] + b"}", int(found[1])) if found else (body + b"}", 0)


def unframe(line: bytes) -> bytes | None:
    """The payload of a line without its newline; None when the checksum is missing or wrong."""
    opened = open_frame(line)
    return opened[0] if opened else None


def repair_hint(path: Path) -> str:
    """What to type when the file is damaged."""
    return f"callsheet ledger repair {shlex.quote(str(path))} (keeps a copy; with verify in place of repair it only shows the damage)"


def read_lines(path: Path) -> Iterator[Line]:
    """Every committed line in order, the header included. Raises ``LedgerCorrupt`` naming the first bad line."""
    with path.open("rb") as file:
        yield from lines_of(file, path)


def lines_of(file: BinaryIO, path: Path, *, offset: int = 0, number: int = 0) -> Iterator[Line]:
    """The committed lines from byte ``offset`` on, before which ``number`` lines stand. Raises ``LedgerCorrupt`` as ``read_lines`` does."""
    file.seek(offset)
    for raw in file:
        if not raw.endswith(b"\n"):
            return  # a torn tail was never committed
        number += 1
        opened = open_frame(raw[:-1])
        if opened is None or opened[1] not in {0, number}:
            raise LedgerCorrupt(f"{path}: line {number} {trouble(raw)}", file=str(path), line=number, hint=repair_hint(path))
        yield Line(number, offset, opened[0])
        offset += len(raw)


def trouble(raw: bytes) -> str:
    """What is wrong with a line that is not what was written, in words that follow "line 12 ..."."""
    opened = open_frame(raw.rstrip(b"\n"))
    if opened is not None:
        return f"is not in its place: it was written as line {opened[1]}"
    if open_frame(raw.rstrip(b"\r\n")) is not None:
        return (
            "ends in CR LF: something converted the file's line ends (git does, unless .gitattributes says: ledger.jsonl -text)"
        )
    return "is not what was written (its checksum does not match)"


def read_header(path: Path) -> Header | None:
    """The header, or None for a missing or still empty journal. Raises ``LedgerCorrupt``, ``LedgerError`` (newer version)."""
    if not path.exists():
        return None
    first = next(read_lines(path), None)
    if first is None:
        return None
    try:
        header = msgspec.json.decode(first.payload, type=Header)
    except msgspec.DecodeError:
        raise LedgerCorrupt(
            f"{path}: the first line is not a ledger header",
            file=str(path),
            line=1,
            hint=f"is this a Callsheet ledger? If so: {repair_hint(path)}",
        ) from None
    if header.version > VERSION:
        raise LedgerError(
            f"{path} was written by a newer Callsheet (ledger version {header.version}, this one reads {VERSION})",
            hint="upgrade: pip install --upgrade callsheet",
        )
    return header


Sync = Callable[[int], None]


class Journal:
    """The open, locked journal. Make one with ``Journal.open``; close it, or use it as a context manager."""

    disk: ClassVar[Disk] = REAL_DISK
    """What it stands on; a subclass may stand on another."""

    def __init__(self, path: Path, header: Header, lock: Lock, *, threaded: bool, disk: Disk) -> None:
        self.path = path
        self.header = header
        self._lock = lock
        self._threaded = threaded
        self._disk = disk
        self.lines = _count_lines(path)
        self._fd = os.open(path, os.O_RDWR | os.O_APPEND)
        self.size = os.fstat(self._fd).st_size
        self._synced = 0
        self._syncing: anyio.Lock | None = None
        self._broken = ""
        self._unsafe = ""
        self.fsyncs = 0

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        campaign: str,
        rehearsal: bool,
        now: float,
        threaded: bool = True,
        sync: Sync | None = None,
    ) -> Self:
        """Lock and open, creating file and folder; cut off a torn tail.

        ``threaded=False`` fsyncs inline (tests in virtual time); ``sync`` stands in for the disk's fsync. Raises ``LedgerLocked``, ``LedgerCorrupt``, ``LedgerError``.
        """
        disk = _Synced(cls.disk, sync) if sync else cls.disk
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = Lock(path)
            lock.acquire(now)
        except OSError as error:
            raise LedgerError(
                f"the ledger folder {path.parent} cannot be written: {error.strerror}",
                hint="check the folder's permissions and the free space, then run again",
            ) from error
        try:
            cut_torn_tail(path, disk)
            header = read_header(path) or _create(path, campaign=campaign, rehearsal=rehearsal, now=now, disk=disk)
            _check_identity(path, header, campaign=campaign, rehearsal=rehearsal)
            return cls(path, header, lock, threaded=threaded, disk=disk)
        except OSError as error:
            lock.release()
            raise LedgerError(
                f"the ledger {path} cannot be opened: {error.strerror}", hint="check the file's permissions, then run again"
            ) from error
        except BaseException:
            lock.release()
            raise

    def append(self, documents: Sequence[bytes]) -> list[int]:
        """Write JSON objects as lines; returns the byte offset of each. All or nothing; raises ``LedgerError``."""
        if self._broken:
            raise LedgerError(self._broken, hint="free some space and run again: it resumes")
        lines = [frame(document, self.lines + number) for number, document in enumerate(documents, start=1)]
        try:
            write_all(self._disk, self._fd, b"".join(lines))
        except OSError as error:
            self._roll_back(error)
        offsets = []
        for line in lines:
            offsets.append(self.size)
            self.size += len(line)
        self.lines += len(lines)
        return offsets

    def _roll_back(self, error: OSError) -> None:
        self._broken = f"the ledger {self.path} cannot be written: {error.strerror}"
        with contextlib.suppress(OSError):
            self._disk.ftruncate(self._fd, self.size)
        raise LedgerError(self._broken, hint="free some space and run again: it resumes") from error

    async def durable(self) -> None:
        """Wait until everything appended before this call is on disk. Callers at the same moment share one fsync.

        Raises ``LedgerError``; after one failed fsync for ever: the kernel may have dropped the pages and call the next one good.
        """
        if self._syncing is None:
            self._syncing = anyio.Lock()
        wanted = self.size
        if self._synced >= wanted:
            return
        async with self._syncing:
            if self._synced >= wanted:
                return
            if self._unsafe:
                raise LedgerError(self._unsafe, hint="check the disk, then run again: it resumes")
            reached = self.size
            try:
                if self._threaded:
                    await anyio.to_thread.run_sync(self._disk.fsync, self._fd)
                else:
                    self._disk.fsync(self._fd)
            except OSError as error:
                self._broken = self._unsafe = f"the ledger {self.path} cannot be made safe on disk: {error.strerror}"
                raise LedgerError(self._unsafe, hint="check the disk, then run again: it resumes") from error
            self.fsyncs += 1
            self._synced = max(self._synced, reached)
            self._check_place()

    def _check_place(self) -> None:
        """What is safe in a file that nobody finds again is not safe. Raises ``LedgerError``."""
        held = os.fstat(self._fd)
        try:
            there = self.path.stat()
        except FileNotFoundError:
            there = None
        if there is None or (there.st_dev, there.st_ino) != (held.st_dev, held.st_ino):
            kept = self._rescue()
            self._stop(
                f"the ledger {self.path} was {'moved or deleted' if there is None else 'replaced'} while it was in use",
                f"everything written so far is in {kept}" + ("" if kept == self.path else f": put it back as {self.path.name}"),
            )
        elif held.st_size != self.size:
            self._stop(
                f"something else changed the ledger {self.path} while it was in use",
                f"callsheet ledger verify {shlex.quote(str(self.path))}",
            )

    def _stop(self, message: str, hint: str) -> None:
        self._broken = self._unsafe = f"{message}; {hint}"
        raise LedgerError(message, hint=hint)

    def _rescue(self) -> Path:
        """Copy what was written to where the file was, or beside it when another one stands there now."""
        kept = self.path if not self.path.exists() else self.path.with_name(f"{self.path.name}.rescued-{secrets.token_hex(4)}")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(kept, self._blocks(), self._disk)
        return kept

    def _blocks(self) -> Iterator[bytes]:
        position = 0
        while block := os.pread(self._fd, 1 << 20, position):
            yield block
            position += len(block)

    def settle(self) -> None:
        """Fsync at once, without waiting for others. Raises ``LedgerError``."""
        if self._broken:
            raise LedgerError(self._broken)
        try:
            self._disk.fsync(self._fd)
        except OSError as error:
            self._broken = self._unsafe = f"the ledger {self.path} cannot be made safe on disk: {error.strerror}"
            raise LedgerError(self._unsafe, hint="check the disk, then run again: it resumes") from error
        self._synced = self.size
        self._check_place()

    def read_at(self, offset: int) -> bytes:
        """The payload of the line that begins at ``offset``. Raises ``LedgerCorrupt``."""
        block = os.pread(self._fd, 4096, offset)
        while (end := block.find(b"\n")) < 0:
            more = os.pread(self._fd, max(4096, len(block)), offset + len(block))
            if not more:
                break
            block += more
        payload = unframe(block[:end]) if end >= 0 else None
        if payload is None:
            raise LedgerCorrupt(f"{self.path}: the line at byte {offset} changed while in use", file=str(self.path), line=0)
        return payload

    def close(self) -> None:
        """Fsync, close, unlock."""
        if self._fd < 0:
            return
        try:
            with contextlib.suppress(OSError):
                self._disk.fsync(self._fd)
                if not self._broken:
                    self._check_place()
        finally:
            os.close(self._fd)
            self._fd = -1
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class _Synced:
    """A disk with another fsync."""

    def __init__(self, disk: Disk, sync: Sync) -> None:
        self._disk = disk
        self._sync = sync

    def write(self, fd: int, data: bytes) -> int:
        return self._disk.write(fd, data)

    def fsync(self, fd: int) -> None:
        self._sync(fd)

    def ftruncate(self, fd: int, size: int) -> None:
        self._disk.ftruncate(fd, size)

    def replace(self, source: Path, target: Path) -> None:
        self._disk.replace(source, target)

    def sync_folder(self, folder: Path) -> None:
        self._disk.sync_folder(folder)


def _tail_start(file: BinaryIO) -> int:
    """The number of bytes up to and with the last newline."""
    position = file.seek(0, os.SEEK_END)
    while position > 0:
        step = min(65536, position)
        file.seek(position - step)
        newline = file.read(step).rfind(b"\n")
        if newline >= 0:
            return position - step + newline + 1
        position -= step
    return 0


def committed_size(path: Path) -> int:
    """The size of the file without its torn tail; 0 when there is no file."""
    if not path.exists():
        return 0
    with path.open("rb") as file:
        start = _tail_start(file)
        file.seek(start)
        tail = file.read()
        return start + len(tail) if unframe(tail[:-1]) is not None else start


def check_length(path: Path, least: int) -> None:
    """Raises ``LedgerCorrupt`` when bytes that were safe on disk are missing at the end."""
    size = committed_size(path)
    if size < least:
        raise LedgerCorrupt(
            f"{path} is shorter than it was: its last {least - size:,} bytes are missing",
            file=str(path),
            line=0,
            hint=f"put the newer file back; if there is none: {repair_hint(path)}",
        )


def cut_torn_tail(path: Path, disk: Disk) -> None:
    """Remove what follows the last newline; a whole line whose newline was damaged gets it back. Raises ``OSError``."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        start = _tail_start(file)
        file.seek(start)
        tail = file.read()
        if not tail:
            return
        whole = unframe(tail[:-1]) is not None
        disk.ftruncate(file.fileno(), start + len(tail) - 1 if whole else start)
        if whole:
            file.seek(0, os.SEEK_END)
            write_all(disk, file.fileno(), b"\n")
        disk.fsync(file.fileno())


def _count_lines(path: Path) -> int:
    """How many lines the file has: the last one says it, or they are counted."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        reach = min(end, 65536)
        file.seek(end - reach)
        block = file.read()
        opened = open_frame(block[block[:-1].rfind(b"\n") + 1 : -1])
        if opened and opened[1]:
            return opened[1]
        file.seek(0)
        return sum(part.count(b"\n") for part in iter(lambda: file.read(1 << 20), b""))


def _create(path: Path, *, campaign: str, rehearsal: bool, now: float, disk: Disk) -> Header:
    header = Header(
        callsheet="ledger", version=VERSION, campaign=campaign, rehearsal=rehearsal, id=secrets.token_hex(16), created=now
    )
    try:
        replace_file(path, [frame(msgspec.json.encode(header), 1)], disk)
    except OSError as error:
        raise LedgerError(
            f"the ledger {path} cannot be written: {error.strerror}", hint="free some space and run again"
        ) from error
    return header


def _check_identity(path: Path, header: Header, *, campaign: str, rehearsal: bool) -> None:
    if header.rehearsal != rehearsal:
        kind = "a rehearsal" if header.rehearsal else "paid work"
        raise LedgerError(
            f"{path} records {kind}, this run is {'a rehearsal' if rehearsal else 'for real'}",
            hint="rehearsals and paid runs never share a folder: give this run another one",
        )
    if header.campaign != campaign:
        raise LedgerError(
            f"{path} belongs to the campaign {header.campaign!r}, the manifest is called {campaign!r}",
            hint=f"rename the manifest back, or move the folder of {header.campaign!r} aside",
        )
