"""Sets text in pictures: which font, which size, which line breaks.

Owns the fonts and the cleaning of text that comes from outside. Never fails on any text: characters that no font here
covers lose their accents, are left out (symbols), or show as the font's empty box (letters).

Pillow's built-in typeface sets everything it covers, so a campaign in plain Latin looks the same on every machine. Other
scripts use a system font where there is one; none is required.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

from runner.simulator.palette import Colour

MAX_CHARS = 240
"""More than any caption shows; keeps hostile texts from costing time."""

_SYSTEM_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "LiberationSans-Regular.ttf",
    "arial.ttf",
    "Arial Unicode.ttf",
    "NotoSansCJK-Regular.ttc",
    "NotoSansArabic-Regular.ttf",
    "msyh.ttc",
    "Hiragino Sans GB.ttc",
)
_NOWHERE = "\U0010ffff"
"""A code point that is no character: what a font draws for it is its empty box."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Text that is ready to draw: its lines, its font, and the room it takes in pixels."""

    lines: tuple[str, ...]
    font: ImageFont.FreeTypeFont
    width: int
    height: int
    pitch: int
    """Pixels from one line to the next."""


def clean(text: str) -> str:
    """One line of printable text: no control, format or surrogate characters, single spaces, at most ``MAX_CHARS``."""
    text = unicodedata.normalize("NFC", text[: MAX_CHARS * 4])
    kept = (" " if character.isspace() else character for character in text if _printable(character))
    return " ".join("".join(kept).split())[:MAX_CHARS]


def _printable(character: str) -> bool:
    return character.isspace() or unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Me"}


@lru_cache(maxsize=128)
def _font(name: str, size: int) -> ImageFont.FreeTypeFont | None:
    try:
        found = ImageFont.truetype(name, size) if name else ImageFont.load_default(size)
    except OSError:
        return None
    return found if isinstance(found, ImageFont.FreeTypeFont) else None


@lru_cache(maxsize=4096)
def _covers(name: str, character: str) -> bool:
    font = _font(name, 16)
    if font is None:
        return False
    box, glyph = font.getmask(_NOWHERE), font.getmask(character)
    return glyph.size != box.size or bytes(glyph) != bytes(box)


def _missing(name: str, text: str) -> int:
    return sum(not character.isspace() and not _covers(name, character) for character in text)


def _choose(text: str) -> tuple[str, str]:
    """(font name, text as that font can show it)."""
    if not _missing("", text):
        return "", text
    installed = [name for name in _SYSTEM_FONTS if _font(name, 16) is not None]
    best = min(["", *installed], key=lambda name: _missing(name, text))
    shown = (character if _covers(best, character) else _plainer(character, best) for character in text)
    return best, " ".join("".join(shown).split())


def _plainer(character: str, font: str) -> str:
    """What to show for a character that the font lacks: its base letter, nothing for symbols, else its empty box."""
    base = unicodedata.normalize("NFKD", character)[0]
    if base != character and _covers(font, base):
        return base
    return "" if unicodedata.category(character)[0] in "SM" else character


def set_text(text: str, size: int, width: int, lines: int = 1) -> Setting | None:
    """Break ``text`` into at most ``lines`` lines of at most ``width`` pixels; what is too much ends in an ellipsis.

    ``size`` is the font's height in pixels. None when there is nothing to show.
    """
    name, shown = _choose(clean(text))
    font = _font(name, max(6, size))
    if not shown or font is None:
        return None
    broken = _break(shown, font, max(1, width), lines)
    pitch = round(size * 1.24)
    widest = max(round(font.getlength(line)) for line in broken)
    return Setting(tuple(broken), font, widest, pitch * len(broken), pitch)


def _break(text: str, font: ImageFont.FreeTypeFont, width: int, limit: int) -> list[str]:
    lines: list[str] = []
    rest = text
    while rest and len(lines) < limit - 1:
        head = _head(rest, font, width)
        lines.append(head.rstrip())
        rest = rest[len(head) :].lstrip()
    return [*lines, _shortened(rest, font, width)] if rest else lines


def _head(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """The longest start of ``text`` that fits, cut at a space where there is one; at least one character."""
    if font.getlength(text) <= width:
        return text
    count = _fitting(text, font, width)
    space = text.rfind(" ", 0, count + 1)
    return text[: space if space > 0 else count]


def _shortened(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    return text[: _fitting(text, font, max(1, width - round(font.getlength("…"))))].rstrip(" ,.;:-") + "…"


def _fitting(text: str, font: ImageFont.FreeTypeFont, width: int) -> int:
    """How many characters fit into ``width``, by bisection; at least one."""
    low, high = 1, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font.getlength(text[:middle]) <= width else (low, middle - 1)
    return low


def draw_text(image: Image.Image, setting: Setting, at: tuple[int, int], colour: Colour, *, bold: bool = False) -> None:
    """Draw the lines with their upper left corner at ``at``."""
    pen = ImageDraw.Draw(image)
    for number, line in enumerate(setting.lines):
        place = (at[0], at[1] + number * setting.pitch)
        pen.text(place, line, font=setting.font, fill=colour, stroke_width=int(bold), stroke_fill=colour)


def spaced(text: str) -> str:
    """Capitals set wide apart, as for small marks."""
    return "\u200a".join(text.upper()) if _covers("", "\u200a") else " ".join(text.upper())
