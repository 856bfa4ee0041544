"""What lies between targets: order, cycles, and pins.

Owns the topological order (stable: what is written first comes first among equals) and the axes that a target hands on. Pure over specs;
works without recursion, so that a chain of thousands of targets is no danger.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping

from runner.manifest.matrix import axis_values
from runner.manifest.model import NeedSpec, TargetSpec
from runner.manifest.reader import Reader, choices, short, show


def ordered(reader: Reader, targets: Mapping[str, TargetSpec], unsure: Collection[str] = ()) -> dict[str, TargetSpec]:
    """The targets, upstream first. Unknown needs, cycles and wrong pins are noted; targets in or below a cycle are left out.

    Of ``unsure`` targets the axes are not known, so that pins on them are not judged.
    """
    edges = {name: _known_needs(reader, target, targets) for name, target in targets.items()}
    order = _sorted(edges)
    _note_cycles(reader, targets, {name: needs for name, needs in edges.items() if name not in order})
    in_order = {name: targets[name] for name in order}
    _check_pins(reader, in_order, unsure)
    return in_order


def _known_needs(reader: Reader, target: TargetSpec, targets: Mapping[str, TargetSpec]) -> list[str]:
    known: list[str] = []
    for need in target.needs.values():
        if need.target == target.name:
            reader.note(need.mark, f"target {show(target.name)} needs itself", "remove it from `needs`", "cycle")
        elif need.target in targets:
            known.append(need.target)
        else:
            others = [name for name in targets if name != target.name]
            hint = reader.suggest(need.target, others) or f"targets: {choices(others) or 'no others'}"
            reader.note(
                need.mark, f"target {show(target.name)} needs the unknown target {show(need.target)}", hint, "unknown-target"
            )
    return known


def _sorted(edges: Mapping[str, list[str]]) -> list[str]:
    """Kahn's algorithm; of those that are free, the one that is written first."""
    names = list(edges)
    place = {name: number for number, name in enumerate(names)}
    waiting = {name: len(needs) for name, needs in edges.items()}
    below: dict[str, list[str]] = {name: [] for name in names}
    for name, needs in edges.items():
        for need in needs:
            below[need].append(name)
    free = [place[name] for name, count in waiting.items() if count == 0]
    heapq.heapify(free)
    order: list[str] = []
    while free:
        name = names[heapq.heappop(free)]
        order.append(name)
        for dependant in below[name]:
            waiting[dependant] -= 1
            if waiting[dependant] == 0:
                heapq.heappush(free, place[dependant])
    return order


def _note_cycles(reader: Reader, targets: Mapping[str, TargetSpec], stuck: Mapping[str, list[str]]) -> None:
    """Every target that is left leads, from need to need, into a cycle; each cycle is told once."""
    settled: set[str] = set()
    place = {name: number for number, name in enumerate(targets)}
    for start in stuck:
        path: dict[str, None] = {}
        name: str | None = start
        while name is not None and name not in settled and name not in path:
            path[name] = None
            name = next((need for need in stuck[name] if need in stuck), None)
        if name in path:
            cycle = list(path)[list(path).index(name) :]
            # Begin with the one that is written first, whichever way it was found.
            first = cycle.index(min(cycle, key=lambda one: place[one]))
            _note_cycle(reader, targets, cycle[first:] + cycle[:first])
        settled |= path.keys()


def _note_cycle(reader: Reader, targets: Mapping[str, TargetSpec], cycle: list[str]) -> None:
    shown = [*cycle, cycle[0]]
    story = " -> ".join(
        short(one) for one in (shown if len(shown) <= 12 else [*shown[:10], f"... ({len(cycle)} targets)", shown[-1]])
    )
    need = targets[cycle[0]].needs[shown[1]]
    reader.note(need.mark, f"targets need each other: {story}", "remove one of these needs", "cycle")


def _check_pins(reader: Reader, targets: Mapping[str, TargetSpec], unsure: Collection[str]) -> None:
    handed_on: dict[str, dict[str, tuple[str, ...]]] = {}
    for name, target in targets.items():
        for need in target.needs.values():
            if need.target in handed_on:
                _check_need(reader, target, need, handed_on[need.target])
        if name not in unsure and all(need in handed_on for need in target.needs):
            handed_on[name] = _axes(target, handed_on)


def _check_need(reader: Reader, target: TargetSpec, need: NeedSpec, axes: Mapping[str, tuple[str, ...]]) -> None:
    for axis, value in need.pins.items():
        mark = need.pin_marks[axis]
        place = f"target {show(target.name)} pins"
        if axis not in axes:
            hint = reader.suggest(axis, axes) or f"axes of {show(need.target)}: {choices(axes) or 'none'}"
            reader.note(mark, f"{place} {show(axis)}, which is no axis of {show(need.target)}", hint, "unknown-axis")
        elif value not in axes[axis]:
            message = f"{place} {short(axis)} to {show(value)}, which {show(need.target)} does not have"
            reader.note(
                mark, message, f"{reader.suggest(value, axes[axis])} values: {choices(axes[axis])}".strip(), "unknown-value"
            )


def _axes(target: TargetSpec, handed_on: Mapping[str, Mapping[str, tuple[str, ...]]]) -> dict[str, tuple[str, ...]]:
    """The axes of a target's jobs, own and inherited, with every value that can occur, as text."""
    axes = axis_values(target.matrix)
    if target.takes > 1:
        axes["take"] = tuple(str(number) for number in range(1, target.takes + 1))
    own = set(axes)
    for need in target.needs.values():
        for axis, values in handed_on.get(need.target, {}).items():
            if axis not in need.pins and axis not in own:
                axes[axis] = tuple(dict.fromkeys((*axes.get(axis, ()), *values)))
    return axes
