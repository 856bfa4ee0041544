"""Files that are made from the code, so that they cannot say anything else: ``python -m runner.generated [--check]``.

Owns three of them: the manifest's JSON Schema, the provider reference and the life-cycle diagram. ``--check`` writes nothing and fails when
one of them is not current. Reads facts and models only; no network, no ledger.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from pathlib import Path

from runner.lifecycle import mermaid
from runner.manifest.schema import manifest_schema
from runner.model import JSON
from runner.providers import connect, provider_names
from runner.seams import Operation, OperationFacts, OutputSpec, Provider, ProviderFacts
from runner.settings import REQUIRED, variable
from runner.workspace import operations

ROOT = Path(__file__).parent.parent
BEGIN = "<!-- life cycle: written by `make generate` from runner/lifecycle.py -->"
END = "<!-- end of life cycle -->"
DAY = 86400.0
PRICED_BY = ("duration", "mode", "type")
"""Parameters that prices go by."""


def manifest_schema_text() -> str:
    """The manifest's JSON Schema as it stands in ``schemas/manifest.schema.json``."""
    facts = {name: operation.facts for name, operation in operations().items()}
    return json.dumps(manifest_schema(facts), ensure_ascii=False, indent=2) + "\n"


def lifecycle_diagram() -> str:
    """The life cycle as a Mermaid block between its markers."""
    return f"{BEGIN}\n\n```mermaid\n{mermaid()}```\n\n{END}"


def providers_page() -> str:
    """``docs/providers.md``: every provider and operation, from the models and facts that the runner itself uses."""
    sections = ["\n".join(_provider(connect(name, {}))) for name in provider_names()]
    return "\n".join([_HEAD, *(section + "\n" for section in sections)])


_HEAD = """# Providers

Written by `make generate` from the models and tables that the runner itself uses; do not edit. `seed-001`, `K-INFO` and the like are keys of
the API documents that a rule was taken from.

A parameter that takes a file takes a local path or a link, as its rule says. Every text may be a
[template](manifest.md#templates); rules are checked on what the template gave.
"""


# ------------------------------------------------------------------------------------------------------- providers


def _provider(provider: Provider) -> Iterator[str]:
    facts = provider.facts
    yield f"## {facts.title}\n"
    yield from _rows(("", ""), _account(facts))
    yield ""
    yield from (f"- {_text(note)}" for note in facts.notes)
    for operation in provider.operations.values():
        yield ""
        yield from _operation(operation, facts)
    yield f"\n### {facts.title}: error codes\n"
    yield from _codes(facts)


def _account(facts: ProviderFacts) -> list[tuple[str, ...]]:
    ways = " or ".join(" and ".join(f"`{variable(facts.name, field)}`" for field in way) for way in REQUIRED[facts.name])
    return [
        ("Credentials", ways),
        ("Base URL", f"`{facts.base_url}` (another one: `{variable(facts.name, 'base_url')}`)"),
        ("Default limits", f"{facts.default_concurrency} jobs at once, {facts.default_rate:g}/s submissions"),
        ("Budgets and prices in", f"{facts.credit_name}s"),
        ("Source", facts.source),
    ]


def _codes(facts: ProviderFacts) -> Iterator[str]:
    rows = [
        (f"`{row.code}`", _text(row.meaning), row.error_class.value, row.cause.replace("_", " "), _text(row.action), row.source)
        for row in facts.codes
    ]
    yield from _rows(("Code", "Meaning", "Class", "Cause", "What the runner does", "Source"), rows)


# ------------------------------------------------------------------------------------------------------ operations


def _operation(operation: Operation, provider: ProviderFacts) -> Iterator[str]:
    facts = operation.facts
    yield f"### `{facts.name}`\n"
    yield f"{facts.title}. Source: {facts.source}.\n"
    yield from _rows(("Parameter", "Rule", "Default"), _parameters(facts))
    yield ""
    yield f"- **Makes**: {', '.join(_output(output) for output in facts.outputs)}{_values(facts)}."
    yield f"- **Price** (estimate): {_prices(operation, provider)}."
    yield f"- **Results live** {_lifetime(facts.result_lifetime)}; they are downloaded as soon as they are ready."
    yield f"- **Asked about** {_bulk(facts.bulk)}, at least {facts.poll_within_seconds:g} s apart for the same job."
    yield f"- **A lost submission** {_reconcile(facts.reconcile)}"


def _parameters(facts: OperationFacts) -> Iterator[tuple[str, ...]]:
    schema = manifest_schema({facts.name: facts})
    definitions = _mapping(schema["definitions"])
    label = re.sub(r"[^A-Za-z0-9]+", "_", facts.name)
    parameters = _mapping(definitions[label])
    required = parameters.get("required", [])
    for name, found in _mapping(parameters["properties"]).items():
        entry = _mapping(found)
        shown = f"**`{name}`**" if isinstance(required, list) and name in required else f"`{name}`"
        default = f"`{json.dumps(entry['default'])}`" if "default" in entry else ""
        yield shown, _rule(entry), default


def _rule(entry: Mapping[str, object]) -> str:
    about = _text(str(entry.get("description", "")))
    words = [word for word in dict.fromkeys(_choices(entry)) if word.strip('`"') not in about]
    return " ".join(filter(None, [about, f"One of {', '.join(words)}." if words else ""]))


def _choices(entry: Mapping[str, object]) -> Iterator[str]:
    """The values of a parameter that has a list of them."""
    allowed = entry.get("enum")
    if isinstance(allowed, list):
        yield from (f"`{value}`" for value in allowed if value is not None)
    branches = entry.get("anyOf")
    for branch in branches if isinstance(branches, list) else []:
        yield from _choices(_mapping(branch))


def _output(output: OutputSpec) -> str:
    many = f" (as many as `{output.count_parameter}` says)" if output.count_parameter else ""
    article = "an" if output.kind.value[0] in "aeiou" else "a"
    return f"{article} {output.kind.value}, `needs.X.files.{output.name}`{many}"


def _values(facts: OperationFacts) -> str:
    names = ["`needs.X.remote_id`", *(f"`needs.X.values.{name}`" for name in facts.values)]
    return f"; also {', '.join(names)}"


def _prices(operation: Operation, provider: ProviderFacts) -> str:
    """The price for each value of the parameters that it depends on; for one second of audio where it depends on that."""
    choices = _axes(operation.facts)
    per_job = {label: operation.price(params, None) for label, params in choices}
    per_second = {label: operation.price(params, 1.0) for label, params in choices}
    known = any(price is not None for price in per_job.values())
    found = {label: price for label, price in (per_job if known else per_second).items() if price is not None}
    if not found:
        return "not published: such jobs are left out of estimates, and a budget on this account needs a [price of yours](manifest.md#providers)"
    unit = f"{provider.credit_name}s" + ("" if known else " for each begun second of audio")
    if len(set(found.values())) == 1:
        return f"{next(iter(found.values())):g} {unit}"
    return f"in {unit}: " + "; ".join(f"{label}: {price:g}" for label, price in found.items())


def _axes(facts: OperationFacts) -> list[tuple[str, Mapping[str, JSON]]]:
    """Every combination of the parameters that prices go by; the other ones are at their defaults."""
    entries = _mapping(facts.parameters.model_json_schema()["properties"])
    defaults: dict[str, JSON] = {
        name: field.default
        for name, field in facts.parameters.model_fields.items()
        if isinstance(field.default, str | int | float)
    }
    names = [name for name in PRICED_BY if "enum" in _mapping(entries.get(name, {}))]
    values: list[list[JSON]] = [_mapping(entries[name])["enum"] for name in names]  # type: ignore[misc]  # JSON Schema's lists
    combinations = [dict(zip(names, chosen, strict=True)) for chosen in product(*values)]
    return [(", ".join(f"`{name}: {value}`" for name, value in one.items()), {**defaults, **one}) for one in combinations]


def _lifetime(seconds: float | None) -> str:
    return "for a time that is not documented" if seconds is None else f"{seconds / DAY:g} days"


def _bulk(bulk: int) -> str:
    return "one at a time" if bulk == 1 else f"up to {bulk} at a time"


def _reconcile(how: str) -> str:
    if how:
        return f"is found {how}."
    return "cannot be found again: the API gives back nothing of ours. The job stays `uncertain` until a person decides."


# --------------------------------------------------------------------------------------------------------- writing


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise TypeError(f"expected a mapping, got {type(value).__name__}")
    return value


def _text(text: str) -> str:
    """Text within a table cell."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _rows(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    for row in (head, ("---",) * len(head), *rows):
        yield f"| {' | '.join(row)} |"


def files(root: Path = ROOT) -> Mapping[Path, str]:
    """Every generated file and what it has to hold. The diagram's page keeps what stands around its markers."""
    architecture = root / "docs" / "architecture.md"
    page = architecture.read_text(encoding="utf-8")
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{architecture} has lost its markers: put back {BEGIN!r} and {END!r}")
    return {
        root / "schemas" / "manifest.schema.json": manifest_schema_text(),
        root / "docs" / "providers.md": providers_page(),
        architecture: before + lifecycle_diagram() + after,
    }


def stale(root: Path = ROOT) -> list[Path]:
    """The generated files that are missing or not current."""
    return [path for path, text in files(root).items() if not path.is_file() or path.read_text(encoding="utf-8") != text]


def main(arguments: list[str]) -> int:
    """Write the files, or with ``--check`` only say which are not current (exit code 1)."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write("usage: python -m runner.generated [--check]\n")
        return 2
    outdated = stale()
    for path in outdated:
        if not arguments:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files()[path], encoding="utf-8")
        sys.stdout.write(f"{'not current' if arguments else 'written'}: {path.relative_to(ROOT)}\n")
    if arguments and outdated:
        sys.stdout.write("Run `make generate` and commit what changed.\n")
    return 1 if arguments and outdated else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
