"""Which jobs a person means: ``target:clip product:SKU-1*,state:failed``.

Owns the selector's grammar: space is union, comma is intersection, ``*`` and ``?`` are wildcards. A criterion is ``what:pattern`` where
*what* is ``target``, ``product``, ``state``, ``provider``, ``operation`` or an axis; a word without colon is a target. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

from runner.errors import UsageError
from runner.model import Cell

FIXED = ("target", "product", "state", "provider", "operation")


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a selector looks at: one job. ``state`` is asked for lazily because planning alone knows it."""

    target: str
    product: str
    cell: Cell
    operation: str
    state: Callable[[], Collection[str]]


@dataclass(frozen=True, slots=True)
class _Criterion:
    what: str
    pattern: str

    def matches(self, job: Candidate) -> bool:
        match self.what:
            case "target":
                return fnmatchcase(job.target, self.pattern)
            case "product":
                return fnmatchcase(job.product, self.pattern)
            case "operation":
                return fnmatchcase(job.operation, self.pattern)
            case "provider":
                return fnmatchcase(job.operation.partition("/")[0], self.pattern)
            case "state":
                return any(fnmatchcase(word, self.pattern) for word in job.state())
            case axis:
                return any(name == axis and fnmatchcase(value, self.pattern) for name, value in job.cell)


@dataclass(frozen=True, slots=True)
class Selection:
    """Parsed selectors. Empty: everything."""

    alternatives: tuple[tuple[_Criterion, ...], ...] = ()

    def matches(self, job: Candidate) -> bool:
        """Whether the job is meant."""
        return not self.alternatives or any(all(c.matches(job) for c in criteria) for criteria in self.alternatives)

    @property
    def by_state(self) -> bool:
        """Whether it asks for states: then choosing nothing is an answer, not a mistake."""
        return any(criterion.what == "state" for criteria in self.alternatives for criterion in criteria)

    def __bool__(self) -> bool:
        return bool(self.alternatives)


def parse(texts: Collection[str], *, targets: Collection[str], axes: Collection[str], states: Collection[str]) -> Selection:
    """Selectors from the command line; several are a union. Raises ``UsageError`` for names that do not exist."""
    known = {"target": targets, "state": states}
    words = [word for text in texts for word in text.split()]
    alternatives = [tuple(_criterion(part, axes, known) for part in word.split(",") if part) for word in words]
    return Selection(tuple(criteria for criteria in alternatives if criteria))


def _criterion(text: str, axes: Collection[str], known: Mapping[str, Collection[str]]) -> _Criterion:
    what, colon, pattern = text.partition(":")
    if not colon:
        what, pattern = "target", text
    if what not in FIXED and what not in axes:
        choices = [*FIXED, *axes]
        raise UsageError(
            f"--select {text!r}: nothing can be selected by {what!r}",
            hint=_did_you_mean(what, choices) or f"select by {', '.join(choices)}",
        )
    names = known.get(what)
    if names is not None and not any(fnmatchcase(name, pattern) for name in names):
        raise UsageError(
            f"--select {text!r}: there is no {what} {pattern!r}",
            hint=_did_you_mean(pattern, names) or f"one of: {', '.join(names)}",
        )
    return _Criterion(what, pattern)


def _did_you_mean(word: str, choices: Collection[str]) -> str:
    close = get_close_matches(word, list(choices), n=1)
    return f"did you mean {close[0]!r}?" if close else ""
