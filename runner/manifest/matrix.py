"""The matrix of a target: reading it, and multiplying it out.

Owns ``cells``, which follows GitHub Actions: exclude first, then every include extends the combinations that it does not contradict, or
adds one of its own. Values are compared as text, because job keys are text: ``1`` and ``"1"`` are the same variant.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product

from runner.bounds import raised_by
from runner.errors import Mark
from runner.manifest.model import AxisValue, MatrixSpec, value_text
from runner.manifest.reader import Reader, choices, short, show
from runner.manifest.shape import MATRIX_WORDS, RESERVED_AXES, Kind
from runner.yamltree import Node

MAX_EXTRAS = 1000
_VALUES = (Kind.TEXT, Kind.NUMBER, Kind.FLAG)


def cells(matrix: MatrixSpec | None) -> tuple[Mapping[str, AxisValue], ...]:
    """Every combination, in order: the last axis varies fastest, additions by ``include`` come last. No matrix: one empty cell."""
    if matrix is None:
        return ({},)
    original = [dict(zip(matrix.axes, values, strict=True)) for values in product(*matrix.axes.values())] if matrix.axes else []
    kept = [cell for cell in original if not any(_agrees(cell, pattern) for pattern in matrix.exclude)]
    extended: list[dict[str, AxisValue]] = [dict(cell) for cell in kept]
    added: list[dict[str, AxisValue]] = []
    for extra in matrix.include:
        shared = {axis: value for axis, value in extra.items() if axis in matrix.axes}
        # Only the original values are protected; what an earlier include added may be overwritten.
        matching = [number for number, cell in enumerate(kept) if _agrees(cell, shared)]
        for number in matching:
            extended[number].update(extra)
        if not matching:
            added.append(dict(extra))
    return (*extended, *added)


def _agrees(cell: Mapping[str, AxisValue], pattern: Mapping[str, AxisValue]) -> bool:
    return all(axis in cell and value_text(cell[axis]) == value_text(value) for axis, value in pattern.items())


def axis_values(matrix: MatrixSpec | None) -> dict[str, tuple[str, ...]]:
    """Every axis with the values, as text, that really occur."""
    found: dict[str, dict[str, None]] = {axis: {} for axis in (matrix.axes if matrix else ())}
    for cell in cells(matrix):
        for axis, value in cell.items():
            found.setdefault(axis, {})[value_text(value)] = None
    return {axis: tuple(values) for axis, values in found.items()}


def read_matrix(reader: Reader, node: Node, where: str) -> MatrixSpec | None:
    """The matrix as written; None (and notes) when it cannot be used."""
    entries = node.value if isinstance(node.value, Mapping) else {}
    before = len(reader.problems)
    axes: dict[str, tuple[AxisValue, ...]] = {}
    marks: dict[str, Mark] = {}
    for axis, child in entries.items():
        if axis not in MATRIX_WORDS and axis_name(reader, axis, child.key_mark or child.mark):
            axes[axis] = _axis(reader, child, f"{where}.{short(axis)}")
            marks[axis] = child.key_mark or child.mark
    include, include_marks = _extras(reader, entries.get("include"), f"{where}.include")
    exclude, exclude_marks = _extras(reader, entries.get("exclude"), f"{where}.exclude")
    spec = MatrixSpec(node.mark, axes, include, exclude, marks, include_marks, exclude_marks)
    _check_excludes(reader, spec, where)
    mark = node.key_mark or node.mark
    if not axes and not include and len(reader.problems) == before:
        reader.note(mark, f"{where} has no axes", "add one: `aspect_ratio: [9x16, 1x1]`", "matrix")
    if math.prod(len(values) for values in axes.values()) > reader.limits.matrix_cells:
        message = f"{where} makes more than {reader.limits.matrix_cells} combinations"
        reader.note(mark, message, f"split the target; {raised_by('matrix_cells')}", "matrix")
    if len(reader.problems) > before:
        return None
    return spec if _check_cells(reader, spec, where) else None


def axis_name(reader: Reader, axis: str, mark: Mark) -> bool:
    """Whether an axis may be called so; notes it when not."""
    if axis in RESERVED_AXES:
        reader.note(mark, f"the axis name '{axis}' is reserved: {RESERVED_AXES[axis]}", "choose another name", "reserved-name")
        return False
    return reader.name(axis, mark, "an axis")


def axis_value(reader: Reader, node: Node, where: str) -> AxisValue | None:
    """One axis value; None (and a note) when it is none."""
    value = node.value
    if value is None or isinstance(value, tuple | Mapping):
        reader.wrong(node, _VALUES, where)
        return None
    if isinstance(value, str) and (not value.strip() or "\n" in value):
        reader.note(node.mark, f"{where}: an axis value must be one line of text", "write a short word", "matrix")
        return None
    return value


def _axis(reader: Reader, node: Node, where: str) -> tuple[AxisValue, ...]:
    if not isinstance(node.value, tuple):
        reader.wrong(node, (Kind.LIST,), where)
        return ()
    if not node.value:
        reader.note(node.mark, f"{where} has no values", "write at least one, or remove the axis", "matrix")
    seen: dict[str, AxisValue] = {}
    for child in node.value:
        value = axis_value(reader, child, where)
        if value is None:
            continue
        if value_text(value) in seen:
            message = f"{where}: the value {show(value_text(value))} stands twice"
            reader.note(child.mark, message, "remove one; values are compared as text", "duplicate-value")
        seen.setdefault(value_text(value), value)
    return tuple(seen.values())


def _extras(reader: Reader, node: Node | None, where: str) -> tuple[tuple[dict[str, AxisValue], ...], tuple[Mark, ...]]:
    """The entries of ``include`` or ``exclude``, and their places."""
    if node is None or node.value is None:
        return (), ()
    if not isinstance(node.value, tuple):
        reader.wrong(node, (Kind.LIST,), where)
        return (), ()
    if len(node.value) > MAX_EXTRAS:
        reader.note(node.mark, f"{where} has more than {MAX_EXTRAS} entries", "split the target", "matrix")
        return (), ()
    found = [(_extra(reader, child, where), child.mark) for child in node.value]
    return tuple(entry for entry, _ in found), tuple(mark for _, mark in found)


def _extra(reader: Reader, node: Node, where: str) -> dict[str, AxisValue]:
    if not isinstance(node.value, Mapping):
        reader.wrong(node, (Kind.MAPPING,), where)
        return {}
    if not node.value:
        reader.note(node.mark, f"{where}: this entry is empty", "name at least one axis and value", "matrix")
    entry: dict[str, AxisValue] = {}
    for axis, child in node.value.items():
        value = axis_value(reader, child, f"{where}.{short(axis)}")
        if axis_name(reader, axis, child.key_mark or child.mark) and value is not None:
            entry[axis] = value
    return entry


def _check_excludes(reader: Reader, spec: MatrixSpec, where: str) -> None:
    """An exclude that can match nothing is a slip of the pen."""
    for pattern, mark in zip(spec.exclude, spec.exclude_marks, strict=True):
        for axis, value in pattern.items():
            known = [value_text(one) for one in spec.axes.get(axis, ())]
            if axis not in spec.axes:
                hint = reader.suggest(axis, spec.axes) or f"axes: {choices(spec.axes) or 'none'}"
                reader.note(mark, f"{where}.exclude names the unknown axis {show(axis)}", hint, "unknown-axis")
            elif known and value_text(value) not in known:
                message = f"{where}.exclude: the axis {show(axis)} has no value {show(value_text(value))}"
                reader.note(mark, message, _values_hint(reader, value_text(value), known), "unknown-value")


def _values_hint(reader: Reader, value: str, known: Sequence[str]) -> str:
    near = reader.suggest(value, known)
    return f"{near} values: {choices(known)}".strip()


def _check_cells(reader: Reader, spec: MatrixSpec, where: str) -> bool:
    """There is at least one combination, and none twice: both would have the same job key."""
    made = cells(spec)
    if not made:
        reader.note(spec.mark, f"{where}: exclude leaves no combination", "remove an exclude", "matrix")
    seen: set[frozenset[tuple[str, str]]] = set()
    for cell in made:
        identity = frozenset((axis, value_text(value)) for axis, value in cell.items())
        if identity in seen:
            shown = ", ".join(f"{axis}={value_text(value)}" for axis, value in cell.items())
            twins = [mark for entry, mark in zip(spec.include, spec.include_marks, strict=True) if entry == cell]
            mark = twins[-1] if twins else spec.mark
            reader.note(
                mark, f"{where}: include makes the combination {show(shown)} twice", "remove one of them", "duplicate-value"
            )
            return False
        seen.add(identity)
    return bool(made)
