"""The media behind result links: says what is to be drawn, leaves the drawing to a media maker, and serves bytes.

Nothing is drawn before somebody asks for it. Foreign pictures are never fetched: there is no network here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from email.utils import formatdate
from typing import TYPE_CHECKING, Literal, Protocol

import anyio.to_thread

from runner.simulator.blobs import Blobs
from runner.simulator.links import MediaRef
from runner.simulator.web import Reply, Request

if TYPE_CHECKING:
    from runner.simulator.media import MediaOrder

MEDIA_TYPES = {"mp4": "video/mp4", "png": "image/png", "jpg": "image/jpeg", "wav": "audio/wav", "mp3": "audio/mpeg"}
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_KINDS = {"still": "image", "clip": "video", "speech": "audio"}
DEEPEST = 3
"""How far a picture made from a picture made from a picture is followed."""


@dataclass(frozen=True, slots=True)
class Shot:
    """What to draw. ``picture`` names its source: ``blob:<digest>``, ``media:<reference>`` or nothing."""

    kind: Literal["still", "clip", "speech"]
    provider: str
    title: str
    prompt: str = ""
    width: int = 360
    height: int = 640
    seconds: float = 5.0
    seed: int = 0
    picture: str = ""
    label: str = ""


BENCH = {
    "still": Shot("still", "bench", "bench", width=96, height=96),
    "clip": Shot("clip", "bench", "bench", width=96, height=96, seconds=1.0),
    "speech": Shot("speech", "bench", "bench", seconds=2.0),
}


class MediaSource(Protocol):
    """Draws; safe to call from several threads. It remembers what it has drawn."""

    def still(self, order: MediaOrder) -> bytes:
        """A PNG or JPEG."""
        ...

    def clip(self, order: MediaOrder) -> bytes:
        """An MP4."""
        ...

    def speech(self, order: MediaOrder) -> bytes:
        """A WAV or MP3."""
        ...


class Studio:
    """Has shots drawn from the pictures that belong to them."""

    def __init__(self, maker: MediaSource, blobs: Blobs, find: Callable[[MediaRef], Shot | None], *, bench: bool) -> None:
        self._maker = maker
        self._blobs = blobs
        self._find = find
        self._bench = bench
        self._fixed: dict[str, bytes] = {}

    async def draw(self, shot: Shot) -> bytes:
        """The file for ``shot``, drawn in a thread; the maker remembers what it has drawn."""
        if not self._bench:
            picture = await self._picture(shot.picture, 0)
            return await anyio.to_thread.run_sync(self._make, shot, picture)
        if shot.kind not in self._fixed:
            self._fixed[shot.kind] = await anyio.to_thread.run_sync(self._make, BENCH[shot.kind], None)
        return self._fixed[shot.kind]

    def _make(self, shot: Shot, picture: bytes | None) -> bytes:
        from runner.simulator.media import MediaOrder

        order = MediaOrder(
            kind=_KINDS[shot.kind],
            provider=shot.provider,
            title=shot.title,
            prompt=shot.prompt,
            width=shot.width,
            height=shot.height,
            seconds=shot.seconds,
            seed=shot.seed,
            picture=picture,
            label=shot.label,
        )
        make = {"still": self._maker.still, "clip": self._maker.clip, "speech": self._maker.speech}[shot.kind]
        return make(order)

    async def _picture(self, source: str, depth: int) -> bytes | None:
        kind, _, name = source.partition(":")
        if kind == "blob":
            return self._blobs.get(name)
        if kind != "media" or depth >= DEEPEST:
            return None
        provider, _, rest = name.partition("/")
        task, _, tail = rest.rpartition("_")
        shot = self._find(MediaRef(provider, task, tail[:1], int(tail[1:])))
        if shot is None or shot.kind != "still":
            return None
        return await self.draw(replace(shot, picture=shot.picture if depth + 1 < DEEPEST else ""))


def serve_bytes(request: Request, data: bytes, extension: str, changed: float) -> Reply:
    """``data`` as a static file server would send it: ETag, Last-Modified, one byte range, HEAD."""
    headers = {
        "accept-ranges": "bytes",
        "etag": '"' + hashlib.blake2b(data, digest_size=16).hexdigest() + '"',
        "last-modified": formatdate(changed, usegmt=True),
    }
    head = request.method == "HEAD"
    reply = Reply(200, data, MEDIA_TYPES.get(extension, "application/octet-stream"), headers, head=head)
    match = _RANGE.fullmatch(request.headers.get("range", ""))
    if match is None or match.groups() == ("", "") or _stale(request, headers["etag"]):
        return reply
    first, last = _bounds(match[1], match[2], len(data))
    if first >= len(data) or first > last:
        headers["content-range"] = f"bytes */{len(data)}"
        return Reply(416, b"", "text/plain", headers, head=head)
    headers["content-range"] = f"bytes {first}-{last}/{len(data)}"
    return Reply(206, data[first : last + 1], reply.media_type, headers, head=head)


def _stale(request: Request, etag: str) -> bool:
    wanted = request.headers.get("if-range")
    return wanted is not None and wanted != etag


def _bounds(first: str, last: str, size: int) -> tuple[int, int]:
    if not first:
        return max(0, size - int(last)), size - 1
    return int(first), min(int(last), size - 1) if last else size - 1
