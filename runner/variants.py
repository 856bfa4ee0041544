"""Which variants of a target exist: its own matrix, joined with what it inherits from the targets it needs.

Owns the join, once per manifest (products do not matter here). Pure; reports problems instead of raising.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from runner.errors import Problem
from runner.manifest.matrix import cells
from runner.manifest.model import AxisValue, Manifest, NeedSpec, TargetSpec
from runner.manifest.model import value_text as text_of
from runner.model import Cell

TAKE = "take"
"""The axis that ``takes: 3`` adds."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One matrix cell of a target: the same for every product."""

    index: int
    cell: Cell
    values: Mapping[str, AxisValue]
    """Axis -> value as the manifest wrote it (numbers stay numbers)."""
    needs: Mapping[str, int]
    """Needed target -> index of the variant there."""


@dataclass(frozen=True, slots=True)
class _Partial:
    values: Mapping[str, AxisValue]
    needs: Mapping[str, int]


def variants_of(manifest: Manifest) -> tuple[Mapping[str, tuple[Variant, ...]], list[Problem]]:
    """Every target's variants, in the order of needs, and what is wrong with them."""
    found: dict[str, tuple[Variant, ...]] = {}
    problems: list[Problem] = []
    for target in manifest.targets.values():
        found[target.name] = _variants(target, found, problems)
    return found, problems


def _variants(target: TargetSpec, found: Mapping[str, tuple[Variant, ...]], problems: list[Problem]) -> tuple[Variant, ...]:
    partials = [_Partial({}, {})]
    for name, need in target.needs.items():
        partials = _join_need(target, partials, need, _pinned(need, found.get(name, ())), problems)
    partials = _join_own(target, partials, problems)
    if target.takes > 1:
        if any(TAKE in partial.values for partial in partials):
            problems.append(
                Problem(
                    target.mark,
                    f"{target.name} makes takes of its own and inherits the takes of what it needs",
                    "pin one take: needs: {X: {take: 1}}",
                    "fan-in",
                )
            )
        else:
            partials = [_Partial({**p.values, TAKE: take}, p.needs) for p in partials for take in range(1, target.takes + 1)]
    return tuple(
        Variant(index, tuple((axis, text_of(value)) for axis, value in p.values.items()), p.values, p.needs)
        for index, p in enumerate(partials)
    )


def _pinned(need: NeedSpec, upstream: Iterable[Variant]) -> list[Variant]:
    return [variant for variant in upstream if all(dict(variant.cell).get(axis) == value for axis, value in need.pins.items())]


def _join_need(
    target: TargetSpec,
    partials: list[_Partial],
    need: NeedSpec,
    upstream: list[Variant],
    problems: list[Problem],
) -> list[_Partial]:
    joined: list[_Partial] = []
    seen: dict[tuple[tuple[str, str], ...], int] = {}
    for partial in partials:
        for variant in upstream:
            free = {axis: value for axis, value in variant.values.items() if axis not in need.pins}
            if not _agree(partial.values, free):
                continue
            values = {**partial.values, **free}
            identity = tuple(sorted((axis, text_of(value)) for axis, value in values.items()))
            if identity in seen:
                problems.append(_fan_in(target, need, upstream))
                return joined
            seen[identity] = variant.index
            joined.append(_Partial(values, {**partial.needs, need.target: variant.index}))
    if not joined and upstream:
        problems.append(
            Problem(
                need.mark,
                f"no variant of {need.target} fits the other variants of {target.name}",
                "the axes they share must have values in common",
                "no-variant",
            )
        )
    elif not upstream:
        problems.append(_no_such_variant(need))
    return joined


def _fan_in(target: TargetSpec, need: NeedSpec, upstream: list[Variant]) -> Problem:
    shown = ", ".join("/".join(f"{a}={v}" for a, v in variant.cell) or "(plain)" for variant in upstream[:4])
    axis, value = upstream[0].cell[0] if upstream[0].cell else ("axis", "value")
    return Problem(
        need.mark,
        f"{target.name} needs one {need.target}, but several variants fit: {shown}",
        f"pin one: needs: {{ {need.target}: {{ {axis}: {value} }} }}",
        "fan-in",
    )


def _no_such_variant(need: NeedSpec) -> Problem:
    pins = ", ".join(f"{axis}: {value}" for axis, value in need.pins.items())
    return Problem(
        need.mark,
        f"{need.target} has no variant with {pins}" if pins else f"{need.target} has no variants",
        "see its matrix, include and exclude",
        "no-variant",
    )


def _agree(left: Mapping[str, AxisValue], right: Mapping[str, AxisValue]) -> bool:
    return all(text_of(left[axis]) == text_of(right[axis]) for axis in left.keys() & right.keys())


def _join_own(target: TargetSpec, partials: list[_Partial], problems: list[Problem]) -> list[_Partial]:
    if target.matrix is None:
        return partials
    own = cells(target.matrix)
    for axis in target.matrix.axes:
        inherited = {text_of(p.values[axis]) for p in partials if axis in p.values}
        wanted = {text_of(cell[axis]) for cell in own if axis in cell}
        if inherited and (strange := sorted(wanted - inherited)):
            problems.append(
                Problem(
                    target.matrix.axis_marks.get(axis, target.mark),
                    f"{target.name} inherits {axis}, which is never {', '.join(strange)}",
                    f"what it needs offers: {', '.join(sorted(inherited))}",
                    "no-variant",
                )
            )
    joined = [
        _Partial({**partial.values, **cell}, partial.needs)
        for partial in partials
        for cell in own
        if _agree(partial.values, cell)
    ]
    if not joined and partials and own:
        problems.append(Problem(target.mark, f"{target.name} has no variants left", "loosen its matrix or exclude", "no-variant"))
    return joined
