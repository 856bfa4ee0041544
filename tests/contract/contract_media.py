"""Small media files made on the fly: pictures and sounds of exactly the wanted size, length and format."""

from __future__ import annotations

import struct
import wave
from pathlib import Path

from runner.media import probe
from runner.model import Asset

PICTURE_NAMES = {"png": "PNG", "jpeg": "JPEG", "webp": "WEBP", "bmp": "BMP", "gif": "GIF", "avif": "AVIF"}
_CODECS = {"mp3": ("mp3", "libmp3lame"), "m4a": ("ipod", "aac"), "aac": ("adts", "aac"), "flac": ("flac", "flac")}
SOUND_FORMATS = ("wav", *_CODECS)
_RATE = 8000
_CODEC_RATE = 16000


def picture(path: Path, *, form: str = "png", width: int = 360, height: int = 640, size: int = 0) -> Path:
    """A picture; with ``size`` padded to exactly so many bytes."""
    from PIL import Image

    Image.effect_noise((8, 8), 60).convert("RGB").resize((width, height)).save(path, PICTURE_NAMES[form])
    return _padded(path, size, form)


def _padded(path: Path, size: int, form: str) -> Path:
    """PNG takes a private chunk before its end; a JPEG and the others take anything after theirs."""
    data = path.read_bytes()
    lacking = size - len(data)
    if size == 0:
        return path
    assert lacking >= 12, f"{path.name} is already larger"
    if form == "png":
        import zlib

        filler = b"\0" * (lacking - 12)
        chunk = struct.pack(">I", len(filler)) + b"paDd" + filler + struct.pack(">I", zlib.crc32(b"paDd" + filler))
        path.write_bytes(data[:-12] + chunk + data[-12:])
    else:
        path.write_bytes(data + b"\0" * lacking)
    assert path.stat().st_size == size
    return path


def sound(path: Path, *, form: str = "wav", seconds: float = 3.0, size: int = 0) -> Path:
    """A sound; with ``size`` (wav alone) padded to exactly so many bytes."""
    if form == "wav":
        return _wav(path, seconds, size)
    import av
    from av.audio.codeccontext import AudioCodecContext
    from av.audio.stream import AudioStream

    container_format, codec = _CODECS[form]
    with av.open(str(path), "w", format=container_format) as container:
        stream = container.add_stream(codec, rate=_CODEC_RATE)
        assert isinstance(stream, AudioStream)
        assert isinstance(stream.codec_context, AudioCodecContext)
        stream.codec_context.layout = "mono"
        resampler = av.AudioResampler(format=stream.codec_context.format, layout="mono", rate=_CODEC_RATE)
        frame = av.AudioFrame(format="s16", layout="mono", samples=int(_CODEC_RATE * seconds))
        frame.sample_rate = _CODEC_RATE
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        for piece in (*resampler.resample(frame), None):
            container.mux(stream.encode(piece))
    return path


def _wav(path: Path, seconds: float, size: int) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(_RATE)
        file.writeframes(b"\x80" * round(_RATE * seconds))
    data = path.read_bytes()
    if size:
        lacking = size - len(data) - 8
        assert lacking >= 0, f"{path.name} is already larger"
        data += b"JUNK" + struct.pack("<I", lacking) + b"\0" * lacking
        path.write_bytes(b"RIFF" + struct.pack("<I", len(data) - 8) + data[8:])
    return path


def asset(path: Path) -> Asset:
    """The file as the runner knows it."""
    import hashlib

    return Asset(path, hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size, probe(path).format)
