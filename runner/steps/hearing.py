"""Hearing: a provider called back.

The address's token, which the caller has checked, proves that a submission arrived; everything else that a callback says is a hint to ask.
"""

from __future__ import annotations

import anyio

from runner.callbacks import ENDINGS
from runner.lane import Lane
from runner.model import Phase, State
from runner.seams import CallbackNotice
from runner.steps.watching import Watching


class Hearing:
    """See the module."""

    def __init__(self, lane: Lane, watching: Watching) -> None:
        self.lane = lane
        self._watching = watching

    async def heard(self, key: str, notice: CallbackNotice) -> str:
        """What a notice about this job meant, in a word, for the counts."""
        job = self.lane.tools.ledger.jobs[key]
        match job.state:
            case State.READY | State.SUBMITTING | State.UNCERTAIN:
                return await self._heard_before_accepted(key, notice)
            case State.RUNNING | State.CANCELLING:
                if notice.remote_id not in {"", job.remote_id}:
                    if key not in self._watching.phases and not self._taken(key, notice.remote_id):
                        self.lane.hearsay.remember(
                            key, notice.remote_id
                        )  # in case the provider does not know the one that we have
                    return "mismatch"
                return self._heard_of_running(key, notice)
            case _:
                return "ended"

    async def _heard_before_accepted(self, key: str, notice: CallbackNotice) -> str:
        job, scheduler = self.lane.tools.ledger.jobs[key], self.lane.tools.scheduler
        if not notice.remote_id:
            return "unread"
        if self._taken(key, notice.remote_id):
            return "mismatch"
        self.lane.hearsay.remember(key, notice.remote_id)
        self._vouch(key, notice)
        if job.state is State.UNCERTAIN and scheduler.hold(key):
            self.lane.revive(key)
            await self._watching.adopted(key)
            return "lost"
        scheduler.hurry(key, anyio.current_time())
        return "early"

    def _heard_of_running(self, key: str, notice: CallbackNotice) -> str:
        phase = notice.observation.phase if notice.observation else Phase.UNKNOWN
        if phase is Phase.QUEUED or (phase is Phase.RUNNING and self._watching.phases.get(key) is phase):
            return "progress"
        self._vouch(key, notice)
        self.lane.revive(key)
        self.lane.tools.scheduler.hurry(key, anyio.current_time())
        return "hint"

    def _vouch(self, key: str, notice: CallbackNotice) -> None:
        seen = notice.observation
        if notice.authenticated and seen is not None and seen.phase in ENDINGS:
            self.lane.hearsay.vouch(key, seen)

    def _taken(self, key: str, remote_id: str) -> bool:
        """Whether another job has this remote id. (A Creatify record belongs to one picture and one video: two operations.)"""
        operation = self.lane.tools.ledger.jobs[key].operation
        jobs = self.lane.tools.ledger.jobs.values()
        return any(job.remote_id == remote_id and job.operation == operation and job.key != key for job in jobs)
