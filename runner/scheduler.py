"""What to do next in one lane: a heap of due times and a ready queue, not a task per job. Pure: no clock, no I/O, no await.

Owns the order of steps. Collecting comes first (results expire), then lost submissions, then questions about running work, then new
submissions. It stores and hands out; whoever calls it does the step and reports back. ``now`` is loop time in seconds.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from runner.limits import Durations, Limits, Pace, backoff


class Step(StrEnum):
    """One action on a job."""

    COLLECT = "collect"
    RECONCILE = "reconcile"
    POLL = "poll"
    SUBMIT = "submit"


@dataclass(frozen=True, slots=True)
class Order:
    """What to do: one step on one job, or one poll for many jobs of the same operation."""

    step: Step
    operation: str
    jobs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Spacing:
    """How an operation likes to be asked: many ids at once, and how far apart (seconds of the provider's time)."""

    bulk: int
    within: float


@dataclass(slots=True)
class Active:
    """A job this lane is busy with."""

    key: str
    operation: str
    weight: int
    holds_slot: bool = False
    since: float = 0.0
    """Loop time when the provider took it."""
    tries: int = 0
    step: Step | None = None
    due: float = 0.0
    busy: bool = False
    asked: float = -math.inf
    """Loop time of the last answer about it."""
    hurried: bool = False
    """A callback came while a step was under way: the next question comes soon."""


@dataclass(frozen=True, slots=True)
class LaneStatistics:
    """One lane at this moment, for people."""

    slots: int
    allowed: int
    ready: int
    running: int
    uncertain: int
    collecting: int


AT_ONCE: Mapping[Step, int] = {Step.COLLECT: 16, Step.RECONCILE: 4, Step.POLL: 6, Step.SUBMIT: 1_000_000}
"""Steps of one kind under way in one lane; submits are bounded by the lane's slots."""

LOST_HOLDS = 4.0
"""A submission of which nobody knows whether it was taken holds its slots for so many times the duration that nine in ten jobs stay below.
Holding them for ever would close a small account; freeing them early costs at most a refusal for too many jobs, which costs nothing."""


@dataclass(slots=True)
class LaneScheduler:
    """One lane. ``accepting`` False stops new submissions; ``asking`` False stops everything."""

    limits: Limits
    pace: Pace
    spacing: Mapping[str, Spacing]
    durations: dict[str, Durations]
    accepting: bool = True
    asking: bool = True
    first_poll: float = 0.1
    """The share of tasks that are done, as far as one knows, when a task is first asked about."""
    _active: dict[str, Active] = field(default_factory=dict)
    _ready: deque[str] = field(default_factory=deque)
    _due: dict[Step, list[tuple[float, int, str]]] = field(default_factory=lambda: {step: [] for step in Step})
    _collect: deque[str] = field(default_factory=deque)
    _held: list[tuple[float, str]] = field(default_factory=list)
    """Heap of parked jobs whose slots come free at a time."""
    _under_way: dict[Step, int] = field(default_factory=lambda: dict.fromkeys(Step, 0))
    _count: int = 0

    # ------------------------------------------------------------------------------------------------- taking in

    def room(self) -> int:
        """How many more ready jobs to fetch: enough to fill the free slots, and a few in hand."""
        if not (self.accepting and self.asking):
            return 0
        return max(0, math.floor(self.limits.allowed) - self.limits.in_use + 2 - len(self._ready))

    def ready(self, key: str, operation: str, weight: int, *, front: bool = False) -> None:
        """A job may be submitted."""
        self._active[key] = Active(key, operation, weight, step=Step.SUBMIT)
        if front:
            self._ready.appendleft(key)
        else:
            self._ready.append(key)

    def resumed(self, job: Active, step: Step, *, due: float) -> None:
        """Work found under way at the start: it takes its slots before anything is submitted."""
        self._active[job.key] = job
        if step in {Step.POLL, Step.RECONCILE}:
            job.holds_slot = True
            self.limits.taken(job.weight)
        self._set_due(job, step, due)

    # ------------------------------------------------------------------------------------------------ handing out

    def next_order(self, now: float) -> Order | None:
        """The next thing to do at once, or None. The caller reports back with one of the methods below."""
        if not self.asking:
            return None
        self._free_held(now)
        return self._next_collect() or self._next_due(now) or self._next_submit(now)

    def _next_collect(self) -> Order | None:
        if not self._collect or self._under_way[Step.COLLECT] >= AT_ONCE[Step.COLLECT]:
            return None
        return self._hand_out(Step.COLLECT, [self._active[self._collect.popleft()]])

    def _next_due(self, now: float) -> Order | None:
        while job := self._pop_due(Step.COLLECT, now):
            self._collect.append(job.key)
        while job := self._pop_due(Step.SUBMIT, now):
            self._ready.appendleft(job.key)
        if order := self._next_collect():
            return order
        for step in (Step.RECONCILE, Step.POLL):
            if self._under_way[step] < AT_ONCE[step] and (job := self._pop_due(step, now)):
                return self._hand_out(step, self._bundle(job, now) if step is Step.POLL else [job])
        return None

    def _pop_due(self, step: Step, until: float) -> Active | None:
        heap = self._due[step]
        while heap and heap[0][0] <= until:
            due, _, key = heapq.heappop(heap)
            job = self._active.get(key)
            if job is not None and not job.busy and job.step is step and job.due == due:
                return job  # any other entry is outdated
        return None

    def _bundle(self, first: Active, now: float) -> list[Active]:
        """``first`` and the other tasks of its operation that are due soon: one call settles them all."""
        spacing = self.spacing[first.operation]
        jobs = [first]
        horizon = now + self.pace.seconds(spacing.within)
        others: list[Active] = []
        while len(jobs) < spacing.bulk and (job := self._pop_due(Step.POLL, horizon)):
            (jobs if job.operation == first.operation else others).append(job)
        for job in others:
            self._push(job)
        return jobs

    def _next_submit(self, now: float) -> Order | None:
        if not self.accepting or not self._ready:
            return None
        job = self._active[self._ready[0]]
        if self.limits.wait(now, job.weight) > 0:
            return None
        self._ready.popleft()
        self.limits.started(now, job.weight)
        job.holds_slot = True
        job.since = now
        return self._hand_out(Step.SUBMIT, [job])

    def _free_held(self, now: float) -> None:
        while self._held and self._held[0][0] <= now:
            job = self._active.get(heapq.heappop(self._held)[1])
            if job is not None and job.step is None:
                self._give_slot_back(job, clean=False)

    def _hand_out(self, step: Step, jobs: list[Active]) -> Order:
        for job in jobs:
            job.busy = True
        self._under_way[step] += 1
        return Order(step, jobs[0].operation, tuple(job.key for job in jobs))

    def delay(self, now: float) -> float:
        """Seconds until something is due; ``inf`` when only a report can change anything."""
        if not self.asking:
            return math.inf
        delay = math.inf
        for step, heap in self._due.items():
            if heap and self._under_way[step] < AT_ONCE[step]:
                delay = min(delay, max(0.0, heap[0][0] - now))
        if self._ready and self.accepting:
            delay = min(delay, self.limits.wait(now, self._active[self._ready[0]].weight))
            if self._held:
                delay = min(delay, max(0.0, self._held[0][0] - now))
        return delay

    # --------------------------------------------------------------------------------------------- reporting back

    def finished(self, order: Order) -> None:
        """The step is over; call it after the reports about its jobs."""
        self._under_way[order.step] -= 1

    def accepted(self, key: str, now: float) -> None:
        """The provider took it: ask about it later."""
        job = self._active[key]
        job.tries = 0
        if not job.holds_slot:  # it was thought lost for so long that its slots were given to others
            job.holds_slot = True
            self.limits.taken(job.weight)
        self.limits.accepted()
        self._poll_later(job, now)

    def still_running(self, key: str, now: float) -> None:
        """Asked; not done yet."""
        self._active[key].asked = now
        self._poll_later(self._active[key], now)

    def ask_again(self, key: str, now: float) -> None:
        """The question itself failed: ask again, later each time."""
        job = self._active[key]
        job.tries += 1
        job.asked = now
        self._set_due(job, job.step or Step.POLL, now + self.pace.seconds(backoff(job.tries)))

    def hurry(self, key: str, now: float) -> None:
        """A callback says that there is news: ask as soon as the spacing of questions allows; due ones still go together."""
        job = self._active.get(key)
        if job is None or job.step is Step.COLLECT:
            return
        if job.busy or job.step in {Step.SUBMIT, Step.RECONCILE}:
            job.hurried = True
            return
        due = max(now, job.asked + self.pace.seconds(self.spacing[job.operation].within))
        if job.step is None or due < job.due:
            self._set_due(job, Step.POLL, due)

    def hold(self, key: str) -> bool:
        """Keep steps of the job from beginning until the next report about it. False while one is under way."""
        job = self._active.get(key)
        if job is None or job.busy:
            return False
        job.busy = True
        return True

    def deferred(self, key: str, now: float, wait: float) -> None:
        """Certainly not taken: it waits ``wait`` seconds of ours for another try."""
        job = self._active[key]
        job.tries += 1
        self._give_slot_back(job, clean=False)
        self._set_due(job, Step.SUBMIT, now + wait)

    def troubled(self, key: str, now: float) -> int:
        """A passing fault, certainly not taken: the lane waits, and this job with it. How many such waits in a row it makes."""
        job = self._active[key]
        wait = self.limits.troubled(now, job.since)
        self.deferred(key, now, wait)
        return self.limits.troubles

    def turned_away(self, key: str, now: float, *, concurrency: bool, retry_after: float | None) -> None:
        """The provider's own limit said no: adapt, and try again when a slot of ours ends or the wait is over."""
        job = self._active[key]
        sent_at = job.since
        self._give_slot_back(job, clean=False)
        wait = self.limits.refused(now, sent_at, concurrency=concurrency, retry_after=retry_after)
        job.tries += 1
        if concurrency and self.limits.in_use:
            job.busy = False
            job.step = Step.SUBMIT
            self._ready.appendleft(key)
        else:
            self._set_due(job, Step.SUBMIT, now + wait)

    def uncertain(self, key: str, due: float) -> None:
        """Nobody knows whether it was taken: it keeps its slot and is looked for at ``due``."""
        self._set_due(self._active[key], Step.RECONCILE, due)

    def returned(self, key: str) -> None:
        """It certainly did not arrive: ready again, without a slot."""
        job = self._active[key]
        self._give_slot_back(job, clean=False)
        job.busy = False
        job.step = Step.SUBMIT
        self._ready.appendleft(key)

    def remote_done(self, key: str, now: float) -> None:
        """The provider finished it well: its slot is free, its result is due for collection."""
        job = self._active[key]
        if job.since:
            self.durations[job.operation].add(now - job.since)
        self._give_slot_back(job, clean=True)
        job.tries = 0
        job.busy = False
        job.step = Step.COLLECT
        self._collect.append(key)

    def collect_later(self, key: str, now: float) -> None:
        """The download did not work: a fresh link is asked for, later each time."""
        job = self._active[key]
        job.tries += 1
        self._set_due(job, Step.COLLECT, now + self.pace.seconds(backoff(job.tries)))

    def parked(self, key: str, *, lost: bool = False) -> None:
        """Nothing more can be done with it in this run; its slots stay taken, because the provider may be at work: to the end of the run,
        or, when it may never have been taken at all (``lost``), for ``LOST_HOLDS``.
        """
        job = self._active[key]
        job.busy = False
        job.step = None
        if lost:
            heapq.heappush(self._held, (job.since + LOST_HOLDS * self.durations[job.operation].quantile(0.9), key))

    def tries(self, key: str) -> int:
        """How often the present step of the job has failed in this run."""
        return self._active[key].tries

    def since(self, key: str) -> float:
        """Loop time when the provider took the job (or when this run found it)."""
        return self._active[key].since

    def gone(self, key: str, *, clean: bool = True) -> None:
        """The job ended, well or badly."""
        job = self._active.pop(key)
        self._give_slot_back(job, clean=clean)

    # -------------------------------------------------------------------------------------------------- answering

    def idle(self) -> bool:
        """Nothing is under way and nothing will become due."""
        if any(self._under_way.values()):
            return False
        if not self.asking:
            return True
        waiting = [job for job in self._active.values() if job.step is not None]
        if self.accepting:
            return not waiting
        return all(job.step is Step.SUBMIT for job in waiting)

    def stuck(self) -> bool:
        """Jobs wait for slots, and every slot is held by parked work that will not give it back in this run."""
        waiting = [job for job in self._active.values() if job.step is not None]
        if not waiting or self._held or any(job.holds_slot or job.step is not Step.SUBMIT for job in waiting):
            return False
        return math.isinf(self.limits.wait(0.0, min(job.weight for job in waiting)))

    def quiet(self) -> bool:
        """No step is under way at this moment."""
        return not any(self._under_way.values())

    def statistics(self) -> LaneStatistics:
        """Counts for the progress display and for tests. O(jobs in flight)."""
        counts = dict.fromkeys(Step, 0)
        parked = 0
        for job in self._active.values():
            if job.step is None:
                parked += 1
            else:
                counts[job.step] += 1
        return LaneStatistics(
            slots=self.limits.in_use,
            allowed=math.floor(self.limits.allowed),
            ready=len(self._ready),
            running=counts[Step.POLL],
            uncertain=counts[Step.RECONCILE] + parked,
            collecting=counts[Step.COLLECT],
        )

    # ---------------------------------------------------------------------------------------------------- within

    def _poll_later(self, job: Active, now: float) -> None:
        floor = self.pace.seconds(self.spacing[job.operation].within)
        wait = self.durations[job.operation].next_poll(now - job.since, floor, first_share=self.first_poll)
        if job.hurried:
            job.hurried, wait = False, floor
        self._set_due(job, Step.POLL, now + wait)

    def _set_due(self, job: Active, step: Step, due: float) -> None:
        job.busy = False
        job.step = step
        job.due = due
        self._push(job)

    def _push(self, job: Active) -> None:
        if job.step is not None:
            self._count += 1
            heapq.heappush(self._due[job.step], (job.due, self._count, job.key))

    def _give_slot_back(self, job: Active, *, clean: bool) -> None:
        if job.holds_slot:
            job.holds_slot = False
            self.limits.ended(job.weight, clean=clean)
