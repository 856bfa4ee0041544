"""The syntax tree of a template: what it refers to, what it may not contain, and where it is metered.

Owns the static side: references are found without rendering anything, forbidden tags and unknown filters are refused with their
line, and loops, concatenations, comparisons and literals are wired to the meter. Loaded only together with Jinja2.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from jinja2 import Environment, nodes
from jinja2.visitor import NodeTransformer

from runner.errors import TemplateError
from runner.templates.meter import STEP_UNITS
from runner.templates.reference import Reference
from runner.templates.sandbox import CONCAT, GLOBALS, WALK, WEIGH

_FORBIDDEN: Final = (
    nodes.Extends,
    nodes.Include,
    nodes.Import,
    nodes.FromImport,
    nodes.Block,
    nodes.ScopedEvalContextModifier,
    nodes.EvalContextModifier,
)
_IMPLICIT: Final = frozenset({"loop", "caller", "varargs", "kwargs"})


def check(tree: nodes.Template, environment: Environment) -> None:
    """Refuse what templates may not contain. Raises ``TemplateError`` with ``line``."""
    for node in _walk(tree):
        if isinstance(node, _FORBIDDEN):
            word = type(node).__name__.lower().replace("fromimport", "import").replace("scopedevalcontextmodifier", "autoescape")
            raise TemplateError(
                f"`{word}` is not available in templates",
                line=node.lineno,
                hint="A template reads no other file; to use another prompt write {{ prompts.its_name }}.",
            )
        if isinstance(node, nodes.For) and node.recursive:
            raise TemplateError("recursive loops are not available", line=node.lineno, hint="Use a loop inside a loop.")
        if isinstance(node, nodes.Filter) and node.name not in environment.filters:
            raise _unknown("filter", node.name, list(environment.filters), node.lineno)
        if isinstance(node, nodes.Test) and node.name not in environment.tests:
            raise _unknown("test", node.name, list(environment.tests), node.lineno)


def _unknown(what: str, name: str, known: list[str], line: int) -> TemplateError:
    close = difflib.get_close_matches(name, known, 1)
    names = ", ".join(sorted(word for word in known if word[0].isalpha()))
    hint = f"Did you mean `{close[0]}`?" if close else f"There are: {names}."
    return TemplateError(f"there is no {what} named `{name}`", line=line, hint=hint)


def _walk(node: nodes.Node) -> Iterator[nodes.Node]:
    stack = [node]
    while stack:
        item = stack.pop()
        yield item
        stack.extend(item.iter_child_nodes())


# ---------------------------------------------------------------------------------------------------- metering


class Metering(NodeTransformer):
    """Puts the meter where generated code would otherwise do work unseen."""

    def visit(self, node: nodes.Node, *args: object, **kwargs: object) -> nodes.Node:
        """The node with everything below it metered."""
        weight = STEP_UNITS + sum(map(_fixed_text, node.body)) if isinstance(node, nodes.For) else 0
        self.generic_visit(node, *args, **kwargs)
        if isinstance(node, nodes.For):
            node.iter = nodes.Filter(node.iter, WALK, [nodes.Const(weight)], [], None, None, lineno=node.lineno)
        elif isinstance(node, nodes.Concat):
            return _through(CONCAT, nodes.List(node.nodes, lineno=node.lineno))
        elif isinstance(node, nodes.Compare):
            _weigh_sides(node)
        elif _is_copy(node) and isinstance(node, nodes.Expr):
            return _through(WEIGH, node)
        return node


def _weigh_sides(node: nodes.Compare) -> None:
    """Long values may be compared, at a price; comparing with a constant that is not long is free."""
    sides = [node.expr, *(operand.expr for operand in node.ops)]
    member = any(operand.op in ("in", "notin") for operand in node.ops)
    if member or not any(isinstance(side, nodes.Const) for side in sides):
        node.expr = _through(WEIGH, node.expr)
        for operand in node.ops:
            operand.expr = _through(WEIGH, operand.expr)


def _is_copy(node: nodes.Node) -> bool:
    """Slices, and literals whose parts may be long; names to assign to and lists of constants are not."""
    if isinstance(node, nodes.Getitem):
        return isinstance(node.arg, nodes.Slice)
    if isinstance(node, (nodes.List, nodes.Tuple)):
        loaded = not isinstance(node, nodes.Tuple) or node.ctx == "load"
        return loaded and not all(isinstance(item, nodes.Const) for item in node.items)
    return isinstance(node, nodes.Dict) and not all(isinstance(pair.value, nodes.Const) for pair in node.items)


def _through(name: str, node: nodes.Expr) -> nodes.Expr:
    return node if isinstance(node, nodes.Const) else nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


def _fixed_text(node: nodes.Node) -> int:
    if isinstance(node, nodes.TemplateData):
        return len(node.data)
    if isinstance(node, (nodes.For, nodes.Macro)):
        return 0
    return sum(_fixed_text(child) for child in node.iter_child_nodes())


# -------------------------------------------------------------------------------------------------- references


def references(tree: nodes.Template, text: str) -> frozenset[Reference]:
    """Every access to the context, in templates and expressions alike."""
    finder = _Finder()
    finder.block(tree.body, set())
    lines = text.split("\n")
    return frozenset(
        replace(found, column=_column(lines, found), soft=found.soft or finder.is_guarded(found)) for found in finder.found
    )


@dataclass(slots=True)
class _Finder:
    """Walks in the order of execution, so that a name counts as local only once it was set."""

    found: list[Reference] = field(default_factory=list)
    guarded: set[tuple[str, ...]] = field(default_factory=set)
    """Paths that are tested with ``is defined`` or ``'name' in root`` somewhere."""

    def is_guarded(self, found: Reference) -> bool:
        path = (found.root, found.name, *found.rest) if found.name else (found.root,)
        return any(path[: len(guard)] == guard for guard in self.guarded)

    def block(self, body: list[nodes.Node], local: set[str]) -> None:
        for node in body:
            self.visit(node, local)

    def visit(self, node: nodes.Node, local: set[str], *, soft: bool = False) -> None:
        path = _path(node)
        if path is not None:
            self._access(node, path, local, soft=soft)
        elif isinstance(node, (nodes.Filter, nodes.Test)) and node.node is not None:
            self._piped(node, local)
        elif isinstance(node, nodes.Call):
            self._call(node, local)
        elif isinstance(node, nodes.Compare):
            self._compare(node, local)
        else:
            self._statement(node, local)

    def _statement(self, node: nodes.Node, local: set[str]) -> None:
        if isinstance(node, (nodes.Assign, nodes.AssignBlock)):
            for child in node.iter_child_nodes(exclude=("target",)):
                self.visit(child, local)
            local |= _stored(node.target)
        elif isinstance(node, nodes.For):
            self._loop(node, local)
        elif isinstance(node, (nodes.Macro, nodes.CallBlock)):
            self._macro(node, local)
        elif isinstance(node, nodes.With):
            self.block(list(node.values), local)
            self.block(node.body, local | {name for target in node.targets for name in _stored(target)})
        else:
            for child in node.iter_child_nodes():
                self.visit(child, local)

    def _loop(self, node: nodes.For, local: set[str]) -> None:
        self.visit(node.iter, local)
        inside = local | _stored(node.target) | {"loop"}
        if node.test is not None:
            self.visit(node.test, inside)
        self.block(node.body, inside)
        self.block(node.else_, set(local))

    def _macro(self, node: nodes.Macro | nodes.CallBlock, local: set[str]) -> None:
        self.block(list(node.defaults), local)
        if isinstance(node, nodes.CallBlock):
            self.visit(node.call, local)
        else:
            local.add(node.name)
        self.block(node.body, local | {arg.name for arg in node.args} | _IMPLICIT)

    def _access(self, node: nodes.Node, path: tuple[str, ...], local: set[str], *, soft: bool) -> None:
        root, name, rest = path[0], path[1] if len(path) > 1 else "", path[2:]
        if root not in local and not (root in GLOBALS and not name):
            self.found.append(Reference(root, name, node.lineno, 0, soft=soft, rest=rest))

    def _piped(self, node: nodes.Filter | nodes.Test, local: set[str]) -> None:
        value = node.node
        if value is None:
            return
        path = _path(value)
        if isinstance(node, nodes.Test) and node.name in ("defined", "undefined") and path is not None:
            self.guarded.add(path)
        soft = path is not None and node.name in ("defined", "undefined", "default", "d")
        self.visit(value, local, soft=soft)
        for child in node.iter_child_nodes(exclude=("node",)):
            self.visit(child, local)

    def _call(self, node: nodes.Call, local: set[str]) -> None:
        """``product.title.upper()``: the last name is a method; ``product.items()`` still asks for the field ``items``."""
        called = node.node
        path = _path(called)
        if path is not None and len(path) > 2 and isinstance(called, nodes.Getattr):
            called = called.node
        self.visit(called, local)
        for child in node.iter_child_nodes(exclude=("node",)):
            self.visit(child, local)

    def _compare(self, node: nodes.Compare, local: set[str]) -> None:
        for operand in node.ops:
            path = _path(operand.expr)
            if operand.op in ("in", "notin") and path is not None and isinstance(node.expr, nodes.Const):
                self.guarded.add((*path, str(node.expr.value)))
        for child in node.iter_child_nodes():
            self.visit(child, local)


def _path(node: nodes.Node) -> tuple[str, ...] | None:
    """``product['Image Src'].url`` as its parts; None for anything that is not such a chain of constants."""
    parts: list[str] = []
    while not isinstance(node, nodes.Name):
        if isinstance(node, nodes.Getattr):
            parts.append(node.attr)
        elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
            parts.append(str(node.arg.value))
        else:
            return None
        node = node.node
    return (node.name, *reversed(parts)) if node.ctx == "load" else None


def _stored(target: nodes.Node) -> set[str]:
    names = target.find_all(nodes.Name) if not isinstance(target, nodes.Name) else [target]
    return {name.name for name in names}


def _column(lines: list[str], found: Reference) -> int:
    """Where on its line the reference is first spelled, from 1; 0 when it is spelled in a way that cannot be found."""
    line = lines[found.line - 1] if 0 < found.line <= len(lines) else ""
    pattern = rf"(?<![\w.]){re.escape(found.root)}"
    if found.name:
        name = re.escape(found.name)
        pattern += rf"\s*(?:\.\s*{name}(?!\w)|\[\s*(?:'{name}'|\"{name}\"|{name})\s*\])"
    else:
        pattern += r"(?!\w)"
    match = re.search(pattern, line)
    return match.start() + 1 if match else 0
