"""Puts a journal line right whose damage is one byte.

Owns the arithmetic: a CRC-32 is linear, so the sum that a line has and the one it should have tell which single byte could have been changed,
and how. What comes out is the line as it was written, to the byte, or nothing: a guess that is not JSON, or one of two, is no answer. Pure.
"""

from __future__ import annotations

import zlib

import msgspec

from runner.journal import open_frame

_POLYNOMIAL = 0xEDB88320
_TAIL = b',"crc":"--------"}'
_BOM = b"\xef\xbb\xbf"


def _table() -> tuple[int, ...]:
    rows = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (_POLYNOMIAL if value & 1 else 0)
        rows.append(value)
    return tuple(rows)


_STEP = _table()
_BYTE_OF = {value: byte for byte, value in enumerate(_STEP)}
_BYTE_OF_TOP = {value >> 24: byte for byte, value in enumerate(_STEP)}


def heal(line: bytes) -> bytes | None:
    """The line (without its newline) as it was written; None when more than one byte, or nothing, is wrong with it."""
    bare = line.removeprefix(_BOM).rstrip(b"\r")
    if bare != line and open_frame(bare):
        return bare
    body, tail = line[: -len(_TAIL)], line[-len(_TAIL) :]
    if len(tail) < len(_TAIL) or not body:
        return None
    right = _TAIL.replace(b"--------", b"%08x" % zlib.crc32(body))
    if sum(a != b for a, b in zip(tail, right, strict=True)) <= 1:
        return body + right if _is_json(body) else None
    if tail[:8] != _TAIL[:8] or tail[16:] != _TAIL[16:]:
        return None
    try:
        wanted = int(tail[8:16], 16)
    except ValueError:
        return None
    found = [healed for healed in _candidates(body, zlib.crc32(body) ^ wanted) if _is_json(healed)]
    return found[0] + tail if len(found) == 1 else None


def halves(line: bytes) -> tuple[bytes, bytes] | None:
    """Two good lines that became one because the newline between them was changed."""
    position = line.find(b'"}')
    while position >= 0:
        end = position + 2
        if open_frame(line[:end]) and open_frame(line[end + 1 :]):
            return line[:end], line[end + 1 :]
        position = line.find(b'"}', position + 1)
    return None


def _candidates(body: bytes, difference: int) -> list[bytes]:
    """Every body that differs in one byte and whose checksum differs from this one's by ``difference``."""
    found = []
    for position in range(len(body) - 1, -1, -1):
        change = _BYTE_OF.get(difference)
        if change:
            found.append(body[:position] + bytes([body[position] ^ change]) + body[position + 1 :])
        lower = _BYTE_OF_TOP[difference >> 24]  # undo what one more byte behind it did to the difference
        difference = ((difference ^ _STEP[lower]) << 8) & 0xFFFFFFFF | lower
    return found


def _is_json(body: bytes) -> bool:
    try:
        return isinstance(msgspec.json.decode(body + b"}"), dict)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
