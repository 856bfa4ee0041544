"""The manifest's JSON Schema, for editors and for tests.

Owns the translation of ``shape`` and of the operations' parameter models into draft-07, which YAML language servers understand best.
It is as strict as the loader where a schema can be, with two differences: a file without ``callsheet`` is taken for a partial one (to be
included elsewhere), and ``uses`` must be a known operation. The output depends on nothing but the operations.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeAlias

from runner.manifest import shape
from runner.manifest.parameters import parameter_schema
from runner.manifest.shape import Key, Kind, Shape
from runner.seams import OperationFacts

Schema: TypeAlias = dict[str, object]

_TYPES: Mapping[Kind, str] = {
    Kind.TEXT: "string",
    Kind.WHOLE: "integer",
    Kind.NUMBER: "number",
    Kind.FLAG: "boolean",
    Kind.LIST: "array",
    Kind.MAPPING: "object",
}
_NAMED: Schema = {"pattern": f"^{shape.NAME}$", "maxLength": shape.MAX_NAME}
_VALUE: Schema = {"type": ["string", "number", "boolean"]}


def manifest_schema(operations: Mapping[str, OperationFacts]) -> dict[str, object]:
    """JSON Schema (draft-07) of a manifest that may use ``operations`` (by whole name, ``kling/avatar``)."""
    definitions: Schema = {}
    target = _target(operations, definitions)
    whole = _object(shape.MANIFEST, _sections(), required=False)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Callsheet manifest",
        "description": "A campaign: products, prompts, and what to make of them.",
        **whole,
        "patternProperties": {f"^{shape.FREE_KEY}": {"description": "Yours: a home for anchors. Callsheet does not read it."}},
        "allOf": _whole_or_partial(),
        "definitions": {"target": target, **dict(sorted(definitions.items()))},
    }


def _whole_or_partial() -> list[Schema]:
    """A file that says ``callsheet`` and includes nothing is a whole manifest. Other files may be parts of one."""
    required = [name for name, key in shape.MANIFEST.items() if key.required]
    rest = [name for name in required if name != "callsheet"]
    products = {"anyOf": [{"required": ["source"]}, {"required": ["products"]}]}
    return [
        {
            "if": {"required": ["callsheet"], "not": {"required": ["include"]}},
            "then": {"required": required, "properties": {"catalogue": products, "targets": {"minProperties": 1}}},
        },
        {"if": {"required": rest}, "then": {"required": ["callsheet"]}},
    ]


def _object(keys: Shape, nested: Mapping[str, Schema], *, required: bool = True) -> Schema:
    """A mapping of exactly these keys; ``nested`` refines some of them."""
    found: Schema = {
        "type": "object",
        "properties": {name: {**_key(key), **nested.get(name, {})} for name, key in keys.items()},
        "additionalProperties": False,
    }
    names = [name for name, key in keys.items() if key.required]
    return {**found, "required": names} if required and names else found


def _key(key: Key) -> Schema:
    types = [_TYPES[kind] for kind in key.kinds]
    if not key.required and not {Kind.LIST, Kind.MAPPING}.isdisjoint(key.kinds):
        types.append("null")
    return {"description": key.about, "type": types[0] if len(types) == 1 else types, **key.rule}


def _sections() -> dict[str, Schema]:
    limits = _object(
        shape.LIMITS,
        {
            "rate": _patterned(shape.RATE, {"exclusiveMinimum": 0, "maximum": shape.FASTEST_RATE}),
            "prices": {"additionalProperties": {"type": "number", "minimum": 0}},
        },
    )
    prompt = {"anyOf": [{"type": "string", "minLength": 1}, _object(shape.PROMPT, {})]}
    catalogue = {
        "products": {"type": "array", "minItems": 1, "items": {"type": "object", "minProperties": 1}},
        "fields": {"propertyNames": {"minLength": 1}, "additionalProperties": {"type": "string"}},
    }
    return {
        "include": {"items": {"type": "string", "minLength": 1}, "minLength": 1},
        "catalogue": {**_object(shape.CATALOGUE, catalogue), "not": {"required": ["source", "products"]}},
        "vars": {"propertyNames": _NAMED},
        "prompts": {"propertyNames": _NAMED, "additionalProperties": prompt},
        "providers": {"propertyNames": _NAMED, "additionalProperties": {**limits, "type": ["object", "null"]}},
        "targets": {"propertyNames": _NAMED, "additionalProperties": {"$ref": "#/definitions/target"}},
        "artifacts": {**_object(shape.ARTIFACTS, {}), "type": ["object", "null"]},
    }


def _patterned(pattern: str, number: Schema) -> Schema:
    """Text of a form, or a number within bounds: each constraint only touches its own type."""
    return {"pattern": rf"^\s*{pattern}\s*$", **number}


def _target(operations: Mapping[str, OperationFacts], definitions: Schema) -> Schema:
    found = _object(
        shape.TARGET,
        {
            "uses": _uses(operations),
            "needs": _needs(),
            "matrix": _matrix(),
            "gate": _gate(),
            "deadline": _patterned(shape.DURATION, {"minimum": 1, "maximum": shape.LONGEST_DEADLINE}),
            "queue_deadline": _patterned(shape.DURATION, {"minimum": 1, "maximum": shape.LONGEST_DEADLINE}),
        },
    )
    calls = [_call(facts, definitions) for _, facts in sorted(operations.items())]
    return {**found, "allOf": calls} if calls else found


def _uses(operations: Mapping[str, OperationFacts]) -> Schema:
    if not operations:
        return {"pattern": f"^{shape.USES}$"}
    ordered = sorted(operations.items())
    return {"enum": [name for name, _ in ordered], "enumDescriptions": [facts.title for _, facts in ordered]}


def _call(facts: OperationFacts, definitions: Schema) -> Schema:
    """What ``with`` must hold when ``uses`` is this operation."""
    label = re.sub(r"[^A-Za-z0-9]+", "_", facts.name)
    parameters = parameter_schema(facts, label, definitions)
    definitions[label] = parameters
    then: Schema = {"properties": {"with": {"$ref": f"#/definitions/{label}"}}}
    if parameters.get("required"):
        then["required"] = ["with"]
    return {"if": {"properties": {"uses": {"const": facts.name}}, "required": ["uses"]}, "then": then}


def _needs() -> Schema:
    pins = {"type": ["object", "null"], "additionalProperties": _VALUE}
    return {"items": {"type": "string"}, "uniqueItems": True, "additionalProperties": pins}


def _matrix() -> Schema:
    reserved = {"not": {"enum": sorted(shape.RESERVED_AXES)}}
    entries = {"type": ["array", "null"], "items": {"type": "object", "minProperties": 1, "additionalProperties": _VALUE}}
    return {
        "minProperties": 1,
        "propertyNames": {**_NAMED, **reserved},
        "properties": {
            "include": {"description": "Combinations to extend or to add, as in GitHub Actions.", **entries},
            "exclude": {"description": "Combinations to leave out, as in GitHub Actions.", **entries},
        },
        "additionalProperties": {"type": "array", "minItems": 1, "uniqueItems": True, "items": _VALUE},
    }


def _gate() -> Schema:
    mapping = {**_object(shape.GATE, {}), "minProperties": 1}
    return {"anyOf": [{"const": "approve"}, mapping, {"type": "null"}]}
