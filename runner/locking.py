"""The single-writer lock of a ledger.

Owns the lock file beside the ledger and what it says of its owner. The lock itself is the operating system's: it dies with its process, whatever
the file says, so that a lock left by a crash, or by another machine, is free. (On network file systems it may not reach other machines.)
"""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

import msgspec

from runner.errors import LedgerLocked


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds the lock."""

    pid: int
    host: str
    since: float


class Lock:
    """The single-writer lock of one ledger. ``acquire`` raises ``LedgerLocked`` naming the owner."""

    def __init__(self, ledger: Path) -> None:
        self._path = ledger.with_name(ledger.name + ".lock")
        self._fd = -1

    def acquire(self, now: float) -> None:
        """Take the lock or raise. A lock whose process has died is free: the operating system let go of it."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        if not lock_fd(fd):
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
        return None if lock_fd(fd) else owner
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


def lock_fd(fd: int) -> bool:
    """Lock an open file for this process; False when somebody else has it."""
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
