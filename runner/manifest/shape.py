"""The manifest's language, literally: which keys exist, what each takes, and what it is for.

Owns the one description that the loader checks against and the JSON Schema is made from, so that both always agree.
Data only; no reading, no checking.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from runner.model import JSON

VERSION = 1
NAME = r"[A-Za-z_][A-Za-z0-9_-]*"
"""Names of campaigns, targets, prompts, variables, axes and providers. In templates a name with a ``-`` is reached by
brackets: ``needs['hero-still']``.
"""
MAX_NAME = 64
USES = r"[a-z][a-z0-9_-]*/[a-z][a-z0-9_-]*"
FREE_KEY = "x-"
"""Top-level keys that begin so are free: a home for anchors."""
FORMATS = ("csv", "tsv", "jsonl", "json", "yaml", "shopify", "google-merchant")
RATE = r"[0-9]+(\.[0-9]+)? ?/ ?(s|sec|second|m|min|minute|h|hour|d|day)"
DURATION = r"([0-9]+(\.[0-9]+)? ?(s|sec|m|min|h|d) ?)+"
UNITS: Mapping[str, float] = {
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "m": 60.0,
    "min": 60.0,
    "minute": 60.0,
    "h": 3600.0,
    "hour": 3600.0,
    "d": 86400.0,
    "day": 86400.0,
}
"""Seconds in one unit of a rate or duration."""
LONGEST_DEADLINE = 30 * 86400.0
FASTEST_RATE = 1000.0


class Kind(StrEnum):
    """What a value can be. The text is how messages name it."""

    TEXT = "text"
    WHOLE = "a whole number"
    NUMBER = "a number"
    FLAG = "true or false"
    LIST = "a list"
    MAPPING = "a mapping"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Key:
    """One key: what it is for (plain words, shown by editors), what it takes, and JSON Schema constraints on that."""

    about: str
    kinds: tuple[Kind, ...]
    required: bool = False
    rule: Mapping[str, JSON] = field(default_factory=dict)
    """``minimum``, ``maximum``, ``exclusiveMinimum``, ``enum`` are enforced by the loader too; the rest is for editors."""


Shape: TypeAlias = Mapping[str, Key]

_T, _W, _N, _F, _L, _M = (Kind.TEXT, Kind.WHOLE, Kind.NUMBER, Kind.FLAG, Kind.LIST, Kind.MAPPING)

MANIFEST: Shape = {
    "callsheet": Key("The version of this language. Always 1.", (_W,), required=True, rule={"enum": [VERSION]}),
    "name": Key(
        "The campaign's name. Its ledger and results live in the folder of this name, so it must not change while a campaign runs.",
        (_T,),
        required=True,
        rule={"pattern": f"^{NAME}$", "maxLength": MAX_NAME},
    ),
    "include": Key(
        "Other files whose entries belong here too: a path or a list of paths, relative to this file. What stands here wins.",
        (_T, _L),
    ),
    "catalogue": Key("The products to make clips for: a file, or `products` written inline.", (_M,), required=True),
    "vars": Key("Values for templates, as `{{ vars.name }}`. `--var name=value` overrides one.", (_M,)),
    "prompts": Key("Named templates, as `{{ prompts.name }}`: text, or `file: path`.", (_M,)),
    "providers": Key("Limits per provider account. Credentials never stand here.", (_M,)),
    "targets": Key("What to make: each entry calls one provider operation for every product.", (_M,), required=True),
    "artifacts": Key("Where result files go.", (_M,)),
    "runs": Key("The folder for ledgers and results, relative to this file. Default: `runs`.", (_T,), rule={"minLength": 1}),
}

CATALOGUE: Shape = {
    "source": Key(
        "The catalogue file, relative to this file: csv, tsv, jsonl, json, yaml, a Shopify export or a Google Merchant feed.",
        (_T,),
        rule={"minLength": 1},
    ),
    "products": Key("The products themselves, instead of `source`: a list of mappings.", (_L,)),
    "format": Key("What kind of file `source` is. Default: by its name and content.", (_T,), rule={"enum": list(FORMATS)}),
    "records": Key("Where the list of products stands in a JSON or YAML file, as a dotted path: `data.items`.", (_T,)),
    "key": Key("The column that names a product. Default: `key`.", (_T,), rule={"minLength": 1}),
    "where": Key('A Jinja2 expression; products for which it is true are kept: "product.price | float > 20".', (_T,)),
    "fields": Key("Derived columns: name to template, which sees `product` and `vars`.", (_M,)),
}

PROMPT: Shape = {
    "file": Key("A Jinja2 template file, relative to this file.", (_T,), required=True, rule={"minLength": 1}),
}

LIMITS: Shape = {
    "concurrency": Key("How many jobs may be at work at the same time.", (_W,), rule={"minimum": 1, "maximum": 100_000}),
    "rate": Key("How fast jobs may be submitted: `2/s`, `30/min`, `100/h`, or a number per second.", (_T, _N)),
    "budget": Key("How many credits of this account the campaign may spend.", (_N,), rule={"minimum": 0}),
    "prices": Key(
        "What one job costs in credits, where the provider's price is not known or yours differs: operation to number (`talking-photo: 10`).",
        (_M,),
    ),
}

TARGET: Shape = {
    "uses": Key("The operation to call: `provider/operation`. `callsheet providers` lists them.", (_T,), required=True),
    "needs": Key(
        "Targets whose results this one uses: a name, a list of names, or a mapping that pins variants (`{still: {aspect_ratio: 9x16}}`). "
        "Axes that are not pinned are inherited.",
        (_T, _L, _M),
    ),
    "matrix": Key(
        "Axes to multiply by: name to list of values; `include` and `exclude` as in GitHub Actions. Templates read `{{ matrix.axis }}`.",
        (_M,),
    ),
    "with": Key("The operation's parameters. Every text may be a template.", (_M,)),
    "takes": Key("How many variants of the same inputs to make. Default: 1.", (_W,), rule={"minimum": 1, "maximum": 20}),
    "gate": Key("`approve`: results wait for a person before anything downstream is paid for.", (_T, _M)),
    "deadline": Key(
        "How long the provider may work on one job before a run stops waiting for it: `30m`, `2h`, or seconds. It is collected later.",
        (_T, _N),
    ),
    "queue_deadline": Key(
        "How long a job may wait in the provider's queue before a run stops waiting for it: `6h`, or seconds.", (_T, _N)
    ),
    "priority": Key("Higher goes first where slots are short. Default: 0.", (_W,), rule={"minimum": -1000, "maximum": 1000}),
}

GATE: Shape = {
    "approve": Key("Whether results wait for a person. Default: true.", (_F,)),
    "sample": Key("How many results a person looks at; the others follow that verdict.", (_W,), rule={"minimum": 1}),
}

ARTIFACTS: Shape = {
    "path": Key(
        "A template for the path of a job's files, without extension: `{{ product.key }}/{{ target }}`.",
        (_T,),
        rule={"minLength": 1},
    ),
}

MERGED = ("catalogue", "vars", "prompts", "providers", "targets", "artifacts")
"""Top-level keys whose entries are merged one by one with those of included files."""
RESERVED_AXES: Mapping[str, str] = {"take": "it numbers the variants that `takes` makes"}
MATRIX_WORDS = ("include", "exclude")
