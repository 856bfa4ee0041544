"""Puts report files in place whole: written beside the target, then renamed over it.

Owns no format. A reader sees the old file or the new one, never half of one. No fsync: a report can always be made again.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

_FILE_MODE = 0o644


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """A text file (UTF-8, newlines as written) that takes ``path``'s place when the block ends well. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary_beside(path) as temporary:
        with temporary.open("w", encoding="utf-8", newline="") as stream:
            yield stream
        temporary.replace(path)


def replace_text(path: Path, text: str) -> None:
    """Write one text file whole. Raises OSError."""
    with replacing(path) as stream:
        stream.write(text)


@contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """An empty file with a name of its own in ``path``'s folder, removed at the end if it is still there."""
    handle, name = tempfile.mkstemp(prefix=f".{path.stem[:40]}.", suffix=f".part{path.suffix}", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        # mkstemp makes private files; a report is meant to be shared.
        temporary.chmod(_FILE_MODE)
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
