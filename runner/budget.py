"""Whether one more paid submission may start. Pure.

Owns the arithmetic of allowances: a budget per lane over all runs, and a most for this run over all lanes. Credits are reserved before a
submission leaves and settled by the ledger once the intent is written, so that concurrent submissions cannot overshoot together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

EPSILON = 1e-9  # sums of decimal credits are not exact in binary


@dataclass(slots=True)
class Budget:
    """``committed(lane)`` tells what the ledger counts as spent or possibly spent, over all runs."""

    committed: Callable[[str], float]
    budgets: Mapping[str, float]
    """Lane -> credits over all runs; lanes without an entry are not limited."""
    max_cost: float | None = None
    """Credits for this run, over all lanes."""
    lanes: tuple[str, ...] = ()
    reserved: dict[str, tuple[str, float]] = field(default_factory=dict)
    exceeded: dict[str, str] = field(default_factory=dict)
    """Lane -> why it stopped, for lanes that ran into a limit."""
    _at_start: float | None = None

    def __post_init__(self) -> None:
        self._at_start = self._all_committed()

    def reserve(self, job: str, lane: str, credits_: float) -> bool:
        """Set ``credits_`` aside for ``job``; False when that would go over a limit (and the lane is marked)."""
        waiting = sum(amount for held_lane, amount in self.reserved.values() if held_lane == lane)
        limit = self.budgets.get(lane)
        if limit is not None and self.committed(lane) + waiting + credits_ > limit + EPSILON:
            self.exceeded[lane] = (
                f"the budget of {lane} is {limit:g} credits: {self.committed(lane) + waiting:g} are spent or reserved, "
                f"the next job costs {credits_:g}"
            )
            return False
        spent = self.spent() + sum(amount for _, amount in self.reserved.values())
        if self.max_cost is not None and spent + credits_ > self.max_cost + EPSILON:
            self.exceeded[lane] = (
                f"--max-cost is {self.max_cost:g} credits: {spent:g} are spent or reserved, the next job costs {credits_:g}"
            )
            return False
        self.reserved[job] = (lane, credits_)
        return True

    def settle(self, job: str) -> None:
        """The ledger counts the job now (or it will not be submitted): the reservation ends."""
        self.reserved.pop(job, None)

    def spent(self) -> float:
        """Credits that this run committed, over all lanes."""
        return self._all_committed() - (self._at_start or 0.0)

    def _all_committed(self) -> float:
        return sum(self.committed(lane) for lane in self.lanes)
