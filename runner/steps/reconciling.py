"""Reconciling: did a submission of which nobody knows arrive? The provider is asked, with its own handle.

What no provider can tell is left to a callback, or to a person. Never submits.
"""

from __future__ import annotations

from collections.abc import Mapping

import anyio

from runner import events as ev
from runner.callbacks import patience
from runner.errors import Halted, LedgerError, ProviderError, Uncertain, WireError
from runner.lane import MOST_TRIES, Lane
from runner.model import JSON, Submission
from runner.scheduler import Order
from runner.steps.watching import Watching


class Reconciling:
    """See the module."""

    def __init__(self, lane: Lane, watching: Watching) -> None:
        self.lane = lane
        self._watching = watching

    async def reconcile(self, order: Order) -> None:
        """Look for the order's job at its provider."""
        key = order.jobs[0]
        tools = self.lane.tools
        operation = self.lane.operation(key)
        submission = self._frozen(key)
        try:
            found = await tools.worker.ask(lambda: operation.find(submission))
        except (ProviderError, WireError) as error:
            await self._not_found_out(key, error)
            return
        if found is not None:
            await self._watching.accepted(key, found, "reconcile")
            return
        if self.lane.hearsay.remote_id(key):
            await self._watching.adopted(key)
            return
        if tools.ledger.damaged_here(key) or tools.ledger.jobs[key].remote_id:
            # The ledger lost lines of this job, or the provider took it (and its price) and knows nothing of it now: that it is not
            # there does not prove that it was not paid for. A person decides.
            self.lane.park(key)
            return
        await self.lane.append(ev.NotFoundRemotely(job=key, at=self.lane.wall()))
        tools.scheduler.gone(key, clean=False)
        again = tools.feed.reopen(key)
        if again is not None:
            tools.scheduler.ready(again.key, again.operation, again.weight, front=True)

    async def _not_found_out(self, key: str, error: ProviderError | WireError) -> None:
        scheduler, now = self.lane.tools.scheduler, anyio.current_time()
        if isinstance(error, Halted):
            await self.lane.halt(error)
        if self.lane.hearsay.remote_id(key):
            await self._watching.adopted(key)
        elif isinstance(error, Uncertain) and (until := self._patience(key)) > now:
            scheduler.uncertain(key, until)  # only a callback can tell
        elif isinstance(error, Uncertain | Halted) or scheduler.tries(key) + 1 >= MOST_TRIES:
            self.lane.park(key)  # the provider cannot tell: a person decides
        else:
            scheduler.ask_again(key, now)

    def _patience(self, key: str) -> float:
        """Until when (loop time) a callback is waited for. A run that finds the job lost waits a little too: callbacks are repeated."""
        attempt, callbacks, pace = self.lane.tools.ledger.attempt(key), self.lane.tools.callbacks, self.lane.tools.pace
        if attempt is None or callbacks is None or attempt.callback != callbacks.base:
            return 0.0
        whole = patience(self.lane.operation(key).facts.typical_seconds)
        return max(self.lane.tools.scheduler.since(key) + pace.seconds(whole), self.lane.began + pace.seconds(patience(0.0)))

    def _frozen(self, key: str) -> Submission:
        """The submission as it left, whatever the manifest says now."""
        attempt = self.lane.tools.ledger.attempt(key)
        if attempt is None:
            raise LedgerError(f"{key} is uncertain but was never submitted", hint="this is a bug: please report the story")
        params: Mapping[str, JSON] = attempt.params
        return Submission(key=attempt.key, params=params, started_at=attempt.at)
