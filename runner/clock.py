"""The only module that reads the wall clock.

Two times exist. *Wall time* (Unix seconds) goes into the ledger and into tokens. *Loop time* (seconds, monotonic) drives
waiting; it is anyio's, so that tests run on trio's virtual clock. Decisions take ``now`` as a parameter and never come here.
"""

from __future__ import annotations

import time
from typing import Protocol

import anyio


class Clock(Protocol):
    """Wall time for records."""

    def now(self) -> float:
        """Unix seconds."""
        ...


class WallClock:
    """The machine's clock."""

    def now(self) -> float:
        """Unix seconds."""
        return time.time()


class LoopClock:
    """Wall time that advances with the event loop's clock: exact under virtual time."""

    def __init__(self, start: float) -> None:
        self._start = start
        self._origin: float | None = None

    def now(self) -> float:
        """Unix seconds: ``start`` plus what the loop's clock has advanced since the first call."""
        current = anyio.current_time()
        if self._origin is None:
            self._origin = current
        return self._start + current - self._origin
