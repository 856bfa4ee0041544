"""The append-only file of JSON lines under the ledger.

Owns the bytes: framing, checksums, the torn tail, the lock, and when a line counts as safe on disk. Knows nothing of jobs.

* A newline commits a line. What follows the last newline is a torn write and is cut off before the next append.
* Every line ends with a checksum of what stands before it: ``... ,"crc":"xxxxxxxx"}`` (CRC-32, hex). A line whose sum is wrong is
  reported with its number; nothing is repaired silently.
* The first line is the header: format, version, campaign, whether it is a rehearsal, a random id.
* ``append`` writes at once (a few microseconds) and all or nothing: when the disk is full the file is cut back to where it was.
* ``durable`` waits until everything appended so far is fsynced; concurrent callers share one fsync.
* One writer: the lock is an OS lock on ``<ledger>.lock``, which dies with its process; the file's text names the owner.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio
import anyio.to_thread
import msgspec

from runner.errors import LedgerCorrupt, LedgerError, LedgerLocked

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


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds the lock."""

    pid: int
    host: str
    since: float


@dataclass(frozen=True, slots=True)
class Line:
    """One committed line: its number from 1, byte offset, and JSON payload (checksum verified)."""

    number: int
    offset: int
    payload: bytes


def frame(document: bytes) -> bytes:
    """A JSON object's bytes as a journal line: checksum and newline added."""
    body = document[:-1]
    return b'%b,"crc":"%08x"}\n' % (body, zlib.crc32(body))


def unframe(line: bytes) -> bytes | None:
    """The payload of a line without its newline; None when the checksum is missing or wrong."""
    tail = line[-_CRC_BYTES:]
    if len(line) <= _CRC_BYTES or not tail.startswith(b',"crc":"') or not tail.endswith(b'"}'):
        return None
    body = line[:-_CRC_BYTES]
    if tail[8:16] != b"%08x" % zlib.crc32(body):
        return None
    return body + b"}"


def read_lines(path: Path) -> Iterator[Line]:
    """Every committed line in order, the header included. Raises ``LedgerCorrupt`` naming the first bad line."""
    with path.open("rb") as file:
        offset = 0
        for number, raw in enumerate(file, start=1):
            if not raw.endswith(b"\n"):
                return  # a torn tail was never committed
            payload = unframe(raw[:-1])
            if payload is None:
                raise LedgerCorrupt(
                    f"{path}: line {number} is not what was written (its checksum does not match)",
                    file=str(path),
                    line=number,
                    hint="restore the file from a backup, or move it aside; every line before this one is intact",
                )
            yield Line(number, offset, payload)
            offset += len(raw)


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
            f"{path}: the first line is not a ledger header", file=str(path), line=1, hint="is this a Callsheet ledger?"
        ) from None
    if header.version > VERSION:
        raise LedgerError(
            f"{path} was written by a newer Callsheet (ledger version {header.version}, this one reads {VERSION})",
            hint="upgrade: pip install --upgrade callsheet",
        )
    return header


class Lock:
    """The single-writer lock of one ledger. ``acquire`` raises ``LedgerLocked`` naming the owner."""

    def __init__(self, ledger: Path) -> None:
        self._path = ledger.with_name(ledger.name + ".lock")
        self._fd = -1

    def acquire(self, now: float) -> None:
        """Take the lock or raise. A lock whose process has died is free: the operating system let go of it."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        if not _lock_fd(fd):
            owner = _read_owner(fd)
            os.close(fd)
            raise LedgerLocked(
                f"another run holds {self._path.with_suffix('')}: process {owner.pid} on {owner.host}",
                pid=owner.pid,
                host=owner.host,
                hint="wait for it to end, or stop it; then run the same command again",
            )
        self._fd = fd
        record = msgspec.json.encode(Owner(pid=os.getpid(), host=socket.gethostname(), since=now))
        with contextlib.suppress(OSError):  # a full disk: the lock itself holds, only its owner's name is missing
            os.ftruncate(fd, 0)
            os.pwrite(fd, record + b"\n", 0)

    def release(self) -> None:
        """Let go. The file stays (removing it would race with the next owner), empty."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1


def lock_owner(ledger: Path) -> Owner | None:
    """Who holds the ledger's lock right now; None when nobody does.

    The lock itself is tried only where the owner's name alone cannot tell (that process is gone, or the file was left behind by a crash), so
    that asking never gets in the way of a run that is about to start.
    """
    try:
        fd = os.open(ledger.with_name(ledger.name + ".lock"), os.O_RDWR)
    except OSError:
        return None
    try:
        owner = _read_owner(fd)
        if owner.pid == 0 or _is_gone(owner):
            return None
        return None if _lock_fd(fd) else owner
    finally:
        os.close(fd)  # lets go of the lock, too, when it was free


def _is_gone(owner: Owner) -> bool:
    """Whether the owner's process certainly does not exist any more."""
    if os.name != "posix" or owner.host != socket.gethostname():
        return False
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _lock_fd(fd: int) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows has no flock; its own byte-range lock serves the same end
        return _lock_fd_windows(fd)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _lock_fd_windows(fd: int) -> bool:
    import importlib

    msvcrt = importlib.import_module("msvcrt")
    try:
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
    except OSError:
        return False
    return True


def _read_owner(fd: int) -> Owner:
    with contextlib.suppress(OSError, msgspec.DecodeError):
        return msgspec.json.decode(os.pread(fd, 4096, 0), type=Owner)
    return Owner(pid=0, host="an unknown host", since=0.0)


Sync = Callable[[int], None]


class Journal:
    """The open, locked journal. Make one with ``Journal.open``; close it, or use it as a context manager."""

    def __init__(self, path: Path, header: Header, lock: Lock, *, threaded: bool, sync: Sync) -> None:
        self.path = path
        self.header = header
        self._lock = lock
        self._threaded = threaded
        self._sync = sync
        self._fd = os.open(path, os.O_RDWR | os.O_APPEND)
        self.size = os.fstat(self._fd).st_size
        self._synced = 0
        self._syncing: anyio.Lock | None = None
        self._broken = ""
        self._unsafe = ""
        self.fsyncs = 0

    @classmethod
    def open(
        cls, path: Path, *, campaign: str, rehearsal: bool, now: float, threaded: bool = True, sync: Sync = os.fsync
    ) -> Journal:
        """Lock and open, creating file and folder; cut off a torn tail.

        ``threaded=False`` fsyncs inline (tests in virtual time). Raises ``LedgerLocked``, ``LedgerCorrupt``, ``LedgerError``.
        """
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
            _cut_torn_tail(path)
            header = read_header(path) or _create(path, campaign=campaign, rehearsal=rehearsal, now=now, sync=sync)
            _check_identity(path, header, campaign=campaign, rehearsal=rehearsal)
            return cls(path, header, lock, threaded=threaded, sync=sync)
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
        lines = [frame(document) for document in documents]
        block = b"".join(lines)
        written = 0
        try:
            while written < len(block):
                written += os.write(self._fd, block[written:] if written else block)
        except OSError as error:
            self._roll_back(error)
        offsets = []
        for line in lines:
            offsets.append(self.size)
            self.size += len(line)
        return offsets

    def _roll_back(self, error: OSError) -> None:
        self._broken = f"the ledger {self.path} cannot be written: {error.strerror}"
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, self.size)
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
                    await anyio.to_thread.run_sync(self._sync, self._fd)
                else:
                    self._sync(self._fd)
            except OSError as error:
                self._broken = self._unsafe = f"the ledger {self.path} cannot be made safe on disk: {error.strerror}"
                raise LedgerError(self._unsafe, hint="check the disk, then run again: it resumes") from error
            self.fsyncs += 1
            self._synced = max(self._synced, reached)

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
        with contextlib.suppress(OSError):
            self._sync(self._fd)
        os.close(self._fd)
        self._fd = -1
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _cut_torn_tail(path: Path) -> None:
    if not path.exists():
        return
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        position = end
        while position > 0:
            step = min(65536, position)
            file.seek(position - step)
            newline = file.read(step).rfind(b"\n")
            if newline >= 0:
                position = position - step + newline + 1
                break
            position -= step
        if position < end:
            file.truncate(position)
            file.flush()
            os.fsync(file.fileno())


def _create(path: Path, *, campaign: str, rehearsal: bool, now: float, sync: Sync) -> Header:
    header = Header(
        callsheet="ledger", version=VERSION, campaign=campaign, rehearsal=rehearsal, id=secrets.token_hex(8), created=now
    )
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        _write_whole(fd, frame(msgspec.json.encode(header)))
        sync(fd)
    except OSError as error:
        raise LedgerError(
            f"the ledger {path} cannot be written: {error.strerror}", hint="free some space and run again"
        ) from error
    finally:
        os.close(fd)
    sync_folder(path.parent)
    return header


def _write_whole(fd: int, line: bytes) -> None:
    """A disk that fills up takes a part without complaint, and refuses the rest."""
    written = 0
    while written < len(line):
        written += os.write(fd, line[written:])


def sync_folder(folder: Path) -> None:
    """Make a file's name in ``folder`` as safe as its bytes (where the system can)."""
    with contextlib.suppress(OSError):
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


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
