"""What a person chose on the command line, as the decisions below want it.

Owns the reading of ``--select``, ``--limit`` and ``--retry`` and of a manifest's limits. Raises ``UsageError`` for what cannot be meant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from runner.errors import UsageError
from runner.model import State
from runner.plan import PlanOptions, Verdict
from runner.selection import parse

if TYPE_CHECKING:
    from runner.campaign import Campaign
    from runner.seams import ProviderFacts

RETRY_KINDS = (
    "failed",
    "deadline",
    "refused",
    "rejected",
    "given_up",
    "cancelled",
    "bad_input",
    "content_policy",
    "not_found",
    "generation_failed",
    "artifact",
    "server",
    "provider",
    "lost",
)


def plan_options(campaign: Campaign, select: Sequence[str], limit: int | None, retry: Sequence[str]) -> PlanOptions:
    """The options of a plan. Raises ``UsageError`` for names that do not exist."""
    axes = {axis for variants in campaign.variants.values() for variant in variants for axis, _ in variant.cell}
    states = sorted({verdict.word for verdict in Verdict} | {state.value for state in State})
    kinds = frozenset(kind.strip() for text in retry for kind in text.split(",") if kind.strip())
    strange = sorted(kinds - set(RETRY_KINDS))
    if strange:
        raise UsageError(f"--retry {strange[0]!r} is no kind of failure", hint=f"one of: {', '.join(RETRY_KINDS)}")
    selection = parse(select, targets=list(campaign.targets), axes=sorted(axes), states=states)
    return PlanOptions(selection=selection, limit=limit, retry=kinds)


def lanes_of(campaign: Campaign) -> tuple[str, ...]:
    """The accounts that the campaign uses, in the order of its targets."""
    return tuple(dict.fromkeys(campaign.lane_of(name) for name in campaign.targets))


def lane_limits(campaign: Campaign, lane: str, facts: ProviderFacts) -> tuple[int, float]:
    """(slots, submits per second) of an account: the manifest's, else the provider's defaults."""
    limits = campaign.manifest.limits.get(lane)
    concurrency = limits.concurrency if limits and limits.concurrency is not None else facts.default_concurrency
    rate = limits.rate if limits and limits.rate is not None else facts.default_rate
    return concurrency, rate


def lane_slots(campaign: Campaign) -> Mapping[str, int]:
    """Lane -> slots."""
    from runner.providers import provider_facts

    facts = provider_facts()
    return {lane: lane_limits(campaign, lane, facts[lane])[0] for lane in lanes_of(campaign)}
