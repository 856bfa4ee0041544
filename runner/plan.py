"""What a run would do, and why: every job of the campaign held against the ledger.

Owns the decision for each job (new, changed, unchanged, retry ...) and the sums over them. Pure apart from reading the catalogue and the
ledger it is given; submits nothing, writes nothing. The result keeps a byte per job, so a million jobs fit in a few megabytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from runner.campaign import Campaign, JobSpec
from runner.errors import UsageError
from runner.events import UNTOLD, Planned
from runner.ledger import Ledger
from runner.lifecycle import OPEN
from runner.model import State
from runner.seams import JobState, joined_keys
from runner.selection import Candidate, Selection


class Verdict(IntEnum):
    """What planning decided for a job. The numbers are stored one byte per job."""

    UNCHANGED = 0
    NEW = 1
    CHANGED = 2
    RETRY = 3
    RUNNING = 4
    UNCERTAIN = 5
    FAILED = 6
    BLOCKED = 7
    EXCLUDED = 8

    @property
    def word(self) -> str:
        """Lower-case name for people and ``--select state:``."""
        return self.name.lower()


TO_DO = frozenset({Verdict.NEW, Verdict.CHANGED, Verdict.RETRY})
"""Verdicts that lead to a paid submission."""

LOST = "lost"
"""The kind to retry for jobs that may have been submitted in lines which the ledger lost."""

_OPENS_DOWNSTREAM = TO_DO | {Verdict.UNCHANGED, Verdict.RUNNING, Verdict.UNCERTAIN}


@dataclass(frozen=True, slots=True)
class Decision:
    """One job's verdict. ``fields`` are the parameters that changed; ``why`` says it in words."""

    verdict: Verdict
    why: str = ""
    fields: tuple[str, ...] = ()


@dataclass(slots=True)
class TargetPlan:
    """The sums of one target."""

    target: str
    operation: str
    lane: str
    jobs: int = 0
    counts: dict[Verdict, int] = field(default_factory=lambda: dict.fromkeys(Verdict, 0))
    changed_fields: dict[str, int] = field(default_factory=dict)
    credits: float = 0.0
    unpriced: int = 0
    seconds: float = 0.0
    """Processing time of all jobs to do, in slot-seconds."""
    examples: dict[Verdict, list[tuple[str, str]]] = field(default_factory=dict)
    """Verdict -> a few (job key, why)."""


EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """What a person asked for."""

    selection: Selection = field(default_factory=Selection)
    limit: int | None = None
    """At most this many paid submissions."""
    retry: frozenset[str] = frozenset()
    """Kinds of failed jobs to submit again: ``failed`` (all), or an error class or cause."""
    only: Mapping[str, str] | None = None
    """Job key -> fingerprint: exactly these (``run --plan``)."""


@dataclass(slots=True)
class Plan:
    """A whole plan. ``verdicts`` holds one byte per job and target: index = product number x variants + variant."""

    campaign: Campaign
    targets: dict[str, TargetPlan]
    verdicts: dict[str, bytearray]
    digest: str = ""
    """Over every job to do (key and fingerprint): what ``run --plan`` compares."""
    options: PlanOptions = field(default_factory=PlanOptions)
    left: int | None = None
    """How many submissions ``--limit`` still allows beyond those to do."""

    def admits(self, spec: JobSpec, ledger: Ledger) -> bool:
        """Whether a job that an earlier run submitted, and that certainly never arrived, may be submitted in this one: what a person
        asked for holds for it as for any other job. Counts it against ``--limit``.
        """
        if _excluded(spec, Decision(Verdict.NEW, "new"), ledger, self.options, self.left):
            return False
        self.left = None if self.left is None else self.left - 1
        return True

    @property
    def submissions(self) -> int:
        """How many paid submissions the plan holds."""
        return sum(t.counts[v] for t in self.targets.values() for v in TO_DO)

    @property
    def jobs(self) -> int:
        """How many jobs the campaign has."""
        return sum(t.jobs for t in self.targets.values())

    def credits_by_lane(self) -> dict[str, float]:
        """Estimated credits per account."""
        totals: dict[str, float] = {}
        for target in self.targets.values():
            totals[target.lane] = totals.get(target.lane, 0.0) + target.credits
        return totals

    def unpriced_by_lane(self) -> dict[str, int]:
        """Submissions per account whose price is not known."""
        totals: dict[str, int] = {}
        for target in self.targets.values():
            totals[target.lane] = totals.get(target.lane, 0) + target.unpriced
        return totals

    def expected_seconds(self, slots: Mapping[str, int]) -> float:
        """Expected wall time: the busiest lane, or the longest chain, whichever is longer."""
        lanes: dict[str, float] = {}
        chain: dict[str, float] = {}
        for name, target in self.targets.items():
            lanes[target.lane] = lanes.get(target.lane, 0.0) + target.seconds
            todo = sum(target.counts[v] for v in TO_DO)
            own = target.seconds / todo if todo else 0.0
            chain[name] = own + max((chain[n] for n in self.campaign.targets[name].needs), default=0.0)
        busiest = max((seconds / max(1, slots.get(lane, 1)) for lane, seconds in lanes.items()), default=0.0)
        return max(busiest, max(chain.values(), default=0.0))

    def to_do(self) -> Iterator[tuple[JobSpec, Verdict]]:
        """Every job to do, in the order of products."""
        for number in range(len(self.campaign)):
            for spec in self.campaign.bundle(number):
                verdict = Verdict(self.verdicts[spec.target][self.campaign.slot(spec)])
                if verdict in TO_DO:
                    yield spec, verdict


def make_plan(
    campaign: Campaign, ledger: Ledger | None, options: PlanOptions, *, progress: Callable[[int], None] | None = None
) -> Plan:
    """Hold every job against the ledger. ``progress`` is told the number of products done. Raises ``ManifestError`` at the end
    when jobs could not be expanded.
    """
    plan = Plan(
        campaign,
        {name: TargetPlan(name, spec.uses, campaign.lane_of(name)) for name, spec in campaign.targets.items()},
        {name: bytearray(len(campaign) * len(campaign.variants[name])) for name in campaign.targets},
    )
    plan.options, plan.left = options, options.limit
    hasher = hashlib.blake2b(digest_size=16)
    chosen = 0
    for number in range(len(campaign)):
        decisions: dict[str, Decision] = {}
        for spec in campaign.bundle(number):
            decision = _decide_within(spec, decisions, ledger, options, plan.left)
            decisions[spec.key] = decision
            if options.selection:
                chosen += options.selection.matches(candidate(spec, decision, ledger))
            if decision.verdict in TO_DO:
                hasher.update(f"{spec.key}\0{spec.fingerprint}\n".encode())
                plan.left = None if plan.left is None else plan.left - 1
            _count(plan, spec, decision)
        if progress:
            progress(number + 1)
    campaign.raise_problems()
    if options.selection and not options.selection.by_state and not chosen and len(campaign):
        raise UsageError("--select chose no job", hint="check the names: callsheet plan MANIFEST shows targets and counts")
    plan.digest = hasher.hexdigest()
    return plan


def _decide_within(
    spec: JobSpec, earlier: Mapping[str, Decision], ledger: Ledger | None, options: PlanOptions, left: int | None
) -> Decision:
    decision = decide(spec, earlier, ledger, options.retry)
    if decision.verdict not in TO_DO:
        return decision
    return _excluded(spec, decision, ledger, options, left) or decision


def _excluded(
    spec: JobSpec, decision: Decision, ledger: Ledger | None, options: PlanOptions, left: int | None
) -> Decision | None:
    """The verdict when a person did not ask for this job; None when he did."""
    if ledger is not None and LOST not in options.retry and ledger.in_doubt(spec.key):
        return Decision(Verdict.BLOCKED, "lines of the ledger are lost: look whether it was submitted; --retry lost submits it")
    if options.only is not None and options.only.get(spec.key) != spec.fingerprint:
        return Decision(Verdict.EXCLUDED, "not in the plan file")
    if options.selection and not options.selection.matches(candidate(spec, decision, ledger)):
        return Decision(Verdict.EXCLUDED, "not selected")
    if left is not None and left <= 0:
        return Decision(Verdict.EXCLUDED, "beyond --limit")
    return None


def candidate(spec: JobSpec, decision: Decision, ledger: Ledger | None) -> Candidate:
    """The job as a selector sees it: its state is the verdict's word and the ledger's state."""

    def state() -> Collection[str]:
        job = ledger.jobs.get(spec.key) if ledger else None
        return (decision.verdict.word, job.state.value) if job else (decision.verdict.word,)

    return Candidate(spec.target, spec.product.key, spec.cell, spec.operation, state)


def decide(spec: JobSpec, earlier: Mapping[str, Decision], ledger: Ledger | None, retry: Collection[str]) -> Decision:
    """One job's verdict. ``earlier`` holds the verdicts of the same product's jobs that it may need."""
    job = ledger.jobs.get(spec.key) if ledger else None
    if job is not None and job.state in OPEN:
        verdict = Verdict.UNCERTAIN if job.state in {State.UNCERTAIN, State.SUBMITTING} else Verdict.RUNNING
        return Decision(verdict, f"{job.state.value} since an earlier run: finished without paying again")
    blocker = next((key for key in spec.needs.values() if earlier[key].verdict not in _OPENS_DOWNSTREAM), None)
    own = _own_verdict(spec, job, earlier, ledger, retry)
    if blocker is not None and own.verdict in TO_DO:
        return Decision(Verdict.BLOCKED, f"needs {blocker}, which is {earlier[blocker].verdict.word}")
    return own


def _own_verdict(
    spec: JobSpec, job: JobState | None, earlier: Mapping[str, Decision], ledger: Ledger | None, retry: Collection[str]
) -> Decision:
    if job is None or ledger is None:
        return Decision(Verdict.NEW, "new")
    if job.fingerprint not in {spec.fingerprint, UNTOLD}:
        fields = changed_fields(ledger.planned(spec.key), spec)
        verdict = Verdict.NEW if not job.submitted_at else Verdict.CHANGED
        return Decision(verdict, f"changed: {', '.join(fields)}", fields)
    match job.state:
        case State.SUCCEEDED if job.fingerprint == UNTOLD:
            return Decision(
                Verdict.UNCHANGED, "recovered: what it was made from is lost from the ledger, so it is taken for unchanged"
            )
        case State.SUCCEEDED:
            return _succeeded(spec, job, earlier, ledger)
        case State.FAILED:
            return _failed(job, retry)
        case State.CANCELLED:
            if "cancelled" in retry:
                return Decision(Verdict.RETRY, "was cancelled")
            return Decision(Verdict.FAILED, "cancelled; --retry cancelled submits it")
        case _:
            return Decision(Verdict.NEW, "planned earlier, never submitted")


def _succeeded(spec: JobSpec, job: JobState, earlier: Mapping[str, Decision], ledger: Ledger) -> Decision:
    for need, key in spec.needs.items():
        if earlier[key].verdict in TO_DO:
            return Decision(Verdict.CHANGED, f"changed: needs.{need} will be made again", (f"needs.{need}",))
    current = {need: ledger.jobs[key].submission_key for need, key in spec.needs.items() if key in ledger.jobs}
    if spec.needs and job.upstream and job.upstream != joined_keys(current):
        redone = tuple(f"needs.{need}" for need, key in current.items() if f"{need}={key}" not in job.upstream.split())
        return Decision(Verdict.CHANGED, f"changed: {', '.join(redone)} was made again", redone)
    return Decision(Verdict.UNCHANGED)


def _failed(job: JobState, retry: Collection[str]) -> Decision:
    kinds = {"failed", job.error_class, job.error_cause} - {""}
    shown = job.error_cause or job.error_class or "failed"
    if kinds & set(retry):
        return Decision(Verdict.RETRY, f"failed earlier ({shown})")
    return Decision(Verdict.FAILED, f"failed earlier ({shown}); --retry failed submits it again")


def changed_fields(before: Planned, spec: JobSpec) -> tuple[str, ...]:
    """Names of the parameters whose digests differ, in the order of the manifest; ``operation`` when that changed."""
    names = list(dict.fromkeys([*spec.fields, *before.fields]))
    fields = tuple(name for name in names if before.fields.get(name) != spec.fields.get(name))
    return ("uses", *fields) if before.operation != spec.operation else fields


def _count(plan: Plan, spec: JobSpec, decision: Decision) -> None:
    target = plan.targets[spec.target]
    verdict = decision.verdict
    plan.verdicts[spec.target][plan.campaign.slot(spec)] = verdict
    target.jobs += 1
    target.counts[verdict] += 1
    if verdict is not Verdict.UNCHANGED or decision.why:
        examples = target.examples.setdefault(verdict, [])
        if len(examples) < EXAMPLES:
            examples.append((spec.key, decision.why))
    for name in decision.fields:
        target.changed_fields[name] = target.changed_fields.get(name, 0) + 1
    if verdict in TO_DO:
        target.seconds += spec.seconds * spec.weight
        if spec.credits is None:
            target.unpriced += 1
        else:
            target.credits += spec.credits
