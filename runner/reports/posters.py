"""Small pictures of artifacts: one frame of a video, a small copy of a heavy still.

Owns ``posters/<sha256>.jpg`` beside the HTML report: drawn once per digest, found again by the next report. Media files are
foreign: only known containers are opened, nothing they refer to is followed, and what cannot be drawn is a reason, not an error.
"""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from runner.model import MediaKind, StoredArtifact
from runner.reports.links import inside
from runner.reports.writing import temporary_beside

if TYPE_CHECKING:
    import av
    from PIL.Image import Image

WIDTH = 320
MAX_HEIGHT = 1_280
QUALITY = 80
HEAVY_STILL_BYTES = 400_000
"""Larger stills get a small copy, so that a page of them opens fast."""
MAX_PIXELS = 80_000_000
MAX_FRAMES = 900
"""Most frames decoded to reach the first third; the frame reached by then is taken."""

MISSING = "The file is missing from the artifacts folder."
EMPTY = "The file is empty."
OUTSIDE = "The path leads out of the artifacts folder."
UNDECODABLE = "The file cannot be decoded."
TOO_LARGE = "The picture is too large to draw."

_SHA256 = re.compile(r"[0-9a-f]{64}")
# Formats that refer to other files (HLS, concat, DASH) are not among these, whatever a file calls itself.
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif,apng,mpegts,mpeg,ogg,flv,asf,wav,mp3,aac,flac"
_FILTERS = Lock()
_WORKERS = min(4, os.cpu_count() or 1)


class Undrawable(Exception):
    """A file of which no picture can be made; the message says why, for people."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What can be shown of an artifact: the poster's file name (empty: none was needed or possible) and the problem."""

    poster: str = ""
    problem: str = ""
    drawn: bool = False
    """Whether the file was decoded for it just now; else the poster was there already."""


@dataclass(slots=True)
class Posters:
    """The posters of one report: ``folder`` holds them, ``artifacts`` the files they are drawn from."""

    folder: Path
    artifacts: Path
    _known: dict[tuple[str, str], Picture] = field(default_factory=dict)

    def prepare(self, artifacts: Iterable[StoredArtifact]) -> None:
        """Make sure of the pictures of these artifacts, several at a time. Raises OSError when none can be written."""
        fresh = {_identity(item): item for item in artifacts if _identity(item) not in self._known}
        # One per digest: a file that several jobs share is decoded once.
        shared = {self._file_name(item): identity for identity, item in fresh.items()}
        first = {identity: fresh[identity] for identity in shared.values()}
        with ThreadPoolExecutor(max_workers=_WORKERS) as pool:
            self._known.update(zip(first, pool.map(self._picture, first.values()), strict=True))
        for identity, item in fresh.items():
            if identity not in self._known:
                self._known[identity] = self._picture(item)

    def of(self, artifact: StoredArtifact) -> Picture:
        """The artifact's picture."""
        identity = _identity(artifact)
        if identity not in self._known:
            self._known[identity] = self._picture(artifact)
        return self._known[identity]

    @property
    def drawn(self) -> int:
        """How many were decoded for this report; the others were there already."""
        return sum(picture.drawn for picture in self._known.values())

    def _picture(self, artifact: StoredArtifact) -> Picture:
        source = inside(self.artifacts, artifact.path)
        if source is None:
            return Picture(problem=OUTSIDE)
        problem = _problem_on_disk(source)
        if problem or not _needs_poster(artifact):
            return Picture(problem=problem)
        poster = self.folder / self._file_name(artifact)
        if _is_filled(poster):
            return Picture(poster=poster.name)
        try:
            self._draw(artifact, source, poster)
        except Undrawable as reason:
            return Picture(problem=str(reason))
        return Picture(poster=poster.name, drawn=True)

    def _draw(self, artifact: StoredArtifact, source: Path, poster: Path) -> None:
        image = frame_of(source) if artifact.info.kind is MediaKind.VIDEO else small_copy(source)
        self.folder.mkdir(parents=True, exist_ok=True)
        with temporary_beside(poster) as temporary:
            image.save(temporary, format="JPEG", quality=QUALITY, optimize=True)
            temporary.replace(poster)

    def _file_name(self, artifact: StoredArtifact) -> str:
        digest = artifact.sha256
        if not _SHA256.fullmatch(digest):
            # Never from a foreign text directly: it becomes a file name.
            digest = hashlib.sha256(f"{digest}\0{artifact.path}".encode("utf-8", "replace")).hexdigest()
        return f"{digest}.jpg"


def frame_of(source: Path) -> Image:
    """The frame a third into the video, ``WIDTH`` pixels wide. Raises ``Undrawable``."""
    import av

    try:
        with av.open(
            str(source), options={"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}, metadata_errors="replace"
        ) as container:
            if not container.streams.video:
                raise Undrawable(UNDECODABLE)
            return _frame_a_third_in(container, container.streams.video[0])
    except (av.FFmpegError, OSError, ValueError, MemoryError) as error:
        raise Undrawable(UNDECODABLE) from error


def small_copy(source: Path) -> Image:
    """The still, ``WIDTH`` pixels wide on white. Raises ``Undrawable``."""
    from PIL import Image, ImageOps

    try:
        with _opened(source) as opened:
            opened.draft("RGB", (WIDTH * 2, MAX_HEIGHT * 2))
            upright = ImageOps.exif_transpose(opened).convert("RGBA")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Undrawable(TOO_LARGE) from error
    except (OSError, ValueError, SyntaxError, MemoryError) as error:
        raise Undrawable(UNDECODABLE) from error
    width, height = _poster_size(upright.width, upright.height)
    ground = Image.new("RGBA", upright.size, "white")
    ground.alpha_composite(upright)
    return ground.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)


def _opened(source: Path) -> Image:
    """The still, not decoded yet; too many pixels are an error, never a warning on the terminal."""
    from PIL import Image

    # Warning filters belong to the process, so only one thread at a time may change them.
    with _FILTERS, warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return Image.open(source)


def _frame_a_third_in(container: av.container.InputContainer, stream: av.VideoStream) -> Image:
    width, height = stream.codec_context.width, stream.codec_context.height
    if width <= 0 or height <= 0:
        raise Undrawable(UNDECODABLE)
    if width * height > MAX_PIXELS:
        raise Undrawable(TOO_LARGE)
    wanted = _third_of(container, stream)
    if wanted and stream.time_base:
        container.seek(int(wanted / stream.time_base), stream=stream)
    frame = None
    for count, decoded in enumerate(container.decode(stream)):
        frame = decoded
        if count >= MAX_FRAMES or wanted is None or decoded.time is None or decoded.time >= wanted:
            break
    if frame is None:
        raise Undrawable(UNDECODABLE)
    from PIL import Image

    width, height = _poster_size(frame.width, frame.height)
    plane = frame.reformat(width=width, height=height, format="rgb24").planes[0]
    return Image.frombytes("RGB", (width, height), bytes(plane), "raw", "RGB", plane.line_size)


def _third_of(container: av.container.InputContainer, stream: av.VideoStream) -> float | None:
    """Where the first third ends, in seconds of the stream's own time; None when the length is not known."""
    start = float(stream.start_time * stream.time_base) if stream.start_time and stream.time_base else 0.0
    if stream.duration and stream.time_base:
        return start + float(stream.duration * stream.time_base) / 3
    # The container's length counts microseconds.
    return start + container.duration / 1_000_000 / 3 if container.duration else None


def _poster_size(width: int, height: int) -> tuple[int, int]:
    return WIDTH, max(1, min(MAX_HEIGHT, round(height * WIDTH / width)))


def _needs_poster(artifact: StoredArtifact) -> bool:
    if artifact.info.kind is MediaKind.VIDEO:
        return True
    return artifact.info.kind is MediaKind.IMAGE and artifact.info.bytes > HEAVY_STILL_BYTES


def _problem_on_disk(source: Path) -> str:
    try:
        if not source.is_file():
            return MISSING
        return "" if source.stat().st_size else EMPTY
    except OSError:
        return MISSING


def _is_filled(path: Path) -> bool:
    return not _problem_on_disk(path)


def _identity(artifact: StoredArtifact) -> tuple[str, str]:
    return (artifact.sha256, artifact.path)
