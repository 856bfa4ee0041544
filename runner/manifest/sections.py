"""The smaller sections of a manifest: variables, catalogue, prompts, limits, artifacts.

Owns what each of them means beyond its shape. Reads prompt files; only looks whether a catalogue is there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runner.errors import Mark
from runner.manifest import files
from runner.manifest.model import CatalogueSpec, LimitsSpec, PromptSpec, Text
from runner.manifest.reader import Reader, choices, describe, kind_of, short, show, show_path
from runner.manifest.shape import ARTIFACTS, CATALOGUE, FASTEST_RATE, LIMITS, PROMPT, RATE, UNITS, Kind
from runner.model import JSON
from runner.yamltree import Node, scalar

OVERRIDE = "--var"
"""What stands for the file in marks of overrides."""


@dataclass(frozen=True, slots=True)
class Variables:
    """Values for templates, and where each was said."""

    values: Mapping[str, JSON]
    marks: Mapping[str, Mark]


def read_vars(reader: Reader, node: Node | None, overrides: Mapping[str, str]) -> Variables:
    """``vars`` with overrides applied. An override keeps the kind that the manifest gives: numbers and switches are parsed."""
    entries = files.entries_of(node) if node else {}
    values: dict[str, JSON] = {}
    marks: dict[str, Mark] = {}
    for name, child in entries.items():
        if reader.name(name, child.key_mark or child.mark, "a variable"):
            values[name], marks[name] = child.plain(), child.mark
    for name, text in overrides.items():
        mark = Mark(OVERRIDE, 1, 1, f"{name}={text}")
        if name not in entries:
            hint = reader.suggest(name, entries) or f"variables: {choices(entries) or 'none'}"
            reader.note(mark, f"{OVERRIDE} names the unknown variable {show(name)}", hint, "unknown-variable")
        elif name in values:
            values[name], marks[name] = _override(reader, name, text, entries[name]), mark
    return Variables(values, marks)


def _override(reader: Reader, name: str, text: str, original: Node) -> JSON:
    kind = kind_of(original)
    mark = Mark(OVERRIDE, 1, 1, f"{name}={text}")
    if kind in {Kind.TEXT, Kind.NOTHING}:
        return text
    if kind in {Kind.LIST, Kind.MAPPING}:
        message = f"{OVERRIDE} cannot set {show(name)}: it is {describe(original)} in the manifest"
        reader.note(mark, message, "change it in the manifest", "override")
        return None
    try:
        value = scalar(text.strip())
    except ValueError as error:
        reader.note(mark, f"{OVERRIDE} {short(name)}: {error}", "write a smaller number", "override")
        return None
    flag = isinstance(value, bool)
    if isinstance(value, int | float) and flag == (kind is Kind.FLAG):
        return value
    expected = Kind.FLAG if kind is Kind.FLAG else Kind.NUMBER
    reader.note(mark, f"{OVERRIDE} {short(name)}: expected {expected}, got text {show(text)}", f"write {expected}", "override")
    return None


def read_catalogue(reader: Reader, node: Node) -> CatalogueSpec:
    """``catalogue``: exactly one of ``source`` and ``products``."""
    entries = reader.section(node, CATALOGUE, "catalogue")
    written = files.entries_of(node)
    source, products, where, key = (entries.get(name) for name in ("source", "products", "where", "key"))
    mark = node.key_mark or node.mark
    if written.get("source") and written.get("products"):
        second = written["products"]
        message = "catalogue has both `source` and `products`"
        reader.note(second.key_mark or second.mark, message, "remove one of them", "catalogue")
    elif not written.get("source") and not written.get("products") and isinstance(node.value, Mapping | None):
        reader.note(mark, "catalogue names no products", "add `source: products.csv`, or a list under `products:`", "catalogue")
    path = files.beside(source).absolute() if source and files.usable(reader, source, "the catalogue") else None
    if source and path and not files.exists(reader, files.beside(source), source.mark, "the catalogue"):
        path = None
    return CatalogueSpec(
        mark=mark,
        source=_word(source),
        path=path,
        format=_word(entries.get("format")),
        products=_inline(reader, products) if products else None,
        key=_word(key) or "key",
        key_mark=key.mark if key else None,
        records=_word(entries.get("records")),
        where=_expression(reader, where) if where else None,
        fields=_fields(reader, entries.get("fields")),
    )


def _word(node: Node | None) -> str | None:
    return str(node.value) if node else None


def _expression(reader: Reader, node: Node) -> Text | None:
    text = reader.text(node, "catalogue.where")
    if text and not text.value.strip():
        reader.note(node.mark, "catalogue.where: the expression is empty", "write one, or remove the key", "value")
    return text


def _inline(reader: Reader, node: Node) -> Node:
    rows = node.value if isinstance(node.value, tuple) else ()
    if not rows:
        reader.note(node.mark, "catalogue.products is empty", "write at least one product", "catalogue")
    for row in rows:
        if not isinstance(row.value, Mapping):
            reader.wrong(row, (Kind.MAPPING,), "catalogue.products")
        elif not row.value:
            reader.note(row.mark, "catalogue.products: this product is empty", "give it at least its key", "catalogue")
    return node


def _fields(reader: Reader, node: Node | None) -> dict[str, Text]:
    found: dict[str, Text] = {}
    for name, child in (files.entries_of(node) if node else {}).items():
        if not name.strip():
            reader.note(child.key_mark or child.mark, "a derived column has no name", "name it", "name")
        text = reader.text(child, f"catalogue.fields.{short(name)}")
        if text:
            found[name] = text
    return found


def read_prompts(reader: Reader, node: Node | None) -> dict[str, PromptSpec]:
    """``prompts``: text, or a file that is read here."""
    found: dict[str, PromptSpec] = {}
    for name, child in (files.entries_of(node) if node else {}).items():
        good = reader.name(name, child.key_mark or child.mark, "a prompt")
        spec = _prompt(reader, name, child)
        if good and spec:
            found[name] = spec
    return found


def _prompt(reader: Reader, name: str, node: Node) -> PromptSpec | None:
    where = f"prompts.{short(name)}"
    if isinstance(node.value, Mapping):
        file = reader.section(node, PROMPT, where).get("file")
        return _prompt_file(reader, name, file) if file and files.usable(reader, file, "the prompt file") else None
    if not isinstance(node.value, str):
        reader.wrong(node, (Kind.TEXT, Kind.MAPPING), where)
        return None
    if not node.value.strip():
        reader.note(node.mark, f"{where} is empty", "write the prompt, or `file: path`", "prompt")
        return None
    return PromptSpec(name, Text(node.value, node.content or node.mark), None)


def _prompt_file(reader: Reader, name: str, node: Node) -> PromptSpec | None:
    path = files.beside(node)
    text = files.template(reader, path, node)
    return None if text is None else PromptSpec(name, Text(text, Mark(str(path), 1, 1)), path.absolute())


def read_limits(reader: Reader, node: Node | None) -> dict[str, LimitsSpec]:
    """``providers``: limits per account."""
    found: dict[str, LimitsSpec] = {}
    for name, child in (files.entries_of(node) if node else {}).items():
        mark = child.key_mark or child.mark
        entries = reader.section(child, LIMITS, f"providers.{short(name)}")
        concurrency, budget, rate, prices = (entries.get(key) for key in ("concurrency", "budget", "rate", "prices"))
        if reader.name(name, mark, "a provider"):
            found[name] = LimitsSpec(
                provider=name,
                mark=mark,
                concurrency=concurrency.value if concurrency and isinstance(concurrency.value, int) else None,
                rate=_rate(reader, rate, f"providers.{short(name)}.rate") if rate else None,
                budget=float(budget.value) if budget and isinstance(budget.value, int | float) else None,
                prices=_prices(reader, prices, f"providers.{short(name)}.prices") if prices else {},
            )
    return found


def _prices(reader: Reader, node: Node, where: str) -> dict[str, float]:
    """Operation -> credits."""
    found: dict[str, float] = {}
    for name, child in files.entries_of(node).items():
        if isinstance(child.value, int | float) and not isinstance(child.value, bool) and child.value >= 0:
            found[name] = float(child.value)
        else:
            message = f"{where}.{short(name)}: {describe(child)} is no price"
            reader.note(child.mark, message, "write the credits of one job, such as 10 or 0.5", "value")
    return found


_RATE = re.compile(rf"\s*{RATE}\s*\Z")


def _rate(reader: Reader, node: Node, where: str) -> float | None:
    """Submits per second."""
    value: float
    if isinstance(node.value, int | float):
        value = float(node.value)
    elif isinstance(node.value, str) and _RATE.match(node.value):
        amount, unit = node.value.split("/")
        value = float(amount) / UNITS[unit.strip()]
    else:
        reader.note(node.mark, f"{where}: {describe(node)} is no rate", "write `2/s`, `30/min` or `100/h`", "value")
        return None
    if 0 < value <= FASTEST_RATE:
        return value
    hint = f"above 0, at most {FASTEST_RATE:g} a second" + ("; `concurrency` limits jobs at work" if value > 0 else "")
    reader.note(node.mark, f"{where}: {describe(node)} is not possible", hint, "value")
    return None


def read_artifacts(reader: Reader, node: Node | None) -> Text | None:
    """``artifacts.path``."""
    path = reader.section(node, ARTIFACTS, "artifacts").get("path") if node else None
    return reader.text(path, "artifacts.path") if path else None


def read_runs(reader: Reader, node: Node | None, root: Path) -> Path:
    """The folder for runs, absolute; ``runs`` beside the manifest when nothing is said."""
    if node is None or not files.usable(reader, node, "the folder for runs"):
        return root / "runs"
    folder = files.beside(node)
    try:
        taken = folder.exists() and not folder.is_dir()
    except (OSError, ValueError):
        taken = True
    if taken:
        reader.note(node.mark, f"runs: {show_path(folder)} is not a folder", "name a folder, existing or new", "file")
    return folder.absolute()
