"""Injected failures by rule. Decides *whether* something goes wrong; what it then looks like is the provider's business.

A rule matches requests by provider, operation or path, method and a piece of text, and fires by rate, by number or always.
Draws come from the seed, the rule's place and its match count: the same order of requests meets the same faults.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from typing import Any, Literal

Moment = Literal["before", "after"]

REFUSALS = ("rate_limit", "concurrency", "out_of_credit", "banned", "auth_expired", "error")
"""Answered with the provider's documented refusal; nothing is accepted. ``error`` needs a ``code`` or ``status``."""
BROKEN_REPLIES = ("torn_body", "not_json", "wrong_types", "wrong_envelope", "huge_body", "unknown_status", "success_without_url")
CALLBACK_KINDS = ("duplicate_callback", "reordered_callback")
MEDIA_KINDS = ("expired_link", "truncated_media", "html_media")
KINDS = (
    *REFUSALS,
    "server_error_before",
    "server_error_after",
    "lost_reply",
    "closed_before",
    "hang",
    *BROKEN_REPLIES,
    *CALLBACK_KINDS,
    *MEDIA_KINDS,
)
ALWAYS_AFTER = ("server_error_after", "lost_reply", "wrong_types", "unknown_status", "success_without_url")
ALWAYS_BEFORE = (*REFUSALS, "server_error_before", "closed_before", *MEDIA_KINDS, *CALLBACK_KINDS)


class FaultRuleError(ValueError):
    """A rule that cannot be understood; the message says which part."""


@dataclass(frozen=True, slots=True)
class FaultRule:
    """One rule. Patterns are shell globs; of ``rate`` and ``nth`` at most one is set, neither means every match."""

    kind: str
    provider: str = "*"
    operation: str = "*"
    """``avatar.submit``, ``submit``, ``media`` or ``callback``; media and uploads are met only when named here or in ``path``."""
    path: str = "*"
    method: str = "*"
    key: str = ""
    """Text that must occur in the path, query or body (an idempotency handle, a task id)."""
    rate: float | None = None
    nth: int | None = None
    """Fires at this match, counted from 1."""
    count: int | None = None
    """Fires at most so often."""
    moment: Moment | None = None
    seconds: float = 1.0
    """Real seconds that ``hang`` holds the reply; also the ``Retry-After`` of a rate limit."""
    status: int | None = None
    """HTTP status of a server error, sent as a gateway would: with an HTML page."""
    code: str = ""
    """The provider's own error code to answer with."""
    size: int = 32 * 1024 * 1024
    """Bytes that ``huge_body`` adds."""

    def when(self) -> Moment:
        """Before or after the request is acted upon."""
        if self.kind in ALWAYS_AFTER:
            return "after"
        if self.kind in ALWAYS_BEFORE:
            return "before"
        return self.moment or "after"


@dataclass(frozen=True, slots=True)
class Occasion:
    """What a rule is held against."""

    provider: str
    operation: str
    path: str
    method: str
    text: str
    channel: Literal["api", "media", "callback"] = "api"


def rule_from(raw: Mapping[str, Any]) -> FaultRule:
    """A rule from JSON. Raises FaultRuleError for unknown fields, kinds, moments or numbers out of range."""
    known = {field.name for field in fields(FaultRule)}
    unknown = sorted(set(raw) - known)
    if unknown:
        raise FaultRuleError(f"unknown field {unknown[0]!r} in a fault rule; known: {', '.join(sorted(known))}")
    kind = raw.get("kind")
    if kind not in KINDS:
        raise FaultRuleError(f"unknown fault kind {kind!r}; known: {', '.join(KINDS)}")
    for name in ("kind", "provider", "operation", "path", "method", "key", "code"):
        if not isinstance(raw.get(name, ""), str):
            raise FaultRuleError(f"{name} must be text in a fault rule")
    for name in ("rate", "seconds", "nth", "count", "status", "size"):
        value = raw.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or value < 0):
            raise FaultRuleError(f"{name} must be a number from 0 up in a fault rule")
    if raw.get("moment") not in (None, "before", "after"):
        raise FaultRuleError("moment is 'before' or 'after' the request is acted upon")
    if raw.get("rate") is not None and raw.get("nth") is not None:
        raise FaultRuleError("a fault rule has a rate or an nth, not both")
    return FaultRule(**raw)


def rules_from(raw: object) -> tuple[FaultRule, ...]:
    """Rules from a JSON list, or from ``{"rules": [...]}``. Raises FaultRuleError."""
    rules = raw.get("rules") if isinstance(raw, Mapping) else raw
    if not isinstance(rules, Sequence) or isinstance(rules, str) or not all(isinstance(rule, Mapping) for rule in rules):
        raise FaultRuleError('fault rules are a list of objects, or {"rules": [...]}')
    return tuple(rule_from(rule) for rule in rules)


class Faults:
    """The rules in force, with how often each has matched and fired."""

    def __init__(self, rules: tuple[FaultRule, ...], seed: int) -> None:
        self._seed = seed
        self.replace(rules)

    def replace(self, rules: tuple[FaultRule, ...]) -> None:
        """Put other rules in force; counts start anew."""
        self.rules = rules
        self._matches = [0] * len(rules)
        self._fired = [0] * len(rules)

    def restore(self, place: int, matches: int) -> None:
        """Take over what a rule had already done before a restart."""
        if place < len(self.rules):
            self._fired[place] += 1
            self._matches[place] = max(self._matches[place], matches)

    def pick(self, occasion: Occasion) -> tuple[FaultRule, int, int] | None:
        """The first rule that fires here, its place and its match count; None when all goes well."""
        for place, rule in enumerate(self.rules):
            if not _matches(rule, occasion):
                continue
            self._matches[place] += 1
            if self._fires(place, rule):
                self._fired[place] += 1
                return rule, place, self._matches[place]
        return None

    def _fires(self, place: int, rule: FaultRule) -> bool:
        if rule.count is not None and self._fired[place] >= rule.count:
            return False
        if rule.nth is not None:
            return self._matches[place] == rule.nth
        if rule.rate is not None:
            return _draw(f"{self._seed}/{place}/{rule.kind}/{self._matches[place]}") < rule.rate
        return True


def _draw(text: str) -> float:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") / 2**64


def _matches(rule: FaultRule, occasion: Occasion) -> bool:
    if not _right_channel(rule, occasion):
        return False
    verb = occasion.operation.rpartition(".")[2]
    return (
        fnmatchcase(occasion.provider, rule.provider)
        and (fnmatchcase(occasion.operation, rule.operation) or fnmatchcase(verb, rule.operation))
        and fnmatchcase(occasion.path, rule.path)
        and fnmatchcase(occasion.method, rule.method.upper())
        and rule.key in occasion.text
    )


def _right_channel(rule: FaultRule, occasion: Occasion) -> bool:
    if rule.kind in CALLBACK_KINDS:
        return occasion.channel == "callback"
    if rule.kind in MEDIA_KINDS:
        return occasion.channel == "media"
    if occasion.channel == "callback":
        return False
    return occasion.channel == "api" or rule.operation != "*" or rule.path != "*"
