"""What went wrong in a rendering, in plain words.

Owns the translation of every exception that a template can cause into one ``TemplateError`` with a hint. Loaded only with Jinja2.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Final

import jinja2
from jinja2.exceptions import SecurityError

from runner.bounds import raised_by
from runner.errors import TemplateError
from runner.templates.meter import TooMuch
from runner.templates.record import LazyText, Record, label_of
from runner.templates.sandbox import Missing

CAUGHT: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    LookupError,
    MemoryError,
    NameError,
    RuntimeError,
    TooMuch,
    TypeError,
    ValueError,
    jinja2.TemplateError,
)
"""Everything that running generated code over plain data can raise; an error that is ours already passes."""

_SHOWN: Final = 12


def explain(error: Exception, context: Mapping[str, object]) -> TemplateError:
    """The error for people. ``context`` is what the template was given."""
    if isinstance(error, Missing):
        return _missing(error, context)
    if isinstance(error, TooMuch):
        more = f"; or {raised_by(error.limit)}" if error.limit else ""
        hint = f"Make it do less, or prepare the data in the catalogue{more}."
        return TemplateError(f"the template was stopped: {error}", hint=hint)
    if isinstance(error, SecurityError):
        return TemplateError(f"not allowed in a template: {error}", hint="Use fields, filters and the listed text methods only.")
    if isinstance(error, RecursionError):
        return TemplateError("the template calls itself too deeply", hint="Let macros and data end somewhere.")
    if isinstance(error, MemoryError):
        return TemplateError("the template needs too much memory", hint="Make it do less.")
    if isinstance(error, TypeError):
        return TemplateError(f"the template cannot be rendered: {error}", hint=_type_hint(str(error)))
    return TemplateError(
        f"the template cannot be rendered: {error or type(error).__name__}", hint="Correct the template or the data."
    )


def _type_hint(message: str) -> str:
    if "'str'" in message and (
        "not supported between" in message or "unsupported operand" in message or "concatenate" in message
    ):
        return "Values from a CSV are text: make them numbers with `| float` or `| int`, and join texts with `~`."
    return "Correct the template or the data."


def _missing(error: Missing, context: Mapping[str, object]) -> TemplateError:
    owner, name = error.owner, str(error.name)
    if isinstance(owner, Record):
        return TemplateError(f"{label_of(owner)} has no field `{name}`", hint=suggestion(name, owner))
    if isinstance(owner, LazyText):
        return TemplateError(f"there is no prompt `{name}`", hint=suggestion(name, owner))
    if isinstance(owner, Mapping):
        return TemplateError(f"the mapping has no `{name}`", hint=suggestion(name, (str(key) for key in owner)))
    if isinstance(owner, (list, tuple)):
        return TemplateError(f"the list of {len(owner)} has no `{name}`", hint="Count from 0, or loop over it.")
    if owner is not None:
        what = "text" if isinstance(owner, str) else type(owner).__name__
        return TemplateError(f"a {what} has no `{name}`", hint="Use a filter, for example {{ product.title | upper }}.")
    if error.name is None:
        return TemplateError(f"the template cannot be rendered: {error}", hint="Give it a default: ... | default('...').")
    return TemplateError(f"`{name}` does not exist here", hint=suggestion(name, context))


def suggestion(name: str, existing: Iterable[str]) -> str:
    """``Did you mean ...?`` among what exists, or what there is."""
    names = list(existing)
    folded = {candidate.casefold(): candidate for candidate in names}
    close = difflib.get_close_matches(name.casefold(), folded, 1, cutoff=0.6)
    if close:
        return f"Did you mean `{folded[close[0]]}`?"
    if not names:
        return "There is nothing in it."
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"There are: {', '.join(names[:_SHOWN])}{more}."
