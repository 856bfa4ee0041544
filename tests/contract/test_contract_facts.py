"""What is known of providers and operations: complete, consistent, and honest where nothing is known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import product
from typing import Literal, get_args, get_origin

import pytest
from contract_table import ROWS

from runner.model import JSON, ErrorClass, MediaKind
from runner.parameters import media_parameters, upstream_parameters
from runner.providers import connect, operation_facts, provider_facts, provider_names
from runner.seams import OperationFacts, ProviderFacts

FACTS = list(operation_facts().values())
OPERATIONS = pytest.mark.parametrize("facts", FACTS, ids=lambda facts: facts.name)
PROVIDERS = pytest.mark.parametrize("facts", provider_facts().values(), ids=lambda facts: facts.name)
CAUSES = {
    "bad_input", "content_policy", "not_found", "auth", "credit", "account", "permission", "rate_limit", "concurrency", "server",
}  # fmt: skip
CAUSE_OF_CLASS: Mapping[ErrorClass, set[str]] = {
    ErrorClass.DEFERRED: {"rate_limit", "concurrency", "server"},
    ErrorClass.TRANSIENT: {"server"},
    ErrorClass.UNCERTAIN: {"server"},
    ErrorClass.REFUSED: {"bad_input", "content_policy", "not_found"},
    ErrorClass.HALTED: {"auth", "credit", "account", "permission"},
}
COUNTED = {"kling": "unit", "creatify": "credit", "topview": "credit", "akool": "credit"}
UNPRICED = {"akool/talking-photo"}
"""Operations whose price nobody publishes."""


@PROVIDERS
def test_a_provider_is_described_in_full(facts: ProviderFacts) -> None:
    """A name, an address, what a credit is called, limits above zero, and the document that it is from."""
    assert facts.base_url.startswith("https://")
    assert not facts.base_url.endswith("/")
    assert facts.title
    assert facts.source
    assert facts.credit_name == COUNTED[facts.name]
    assert facts.default_concurrency >= 1
    assert facts.default_rate > 0
    assert all(note.endswith(".") for note in facts.notes)


@PROVIDERS
def test_every_code_is_explained(facts: ProviderFacts) -> None:
    """Once, with a cause that fits its class, what the runner does, and where it stands written."""
    codes = [row.code for row in facts.codes]
    assert len(codes) == len(set(codes))
    for row in facts.codes:
        assert row.cause in CAUSES
        assert row.cause in CAUSE_OF_CLASS[row.error_class], row
        assert row.meaning
        assert row.action
        assert row.source


@OPERATIONS
def test_an_operation_is_described_in_full(facts: OperationFacts) -> None:
    """Title, source, outputs with unlike names, sensible times; a reconcile handle in words or an honest nothing."""
    assert facts.title
    assert facts.source
    assert facts.outputs or facts.values
    assert len({output.name for output in facts.outputs}) == len(facts.outputs)
    assert facts.result_lifetime is None or facts.result_lifetime >= 3600
    assert 1 <= facts.typical_seconds <= 3600
    assert facts.bulk >= 1
    assert facts.poll_within_seconds > 0
    assert facts.name.partition("/")[0] in provider_names()
    for output in facts.outputs:
        assert output.kind in MediaKind
        assert not output.count_parameter or output.count_parameter in facts.parameters.model_fields


@OPERATIONS
def test_every_parameter_says_what_it_is(facts: OperationFacts) -> None:
    """In a sentence that names its allowed values or bounds."""
    assert (facts.parameters.__doc__ or "").strip()
    for name, schema in facts.parameters.model_json_schema()["properties"].items():
        text = schema["description"]
        assert text.strip().endswith("."), name
        inner = [schema, *schema.get("anyOf", [])]
        for one in inner:
            assert all(
                str(bound) in text for key in ("maxLength", "minimum", "maximum") if (bound := one.get(key)) is not None
            ), name
            if one.get("type") == "string" and len(one.get("enum", ())) in range(2, 5):
                assert all(str(value) in text for value in one["enum"]), name


@OPERATIONS
def test_media_rules_are_whole(facts: OperationFacts) -> None:
    """How a local file travels, and bounds in their order; an upload takes no links."""
    for media in media_parameters(facts.parameters):
        rule = media.rule
        assert rule.sends in {"base64", "upload", "url"}
        assert rule.accepts_url or rule.sends != "url"
        assert rule.min_ratio is None or rule.max_ratio is None or rule.min_ratio < rule.max_ratio
        assert rule.min_seconds is None or rule.max_seconds is None or rule.min_seconds < rule.max_seconds
        assert rule.kind is MediaKind.IMAGE or (rule.min_side is None and rule.min_ratio is None)
    for upstream in upstream_parameters(facts.parameters).values():
        assert upstream.operations
        assert set(upstream.operations) <= set(operation_facts())


def _choices(facts: OperationFacts, name: str) -> list[JSON]:
    annotation = facts.parameters.model_fields[name].annotation
    inner = [part for part in get_args(annotation) if get_origin(part) is Literal] or [annotation]
    if get_origin(inner[0]) is Literal:
        return list(get_args(inner[0]))
    return [1, 4] if inner[0] is int else [None]


@OPERATIONS
@pytest.mark.parametrize("seconds", [None, 2.0, 2.001, 299.9])
def test_every_choice_has_a_price_or_honestly_none(facts: OperationFacts, seconds: float | None) -> None:
    """Positive, finite and never less for a longer sound, over all combinations of the listed choices."""
    provider, _, short = facts.name.partition("/")
    operation = connect(provider, {}).operations[short]
    names = list(facts.parameters.model_fields)
    for values in product(*(_choices(facts, name) for name in names)):
        params = {name: value for name, value in zip(names, values, strict=True) if value is not None}
        price = operation.price(params, seconds)
        if facts.name in UNPRICED:
            assert price is None
            continue
        if price is None:
            assert facts.name == "kling/avatar"
            assert seconds is None
            continue
        assert math.isfinite(price)
        assert price > 0
        assert seconds is None or (operation.price(params, seconds + 1) or 0) >= price
        assert operation.slots(params) >= 1
        expected = operation.expected(params, seconds)
        assert expected.aspect is None or 0.2 < expected.aspect < 5
        assert expected.seconds is None or 0 < expected.seconds <= 300


def test_only_the_unpriced_are_without_a_price() -> None:
    """The list above is no more than it has to be."""
    for row in ROWS:
        operation = connect(row.provider, {}).operations[row.operation.partition("/")[2]]
        assert (operation.price(row.params, 3.0) is None) is (row.operation in UNPRICED)
