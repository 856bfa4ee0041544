"""Opens pictures that came from outside.

Owns the distrust: any bytes are taken, and None is the answer to everything that is not a sound picture of a sane size.
Never raises for its input. Also knows the marks by which a rehearsal recognises its own pictures.
"""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

from PIL import Image, ImageOps

MAX_PIXELS = 40_000_000
"""Larger than any provider takes; decoding one of these is all that a hostile picture can cost."""

STILL_COMMENT = b"callsheet rehearsal still"
"""Stands in the JPEG comment of every still that a rehearsal makes."""
PRESENTED_COMMENT = STILL_COMMENT + b" with presenter"
PACKSHOT_COMMENT = b"callsheet packshot "
"""Stands in the JPEG comment of a drawn product's picture, followed by what it shows: ``shoe 3`` (kind and palette)."""

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
_BROKEN = (
    OSError,
    ValueError,
    SyntaxError,
    TypeError,
    AttributeError,
    ArithmeticError,
    LookupError,
    EOFError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Warning,
)
"""What Pillow's decoders are known to raise for broken files; Warning, because an embedder may turn warnings into errors."""


def open_picture(data: bytes | None, longest: int) -> Image.Image | None:
    """The picture as RGBA, at most ``longest`` pixels on its longer side; None when the bytes are no usable picture."""
    if not data:
        return None
    try:
        with Image.open(BytesIO(data), formats=_FORMATS) as opened:
            width, height = opened.size
            if min(width, height) < 8 or width * height > MAX_PIXELS or max(width, height) > 20 * min(width, height):
                return None
            opened.draft("RGB", (longest, longest))
            upright = ImageOps.exif_transpose(opened).convert("RGBA")
            upright.thumbnail((longest, longest), Image.Resampling.BICUBIC, reducing_gap=2.0)
            return upright
    except _BROKEN:
        return None


def cut_out(picture: Image.Image) -> bool:
    """Whether the picture comes without a background: its four corners are transparent."""
    alpha = picture.getchannel("A")
    right, bottom = picture.width - 1, picture.height - 1
    return all(alpha.getpixel(corner) == 0 for corner in ((0, 0), (right, 0), (0, bottom), (right, bottom)))


def covering(picture: Image.Image, width: int, height: int) -> Image.Image:
    """The picture scaled and cut to fill a size, RGB."""
    return ImageOps.fit(picture, (width, height), Image.Resampling.BICUBIC).convert("RGB")


def is_still(data: bytes | None) -> bool:
    """Whether this is a still that a rehearsal made: it has its own title and corner mark."""
    return STILL_COMMENT in _head(data)


def is_presented(data: bytes | None) -> bool:
    """Whether this is a rehearsal's still that shows a person beside the product."""
    return PRESENTED_COMMENT in _head(data)


def packshot_comment(kind: str, palette: int) -> bytes:
    """What a drawn product's picture carries."""
    return PACKSHOT_COMMENT + f"{kind} {palette}".encode("ascii")


def packshot_of(data: bytes | None) -> tuple[str, int] | None:
    """(kind, palette) as a drawn packshot says; not checked against what exists."""
    _, found, rest = _head(data).partition(PACKSHOT_COMMENT)
    words = rest[:32].split(b"\xff", 1)[0].decode("ascii", "replace").split()
    if not found or len(words) != 2 or not words[1].isascii() or not words[1].isdigit():
        return None
    return words[0], int(words[1])


def _head(data: bytes | None) -> bytes:
    return (data or b"")[:1024]
