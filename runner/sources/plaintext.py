"""HTML fragments to plain text, for product descriptions.

Owns one pass over the text that takes time in proportion to its length, whatever is in it: descriptions come from anywhere.
No document is built, nothing is looked up.
"""

from __future__ import annotations

import html
import re

_BLOCKS = re.compile(
    "address|article|aside|blockquote|br|d[dlt]|div|fieldset|figcaption|figure|footer|form|h[1-6]|header|hr|li|main|nav|ol|option"
    "|p|pre|section|table|tbody|t[dhr]|tfoot|thead|ul"
)
_HIDDEN = ("script", "style", "template", "svg")
_TAG_NAME = re.compile(r"</?([A-Za-z][A-Za-z0-9:-]{0,40})")
_QUOTE_OR_END = re.compile(r"""=\s*["']|>""")
_SPACES = re.compile(r"[^\S\n]+")


def plain_text(markup: str) -> str:
    """The readable text of an HTML fragment: tags, comments and scripts dropped, entities decoded, white space tidied.

    Blocks (paragraphs, list items, table cells, line breaks) end a line; there are no empty lines.
    """
    text = "".join(_Scanner(markup).pieces())
    lines = (_SPACES.sub(" ", line).strip() for line in text.split("\n"))
    return "\n".join(line for line in lines if line)


def _one_line(text: str) -> str:
    """Text between tags: its own line ends are only white space in HTML."""
    return text.replace("\r", " ").replace("\n", " ")


def _decoded(text: str) -> str:
    text = _one_line(text)
    if "&" not in text:
        return text
    try:
        return _one_line(html.unescape(text))
    except ValueError:
        # A numeric entity of thousands of digits is more than Python turns into a number.
        return text


class _Scanner:
    """Walks the markup once. What proved absent from some place on (a closing ``>``, ``-->``) is not looked for again."""

    def __init__(self, markup: str) -> None:
        self._markup = markup
        self._lower = markup.lower() if len(markup.lower()) == len(markup) else markup
        self._trust_quotes = True
        self._absent: set[str] = set()

    def pieces(self) -> list[str]:
        out: list[str] = []
        markup, at = self._markup, 0
        while (start := markup.find("<", at)) >= 0:
            out.append(_decoded(markup[at:start]))
            at = self._after_markup(start, out)
        out.append(_decoded(markup[at:]))
        return out

    def _after_markup(self, start: int, out: list[str]) -> int:
        """Where the text goes on after what begins with the ``<`` at ``start``."""
        if self._markup.startswith("<!--", start):
            return self._after("-->", start + 4) or len(self._markup)
        if self._markup[start + 1 : start + 2] in ("!", "?"):
            return self._after(">", start) or len(self._markup)
        named = _TAG_NAME.match(self._markup, start)
        end = self._tag_end(start) if named else None
        if named is None or end is None:
            out.append("<")
            return start + 1
        name = named[1].lower()
        if _BLOCKS.fullmatch(name):
            out.append("\n")
        if name in _HIDDEN and self._markup[start + 1] != "/" and self._markup[end - 2] != "/":
            closing = self._after(f"</{name}", end) or len(self._markup)
            return self._after(">", closing) or len(self._markup)
        return end

    def _after(self, text: str, start: int) -> int | None:
        """The place after the next ``text``; None when there is none."""
        if text in self._absent:
            return None
        found = self._lower.find(text, start)
        if found < 0:
            self._absent.add(text)
            return None
        return found + len(text)

    def _tag_end(self, start: int) -> int | None:
        """The place after a tag's ``>``, not counting one inside a quoted attribute; None for a tag that is never closed."""
        at = start
        while self._trust_quotes and (found := _QUOTE_OR_END.search(self._markup, at)):
            if found[0] == ">":
                return found.end()
            at = self._markup.find(found[0][-1], found.end()) + 1
            self._trust_quotes = at > 0
        self._trust_quotes = False
        return self._after(">", start)
