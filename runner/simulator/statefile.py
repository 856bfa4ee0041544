"""The JSON-lines file that a killed simulator goes on from. Every line is handed to the system before the reply leaves.

A newline commits a line: a torn tail, left by a kill in mid-write, is cut off at the next start.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import msgspec

_encode = msgspec.json.Encoder().encode


class StateFile:
    """Append-only state; without a path it remembers nothing. ``blobs`` is the folder for pictures beside it."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self.blobs = path.with_name(path.name + ".blobs") if path else None

    def open(self) -> list[dict[str, Any]]:
        """Read what is there, cut a torn tail, and open for appending. Raises ValueError for a damaged line."""
        if self._path is None:
            return []
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lines = self._read(self._path)
        self._file = self._path.open("ab", buffering=0)
        return lines

    def write(self, kind: str, /, **values: object) -> None:
        """Append one fact under the key ``k``; it survives the process from here on."""
        if self._file is not None:
            self._file.write(_encode({"k": kind, **values}) + b"\n")

    def close(self) -> None:
        """Close the file; harmless when repeated."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _read(self, path: Path) -> list[dict[str, Any]]:
        if not path.exists():
            return []
        raw = path.read_bytes()
        whole = raw.rfind(b"\n") + 1
        if whole != len(raw):
            with path.open("r+b") as file:
                file.truncate(whole)
        lines = []
        for number, line in enumerate(raw[:whole].splitlines(), 1):
            try:
                lines.append(msgspec.json.decode(line, type=dict[str, Any]))
            except msgspec.DecodeError as error:
                message = f"{path}:{number} is not a line of simulator state ({error}); remove the file to start afresh"
                raise ValueError(message) from None
        return lines
