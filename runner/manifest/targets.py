"""One target of a manifest: what it uses, needs, multiplies by and waits for.

Owns reading a single entry below ``targets``. What lies between targets (cycles, pins) is ``graph``'s.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from runner.errors import Mark
from runner.manifest.files import entries_of
from runner.manifest.matrix import axis_value, read_matrix
from runner.manifest.model import GateSpec, NeedSpec, TargetSpec, value_text
from runner.manifest.reader import Reader, describe, short, show
from runner.manifest.shape import DURATION, GATE, LONGEST_DEADLINE, TARGET, UNITS, USES, Kind
from runner.yamltree import Node

_USES = re.compile(rf"{USES}\Z")
_DURATION = re.compile(rf"\s*{DURATION}\Z")
_PIECE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([a-z]+)")


def read_targets(reader: Reader, node: Node) -> dict[str, TargetSpec]:
    """Every target in the order in which they are written; faulty ones too, as far as they can be read."""
    entries = entries_of(node)
    if not entries and isinstance(node.value, Mapping | None):
        reader.note(node.key_mark or node.mark, "targets is empty", "add one: a name, and `uses: provider/operation`", "targets")
    found: dict[str, TargetSpec] = {}
    for name, child in entries.items():
        reader.name(name, child.key_mark or child.mark, "a target")
        found[name] = _target(reader, name, child)
    return found


def _target(reader: Reader, name: str, node: Node) -> TargetSpec:
    where = f"targets.{short(name)}"
    entries = reader.section(node, TARGET, where)
    mark = node.key_mark or node.mark
    uses, params, takes, priority = (entries.get(key) for key in ("uses", "with", "takes", "priority"))
    matrix, gate, deadline, queue = (entries.get(key) for key in ("matrix", "gate", "deadline", "queue_deadline"))
    return TargetSpec(
        name=name,
        mark=mark,
        uses=_uses(reader, uses, f"{where}.uses") if uses else "",
        uses_mark=uses.mark if uses else mark,
        needs=_needs(reader, entries.get("needs"), name),
        params=entries_of(params) if params else {},
        params_mark=(params.key_mark or params.mark) if params else mark,
        matrix=read_matrix(reader, matrix, f"{where}.matrix") if matrix else None,
        takes=_whole(takes, 1),
        gate=_gate(reader, gate, f"{where}.gate") if gate else None,
        deadline_seconds=_deadline(reader, deadline, f"{where}.deadline") if deadline else None,
        queue_seconds=_deadline(reader, queue, f"{where}.queue_deadline") if queue else None,
        priority=_whole(priority, 0),
    )


def _whole(node: Node | None, default: int) -> int:
    return node.value if node and isinstance(node.value, int) else default


def _uses(reader: Reader, node: Node, where: str) -> str:
    text = str(node.value)
    if not _USES.match(text):
        message = f"{where}: {show(text)} is not of the form provider/operation"
        reader.note(node.mark, message, "write for example `kling/avatar`; `callsheet providers` lists them", "uses")
    return text


def _needs(reader: Reader, node: Node | None, target: str) -> dict[str, NeedSpec]:
    """``needs`` in its three forms: a name, a list of names, a mapping of names to pins."""
    where = f"targets.{short(target)}.needs"
    if node is None:
        return {}
    if isinstance(node.value, Mapping):
        return {name: _need(reader, name, child, f"{where}.{short(name)}") for name, child in node.value.items()}
    found: dict[str, NeedSpec] = {}
    for child in node.value if isinstance(node.value, tuple) else (node,):
        if not isinstance(child.value, str):
            reader.wrong(child, (Kind.TEXT,), where)
        elif child.value in found:
            reader.note(child.mark, f"{where} names {show(child.value)} twice", "remove one of them", "duplicate-value")
        else:
            found[child.value] = NeedSpec(child.value, {}, child.mark)
    return found


def _need(reader: Reader, name: str, node: Node, where: str) -> NeedSpec:
    mark = node.key_mark or node.mark
    pins: dict[str, str] = {}
    marks: dict[str, Mark] = {}
    for axis, child in (reader.mapping(node, where) or {}).items():
        if isinstance(child.value, tuple):
            message = f"{where}.{short(axis)}: expected one value, got a list"
            reader.note(child.mark, message, "pin one value; to use several, leave the axis unpinned", "type")
            continue
        value = axis_value(reader, child, f"{where}.{short(axis)}")
        if value is not None:
            pins[axis], marks[axis] = value_text(value), child.mark
    return NeedSpec(name, pins, mark, marks)


def _gate(reader: Reader, node: Node, where: str) -> GateSpec | None:
    mark = node.key_mark or node.mark
    if isinstance(node.value, str):
        if node.value != "approve":
            reader.note(node.mark, f"{where}: {show(node.value)} is no gate", "write `gate: approve`", "value")
        return GateSpec(mark)
    entries = reader.section(node, GATE, where)
    if not entries_of(node):
        reader.note(node.mark, f"{where} is empty", "write `gate: approve`, or remove the key", "value")
    approve, sample = entries.get("approve"), entries.get("sample")
    if approve and approve.value is False:
        return None
    return GateSpec(mark, sample=sample.value if sample and isinstance(sample.value, int) else None)


def _deadline(reader: Reader, node: Node, where: str) -> float | None:
    """Seconds."""
    if isinstance(node.value, int | float):
        seconds = float(node.value)
    elif isinstance(node.value, str) and len(node.value) < 40 and _DURATION.match(node.value):
        seconds = sum(float(amount) * UNITS[unit] for amount, unit in _PIECE.findall(node.value))
    else:
        reader.note(node.mark, f"{where}: {describe(node)} is no duration", "write `90s`, `30m` or `2h`", "value")
        return None
    if 1 <= seconds <= LONGEST_DEADLINE:
        return seconds
    reader.note(node.mark, f"{where}: {describe(node)} is not possible", "at least 1 second, at most 30 days", "value")
    return None
