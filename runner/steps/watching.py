"""Watching: what the provider says of work that it has, and what that means.

Polls and callbacks end here as the same thing, an observation. Never submits, never downloads.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import anyio

from runner import events as ev
from runner.errors import Halted, LedgerError, ProviderError, WireError
from runner.lane import MOST_TRIES, Deadline, Lane
from runner.model import Accepted, Observation, Phase
from runner.scheduler import Order

DEAF_SECONDS = 900.0
"""How long a lane may get no answer to any question before this run leaves it."""


class Watching:
    """See the module. ``phases`` holds the last phase seen of each job."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.phases: dict[str, Phase] = {}
        self._misses: dict[str, int] = defaultdict(int)
        self._losses: dict[str, int] = defaultdict(int)
        """How often a job was found by its key after its id was unknown."""
        self._working_since: dict[str, float] = {}
        self._deaf_since: float | None = None
        lane.forgetters.append(self._forget)

    def _forget(self, key: str) -> None:
        self.phases.pop(key, None)
        self._misses.pop(key, None)
        self._losses.pop(key, None)
        self._working_since.pop(key, None)

    def resume(self, key: str, now: float, wall: float) -> None:
        """A job that an earlier run may have seen at work: its deadline counts from then."""
        story = self.lane.tools.ledger.life(key)
        seen = next((e.at for e in story if isinstance(e, ev.Observed) and e.phase == Phase.RUNNING.value), None)
        if seen is not None:
            self._working_since[key] = now - max(0.0, wall - seen)

    async def poll(self, order: Order) -> None:
        """Ask about the order's jobs, all in one call where the API can."""
        tools = self.lane.tools
        ids = {key: tools.ledger.jobs[key].remote_id for key in order.jobs}
        operation = self.lane.operation(order.jobs[0])
        try:
            seen = await tools.worker.ask(lambda: operation.observe(sorted(set(ids.values()))))
        except Halted as error:
            await self.lane.halt(error)
            tools.scheduler.asking = False
            for key in order.jobs:
                tools.scheduler.ask_again(key, anyio.current_time())
            return
        except (ProviderError, WireError) as error:
            await self._unanswered(error)
            signed = {key: told for key in order.jobs if (told := self.lane.hearsay.vouched(key))}
            for key in order.jobs:
                if key not in signed:
                    tools.scheduler.ask_again(key, anyio.current_time())
            await self.observed(signed)
            return
        self._deaf_since = None
        missing = Phase.MISSING
        answers = {key: seen.get(id_, Observation(id_, missing)) for key, id_ in ids.items()}
        await self.observed({key: self.lane.hearsay.better(key, answer) for key, answer in answers.items()})

    async def _unanswered(self, error: ProviderError | WireError) -> None:
        """A question failed. After ``DEAF_SECONDS`` without any answer this run leaves the lane; what is at work is collected later."""
        now = anyio.current_time()
        self._deaf_since = now if self._deaf_since is None else self._deaf_since
        deaf = now - self._deaf_since
        if deaf >= self.lane.tools.pace.seconds(DEAF_SECONDS):
            message = f"no question was answered for {deaf:.0f} s: {error.message}"
            hint = "look at the provider's status page and your network, then run again: it resumes"
            await self.lane.halt(ProviderError(message, cause="server", hint=hint))
            self.lane.tools.scheduler.asking = False

    async def observed(self, seen: Mapping[str, Observation]) -> None:
        """Polls and callbacks end here as the same thing."""
        events: list[ev.Event] = []
        after: list[Callable[[], None]] = []
        for key, observation in seen.items():
            event, then = self.judge(key, observation)
            events += event
            after.append(then)
        durable = any(not isinstance(event, ev.Observed) for event in events)
        if durable:
            await self.lane.tools.ledger.append(self.lane.tenure, events)
        elif events:
            self.lane.tools.ledger.note(self.lane.tenure, events)
        for then in after:
            then()

    def judge(self, key: str, seen: Observation) -> tuple[Sequence[ev.Event], Callable[[], None]]:
        """What an observation means: events to write, and what the scheduler hears once they are written."""
        scheduler, now, wall = self.lane.tools.scheduler, anyio.current_time(), self.lane.wall()
        match seen.phase:
            case Phase.SUCCEEDED:
                self.lane.results[key] = seen
                done = ev.RemoteSucceeded(
                    job=key, at=wall, credits=seen.credits, outputs=len(seen.outputs), values=dict(seen.values)
                )
                return [done], lambda: scheduler.remote_done(key, now)
            case Phase.FAILED:
                failed = ev.RemoteFailed(
                    job=key, at=wall, message=seen.reason or "the provider gave no reason", cause=seen.cause, credits=seen.credits
                )
                return [failed], lambda: self.lane.end(key)
            case Phase.MISSING:
                return self._judge_missing(key)
            case _:
                return self._judge_running(key, seen)

    def _judge_missing(self, key: str) -> tuple[Sequence[ev.Event], Callable[[], None]]:
        scheduler, now = self.lane.tools.scheduler, anyio.current_time()
        self._misses[key] += 1
        if self._misses[key] < MOST_TRIES // 2 or now - scheduler.since(key) < self.lane.settle():
            return [], lambda: scheduler.ask_again(key, now)
        self._misses.pop(key)
        self._losses[key] += 1
        if self._losses[key] > 2:  # found by its key, unknown by its id, again and again
            return [], lambda: self.lane.park(key)
        lost = ev.RemoteLost(job=key, at=self.lane.wall(), message="the provider does not know this remote id (any more)")
        return [lost], lambda: scheduler.uncertain(key, now + self.lane.settle())

    def _judge_running(self, key: str, seen: Observation) -> tuple[Sequence[ev.Event], Callable[[], None]]:
        scheduler, now = self.lane.tools.scheduler, anyio.current_time()
        self._misses.pop(key, None)
        target = self.lane.tools.ledger.jobs[key].target
        events: list[ev.Event] = []
        if self.phases.get(key) is not seen.phase:
            self.phases[key] = seen.phase
            events.append(ev.Observed(job=key, at=self.lane.wall(), phase=seen.phase.value, word=seen.word))
        deadline = self.lane.tools.deadlines.get(target, Deadline())
        if seen.phase is Phase.QUEUED:
            allowed, elapsed = deadline.queue, now - scheduler.since(key)
        else:
            allowed, elapsed = deadline.work, now - self._working_since.setdefault(key, now)
        if elapsed > self.lane.tools.pace.seconds(allowed):
            events.append(ev.DeadlinePassed(job=key, at=self.lane.wall(), seconds=elapsed))
            return events, lambda: self.lane.park(key)
        return events, lambda: scheduler.still_running(key, now)

    async def accepted(self, key: str, accepted: Accepted, how: str) -> None:
        """The provider has it, under this remote id. Raises ``LedgerError`` when that cannot be written, keeping the id for the person."""
        events: list[ev.Event] = [
            ev.Accepted(job=key, at=self.lane.wall(), remote_id=accepted.remote_id, credits=accepted.credits, how=how)
        ]
        then: Callable[[], None] | None = None
        if accepted.observation is not None:
            seen, then = self.judge(key, accepted.observation)
            events += seen  # in one piece: while they go to disk nobody else may look at the job
        try:
            await self.lane.tools.ledger.append(self.lane.tenure, events)
        except LedgerError:
            self.lane.lost_ids.append(f"{key} = {accepted.remote_id}")
            raise
        self.lane.hearsay.settled(key, accepted.remote_id)
        self.lane.tools.scheduler.accepted(key, anyio.current_time())
        if then:
            then()

    async def adopted(self, key: str) -> None:
        """A callback named the remote id of a submission whose reply was lost: it is ours; ask about it at once."""
        await self.accepted(key, Accepted(self.lane.hearsay.remote_id(key) or ""), "callback")
        self.lane.hearsay.counts["adopted"] += 1
        self.lane.tools.scheduler.hurry(key, anyio.current_time())
