"""Slots, queues and credit of one account. Knows no provider; time is a parameter."""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heappop, heappush

from runner.simulator.tasks import Task


class NoSlot(Exception):
    """The limit of tasks in flight is reached."""


class NoCredit(Exception):
    """The account cannot pay for this."""


@dataclass(slots=True)
class Lane:
    """What shares one limit. Admission costs O(log n). Work over the limit is refused, or waits for the slot that is free first."""

    limit: int
    queues: bool
    peak: int = 0
    peak_outstanding: int = 0
    _held: int = 0
    _ends: list[tuple[float, int, int, float]] = field(default_factory=list)
    _free_at: list[float] = field(default_factory=list)

    def start(self, now: float, slots: int) -> float:
        """When work that asks for ``slots`` now would start; raises NoSlot. Changes nothing."""
        if not self.queues:
            if self._held + slots > self.limit:
                raise NoSlot
            return now
        return now if len(self._free_at) < self.limit else max(now, self._free_at[0])

    def admit(self, task: Task, refund: float) -> None:
        """Give ``task`` its slots until it ends; ``refund`` credits come back then."""
        if self.queues and len(self._free_at) >= self.limit:
            heappop(self._free_at)
        if self.queues:
            heappush(self._free_at, task.end)
        self._held += task.slots
        heappush(self._ends, (task.end, task.serial, task.slots, refund))
        self.peak_outstanding = max(self.peak_outstanding, self._held)
        self.peak = max(self.peak, self.in_flight())

    def settle(self, now: float) -> float:
        """Let go of everything that has ended; returns the credits that come back."""
        refunds = 0.0
        while self._ends and self._ends[0][0] <= now:
            _end, _serial, slots, refund = heappop(self._ends)
            self._held -= slots
            refunds += refund
        return refunds

    def in_flight(self) -> int:
        """Slots in use as of the last settlement."""
        return min(self._held, self.limit) if self.queues else self._held

    def outstanding(self) -> int:
        """Slots in use or waited for."""
        return self._held


@dataclass(slots=True)
class Account:
    """One account: its credit, its lanes, and its tasks by family in the order they were accepted."""

    provider: str
    name: str
    credit: float
    lanes: dict[str, Lane] = field(default_factory=dict)
    tasks: dict[str, list[Task]] = field(default_factory=dict)

    def settle(self, now: float) -> float:
        """Bring lanes and credit up to ``now``; returns what came back."""
        refunds = sum(lane.settle(now) for lane in self.lanes.values())
        self.credit += refunds
        return refunds
