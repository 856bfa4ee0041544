"""One lane as its driver and its steps share it.

Owns what a step works with (``LaneTools``), who hands out jobs (``Feed``), and the few verbs that every step ends with: write an event, end a
job, park it, halt the lane. Decides nothing about a job by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from runner import events as ev
from runner.artifacts import ArtifactStore
from runner.budget import Budget
from runner.callbacks import Callbacks, Hearsay
from runner.clock import Clock
from runner.errors import ProviderError
from runner.limits import Pace
from runner.model import JSON, Asset, Observation, State
from runner.scheduler import LaneScheduler
from runner.seams import LaneLedger, Operation, Tenure, Wire
from runner.worker import Worker

MOST_TRIES = 6
"""Failures in a row of one step of one job before this run leaves it."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A job ready to be submitted: its parameters with everything filled in."""

    params: Mapping[str, JSON]
    media: Mapping[str, Asset]
    upstream: Mapping[str, str]
    """Need -> submission key of the attempt whose result is used."""


@dataclass(frozen=True, slots=True)
class ReadyJob:
    """A job that the feed hands over: the ledger has it as ready."""

    key: str
    operation: str
    weight: int
    urgent: bool = False
    """Goes before the others: it continues a chain that was begun."""


class Feed(Protocol):
    """Where ready jobs come from, and who is told when one ended."""

    def next(self, lane: str) -> ReadyJob | None:
        """The next ready job of the lane, opened in the ledger; None when there is none now."""
        ...

    def prepare(self, key: str) -> Prepared:
        """Fill in what upstream jobs made, and check it. Raises ``CallsheetError`` when it cannot be submitted so."""
        ...

    def reopen(self, key: str) -> ReadyJob | None:
        """A job came back to ready (its lost submission never arrived): may it be submitted again in this run?"""
        ...

    def ended(self, key: str) -> None:
        """The job reached a state that this run does not change any more."""
        ...

    def resumed(self, key: str) -> None:
        """A job that was reported as ended is under way again after all: a callback came."""
        ...

    def exhausted(self, lane: str) -> bool:
        """Nothing more will come for this lane in this run."""
        ...

    def closed(self, lane: str) -> None:
        """The lane takes no more work in this run."""
        ...


@dataclass(frozen=True, slots=True)
class Deadline:
    """Seconds of the provider's time that a run waits for a job: in the provider's queue, and at work. Then a later run collects it."""

    queue: float = 24 * 3600.0
    work: float = 6 * 3600.0


@dataclass(frozen=True, slots=True)
class LaneTools:
    """What a driver works with, made once per lane by the engine."""

    ledger: LaneLedger
    feed: Feed
    scheduler: LaneScheduler
    worker: Worker
    wire: Wire
    artifacts: ArtifactStore
    budget: Budget
    clock: Clock
    pace: Pace
    provenance: Mapping[str, JSON]
    """What every sidecar of this run says: campaign, rehearsal."""
    deadlines: Mapping[str, Deadline] = field(default_factory=dict)
    """Target -> how long a run waits for one of its jobs."""
    max_artifact_bytes: int = 2 * 1024**3
    """The largest result file to accept."""
    settle_seconds: float = 20.0
    """How long after a lost submission the provider's "I do not have it" is believed."""
    callbacks: Callbacks | None = None
    """Where providers may call back; None: nobody listens."""


class Lane:
    """A lane under way. ``results`` are successful observations whose files wait to be collected; ``parked`` are jobs this run gave up."""

    def __init__(self, tenure: Tenure, tools: LaneTools) -> None:
        self.tenure = tenure
        self.tools = tools
        self.hearsay = Hearsay()
        self.lost_ids: list[str] = []
        """``job = remote id`` pairs that could not be recorded."""
        self.results: dict[str, Observation] = {}
        self.parked: set[str] = set()
        self.began = 0.0
        """Loop time when the driver took the lane up."""
        self.driving = True
        self.forgetters: list[Callable[[str], object]] = []
        """Called with the key of a job that ended: steps drop what they remember of it."""

    def wall(self) -> float:
        """Unix seconds now."""
        return self.tools.clock.now()

    def settle(self) -> float:
        """Seconds of ours after which the provider's "I do not have it" is believed."""
        return max(1.0, self.tools.pace.seconds(self.tools.settle_seconds))

    def operation(self, key: str) -> Operation:
        """The operation that the job calls."""
        name = self.tools.ledger.jobs[key].operation
        return self.tools.worker.provider.operations[name.partition("/")[2]]

    async def append(self, event: ev.Event) -> None:
        """Write one event, durable on return."""
        await self.tools.ledger.append(self.tenure, [event])

    async def halt(self, error: ProviderError) -> None:
        """The account is stopped: nothing more is submitted, jobs stay ready, other lanes go on."""
        lane = self.tenure.lane
        self.tools.scheduler.accepting = False
        if lane in self.tools.ledger.halted:
            return
        await self.tools.ledger.record(
            ev.LaneHalted(
                job="", at=self.wall(), lane=lane, code=error.code, message=error.message, cause=error.cause, hint=error.hint
            )
        )

    def end(self, key: str, *, clean: bool = True) -> None:
        """The job ended; ``clean`` when the provider did its work, which lets a limit that was cut grow again."""
        self.results.pop(key, None)
        for forget in self.forgetters:
            forget(key)
        self.hearsay.forget(key, self.tools.ledger.jobs[key].submission_key)
        self.tools.scheduler.gone(key, clean=clean)
        self.tools.feed.ended(key)

    def park(self, key: str) -> None:
        """Nothing more can be done with it in this run."""
        self.parked.add(key)
        self.tools.scheduler.parked(key, lost=self.tools.ledger.jobs[key].state is State.UNCERTAIN)
        self.tools.feed.ended(key)

    def revive(self, key: str) -> None:
        """This run had given the job up; now there is something to do again."""
        if key in self.parked and self.driving:
            self.parked.discard(key)
            self.tools.feed.resumed(key)
