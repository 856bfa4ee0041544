"""Data as templates see it: rows and other mappings whose keys are fields, never methods.

Owns ``Record`` and the way back from template values to plain JSON. Knows nothing of Jinja2, so that building a context costs
no import. A record never shows Python attributes: ``product.items`` is the column ``items``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from runner.errors import TemplateError
from runner.model import JSON


class Record:
    """A read-only view of a mapping for templates; ``label`` is what messages call it (``product``).

    Nested mappings and lists are wrapped when they are read. ``str(record)`` raises ``TemplateError``: a row is not text.
    """

    __slots__ = ("_label", "_mapping")

    def __init__(self, mapping: Mapping[str, object], label: str) -> None:
        self._mapping: Final = mapping
        self._label: Final = label

    def __getitem__(self, key: object) -> object:
        if not isinstance(key, str):
            raise KeyError(key)
        value = self._mapping[key]
        return _wrapped(value, self._label, key) if isinstance(value, (dict, list, tuple, Mapping)) else value

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key in self._mapping

    def __iter__(self) -> Iterator[str]:
        return iter(self._mapping)

    def __len__(self) -> int:
        return len(self._mapping)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Record) and self._mapping == other._mapping

    __hash__ = None  # type: ignore[assignment]  # a view over a mapping has no stable hash

    def __repr__(self) -> str:
        return f"<{self._label}>"

    def __str__(self) -> str:
        raise unprintable(self)


class LazyText(Mapping[str, str]):
    """Base of mappings whose texts are made when they are read. Templates reach their items and nothing else."""

    __slots__ = ()


def _wrapped(value: object, label: str, key: object) -> object:
    if isinstance(value, Mapping):
        return Record(value, f"{label}.{key}")
    if isinstance(value, (list, tuple)):
        return [_wrapped(item, f"{label}.{key}", index) for index, item in enumerate(value)]
    return value


def label_of(record: Record) -> str:
    """What messages call this record."""
    return record._label


def mapping_of(record: Record) -> Mapping[str, object]:
    """The mapping below the view."""
    return record._mapping


def unprintable(record: Record) -> TemplateError:
    """The error for a record that stands where text must stand."""
    names = list(record)
    example = f"{record._label}.{names[0]}" if names and names[0].isidentifier() else f"{record._label}['...']"
    return TemplateError(
        f"{record._label} is a whole record and cannot be printed",
        hint=f"Name one field, for example {{{{ {example} }}}}, or use `| tojson` for all of it.",
    )


def plain(value: object) -> JSON:
    """A template's value as JSON. Raises ``TypeError`` for what JSON cannot hold."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"{value} is not a number that can be sent")
        return value
    if isinstance(value, Record):
        value = value._mapping
    if isinstance(value, Mapping):
        return {_key(key): plain(item) for key, item in value.items()}
    if isinstance(value, Iterable):
        return [plain(item) for item in value]
    raise TypeError(f"a {type(value).__name__} cannot be used as a value")


def _key(key: object) -> str:
    if isinstance(key, str):
        return str(key)
    raise TypeError(f"the key {key!r} of a mapping is not text")
