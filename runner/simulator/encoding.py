"""Encodes: frames and sound to MP4 (H.264 and AAC), sound to MP3, pictures to JPEG.

Owns PyAV's encoders and their settings. The same input gives the same bytes: one thread, no dates, no random names.
The index stands before the media, so that a player can begin while it downloads.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from io import BytesIO
from typing import TYPE_CHECKING, Any, cast

import av
from PIL import Image

from runner.simulator import tones
from runner.simulator.plates import Plate

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import OutputContainer
    from av.video.stream import VideoStream

_BT601 = 6
_LIMITED = 1
_VIDEO_CODECS = ("libx264", "libopenh264", "h264")


@dataclass(frozen=True, slots=True)
class Reel:
    """What a clip is made of. ``frame`` draws the frame with a number below ``loop``; a longer clip repeats them."""

    width: int
    height: int
    rate: int
    frames: int
    loop: int
    frame: Callable[[int], Plate]


@lru_cache(maxsize=8)
def first_encoder(*names: str) -> str | None:
    """The first of these encoders that this PyAV has."""
    for name in names:
        try:
            av.codec.Codec(name, "w")
        except ValueError:
            continue
        return name
    return None


def mp4(reel: Reel, track: array[int]) -> bytes:
    """A playable clip. ``track`` should last as long as the frames."""
    out = BytesIO()
    packets = reel.frames + len(track) // 1024 + 8
    options = {"moov_size": str(4096 + 24 * packets), "fflags": "+bitexact"}
    with av.open(out, "w", format="mp4", options=options) as container:
        video, audio = _video_stream(container, reel), _audio_stream(container, "aac", 48_000)
        streams: list[Iterator[av.Packet[Any]]] = [_pictures(video, reel), _sounds(audio, track)]
        for packet in heapq.merge(*streams, key=_moment):
            container.mux(packet)
    return out.getvalue()


def _moment(packet: av.Packet[Any]) -> Fraction:
    """When a packet is due, in seconds: a player wants sound and pictures side by side in the file."""
    return (packet.dts or 0) * (packet.time_base or Fraction(1))


def _video_stream(container: OutputContainer, reel: Reel) -> VideoStream:
    name = first_encoder(*_VIDEO_CODECS) or "mpeg4"
    stream = cast("VideoStream", container.add_stream(name, rate=reel.rate))
    stream.width, stream.height, stream.pix_fmt = reel.width, reel.height, "yuv420p"
    context = stream.codec_context
    context.thread_count = 1
    context.gop_size = reel.loop
    context.max_b_frames = 0
    context.colorspace, context.color_range = _BT601, _LIMITED
    if name == "libx264":
        context.options = {"preset": "superfast", "crf": "29", "x264-params": "scenecut=0:threads=1"}
    return stream


def _audio_stream(container: OutputContainer, codec: str, bits: int) -> AudioStream:
    stream = cast("AudioStream", container.add_stream(codec, rate=tones.RATE, layout="mono"))
    stream.codec_context.bit_rate = bits
    if codec == "aac":
        stream.codec_context.options = {"aac_coder": "fast"}
    return stream


def _pictures(stream: VideoStream, reel: Reel) -> Iterator[av.Packet[VideoStream]]:
    """All packets of the clip; those of the loop are encoded once and repeated (each loop begins with a key frame)."""
    kept: list[tuple[bytes, bool]] = []
    base = Fraction(1, reel.rate)
    for packet in _encoded(stream, reel):
        kept.append((bytes(packet), packet.is_keyframe))
        yield packet
    for number in range(len(kept), reel.frames):
        data, key = kept[number % len(kept)]
        again: av.Packet[Any] = av.Packet(data)
        again.stream, again.time_base = stream, base
        again.pts = again.dts = number
        again.duration = 1
        again.is_keyframe = key
        yield again


def _encoded(stream: VideoStream, reel: Reel) -> Iterator[av.Packet[VideoStream]]:
    for number in range(min(reel.loop, reel.frames)):
        frame = video_frame(reel.frame(number))
        frame.pts, frame.time_base = number, Fraction(1, reel.rate)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def video_frame(plate: Plate) -> av.VideoFrame:
    """The planes as a frame for the encoder."""
    frame = av.VideoFrame(plate.light.width, plate.light.height, "yuv420p")
    for plane, image in zip(frame.planes, plate.planes(), strict=True):
        fitted = image if image.width == plane.line_size else image.crop((0, 0, plane.line_size, image.height))
        plane.update(fitted.tobytes())
    return frame


def _sounds(stream: AudioStream, track: array[int]) -> Iterator[av.Packet[AudioStream]]:
    """Packets of a whole track, fed a second at a time."""
    for start in range(0, len(track), tones.RATE):
        part = track[start : start + tones.RATE]
        frame = av.AudioFrame(format="s16", layout="mono", samples=len(part))
        frame.planes[0].update(tones.pcm(part))
        frame.sample_rate, frame.pts, frame.time_base = tones.RATE, start, Fraction(1, tones.RATE)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def mp3(track: array[int]) -> bytes | None:
    """The samples as MP3; None when this PyAV has no encoder for it."""
    if first_encoder("libmp3lame") is None:
        return None
    out = BytesIO()
    with av.open(out, "w", format="mp3", options={"fflags": "+bitexact", "id3v2_version": "0"}) as container:
        stream = _audio_stream(container, "libmp3lame", 40_000)
        for packet in _sounds(stream, track):
            container.mux(packet)
    return out.getvalue()


def jpeg(image: Image.Image, quality: int = 88, comment: bytes = b"") -> bytes:
    """The picture as a baseline JPEG."""
    out = BytesIO()
    image.convert("RGB").save(out, "JPEG", quality=quality, optimize=True, comment=comment)
    return out.getvalue()
