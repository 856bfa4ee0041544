"""Where jobs wait for a person. Pure.

Owns the question whether a job may start although a target it needs has ``gate: approve``. A rehearsal opens every gate (there is
nothing to approve in made-up pictures); a real run opens those that a person named.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from runner.campaign import JobSpec
from runner.manifest.model import TargetSpec


@dataclass(frozen=True, slots=True)
class Gates:
    """``approved`` are targets whose results a person accepted for this run; ``*`` is all."""

    targets: Mapping[str, TargetSpec]
    approved: Collection[str] = ()
    rehearsal: bool = False

    by: str = ""
    """Who said yes."""

    def shut(self, spec: JobSpec) -> bool:
        """Whether the job has to wait for a person's yes to something it needs."""
        if self.rehearsal or "*" in self.approved:
            return False
        return any(self.targets[need].gate is not None and need not in self.approved for need in spec.needs)
