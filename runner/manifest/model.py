"""What a manifest says, as frozen values.

Owns the shapes that other floors read. No reading, no checking; every place (``Mark``) that a later check may want to point at is here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from runner.errors import Mark
from runner.model import JSON
from runner.yamltree import Node

AxisValue: TypeAlias = str | int | float | bool
"""One value of a matrix axis."""


def value_text(value: AxisValue) -> str:
    """An axis value as it stands in job keys and cells: ``true`` rather than ``True``."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


@dataclass(frozen=True, slots=True)
class Text:
    """A template's text. ``mark`` is where its first character stands (the first line below ``|`` and ``>``)."""

    value: str
    mark: Mark


@dataclass(frozen=True, slots=True)
class CatalogueSpec:
    """Where the products come from: a file (``source`` as written, ``path`` absolute) or ``products`` written inline."""

    mark: Mark
    source: str | None
    path: Path | None
    format: str | None
    """One of ``shape.FORMATS``; None: go by the file."""
    products: Node | None
    """A non-empty list of mappings."""
    key: str = "key"
    """The column that names a product."""
    key_mark: Mark | None = None
    records: str | None = None
    """Dotted path to the list of products inside a JSON or YAML file."""
    where: Text | None = None
    fields: Mapping[str, Text] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PromptSpec:
    """A named template. ``path`` is the file it was read from (absolute), if it was."""

    name: str
    text: Text
    path: Path | None


@dataclass(frozen=True, slots=True)
class LimitsSpec:
    """Limits of one provider account. None: the provider's own default."""

    provider: str
    mark: Mark
    concurrency: int | None = None
    """Jobs at work at the same time."""
    rate: float | None = None
    """Submits per second."""
    budget: float | None = None
    """Credits of that account."""
    prices: Mapping[str, float] = field(default_factory=dict)
    """Operation (the part after the slash) -> credits of one job."""


@dataclass(frozen=True, slots=True)
class NeedSpec:
    """One upstream target. ``pins`` picks variants: axis to value, as text."""

    target: str
    pins: Mapping[str, str]
    mark: Mark
    pin_marks: Mapping[str, Mark] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MatrixSpec:
    """Axes and their values in the order in which they are written; ``matrix.cells`` multiplies them out."""

    mark: Mark
    axes: Mapping[str, tuple[AxisValue, ...]]
    include: tuple[Mapping[str, AxisValue], ...] = ()
    exclude: tuple[Mapping[str, AxisValue], ...] = ()
    axis_marks: Mapping[str, Mark] = field(default_factory=dict)
    include_marks: tuple[Mark, ...] = ()
    exclude_marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, slots=True)
class GateSpec:
    """Results wait for a person. ``sample``: how many results of the target to show him; None: all."""

    mark: Mark
    kind: str = "approve"
    sample: int | None = None


@dataclass(frozen=True, slots=True)
class TargetSpec:
    """One entry below ``targets``."""

    name: str
    mark: Mark
    uses: str
    """``provider/operation``; whether it exists is not known here."""
    uses_mark: Mark
    needs: Mapping[str, NeedSpec]
    params: Mapping[str, Node]
    """What stands below ``with``."""
    params_mark: Mark
    matrix: MatrixSpec | None = None
    takes: int = 1
    gate: GateSpec | None = None
    deadline_seconds: float | None = None
    """Of the provider's work, without its queue."""
    queue_seconds: float | None = None
    """Of waiting in the provider's queue."""
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Manifest:
    """The whole campaign as written, includes and overrides applied, free of every fault that can be seen without providers."""

    path: Path
    """The manifest file, absolute."""
    root: Path
    """Its folder."""
    name: str
    name_mark: Mark
    vars: Mapping[str, JSON]
    var_marks: Mapping[str, Mark]
    catalogue: CatalogueSpec
    prompts: Mapping[str, PromptSpec]
    limits: Mapping[str, LimitsSpec]
    """By provider name."""
    targets: Mapping[str, TargetSpec]
    """Upstream before downstream; otherwise in the order in which they are written."""
    artifact_path: Text | None
    runs: Path
    """The folder that holds one folder per campaign, absolute."""
    files: tuple[Path, ...]
    """Everything that was read: the manifest first, then includes, then prompt files; absolute."""
