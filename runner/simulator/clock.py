"""Simulated time: runs ``speed`` times as fast as the real clock, and goes on where it was after a restart.

Everything inside is simulated seconds. What stands on the wire (``created_at``, ``expires``) is the real moment at which the
simulated one happens, so that a client's own clock and the provider's agree, as they do with a real provider.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stretch:
    """From real second ``real`` on, simulated time started at ``simulated`` and ran at ``speed``."""

    real: float
    simulated: float
    speed: float


class SimulatedClock:
    """A piecewise linear map between real and simulated seconds; one stretch per start of the simulator."""

    def __init__(self, speed: float, source: Callable[[], float] = time.time, history: tuple[Stretch, ...] = ()) -> None:
        self._source = source
        self._speed = speed
        real = source()
        if history:
            last = history[-1]
            start = last.simulated + max(0.0, real - last.real) * last.speed
        else:
            start = real
        self.current = Stretch(max(real, history[-1].real) if history else real, start, speed)
        self._stretches = (*history, self.current)
        self._starts = [stretch.simulated for stretch in self._stretches]

    def real(self) -> float:
        """Real Unix seconds."""
        return self._source()

    def now(self) -> float:
        """Simulated seconds."""
        return self.current.simulated + max(0.0, self._source() - self.current.real) * self._speed

    def wall(self, simulated: float) -> float:
        """The real Unix seconds at which a simulated moment happens or happened."""
        place = max(0, bisect_right(self._starts, simulated) - 1)
        stretch = self._stretches[place]
        return stretch.real + (simulated - stretch.simulated) / stretch.speed

    def millis(self, simulated: float) -> int:
        """Like :meth:`wall`, in whole milliseconds."""
        return int(self.wall(simulated) * 1000)

    def real_wait(self, simulated: float) -> float:
        """Real seconds from now until a simulated moment; 0 when it is past."""
        return max(0.0, (simulated - self.now()) / self._speed)
