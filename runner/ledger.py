"""The ledger: every job's state, as the journal tells it.

Owns the one way in which a state changes: an event is checked against ``lifecycle.TABLE``, written to the journal, then applied
here. Holds a small record per job; a job's whole story is read back from the file by offset, so memory does not grow with prompts.

The single writer opens it with ``Ledger.open``; readers (plan, status, report) use ``Ledger.read``, which takes no lock.
Never decides anything: it neither schedules nor retries.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from runner import events as ev
from runner.errors import IllegalTransition, LaneLost, LedgerCorrupt, LedgerError
from runner.events import AnyEvent, Event, name_of
from runner.journal import Header, Journal, Line, Sync, check_length, committed_size, lines_of, read_header, repair_hint, unframe
from runner.lifecycle import CAMPAIGN_EVENTS, OPEN, advance
from runner.model import JobRow, RunInfo, State, StoredArtifact
from runner.seams import JobResult, JobState, Tenure, joined_keys
from runner.snapshot import FORMAT, Place, Snapshot, checksum, read_place, read_snapshot, write_snapshot
from runner.story import row_of, stored_artifact

NOTHING = 0xFFFFFFFF
SNAPSHOT_LINES = 250_000
"""After so many new lines a snapshot is taken while the run goes on; otherwise when the ledger is closed."""
_decode: Callable[[bytes], AnyEvent] = msgspec.json.Decoder(AnyEvent).decode
_encode = msgspec.json.Encoder().encode

Listener = Callable[[Event, JobState | None], None]
"""Told of every event after it was applied; the job is None for facts about a run or a lane."""


@dataclass(frozen=True, slots=True)
class LocalTenure:
    """The right to drive a lane within this process; lost as soon as the lane is taken again."""

    lane: str
    epoch: int
    epochs: dict[str, int]

    def lost(self) -> bool:
        """True when the lane was taken again."""
        return self.epochs[self.lane] != self.epoch


def submission_key(ledger: str, job: str, life: int, attempt: int) -> str:
    """The idempotency key of one attempt of one life of a job, in the ledger with this id."""
    identity = f"{ledger}\0{job}\0{life}\0{attempt}"
    return "cs-" + hashlib.blake2b(identity.encode(), digest_size=12).hexdigest()


_NAMES = frozenset({"event", "job", "key", "remote_id"})
"""What jobs and remote work are found by: ours, or needed to collect what was paid for."""


def _without_secrets(document: bytes, guard: Callable[[str], str]) -> bytes:
    """The line with ``guard`` over its texts alone: a secret of digits must not break a number that happens to hold them."""

    def clean(node: object) -> object:
        if isinstance(node, str):
            return guard(node)
        if isinstance(node, dict):
            return {name: clean(value) for name, value in node.items()}
        return [clean(value) for value in node] if isinstance(node, list) else node

    fields = msgspec.json.decode(document)
    return msgspec.json.encode({name: value if name in _NAMES else clean(value) for name, value in fields.items()})


_WAITING = frozenset({State.PENDING, State.HELD, State.FAILED})


class Ledger:
    """See the module. ``jobs`` maps job keys to their records, in the order in which they were first planned."""

    def __init__(self, path: Path, header: Header, journal: Journal | None) -> None:
        self.path = path
        self.header = header
        self.jobs: dict[str, JobState] = {}
        self.committed: dict[str, float] = defaultdict(float)
        """Lane -> credits that were or may have been spent, over all runs."""
        self.listeners: list[Listener] = []
        self.guard: Callable[[str], str] | None = None
        """Takes secrets out of a line before it is written: providers echo what they are sent."""
        self.runs = 0
        self.run_started: ev.RunStarted | None = None
        self.run_ended: ev.RunEnded | None = None
        self.halted: dict[str, ev.LaneHalted] = {}
        self.losses: list[tuple[int, int]] = []
        """Where a repair could not tell lines any more: (index of the next job line, how many)."""
        self._journal = journal
        self._reader = None if journal else path.open("rb")
        self._offsets = array("Q")
        self._previous = array("I")
        self._epochs: dict[str, int] = defaultdict(int)
        self._snapshot_lines = 0
        try:
            self._load()
        except BaseException:
            if self._reader:
                self._reader.close()
            raise

    # ------------------------------------------------------------------------------------------------ opening

    @classmethod
    def open(
        cls, path: Path, *, campaign: str, rehearsal: bool, now: float, threaded: bool = True, sync: Sync | None = None
    ) -> Ledger:
        """Lock, create or open for writing. Raises ``LedgerLocked``, ``LedgerCorrupt``, ``LedgerError``."""
        _check_snapshot(path)
        journal = Journal.open(path, campaign=campaign, rehearsal=rehearsal, now=now, threaded=threaded, sync=sync)
        try:
            return cls(path, journal.header, journal)
        except BaseException:
            journal.close()
            raise

    @classmethod
    def read(cls, path: Path) -> Ledger | None:
        """Open for reading; None when there is no ledger yet. Raises ``LedgerCorrupt``, ``LedgerError``."""
        _check_snapshot(path)
        header = read_header(path)
        return cls(path, header, None) if header else None

    def _load(self) -> None:
        snapshot = read_snapshot(self.path)
        offset, number = self._restore(snapshot) if snapshot else (0, 0)
        if self._reader is not None:
            self._replay(lines_of(self._reader, self.path, offset=offset, number=number))
            return
        with self.path.open("rb") as file:
            self._replay(lines_of(file, self.path, offset=offset, number=number))

    def _replay(self, lines: Iterable[Line]) -> None:
        for line in lines:
            if line.number == 1:
                continue
            try:
                event = _decode(line.payload)
                self._apply(event, line.offset)
            except (msgspec.DecodeError, IllegalTransition) as error:
                raise LedgerCorrupt(
                    f"{self.path}: line {line.number} cannot be understood: {error}",
                    file=str(self.path),
                    line=line.number,
                    hint=f"if a newer Callsheet wrote it: pip install --upgrade callsheet; else: {repair_hint(self.path)}",
                ) from error

    def _restore(self, snapshot: Snapshot) -> tuple[int, int]:
        """Take over what a snapshot knows; where reading goes on (byte, lines before it)."""
        place = snapshot.place
        if place.header != self.header or snapshot.order != _ORDER:
            return 0, 0
        self.jobs = {job.key: job for job in snapshot.jobs}
        self.committed.update(snapshot.committed)
        self.runs, self.run_started, self.run_ended = snapshot.runs, snapshot.run_started, snapshot.run_ended
        self.halted, self.losses = snapshot.halted, snapshot.losses
        self._offsets.frombytes(snapshot.offsets)
        self._previous.frombytes(snapshot.previous)
        self._snapshot_lines = place.lines
        return place.size, place.lines

    def take_snapshot(self) -> None:
        """Write what is known beside the journal, after the journal itself is safe. Raises ``LedgerError``, ``OSError``."""
        journal = self._writer()
        journal.settle()
        crc = checksum(self.path, journal.size)
        if crc is None:
            return
        place = Place(format=FORMAT, header=self.header, size=journal.size, lines=journal.lines, crc=crc)
        snapshot = Snapshot(
            place=place,
            order=_ORDER,
            jobs=list(self.jobs.values()),
            committed=dict(self.committed),
            runs=self.runs,
            run_started=self.run_started,
            run_ended=self.run_ended,
            halted=self.halted,
            losses=self.losses,
            offsets=self._offsets.tobytes(),
            previous=self._previous.tobytes(),
        )
        write_snapshot(self.path, snapshot, journal.disk)
        self._snapshot_lines = journal.lines

    def close(self) -> None:
        """Fsync, snapshot, close, unlock."""
        if self._journal:
            try:
                if self._journal.lines > self._snapshot_lines:
                    with contextlib.suppress(OSError, LedgerError):  # it only saves time; the journal tells everything
                        self.take_snapshot()
            finally:
                self._journal.close()
        if self._reader:
            self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------------ writing

    async def take(self, lane: str) -> Tenure:
        """Become the lane's driver; a tenure taken earlier can write nothing from here on."""
        self._epochs[lane] += 1
        return LocalTenure(lane, self._epochs[lane], self._epochs)

    async def append(self, tenure: Tenure, events: Sequence[Event]) -> None:
        """All or nothing, durable on return. Raises ``LaneLost``, ``IllegalTransition``, ``LedgerError``."""
        self.note(tenure, events)
        await self._writer().durable()

    def note(self, tenure: Tenure, events: Sequence[Event]) -> None:
        """The same without waiting for the disk: only for facts that can be learnt again."""
        if tenure.lost():
            raise LaneLost(f"the lane {tenure.lane} is driven by somebody else now", hint="this driver must stop")
        self._write(events)

    async def deliver(self, lane: str, events: Sequence[Event]) -> None:
        """Facts from elsewhere about jobs of ``lane``: dependencies met, approvals, cancels."""
        del lane  # one process drives every lane here; a distributed ledger routes by it
        self._write(events)
        await self._writer().durable()

    async def record(self, event: Event) -> None:
        """A fact about the run or a lane, durable on return."""
        self._write([event])
        await self._writer().durable()

    def plan(self, events: Sequence[Event]) -> None:
        """Open jobs (``Planned`` and what follows at once); safe to lose, because planning again gives the same."""
        self._write(events)

    async def durable(self) -> None:
        """Wait until everything written so far is on disk."""
        await self._writer().durable()

    def _writer(self) -> Journal:
        if self._journal is None:
            raise LedgerError(f"{self.path} was opened for reading only")
        return self._journal

    def _write(self, events: Sequence[Event]) -> None:
        self._check(events)
        documents = [_encode(event) for event in events]
        if self.guard:
            documents, events = self._guarded(documents, events)
        offsets = self._writer().append(documents)
        for event, offset in zip(events, offsets, strict=True):
            job = self._apply(event, offset)
            for listener in self.listeners:
                listener(event, job)
        if self._writer().lines - self._snapshot_lines > SNAPSHOT_LINES:
            with contextlib.suppress(OSError, LedgerError):
                self.take_snapshot()

    def _guarded(self, documents: list[bytes], events: Sequence[Event]) -> tuple[list[bytes], Sequence[Event]]:
        """The lines without secrets, and the events as a reader will find them."""
        if self.guard is None:
            return documents, events
        texts = [document.decode() for document in documents]
        if all(self.guard(text) == text for text in texts):
            return documents, events
        guarded = [_without_secrets(document, self.guard) for document in documents]
        return guarded, [_decode(document) for document in guarded]

    def _check(self, events: Sequence[Event]) -> None:
        states: dict[str, State | None] = {}
        for event in events:
            if name_of(event) in CAMPAIGN_EVENTS:
                continue
            if event.job not in states:
                known = self.jobs.get(event.job)
                states[event.job] = known.state if known else None
            try:
                states[event.job] = advance(event.job, states[event.job], event)
            except IllegalTransition as error:
                story = tuple(_encode(line).decode() for line in self.story(event.job))
                raise IllegalTransition(error.message, story=story, hint="this is a bug: please report the story") from None

    def _apply(self, event: Event, offset: int) -> JobState | None:
        if isinstance(event, ev.RunStarted | ev.RunEnded | ev.LaneHalted | ev.LinesLost):
            self._apply_campaign(event)
            return None
        job = self.jobs.get(event.job)
        state = advance(event.job, job.state if job else None, event)
        if job is None:
            job = self.jobs[event.job] = JobState(event.job)
        self._offsets.append(offset)
        self._previous.append(job.last if job.last >= 0 else NOTHING)
        job.last = len(self._offsets) - 1
        change = _CHANGES.get(type(event))
        if change:
            change(self, job, event)
        job.state = state
        return job

    def _apply_campaign(self, event: ev.RunStarted | ev.RunEnded | ev.LaneHalted | ev.LinesLost) -> None:
        if isinstance(event, ev.RunStarted):
            self.runs += 1
            self.run_started, self.run_ended = event, None
            self.halted = {}
        elif isinstance(event, ev.RunEnded):
            self.run_ended = event
        elif isinstance(event, ev.LinesLost):
            self.losses.append((len(self._offsets), event.lines))
        else:
            self.halted[event.lane] = event

    # ----------------------------------------------------------------------------------- what an event changes

    def _commit(self, job: JobState, amount: float | None) -> None:
        """Count ``amount`` (None: nothing) of the job's lane as spent, in place of what was counted for it before."""
        if job.committed:
            self.committed[job.lane] -= job.credits
        job.committed = amount is not None
        if amount is not None:
            job.credits = amount
            self.committed[job.lane] += amount

    def _planned(self, job: JobState, event: ev.Planned) -> None:
        job.committed = False  # what an earlier life cost stays counted
        job.target, job.lane, job.operation = event.target, event.lane, event.operation
        job.fingerprint = event.fingerprint
        job.life += 1
        job.attempt = 1
        job.submission_key = job.remote_id = job.error_class = job.error_cause = ""
        job.credits = job.estimate = event.credits or 0.0
        job.priced = False

    def _started(self, job: JobState, event: ev.SubmitStarted) -> None:
        job.attempt, job.submission_key, job.submitted_at = event.attempt, event.key, event.at
        job.upstream = joined_keys(event.upstream)
        job.priced = False
        self._commit(job, job.estimate)

    def _accepted(self, job: JobState, event: ev.Accepted) -> None:
        job.remote_id = event.remote_id
        self._price(job, event.credits)

    def _succeeded(self, job: JobState, event: ev.RemoteSucceeded) -> None:
        self._price(job, event.credits)

    def _price(self, job: JobState, credits_: float | None) -> None:
        if credits_ is not None:
            self._commit(job, credits_)
            job.priced = True

    def _not_spent(self, job: JobState, event: Event) -> None:
        self._commit(job, None)
        job.credits, job.priced = job.estimate, False
        if isinstance(event, ev.SubmitRefused):
            job.error_class, job.error_cause = "refused", event.cause

    def _remote_failed(self, job: JobState, event: ev.RemoteFailed) -> None:
        self._commit(job, event.credits or 0.0)
        job.error_class, job.error_cause = "failed", event.cause

    def _failed_here(self, job: JobState, event: Event) -> None:
        job.error_class = "given_up" if isinstance(event, ev.GivenUp) else "rejected"
        if isinstance(event, ev.GivenUp) and event.cause:
            job.error_cause = event.cause

    def _late(self, job: JobState, event: Event) -> None:
        del event
        job.error_cause = "deadline"

    def _retry(self, job: JobState, event: Event) -> None:
        del event
        job.attempt += 1
        job.submission_key = job.remote_id = job.error_class = job.error_cause = ""
        job.committed = False  # what the earlier attempt cost stays counted
        job.credits, job.priced = job.estimate, False  # the next one is not free because the last one was

    # ------------------------------------------------------------------------------------------------ reading

    def open_jobs(self, lane: str) -> Iterable[JobState]:
        """Jobs that may have cost money and are not settled: submitting, uncertain, running, cancelling, collecting."""
        return [job for job in self.jobs.values() if job.lane == lane and job.state in OPEN]

    def story(self, key: str) -> list[AnyEvent]:
        """A job's events from the first to the newest, read back from the file."""
        job = self.jobs.get(key)
        story: list[AnyEvent] = []
        index = job.last if job else -1
        while 0 <= index < NOTHING:
            story.append(self._event_at(self._offsets[index]))
            index = self._previous[index]
        story.reverse()
        return story

    def life(self, key: str) -> list[AnyEvent]:
        """The story since the job was last planned."""
        story = self.story(key)
        for index in range(len(story) - 1, -1, -1):
            if isinstance(story[index], ev.Planned):
                return story[index:]
        return story

    def planned(self, key: str) -> ev.Planned:
        """The job's newest ``Planned``. Raises ``KeyError`` for an unknown job."""
        first = self.life(key)[0] if key in self.jobs else None
        if not isinstance(first, ev.Planned):
            raise KeyError(key)
        return first

    def attempt(self, key: str) -> ev.SubmitStarted | None:
        """The newest frozen attempt of this life, if one was started."""
        return next((e for e in reversed(self.life(key)) if isinstance(e, ev.SubmitStarted)), None)

    def result(self, key: str) -> JobResult:
        """What a succeeded job hands on. Raises ``KeyError`` for an unknown job."""
        job = self.jobs[key]
        artifacts: dict[str, StoredArtifact] = {}
        values: dict[str, str] = {}
        for event in self.life(key):
            if isinstance(event, ev.SubmitStarted):
                artifacts.clear()
            elif isinstance(event, ev.ArtifactStored):
                artifacts[event.name] = stored_artifact(event)
            elif isinstance(event, ev.RemoteSucceeded):
                values = dict(event.values)
        return JobResult(job.remote_id, job.submission_key, artifacts, values)

    def damaged_here(self, key: str) -> bool:
        """Whether the job is uncertain because the ledger was damaged: then "the provider does not have it" proves nothing."""
        for event in reversed(self.life(key)):
            if isinstance(event, ev.SubmitUncertain | ev.RemoteLost):
                return event.how == "repair"
            if isinstance(event, ev.SubmitStarted):
                break
        return False

    def in_doubt(self, key: str) -> bool:
        """Whether a life of this job may have begun, and been paid for, in lines that a repair could not tell any more.

        A submission takes three lines from nothing (planned, ready, intent), two from a state that only waits.
        """
        job = self.jobs.get(key)
        enough = 2 if job and job.state in _WAITING else 3
        return any(lines >= enough and (job is None or job.last < index) for index, lines in self.losses)

    def submission_key(self, job: JobState) -> str:
        """The idempotency key of the job's due attempt: the same however often that attempt is repeated."""
        return submission_key(self.header.id, job.key, job.life, job.attempt)

    def info(self, artifacts: Path) -> RunInfo:
        """The campaign as a whole, for reports."""
        started, ended = self.run_started, self.run_ended
        return RunInfo(
            campaign=self.header.campaign,
            rehearsal=self.header.rehearsal,
            ledger=self.path,
            artifacts=artifacts,
            created_at=self.header.created,
            runs=self.runs,
            last_run_started_at=started.at if started else None,
            last_run_ended_at=ended.at if ended else None,
            halted={lane: f"{event.message} {event.hint}".strip() for lane, event in self.halted.items()},
            limits=dict(started.limits) if started else {},
        )

    def rows(self) -> Iterator[JobRow]:
        """Every job as reports see it, in the order of planning."""
        for job in self.jobs.values():
            yield row_of(job, self.story(job.key))

    def _event_at(self, offset: int) -> AnyEvent:
        if self._journal:
            return _decode(self._journal.read_at(offset))
        if self._reader is None:
            raise LedgerError(f"{self.path} is closed")
        self._reader.seek(offset)
        payload = unframe(self._reader.readline().rstrip(b"\n"))
        if payload is None:
            raise LedgerCorrupt(f"{self.path}: the line at byte {offset} changed while in use", file=str(self.path), line=0)
        return _decode(payload)


def _check_snapshot(path: Path) -> None:
    """A journal that is shorter than at its last snapshot has lost lines. Raises ``LedgerCorrupt``."""
    place = read_place(path)
    if place is not None and place.size > committed_size(path):
        again = read_place(path)  # a compaction in between takes the old snapshot away first
        check_length(path, again.size if again else 0)


_ORDER = f"{sys.byteorder} {array('Q').itemsize} {array('I').itemsize}"

_CHANGES: dict[type[Event], Callable[..., None]] = {
    ev.Planned: Ledger._planned,
    ev.SubmitStarted: Ledger._started,
    ev.Accepted: Ledger._accepted,
    ev.RemoteSucceeded: Ledger._succeeded,
    ev.SubmitDeferred: Ledger._not_spent,
    ev.SubmitRefused: Ledger._not_spent,
    ev.NotFoundRemotely: Ledger._not_spent,
    ev.RemoteFailed: Ledger._remote_failed,
    ev.ArtifactRejected: Ledger._failed_here,
    ev.GivenUp: Ledger._failed_here,
    ev.RetryScheduled: Ledger._retry,
    ev.DeadlinePassed: Ledger._late,
}
