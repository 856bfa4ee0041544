"""How much one account takes: slots, submits per second, and when to ask again. Pure arithmetic.

Two limits are kept apart: work outstanding at the provider (slots) and submits per second (rate). ``now`` is loop time in seconds.

The adaptive part follows additive increase, multiplicative decrease, with three rules learnt elsewhere: one cut per episode (answers
to requests sent before the last cut do not cut again), growth only when the limit was really used, and a Retry-After delays
requests without stretching the episode. It never raises a limit above what the manifest allows.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from dataclasses import dataclass

HISTORY = 256
FEW = 5
"""Durations seen before they are trusted more than the provider's typical figure."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast the provider's clock runs compared with ours: 1 for real ones, the speed factor in rehearsals."""

    speed: float = 1.0

    def seconds(self, seconds: float) -> float:
        """Waiting time of ours for ``seconds`` of the provider's."""
        return seconds / self.speed


class Limits:
    """One lane's limits. ``in_use`` are slots taken, ``allowed`` the slots we use now, ``concurrency`` the most ever."""

    def __init__(self, *, concurrency: int, rate: float, pace: Pace) -> None:
        self.concurrency = concurrency
        self.allowed = float(concurrency)
        self.in_use = 0
        self.peak = 0
        self.cuts = 0
        self._full_rate = rate * pace.speed
        self._rate = self._full_rate
        self._pace = pace
        self._next_start = 0.0
        self._last_cut = -math.inf
        self._refusals = 0
        self._was_full = False
        self.troubles = 0
        """Episodes of passing faults in a row, without a submit being taken in between."""
        self._last_trouble = -math.inf

    def wait(self, now: float, weight: int = 1) -> float:
        """Seconds until a submit of ``weight`` slots may start: 0 now, ``inf`` when a slot must end first."""
        if self.full(weight):
            self._was_full = True
            return math.inf
        return max(0.0, self._next_start - now)

    def full(self, weight: int) -> bool:
        """Whether ``weight`` more slots are too many; whatever an account allows, one job alone may always run."""
        return bool(self.in_use) and self.in_use + weight > math.floor(self.allowed)

    def taken(self, weight: int) -> None:
        """Slots are in use by work that was found under way (a restart): they count before anything is submitted."""
        self.in_use += weight
        self.peak = max(self.peak, self.in_use)

    def started(self, now: float, weight: int) -> None:
        """A submit leaves now."""
        self.taken(weight)
        self._next_start = max(now, self._next_start) + 1.0 / self._rate

    def ended(self, weight: int, *, clean: bool) -> None:
        """Work ended and gave its slots back; ``clean`` when the provider finished it."""
        self.in_use -= weight
        if not clean:
            return
        if self._was_full and self.allowed < self.concurrency:
            self.allowed = min(float(self.concurrency), self.allowed + 1.0 / max(1.0, self.allowed))
            self._was_full = False
        self._rate = min(self._full_rate, self._rate * 1.02)

    def accepted(self) -> None:
        """The provider took a submit: refusals and troubles in a row are over."""
        self._refusals = self.troubles = 0

    def troubled(self, now: float, sent_at: float) -> float:
        """A submit met a passing fault. Submits pause, longer for each episode; returns how long, in seconds."""
        if sent_at > self._last_trouble:
            self._last_trouble = now
            self.troubles += 1
        wait = self._pace.seconds(min(60.0, 2.0**self.troubles))
        self._next_start = max(self._next_start, self._last_trouble + wait)
        return max(0.0, self._next_start - now)

    def refused(self, now: float, sent_at: float, *, concurrency: bool, retry_after: float | None) -> float:
        """A submit was turned away for a limit. Cuts once per episode; returns seconds to wait before trying that job again."""
        self._refusals += 1
        if sent_at > self._last_cut:
            self._last_cut = now
            self.cuts += 1
            if concurrency:
                self.allowed = float(max(1, self.in_use))  # called after the refused one gave its slot back
            else:
                self._rate = max(self._full_rate / 64, self._rate / 2)
        wait = retry_after if retry_after is not None else self._pace.seconds(min(60.0, 2.0**self._refusals))
        if not concurrency or not self.in_use:
            self._next_start = max(self._next_start, now + wait)
        return wait


class Durations:
    """Processing times seen so far (seconds), for estimates and for spacing polls."""

    def __init__(self, typical: float) -> None:
        self.typical = typical
        self._sorted: list[float] = []
        self._ring: list[float] = []
        self._next = 0

    def add(self, seconds: float) -> None:
        """One more was seen; the oldest of the last 256 is forgotten."""
        if len(self._ring) < HISTORY:
            self._ring.append(seconds)
        else:
            del self._sorted[bisect_left(self._sorted, self._ring[self._next])]
            self._ring[self._next] = seconds
            self._next = (self._next + 1) % HISTORY
        insort(self._sorted, seconds)

    def quantile(self, share: float) -> float:
        """The duration that ``share`` (0..1) of the tasks stay below; from the typical figure until enough were seen."""
        if len(self._sorted) < FEW:
            return self.typical * (0.4 + 1.2 * share)
        return self._sorted[min(len(self._sorted) - 1, int(share * len(self._sorted)))]

    def next_poll(self, elapsed: float, floor: float, *, first_share: float = 0.1) -> float:
        """Seconds until the next question about a task that has run for ``elapsed``; at least ``floor``.

        The first question comes when ``first_share`` of the tasks are done (the 10th percentile; later where callbacks are expected), then
        about ten per median duration, rarer once the task is unusually slow.
        """
        first = self.quantile(first_share)
        if elapsed < first * 0.95:
            return max(floor, first - elapsed)
        return max(floor, 0.1 * max(self.quantile(0.5), elapsed / 2))


def backoff(tries: int, *, base: float = 1.0, most: float = 60.0) -> float:
    """Seconds before try number ``tries`` + 1: doubling from ``base``, at most ``most``. Without jitter: lanes pace themselves."""
    return float(min(most, base * 2.0 ** min(tries, 30)))
