"""Text with places: bytes become text, and a character's index becomes line and column.

Owns decoding and ``Page``. Knows nothing of YAML.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import NoReturn

from runner.errors import ManifestError, Mark, Problem

SHOWN = 80
"""Most characters of a file that a message repeats."""

_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff]")
_LINE_BREAK = re.compile("\r\n|\n|\r")


def decode(data: bytes, *, file: str) -> str:
    """UTF-8 bytes as text, without a byte order mark. Raises ``ManifestError`` with the place of the first bad byte."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        _refuse(Mark(file, 1, 1), "the file is UTF-16, not UTF-8", "save it as UTF-8", "encoding")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # With a byte order mark the codec counts from behind it.
        body = error.object if isinstance(error.object, bytes) else data
        before = body[: error.start].decode("utf-8", "replace").removeprefix("\ufeff")
        place = Page(before, file).mark(len(before))
        bad = body[error.start]
        _refuse(place, f"byte 0x{bad:02x} is not UTF-8", "save the file as UTF-8", "encoding")
    if found := _UNPRINTABLE.search(text):
        mark = Page(text, file).mark(found.start())
        name = f"U+{ord(found.group()):04X}"
        _refuse(mark, f"the control character {name} stands here", "remove it; the file must be plain text", "control-character")
    return text


def _refuse(mark: Mark, message: str, hint: str, code: str) -> NoReturn:
    raise ManifestError([Problem(mark, message, hint, code)])


class Page:
    """Text with its line starts. Lines end as editors count them: LF, CR LF or CR."""

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file
        self._starts = [0, *(found.end() for found in _LINE_BREAK.finditer(text))]

    def line_of(self, index: int) -> int:
        """0-based line of a character."""
        return bisect_right(self._starts, index) - 1

    def line_start(self, line: int) -> int:
        """Index of a 0-based line's first character; the text's end for a line behind the last."""
        return self._starts[line] if line < len(self._starts) else len(self.text)

    def mark(self, index: int, end: int | None = None) -> Mark:
        """The place of a character, with what stands there up to ``end`` (or the line's end)."""
        index = min(index, len(self.text))
        line = self.line_of(index)
        stop = min(self.line_start(line + 1), index + SHOWN)
        shown = self.text[index : stop if end is None else min(stop, end)]
        return Mark(self.file, line + 1, index - self._starts[line] + 1, shown.rstrip())
