"""Looks at pictures and sounds that clients send: what kind they are, how large, how long. Decodes headers, nothing more."""

from __future__ import annotations

import struct

_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def picture_size(data: bytes) -> tuple[str, int, int] | None:
    """``("png" | "jpeg", width, height)``; None for anything else or a header that ends too soon."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        if len(data) < 33 or data[12:16] != b"IHDR":
            return None
        width, height = struct.unpack(">II", data[16:24])
        return ("png", width, height)
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg_size(data)
    return None


def _jpeg_size(data: bytes) -> tuple[str, int, int] | None:
    place = 2
    while place + 9 <= len(data):
        if data[place] != 0xFF:
            return None
        marker = data[place + 1]
        if marker in (0xFF, 0x01) or 0xD0 <= marker <= 0xD8:
            place += 1 if marker == 0xFF else 2
            continue
        if marker in _START_OF_FRAME:
            height, width = struct.unpack(">HH", data[place + 5 : place + 9])
            return ("jpeg", width, height)
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return None


def sound_kind(data: bytes) -> str:
    """``mp3``, ``wav``, ``m4a`` or ``aac``; nothing for anything else."""
    if data[:4] in (b"RIFF", b"RF64") and data[8:12] == b"WAVE":
        return "wav"
    if data[4:8] == b"ftyp":
        return "m4a"
    if data[:3] == b"ID3":
        return "mp3"
    if len(data) > 1 and data[0] == 0xFF and data[1] & 0xF6 == 0xF0:
        return "aac"
    if len(data) > 1 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0 and data[1] & 0x06:
        return "mp3"
    return ""


def sound_seconds(data: bytes) -> float | None:
    """Length of a sound; None when it cannot be decoded. Takes milliseconds to tens of them: call it in a thread."""
    import io

    import av

    try:
        with av.open(io.BytesIO(data), "r") as container:
            stream = next((stream for stream in container.streams if stream.type == "audio"), None)
            if stream is None:
                return None
            if container.duration:
                return float(container.duration) / 1_000_000
            total = sum((float((packet.duration or 0) * (packet.time_base or 0)) for packet in container.demux(stream)), 0.0)
            return total or None
    except (av.FFmpegError, ValueError, OSError, EOFError):
        return None
