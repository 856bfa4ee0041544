"""The filters that campaign writers get beyond Jinja2's own.

Owns one literal table, from which the documentation is made. Every filter is pure and takes time in proportion to its input:
product texts come from outside and may be anything.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from runner.templates.record import plain

_HIDDEN: Final = ("script", "style")
_BREAKING: Final = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "br",
        "dd",
        "div",
        "dl",
        "dt",
        "figure",
        "footer",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hr",
        "li",
        "ol",
        "option",
        "p",
        "pre",
        "section",
        "table",
        "td",
        "th",
        "tr",
        "ul",
    ]
)
_TAG_NAME: Final = re.compile(r"/?([a-zA-Z][a-zA-Z0-9]*)")
_NOT_SLUG: Final = re.compile(r"[^a-z0-9]+")
_LETTERS: Final = str.maketrans(
    {"ß": "ss", "æ": "ae", "Æ": "ae", "ø": "o", "Ø": "o", "œ": "oe", "Œ": "oe", "ł": "l", "Ł": "l", "đ": "d", "Đ": "d"}
)


@dataclass(frozen=True, slots=True)
class Filter:
    """One filter: what to call, and one line for people."""

    call: Callable[..., object]
    description: str


def _text(value: object, name: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)):
        return str(value)
    raise TypeError(f"`{name}` takes text, not {type(value).__name__}")


def slug(value: object, separator: str = "-") -> str:
    """``Café au lait!`` -> ``cafe-au-lait``: lower-case ASCII letters, digits and the separator."""
    text = unicodedata.normalize("NFKD", _text(value, "slug").translate(_LETTERS))
    letters = "".join(character for character in text if not unicodedata.combining(character)).lower()
    return _NOT_SLUG.sub(lambda _: separator, letters).strip(separator)


def truncate_words(value: object, count: int, end: str = "…") -> str:
    """The first ``count`` words, and ``end`` where something was cut off."""
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise ValueError("`truncate_words` takes the number of words, 0 or more")
    words = _text(value, "truncate_words").split()
    return " ".join(words) if len(words) <= count else " ".join(words[:count]) + end


def one_line(value: object) -> str:
    """The text with every run of blanks and line breaks as one blank."""
    return " ".join(_text(value, "one_line").split())


def strip_html(value: object) -> str:
    """The text of an HTML fragment on one line: no tags, comments, scripts or styles; entities decoded."""
    text = _text(value, "strip_html")
    folded = text.lower() if text.isascii() else "".join(c.lower() if c.isascii() else c for c in text)
    kept: list[str] = []
    position = 0
    while (start := text.find("<", position)) != -1:
        kept.append(text[position:start])
        end, gap = _markup(folded, start)
        if end == start:
            kept.append("<")
            end += 1
        kept.append(gap)
        position = end
    kept.append(text[position:])
    return " ".join(html.unescape("".join(kept)).split())


def _markup(folded: str, start: int) -> tuple[int, str]:
    """Where the markup that begins at ``start`` ends, and what stands in its place; ``start`` itself when it is only a ``<``."""
    if folded.startswith("<!--", start):
        return _after(folded, "-->", start + 4), ""
    if folded.startswith(("<!", "<?"), start):
        return _after(folded, ">", start), ""
    name = _TAG_NAME.match(folded, start + 1)
    if name is None:
        return start, ""
    end = _after(folded, ">", start)
    word = name.group(1)
    if word in _HIDDEN and folded[start + 1] != "/":
        close = folded.find(f"</{word}", end)
        end = len(folded) if close == -1 else _after(folded, ">", close)
    return end, " " if word in _BREAKING else ""


def _after(text: str, mark: str, start: int) -> int:
    """The place behind the next ``mark``; the end of the text when there is none, as browsers do."""
    found = text.find(mark, start)
    return len(text) if found == -1 else found + len(mark)


def money(value: object, currency: str = "", decimals: int = 2) -> str:
    """An amount for people: 1299.5 in ``EUR`` is ``1,299.50 EUR``. Takes numbers and texts that are plain numbers."""
    if not 0 <= decimals <= 8:
        raise ValueError("`money` takes 0 to 8 decimals")
    try:
        amount = float(value) if isinstance(value, (int, float, str)) else None
    except ValueError:
        amount = None
    if amount is None or not abs(amount) < 1e15:
        raise ValueError(f"`money` cannot read {value!r} as an amount; give it a plain number such as 1299.50")
    return f"{amount:,.{decimals}f} {currency}".rstrip()


def split(value: object, separator: str = ",") -> list[str]:
    """``'red, blue' | split`` -> ``['red', 'blue']``: the parts without blanks around them; empty parts are left out."""
    parts = _text(value, "split").split(separator)
    return [part.strip() for part in parts if part.strip()]


def tojson(value: object, indent: int | None = None) -> str:
    """The value as JSON text, keys sorted."""
    encoded = msgspec.json.encode(plain(value), order="sorted")
    if indent is not None:
        encoded = msgspec.json.format(encoded, indent=max(0, min(indent, 8)))
    return encoded.decode("utf-8")


FILTERS: Final[dict[str, Filter]] = {
    "slug": Filter(slug, "Lower-case letters, digits and dashes only: 'Café au lait!' becomes 'cafe-au-lait'."),
    "truncate_words": Filter(truncate_words, "The first n words, with an ellipsis where something was cut off."),
    "one_line": Filter(one_line, "Line breaks and runs of blanks become single blanks."),
    "strip_html": Filter(strip_html, "The text of an HTML description without tags, scripts and entities."),
    "striptags": Filter(strip_html, "The same as strip_html."),
    "money": Filter(money, "An amount with thousands and decimals: 1299.5 | money('EUR') becomes '1,299.50 EUR'."),
    "split": Filter(split, "A cell with several values as a list: 'red, blue' | split(',')."),
    "tojson": Filter(tojson, "The value as JSON text."),
}
"""Filters beyond Jinja2's own, by name."""
