"""Checks nodes against shapes and collects what is wrong.

Owns the wording of errors about keys, types, ranges and names. Never raises; what is wrong is noted and left out, so that everything
else can still be checked.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import PurePath

from runner.bounds import USUAL, InputLimits
from runner.errors import Mark, Problem
from runner.manifest.model import Text
from runner.manifest.shape import MAX_NAME, NAME, Key, Kind, Shape
from runner.yamltree import Node, scalar

_NAME = re.compile(rf"{NAME}\Z")
_SWITCHES = {"yes": "true", "on": "true", "no": "false", "off": "false"}
_SECRETS = re.compile(r"key|token|secret|password|credential|auth", re.IGNORECASE)
_REACH = {"a target": "needs", "a prompt": "prompts", "a variable": "vars", "an axis": "matrix"}
"""How templates reach what has a name."""
_MANY = 300


def suggest(word: str, known: Iterable[str]) -> str:
    """``did you mean 'x'?``, or nothing."""
    candidates = list(islice(known, _MANY))
    same = next((one for one in candidates if one.lower() == word.lower()), None)
    near = [same] if same else difflib.get_close_matches(word[:MAX_NAME], candidates, n=1)
    return f"did you mean {show(near[0])}?" if near else ""


class Reader:
    """Collects problems while a manifest is read."""

    def __init__(self, limits: InputLimits = USUAL) -> None:
        self.limits = limits
        self.problems: list[Problem] = []
        self._spoiled: set[tuple[str, int, int]] = set()

    def spoil(self, problems: Iterable[Problem]) -> None:
        """Take over problems of the YAML itself; what stands there is not complained about a second time."""
        for problem in problems:
            self.problems.append(problem)
            self.mute(problem.mark)

    def mute(self, mark: Mark) -> None:
        """Accept no further problems at this place."""
        self._spoiled.add((mark.file, mark.line, mark.column))

    def note(self, mark: Mark, message: str, hint: str = "", code: str = "manifest") -> None:
        """Remember one problem."""
        if (mark.file, mark.line, mark.column) not in self._spoiled:
            self.problems.append(Problem(mark, message, hint, code))

    def section(self, node: Node, shape: Shape, where: str, *, required: bool = True) -> dict[str, Node]:
        """The well-typed entries of a mapping. Unknown keys, wrong types and (if ``required``) missing keys are noted."""
        entries = self.mapping(node, where)
        if entries is None:
            return {}
        good: dict[str, Node] = {}
        for name, child in entries.items():
            if name not in shape:
                self._unknown(name, child, shape, where)
            elif not _left_empty(child, shape[name]) and self.fits(child, shape[name], f"{where}.{name}".lstrip(".")):
                good[name] = child
        if required:
            self.require(entries, shape, node.key_mark or node.mark, where)
        return good

    def require(self, entries: Mapping[str, Node], shape: Shape, mark: Mark, where: str) -> None:
        """Note every required key that is missing."""
        for name, key in shape.items():
            if key.required and name not in entries:
                place = f"{where} has no `{name}`" if where else f"the manifest has no `{name}`"
                # Not silenced by a fault at the same place: what is missing stands nowhere.
                self.problems.append(Problem(mark, place, f"add `{name}:`. {key.about}", "missing-key"))

    def _unknown(self, name: str, child: Node, shape: Shape, where: str) -> None:
        place = f"in {where}" if where else "here"
        known = ", ".join(shape)
        hint = self.suggest(name, shape) or f"known keys: {known}"
        if where.startswith("providers.") and _SECRETS.search(name):
            hint = "credentials never stand in a manifest: put them into the environment; `callsheet doctor` says which"
        self.note(child.key_mark or child.mark, f"unknown key {show(name)} {place}", hint, "unknown-key")

    def mapping(self, node: Node, where: str) -> Mapping[str, Node] | None:
        """The node's entries; None (and a note) when it is no mapping. Nothing at all counts as an empty mapping."""
        if node.value is None:
            return {}
        if isinstance(node.value, Mapping):
            return node.value
        self.wrong(node, (Kind.MAPPING,), where)
        return None

    def fits(self, node: Node, key: Key, where: str) -> bool:
        """Whether a value is of the right kind and within the key's rule; notes it when not."""
        kind = kind_of(node)
        if kind not in key.kinds and not (kind is Kind.WHOLE and Kind.NUMBER in key.kinds):
            self.wrong(node, key.kinds, where)
            return False
        fault = _outside(node.value, key.rule)
        if fault:
            self.note(node.mark, f"{where}: {fault[0]}", fault[1], "value")
        return not fault

    def wrong(self, node: Node, kinds: tuple[Kind, ...], where: str) -> None:
        """Note a value of the wrong kind."""
        expected = " or ".join(kinds)
        label = f"{where}: " if where else ""
        self.note(node.mark, f"{label}expected {expected}, got {describe(node)}", _retype(node, kinds), "type")

    def suggest(self, word: str, known: Iterable[str]) -> str:
        """``did you mean 'x'?``, or nothing. Comparing words is slow: a file with hundreds of problems gets no more of it."""
        return "" if len(self.problems) > _MANY else suggest(word, known)

    def name(self, name: str, mark: Mark, what: str) -> bool:
        """Whether ``name`` can be the name of a ``what``; notes it when not."""
        if not _NAME.match(name):
            reach = _REACH.get(what)
            hint = "use letters, digits, _ and -, beginning with a letter or _"
            hint += f"; templates read {reach}.x, or {reach}['x-y'] for a name with -" if reach else ""
            self.note(mark, f"{show(name)} cannot be the name of {what}", hint, "name")
            return False
        if len(name) > MAX_NAME:
            self.note(mark, f"the name of {what} is longer than {MAX_NAME} characters", "shorten it", "name")
            return False
        return True

    def text(self, node: Node, where: str) -> Text | None:
        """The node as a template's text; None (and a note) when it is no text."""
        if isinstance(node.value, str):
            return Text(node.value, node.content or node.mark)
        self.wrong(node, (Kind.TEXT,), where)
        return None


def _left_empty(node: Node, key: Key) -> bool:
    """A section with nothing below it is as good as none."""
    return node.value is None and not key.required and (Kind.MAPPING in key.kinds or Kind.LIST in key.kinds)


def kind_of(node: Node) -> Kind:
    """What kind of value a node holds."""
    value = node.value
    if value is None:
        return Kind.NOTHING
    if isinstance(value, bool):
        return Kind.FLAG
    if isinstance(value, int):
        return Kind.WHOLE
    if isinstance(value, float):
        return Kind.NUMBER
    if isinstance(value, str):
        return Kind.TEXT
    return Kind.LIST if isinstance(value, tuple) else Kind.MAPPING


def describe(node: Node) -> str:
    """The value for a message: ``text 'x'``, ``the number 3``, ``a list``."""
    kind = kind_of(node)
    if isinstance(node.value, str):
        return f"text {show(node.value)}"
    if kind is Kind.FLAG:
        return "true" if node.value else "false"
    if kind in {Kind.WHOLE, Kind.NUMBER}:
        return f"the number {node.value}"
    return str(kind)


def short(text: str) -> str:
    """User's text on one line, not too long."""
    line = " ".join(text.split())
    return f"{line[:60]}..." if len(line) > MAX_NAME else line


def show(text: str) -> str:
    """User's text in quotes, on one line, not too long."""
    return f"'{short(text)}'"


def show_path(path: PurePath) -> str:
    """A path in quotes; of a long one the end, which tells more than the beginning."""
    text = str(path)
    return f"'...{text[-97:]}'" if len(text) > 100 else f"'{text}'"


def choices(known: Iterable[object], *, limit: int = 12) -> str:
    """A short list of what is possible."""
    words = [str(one) for one in known]
    more = f", ... ({len(words)} in all)" if len(words) > limit else ""
    return ", ".join(short(one) for one in words[:limit]) + more


def _outside(value: object, rule: Mapping[str, object]) -> tuple[str, str] | None:
    """(fault, hint) when a value breaks a key's rule."""
    allowed = rule.get("enum")
    if isinstance(allowed, list) and value not in allowed:
        known = [str(one) for one in allowed]
        shown = show(str(value))
        return f"{shown} is not possible", suggest(str(value), known) or f"write one of: {', '.join(known)}"
    if isinstance(value, str) and rule.get("minLength") and not value.strip():
        return "the text is empty", "write something, or remove the key"
    if isinstance(value, int | float):
        low, high = rule.get("minimum"), rule.get("maximum")
        if isinstance(low, int | float) and value < low:
            return f"{value} is too small", f"at least {low}"
        if isinstance(high, int | float) and value > high:
            return f"{value} is too large", f"at most {high}"
    return None


def _retype(node: Node, kinds: tuple[Kind, ...]) -> str:
    """How to turn what is there into what is expected."""
    value = node.value
    numeric = Kind.WHOLE in kinds or Kind.NUMBER in kinds
    if isinstance(value, str):
        if Kind.FLAG in kinds:
            return f"write {_SWITCHES.get(value.lower(), 'true or false')}"
        if numeric and value and _is_number(value):
            return "remove the quotes"
        if Kind.MAPPING in kinds:
            return "write `name: value` entries below it"
        return f"write [{value}]" if Kind.LIST in kinds and len(value) < 40 else f"write {' or '.join(kinds)}"
    if Kind.TEXT in kinds and isinstance(value, bool | int | float):
        return f'put it in quotes: "{node.mark.text}"'
    if isinstance(value, float) and Kind.WHOLE in kinds:
        return f"write {round(value)}"
    if value is None:
        return "write a value, or remove the key"
    return f"write {' or '.join(kinds)}"


def _is_number(text: str) -> bool:
    try:
        value = scalar(text)
    except ValueError:
        return False
    return isinstance(value, int | float) and not isinstance(value, bool)
