"""Reads a manifest, whole.

Owns the order of the steps and the promise that every problem comes at once, sorted by place. The only way into this package.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from runner.bounds import USUAL, InputLimits
from runner.errors import ManifestError, Mark, Problem
from runner.manifest import sections
from runner.manifest.files import entries_of
from runner.manifest.graph import ordered
from runner.manifest.includes import Gathered, gather
from runner.manifest.model import Manifest, TargetSpec
from runner.manifest.reader import Reader
from runner.manifest.shape import MANIFEST
from runner.manifest.targets import read_targets
from runner.yamltree import Node

_NOTHING: Mapping[str, str] = MappingProxyType({})


def load(path: Path, *, overrides: Mapping[str, str] = _NOTHING, limits: InputLimits = USUAL) -> Manifest:
    """Read the manifest at ``path`` with all that it includes; ``overrides`` replace variables.

    Raises ``ManifestError`` with every problem, sorted by place (the manifest's own first, then those of other files).
    """
    path = Path(os.path.normpath(path))
    reader = Reader(limits)
    gathered = gather(reader, path)
    if gathered.complete:
        missing = {name: key for name, key in MANIFEST.items() if name not in gathered.present}
        reader.require({}, missing, Mark(str(path), 1, 1), "")
    manifest = _read(reader, path, gathered, overrides)
    if reader.problems or manifest is None:
        raise ManifestError(_in_order(reader.problems, str(path)))
    return manifest


def _read(reader: Reader, path: Path, gathered: Gathered, overrides: Mapping[str, str]) -> Manifest | None:
    entries = gathered.entries
    root = path.parent.absolute()
    name = entries.get("name")
    if name:
        reader.name(str(name.value), name.mark, "a campaign")
    variables = sections.read_vars(reader, entries.get("vars"), overrides if gathered.complete else {})
    catalogue = sections.read_catalogue(reader, entries["catalogue"]) if "catalogue" in entries else None
    prompts = sections.read_prompts(reader, entries.get("prompts"))
    limits = sections.read_limits(reader, entries.get("providers"))
    targets = _targets(reader, entries["targets"]) if "targets" in entries else {}
    artifact_path = sections.read_artifacts(reader, entries.get("artifacts"))
    runs = sections.read_runs(reader, entries.get("runs"), root)
    if name is None or catalogue is None:
        return None
    return Manifest(
        path=path.absolute(),
        root=root,
        name=str(name.value),
        name_mark=name.mark,
        vars=variables.values,
        var_marks=variables.marks,
        catalogue=catalogue,
        prompts=prompts,
        limits=limits,
        targets=targets,
        artifact_path=artifact_path,
        runs=runs,
        files=(*gathered.files, *dict.fromkeys(prompt.path for prompt in prompts.values() if prompt.path)),
    )


def _targets(reader: Reader, node: Node) -> Mapping[str, TargetSpec]:
    targets = read_targets(reader, node)
    unsure = {name for name, target in targets.items() if target.matrix is None and _says(node, name, "matrix")}
    return ordered(reader, targets, unsure)


def _says(node: Node, target: str, key: str) -> bool:
    """Whether the key stands there, right or wrong."""
    return entries_of(entries_of(node)[target]).get(key) is not None


def _in_order(problems: list[Problem], first: str) -> list[Problem]:
    """Each problem once, by place; the manifest's own before those of other files."""
    return sorted(dict.fromkeys(problems), key=lambda one: (one.mark.file != first, one.mark, one.message))
