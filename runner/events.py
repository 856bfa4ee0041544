"""The facts that the journal holds, one class each, named in the past tense.

Owns the shape of a ledger line. What an event does to a job's state stands in ``lifecycle.TABLE``, not here. Fields are
only ever added, with a default, so that an older ledger stays readable; a change of meaning takes a new event.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="event", gc=False):
    """Base: which job (its key), and when (Unix seconds)."""

    job: str
    at: float


UNTOLD = "?"
"""The fingerprint of a job whose ``Planned`` was lost and rebuilt: nobody knows what it was made from, so nothing counts as changed."""


class Planned(Event, frozen=True, tag="Planned"):
    """The job was opened, or opened anew because its inputs changed: the birth of a life."""

    target: str
    product: str
    operation: str
    lane: str
    fingerprint: str
    title: str = ""
    cell: dict[str, str] = {}
    fields: dict[str, str] = {}
    """Parameter name -> short digest, so that a later plan can name what changed."""
    needs: dict[str, str] = {}
    """Need -> key of the upstream job."""
    reason: str = "new"
    path: str = ""
    """Artifact path without extension, relative to ``artifacts/``."""
    credits: float | None = None
    """Estimate."""


class DependenciesMet(Event, frozen=True, tag="DependenciesMet"):
    """Everything it needs has succeeded (or it needs nothing)."""


class GateClosed(Event, frozen=True, tag="GateClosed"):
    """An upstream result waits for a person."""


class GateOpened(Event, frozen=True, tag="GateOpened"):
    """A person said yes."""

    by: str = ""


class GateRefused(Event, frozen=True, tag="GateRefused"):
    """A person said no."""

    by: str = ""
    note: str = ""


class DependencyFailed(Event, frozen=True, tag="DependencyFailed"):
    """An upstream job failed, was skipped or cancelled; ``upstream`` is its key."""

    upstream: str = ""


class Unchanged(Event, frozen=True, tag="Unchanged"):
    """There was nothing to do."""


class SubmitStarted(Event, frozen=True, tag="SubmitStarted"):
    """The intent: this paid request is about to leave. The attempt is frozen here."""

    attempt: int
    key: str
    params: dict[str, Any] = {}
    media: dict[str, str] = {}
    """Parameter name -> SHA-256 of the file that is sent."""
    upstream: dict[str, str] = {}
    """Need -> submission key of the attempt whose result is used."""
    account: str = ""
    operation: str = ""
    callback: str = ""
    """Base of the address that the provider was told to call back; empty: none."""


class Accepted(Event, frozen=True, tag="Accepted"):
    """The provider took it."""

    remote_id: str
    credits: float | None = None
    how: str = "reply"
    """``reply``, ``reconcile``, ``callback``, ``person``; ``repair`` when the line was lost and stands here in its place."""
    by: str = ""
    note: str = ""


class SubmitDeferred(Event, frozen=True, tag="SubmitDeferred"):
    """The provider certainly did not take it, and may later."""

    code: str = ""
    message: str = ""
    cause: str = ""


class SubmitRefused(Event, frozen=True, tag="SubmitRefused"):
    """The provider refused it for good."""

    code: str = ""
    message: str = ""
    cause: str = ""
    hint: str = ""


class SubmitUncertain(Event, frozen=True, tag="SubmitUncertain"):
    """Nobody knows whether the provider took it."""

    message: str = ""
    how: str = ""
    """``repair``: the ledger was damaged here, so that "the provider does not have it" proves nothing: a person decides."""


class NotFoundRemotely(Event, frozen=True, tag="NotFoundRemotely"):
    """The provider was asked and does not have it; or a person looked, and says so (``by``)."""

    by: str = ""
    note: str = ""


class GivenUp(Event, frozen=True, tag="GivenUp"):
    """A person stopped looking for it, or waiting for it (``cause`` is then ``deadline``)."""

    by: str = ""
    note: str = ""
    cause: str = ""


class Observed(Event, frozen=True, tag="Observed"):
    """The provider's word changed while it is still at work."""

    phase: str
    word: str = ""


class RemoteSucceeded(Event, frozen=True, tag="RemoteSucceeded"):
    """The provider is done; the results wait to be collected."""

    credits: float | None = None
    outputs: int = 0
    values: dict[str, str] = {}


class RemoteFailed(Event, frozen=True, tag="RemoteFailed"):
    """The provider gave up on it."""

    message: str = ""
    cause: str = ""
    credits: float | None = None


class DeadlinePassed(Event, frozen=True, tag="DeadlinePassed"):
    """It took longer than allowed and the provider does not have it any more."""

    seconds: float = 0.0


class RemoteLost(Event, frozen=True, tag="RemoteLost"):
    """The provider does not know a remote id that it gave us."""

    message: str = ""
    how: str = ""
    """As in ``SubmitUncertain``."""


class CancelRequested(Event, frozen=True, tag="CancelRequested"):
    """A person wants it stopped."""

    by: str = ""
    note: str = ""


class RemoteCancelled(Event, frozen=True, tag="RemoteCancelled"):
    """The provider stopped it."""


class Cancelled(Event, frozen=True, tag="Cancelled"):
    """It was cancelled before anything was submitted."""

    by: str = ""
    note: str = ""


class ArtifactStored(Event, frozen=True, tag="ArtifactStored"):
    """One result file is in place, verified."""

    name: str
    path: str
    sha256: str
    kind: str
    format: str
    bytes: int
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    codec: str | None = None


class CollectDeferred(Event, frozen=True, tag="CollectDeferred"):
    """A download did not work; a fresh link will be asked for."""

    message: str = ""


class ArtifactRejected(Event, frozen=True, tag="ArtifactRejected"):
    """A result is not what was ordered."""

    message: str = ""
    expected: str = ""
    got: str = ""


class AllStored(Event, frozen=True, tag="AllStored"):
    """All results are in place: the last event of a good job."""


class RetryScheduled(Event, frozen=True, tag="RetryScheduled"):
    """A failed job gets another attempt."""

    why: str = ""


class RunStarted(Event, frozen=True, tag="RunStarted"):
    """A run began (``job`` is empty)."""

    run: str
    version: str = ""
    limits: dict[str, int] = {}
    command: str = ""


class RunEnded(Event, frozen=True, tag="RunEnded"):
    """A run ended in good order (``job`` is empty)."""

    run: str
    exit_code: int = 0
    halted: dict[str, str] = {}


class LaneHalted(Event, frozen=True, tag="LaneHalted"):
    """A provider stopped an account (``job`` is empty)."""

    lane: str
    code: str = ""
    message: str = ""
    cause: str = ""
    hint: str = ""


class LinesLost(Event, frozen=True, tag="LinesLost"):
    """The ledger was repaired, and this many lines before this one could not be told (``job`` is empty)."""

    lines: int


JobEvent: TypeAlias = (
    Planned
    | DependenciesMet
    | GateClosed
    | GateOpened
    | GateRefused
    | DependencyFailed
    | Unchanged
    | SubmitStarted
    | Accepted
    | SubmitDeferred
    | SubmitRefused
    | SubmitUncertain
    | NotFoundRemotely
    | GivenUp
    | Observed
    | RemoteSucceeded
    | RemoteFailed
    | DeadlinePassed
    | RemoteLost
    | CancelRequested
    | RemoteCancelled
    | Cancelled
    | ArtifactStored
    | CollectDeferred
    | ArtifactRejected
    | AllStored
    | RetryScheduled
)
"""Everything that happens to one job."""

AnyEvent: TypeAlias = JobEvent | RunStarted | RunEnded | LaneHalted | LinesLost
"""Everything that a journal line can be."""


def name_of(event: Event | type[Event]) -> str:
    """The event's name as it stands in the journal and in the life-cycle table."""
    kind = event if isinstance(event, type) else type(event)
    return str(kind.__struct_config__.tag)


def as_fields(event: Event) -> Mapping[str, object]:
    """The event as a plain mapping, for people and exports."""
    return dict(msgspec.to_builtins(event))
