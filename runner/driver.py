"""The loop that drives one lane.

Asks the scheduler what to do, lets the steps do it, and goes on until nothing is left. Re-entrant: on entry every job that was being
submitted becomes uncertain, exactly as after a crash. It does not know which engine runs it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import anyio
import anyio.abc

from runner import events as ev
from runner.lane import Lane, LaneTools
from runner.model import State
from runner.scheduler import Active, Order, Step
from runner.seams import CallbackNotice, Tenure
from runner.steps.collecting import Collecting
from runner.steps.hearing import Hearing
from runner.steps.reconciling import Reconciling
from runner.steps.submitting import Submitting
from runner.steps.watching import Watching

ENDLESS = 3600.0


class LaneDriver:
    """Drives one lane until nothing is left to do, it is stopped, or its tenure is lost."""

    def __init__(self, tenure: Tenure, tools: LaneTools, *, stop: Callable[[], bool]) -> None:
        self.lane = Lane(tenure, tools)
        self.fatal: Exception | None = None
        """The ledger could not be written, or a bug showed: the run must end loudly, once every step under way has ended."""
        self._stop = stop
        self._wake = anyio.Event()
        self._taken_up = anyio.Event()
        self._watching = Watching(self.lane)
        self._hearing = Hearing(self.lane, self._watching)
        self._handlers: Mapping[Step, Callable[[Order], Awaitable[None]]] = {
            Step.SUBMIT: Submitting(self.lane, self._watching).submit,
            Step.POLL: self._watching.poll,
            Step.COLLECT: Collecting(self.lane).collect,
            Step.RECONCILE: Reconciling(self.lane, self._watching).reconcile,
        }

    @property
    def lost_ids(self) -> list[str]:
        """``job = remote id`` pairs that could not be recorded."""
        return self.lane.lost_ids

    async def drive(self) -> None:
        """Run the lane. Raises what went fatally wrong (``LedgerError``, a bug) once every step under way has ended."""
        try:
            await self._take_up()
            self._taken_up.set()
            async with anyio.create_task_group() as group:
                while not self._over():
                    self._start_due(group)
                    if self._over():
                        break
                    await self._wait()
        finally:
            self.lane.driving = False
            self._taken_up.set()
            self.lane.tools.feed.closed(self.lane.tenure.lane)
        if self.fatal:
            raise self.fatal

    def wake(self) -> None:
        """Something changed outside: look again."""
        self._wake.set()

    def _start_due(self, group: anyio.abc.TaskGroup) -> None:
        scheduler = self.lane.tools.scheduler
        while True:
            try:
                self._refill()
            except Exception as error:  # noqa: BLE001  # raised within the task group it would cut off paid steps under way
                self._fail(error)
            order = scheduler.next_order(anyio.current_time())
            if order is None:
                return
            group.start_soon(self._do, order)

    def _fail(self, error: Exception) -> None:
        self.fatal = self.fatal or error
        self.lane.tools.scheduler.accepting = self.lane.tools.scheduler.asking = False

    def _refill(self) -> None:
        if self._stop():
            self.lane.tools.scheduler.accepting = self.lane.tools.scheduler.asking = False
        scheduler = self.lane.tools.scheduler
        while scheduler.room() > 0:
            job = self.lane.tools.feed.next(self.lane.tenure.lane)
            if job is None:
                return
            scheduler.ready(job.key, job.operation, job.weight, front=job.urgent)

    async def _wait(self) -> None:
        delay = self.lane.tools.scheduler.delay(anyio.current_time())
        with anyio.move_on_after(min(delay, ENDLESS)):
            await self._wake.wait()
        self._wake = anyio.Event()

    def _over(self) -> bool:
        scheduler = self.lane.tools.scheduler
        if not scheduler.quiet():
            return False
        if self._stop() or self.lane.tenure.lost() or not scheduler.asking:
            return True
        if scheduler.stuck():
            scheduler.accepting = False  # waiting would never end: what holds the slots is for a later run, or for a person
        if not scheduler.idle():
            return False
        return not scheduler.accepting or self.lane.tools.feed.exhausted(self.lane.tenure.lane)

    async def _do(self, order: Order) -> None:
        try:
            await self._handlers[order.step](order)
        except Exception as error:  # noqa: BLE001  # steps under way hold paid work: they end first, then this is raised
            self._fail(error)
        finally:
            self.lane.tools.scheduler.finished(order)
            self.wake()

    async def _take_up(self) -> None:
        """Continue what an earlier driver left: it holds its slots before anything is submitted."""
        self.lane.began = now = anyio.current_time()
        wall = self.lane.tools.clock.now()
        jobs = list(self.lane.tools.ledger.open_jobs(self.lane.tenure.lane))
        crashed = [
            ev.SubmitUncertain(job=job.key, at=wall, message="the runner stopped before the answer came")
            for job in jobs
            if job.state is State.SUBMITTING
        ]
        if crashed:
            await self.lane.tools.ledger.append(self.lane.tenure, crashed)
        for job in jobs:
            age = max(0.0, wall - job.submitted_at)
            self.lane.hearsay.expect(job.submission_key, job.key)
            if job.state in {State.RUNNING, State.CANCELLING}:
                self._watching.resume(job.key, now, wall)
            active = Active(job.key, job.operation, self._weight(job.key), since=now - age)
            if job.state is State.UNCERTAIN:
                self.lane.tools.scheduler.resumed(active, Step.RECONCILE, due=now + max(0.0, self.lane.settle() - age))
            elif job.state is State.COLLECTING:
                self.lane.tools.scheduler.resumed(active, Step.COLLECT, due=now)
            else:
                self.lane.tools.scheduler.resumed(active, Step.POLL, due=now)

    def _weight(self, key: str) -> int:
        attempt = self.lane.tools.ledger.attempt(key)
        return self.lane.operation(key).slots(attempt.params if attempt else {})

    async def hear(self, submission_key: str, notice: CallbackNotice) -> None:
        """A provider called back about one attempt of this lane. Safe at any time, also after ``drive`` has ended.

        The caller has checked the address's token, which proves that the submission arrived: a lost one is adopted. What else the body
        says makes the provider be asked. Raises ``LedgerError``.
        """
        await self._taken_up.wait()
        key = self.lane.hearsay.job(submission_key)
        kind = "ended" if key is None else await self._hearing.heard(key, notice)
        self.lane.hearsay.counts[kind] += 1
        self.wake()
