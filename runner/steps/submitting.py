"""Submitting: the one step that costs money.

Owns the order: prepare, reserve the budget, write the intent, let the paid request leave, write what came of it. An outcome that nobody knows
is written as uncertain and never tried again from here.
"""

from __future__ import annotations

import anyio

from runner import events as ev
from runner.errors import CallsheetError, Deferred, Halted, ProviderError, Refused, Uncertain
from runner.lane import MOST_TRIES, Lane, Prepared
from runner.model import State, Submission
from runner.scheduler import Order
from runner.seams import JobState
from runner.steps.watching import Watching

MOST_TROUBLES = 10
"""Passing faults in a row, over all submits of a lane, before this run leaves the lane: about six minutes."""


class _AlreadyThere(CallsheetError):
    """A callback proved, before the paid request left, that an earlier one of the same attempt had arrived."""


class Submitting:
    """See the module."""

    def __init__(self, lane: Lane, watching: Watching) -> None:
        self.lane = lane
        self._watching = watching

    async def submit(self, order: Order) -> None:
        """Submit the order's job, if it can be prepared and paid for."""
        key = order.jobs[0]
        tools = self.lane.tools
        job = tools.ledger.jobs[key]
        try:
            prepared = tools.feed.prepare(key)
        except CallsheetError as error:
            await self._refused(key, Refused(error.message, cause="bad_input", hint=error.hint))
            return
        if not tools.budget.reserve(key, self.lane.tenure.lane, job.credits):
            tools.scheduler.returned(key)
            tools.scheduler.accepting = False
            return
        attempt_key = tools.ledger.submission_key(job)
        callbacks = tools.callbacks
        submission = Submission(
            key=attempt_key,
            params=prepared.params,
            media=prepared.media,
            callback_url=callbacks.url(self.lane.tenure.lane, attempt_key) if callbacks else None,
            started_at=tools.clock.now(),
        )
        self.lane.hearsay.expect(attempt_key, key)

        async def intent() -> None:
            event = self._started(job, submission, prepared)
            try:
                tools.ledger.note(self.lane.tenure, [event])
            finally:
                tools.budget.settle(key)
            await tools.ledger.append(self.lane.tenure, [])
            if self.lane.hearsay.remote_id(key):
                raise _AlreadyThere("a callback named it")

        try:
            accepted = await tools.worker.submit(self.lane.operation(key), submission, intent)
        except _AlreadyThere:
            await self._watching.adopted(key)
        except ProviderError as error:
            await self._not_accepted(key, error)
        else:
            await self._watching.accepted(key, accepted, "reply")
        finally:
            tools.budget.settle(key)

    def _started(self, job: JobState, submission: Submission, prepared: Prepared) -> ev.SubmitStarted:
        """The attempt, frozen: what a later run resumes with, whatever the manifest says then."""
        callbacks = self.lane.tools.callbacks
        return ev.SubmitStarted(
            job=job.key,
            at=self.lane.wall(),
            attempt=job.attempt,
            key=submission.key,
            params=frozen_params(prepared),
            media={name: asset.sha256 for name, asset in prepared.media.items()},
            upstream=dict(prepared.upstream),
            account=self.lane.tenure.lane,
            operation=job.operation,
            callback=callbacks.base if callbacks else "",
        )

    async def _not_accepted(self, key: str, error: ProviderError) -> None:
        now = anyio.current_time()
        scheduler = self.lane.tools.scheduler
        if self.lane.hearsay.remote_id(key) and self.lane.tools.ledger.jobs[key].state is State.SUBMITTING:
            await self._watching.adopted(key)  # whatever the reply said, or did not: the provider has it
            if isinstance(error, Halted):
                await self.lane.halt(error)
            return
        match error:
            case Uncertain():
                await self.lane.append(ev.SubmitUncertain(job=key, at=self.lane.wall(), message=error.message))
                scheduler.uncertain(key, now + self.lane.settle())
            case Refused():
                await self._refused(key, error)
            case Halted():
                await self._deferred(key, error)
                scheduler.returned(key)
                await self.lane.halt(error)
            case Deferred():
                await self._deferred(key, error)
                scheduler.turned_away(key, now, concurrency=error.cause == "concurrency", retry_after=self._retry_after(error))
            case _:
                await self._transient(key, error)

    def _retry_after(self, error: ProviderError) -> float | None:
        return None if error.retry_after is None else self.lane.tools.pace.seconds(error.retry_after)

    async def _deferred(self, key: str, error: ProviderError) -> None:
        if self.lane.tools.ledger.jobs[key].state is State.SUBMITTING:
            await self.lane.append(
                ev.SubmitDeferred(job=key, at=self.lane.wall(), code=error.code, message=error.message, cause=error.cause)
            )

    async def _transient(self, key: str, error: ProviderError) -> None:
        """A passing fault: the lane waits, longer each time. A job that fails while others are taken is left to the next run after
        ``MOST_TRIES``; when nothing is taken at all, the lane gives up after ``MOST_TROUBLES`` waits and its jobs stay ready.
        """
        await self._deferred(key, error)
        scheduler = self.lane.tools.scheduler
        troubles = scheduler.troubled(key, anyio.current_time())
        if troubles >= MOST_TROUBLES:
            message = f"nothing could be submitted, {troubles} times in a row: {error.message}"
            hint = "look at the provider's status page and your network, then run again: it resumes"
            await self.lane.halt(ProviderError(message, code=error.code, cause=error.cause or "server", hint=hint))
        elif scheduler.tries(key) >= MOST_TRIES and troubles < scheduler.tries(key):
            scheduler.gone(key, clean=False)
            self.lane.tools.feed.ended(key)

    async def _refused(self, key: str, error: ProviderError) -> None:
        await self.lane.append(
            ev.SubmitRefused(
                job=key, at=self.lane.wall(), code=error.code, message=error.message, cause=error.cause, hint=error.hint
            )
        )
        self.lane.end(key, clean=False)


def frozen_params(prepared: Prepared) -> dict[str, object]:
    """The parameters as the ledger keeps them: local files stand as their path's name, their digest stands beside."""
    return {**prepared.params, **{name: asset.path.name for name, asset in prepared.media.items()}}
