"""What the ledger asks of the operating system's disk.

Owns the few calls through which bytes become safe, behind one narrow seam, and the one way in which a whole file is replaced: temp, write,
fsync, rename, fsync of the folder. Whoever dies in between leaves the old file or the new one, never neither. Knows nothing of what it writes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol


class Disk(Protocol):
    """The calls of ``os`` that decide what is left after a crash; all raise ``OSError``."""

    def write(self, fd: int, data: bytes) -> int:
        """Write some of ``data``; how many bytes were taken."""
        ...

    def fsync(self, fd: int) -> None:
        """Return once everything written to ``fd`` is on the disk."""
        ...

    def ftruncate(self, fd: int, size: int) -> None:
        """Cut the file to ``size`` bytes."""
        ...

    def replace(self, source: Path, target: Path) -> None:
        """Give ``source`` the name ``target``; what had that name is gone."""
        ...

    def sync_folder(self, folder: Path) -> None:
        """Make the names in ``folder`` as safe as the bytes (where the system can)."""
        ...


class RealDisk:
    """The machine's."""

    def write(self, fd: int, data: bytes) -> int:
        """Write some of ``data``; how many bytes were taken."""
        return os.write(fd, data)

    def fsync(self, fd: int) -> None:
        """Return once everything written to ``fd`` is on the disk."""
        os.fsync(fd)

    def ftruncate(self, fd: int, size: int) -> None:
        """Cut the file to ``size`` bytes."""
        os.ftruncate(fd, size)

    def replace(self, source: Path, target: Path) -> None:
        """Give ``source`` the name ``target``."""
        source.replace(target)

    def sync_folder(self, folder: Path) -> None:
        """Make the names in ``folder`` as safe as the bytes; where folders cannot be fsynced there is nothing to do."""
        with contextlib.suppress(OSError):
            fd = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)


REAL_DISK: Disk = RealDisk()


def write_all(disk: Disk, fd: int, data: bytes) -> None:
    """Write every byte, however many calls that takes. Raises ``OSError``."""
    written = 0
    while written < len(data):
        written += disk.write(fd, data[written:] if written else data)


def replace_file(path: Path, blocks: Iterable[bytes], disk: Disk = REAL_DISK) -> None:
    """Put a new file in the place of ``path``, all or nothing, durable on return. Raises ``OSError``."""
    temporary = path.with_name(f"{path.name}.new")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        try:
            for block in blocks:
                write_all(disk, fd, block)
            disk.fsync(fd)
        finally:
            os.close(fd)
        disk.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    disk.sync_folder(path.parent)


def remove_file(path: Path, disk: Disk = REAL_DISK) -> None:
    """Remove ``path`` if it is there, durable on return. Raises ``OSError``."""
    path.unlink(missing_ok=True)
    disk.sync_folder(path.parent)
