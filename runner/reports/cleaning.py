"""Makes text from catalogues, prompts and providers safe to store and to show.

Owns what is removed from foreign text before any format escapes it in its own way. Escaping itself belongs to each format.
Never changes text that people can read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

_SURROGATES = re.compile("[\ud800-\udfff]")
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_BIDI_CONTROLS = re.compile("[\u202a-\u202e\u2066-\u2069]")
_SPACES = re.compile(r"\s+")
_XML_INVALID = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

MAX_DEPTH = 40
"""Deeper nesting than this in parameters is cut: no provider takes it, and it would exhaust the stack."""


def encodable(text: str) -> str:
    """The text with lone surrogates replaced by U+FFFD, so that it can be written as UTF-8."""
    return _SURROGATES.sub("\ufffd", text)


def visible(text: str) -> str:
    """The text without control characters and without characters that reorder what follows; tabs become spaces,
    every kind of line end becomes a newline.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", " ")
    return _BIDI_CONTROLS.sub("", _CONTROLS.sub("", encodable(text)))


def one_line(text: str, limit: int = 0) -> str:
    """The visible text on one line; ``limit`` (characters, 0: none) cuts it with an ellipsis."""
    if limit and len(text) > limit * 8:
        text = text[: limit * 8]
    line = _SPACES.sub(" ", visible(text)).strip()
    return shortened(line, limit) if limit else line


def shortened(text: str, limit: int) -> str:
    """At most ``limit`` characters, the last an ellipsis when something was cut."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def xml_text(text: str) -> str:
    """The text without characters that XML 1.0 cannot hold, not even as references."""
    return _XML_INVALID.sub("", encodable(text))


def finite(value: float | None) -> float | None:
    """The number, or None where it is not one (NaN, infinity): JSON has no word for these."""
    return value if value is not None and math.isfinite(value) else None


def plain(value: object, depth: int = 0) -> object:
    """The value as dicts, lists, strings and finite numbers that any JSON writer takes."""
    if isinstance(value, str):
        return encodable(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return finite(value)
    if depth >= MAX_DEPTH:
        return "…"
    if isinstance(value, Mapping):
        return {encodable(str(name)): plain(item, depth + 1) for name, item in value.items()}
    if isinstance(value, Sequence):
        return [plain(item, depth + 1) for item in value]
    return encodable(str(value))
