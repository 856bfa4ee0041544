"""What providers can do, for ``callsheet providers``: a list, and one operation in full.

Owns the words: types, rules and prices as people say them. All facts come from the operations themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.manifest.parameters import parameter_schema
from runner.reports.wording import number
from runner.seams import CodeRow, MediaRule, Operation, OperationFacts, ProviderFacts, Upstream

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

SAMPLE_SECONDS = 10.0
"""Length of the audio input for which a price is shown."""
NARROW = 90
"""Below this many columns entries stand one below the other instead of in a table."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter, in words."""

    name: str
    required: bool
    type: str
    default: object
    about: str
    choices: tuple[object, ...] = ()


@dataclass(frozen=True, slots=True)
class Price:
    """What the plainest job costs and takes; ``credits`` is None where the price is not known."""

    credits: float | None
    slots: int
    per_audio: bool

    def words(self, credit_name: str) -> str:
        """``from 0.5 credit``, ``4 unit for 10 s of audio``, ``not known``."""
        if self.credits is None:
            return "not known"
        unit = credit_name if self.credits == 1 else f"{credit_name}s"
        tail = f" for {SAMPLE_SECONDS:g} s of audio" if self.per_audio else ""
        return f"{'' if tail else 'from '}{number(self.credits)} {unit}{tail}"


def parameters(facts: OperationFacts) -> list[Parameter]:
    """The operation's parameters in their order; required ones are marked."""
    raw = facts.parameters.model_json_schema()
    special = _special_types(facts)
    described = parameter_schema(facts, "x", {}).get("properties")
    described = described if isinstance(described, Mapping) else {}
    required = raw.get("required", [])
    found = []
    for name, schema in raw.get("properties", {}).items():
        about = described.get(name, {}).get("description", "")
        choices = tuple(_choices(schema))
        found.append(
            Parameter(name, name in required, special.get(name) or _type(schema), schema.get("default"), str(about), choices)
        )
    return found


def _special_types(facts: OperationFacts) -> dict[str, str]:
    """Parameters that take a file of ours, or another job's result."""
    found: dict[str, str] = {}
    for name, field in facts.parameters.model_fields.items():
        for mark in field.metadata:
            if isinstance(mark, Upstream):
                found[field.alias or name] = f"remote_id of {' or '.join(mark.operations)}"
            elif isinstance(mark, MediaRule):
                ways = ["URL"] if mark.sends == "url" else ["file", "URL"] if mark.accepts_url else ["file"]
                found[field.alias or name] = f"{mark.kind} {' or '.join(ways)}"
    return found


def price(operation: Operation) -> Price:
    """The price of the plainest job: required choices at their first value, everything else as it is by default."""
    sample: dict[str, object] = {}
    for one in parameters(operation.facts):
        value = one.default if one.default is not None else next(iter(one.choices), None)
        if value is not None:
            sample[one.name] = value
    without = operation.price(sample, None)  # type: ignore[arg-type]  # defaults of a JSON Schema are JSON
    credits_ = without if without is not None else operation.price(sample, SAMPLE_SECONDS)  # type: ignore[arg-type]
    return Price(credits_, operation.slots(sample), without is None and credits_ is not None)  # type: ignore[arg-type]


def _branches(schema: Mapping[str, object]) -> list[Mapping[str, object]]:
    options = schema.get("anyOf")
    if not isinstance(options, list):
        return [schema]
    return [one for one in options if isinstance(one, Mapping) and one.get("type") != "null"]


def _choices(schema: Mapping[str, object]) -> Iterator[object]:
    for branch in _branches(schema):
        values = branch.get("enum")
        yield from values if isinstance(values, list) else ()


def _type(schema: Mapping[str, object]) -> str:
    """``9x16 | 16x9``, ``whole number 1 to 4``, ``text, at most 2500 characters``."""
    return " or ".join(dict.fromkeys(_one_type(branch) for branch in _branches(schema)))


def _one_type(schema: Mapping[str, object]) -> str:
    values = schema.get("enum")
    if isinstance(values, list):
        return " | ".join(str(value) for value in values)
    kind = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false", "array": "list"}
    word = kind.get(str(schema.get("type", "")), "mapping")
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f"{word} {low} to {high}"
    if low is not None or high is not None:
        return f"{word}, at least {low}" if high is None else f"{word}, at most {high}"
    longest = schema.get("maxLength")
    return f"{word}, at most {longest} characters" if longest is not None else word


def as_list(operations: Mapping[str, Operation], providers: Mapping[str, ProviderFacts], width: int) -> Iterator[RenderableType]:
    """All operations, one line each; several where there is no room."""
    from rich.text import Text

    if width < NARROW:
        for name, operation in operations.items():
            facts, unit = operation.facts, providers[name.partition("/")[0]].credit_name
            yield from _entry(
                Text(name, style="bold"), f"{facts.title}. Makes {makes(facts)}; price {price(operation).words(unit)}."
            )
    else:
        yield _list(operations, providers)
    yield Text("")
    yield Text("Parameters, rules and error codes of one: callsheet providers NAME [--codes]")


def _entry(head: Text, text: str) -> Iterator[RenderableType]:
    from rich.padding import Padding

    yield head
    yield Padding(text, (0, 0, 0, 4))


def _list(operations: Mapping[str, Operation], providers: Mapping[str, ProviderFacts]) -> Table:
    from rich.text import Text

    table = _table()
    table.add_column("operation", no_wrap=True)
    table.add_column("what it is", ratio=3)
    table.add_column("makes", no_wrap=True)
    table.add_column("price", ratio=2)
    table.add_column("source", no_wrap=True)
    for name, operation in operations.items():
        facts = operation.facts
        unit = providers[name.partition("/")[0]].credit_name
        table.add_row(Text(name, style="bold"), facts.title, makes(facts), price(operation).words(unit), facts.source)
    return table


def makes(facts: OperationFacts) -> str:
    """``video``, ``image``; with a star where a parameter says how many."""
    files = [f"{out.name} (1 or more)" if out.count_parameter else out.name for out in facts.outputs]
    return ", ".join([*files, *facts.values])


def as_page(operation: Operation, provider: ProviderFacts, width: int, *, codes: bool) -> Iterator[RenderableType]:
    """One operation in full."""
    from rich.padding import Padding
    from rich.text import Text

    facts = operation.facts
    yield Text(f"{facts.name}: {facts.title}", style="bold")
    yield Text("")
    yield _facts(operation, provider)
    yield Text("")
    yield from _parameters(parameters(facts), width)
    if provider.notes:
        yield Text("")
        yield Text("Good to know:", style="bold")
        yield from (Padding(f"- {note}", (0, 0, 0, 2)) for note in provider.notes)
    yield Text("")
    if codes:
        yield _codes(provider.codes)
    else:
        yield Text(f"Its {len(provider.codes)} error codes: callsheet providers {facts.name} --codes")


def _facts(operation: Operation, provider: ProviderFacts) -> Table:
    facts, cost = operation.facts, price(operation)
    table = _table(show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(ratio=1, overflow="fold")
    upstream = f"{{{{ needs.TARGET.files.{facts.outputs[0].name} }}}}" if facts.outputs else ""
    life = f"{facts.result_lifetime / 86400:g} days" if facts.result_lifetime else "not documented; collected at once"
    slots = f"{provider.default_concurrency} (each job takes {cost.slots}); set providers.{provider.name}.concurrency"
    rows = {
        "makes": makes(facts) + (f", for later targets as {upstream}" if upstream else ""),
        "price": cost.words(provider.credit_name),
        "jobs at once": slots,
        "takes about": f"{facts.typical_seconds:g} s",
        "results are kept": life,
        "lost submission": f"found {facts.reconcile}" if facts.reconcile else "cannot be found again: a person decides",
        "polled": f"{facts.bulk} at a time" if facts.bulk > 1 else "one by one",
        "address": provider.base_url,
        "source": facts.source,
    }
    for label, text in rows.items():
        table.add_row(label, text)
    return table


def _parameters(found: Sequence[Parameter], width: int) -> Iterator[RenderableType]:
    from rich.text import Text

    table = _table()
    table.add_column("parameter", overflow="fold", ratio=3)
    table.add_column("value", ratio=3)
    table.add_column("", ratio=7)
    for one in found:
        value = one.type + ("" if one.default is None else f" (default {one.default})")
        name = Text(one.name, style="bold")
        if one.required:
            name.append(" *", style="red")
        if width < NARROW:
            name.append(f": {value}", style="not bold")
            yield from _entry(name, one.about)
        else:
            table.add_row(name, value, one.about)
    if width >= NARROW:
        yield table
    yield Text("* must be given. Every value may be a template.", style="dim")


def _codes(codes: Sequence[CodeRow]) -> Table:
    table = _table()
    for name in ("code", "meaning", "class", "what the runner does", "source"):
        table.add_column(name, no_wrap=name == "class", overflow="fold")
    for row in codes:
        table.add_row(row.code, row.meaning, row.error_class.value, row.action, row.source)
    return table


def _table(*, show_header: bool = True) -> Table:
    from rich.table import Table

    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", show_header=show_header)


def as_document(operation: Operation, provider: ProviderFacts, *, codes: bool = True) -> dict[str, object]:
    """One operation for scripts."""
    facts, cost = operation.facts, price(operation)
    document: dict[str, object] = {
        "name": facts.name,
        "title": facts.title,
        "source": facts.source,
        "outputs": [{"name": out.name, "kind": out.kind, "count_parameter": out.count_parameter} for out in facts.outputs],
        "values": list(facts.values),
        "price": {
            "credits": cost.credits,
            "unit": provider.credit_name,
            "audio_seconds": SAMPLE_SECONDS if cost.per_audio else None,
        },
        "slots_per_job": cost.slots,
        "default_concurrency": provider.default_concurrency,
        "default_rate": provider.default_rate,
        "typical_seconds": facts.typical_seconds,
        "result_lifetime": facts.result_lifetime,
        "reconcile": facts.reconcile,
        "base_url": provider.base_url,
        "parameters": [
            {
                "name": p.name,
                "required": p.required,
                "type": p.type,
                "default": p.default,
                "about": p.about,
                "choices": list(p.choices),
            }
            for p in parameters(facts)
        ],
    }
    if codes:
        document["codes"] = [
            {
                "code": row.code,
                "meaning": row.meaning,
                "class": row.error_class,
                "cause": row.cause,
                "action": row.action,
                "source": row.source,
            }
            for row in provider.codes
        ]
    return document
