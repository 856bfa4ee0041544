"""Turns a good reply into a broken one: what faults after acceptance look like on the wire."""

from __future__ import annotations

import msgspec

from runner.simulator.faults import FaultRule
from runner.simulator.provider import Vocabulary
from runner.simulator.web import Reply, html_reply, json_reply


def spoil(reply: Reply, rule: FaultRule, words: Vocabulary) -> Reply:
    """``reply`` as ``rule`` breaks it. Replies that are no JSON stay as they are where JSON would be changed."""
    match rule.kind:
        case "torn_body":
            reply.cut = "half"
            return reply
        case "not_json":
            return html_reply(rule.status or 200, "Please wait")
        case "huge_body":
            return _huge(reply, rule.size)
    try:
        value = msgspec.json.decode(reply.body)
    except msgspec.DecodeError:
        return reply
    return json_reply(_changed(value, rule.kind, words), reply.status)


def _changed(value: object, kind: str, words: Vocabulary) -> object:
    match kind:
        case "wrong_types":
            return _other_types(value)
        case "wrong_envelope":
            return {"ok": True, "payload": value}
        case "unknown_status":
            return _set(value, words.status_keys, words.unknown)
        case _:
            return _without_links(_set(value, words.status_keys, words.success), words.link_keys)


def _other_types(value: object) -> object:
    match value:
        case dict():
            return {key: _other_types(inner) for key, inner in value.items()}
        case list():
            return {"items": [_other_types(inner) for inner in value]}
        case bool() | int() | float():
            return str(value)
        case str():
            return len(value)
        case _:
            return {}


def _set(value: object, keys: frozenset[str], word: object) -> object:
    if isinstance(value, dict):
        return {key: word if key in keys else _set(inner, keys, word) for key, inner in value.items()}
    if isinstance(value, list):
        return [_set(inner, keys, word) for inner in value]
    return value


def _without_links(value: object, keys: frozenset[str]) -> object:
    if isinstance(value, dict):
        return {
            key: "" if key in keys and isinstance(inner, str) else _without_links(inner, keys) for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_without_links(inner, keys) for inner in value]
    return value


def _huge(reply: Reply, size: int) -> Reply:
    body = reply.body.rstrip()
    if body.endswith(b"}"):
        body = body[:-1] + (b"," if body != b"{}" else b"") + b'"padding":"' + b"x" * size + b'"}'
    else:
        body = body + b" " * size
    return Reply(reply.status, body, reply.media_type, reply.headers, reply.refusal)
