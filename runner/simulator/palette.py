"""The colours of a product and its scene, and the seeded dice that everything drawn is decided with.

Owns the palettes and ``dice``. Decides by name and seed alone, so that one product looks the same in every still and clip.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

Colour: TypeAlias = tuple[int, int, int]
"""Red, green, blue; 0 to 255."""


@dataclass(frozen=True, slots=True)
class Palette:
    """The colours of one scene: where the light falls, the wall, the table, and the product's own three."""

    glow: Colour
    wall: Colour
    table: Colour
    ink: Colour
    body: Colour
    trim: Colour
    label: Colour


def _hex(text: str) -> Colour:
    return int(text[0:2], 16), int(text[2:4], 16), int(text[4:6], 16)


def _palette(words: str) -> Palette:
    return Palette(*(_hex(word) for word in words.split()))


#                glow   wall   table  ink    body   trim   label
PALETTES = (
    _palette("F8ECDF E2BE9F C58C67 3B2118 B9532F 33201A FBF3EA"),
    _palette("F1F5EA C3D3B5 8FA680 1F2E22 3F6B4A E0C27A F8F6EC"),
    _palette("F0EBF9 BBB0DE 8C7EBB 241B3D 5B3F9B F2C879 FAF6FF"),
    _palette("E8F5F6 A6CFD8 69A2B0 0E2F38 126A7A F4A259 F4FBFB"),
    _palette("4A567F 1B2138 11162A F6EBD8 E9B44C 2C3454 FFF7E6"),
    _palette("FFF6D6 F4D477 DDB04A 3A2A12 D65A1F 3A2A1A FFF9E8"),
    _palette("FDECEE EDB5C0 D18898 4A1526 A8264F F3D3A2 FFF7F5"),
    _palette("EFF2F5 B9C4CE 8A98A6 1C2733 2F4A66 E0603A FAFBFC"),
    _palette("FBF0E4 E7C9B0 A9735A 2B1A14 2E5E57 D9A15B FFF8EE"),
    _palette("E6F0EA 8FB8A4 4F7F6B 10261D C8452F 1F3A30 FFF6E9"),
)


def dice(*parts: object) -> random.Random:
    """Seeded dice: the same parts, of any type, throw the same numbers on every machine."""
    text = "\x1f".join(str(part) for part in parts)
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return random.Random(int.from_bytes(digest, "big"))


def palette_for(title: str, seed: int) -> Palette:
    """The palette of a product."""
    return dice("mood", title, seed).choice(PALETTES)


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """``first`` with ``share`` (0 to 1) of ``second``."""
    return _rounded(a + (b - a) * share for a, b in zip(first, second, strict=True))


def lit(colour: Colour, factor: float) -> Colour:
    """The colour under more (over 1) or less light."""
    if factor <= 1:
        return _rounded(part * factor for part in colour)
    return mix(colour, (255, 255, 255), min(1.0, factor - 1))


def luminance(colour: Colour) -> float:
    """How bright a colour looks, 0 to 255."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def _rounded(parts: Iterable[float]) -> Colour:
    red, green, blue = (max(0, min(255, round(part))) for part in parts)
    return red, green, blue
