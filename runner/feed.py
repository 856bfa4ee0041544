"""Turns a plan into ready jobs, lane by lane, only as fast as they are asked for.

Owns the frontier of one run: which jobs are still to do, which are under way, and which become ready because what they needed succeeded.
Holds a byte per job and a small record per open job. Opens jobs in the ledger; never submits.

Order within a lane: jobs that continue a chain come first (a finished chain is a result, an opened one is not), then targets take turns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from runner import events as ev
from runner.campaign import Campaign, JobSpec, need_digest
from runner.clock import Clock
from runner.events import Event
from runner.gates import Gates
from runner.lane import Prepared, ReadyJob
from runner.ledger import Ledger
from runner.lifecycle import OPEN, TERMINAL
from runner.model import State
from runner.plan import TO_DO, Plan, Verdict, changed_fields
from runner.seams import JobState

DONE = int(Verdict.UNCHANGED)
_TODO_BYTES = {int(verdict) for verdict in TO_DO}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the feed needs of its engine. ``wake(lane)`` is called when a lane may find new work."""

    lanes: Collection[str]
    clock: Clock
    artifacts: Path
    """The folder that stored artifacts are relative to."""
    wake: Callable[[str], None]


class CampaignFeed:
    """See the module."""

    def __init__(self, plan: Plan, ledger: Ledger, gates: Gates, *, surroundings: Surroundings) -> None:
        lanes = surroundings.lanes
        self._plan = plan
        self._campaign: Campaign = plan.campaign
        self._ledger = ledger
        self._clock = surroundings.clock
        self._artifacts = surroundings.artifacts
        self._wake = surroundings.wake
        self._gates = gates
        self._flags = plan.verdicts
        self._cursor = dict.fromkeys(plan.verdicts, 0)
        self._todo = {name: sum(flags.count(byte) for byte in _TODO_BYTES) for name, flags in plan.verdicts.items()}
        self._under_way = dict.fromkeys(plan.verdicts, 0)
        self._urgent: dict[str, deque[tuple[str, int]]] = {lane: deque() for lane in lanes}
        self._queued = dict.fromkeys(plan.verdicts, 0)
        """Target -> how many of its jobs wait in ``_urgent``."""
        self._turn: dict[str, deque[str]] = {
            lane: deque(name for name in plan.verdicts if self._campaign.lane_of(name) == lane) for lane in lanes
        }
        self._specs: dict[str, JobSpec] = {}
        self._closed: set[str] = set()
        for job in ledger.jobs.values():
            if job.state in OPEN and job.target in self._under_way and job.lane in self._urgent:
                self._under_way[job.target] += 1

    # ------------------------------------------------------------------------------------------------- handing out

    def next(self, lane: str) -> ReadyJob | None:
        """The next ready job of the lane, opened in the ledger; None when there is none now."""
        urgent = self._urgent[lane]
        while urgent:
            target, slot = urgent.popleft()
            self._queued[target] -= 1
            if self._flags[target][slot] in _TODO_BYTES and (job := self._try_open(target, slot, urgent=True)):
                return job
        turn = self._turn[lane]
        for _ in range(len(turn)):
            target = turn[0]
            turn.rotate(-1)
            job = self._next_of(target)
            if job is not None:
                return job
        return None

    def _next_of(self, target: str) -> ReadyJob | None:
        flags = self._flags[target]
        position = self._cursor[target]
        while position < len(flags):
            if flags[position] in _TODO_BYTES and (job := self._try_open(target, position, urgent=False)):
                self._cursor[target] = position + 1
                return job
            position += 1
        self._cursor[target] = position
        return None

    def _try_open(self, target: str, slot: int, *, urgent: bool) -> ReadyJob | None:
        """Open the job if what it needs is there; a job whose needs are still coming is opened when they have come."""
        if any(self._flags[need][at] in _TODO_BYTES for need, at in self._campaign.upstream_slots(target, slot)):
            return None
        spec = self._campaign.spec_at(target, slot)
        for need, key in spec.needs.items():
            job = self._ledger.jobs.get(key)
            if job is None or job.state is not State.SUCCEEDED:
                if job is not None and job.state in TERMINAL:
                    self._skip(spec, slot, key)
                return None
            if not _is_current(spec, need, job):
                return None  # made from inputs that have changed since: the next run makes it again first
        return self._open(spec, slot, urgent=urgent)

    def _succeeded(self, key: str) -> bool:
        job = self._ledger.jobs.get(key)
        return job is not None and job.state is State.SUCCEEDED

    def _skip(self, spec: JobSpec, slot: int, key: str) -> None:
        """An upstream job ended badly: this one, and what needs it, will not run."""
        self._finish_flag(spec.target, slot)
        self._ledger.plan(
            [
                planned_event(spec, "needs a job that did not succeed", self._clock.now()),
                ev.DependencyFailed(job=spec.key, at=self._clock.now(), upstream=key),
            ]
        )
        self._tell_dependants(spec.key)

    def _open(self, spec: JobSpec, slot: int, *, urgent: bool) -> ReadyJob | None:
        verdict = Verdict(self._flags[spec.target][slot])
        self._finish_flag(spec.target, slot)
        events = self._opening(spec, verdict)
        if events:
            self._ledger.plan(events)
        if self._ledger.jobs[spec.key].state is not State.READY:
            return None
        self._specs[spec.key] = spec
        self._under_way[spec.target] += 1
        return ReadyJob(spec.key, spec.operation, spec.weight, urgent)

    def _opening(self, spec: JobSpec, verdict: Verdict) -> list[Event]:
        """The events that make the job ready, or hold it; none where it is so already."""
        now = self._clock.now()
        job = self._ledger.jobs.get(spec.key)
        shut = self._gates.shut(spec)
        if job is not None and job.fingerprint == spec.fingerprint:
            if job.state is State.HELD:
                return [] if shut else [ev.GateOpened(job=spec.key, at=now, by=self._gates.by)]
            if job.state is State.READY and not shut:
                return []
            if job.state is State.FAILED and verdict is Verdict.RETRY and not shut:
                return [ev.RetryScheduled(job=spec.key, at=now, why=job.error_cause or job.error_class)]
        begin = planned_event(spec, self._reason(spec, verdict), now)
        return [begin, ev.GateClosed(job=spec.key, at=now) if shut else ev.DependenciesMet(job=spec.key, at=now)]

    def _reason(self, spec: JobSpec, verdict: Verdict) -> str:
        job = self._ledger.jobs.get(spec.key)
        if job is None or verdict is Verdict.NEW:
            return "new"
        if job.fingerprint != spec.fingerprint:
            return f"changed: {', '.join(changed_fields(self._ledger.planned(spec.key), spec))}"
        return "changed: what it needs was made again" if verdict is Verdict.CHANGED else "retry"

    def prepare(self, key: str) -> Prepared:
        """Fill in what upstream jobs made. Raises ``CallsheetError`` when the job cannot be submitted like this."""
        spec = self._specs[key]
        results = {need: self._ledger.result(upstream) for need, upstream in spec.needs.items()}
        params, media = self._campaign.materialise(spec, results, self._artifacts)
        return Prepared(params, media, {need: result.submission_key for need, result in results.items()})

    # --------------------------------------------------------------------------------------------------- hearing back

    def reopen(self, key: str) -> ReadyJob | None:
        """A lost submission certainly never arrived. Submit it again under today's manifest, if that still has it and it is asked for."""
        found = self._find(key)
        wanted = found is not None and (key in self._specs or self._plan.admits(found[0], self._ledger))
        if found is None or not wanted or not all(self._succeeded(upstream) for upstream in found[0].needs.values()):
            self.ended(key)
            return None
        spec, slot = found
        same = self._ledger.jobs[key].fingerprint == spec.fingerprint
        self._flags[spec.target][slot] = int(Verdict.NEW if same else Verdict.CHANGED)
        self._todo[spec.target] += 1
        self._under_way[spec.target] -= 1
        return self._open(spec, slot, urgent=True)

    def ended(self, key: str) -> None:
        """The job reached a state that this run does not change any more: its dependants become ready or are skipped."""
        job = self._ledger.jobs[key]
        if job.target in self._under_way:
            self._under_way[job.target] -= 1
        if job.state in TERMINAL:
            self._tell_dependants(key)
        self._specs.pop(key, None)
        for lane in self._urgent:
            self._wake(lane)

    def resumed(self, key: str) -> None:
        """A job that this run had given up is under way again."""
        target = self._ledger.jobs[key].target
        if target in self._under_way:
            self._under_way[target] += 1

    def _find(self, key: str) -> tuple[JobSpec, int] | None:
        spec = self._specs.get(key)
        return (spec, self._campaign.slot(spec)) if spec else self._campaign.find(key)

    def _tell_dependants(self, key: str) -> None:
        found = self._find(key)
        if found is None:
            return
        spec, slot = found
        for target, dependant in self._campaign.dependants(spec.target, slot):
            if self._flags[target][dependant] not in _TODO_BYTES:
                continue
            if self._succeeded(key):
                self._urgent[self._campaign.lane_of(target)].append((target, dependant))
                self._queued[target] += 1
            else:
                self._skip(self._campaign.spec_at(target, dependant), dependant, key)

    def _finish_flag(self, target: str, slot: int) -> None:
        self._flags[target][slot] = DONE
        self._todo[target] -= 1

    # ------------------------------------------------------------------------------------------------------ answering

    def closed(self, lane: str) -> None:
        """The lane takes no more work in this run."""
        self._closed.add(lane)
        for other in self._urgent:
            self._wake(other)

    def exhausted(self, lane: str) -> bool:
        """Nothing more will come for this lane: nothing of it is to do that some open lane could still make possible."""
        if self._urgent[lane]:
            return False
        alive: dict[str, bool] = {}
        for name, spec in self._campaign.targets.items():
            if self._campaign.lane_of(name) in self._closed:
                alive[name] = False
                continue
            unseen = self._cursor[name] < len(self._flags[name])
            coming = unseen or self._queued[name] > 0 or any(alive[need] for need in spec.needs)
            alive[name] = self._under_way[name] > 0 or (self._todo[name] > 0 and coming)
        return not any(alive[name] for name in self._turn[lane] if self._todo[name] > 0)

    def left(self) -> Mapping[str, int]:
        """Target -> jobs still to do, for the progress display."""
        return dict(self._todo)


def _is_current(spec: JobSpec, need: str, job: JobState) -> bool:
    """Whether the upstream job was made from the inputs that the manifest has now."""
    return spec.fields[f"needs.{need}"] == need_digest(job.fingerprint) or job.fingerprint == ev.UNTOLD


def planned_event(spec: JobSpec, reason: str, at: float) -> ev.Planned:
    """The birth of a job's life, as the manifest has it now. ``at`` in Unix seconds."""
    return ev.Planned(
        job=spec.key,
        at=at,
        target=spec.target,
        product=spec.product.key,
        title=spec.title,
        operation=spec.operation,
        lane=spec.lane,
        fingerprint=spec.fingerprint,
        cell=dict(spec.cell),
        fields=dict(spec.fields),
        needs=dict(spec.needs),
        reason=reason,
        path=spec.path,
        credits=spec.credits,
    )
