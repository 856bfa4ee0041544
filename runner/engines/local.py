"""Runs every lane in this process, over one ledger file.

Owns the wiring: who works with what, the stop signal, and that a driver which dies takes the run with it in good order. Decides
nothing about jobs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import anyio

from runner.artifacts import ArtifactStore
from runner.budget import Budget
from runner.callbacks import Callbacks
from runner.clock import Clock
from runner.driver import LaneDriver
from runner.feed import CampaignFeed, Surroundings
from runner.gates import Gates
from runner.lane import Deadline, LaneTools
from runner.ledger import Ledger
from runner.limits import Durations, Limits, Pace
from runner.manifest.model import TargetSpec
from runner.model import JSON
from runner.plan import Plan
from runner.scheduler import LaneScheduler, LaneStatistics, Spacing
from runner.seams import CallbackNotice, Provider, Wire
from runner.worker import Worker

MOST_NOTICES = 1000
"""Callbacks that may wait to be looked at; more are turned away, and polling finds out."""
LATE_POLL = 0.9
"""With callbacks, a task is first asked about when so many of its kind are done."""
LEAST_POLL = 0.05
"""Seconds: however fast a rehearsal runs, the same task is not asked about more often."""


@dataclass(frozen=True, slots=True)
class LaneSettings:
    """One account: its adapter, where it is reached, and its limits."""

    provider: Provider
    base_url: str
    concurrency: int
    rate: float


@dataclass(frozen=True, slots=True)
class EngineTools:
    """What a run works with."""

    ledger: Ledger
    wire: Wire
    artifacts: ArtifactStore
    budget: Budget
    clock: Clock
    gates: Gates
    pace: Pace = field(default_factory=Pace)
    provenance: Mapping[str, JSON] = field(default_factory=dict)
    submitting: bool = True
    """False only collects what is already paid for."""
    callbacks: Callbacks | None = None
    """Where providers may call back; None: nobody listens."""
    max_artifact_bytes: int = 2 * 1024**3
    """The largest result file to accept."""


class LocalEngine:
    """One run of one plan. ``lanes`` maps lane names to their settings; lanes without one stay untouched."""

    def __init__(self, plan: Plan, lanes: Mapping[str, LaneSettings], tools: EngineTools) -> None:
        self.plan = plan
        self.tools = tools
        self._stopping = False
        self._notices: deque[tuple[str, str, CallbackNotice]] = deque()
        self._noticed = anyio.Event()
        self._ended = False
        self._drivers: dict[str, LaneDriver] = {}
        self._lanes = lanes
        self.feed = CampaignFeed(
            plan,
            tools.ledger,
            tools.gates,
            surroundings=Surroundings(tuple(lanes), tools.clock, tools.artifacts.root, self._wake),
        )
        self._schedulers = {name: self._scheduler(settings) for name, settings in lanes.items()}

    async def run(self) -> None:
        """Drive every lane to its end. Raises ``LedgerError`` once all drivers have stopped."""
        errors: list[Exception] = []
        for lane in self._lanes:
            tenure = await self.tools.ledger.take(lane)
            self._drivers[lane] = LaneDriver(tenure, self._lane_tools(lane), stop=lambda: self._stopping)
        async with anyio.create_task_group() as beside:
            beside.start_soon(self._listen, errors)
            async with anyio.create_task_group() as group:
                for driver in self._drivers.values():
                    group.start_soon(self._drive, driver, errors)
            self._ended = True
            self._noticed.set()
        if errors:
            raise errors[0]

    async def _drive(self, driver: LaneDriver, errors: list[Exception]) -> None:
        try:
            await driver.drive()
        except Exception as error:  # noqa: BLE001  # the other lanes end their steps under way, then it is raised
            errors.append(error)
            self.stop()

    def hear(self, lane: str, key: str, notice: CallbackNotice) -> bool:
        """A provider called back about the attempt ``key``. Returns at once; False when it cannot be taken now."""
        if self._ended or lane not in self._lanes or len(self._notices) >= MOST_NOTICES:
            return False
        self._notices.append((lane, key, notice))
        self._noticed.set()
        return True

    async def _listen(self, errors: list[Exception]) -> None:
        """Hand callbacks to their lanes, as long as any lane is driven and until none waits any more."""
        while True:
            while self._notices:
                lane, key, notice = self._notices.popleft()
                try:
                    await self._drivers[lane].hear(key, notice)
                except Exception as error:  # noqa: BLE001  # steps under way end first, then it is raised
                    errors.append(error)
                    self.stop()
            if self._ended:
                return
            await self._noticed.wait()
            self._noticed = anyio.Event()

    def stop(self) -> None:
        """Drain: nothing new is begun; steps under way end; running work is left to the next run."""
        self._stopping = True
        for driver in self._drivers.values():
            driver.wake()

    @property
    def stopping(self) -> bool:
        """Whether the run is draining."""
        return self._stopping

    def statistics(self) -> Mapping[str, LaneStatistics]:
        """Every lane at this moment."""
        return {name: scheduler.statistics() for name, scheduler in self._schedulers.items()}

    def peaks(self) -> Mapping[str, int]:
        """The most slots each lane had in use."""
        return {name: scheduler.limits.peak for name, scheduler in self._schedulers.items()}

    def heard(self) -> Mapping[str, Mapping[str, int]]:
        """Lane -> what its callbacks were (see ``Hearsay.counts``)."""
        return {lane: dict(driver.lane.hearsay.counts) for lane, driver in self._drivers.items()}

    def lost_ids(self) -> list[str]:
        """``job = remote id`` pairs that could not be written to the ledger."""
        return [pair for driver in self._drivers.values() for pair in driver.lost_ids]

    def _wake(self, lane: str) -> None:
        if driver := self._drivers.get(lane):
            driver.wake()

    def _scheduler(self, settings: LaneSettings) -> LaneScheduler:
        pace = self.tools.pace
        operations = {op.facts.name: op.facts for op in settings.provider.operations.values()}
        return LaneScheduler(
            limits=Limits(concurrency=settings.concurrency, rate=settings.rate, pace=pace),
            pace=pace,
            spacing={
                name: Spacing(facts.bulk, max(facts.poll_within_seconds, LEAST_POLL * pace.speed))
                for name, facts in operations.items()
            },
            durations={name: Durations(pace.seconds(facts.typical_seconds)) for name, facts in operations.items()},
            accepting=self.tools.submitting,
            first_poll=LATE_POLL if self.tools.callbacks else 0.1,
        )

    def _lane_tools(self, lane: str) -> LaneTools:
        tools, settings = self.tools, self._lanes[lane]
        return LaneTools(
            ledger=tools.ledger,
            feed=self.feed,
            scheduler=self._schedulers[lane],
            worker=Worker(settings.provider, base_url=settings.base_url, wire=tools.wire, clock=tools.clock),
            wire=tools.wire,
            artifacts=tools.artifacts,
            budget=tools.budget,
            clock=tools.clock,
            pace=tools.pace,
            provenance=tools.provenance,
            callbacks=tools.callbacks,
            max_artifact_bytes=tools.max_artifact_bytes,
            deadlines={name: _deadline(target) for name, target in self.plan.campaign.targets.items()},
        )


def _deadline(target: TargetSpec) -> Deadline:
    """The target's deadlines, with the defaults for what it leaves open."""
    default = Deadline()
    return Deadline(
        queue=default.queue if target.queue_seconds is None else target.queue_seconds,
        work=default.work if target.deadline_seconds is None else target.deadline_seconds,
    )
