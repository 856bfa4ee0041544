"""One accepted piece of work. Its status is a pure function of the record and the time: nothing runs in the background."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

QUEUED_SHARE = 0.1
"""Share of a job's own time that it still shows as accepted."""


class Phase(Enum):
    """Where a task is, in nobody's own words."""

    QUEUED = "queued"
    WORKING = "working"
    DONE = "done"
    FAILED = "failed"


@dataclass(slots=True)
class Task:
    """Work that was accepted and charged. Moments are simulated seconds; ``data`` is what the provider's views need."""

    id: str
    provider: str
    family: str
    account: str
    handle: str
    serial: int
    made: float
    start: float
    end: float
    charge: float = 0.0
    slots: int = 1
    trouble: str = ""
    """Why it will fail; empty when it will succeed."""
    lane: str = ""
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def works_from(self) -> float:
        """When it starts to show as running."""
        return self.start + QUEUED_SHARE * (self.end - self.start)

    def phase(self, now: float) -> Phase:
        """Where it is at ``now``."""
        if now >= self.end:
            return Phase.FAILED if self.trouble else Phase.DONE
        return Phase.WORKING if now >= self.works_from else Phase.QUEUED

    def changed(self, now: float) -> float:
        """When its status last changed."""
        if now >= self.end:
            return self.end
        return self.works_from if now >= self.works_from else self.made
