"""The help pages: every command's options, named for people and grouped where there are many.

Owns the words that stand for an option's value and the sections of long help pages. An option means the same in every command, so one table
serves them all. Knows no command.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

SECTIONS: Mapping[str, tuple[str, ...]] = {
    "Which jobs": ("select", "limit", "max_cost", "retry", "plan", "collect", "approve", "var"),
    "Rehearsal": ("rehearse", "speed", "fail_rate", "faults", "simulator"),
    "Settings": ("secrets_dir", "grace"),
    "Output": ("quiet", "as_json", "markdown", "out", "help"),
}
"""Section -> options by their Python names; what stands nowhere comes first, under "Options"."""
GROUPED_FROM = 10
"""Shorter lists of options read better in one piece."""

_TYPE = re.compile(r" <[^>]*>$")
_RANGE = re.compile(r"\s*\[[^\]:]*x[<>=][^\]:]*\]$")
_RANGE_BESIDE = re.compile(r"; [^\];]*x[<>=][^\];]*\]$")

_VALUES: Mapping[object, str] = {int: "N", float: "NUMBER", Path: "PATH", str: "TEXT"}


def name_values(params: Iterable[Any]) -> None:
    """Give every parameter without a word for its value one: ``--limit N``, ``--out PATH``, ``MANIFEST``."""
    for param in params:
        if param.metavar is None and param.param_type_name == "argument":
            param.metavar = param.name.upper()
        elif param.metavar is None and not param.is_flag:
            param.metavar = _value_word(param)


def _value_word(param: Any) -> str:  # noqa: ANN401  # Typer's own parameter classes are private to it
    descriptor = getattr(param, "type_descriptor", None)
    if descriptor is None or getattr(descriptor, "is_choice", False):
        return "TEXT"
    if getattr(descriptor, "is_path", False):
        return "PATH"
    annotation = getattr(descriptor, "annotation", str)
    inner = getattr(annotation, "__args__", ())
    return _VALUES.get(inner[0] if inner else annotation, "TEXT")


def write_options(params: Iterable[Any], context: Any, formatter: Any) -> None:  # noqa: ANN401  # the parser's classes are private to Typer
    """Arguments and options as sections of a help page."""
    arguments: list[tuple[str, tuple[str, str]]] = []
    options: list[tuple[str, tuple[str, str]]] = []
    for param in params:
        record = param.get_help_record(context)
        if record is not None:
            (arguments if param.param_type_name == "argument" else options).append((param.name, _plain(record)))
    _write(formatter, "Arguments", [record for _, record in arguments])
    for title, records in _sections(options).items():
        _write(formatter, title, records)


def _sections(options: list[tuple[str, tuple[str, str]]]) -> dict[str, list[tuple[str, str]]]:
    if len(options) < GROUPED_FROM:
        return {"Options": [record for _, record in options]}
    found: dict[str, list[tuple[str, str]]] = {"Options": []}
    for title in SECTIONS:
        found[title] = []
    homes = {name: title for title, names in SECTIONS.items() for name in names}
    for name, (label, text) in options:
        home = homes.get(name, "Options")
        said = text.removeprefix(f"{home}: ")
        found[home].append((label, said[:1].upper() + said[1:]))
    return found


def _plain(record: tuple[str, str]) -> tuple[str, str]:
    """Without ``[required]``, which the usage line shows, and without ranges, which the error names when it matters."""
    label, text = record
    text = text.removesuffix("  [required]")
    return _TYPE.sub("", label), _RANGE.sub("", _RANGE_BESIDE.sub("]", text)).rstrip()


def _write(formatter: Any, title: str, records: list[tuple[str, str]]) -> None:  # noqa: ANN401  # as above
    if records:
        with formatter.section(title):
            formatter.write_dl(records)
