"""Where a character of a text stands in the file, when YAML folds, quotes or escapes the text.

Owns that mapping. Blanks and line breaks come and go between the file and the text; all other characters keep their order, so the
n-th of them here is the n-th of them there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from runner.errors import Mark
from runner.yamltree.page import Page

_ESCAPE = re.compile(r"\\(?:x(..)|u(.{4})|U(.{8})|(\r\n|.))", re.DOTALL)
_BLANK_ESCAPES = frozenset("nrt vfNLP_\t\r\n")


def inside(page: Page, span: tuple[int, int], value: str, style: str | None) -> Callable[[int, int], Mark]:
    """For ``Mark.inside``. ``span`` holds the text as the file has it, without its quotes; ``style`` is the quote, ``>`` or None."""

    def locate(line: int, column: int) -> Mark:
        rows = value.split("\n")
        row = rows[min(max(line, 1), len(rows)) - 1]
        before = "".join(rows[: max(line, 1) - 1]) + row[: max(0, column - 1)]
        wanted = sum(not letter.isspace() for letter in before)
        for number, index in enumerate(_places(page.text, span, style)):
            if number == wanted:
                return page.mark(index, span[1])
        return page.mark(span[0], span[1])

    return locate


def _places(text: str, span: tuple[int, int], style: str | None) -> Iterator[int]:
    """Index of every character of the text that is not blank."""
    index, end = span
    while index < end:
        step = 1
        escape = _ESCAPE.match(text, index, end) if style == '"' else None
        if escape is not None:
            step = escape.end() - index
            blank = _is_blank(escape)
        else:
            blank = text[index].isspace()
            if style == "'" and text.startswith("''", index):
                step = 2
        if not blank:
            yield index
        index += step


def _is_blank(escape: re.Match[str]) -> bool:
    digits = escape[1] or escape[2] or escape[3]
    if digits is None:
        return escape[4] in _BLANK_ESCAPES or escape[4] == "\r\n"
    return chr(int(digits, 16)).isspace()
