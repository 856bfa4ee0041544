"""Digests that decide whether a job is the same as before, and the remembered SHA-256 of input files.

Owns what "unchanged" means. ``digest``, ``field_digests``, ``fingerprint`` and ``changed_fields`` are pure. The rules, which may never
change without a new life of every ledger:

* A value's digest is that of its JSON bytes with sorted keys: order of keys, tuple or list, and YAML spelling do not matter.
* ``1``, ``1.0``, ``"1"``, ``true`` differ, because they differ on the wire. Text counts as its code points: it is never normalised.
* A local file counts by its content: moving or renaming it changes nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import stat
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec

from runner.errors import UsageError
from runner.model import JSON

FIELD_DIGITS: Final = 10
"""Hex digits of a parameter's digest: enough to tell one parameter's old value from its new one."""

_BYTES: Final = 16
_ASSET: Final = b"asset\0"
_MAX_CACHE: Final = 256 << 20


def _as_builtin(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence):
        return list(value)
    raise TypeError(f"a {type(value).__name__} cannot be part of a fingerprint; only JSON values can")


_ENCODER: Final = msgspec.json.Encoder(order="sorted", enc_hook=_as_builtin)


def _canonical(value: JSON) -> bytes:
    try:
        encoded = _ENCODER.encode(value)
    except OverflowError:  # integers beyond 64 bits
        encoded = json.dumps(_thawed(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    if b"null" in encoded:
        _refuse_not_finite(value)
    return encoded


def _thawed(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _thawed(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_thawed(item) for item in value]
    return value


def _refuse_not_finite(value: object) -> None:
    """NaN and infinity would be written as ``null`` and pass for it."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not a JSON number")
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, Sequence) and not isinstance(value, str):
        for item in value:
            _refuse_not_finite(item)


def digest(value: JSON) -> str:
    """128 bits as 32 hex digits. Raises ``ValueError`` for NaN, infinity and broken Unicode, ``TypeError`` for what is not JSON."""
    return blake2b(_canonical(value), digest_size=_BYTES).hexdigest()


def field_digests(params: Mapping[str, JSON], assets: Mapping[str, str]) -> dict[str, str]:
    """Parameter name -> 10 hex digits, sorted by name. ``assets``: name -> SHA-256 of the local file that stands behind it."""
    found: dict[str, str] = {}
    for name in sorted(params.keys() | assets.keys()):
        sha256 = assets.get(name)
        content = _canonical(params[name]) if sha256 is None else _ASSET + sha256.encode()
        found[name] = blake2b(content, digest_size=FIELD_DIGITS // 2).hexdigest()
    return found


def fingerprint(operation: str, fields: Mapping[str, str], *, take: int = 0) -> str:
    """Everything that decides the result, as 32 hex digits. ``take`` tells variants of the same inputs apart."""
    return blake2b(_ENCODER.encode((operation, take, fields)), digest_size=_BYTES).hexdigest()


def changed_fields(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[str, ...]:
    """Names that were added, taken away or changed, sorted."""
    return tuple(sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name)))


class _Known(msgspec.Struct, frozen=True, array_like=True):
    """What a file looked like when it was read. The change time catches edits that put the modification time back."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    sha256: str = ""

    def same_file(self, other: _Known) -> bool:
        return (self.size, self.mtime_ns, self.ctime_ns, self.inode) == (other.size, other.mtime_ns, other.ctime_ns, other.inode)


class _Cache(msgspec.Struct):
    version: int
    files: dict[str, _Known]


class AssetDigests:
    """SHA-256 of local files, read once as long as they stay the same.

    With ``cache``, a small JSON file, what was read survives the process: call ``save`` at the end. A damaged, foreign or missing
    cache only costs reading again. Not for use from several threads at once.
    """

    def __init__(self, cache: Path | None = None) -> None:
        self._cache = cache
        self._known = _load(cache) if cache is not None else {}
        self._dirty = False

    def sha256(self, path: Path) -> str:
        """64 hex digits. Raises ``UsageError`` when there is no readable file."""
        name = os.path.abspath(path)  # noqa: PTH100  # Path.absolute keeps '..', and this runs once for each job
        try:
            now = _look(name)
            known = self._known.get(name)
            if known is None or not known.same_file(now):
                known = self._known[name] = _read(name, now)
                self._dirty = True
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise UsageError(
                f"cannot read {path}: {reason}", hint="Check the path, which is relative to the manifest."
            ) from error
        return known.sha256

    def save(self) -> None:
        """Write the cache when something new was read. A cache that cannot be written is left alone."""
        if self._cache is None or not self._dirty:
            return
        temporary = self._cache.with_name(f".{self._cache.name}.{os.getpid()}.tmp")
        try:
            self._cache.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(msgspec.json.encode(_Cache(version=1, files=self._known)))
            temporary.replace(self._cache)
            self._dirty = False
        except (OSError, UnicodeError):
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def _load(cache: Path) -> dict[str, _Known]:
    try:
        if cache.stat().st_size > _MAX_CACHE:
            return {}
        found = msgspec.json.decode(cache.read_bytes(), type=_Cache)
    except (OSError, ValueError, RecursionError, msgspec.MsgspecError):
        return {}
    return {name: known for name, known in found.files.items() if _is_sha256(known.sha256)} if found.version == 1 else {}


def _is_sha256(text: str) -> bool:
    return len(text) == 64 and set(text) <= set("0123456789abcdef")


def _look(name: str) -> _Known:
    found = os.stat(name)  # noqa: PTH116  # the same call without building a Path for each job
    if not stat.S_ISREG(found.st_mode):
        raise OSError(f"{name} is not a file")
    return _Known(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def _read(name: str, before: _Known) -> _Known:
    """Read until the file looked the same before and after."""
    for _ in range(3):
        with open(name, "rb") as file:  # noqa: PTH123  # as above
            sha256 = hashlib.file_digest(file, hashlib.sha256).hexdigest()
        after = _look(name)
        if after.same_file(before):
            return _Known(after.size, after.mtime_ns, after.ctime_ns, after.inode, sha256)
        before = after
    raise OSError(f"{name} keeps changing while it is read")
