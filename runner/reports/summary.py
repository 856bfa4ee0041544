"""The campaign in numbers, computed in one pass over the jobs.

Owns ``Summary``: plain frozen values that every report format and ``callsheet status`` show. Reads no clock ("as of" is the
latest time in the ledger) and no file, and imports nothing heavy. Credits of different providers are different currencies:
they are summed per target, lane and provider, never over all.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from runner.model import JobRow, MediaKind, RunInfo, State
from runner.reports.cleaning import finite, one_line
from runner.reports.failures import Failure, FailureKey, FailureTally, failure_key, new_tally

FINAL = frozenset({State.SUCCEEDED, State.FAILED, State.SKIPPED, State.CANCELLED})
"""States with nothing more to come."""
AT_PROVIDER = frozenset({State.SUBMITTING, State.UNCERTAIN, State.RUNNING, State.CANCELLING, State.COLLECTING})
"""States in which the provider may have, or has, the job."""
_UNPAID = frozenset({State.SKIPPED, State.CANCELLED})


@dataclass(frozen=True, slots=True)
class Spread:
    """How long something took, in seconds, over ``count`` jobs; None when none were measured."""

    count: int = 0
    median: float | None = None
    p90: float | None = None


@dataclass(frozen=True, slots=True)
class Credits:
    """Money in credits of one provider's accounts."""

    estimated: float = 0.0
    """Of every job that was not skipped or cancelled and has an estimate."""
    actual: float = 0.0
    """What the provider said it charged, failed jobs included."""
    matched_estimated: float = 0.0
    """The estimate of just those jobs whose actual price is known: what ``actual`` is to be compared with."""
    matched_actual: float = 0.0
    """The actual price of jobs that also have an estimate."""
    matched: int = 0
    """How many jobs have both."""
    unpriced: int = 0
    """Jobs (not skipped or cancelled) without an estimate."""
    unreported: int = 0
    """Succeeded jobs for which the provider did not say what it charged."""


@dataclass(frozen=True, slots=True)
class Group:
    """The jobs of one target, lane or provider."""

    name: str
    jobs: int
    succeeded: int
    failed: int
    running: int
    """At the provider right now: submitting to collecting, uncertain included."""
    waiting: int
    """Not yet submitted: pending, held, ready."""
    states: Mapping[State, int]
    credits: Credits
    queue: Spread
    """Submitted until first seen at work."""
    processing: Spread
    """At work until done; from submission where the start was not seen."""
    attempts: int
    provider: str = ""
    slots: int | None = None
    """The lane's slots as of the last run; None for groups that are not lanes."""

    @property
    def open(self) -> int:
        """Jobs that are not finished."""
        return self.running + self.waiting


@dataclass(frozen=True, slots=True)
class Attention:
    """Something that waits for a person: how many, what, and what to do."""

    kind: str
    """``halted``, ``uncertain`` or ``held``."""
    count: int
    subject: str
    """The lane for ``halted``; empty otherwise."""
    message: str
    advice: str


@dataclass(frozen=True, slots=True)
class Summary:
    """Everything that reports say about the campaign as a whole. Times are Unix seconds, durations seconds."""

    campaign: str
    rehearsal: bool
    as_of: float
    """The latest time in the ledger."""
    jobs: int
    states: Mapping[State, int]
    targets: tuple[Group, ...]
    lanes: tuple[Group, ...]
    providers: tuple[Group, ...]
    failures: tuple[Failure, ...]
    """Largest group first."""
    attention: tuple[Attention, ...]
    products: int
    run_seconds: float | None
    """The last run: from its start to its end, or to ``as_of`` when it has not ended."""
    campaign_seconds: float
    """From the ledger's first moment to its last."""
    per_hour: float | None
    """Jobs that succeeded in the last run, per hour of that run."""
    files: int
    file_bytes: int
    video_seconds: float

    @property
    def succeeded(self) -> int:
        """Jobs that succeeded."""
        return self.states.get(State.SUCCEEDED, 0)

    @property
    def failed(self) -> int:
        """Jobs that failed."""
        return self.states.get(State.FAILED, 0)

    @property
    def running(self) -> int:
        """Jobs at the provider right now."""
        return sum(count for state, count in self.states.items() if state in AT_PROVIDER)

    @property
    def open(self) -> int:
        """Jobs that are not finished."""
        return sum(count for state, count in self.states.items() if state not in FINAL)

    @property
    def attempts(self) -> int:
        """Paid submissions over all jobs."""
        return sum(group.attempts for group in self.targets)


def summarise(info: RunInfo, rows: Iterable[JobRow]) -> Summary:
    """Count everything in one pass over ``rows``."""
    tally = _Tally()
    for row in rows:
        tally.add(row, since=info.last_run_started_at)
    return tally.result(info)


def queue_seconds(row: JobRow) -> float | None:
    """How long the job waited in the provider's queue; None when either end was not seen."""
    return _between(row.submitted_at, row.started_at)


def processing_seconds(row: JobRow) -> float | None:
    """How long the provider worked on it; from submission where the start was not seen; None when it is not done."""
    return _between(row.submitted_at if row.started_at is None else row.started_at, row.ready_at)


def provider_of(row: JobRow) -> str:
    """The provider's name: the operation's part before the slash."""
    return row.operation.partition("/")[0]


def spread(values: Sequence[float]) -> Spread:
    """Median and 90th percentile, interpolated between neighbours."""
    if not values:
        return Spread()
    ordered = sorted(values)
    return Spread(count=len(ordered), median=_quantile(ordered, 0.5), p90=_quantile(ordered, 0.9))


def _quantile(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def _between(start: float | None, end: float | None) -> float | None:
    """Seconds from start to end; None when one is unknown or a clock went backwards."""
    if start is None or end is None:
        return None
    seconds = end - start
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _seconds() -> array[float]:
    return array("d")


@dataclass(slots=True)
class _CreditsTally:
    estimated: float = 0.0
    actual: float = 0.0
    matched_estimated: float = 0.0
    matched_actual: float = 0.0
    matched: int = 0
    unpriced: int = 0
    unreported: int = 0

    def add(self, row: JobRow) -> None:
        estimated, actual = finite(row.credits_estimated), finite(row.credits_actual)
        if row.state not in _UNPAID:
            self.estimated += estimated or 0.0
            self.unpriced += estimated is None
        if actual is None:
            self.unreported += row.state is State.SUCCEEDED
            return
        self.actual += actual
        if estimated is not None:
            self.matched += 1
            self.matched_estimated += estimated
            self.matched_actual += actual

    def result(self) -> Credits:
        return Credits(
            estimated=round(self.estimated, 6),
            actual=round(self.actual, 6),
            matched_estimated=round(self.matched_estimated, 6),
            matched_actual=round(self.matched_actual, 6),
            matched=self.matched,
            unpriced=self.unpriced,
            unreported=self.unreported,
        )


@dataclass(slots=True)
class _GroupTally:
    provider: str
    states: dict[State, int] = field(default_factory=dict)
    credits: _CreditsTally = field(default_factory=_CreditsTally)
    queue: array[float] = field(default_factory=_seconds)
    processing: array[float] = field(default_factory=_seconds)
    attempts: int = 0

    def add(self, row: JobRow) -> None:
        self.states[row.state] = self.states.get(row.state, 0) + 1
        self.attempts += row.attempts
        self.credits.add(row)
        waited, worked = queue_seconds(row), processing_seconds(row)
        if waited is not None:
            self.queue.append(waited)
        if worked is not None:
            self.processing.append(worked)

    def result(self, name: str, slots: int | None = None) -> Group:
        jobs = sum(self.states.values())
        running = sum(count for state, count in self.states.items() if state in AT_PROVIDER)
        final = sum(count for state, count in self.states.items() if state in FINAL)
        return Group(
            name=name,
            jobs=jobs,
            succeeded=self.states.get(State.SUCCEEDED, 0),
            failed=self.states.get(State.FAILED, 0),
            running=running,
            waiting=jobs - running - final,
            states=dict(self.states),
            credits=self.credits.result(),
            queue=spread(self.queue),
            processing=spread(self.processing),
            attempts=self.attempts,
            provider=self.provider,
            slots=slots,
        )


@dataclass(slots=True)
class _Tally:
    states: dict[State, int] = field(default_factory=dict)
    targets: dict[str, _GroupTally] = field(default_factory=dict)
    lanes: dict[str, _GroupTally] = field(default_factory=dict)
    providers: dict[str, _GroupTally] = field(default_factory=dict)
    failures: dict[FailureKey, FailureTally] = field(default_factory=dict)
    products: set[str] = field(default_factory=set)
    latest: float = -math.inf
    finished_in_run: int = 0
    files: int = 0
    file_bytes: int = 0
    video_seconds: float = 0.0

    def add(self, row: JobRow, *, since: float | None) -> None:
        self.states[row.state] = self.states.get(row.state, 0) + 1
        self.products.add(row.product)
        provider = provider_of(row)
        for groups, name in ((self.targets, row.target), (self.lanes, row.lane), (self.providers, provider)):
            if name not in groups:
                groups[name] = _GroupTally(provider)
            groups[name].add(row)
        if row.state is State.FAILED:
            self._add_failure(row)
        self._add_times(row, since)
        for artifact in row.artifacts:
            self.files += 1
            self.file_bytes += artifact.info.bytes
            if artifact.info.kind is MediaKind.VIDEO:
                self.video_seconds += finite(artifact.info.seconds) or 0.0

    def _add_failure(self, row: JobRow) -> None:
        key = failure_key(row)
        if key not in self.failures:
            self.failures[key] = new_tally(key, row)
        self.failures[key].add(row, finite(row.credits_actual))

    def _add_times(self, row: JobRow, since: float | None) -> None:
        for at in (row.planned_at, row.submitted_at, row.started_at, row.ready_at, row.finished_at):
            if at is not None and math.isfinite(at):
                self.latest = max(self.latest, at)
        if row.state is State.SUCCEEDED and since is not None and row.finished_at is not None:
            self.finished_in_run += row.finished_at >= since

    def result(self, info: RunInfo) -> Summary:
        moments = (self.latest, info.created_at, info.last_run_started_at, info.last_run_ended_at)
        as_of = max((at for at in moments if at is not None and math.isfinite(at)), default=0.0)
        run = _run_seconds(info, as_of)
        return Summary(
            campaign=info.campaign,
            rehearsal=info.rehearsal,
            as_of=as_of,
            jobs=sum(self.states.values()),
            states=dict(self.states),
            targets=tuple(tally.result(name) for name, tally in self.targets.items()),
            lanes=tuple(tally.result(name, info.limits.get(name)) for name, tally in self.lanes.items()),
            providers=tuple(tally.result(name) for name, tally in self.providers.items()),
            failures=_largest_first(self.failures.values()),
            attention=_attention(info, self.states),
            products=len(self.products),
            run_seconds=run,
            campaign_seconds=_between(info.created_at, as_of) or 0.0,
            per_hour=self.finished_in_run * 3600 / run if run else None,
            files=self.files,
            file_bytes=self.file_bytes,
            video_seconds=self.video_seconds,
        )


def _run_seconds(info: RunInfo, as_of: float) -> float | None:
    started, ended = info.last_run_started_at, info.last_run_ended_at
    if started is not None and ended is not None and ended >= started:
        return _between(started, ended)
    # No end yet, or only an earlier run's end: the last run is going on, or died.
    return _between(started, as_of)


def _largest_first(tallies: Iterable[FailureTally]) -> tuple[Failure, ...]:
    return tuple(tally.result() for tally in sorted(tallies, key=lambda tally: -tally.count))


def _attention(info: RunInfo, states: Mapping[State, int]) -> tuple[Attention, ...]:
    halted = [
        Attention(
            kind="halted",
            count=1,
            subject=lane,
            message=one_line(message, 300) or "The provider stopped this account.",
            advice="Put the account in order with the provider, then run again. Its jobs are still waiting; "
            "nothing is submitted twice.",
        )
        for lane, message in info.halted.items()
    ]
    return (*halted, *_waiting_for_somebody(states))


def _waiting_for_somebody(states: Mapping[State, int]) -> Iterable[Attention]:
    uncertain, held = states.get(State.UNCERTAIN, 0), states.get(State.HELD, 0)
    if uncertain:
        yield Attention(
            kind="uncertain",
            count=uncertain,
            subject="",
            message=f"{uncertain} {'job' if uncertain == 1 else 'jobs'} may or may not have reached the provider.",
            advice="Settle with `callsheet reconcile`; until then they are not submitted again.",
        )
    if held:
        yield Attention(
            kind="held",
            count=held,
            subject="",
            message=f"{held} {'job waits' if held == 1 else 'jobs wait'} for a person to approve earlier results.",
            advice="Look at the results below, then run again with `--approve TARGET`.",
        )
