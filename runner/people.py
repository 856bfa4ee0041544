"""What people decide about single jobs, as ledger events. Pure.

Owns the rules of ``reconcile`` and ``cancel``: which decision fits which state, and what is recorded of who made it. A decision that does not
fit is refused with a reason; nothing here guesses.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from runner import events as ev
from runner.errors import UsageError
from runner.events import Event
from runner.model import State
from runner.seams import JobState


class Settlement(StrEnum):
    """How a person settles an uncertain submission."""

    ADOPT = "adopt"
    """The provider has it, under this remote id."""
    RESUBMIT = "resubmit"
    """The provider does not have it: submit it again."""
    GIVE_UP = "give-up"
    """Nobody will know: count it as failed, and its price as spent."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who decided, when (Unix seconds), and a note of his."""

    name: str
    at: float
    note: str = ""


def settle(job: JobState, how: Settlement, person: Person, *, remote_id: str = "", taken: frozenset[str] = frozenset()) -> Event:
    """The event for a person's decision about an uncertain job. ``taken`` are remote ids that other jobs of the lane have.

    Raises ``UsageError`` when the job is not uncertain, or the remote id is missing or another job's.
    """
    stuck = job.state in {State.RUNNING, State.CANCELLING} and how is Settlement.GIVE_UP
    if job.state not in {State.UNCERTAIN, State.SUBMITTING} and not stuck:
        raise UsageError(
            f"{job.key} is {job.state.value}, not uncertain: there is nothing to settle",
            hint="callsheet reconcile MANIFEST lists what is open",
        )
    match how:
        case Settlement.ADOPT:
            remote_id = remote_id.strip()
            if not remote_id:
                raise UsageError("--adopt needs the provider's id of the work", hint="copy it from the provider's own list")
            if remote_id in taken:
                raise UsageError(
                    f"{remote_id} already belongs to another job", hint="look at its creation time in the provider's list"
                )
            return ev.Accepted(job=job.key, at=person.at, remote_id=remote_id, how="person", by=person.name, note=person.note)
        case Settlement.RESUBMIT:
            return ev.NotFoundRemotely(job=job.key, at=person.at, by=person.name, note=person.note)
        case Settlement.GIVE_UP:
            return ev.GivenUp(job=job.key, at=person.at, by=person.name, note=person.note)


CANCELLED_AT_ONCE = frozenset({State.PENDING, State.HELD, State.READY})
"""Nothing was submitted: a cancel ends these."""


def cancel(job: JobState, person: Person) -> Event | None:
    """The event for cancelling; None where there is nothing to cancel (ended, being collected) or nobody knows (uncertain)."""
    if job.state in CANCELLED_AT_ONCE:
        return ev.Cancelled(job=job.key, at=person.at, by=person.name, note=person.note)
    if job.state is State.RUNNING:
        return ev.CancelRequested(job=job.key, at=person.at, by=person.name, note=person.note)
    return None
