"""The finished files of a run: verified, then put in place, each with a sidecar that says where it came from.

Owns everything below ``artifacts/``: ``.partial/`` for downloads under way, ``superseded/`` for paid results that others have replaced,
and the results themselves. It never overwrites a result, never leaves a result without its sidecar, and never writes outside its
folder, whatever a path or a link says.

The order is what makes it safe to die at any moment: verify, fsync the file, sidecar of a replaced file, replaced file, new
sidecar, new file; every one of these appears by a rename.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import re
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final, Protocol, TypeVar

import anyio.to_thread
import msgspec

from runner.bounds import USUAL, InputLimits
from runner.errors import ArtifactError, VerificationFailed
from runner.media import MediaError, probe
from runner.model import JSON, MediaInfo, RemoteOutput, StoredArtifact
from runner.seams import Expected, Fetched

SECONDS_TOLERANCE: Final = 0.75
"""A result may be this much longer or shorter than ordered, in seconds ..."""
SECONDS_SHARE: Final = 0.15
"""... or this share of the order, whichever is more: models work in steps of a few frames, and round."""
ASPECT_SHARE: Final = 0.03
"""Width / height may differ by this share: encoders round sides to multiples of 8 or 16."""

PARTIAL: Final = ".partial"
SUPERSEDED: Final = "superseded"

_EXTENSIONS: Final = {"jpeg": "jpg", "mpegts": "ts"}
_ALL_EXTENSIONS: Final = (
    "png", "jpg", "webp", "gif", "bmp", "avif", "mp4", "mov", "webm", "mkv", "avi", "flv", "ts",
    "mp3", "wav", "m4a", "aac", "flac", "ogg",
)  # fmt: skip
_DRIVE: Final = re.compile(r"[A-Za-z]:")
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")
_LINK_TAIL: Final = re.compile(r"(https?://[^\s?#\"'<>]*)[?#][^\s\"'<>]*", re.IGNORECASE)
_LINK_USER: Final = re.compile(r"(https?://)[^\s/?#@\"'<>]*@", re.IGNORECASE)
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_NOT_MEDIA: Final = frozenset({"application/json", "application/xml", "application/xhtml+xml", "application/javascript"})

T = TypeVar("T")


class Offload(Protocol):
    """Runs a blocking call; tests in virtual time run it inline."""

    def __call__(self, call: Callable[[], T], /) -> Awaitable[T]:
        """The call's result."""
        ...


class ArtifactStore:
    """The folder ``root`` of finished files. ``rehearsal`` is written into every sidecar."""

    def __init__(
        self, root: Path, *, rehearsal: bool, offload: Offload = anyio.to_thread.run_sync, limits: InputLimits = USUAL
    ) -> None:
        self._limits: Final = limits
        self.root: Final = root
        """The folder that the paths of stored artifacts are relative to."""
        self._rehearsal: Final = rehearsal
        self._offload: Final = offload

    def partial(self, job_key: str, name: str) -> Path:
        """A new, unused path for a download of this job's output ``name``. Raises ``ArtifactError``."""
        readable = _UNSAFE.sub("_", f"{job_key}-{name}")[:100].strip("._") or "download"
        with _said("prepare the download folder"):
            return self._inside(PARTIAL) / f"{readable}.{secrets.token_hex(6)}"

    def sweep(self) -> int:
        """Remove what a killed run left of its downloads; rejected files stay for inspection. How many were removed."""
        removed = 0
        with _said("clear the download folder"):
            for leftover in self._inside(PARTIAL).iterdir():
                if leftover.suffix != ".rejected" and (leftover.is_symlink() or leftover.is_file()):
                    leftover.unlink(missing_ok=True)
                    removed += 1
        return removed

    async def store(
        self, fetched: Fetched, *, output: RemoteOutput, expected: Expected, path: str, provenance: Mapping[str, JSON]
    ) -> StoredArtifact:
        """Verify a download and put it at ``path`` (relative, ``/``, without extension), its sidecar beside it.

        The extension is that of the real format. A different file that stands there is kept below ``superseded/``; the same file
        is left as it is. ``provenance`` goes into the sidecar, without the query part of any link; it must hold no secrets.
        Raises ``VerificationFailed`` (the file is kept as ``.partial/*.rejected``) and ``ArtifactError``.
        """
        return await self._offload(lambda: self._store(fetched, output, expected, path, provenance))

    def _store(
        self, fetched: Fetched, output: RemoteOutput, expected: Expected, path: str, provenance: Mapping[str, JSON]
    ) -> StoredArtifact:
        stem = _checked(path)
        try:
            with _said(f"store {path}"):
                info = self._verify(fetched, output, expected)
                placed = stem.with_name(f"{stem.name}.{_EXTENSIONS.get(info.format, info.format)}")
                stored = StoredArtifact(output.name, placed.as_posix(), fetched.sha256, info)
                self._place(fetched.path, stored, stem, _sidecar(stored, provenance, rehearsal=self._rehearsal))
                return stored
        except VerificationFailed as error:
            raise self._rejected(fetched, error) from error
        except ArtifactError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in _FULL:
                with contextlib.suppress(OSError):
                    fetched.path.unlink(missing_ok=True)
            raise

    # ------------------------------------------------------------------------------------------------ verifying

    def _verify(self, fetched: Fetched, output: RemoteOutput, expected: Expected) -> MediaInfo:
        """Raises ``VerificationFailed``; ``OSError`` when the file has gone."""
        fetched.path.stat()
        if fetched.declared_length is not None and fetched.declared_length != fetched.bytes:
            raise _failed(f"{fetched.declared_length:,} bytes", f"{fetched.bytes:,} bytes", damaged=True)
        try:
            info = probe(fetched.path, decode=True, limits=self._limits)
        except MediaError as error:
            raise _failed(f"a {output.kind} file", error.message.removeprefix(f"{fetched.path.name}: "), damaged=True) from error
        if info.bytes != fetched.bytes or _sha256(fetched.path) != fetched.sha256:
            raise _failed(f"{fetched.bytes:,} bytes as they were received", f"{info.bytes:,} other bytes on disk", damaged=True)
        kind = fetched.content_type.partition(";")[0].strip().lower()
        if kind.startswith("text/") or kind in _NOT_MEDIA:
            raise _failed(f"a {output.kind} file", f"an answer of type {kind}", damaged=True)
        if info.kind is not output.kind:
            raise _failed(f"a {output.kind} file", f"{info.kind} ({info.format})")
        _check_order(expected, info)
        return info

    def _rejected(self, fetched: Fetched, error: VerificationFailed) -> ArtifactError:
        """Put the file aside for a person to look at."""
        kept = fetched.path.with_name(f"{fetched.path.name}.rejected")
        try:
            fetched.path.replace(kept)
        except OSError:
            return error
        hint = f"The file is kept as {kept}."
        return VerificationFailed(error.message, expected=error.expected, got=error.got, hint=hint, damaged=error.damaged)

    # -------------------------------------------------------------------------------------------------- placing

    def _place(self, partial: Path, stored: StoredArtifact, stem: PurePosixPath, sidecar: bytes) -> None:
        final = self._file(PurePosixPath(stored.path))
        _sync(partial)
        if _stands(final) and _sha256(final) == stored.sha256:
            if not _stands(_sidecar_of(final)):
                self._write(_sidecar_of(final), sidecar)
            partial.unlink(missing_ok=True)
            return
        for old in self._replaced(final, stem, stored.name):
            self._supersede(old)
        self._write(_sidecar_of(final), sidecar)
        partial.replace(final)
        _sync(final.parent)

    def _replaced(self, final: Path, stem: PurePosixPath, output: str) -> Iterator[Path]:
        """What the new file takes the place of: the same name, or the same output of the job in another format."""
        if _stands(final):
            yield final
        for extension in _ALL_EXTENSIONS:
            other = final.with_name(f"{stem.name}.{extension}")
            if other != final and _stands(other) and _output_of(_sidecar_of(other)) == output:
                yield other

    def _supersede(self, old: Path) -> None:
        """Keep a paid result under its digest, its sidecar first."""
        sha256 = _sha256(old)
        relative = PurePosixPath(old.relative_to(self.root).as_posix())
        kept = self._file(PurePosixPath(SUPERSEDED, sha256[:16]) / relative)
        if _stands(kept) and _sha256(kept) != sha256:
            kept = self._file(PurePosixPath(SUPERSEDED, sha256) / relative)
        sidecar = _sidecar_of(old)
        if _stands(sidecar):
            self._write(_free(_sidecar_of(kept)), sidecar.read_bytes())
        old.replace(kept)
        _sync(kept.parent)
        sidecar.unlink(missing_ok=True)

    def _write(self, target: Path, content: bytes) -> None:
        """Temp file, fsync, rename, fsync of the folder."""
        if target.is_symlink():
            raise ArtifactError(f"{target} is a link", hint="Remove the link; results are written as files.")
        temporary = self._inside(PARTIAL) / f"sidecar.{secrets.token_hex(6)}"
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        _sync(target.parent)

    # ---------------------------------------------------------------------------------------------------- paths

    def _file(self, relative: PurePosixPath) -> Path:
        """Where a file lies; its folders exist, and no link leads to it."""
        final = self._inside(*relative.parts[:-1]) / relative.name
        if final.is_symlink() or final.is_dir():
            raise ArtifactError(f"{final} is a link or a folder", hint="Move it away; a result belongs there.")
        return final

    def _inside(self, *parts: str) -> Path:
        """A folder below the root, made if need be. Links on the way are refused: they may lead anywhere."""
        self.root.mkdir(parents=True, exist_ok=True)
        folder = self.root
        for part in parts:
            folder /= part
            if folder.is_symlink():
                raise ArtifactError(f"{folder} is a link", hint="Remove the link; results stay below the run's folder.")
            folder.mkdir(exist_ok=True)
        return folder


def _checked(path: str) -> PurePosixPath:
    """The path when it stays below the root. Raises ``ArtifactError``."""
    parts = path.split("/")
    odd = any(part in ("", ".", "..") or part != part.strip() or len(part.encode("utf-8", "replace")) > 200 for part in parts)
    if odd or "\\" in path or _DRIVE.match(path) or not path.isprintable() or parts[0] in (PARTIAL, SUPERSEDED):
        raise ArtifactError(f"{path[:200]!r} cannot be the path of a result", hint="Correct `artifacts: path:` in the manifest.")
    return PurePosixPath(path)


def _stands(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _sidecar_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _free(path: Path) -> Path:
    """The path itself, or with a number where another one stands."""
    names = itertools.chain([path], (path.with_name(f"{path.stem}.{number}{path.suffix}") for number in itertools.count(2)))
    return next(name for name in names if not name.exists())


def _output_of(sidecar: Path) -> str:
    try:
        found = msgspec.json.decode(sidecar.read_bytes(), type=dict[str, msgspec.Raw]).get("output")
        return str(msgspec.json.decode(found)) if found is not None else ""
    except (OSError, ValueError, msgspec.MsgspecError):
        return ""


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, hashlib.sha256).hexdigest()


def _sync(path: Path) -> None:
    """Make a file, or the names in a folder, durable."""
    if os.name == "nt" and path.is_dir():
        return
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _said(what: str) -> Iterator[None]:
    """Failures of the disk in words for people."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        hint = (
            "Free some space, then run again: nothing is paid twice."
            if error.errno in _FULL
            else "Check the folder and its rights."
        )
        raise ArtifactError(f"cannot {what}: {reason}", hint=hint) from error


# ---------------------------------------------------------------------------------------------------------- facts


def _failed(expected: str, got: str, *, damaged: bool = False) -> VerificationFailed:
    message = f"the result is not what was ordered: expected {expected}, got {got}"
    return VerificationFailed(message, expected=expected, got=got, damaged=damaged)


def _check_order(expected: Expected, info: MediaInfo) -> None:
    """Play time and shape, within the tolerances above. Raises ``VerificationFailed``."""
    if expected.seconds is not None:
        allowed = max(SECONDS_TOLERANCE, SECONDS_SHARE * expected.seconds)
        if info.seconds is None or abs(info.seconds - expected.seconds) > allowed:
            got = "an unknown play time" if info.seconds is None else f"{info.seconds:.2f} s"
            raise _failed(f"{expected.seconds:g} s (give or take {allowed:.2f} s)", got)
    if expected.aspect is not None:
        if not info.width or not info.height:
            raise _failed(f"an aspect of {expected.aspect:.3f}", "no picture")
        if abs(info.width / info.height / expected.aspect - 1) > ASPECT_SHARE:
            got = f"{info.width} x {info.height} pixels, {info.width / info.height:.3f}"
            raise _failed(f"an aspect (width / height) of {expected.aspect:.3f}", got)


def _sidecar(stored: StoredArtifact, provenance: Mapping[str, JSON], *, rehearsal: bool) -> bytes:
    """The provenance, and what the store itself knows; the store's facts win."""
    facts: dict[str, JSON] = {
        "callsheet": 1,
        "rehearsal": rehearsal,
        "output": stored.name,
        "file": stored.path,
        "sha256": stored.sha256,
        "media": {name: value for name, value in msgspec.to_builtins(stored.info).items() if value is not None},
    }
    document = {**{key: _scrubbed(value) for key, value in provenance.items()}, **facts}
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def _scrubbed(value: JSON) -> JSON:
    """Without what links carry after ``?`` and ``#`` or before ``@``: signatures, and passwords."""
    if isinstance(value, str):
        return _LINK_TAIL.sub(r"\1", _LINK_USER.sub(r"\1", value)) if "://" in value else value
    if isinstance(value, Mapping):
        return {key: _scrubbed(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_scrubbed(item) for item in value]
    return value
