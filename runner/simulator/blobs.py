"""Pictures that clients sent, by digest, kept so that results can be drawn from them. In memory up to a bound; on disk with a state file."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from pathlib import Path

MEMORY = 192 * 1024 * 1024


class Blobs:
    """Bytes by digest; safe to use from several threads. What falls out of memory and is not on disk is forgotten: the media are then drawn without it."""

    def __init__(self, folder: Path | None, limit: int = MEMORY) -> None:
        self._folder = folder
        self._limit = limit
        self._size = 0
        self._held: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, data: bytes) -> str:
        """Keep ``data``; returns its digest."""
        digest = hashlib.blake2b(data, digest_size=16).hexdigest()
        if digest in self._held:
            return digest
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            target = self._folder / digest
            if not target.exists():
                part = target.with_suffix(f".{threading.get_ident()}.part")
                part.write_bytes(data)
                part.replace(target)
        self._hold(digest, data)
        return digest

    def get(self, digest: str) -> bytes | None:
        """The bytes, or None when they are gone."""
        data = self._held.get(digest)
        if data is None and self._folder is not None and (self._folder / digest).is_file():
            data = (self._folder / digest).read_bytes()
            self._hold(digest, data)
        return data

    def _hold(self, digest: str, data: bytes) -> None:
        with self._lock:
            if digest in self._held:
                return
            self._held[digest] = data
            self._size += len(data)
            while self._size > self._limit and len(self._held) > 1:
                _digest, dropped = self._held.popitem(last=False)
                self._size -= len(dropped)
