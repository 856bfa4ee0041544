"""Compiling and rendering, as the rest of the house sees it.

Owns ``Templates`` (one per manifest: one sandbox, one cache) and ``Template`` (one text at one place). A template reads its context
and nothing else. Jinja2 is loaded when the first text with Jinja2 in it is compiled.

Bounds of one rendering, prompts within prompts included (``InputLimits``): characters of a value, four units of work for each of them
(about one character or list element each, ten for a call), seconds. A value is refused before it grows past the first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, TypeVar

from runner.bounds import USUAL, InputLimits, raised_by
from runner.errors import Mark, TemplateError
from runner.model import JSON
from runner.templates.record import plain
from runner.templates.reference import Reference

if TYPE_CHECKING:
    from runner.templates.code import Code
    from runner.templates.sandbox import Sandbox

_JINJA: Final = re.compile(r"\{[{%#]")
_NEWLINE: Final = re.compile(r"\r\n|\r")
_NAMED: Final = re.compile(r"[`']([A-Za-z_][A-Za-z0-9_]*)[`']")
_NO_WORDS: Final = frozenset({"false", "no", "off", "0", "n", "f", "none", "null"})

T = TypeVar("T")


class Templates:
    """All templates of one manifest. ``limits`` bound a template's text and one rendering."""

    def __init__(self, limits: InputLimits = USUAL) -> None:
        self._limits = limits
        self._sandbox: Sandbox | None = None
        self._codes: dict[tuple[str, bool], Code] = {}

    def compile(self, text: str, *, mark: Mark | None = None) -> Template:
        """A text with ``{{ }}`` and ``{% %}``. Raises ``TemplateError`` with ``mark`` and ``line``."""
        if _JINJA.search(text) is None:
            return Template(self, text, mark, None)
        return Template(self, text, mark, self._code(text, mark, expression=False))

    def expression(self, text: str, *, mark: Mark | None = None) -> Template:
        """A bare expression, as ``where:`` has it: ``product.price | float > 20``; braces around it may stand.

        Raises ``TemplateError`` as ``compile`` does.
        """
        bare = text.strip()
        if bare.startswith("{{") and bare.endswith("}}") and self._code(text, mark, expression=False).expression:
            return self.compile(text, mark=mark)
        if not bare:
            raise TemplateError(
                "the condition is empty", mark=mark, line=1, hint="Write one, such as product.price | float > 20."
            )
        return Template(self, text, mark, self._code(text, mark, expression=True))

    def _code(self, text: str, mark: Mark | None, *, expression: bool) -> Code:
        known = self._codes.get((text, expression))
        if known is not None:
            return known
        from runner.templates.code import Code
        from runner.templates.sandbox import Sandbox

        most = self._limits.template_text_chars
        if len(text) > most:
            hint = f"Shorten it, or {raised_by('template_text_chars')}."
            raise TemplateError(f"the template has {len(text):,} characters; {most:,} are allowed", mark=mark, line=1, hint=hint)
        if self._sandbox is None:
            self._sandbox = Sandbox(self._limits.template_chars, self._limits.template_seconds)
        try:
            code = Code(self._sandbox, text, expression=expression)
        except TemplateError as error:
            error.mark = mark
            error.column = error.column or _column_of_named(text, error)
            raise
        except RecursionError:
            raise TemplateError(
                "the template is nested too deeply", mark=mark, line=1, hint="Take it apart with {% set %}."
            ) from None
        self._codes[text, expression] = code
        return code


class Template:
    """One text at one place. Cheap: the code is shared by all templates with the same text."""

    __slots__ = ("_code", "_owner", "constant", "mark", "text")

    def __init__(self, owner: Templates, text: str, mark: Mark | None, code: Code | None) -> None:
        self._owner = owner
        self._code = code
        self.text: Final = text
        self.mark: Final = mark
        self.constant: Final[str | None] = _NEWLINE.sub("\n", text).removesuffix("\n") if code is None else None
        """What it always renders to, when there is no Jinja2 in it; like every template without one last line break."""

    def references(self) -> frozenset[Reference]:
        """What it asks of the context, found without rendering it."""
        return self._code.references if self._code is not None else frozenset()

    def render(self, context: Mapping[str, object]) -> str:
        """Its text. Raises ``TemplateError`` with ``mark``, ``line`` and a hint."""
        if self._code is None:
            return self.constant or ""
        return self._run(self._code, self._code.render, context)

    def value(self, context: Mapping[str, object]) -> JSON:
        """The value of a text that is one ``{{ expression }}`` (blanks around it aside), else its text.

        Raises ``TemplateError``, also for values that JSON cannot hold.
        """
        if self._code is None:
            return self.constant
        code = self._code
        return self._run(code, lambda data: plain(code.value(data)), context)

    def test(self, context: Mapping[str, object]) -> bool:
        """Whether the expression is true. A text without braces is read as an expression.

        Raises ``TemplateError``, also for words such as 'false', which are texts and would count as true.
        """
        code = self._code
        if code is None or not code.expression:
            return self._owner.expression(self.text, mark=self.mark).test(context)
        return self._run(code, lambda data: self._truth(code.value(data)), context)

    def _truth(self, found: object) -> bool:
        if isinstance(found, str) and found.strip().casefold() in _NO_WORDS:
            raise TemplateError(
                f"the condition gives the text {found!r}, which is neither true nor false",
                hint=f"Compare it: {self.text.strip()[:60]} == '...'.",
            )
        return bool(found)

    def _only_line(self) -> int:
        return 0 if "\n" in self.text.strip() else 1

    def _run(self, code: Code, work: Callable[[Mapping[str, object]], T], context: Mapping[str, object]) -> T:
        try:
            return work(context)
        except TemplateError as error:
            problem = error
            problem.line = problem.line or code.line_of(error)
        except _caught() as error:
            from runner.templates.failures import explain

            problem = explain(error, context)
            problem.line = code.line_of(error) or self._only_line()
            problem.column = code.column_of(error, problem.line)
        problem.line = problem.line or self._only_line()
        problem.mark = problem.mark or self.mark
        raise problem from None


def _column_of_named(text: str, error: TemplateError) -> int:
    """The column of the word that the message quotes, in the line that it names; 0 when it does not stand there."""
    named, rows = _NAMED.search(error.message), text.split("\n")
    if named is None or not 0 < error.line <= len(rows):
        return 0
    found = re.search(rf"\b{named[1]}\b", rows[error.line - 1])
    return found.start() + 1 if found else 0


def _caught() -> tuple[type[Exception], ...]:
    from runner.templates.failures import CAUGHT

    return CAUGHT
