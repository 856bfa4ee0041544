"""Which results that were paid for expire when.

Owns the sums over jobs that are not collected yet. A provider keeps results for a documented time after they are done; while a job is seen at
work only, the time since its submission is the safe lower bound.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from runner import events as ev
from runner.model import State
from runner.terminal.plans import duration

if TYPE_CHECKING:
    from runner.ledger import Ledger
    from runner.seams import OperationFacts

WAITING = frozenset({State.RUNNING, State.CANCELLING, State.COLLECTING})


@dataclass(frozen=True, slots=True)
class Expiry:
    """The uncollected results of one operation. Times are Unix seconds; ``first`` is None where the life time is not documented."""

    operation: str
    results: int
    expired: int
    """How many may be gone already."""
    first: float | None
    """When the next one expires, at the earliest."""


def expiries(ledger: Ledger, facts: Mapping[str, OperationFacts], now: float) -> list[Expiry]:
    """One entry for each operation with uncollected results."""
    found: dict[str, list[float | None]] = {}
    for job in ledger.jobs.values():
        if job.state in WAITING:
            known = facts.get(job.operation)
            lifetime = known.result_lifetime if known else None
            found.setdefault(job.operation, []).append(None if lifetime is None else _since(ledger, job.key) + lifetime)
    return [_sum(operation, ends, now) for operation, ends in found.items()]


def _since(ledger: Ledger, key: str) -> float:
    story = ledger.life(key)
    done = next((event.at for event in reversed(story) if isinstance(event, ev.RemoteSucceeded)), None)
    return done if done is not None else ledger.jobs[key].submitted_at


def refused(ledger: Ledger) -> Iterator[str]:
    """Why the first of the results that are there could not be stored, and how many more are not; empty when none was refused."""
    collecting = [job.key for job in ledger.jobs.values() if job.state is State.COLLECTING]
    for key in collecting:
        last = next((event for event in reversed(ledger.life(key)) if isinstance(event, ev.CollectDeferred)), None)
        if last is not None:
            more = f" ({len(collecting) - 1:,} more wait too)" if len(collecting) > 1 else ""
            yield f"{key} is not stored yet{more}: {last.message}"
            return


def _sum(operation: str, ends: list[float | None], now: float) -> Expiry:
    known = [end for end in ends if end is not None]
    future = [end for end in known if end > now]
    return Expiry(operation, len(ends), len(known) - len(future), min(future, default=None))


def as_lines(found: list[Expiry], now: float) -> Iterator[str]:
    """What a person should know, one line for each operation."""
    for entry in found:
        line = f"{entry.operation}: {entry.results:,} not collected yet"
        if entry.first is not None:
            day = datetime.fromtimestamp(entry.first, tz=UTC).strftime("%Y-%m-%d %H:%M UTC")
            line += f"; the first expires {day} (in {duration(entry.first - now)})"
        elif not entry.expired:
            line += "; the provider does not say how long it keeps them"
        if entry.expired:
            line += f"; {entry.expired:,} may have expired already"
        yield line
