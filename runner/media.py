"""What a media file really is, and whether it keeps a provider's documented rules.

Owns opening files: images with Pillow, audio and video with PyAV, always by content and never by name. Only formats on a literal
list are opened, each by its own reader, so that a file can neither pull in other files nor reach the network. Both libraries are
loaded on first use. Everything blocks: call it from a worker thread.
"""

from __future__ import annotations

import re
import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final
from urllib.parse import urlsplit

from runner.bounds import USUAL, InputLimits, raised_by
from runner.errors import UsageError
from runner.model import MediaInfo, MediaKind
from runner.seams import MediaRule

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.stream import VideoStream
    from PIL.ImageFile import ImageFile

_HEAD: Final = 4096
_MAX_BOXES: Final = 100_000
_SLACK: Final = 1e-6
_UNTIMED: Final = frozenset({"mp3", "aac", "mpegts"})
"""Formats whose header tells no exact play time."""
_IMAGE_NAMES: Final = {
    "PNG": "png",
    "JPEG": "jpeg",
    "MPO": "jpeg",
    "WEBP": "webp",
    "GIF": "gif",
    "BMP": "bmp",
    "AVIF": "avif",
}
_BRANDS: Final = {b"qt  ": "mov", b"M4A ": "m4a", b"M4B ": "m4a"}
_PICTURE_BRANDS: Final = {b"avif": "AVIF", b"avis": "AVIF"}
_HEIC: Final = frozenset({b"heic", b"heix", b"hevc", b"mif1", b"msf1"})
_BOXES: Final = frozenset(
    {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"moof", b"styp", b"sidx", b"udta", b"uuid", b"mfra", b"meta"}
)
_ARTICLE: Final = {MediaKind.IMAGE: "an image", MediaKind.VIDEO: "a video", MediaKind.AUDIO: "an audio file"}
_BROKEN_IMAGE: Final = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, AttributeError, ArithmeticError, MemoryError, RuntimeError,
    struct.error, zlib.error,
)  # fmt: skip
_BROKEN_MEDIA: Final = (OSError, ValueError, EOFError, LookupError, ArithmeticError, MemoryError, RuntimeError)


class MediaError(UsageError):
    """A file is not the media it should be: unreadable, cut off, or something else altogether."""


def probe(path: Path, *, decode: bool = False, limits: InputLimits = USUAL) -> MediaInfo:
    """Open the file and say what it is. With ``decode`` its content is read to the end, so that a cut-off file is found.

    Formats: ``png jpeg webp gif bmp avif``, ``mp4 mov webm mkv avi flv mpegts``, ``mp3 wav m4a aac flac ogg``.
    Raises ``MediaError``.
    """
    try:
        _refuse_devices(path)
        with path.open("rb") as file:
            return _probe_file(file, path.stat().st_size, limits, decode=decode)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(f"cannot read {path}: {reason}", hint="Check the path.") from error
    except MediaError as error:
        raise MediaError(f"{path.name}: {error.message}", hint=error.hint) from error.__cause__


def _refuse_devices(path: Path) -> None:
    """A pipe would be waited for without end."""
    if path.exists() and not path.is_file():
        raise OSError("this is not a file")


def _probe_file(file: BinaryIO, size: int, limits: InputLimits, *, decode: bool) -> MediaInfo:
    head = file.read(_HEAD)
    file.seek(0)
    if not head:
        raise MediaError("the file is empty", hint="Make or download it again.")
    picture = _picture(head)
    if picture is not None:
        return _probe_image(file, picture, size, limits, decode=decode)
    container = _container(head)
    if container is None:
        raise MediaError(f"this is {_describe(head)}, not an image, video or audio file", hint="Check where it comes from.")
    return _Recording(file, container, head, size, limits).probe(decode=decode)


# ------------------------------------------------------------------------------------------------------ sniffing


def _picture(head: bytes) -> str | None:
    """Pillow's name of an image format, by the first bytes."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if head.startswith(b"BM") and head[6:10] == b"\0\0\0\0":
        return "BMP"
    return _PICTURE_BRANDS.get(head[8:12]) if head[4:8] == b"ftyp" else None


def _container(head: bytes) -> str | None:
    """FFmpeg's name of an audio or video format, by the first bytes."""
    if head[4:8] in _BOXES:
        return None if head[4:8] == b"ftyp" and head[8:12] in _HEIC else "mp4"
    if head[:4] == b"RIFF":
        return {b"WAVE": "wav", b"AVI ": "avi"}.get(head[8:12])
    starts = {b"\x1a\x45\xdf\xa3": "matroska", b"OggS": "ogg", b"fLaC": "flac", b"FLV\x01": "flv", b"ID3": "mp3", b"ADIF": "aac"}
    for start, name in starts.items():
        if head.startswith(start):
            return name
    if head[:1] == b"G" and head[188:189] == b"G":
        return "mpegts"
    if head[0] == 0xFF and len(head) > 1 and head[1] & 0xF6 == 0xF0:
        return "aac"
    if head[0] == 0xFF and len(head) > 2 and head[1] & 0xE0 == 0xE0 and head[1] & 0x06 and head[2] >> 4 != 0xF:
        return "mp3"
    return None


def _describe(head: bytes) -> str:
    text = head.decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    beginning = f"beginning {' '.join(text[:60].split())!r}"
    folded = text[:1000].lower()
    if folded.startswith(("<!doctype html", "<html", "<head", "<body")) or "<html" in folded:
        return f"an HTML page, {beginning}"
    if folded.startswith("<svg") or "<svg" in folded:
        return "an SVG drawing"
    if folded.startswith("<"):
        return f"an XML document, {beginning}"
    if folded.startswith(("{", "[")):
        return f"a JSON document, {beginning}"
    if head[8:12] in _HEIC and head[4:8] == b"ftyp":
        return "a HEIC picture, which few can read"
    if head.startswith((b"II*\0", b"MM\0*")):
        return "a TIFF picture, which providers do not take"
    if head.startswith(b"%PDF"):
        return "a PDF document"
    if head.startswith(b"PK\x03\x04"):
        return "a ZIP archive"
    complete = text if len(head) < _HEAD else text[:-3]  # the last character may be cut in two
    if b"\0" not in head and "\ufffd" not in complete:
        return f"a text, {beginning}"
    return f"of an unknown kind, beginning with the bytes {head[:8].hex(' ')}"


# -------------------------------------------------------------------------------------------------------- images


def _probe_image(file: BinaryIO, name: str, size: int, limits: InputLimits, *, decode: bool) -> MediaInfo:
    from PIL import Image, UnidentifiedImageError

    # Pillow warns of odd metadata, which does not matter here, and of a big picture before it can be asked its size, which
    # as an error stays in this function. Set each time: both calls only move their entry to the front of the list
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    Image.MAX_IMAGE_PIXELS = limits.media_pixels
    try:
        with Image.open(file, formats=[name]) as image:
            width, height = image.size
            if decode:
                _decode_image(image, limits)
                _check_image_end(file, name, size)
            return MediaInfo(MediaKind.IMAGE, _IMAGE_NAMES.get(image.format or name, name.lower()), size, width, height)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        found = re.search(r"\((\d+) pixels\)", str(error))
        raise _too_big(f"{int(found[1]):,} pixels" if found else "too many pixels", limits) from error
    except UnidentifiedImageError as error:
        raise MediaError(f"the beginning of the {name} image cannot be read", hint="Make or download the file again.") from error
    except _BROKEN_IMAGE as error:
        raise MediaError(f"the {name} image is damaged or cut off: {error}", hint="Make or download the file again.") from error


def _too_big(found: str, limits: InputLimits) -> MediaError:
    hint = f"Make it smaller, or {raised_by('media_pixels')}."
    return MediaError(f"the picture has {found}; {limits.media_pixels:,} are allowed (CALLSHEET_LIMITS__MEDIA_PIXELS)", hint=hint)


def _decode_image(image: ImageFile, limits: InputLimits) -> None:
    """Read every pixel; of animations as many frames as a video's budget allows."""
    frames = getattr(image, "n_frames", 1)
    budget = limits.media_decoded_pixels // max(1, image.width * image.height)
    for index in range(min(frames, limits.media_frames, max(1, budget))):
        image.seek(index)
        image.load()


def _check_image_end(file: BinaryIO, name: str, size: int) -> None:
    """Pillow is content once all pixels are there; a file that lacks its end was cut off nevertheless."""
    file.seek(0)
    if name == "WEBP":
        ended = _missing_riff(file.read(12), size) <= 0
    elif name == "PNG":
        ended = _png_ends(file)
    else:
        return
    if not ended:
        raise OSError("the end of the file is missing")


def _png_ends(file: BinaryIO) -> bool:
    position = 8
    for _ in range(_MAX_BOXES):
        file.seek(position)
        header = file.read(8)
        if len(header) < 8:
            return False
        position += 12 + int.from_bytes(header[:4])
        if header[4:] == b"IEND":
            return len(file.read(4)) == 4
    return False


# -------------------------------------------------------------------------------------------- audio and video


@dataclass(slots=True)
class _Read:
    """What reading one stream has shown so far; times in seconds."""

    limits: InputLimits
    packets: int = 0
    frames: int = 0
    pixels: int = 0
    begin: float | None = None
    end: float = 0.0
    whole: bool = True
    """Every packet so far was decoded."""

    @property
    def seconds(self) -> float:
        return max(0.0, self.end - (self.begin or 0.0))

    def note_packet(self, packet: Packet[Any]) -> None:
        """Where the packet stands in time."""
        self.packets += 1
        if packet.pts is not None and packet.time_base is not None:
            start = float(packet.pts * packet.time_base)
            self.begin = start if self.begin is None else min(self.begin, start)
            self.end = max(self.end, start + float((packet.duration or 0) * packet.time_base))

    def note_frame(self, pixels: int) -> None:
        """One more frame; ``whole`` ends when the budget is used up. Audio has no pixels and a bigger budget."""
        self.frames += 1
        self.pixels += pixels
        limit = self.limits.media_frames if pixels else self.limits.media_audio_frames
        self.whole = self.whole and self.frames < limit and self.pixels < self.limits.media_decoded_pixels


@dataclass(frozen=True, slots=True)
class _Recording:
    """One open audio or video file."""

    file: BinaryIO
    container: str
    head: bytes
    size: int
    limits: InputLimits

    def probe(self, *, decode: bool) -> MediaInfo:
        """Open, look, and with ``decode`` read to the end. Raises ``MediaError``."""
        import av

        self._check_length()
        try:
            # a file object and a named reader: the content cannot make FFmpeg open anything else
            with av.open(self.file, mode="r", format=self.container, metadata_errors="replace") as opened:
                return self._look(opened, decode=decode)
        except (av.FFmpegError, *_BROKEN_MEDIA) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise MediaError(
                f"the {self.container} file is damaged or cut off: {reason}", hint="Make or download the file again."
            ) from error

    def _look(self, opened: InputContainer, *, decode: bool) -> MediaInfo:
        from av.stream import Disposition

        moving = [stream for stream in opened.streams.video if not stream.disposition & Disposition.attached_pic]
        candidates: list[VideoStream | AudioStream] = [*moving, *opened.streams.audio]
        if not candidates:
            raise MediaError(
                f"the {self.container} file holds neither picture nor sound", hint="Make or download the file again."
            )
        stream = candidates[0]
        codec = getattr(stream.codec_context, "name", None)
        if codec is None:  # what FFmpeg does not know has no codec context, whatever the type says
            raise MediaError(f"the {self.container} file holds an unknown kind of picture or sound", hint="Make the file again.")
        width, height = (moving[0].width, moving[0].height) if moving else (None, None)
        if width is not None and height is not None and width * height > self.limits.media_pixels:
            raise _too_big(f"{width} x {height} pixels", self.limits)
        seconds = self._declared_seconds(opened, stream)
        if decode:
            seconds = self._read_through(opened, stream, seconds) or seconds
        elif seconds is None or self.container in _UNTIMED:
            seconds = _demuxed(opened, stream, self.limits).seconds or seconds
        kind = MediaKind.VIDEO if moving else MediaKind.AUDIO
        return MediaInfo(kind, self._format(kind), self.size, width, height, seconds, codec)

    def _format(self, kind: MediaKind) -> str:
        if self.container == "mp4":
            name = _BRANDS.get(self.head[8:12], "mp4")
            return "m4a" if kind is MediaKind.AUDIO and name == "mp4" else name
        if self.container == "matroska":
            return "webm" if b"webm" in self.head[:64] else "mkv"
        return self.container

    def _declared_seconds(self, opened: InputContainer, stream: Stream) -> float | None:
        if opened.duration is not None and opened.duration > 0:
            return opened.duration / 1_000_000
        if stream.duration is not None and stream.time_base is not None and stream.duration > 0:
            return float(stream.duration * stream.time_base)
        return None

    def _read_through(self, opened: InputContainer, stream: VideoStream | AudioStream, declared: float | None) -> float | None:
        """Read all packets and decode what the budget allows, the end included. The seconds found where none are declared."""
        read = _demuxed(opened, stream, self.limits, decode=True)
        if read.frames == 0:
            raise MediaError("nothing of it can be decoded", hint="Make or download the file again.")
        if read.whole and read.frames < 0.9 * read.packets and stream.type == "video":
            raise MediaError(
                f"only {read.frames} of {read.packets} frames can be decoded", hint="Make or download the file again."
            )
        timed = self.container not in _UNTIMED
        if timed and declared is not None and read.seconds < declared - max(0.5, 0.05 * declared):
            raise MediaError(f"it breaks off after {read.seconds:.1f} s of {declared:.1f} s", hint="Download the file again.")
        if not read.whole and stream.type == "video" and _decoded_end(opened, stream, read) == 0:
            raise MediaError("its end cannot be decoded", hint="Make or download the file again.")
        return None if timed and declared is not None else read.seconds

    def _check_length(self) -> None:
        """Formats that write down their own length show a cut-off file without being read."""
        missing = _missing_riff(self.head, self.size)
        if self.container == "mp4":
            missing = _missing_boxes(self.file, self.size)
        self.file.seek(0)
        if missing > 0:
            raise MediaError(
                f"the {self.container} file is cut off: {missing:,} bytes are missing", hint="Download the file again."
            )


def _demuxed(opened: InputContainer, stream: VideoStream | AudioStream, limits: InputLimits, *, decode: bool = False) -> _Read:
    read = _Read(limits, whole=decode)
    for packet in opened.demux(stream):
        if packet.size:
            read.note_packet(packet)
        if read.whole:
            for frame in packet.decode():
                read.note_frame(getattr(frame, "width", 0) * getattr(frame, "height", 0))
    return read


def _decoded_end(opened: InputContainer, stream: VideoStream | AudioStream, read: _Read) -> int:
    """How many of the frames of the last second or so can be decoded."""
    opened.seek(max(0, int((read.end - 1.0) * 1_000_000)))
    frames = pixels = 0
    for frame in opened.decode(stream):
        frames += 1
        pixels += getattr(frame, "width", 0) * getattr(frame, "height", 0)
        if pixels > read.limits.media_decoded_pixels:
            break
    return frames


def _missing_riff(head: bytes, size: int) -> int:
    if head[:4] != b"RIFF":
        return 0
    declared: int = struct.unpack_from("<I", head, 4)[0]
    return declared + 8 - size - 1 if 0 < declared < 0xFFFFFF00 else 0


def _missing_boxes(file: BinaryIO, size: int) -> int:
    """Bytes that the top-level boxes of an MP4 promise beyond the end of the file."""
    position = 0
    for _ in range(_MAX_BOXES):
        file.seek(position)
        header = file.read(16)
        if len(header) < 8 or header[4:8] not in _BOXES:
            return 0
        length = int.from_bytes(header[:4])
        if length == 1 and len(header) == 16:
            length = int.from_bytes(header[8:])
        if length < 8:
            return 0
        position += length
        if position >= size:
            return position - size
    return 0


# --------------------------------------------------------------------------------------------------------- rules


def check(rule: MediaRule, info: MediaInfo) -> list[str]:
    """Every documented rule that the file breaks, as a sentence with both figures. Bounds themselves are allowed."""
    if info.kind is not rule.kind:
        return [f"the file is {_ARTICLE[info.kind]} ({info.format}); {_ARTICLE[rule.kind]} is needed"]
    found = []
    if rule.formats and info.format not in rule.formats:
        found.append(f"the {info.kind} is {info.format}; {' or '.join(rule.formats)} is needed")
    if rule.max_bytes is not None and info.bytes > rule.max_bytes:
        found.append(f"the {info.kind} has {info.bytes:,} bytes; at most {rule.max_bytes:,} are allowed")
    return found + _check_shape(rule, info) + _check_length(rule, info)


def _check_shape(rule: MediaRule, info: MediaInfo) -> list[str]:
    if info.width is None or info.height is None or not info.height:
        return []
    found = []
    size = f"the {info.kind} is {info.width} x {info.height} pixels"
    if rule.min_side is not None and min(info.width, info.height) < rule.min_side:
        found.append(f"{size}; at least {rule.min_side} x {rule.min_side} are needed")
    ratio = info.width / info.height
    if rule.min_ratio is not None and ratio < rule.min_ratio - _SLACK:
        found.append(f"{size}, {ratio:.4g} times as wide as high; at least {rule.min_ratio:.4g} is needed")
    if rule.max_ratio is not None and ratio > rule.max_ratio + _SLACK:
        found.append(f"{size}, {ratio:.4g} times as wide as high; at most {rule.max_ratio:.4g} is allowed")
    return found


def _check_length(rule: MediaRule, info: MediaInfo) -> list[str]:
    if info.seconds is None:
        timed = rule.min_seconds is not None or rule.max_seconds is not None
        return [f"the length of the {info.kind} cannot be told"] if timed and info.kind is not MediaKind.IMAGE else []
    found = []
    if rule.min_seconds is not None and info.seconds < rule.min_seconds - _SLACK:
        found.append(f"the {info.kind} is {_seconds(info.seconds)} s long; at least {_seconds(rule.min_seconds)} s are needed")
    if rule.max_seconds is not None and info.seconds > rule.max_seconds + _SLACK:
        found.append(f"the {info.kind} is {_seconds(info.seconds)} s long; at most {_seconds(rule.max_seconds)} s are allowed")
    return found


def _seconds(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")


def check_url(rule: MediaRule, url: str) -> list[str]:
    """What can be said of a URL without opening it."""
    found = []
    if not rule.accepts_url:
        found.append(f"a URL is not accepted here; give a local {rule.kind} file")
    if rule.max_url_chars is not None and len(url) > rule.max_url_chars:
        found.append(f"the URL has {len(url):,} characters; at most {rule.max_url_chars:,} are allowed")
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        whole = False
    if not whole or any(character.isspace() or not character.isprintable() for character in url):
        found.append(f"{url[:80]!r} is not a whole http(s) URL")
    return found
