"""A job's life: which event leads from which state to which.

Owns one literal table, and nothing else in the house changes a state. The laws behind it:

1. *Intent before act.* ``SubmitStarted`` is on disk before a paid request leaves. From ``submitting`` only an answer that proves a
   refusal leads back to ``ready``; anything else is ``uncertain``.
2. *Uncertain is never resubmitted blindly.* Its only ways out are: the provider has it, the provider certainly does not, a person decides.
3. *Collecting never pays again.* A job that reached ``collecting`` has been paid for; it ends stored or rejected.
4. *A life begins with* ``Planned``. It may begin again only where nothing is under way at a provider, and what the earlier life
   paid for stays in the journal.
5. A missing key in the table is the error. An illegal event changes nothing.

Pure: no clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping

from runner.errors import IllegalTransition
from runner.events import Event, LaneHalted, LinesLost, RunEnded, RunStarted, name_of
from runner.model import State

S = State

TABLE: Mapping[State | None, Mapping[str, State]] = {
    None: {"Planned": S.PENDING},
    S.PENDING: {
        "Planned": S.PENDING,
        "DependenciesMet": S.READY,
        "GateClosed": S.HELD,
        "DependencyFailed": S.SKIPPED,
        "Unchanged": S.SKIPPED,
        "Cancelled": S.CANCELLED,
    },
    S.HELD: {
        "Planned": S.PENDING,
        "GateOpened": S.READY,
        "GateRefused": S.CANCELLED,
        "DependencyFailed": S.SKIPPED,
        "Cancelled": S.CANCELLED,
    },
    S.READY: {
        "Planned": S.PENDING,
        "SubmitStarted": S.SUBMITTING,
        "SubmitRefused": S.FAILED,  # found wrong before anything was paid for: an upload refused, a media rule broken
        "Cancelled": S.CANCELLED,
    },
    S.SUBMITTING: {
        "Accepted": S.RUNNING,
        "SubmitDeferred": S.READY,
        "SubmitRefused": S.FAILED,
        "SubmitUncertain": S.UNCERTAIN,
    },
    S.UNCERTAIN: {
        "Accepted": S.RUNNING,
        "NotFoundRemotely": S.READY,
        "GivenUp": S.FAILED,
    },
    S.RUNNING: {
        "Observed": S.RUNNING,
        "RemoteSucceeded": S.COLLECTING,
        "RemoteFailed": S.FAILED,
        "DeadlinePassed": S.RUNNING,  # this run stops waiting; a later one collects it: it is paid for
        "RemoteLost": S.UNCERTAIN,
        "CancelRequested": S.CANCELLING,
        "GivenUp": S.FAILED,
    },
    S.CANCELLING: {
        "Observed": S.CANCELLING,
        "RemoteCancelled": S.CANCELLED,
        "RemoteSucceeded": S.COLLECTING,
        "RemoteFailed": S.FAILED,
        "DeadlinePassed": S.CANCELLING,
        "RemoteLost": S.CANCELLED,
        "GivenUp": S.FAILED,
    },
    S.COLLECTING: {
        "ArtifactStored": S.COLLECTING,
        "CollectDeferred": S.COLLECTING,
        "AllStored": S.SUCCEEDED,
        "ArtifactRejected": S.FAILED,
    },
    S.FAILED: {"Planned": S.PENDING, "RetryScheduled": S.READY},
    S.SUCCEEDED: {"Planned": S.PENDING},
    S.SKIPPED: {"Planned": S.PENDING},
    S.CANCELLED: {"Planned": S.PENDING},
}

TERMINAL = frozenset({S.SUCCEEDED, S.FAILED, S.SKIPPED, S.CANCELLED})
"""Nothing happens to these by itself; only a new plan or a person's retry opens them again."""

REMOTE = frozenset({S.SUBMITTING, S.UNCERTAIN, S.RUNNING, S.CANCELLING})
"""The provider may be at work for these: each holds its slots."""

OPEN = REMOTE | {S.COLLECTING}
"""Money may have been spent and the result is not here yet: every run takes these up first."""

CAMPAIGN_EVENTS = frozenset({name_of(RunStarted), name_of(RunEnded), name_of(LaneHalted), name_of(LinesLost)})
"""Facts about a run or a lane: they belong to no job."""


def advance(key: str, state: State | None, event: Event) -> State:
    """The state after ``event``. Raises ``IllegalTransition``, leaving everything as it was."""
    try:
        return TABLE[state][name_of(event)]
    except KeyError:
        shown = state.value if state else "not planned"
        raise IllegalTransition(f"{key}: {name_of(event)} cannot happen to a job that is {shown}") from None


def mermaid() -> str:
    """The table as a Mermaid state diagram, for the documentation."""
    lines = ["stateDiagram-v2"]
    for source, row in TABLE.items():
        by_target: dict[State, list[str]] = {}
        for event, target in row.items():
            by_target.setdefault(target, []).append(event)
        for target, names in by_target.items():
            lines.append(f"    {source.value if source else '[*]'} --> {target.value}: {', '.join(names)}")
    return "\n".join(lines) + "\n"
