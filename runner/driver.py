"""The loop that drives one lane.

Owns the order "write, then act, then write": it asks the scheduler what to do, lets the worker do it, and turns what came of it into
ledger events. Re-entrant: on entry every job that was being submitted becomes uncertain, exactly as after a crash. It does not know
which engine runs it. It never submits a job whose intent is not on disk, and never submits an uncertain job.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from typing import Protocol

import anyio
import anyio.abc

from runner import events as ev
from runner.artifacts import ArtifactStore
from runner.budget import Budget
from runner.callbacks import ENDINGS, Callbacks, Hearsay, patience
from runner.clock import Clock
from runner.errors import (
    ArtifactError,
    CallsheetError,
    Deferred,
    DownloadFailed,
    Halted,
    LedgerError,
    ProviderError,
    Refused,
    Uncertain,
    VerificationFailed,
    WireError,
)
from runner.ledger import Ledger
from runner.limits import Pace
from runner.model import JSON, Accepted, Asset, Observation, Phase, State, StoredArtifact, Submission
from runner.scheduler import Active, LaneScheduler, Order, Step
from runner.seams import CallbackNotice, Expected, Operation, Tenure, Wire
from runner.worker import Worker

MOST_TRIES = 6
"""Failures in a row of one step of one job before this run leaves it."""
MOST_TROUBLES = 10
"""Passing faults in a row, over all submits of a lane, before this run leaves the lane: about six minutes."""
DEAF_SECONDS = 900.0
"""How long a lane may get no answer to any question before this run leaves it."""
ENDLESS = 3600.0


class _AlreadyThere(CallsheetError):
    """A callback proved, before the paid request left, that an earlier one of the same attempt had arrived."""


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

    ledger: Ledger
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
    settle_seconds: float = 20.0
    """How long after a lost submission the provider's "I do not have it" is believed."""
    callbacks: Callbacks | None = None
    """Where providers may call back; None: nobody listens."""


class LaneDriver:
    """Drives one lane until nothing is left to do, it is stopped, or its tenure is lost."""

    def __init__(self, tenure: Tenure, tools: LaneTools, *, stop: Callable[[], bool]) -> None:
        self.tenure = tenure
        self.tools = tools
        self.fatal: Exception | None = None
        """The ledger could not be written, or a bug showed: the run must end loudly, once every step under way has ended."""
        self.lost_ids: list[str] = []
        """``job = remote id`` pairs that could not be recorded."""
        self._stop = stop
        self._wake = anyio.Event()
        self._results: dict[str, Observation] = {}
        self._misses: dict[str, int] = defaultdict(int)
        self._losses: dict[str, int] = defaultdict(int)
        self._phases: dict[str, Phase] = {}
        self._working_since: dict[str, float] = {}
        self._rejected: dict[str, str] = {}
        self.hearsay = Hearsay()
        self._parked: set[str] = set()
        self._taken_up = anyio.Event()
        self._began = 0.0
        self._deaf_since: float | None = None
        self._driving = True
        self._handlers: Mapping[Step, Callable[[Order], Awaitable[None]]] = {
            Step.SUBMIT: self._submit,
            Step.POLL: self._poll,
            Step.COLLECT: self._collect,
            Step.RECONCILE: self._reconcile,
        }

    # ------------------------------------------------------------------------------------------------- the loop

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
            self._driving = False
            self._taken_up.set()
            self.tools.feed.closed(self.tenure.lane)
        if self.fatal:
            raise self.fatal

    def wake(self) -> None:
        """Something changed outside: look again."""
        self._wake.set()

    def _start_due(self, group: anyio.abc.TaskGroup) -> None:
        scheduler = self.tools.scheduler
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
        self.tools.scheduler.accepting = self.tools.scheduler.asking = False

    def _refill(self) -> None:
        if self._stop():
            self.tools.scheduler.accepting = self.tools.scheduler.asking = False
        scheduler = self.tools.scheduler
        while scheduler.room() > 0:
            job = self.tools.feed.next(self.tenure.lane)
            if job is None:
                return
            scheduler.ready(job.key, job.operation, job.weight, front=job.urgent)

    async def _wait(self) -> None:
        delay = self.tools.scheduler.delay(anyio.current_time())
        with anyio.move_on_after(min(delay, ENDLESS)):
            await self._wake.wait()
        self._wake = anyio.Event()

    def _over(self) -> bool:
        scheduler = self.tools.scheduler
        if not scheduler.quiet():
            return False
        if self._stop() or self.tenure.lost() or not scheduler.asking:
            return True
        if scheduler.stuck():
            scheduler.accepting = False  # waiting would never end: what holds the slots is for a later run, or for a person
        if not scheduler.idle():
            return False
        return not scheduler.accepting or self.tools.feed.exhausted(self.tenure.lane)

    async def _do(self, order: Order) -> None:
        try:
            await self._handlers[order.step](order)
        except Exception as error:  # noqa: BLE001  # steps under way hold paid work: they end first, then this is raised
            self._fail(error)
        finally:
            self.tools.scheduler.finished(order)
            self.wake()

    # --------------------------------------------------------------------------------------- taking up old work

    async def _take_up(self) -> None:
        """Continue what an earlier driver left: it holds its slots before anything is submitted."""
        self._began = now = anyio.current_time()
        wall = self.tools.clock.now()
        jobs = list(self.tools.ledger.open_jobs(self.tenure.lane))
        crashed = [
            ev.SubmitUncertain(job=job.key, at=wall, message="the runner stopped before the answer came")
            for job in jobs
            if job.state is State.SUBMITTING
        ]
        if crashed:
            await self.tools.ledger.append(self.tenure, crashed)
        for job in jobs:
            age = max(0.0, wall - job.submitted_at)
            self.hearsay.expect(job.submission_key, job.key)
            if job.state in {State.RUNNING, State.CANCELLING} and (seen := self._seen_at_work(job.key)):
                self._working_since[job.key] = now - max(0.0, wall - seen)
            active = Active(job.key, job.operation, self._weight(job.key), since=now - age)
            if job.state is State.UNCERTAIN:
                self.tools.scheduler.resumed(active, Step.RECONCILE, due=now + max(0.0, self._settle() - age))
            elif job.state is State.COLLECTING:
                self.tools.scheduler.resumed(active, Step.COLLECT, due=now)
            else:
                self.tools.scheduler.resumed(active, Step.POLL, due=now)

    def _seen_at_work(self, key: str) -> float | None:
        """When an earlier run first saw the provider at work on the job (Unix seconds)."""
        story = self.tools.ledger.life(key)
        return next((e.at for e in story if isinstance(e, ev.Observed) and e.phase == Phase.RUNNING.value), None)

    def _weight(self, key: str) -> int:
        attempt = self.tools.ledger.attempt(key)
        return self._operation(key).slots(attempt.params if attempt else {})

    def _settle(self) -> float:
        return max(1.0, self.tools.pace.seconds(self.tools.settle_seconds))

    def _operation(self, key: str) -> Operation:
        name = self.tools.ledger.jobs[key].operation
        return self.tools.worker.provider.operations[name.partition("/")[2]]

    # -------------------------------------------------------------------------------------------------- submit

    async def _submit(self, order: Order) -> None:
        key = order.jobs[0]
        tools = self.tools
        job = tools.ledger.jobs[key]
        try:
            prepared = tools.feed.prepare(key)
        except CallsheetError as error:
            await self._refused(key, Refused(error.message, cause="bad_input", hint=error.hint))
            return
        if not tools.budget.reserve(key, self.tenure.lane, job.credits):
            tools.scheduler.returned(key)
            tools.scheduler.accepting = False
            return
        attempt_key = tools.ledger.submission_key(job)
        callbacks = tools.callbacks
        submission = Submission(
            key=attempt_key,
            params=prepared.params,
            media=prepared.media,
            callback_url=callbacks.url(self.tenure.lane, attempt_key) if callbacks else None,
            started_at=tools.clock.now(),
        )
        self.hearsay.expect(attempt_key, key)

        async def intent() -> None:
            event = ev.SubmitStarted(
                job=key,
                at=tools.clock.now(),
                attempt=job.attempt,
                key=submission.key,
                params=frozen_params(prepared),
                media={name: asset.sha256 for name, asset in prepared.media.items()},
                upstream=dict(prepared.upstream),
                account=self.tenure.lane,
                operation=job.operation,
                callback=callbacks.base if callbacks else "",
            )
            try:
                tools.ledger.note(self.tenure, [event])
            finally:
                tools.budget.settle(key)
            await tools.ledger.append(self.tenure, [])
            if self.hearsay.remote_id(key):
                raise _AlreadyThere("a callback named it")

        try:
            accepted = await tools.worker.submit(self._operation(key), submission, intent)
        except _AlreadyThere:
            await self._adopted(key)
        except ProviderError as error:
            await self._not_accepted(key, error)
        else:
            await self._accepted(key, accepted, "reply")
        finally:
            tools.budget.settle(key)

    async def _accepted(self, key: str, accepted: Accepted, how: str) -> None:
        events: list[ev.Event] = [
            ev.Accepted(job=key, at=self._wall(), remote_id=accepted.remote_id, credits=accepted.credits, how=how)
        ]
        then: Callable[[], None] | None = None
        if accepted.observation is not None:
            seen, then = self._judge(key, accepted.observation)
            events += seen  # in one piece: while they go to disk nobody else may look at the job
        try:
            await self.tools.ledger.append(self.tenure, events)
        except LedgerError:
            self.lost_ids.append(f"{key} = {accepted.remote_id}")
            raise
        self.hearsay.settled(key, accepted.remote_id)
        self.tools.scheduler.accepted(key, anyio.current_time())
        if then:
            then()

    async def _adopted(self, key: str) -> None:
        """A callback named the remote id of a submission whose reply was lost: it is ours; ask about it at once."""
        await self._accepted(key, Accepted(self.hearsay.remote_id(key) or ""), "callback")
        self.hearsay.counts["adopted"] += 1
        self.tools.scheduler.hurry(key, anyio.current_time())

    async def _not_accepted(self, key: str, error: ProviderError) -> None:
        now = anyio.current_time()
        scheduler = self.tools.scheduler
        if self.hearsay.remote_id(key) and self.tools.ledger.jobs[key].state is State.SUBMITTING:
            await self._adopted(key)  # whatever the reply said, or did not: the provider has it
            if isinstance(error, Halted):
                await self._halt(error)
            return
        match error:
            case Uncertain():
                await self._append(ev.SubmitUncertain(job=key, at=self._wall(), message=error.message))
                scheduler.uncertain(key, now + self._settle())
            case Refused():
                await self._refused(key, error)
            case Halted():
                await self._deferred(key, error)
                scheduler.returned(key)
                await self._halt(error)
            case Deferred():
                await self._deferred(key, error)
                scheduler.turned_away(key, now, concurrency=error.cause == "concurrency", retry_after=self._retry_after(error))
            case _:
                await self._transient(key, error)

    def _retry_after(self, error: ProviderError) -> float | None:
        return None if error.retry_after is None else self.tools.pace.seconds(error.retry_after)

    async def _deferred(self, key: str, error: ProviderError) -> None:
        if self.tools.ledger.jobs[key].state is State.SUBMITTING:
            await self._append(
                ev.SubmitDeferred(job=key, at=self._wall(), code=error.code, message=error.message, cause=error.cause)
            )

    async def _transient(self, key: str, error: ProviderError) -> None:
        """A passing fault: the lane waits, longer each time. A job that fails while others are taken is left to the next run after
        ``MOST_TRIES``; when nothing is taken at all, the lane gives up after ``MOST_TROUBLES`` waits and its jobs stay ready.
        """
        await self._deferred(key, error)
        scheduler = self.tools.scheduler
        troubles = scheduler.troubled(key, anyio.current_time())
        if troubles >= MOST_TROUBLES:
            message = f"nothing could be submitted, {troubles} times in a row: {error.message}"
            hint = "look at the provider's status page and your network, then run again: it resumes"
            await self._halt(ProviderError(message, code=error.code, cause=error.cause or "server", hint=hint))
        elif scheduler.tries(key) >= MOST_TRIES and troubles < scheduler.tries(key):
            scheduler.gone(key, clean=False)
            self.tools.feed.ended(key)

    async def _refused(self, key: str, error: ProviderError) -> None:
        await self._append(
            ev.SubmitRefused(job=key, at=self._wall(), code=error.code, message=error.message, cause=error.cause, hint=error.hint)
        )
        self._end(key, clean=False)

    async def _halt(self, error: ProviderError) -> None:
        """The account is stopped: nothing more is submitted, jobs stay ready, other lanes go on."""
        lane = self.tenure.lane
        self.tools.scheduler.accepting = False
        if lane in self.tools.ledger.halted:
            return
        await self.tools.ledger.record(
            ev.LaneHalted(
                job="", at=self._wall(), lane=lane, code=error.code, message=error.message, cause=error.cause, hint=error.hint
            )
        )

    # ---------------------------------------------------------------------------------------------------- poll

    async def _poll(self, order: Order) -> None:
        tools = self.tools
        ids = {key: tools.ledger.jobs[key].remote_id for key in order.jobs}
        operation = self._operation(order.jobs[0])
        try:
            seen = await tools.worker.ask(lambda: operation.observe(sorted(set(ids.values()))))
        except Halted as error:
            await self._halt(error)
            tools.scheduler.asking = False
            for key in order.jobs:
                tools.scheduler.ask_again(key, anyio.current_time())
            return
        except (ProviderError, WireError) as error:
            await self._unanswered(error)
            signed = {key: told for key in order.jobs if (told := self.hearsay.vouched(key))}
            for key in order.jobs:
                if key not in signed:
                    tools.scheduler.ask_again(key, anyio.current_time())
            await self._observed(signed)
            return
        self._deaf_since = None
        missing = Phase.MISSING
        answers = {key: seen.get(id_, Observation(id_, missing)) for key, id_ in ids.items()}
        await self._observed({key: self.hearsay.better(key, answer) for key, answer in answers.items()})

    async def _unanswered(self, error: ProviderError | WireError) -> None:
        """A question failed. After ``DEAF_SECONDS`` without any answer this run leaves the lane; what is at work is collected later."""
        now = anyio.current_time()
        self._deaf_since = now if self._deaf_since is None else self._deaf_since
        deaf = now - self._deaf_since
        if deaf >= self.tools.pace.seconds(DEAF_SECONDS):
            message = f"no question was answered for {deaf:.0f} s: {error.message}"
            hint = "look at the provider's status page and your network, then run again: it resumes"
            await self._halt(ProviderError(message, cause="server", hint=hint))
            self.tools.scheduler.asking = False

    async def _observed(self, seen: Mapping[str, Observation]) -> None:
        """Polls and callbacks end here as the same thing."""
        events: list[ev.Event] = []
        after: list[Callable[[], None]] = []
        for key, observation in seen.items():
            event, then = self._judge(key, observation)
            events += event
            after.append(then)
        durable = any(not isinstance(event, ev.Observed) for event in events)
        if durable:
            await self.tools.ledger.append(self.tenure, events)
        elif events:
            self.tools.ledger.note(self.tenure, events)
        for then in after:
            then()

    def _judge(self, key: str, seen: Observation) -> tuple[Sequence[ev.Event], Callable[[], None]]:
        """What an observation means: events to write, and what the scheduler hears once they are written."""
        scheduler, now, wall = self.tools.scheduler, anyio.current_time(), self._wall()
        match seen.phase:
            case Phase.SUCCEEDED:
                self._results[key] = seen
                done = ev.RemoteSucceeded(
                    job=key, at=wall, credits=seen.credits, outputs=len(seen.outputs), values=dict(seen.values)
                )
                return [done], lambda: scheduler.remote_done(key, now)
            case Phase.FAILED:
                failed = ev.RemoteFailed(
                    job=key, at=wall, message=seen.reason or "the provider gave no reason", cause=seen.cause, credits=seen.credits
                )
                return [failed], lambda: self._end(key)
            case Phase.MISSING:
                return self._judge_missing(key)
            case _:
                return self._judge_running(key, seen)

    def _judge_missing(self, key: str) -> tuple[Sequence[ev.Event], Callable[[], None]]:
        scheduler, now = self.tools.scheduler, anyio.current_time()
        self._misses[key] += 1
        if self._misses[key] < MOST_TRIES // 2 or now - scheduler.since(key) < self._settle():
            return [], lambda: scheduler.ask_again(key, now)
        self._misses.pop(key)
        self._losses[key] += 1
        if self._losses[key] > 2:  # found by its key, unknown by its id, again and again
            return [], lambda: self._park(key)
        lost = ev.RemoteLost(job=key, at=self._wall(), message="the provider does not know this remote id (any more)")
        return [lost], lambda: scheduler.uncertain(key, now + self._settle())

    def _judge_running(self, key: str, seen: Observation) -> tuple[Sequence[ev.Event], Callable[[], None]]:
        scheduler, now = self.tools.scheduler, anyio.current_time()
        self._misses.pop(key, None)
        target = self.tools.ledger.jobs[key].target
        events: list[ev.Event] = []
        if self._phases.get(key) is not seen.phase:
            self._phases[key] = seen.phase
            events.append(ev.Observed(job=key, at=self._wall(), phase=seen.phase.value, word=seen.word))
        deadline = self.tools.deadlines.get(target, Deadline())
        if seen.phase is Phase.QUEUED:
            allowed, elapsed = deadline.queue, now - scheduler.since(key)
        else:
            allowed, elapsed = deadline.work, now - self._working_since.setdefault(key, now)
        if elapsed > self.tools.pace.seconds(allowed):
            events.append(ev.DeadlinePassed(job=key, at=self._wall(), seconds=elapsed))
            return events, lambda: self._park(key)
        return events, lambda: scheduler.still_running(key, now)

    # ------------------------------------------------------------------------------------------------- collect

    async def _collect(self, order: Order) -> None:
        key = order.jobs[0]
        try:
            seen = self._results.pop(key, None) or await self._fresh(key)
            await self._store_all(key, seen)
        except VerificationFailed as error:
            await self._collect_rejected(key, error)
        except Halted as error:
            await self._halt(error)
            self._park(key)
        except (ArtifactError, ProviderError, WireError) as error:
            await self._collect_deferred(key, error)
        else:
            await self._append(ev.AllStored(job=key, at=self._wall()))
            self._end(key)

    async def _fresh(self, key: str) -> Observation:
        """Ask again for result links. Raises ``DownloadFailed`` while there are none."""
        remote_id = self.tools.ledger.jobs[key].remote_id
        operation = self._operation(key)
        seen = (await self.tools.worker.ask(lambda: operation.observe([remote_id]))).get(remote_id)
        if seen is None or seen.phase is not Phase.SUCCEEDED:
            shown = seen.phase.value if seen else "missing"
            raise DownloadFailed(f"the provider offers no result now (it says: {shown})", hint="the next run asks again")
        return seen

    async def _store_all(self, key: str, seen: Observation) -> None:
        tools = self.tools
        if not seen.outputs and self._operation(key).facts.outputs:
            raise DownloadFailed("the provider calls it done but offers no result", hint="the next run asks again")
        planned = tools.ledger.planned(key)
        attempt = tools.ledger.attempt(key)
        done = tools.ledger.result(key).artifacts
        expected = self._expected(key, attempt)
        paths = _free_paths(planned.path, done.values())
        for output in seen.outputs:
            if output.name in done:
                continue
            partial = tools.artifacts.partial(key, output.name)
            fetched = await tools.wire.fetch(output.url, partial, max_bytes=tools.max_artifact_bytes)
            stored = await tools.artifacts.store(
                fetched,
                output=output,
                expected=expected,
                path=next(paths),
                provenance=self._provenance(key, planned, attempt),
            )
            info = stored.info
            await self._append(
                ev.ArtifactStored(
                    job=key,
                    at=self._wall(),
                    name=stored.name,
                    path=stored.path,
                    sha256=stored.sha256,
                    kind=info.kind.value,
                    format=info.format,
                    bytes=info.bytes,
                    width=info.width,
                    height=info.height,
                    seconds=info.seconds,
                    codec=info.codec,
                )
            )

    def _expected(self, key: str, attempt: ev.SubmitStarted | None) -> Expected:
        params: Mapping[str, JSON] = attempt.params if attempt else {}
        return self._operation(key).expected(params, None)

    def _provenance(self, key: str, planned: ev.Planned, attempt: ev.SubmitStarted | None) -> Mapping[str, JSON]:
        job = self.tools.ledger.jobs[key]
        return {
            **self.tools.provenance,
            "job": key,
            "target": planned.target,
            "product": planned.product,
            "title": planned.title,
            "cell": dict(planned.cell),
            "operation": planned.operation,
            "account": job.lane,
            "parameters": dict(attempt.params) if attempt else {},
            "media": dict(attempt.media) if attempt else {},
            "fingerprint": planned.fingerprint,
            "attempt": job.attempt,
            "submission_key": job.submission_key,
            "remote_id": job.remote_id,
            "credits": job.credits if job.priced else None,
            "credits_estimated": planned.credits,
            "submitted_at": attempt.at if attempt else None,
            "collected_at": self._wall(),
        }

    async def _collect_deferred(self, key: str, error: CallsheetError) -> None:
        self.tools.ledger.note(self.tenure, [ev.CollectDeferred(job=key, at=self._wall(), message=error.message)])
        if self.tools.scheduler.tries(key) + 1 >= MOST_TRIES:
            self._park(key)
        else:
            self.tools.scheduler.collect_later(key, anyio.current_time())

    async def _collect_rejected(self, key: str, error: VerificationFailed) -> None:
        """A wrong file may be a torn transfer: it is believed only when it comes twice."""
        if self._rejected.get(key) != error.got:
            self._rejected[key] = error.got
            await self._collect_deferred(key, error)
            return
        await self._append(
            ev.ArtifactRejected(job=key, at=self._wall(), message=error.message, expected=error.expected, got=error.got)
        )
        self._end(key)

    # ----------------------------------------------------------------------------------------------- reconcile

    async def _reconcile(self, order: Order) -> None:
        key = order.jobs[0]
        tools = self.tools
        operation = self._operation(key)
        submission = self._frozen(key)
        try:
            found = await tools.worker.ask(lambda: operation.find(submission))
        except (ProviderError, WireError) as error:
            await self._not_found_out(key, error)
            return
        if found is not None:
            await self._accepted(key, found, "reconcile")
            return
        if self.hearsay.remote_id(key):
            await self._adopted(key)
            return
        if tools.ledger.damaged_here(key) or tools.ledger.jobs[key].remote_id:
            # The ledger lost lines of this job, or the provider took it (and its price) and knows nothing of it now: that it is not
            # there does not prove that it was not paid for. A person decides.
            self._park(key)
            return
        await self._append(ev.NotFoundRemotely(job=key, at=self._wall()))
        tools.scheduler.gone(key, clean=False)
        again = tools.feed.reopen(key)
        if again is not None:
            tools.scheduler.ready(again.key, again.operation, again.weight, front=True)

    async def _not_found_out(self, key: str, error: ProviderError | WireError) -> None:
        scheduler, now = self.tools.scheduler, anyio.current_time()
        if isinstance(error, Halted):
            await self._halt(error)
        if self.hearsay.remote_id(key):
            await self._adopted(key)
        elif isinstance(error, Uncertain) and (until := self._patience(key)) > now:
            scheduler.uncertain(key, until)  # only a callback can tell
        elif isinstance(error, Uncertain | Halted) or scheduler.tries(key) + 1 >= MOST_TRIES:
            self._park(key)  # the provider cannot tell: a person decides
        else:
            scheduler.ask_again(key, now)

    def _patience(self, key: str) -> float:
        """Until when (loop time) a callback is waited for. A run that finds the job lost waits a little too: callbacks are repeated."""
        attempt, callbacks, pace = self.tools.ledger.attempt(key), self.tools.callbacks, self.tools.pace
        if attempt is None or callbacks is None or attempt.callback != callbacks.base:
            return 0.0
        whole = patience(self._operation(key).facts.typical_seconds)
        return max(self.tools.scheduler.since(key) + pace.seconds(whole), self._began + pace.seconds(patience(0.0)))

    # ------------------------------------------------------------------------------------------------ callbacks

    async def hear(self, submission_key: str, notice: CallbackNotice) -> None:
        """A provider called back about one attempt of this lane. Safe at any time, also after ``drive`` has ended.

        The caller has checked the address's token, which proves that the submission arrived: a lost one is adopted. What else the body
        says makes the provider be asked. Raises ``LedgerError``.
        """
        await self._taken_up.wait()
        key = self.hearsay.job(submission_key)
        kind = "ended" if key is None else await self._heard(key, notice)
        self.hearsay.counts[kind] += 1
        self.wake()

    async def _heard(self, key: str, notice: CallbackNotice) -> str:
        job = self.tools.ledger.jobs[key]
        match job.state:
            case State.READY | State.SUBMITTING | State.UNCERTAIN:
                return await self._heard_before_accepted(key, notice)
            case State.RUNNING | State.CANCELLING:
                if notice.remote_id not in {"", job.remote_id}:
                    if key not in self._phases and not self._taken(key, notice.remote_id):
                        self.hearsay.remember(key, notice.remote_id)  # in case the provider does not know the one that we have
                    return "mismatch"
                return self._heard_of_running(key, notice)
            case _:
                return "ended"

    async def _heard_before_accepted(self, key: str, notice: CallbackNotice) -> str:
        job, scheduler = self.tools.ledger.jobs[key], self.tools.scheduler
        if not notice.remote_id:
            return "unread"
        if self._taken(key, notice.remote_id):
            return "mismatch"
        self.hearsay.remember(key, notice.remote_id)
        self._vouch(key, notice)
        if job.state is State.UNCERTAIN and scheduler.hold(key):
            self._revive(key)
            await self._adopted(key)
            return "lost"
        scheduler.hurry(key, anyio.current_time())
        return "early"

    def _heard_of_running(self, key: str, notice: CallbackNotice) -> str:
        phase = notice.observation.phase if notice.observation else Phase.UNKNOWN
        if phase is Phase.QUEUED or (phase is Phase.RUNNING and self._phases.get(key) is phase):
            return "progress"
        self._vouch(key, notice)
        self._revive(key)
        self.tools.scheduler.hurry(key, anyio.current_time())
        return "hint"

    def _vouch(self, key: str, notice: CallbackNotice) -> None:
        seen = notice.observation
        if notice.authenticated and seen is not None and seen.phase in ENDINGS:
            self.hearsay.vouch(key, seen)

    def _revive(self, key: str) -> None:
        """This run had given the job up; now there is something to do again."""
        if key in self._parked and self._driving:
            self._parked.discard(key)
            self.tools.feed.resumed(key)

    def _taken(self, key: str, remote_id: str) -> bool:
        """Whether another job has this remote id. (A Creatify record belongs to one picture and one video: two operations.)"""
        operation = self.tools.ledger.jobs[key].operation
        jobs = self.tools.ledger.jobs.values()
        return any(job.remote_id == remote_id and job.operation == operation and job.key != key for job in jobs)

    def _frozen(self, key: str) -> Submission:
        """The submission as it left, whatever the manifest says now."""
        attempt = self.tools.ledger.attempt(key)
        if attempt is None:
            raise LedgerError(f"{key} is uncertain but was never submitted", hint="this is a bug: please report the story")
        params: Mapping[str, JSON] = attempt.params
        return Submission(key=attempt.key, params=params, started_at=attempt.at)

    # -------------------------------------------------------------------------------------------------- within

    async def _append(self, event: ev.Event) -> None:
        await self.tools.ledger.append(self.tenure, [event])

    def _end(self, key: str, *, clean: bool = True) -> None:
        """The job ended; ``clean`` when the provider did its work, which lets a limit that was cut grow again."""
        for memory in (self._results, self._misses, self._losses, self._phases, self._rejected, self._working_since):
            memory.pop(key, None)
        self.hearsay.forget(key, self.tools.ledger.jobs[key].submission_key)
        self.tools.scheduler.gone(key, clean=clean)
        self.tools.feed.ended(key)

    def _park(self, key: str) -> None:
        self._parked.add(key)
        self.tools.scheduler.parked(key, lost=self.tools.ledger.jobs[key].state is State.UNCERTAIN)
        self.tools.feed.ended(key)

    def _wall(self) -> float:
        return self.tools.clock.now()


def _free_paths(path: str, stored: Collection[StoredArtifact]) -> Iterator[str]:
    """``path``, ``path-2``, ``path-3`` ... without those that results stored earlier have, whatever order they come in today."""
    taken = {artifact.path.rpartition(".")[0] for artifact in stored}
    names = chain([path], (f"{path}-{number}" for number in count(2)))
    return (name for name in names if name not in taken)


def frozen_params(prepared: Prepared) -> dict[str, object]:
    """The parameters as the ledger keeps them: local files stand as their path's name, their digest stands beside."""
    return {**prepared.params, **{name: asset.path.name for name, asset in prepared.media.items()}}
