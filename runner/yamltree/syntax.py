"""The YAML library's parser, and its complaints in plain words.

The only module that runs the library. Yields its events; may never let one of its errors out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import Event

from runner.errors import ManifestError, Problem
from runner.yamltree.page import Page

TEMPLATE_HINT = 'a template must stand in quotes: "{{ ... }}"'


def events(page: Page) -> Iterator[Event]:
    """The parser's events. Raises ``ManifestError`` for a fault of syntax."""
    reader = YAML(typ="safe", pure=True)
    last = 0
    try:
        for event in reader.parse(page.text):
            last = event.end_mark.index
            yield event
    except YAMLError as error:
        raise ManifestError([_explain(error, page, last)]) from None
    # The library answers some malformed escapes, tags and directives with Python's own errors.
    except (ValueError, OverflowError, TypeError, LookupError, AttributeError, AssertionError, NotImplementedError):
        beyond = _BEYOND_UNICODE.search(page.text, last)
        if beyond is None:
            mark, message, hint = page.mark(last), "this is not valid YAML after here", _GENERAL_HINT
        else:
            mark, message, hint = page.mark(*beyond.span()), "no character has this number", "write the character itself"
        raise ManifestError([Problem(mark, message, hint, "syntax")]) from None


_BEYOND_UNICODE = re.compile(r"\\U(?!000|0010)[0-9a-fA-F]{8}")
_GENERAL_HINT = "check the quotes, colons and indentation here and in the line above"


@dataclass(frozen=True, slots=True)
class _Phrase:
    """How one family of the library's complaints reads in plain words. ``at_start``: point at the construct's beginning."""

    needle: str
    message: str
    hint: str
    at_start: bool = False


_PHRASES = (
    _Phrase(
        "found unknown escape", "an unknown \\ escape stands in double quotes", "use 'single quotes', or write \\\\ for a \\"
    ),
    _Phrase("escape sequence of", "a \\x or \\u escape has wrong digits", "use 'single quotes', or write \\\\ for a \\"),
    _Phrase("quoted scalar", "the quote that opens here is never closed", "close it with the same quote", at_start=True),
    _Phrase("found character '\\t'", "a tab stands where spaces belong", "indent with spaces"),
    _Phrase("cannot start any token", "text cannot begin with {char}", "put the text in quotes"),
    _Phrase(
        "mapping values are not allowed", "a ':' is not possible here", "put text that holds ': ' in quotes, or align this line"
    ),
    _Phrase("mapping keys are not allowed", "a '?' is not possible here", "put text that begins with '? ' in quotes"),
    _Phrase("sequence entries are not allowed", "a list entry '- ' is not possible here", "begin it on a line of its own"),
    _Phrase(
        "could not find expected ':'", "this line has no ':'", "write `key: value`, or align it with the text", at_start=True
    ),
    _Phrase("flow sequence", "the list [ from line {line} is not closed here", "separate entries with , and close it with ]"),
    _Phrase("flow mapping", "the mapping {{ from line {line} is not closed here", "separate entries with , and close it with }"),
    _Phrase(
        "expected <block end>", "this does not line up with what stands above", "begin entries that belong together in one column"
    ),
    _Phrase("expected the node content", "a value is missing before this", "write a value, or quote the text"),
    _Phrase("block scalar", "after | or > only +, - or a digit may stand", "begin the text on the next line"),
    _Phrase("scanning an alias", "* must be followed by an anchor's name", "put text that begins with * in quotes"),
    _Phrase("scanning an anchor", "& must be followed by a name", "put text that begins with & in quotes"),
    _Phrase("tag", "a tag (!) is not possible here", "put text that begins with ! in quotes"),
    _Phrase("directive", "a line that begins with % is not possible here", "remove it, or put the text in quotes"),
    _Phrase("incompatible YAML", "this YAML version is not supported", "remove the %YAML line"),
    _Phrase("document start", "the document ends before this", "align it with what stands above, or remove it"),
)


def _explain(error: Exception, page: Page, last: int) -> Problem:
    """The library's complaint in plain words."""
    marked = error if isinstance(error, MarkedYAMLError) else MarkedYAMLError(problem=str(error))
    words = f"{marked.context or ''} {marked.problem or ''}"
    at, start = marked.problem_mark, marked.context_mark
    index = at.index if at is not None else last
    phrase = next((one for one in _PHRASES if one.needle in words), _Phrase("", "this is not valid YAML", _GENERAL_HINT))
    if phrase.at_start and start is not None:
        index = start.index
    mark = page.mark(index)
    line = page.line_of(start.index) + 1 if start is not None else mark.line
    message = phrase.message.format(line=line, char=page.text[index : index + 1] or "this")
    begin = page.line_start(mark.line - 1)
    whole = page.text[begin : page.line_start(mark.line)]
    if re.search(r"(?:^|[:\-,\[])\s*\{[{%]", whole):
        return Problem(mark, message, TEMPLATE_HINT, "syntax")
    return Problem(mark, message, phrase.hint, "syntax")
