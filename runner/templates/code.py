"""One template text as runnable code.

Owns the way from text to generated code, once per text: parse, refuse, find references, wire the meter, compile. Loaded only when
the first text with Jinja2 in it is compiled.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import jinja2
from jinja2 import nodes

from runner.errors import TemplateError
from runner.templates import syntax
from runner.templates.meter import TooMuch
from runner.templates.record import Record, label_of
from runner.templates.reference import Reference
from runner.templates.sandbox import GLOBALS, Missing, Sandbox

_VALUE: Final = "callsheet_value"
_POSITION: Final = re.compile(r" at (\d+)$")


class Code:
    """A compiled text; ``expression`` says whether it is one whole ``{{ expression }}`` and nothing else."""

    def __init__(self, sandbox: Sandbox, text: str, *, expression: bool = False) -> None:
        self.sandbox: Final = sandbox
        source = f"{{{{ {text} }}}}" if expression else text
        tree = _parse(sandbox, source, text)
        syntax.check(tree, sandbox)
        self.references: Final[frozenset[Reference]] = syntax.references(tree, text)
        syntax.Metering().visit(tree)
        whole = _only_expression(tree if expression or text == text.strip() else _stripped(tree))
        if expression and whole is None:
            raise TemplateError(
                "this is not one expression", line=1, hint="Write a condition such as product.price | float > 20."
            )
        self.expression: Final = whole is not None
        self._text: Final = _generate(sandbox, tree)
        self._value: Final = None if whole is None else _generate(sandbox, _assignment(whole))

    def render(self, context: Mapping[str, object]) -> str:
        """The text for this context."""
        sandbox, parts, size = self.sandbox, [], 0
        with sandbox.meter:
            limit = sandbox.meter.max_value
            bound = self._text.new_context({**GLOBALS, **context}, shared=True)
            for part in self._text.root_render_func(bound):
                size += len(part)
                if size > limit:
                    raise TooMuch(f"it makes more than {limit:,} characters")
                parts.append(part)
        return "".join(parts)

    def value(self, context: Mapping[str, object]) -> object:
        """The expression's own value, as Python object. Only where ``expression`` is true."""
        if self._value is None:
            return self.render(context)
        with self.sandbox.meter:
            bound = self._value.new_context({**GLOBALS, **context}, shared=True)
            for _ in self._value.root_render_func(bound):
                pass
            return bound.vars[_VALUE]

    def line_of(self, error: BaseException) -> int:
        """The line of the template in which ``error`` was raised; 0 when it cannot be told."""
        line, trace = 0, error.__traceback__
        while trace is not None:
            source = trace.tb_frame.f_globals.get("__jinja_template__")
            if isinstance(source, jinja2.Template) and (source is self._text or source is self._value):
                line = source.get_corresponding_lineno(trace.tb_lineno)
            trace = trace.tb_next
        return line

    def column_of(self, error: BaseException, line: int) -> int:
        """The column in ``line`` of the name that is missing, where it is written out once or more; 0 when it cannot be told."""
        if not isinstance(error, Missing) or not isinstance(error.owner, Record):
            return 0
        path = (*label_of(error.owner).split("."), str(error.name))
        places = [
            reference.column
            for reference in self.references
            if reference.line == line and (reference.root, reference.name, *reference.rest)[: len(path)] == path
        ]
        return min(places, default=0)


def _parse(sandbox: Sandbox, source: str, text: str) -> nodes.Template:
    try:
        return sandbox.parse(source)
    except jinja2.TemplateSyntaxError as error:
        raise _syntax_error(error, text, source.find(text)) from None
    except RecursionError:
        raise TemplateError("the template is nested too deeply", line=1, hint="Take it apart with {% set %}.") from None
    except ValueError as error:
        raise TemplateError(f"the template cannot be read: {error}", line=1) from None


def _syntax_error(error: jinja2.TemplateSyntaxError, text: str, offset: int) -> TemplateError:
    message = str(error.message or "syntax error").rstrip(".").replace("'end of print statement'", "end of the expression")
    lines = text.split("\n")
    number = min(max(error.lineno, 1), max(len(lines), 1))
    place = _POSITION.search(message)
    column = 0
    if place is not None:
        before = text[: max(0, int(place.group(1)) - offset)]
        column = len(before) - (before.rfind("\n") + 1) + 1
        message = message[: place.start()]
    found = TemplateError(
        f"{message} in {lines[number - 1].strip()[:80]!r}", line=number, hint=_advice(message) or "Correct the template."
    )
    found.column = column
    return found


def _advice(message: str) -> str:
    if "end of the expression" in message or "unexpected '}'" in message:
        return "Close it as {{ ... }}, or complete it; a name with blanks is written product['Image Src']."
    if "unexpected end of template" in message or "Unexpected end of template" in message:
        return "Close what was opened: {{ needs }}, {% if %} needs {% endif %}, {% for %} needs {% endfor %}."
    if "unknown tag" in message:
        return "There are if, for, set, macro, call, filter, with and raw."
    if "unexpected char" in message:
        return "Put texts into quotes, and close every quote."
    return ""


def _generate(sandbox: Sandbox, tree: nodes.Template) -> jinja2.Template:
    try:
        return sandbox.from_string(tree)
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(str(error.message), line=error.lineno) from None
    except (SyntaxError, RecursionError, MemoryError, OverflowError, ValueError):
        raise TemplateError("the template is nested too deeply", line=1, hint="Take it apart with {% set %}.") from None


def _only_expression(tree: nodes.Template) -> nodes.Expr | None:
    if len(tree.body) != 1 or not isinstance(tree.body[0], nodes.Output):
        return None
    printed = tree.body[0].nodes
    return printed[0] if len(printed) == 1 and not isinstance(printed[0], nodes.TemplateData) else None


def _stripped(tree: nodes.Template) -> nodes.Template:
    """The same without blank text at both ends, as YAML's block texts have it."""
    if len(tree.body) != 1 or not isinstance(tree.body[0], nodes.Output):
        return tree
    kept = [node for node in tree.body[0].nodes if not (isinstance(node, nodes.TemplateData) and not node.data.strip())]
    return nodes.Template([nodes.Output(kept, lineno=tree.body[0].lineno)], lineno=1)


def _assignment(expression: nodes.Expr) -> nodes.Template:
    target = nodes.Name(_VALUE, "store", lineno=expression.lineno)
    return nodes.Template([nodes.Assign(target, expression, lineno=expression.lineno)], lineno=1)
