"""An operation's pydantic parameters as draft-07 JSON Schema for ``with:``.

Owns two translations: from pydantic's dialect to draft-07, and from "a number" to "a number, or a template that makes one". Knows no provider.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, TypeAlias, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema
from typing_extensions import override

from runner.seams import MediaRule, OperationFacts, Upstream

Schema: TypeAlias = dict[str, object]

TEMPLATE: Schema = {"type": "string", "pattern": r"\{\{|\{%"}
"""Any text that holds a template."""
_NOISE = ("title", "discriminator")
_MARKS = ("description", "default", "examples", "deprecated")
"""Annotations, as opposed to constraints."""


class _Dialect(GenerateJsonSchema):
    """Says nothing about what JSON Schema cannot say, rather than failing."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default", "skipped-discriminator"}

    @override
    def handle_invalid_for_json_schema(self, schema: core_schema.CoreSchema, error_info: str) -> JsonSchemaValue:
        """An empty schema allows everything; the model itself still checks."""
        return {}


def parameter_schema(facts: OperationFacts, label: str, definitions: Schema) -> Schema:
    """The schema of ``with`` for one operation; its nested models go to ``definitions`` as ``<label>.<model>``."""
    raw = facts.parameters.model_json_schema(
        by_alias=True, ref_template=f"#/definitions/{label}.{{model}}", schema_generator=_Dialect
    )
    nested = raw.pop("$defs", {})
    for name, schema in nested.items():
        definitions[f"{label}.{name}"] = _draft_07(schema)
    found = _draft_07(nested[raw["$ref"].rpartition(".")[2]] if "$ref" in raw else raw)
    _describe_media(found, facts.parameters)
    source = f" Source: {facts.source}." if facts.source else ""
    kind: object = "object" if found.get("required") else ["object", "null"]
    return {**found, "type": kind, "description": f"{facts.title}.{source}", "additionalProperties": False}


# ---------------------------------------------------------------------------------------------------- the dialect


def _draft_07(schema: object) -> Schema:
    """One pydantic schema, with everything below it, in draft-07 and open to templates."""
    if not isinstance(schema, Mapping):
        return {}
    found: Schema = {}
    for key, value in schema.items():
        if key in _NOISE or (key == "default" and value is None):
            continue
        new, translated = _keyword(key, value)
        found[new] = translated
    if "$ref" in found and len(found) > 1:
        # Draft-07 ignores everything beside a $ref.
        found["allOf"] = [{"$ref": found.pop("$ref")}]
    return found


def _keyword(key: str, value: object) -> tuple[str, object]:
    if key == "properties" and isinstance(value, Mapping):
        return key, {name: _templated(_draft_07(one)) for name, one in value.items()}
    if key in {"items", "additionalProperties"} and isinstance(value, Mapping):
        return key, _templated(_draft_07(value))
    if key == "prefixItems" and isinstance(value, list):
        return "items", [_templated(_draft_07(one)) for one in value]
    if key in {"anyOf", "oneOf", "allOf"} and isinstance(value, list):
        # Two branches may both fit once a template may stand in for a value that tells them apart.
        return "anyOf" if key == "oneOf" else key, [_draft_07(one) for one in value]
    return key, value


def _templated(schema: Schema) -> Schema:
    """Also allows a template, unless any text is allowed anyway."""
    marks = {key: value for key, value in schema.items() if key in _MARKS}
    rules = {key: value for key, value in schema.items() if key not in _MARKS}
    if not rules or rules == {"type": "string"}:
        return schema
    branches = rules.pop("anyOf", None) if set(rules) == {"anyOf"} else None
    choice = [*branches, TEMPLATE] if isinstance(branches, list) else [rules, TEMPLATE]
    return {**marks, "anyOf": choice}


# ------------------------------------------------------------------------------------------------ media parameters


def _describe_media(schema: Schema, model: type[BaseModel]) -> None:
    properties = schema.get("properties")
    for name, field in model.model_fields.items():
        alias = field.validation_alias if isinstance(field.validation_alias, str) else field.alias
        entry = properties.get(alias or name) if isinstance(properties, dict) else None
        notes = [_note(one) for one in _metadata(field)]
        if entry is not None and notes:
            entry["description"] = " ".join(filter(None, [str(entry.get("description", "")), *dict.fromkeys(notes)]))


def _metadata(field: FieldInfo) -> Iterator[MediaRule | Upstream]:
    """Rules on the field itself and anywhere within its type (``Annotated[...] | None``, lists)."""
    pending: list[object] = [field.annotation]
    yield from (one for one in field.metadata if isinstance(one, MediaRule | Upstream))
    while pending:
        annotation = pending.pop()
        if get_origin(annotation) is Annotated:
            yield from (one for one in get_args(annotation)[1:] if isinstance(one, MediaRule | Upstream))
        pending += get_args(annotation)


def _note(rule: MediaRule | Upstream) -> str:
    if isinstance(rule, Upstream):
        once = "; one result can be used once" if rule.once else ""
        return f"Takes `{{{{ needs.X.remote_id }}}}` of {' or '.join(rule.operations)}{once}."
    origin = "a local file or a URL" if rule.accepts_url else "a local file"
    parts = [f"{rule.kind.capitalize()}: {origin}", *_limits(rule)]
    if rule.sends == "url":
        parts.append("a local file must be published first")
    return "; ".join(parts) + "."


def _limits(rule: MediaRule) -> Iterator[str]:
    if rule.formats:
        yield " or ".join(rule.formats)
    if rule.max_bytes is not None:
        yield f"at most {rule.max_bytes / (1024 * 1024):g} MB"
    if rule.min_side is not None:
        yield f"each side at least {rule.min_side} pixels"
    if rule.min_ratio is not None or rule.max_ratio is not None:
        yield f"width / height {_span(rule.min_ratio, rule.max_ratio)}"
    if rule.min_seconds is not None or rule.max_seconds is not None:
        yield f"{_span(rule.min_seconds, rule.max_seconds)} seconds"
    if rule.max_url_chars is not None:
        yield f"a URL of at most {rule.max_url_chars} characters"


def _span(low: float | None, high: float | None) -> str:
    if low is None:
        return f"at most {high:g}"
    return f"at least {low:g}" if high is None else f"{low:g} to {high:g}"
