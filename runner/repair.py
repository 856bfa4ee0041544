"""Makes a damaged ledger usable again.

Owns the rebuilding of the journal from what can still be read. The rule that decides everything: **a lost line must never lead to paying twice.**

* What is damaged in one byte is put right to the byte; moved lines go back, doubled ones go once. Nothing is lost by that.
* An event that cannot happen because a line before it is lost is *bridged*: the shortest way through ``lifecycle.TABLE`` that leads to it
  is written in between, marked as repaired.
* Where the lost line may have been the newest of its job, and may have been the intent to pay, the job becomes *uncertain*: the next run
  looks for it at the provider and takes it if it is there. That it is not there proves nothing here: then a person decides.
* Where so many lines are lost that whole lives may have begun in them, ``LinesLost`` says so: jobs without a later line are not
  submitted before a person says that they may be (``run --retry lost``).

The damaged file is kept, byte for byte. Lines of a newer version are never dropped: that file is refused.
"""

from __future__ import annotations

import heapq
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from runner import events as ev
from runner.damage import decode_event
from runner.disk import REAL_DISK, Disk, remove_file, replace_file
from runner.errors import LedgerError
from runner.events import AnyEvent, name_of
from runner.journal import VERSION, Header, committed_size, frame
from runner.ledger import submission_key
from runner.lifecycle import CAMPAIGN_EVENTS, TABLE
from runner.locking import Lock
from runner.model import State
from runner.naming import split_job_key
from runner.salvage import Reading, read_damaged
from runner.snapshot import read_place, snapshot_path

MARK = "repair"
_encode = msgspec.json.Encoder().encode
_RARE = frozenset({"NotFoundRemotely", "GivenUp", "GateRefused", "Cancelled", "RemoteLost", "CancelRequested", "Planned"})
"""A bridge goes another way when there is one: these are people's decisions, or begin a life."""
_MAY_PAY_NEXT = frozenset({State.READY, State.SUBMITTING, State.UNCERTAIN})


@dataclass(frozen=True, slots=True)
class Saved:
    """What the repair did about one job."""

    job: str
    state: str
    what: str


@dataclass(frozen=True, slots=True)
class Repair:
    """What a repair did. ``copy`` is the damaged file; None when nothing was wrong."""

    path: Path
    copy: Path | None
    lines: int
    healed: int
    lost: int
    """Lines that could not be told any more, at most."""
    jobs: tuple[Saved, ...]
    header: str = ""
    """How the first line was recovered, when it was damaged."""


@dataclass(frozen=True, slots=True)
class Known:
    """What else is known of the campaign, for what the file itself does not tell any more."""

    campaign: str = ""
    rehearsal: bool = False
    targets: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Target -> (operation, lane)."""
    artifacts: Path | None = None
    """The finished files, whose sidecars know remote ids; by default ``artifacts`` beside the ledger."""


@dataclass(slots=True)
class _Track:
    """One job while the lines are replayed. ``written`` are its places in the new journal."""

    key: str
    state: State | None = None
    life: int = 0
    attempt: int = 1
    at: float = 0.0
    remote_id: str = ""
    entry: int = -1
    """Number of the old line that came last, in the order of reading."""
    written: list[int] = field(default_factory=list)
    bridged: list[str] = field(default_factory=list)


class _Rebuilder:
    """Replays what can be read and writes what has to stand there."""

    def __init__(self, header: Header, known: Known) -> None:
        self.header = header
        self.out: list[AnyEvent | None] = []
        self.tracks: dict[str, _Track] = {}
        self.saved: dict[str, Saved] = {}
        self._targets: dict[str, tuple[str, str]] = dict(known.targets)
        self._operations: dict[str, tuple[str, str]] = {}
        self._artifacts = known.artifacts
        self._suspects: list[tuple[int, str]] = []
        self._entry = 0

    # --------------------------------------------------------------------------------------------------- replaying

    def learn(self, events: Iterable[AnyEvent]) -> None:
        """Remember which operation and lane jobs and targets have, for those whose ``Planned`` is lost."""
        for event in events:
            if isinstance(event, ev.Planned):
                self._targets.setdefault(event.target, (event.operation, event.lane))
            elif isinstance(event, ev.SubmitStarted) and event.operation:
                self._operations[event.job] = (event.operation, event.account)

    def hear(self, event: AnyEvent) -> None:
        """One line that can be read, in its order."""
        self._entry += 1
        if name_of(event) in CAMPAIGN_EVENTS:
            self.out.append(event)
            return
        track = self.tracks.setdefault(event.job, _Track(event.job))
        track.at = track.at or event.at
        if isinstance(event, ev.SubmitStarted):
            self._find_life(track, event)
        for name in bridge(track.state, name_of(event)):
            self._put(track, self._stand_in(track, name))
            track.bridged.append(name)
        self._put(track, event)
        track.entry = self._entry

    def lose(self, lines: int, legible: frozenset[str], *, all_legible: bool) -> None:
        """Lines are missing here. Whose they may have been becomes suspect."""
        self._entry += 1
        known = {key for key in legible if key in self.tracks}
        only = known if all_legible and len(known) == len(legible) else None
        for key, track in self.tracks.items():
            if track.state in _MAY_PAY_NEXT and (only is None or key in only):
                self._suspects.append((self._entry, key))
        if only is None and lines >= 2:  # see Ledger.in_doubt
            self.out.append(ev.LinesLost(job="", at=self._latest(), lines=lines))

    def _latest(self) -> float:
        return next((event.at for event in reversed(self.out) if event is not None), self.header.created)

    def _find_life(self, track: _Track, event: ev.SubmitStarted) -> None:
        """The key tells which life it is; lives in between were lost without another trace, and count all the same."""
        for life in range(track.life, track.life + 50):
            if event.key == submission_key(self.header.id, event.job, life, event.attempt):
                for _ in range(life - track.life):
                    for name in bridge(track.state, "Planned"):
                        self._put(track, self._stand_in(track, name))
                    self._put(track, self._stand_in(track, "Planned"))
                    track.bridged.append("Planned")
                return

    def _put(self, track: _Track, event: AnyEvent) -> None:
        track.state = TABLE[track.state][name_of(event)]
        track.at = event.at
        match event:
            case ev.Planned():
                track.life += 1
                track.attempt, track.remote_id = 1, ""
            case ev.SubmitStarted():
                track.attempt = event.attempt
            case ev.Accepted():
                track.remote_id = event.remote_id
            case ev.RetryScheduled():
                track.attempt += 1
                track.remote_id = ""
            case _:
                pass
        track.written.append(len(self.out))
        self.out.append(event)

    def _stand_in(self, track: _Track, name: str) -> AnyEvent:
        """An event in the place of a lost one."""
        at, job = track.at, track.key
        match name:
            case "Planned":
                return self._planned(track)
            case "SubmitStarted":
                operation, lane = self._operation_of(track.key)
                key = submission_key(self.header.id, job, track.life, track.attempt)
                return ev.SubmitStarted(job=job, at=at, attempt=track.attempt, key=key, account=lane, operation=operation)
            case "Accepted":
                return ev.Accepted(job=job, at=at, remote_id="", how=MARK)
            case _:
                return decode_event(_encode({"event": name, "job": job, "at": at}))

    def _planned(self, track: _Track) -> ev.Planned:
        target, product, cell = track.key, "", {}
        try:
            name = split_job_key(track.key)
            target, product, cell = name.target, name.product, dict(name.cell)
        except ValueError:
            pass
        operation, lane = self._operation_of(track.key)
        return ev.Planned(
            job=track.key, at=track.at, target=target, product=product, operation=operation, lane=lane,
            fingerprint=ev.UNTOLD, cell=cell, reason="recovered",
        )  # fmt: skip

    def _operation_of(self, key: str) -> tuple[str, str]:
        try:
            target = split_job_key(key).target
        except ValueError:
            target = key
        return self._operations.get(key) or self._targets.get(target) or ("", "")

    # ---------------------------------------------------------------------------------------------------- finishing

    def finish(self) -> None:
        """Settle what is not certain any more, the suspects first."""
        for entry, key in self._suspects:
            track = self.tracks[key]
            if track.entry < entry:
                self._doubt(track, "the ledger was damaged after this")
        for track in self.tracks.values():
            if not track.remote_id:
                self._recall(track)
            if not track.remote_id and track.state in {State.RUNNING, State.CANCELLING, State.COLLECTING}:
                self._forget_acceptance(track)
            elif track.bridged and track.key not in self.saved:
                self._save(track, f"rebuilt {', '.join(dict.fromkeys(track.bridged))}")

    def _doubt(self, track: _Track, why: str) -> None:
        if track.state is State.READY:
            self._put(track, self._stand_in(track, "SubmitStarted"))
        if track.state is State.SUBMITTING:
            self._put(track, ev.SubmitUncertain(job=track.key, at=track.at, message=why, how=MARK))
        elif track.state is State.UNCERTAIN:
            event = self.out[track.written[-1]]
            if isinstance(event, ev.SubmitUncertain | ev.RemoteLost):
                self.out[track.written[-1]] = msgspec.structs.replace(event, how=MARK)
        self._save(track, "may have been submitted in a line that is lost; looked for at the provider")

    def _recall(self, track: _Track) -> None:
        """A lost remote id stands in the sidecar of a file that was stored."""
        stored: ev.ArtifactStored | None = None
        for place in reversed(track.written):
            event = self.out[place]
            if isinstance(event, ev.ArtifactStored):
                stored = event
            elif isinstance(event, ev.Accepted):
                if stored and event.how == MARK:
                    track.remote_id = _sidecar_id(self._artifacts, stored)
                    self.out[place] = msgspec.structs.replace(event, remote_id=track.remote_id)
                return

    def _forget_acceptance(self, track: _Track) -> None:
        """Accepted, but under which id is lost: back to the intent, so that it is looked for by its key."""
        self._cut_to_intent(track)
        track.state = State.SUBMITTING
        self._put(
            track,
            ev.SubmitUncertain(
                job=track.key, at=track.at, message="the provider accepted it, but its id is lost from the ledger", how=MARK
            ),
        )
        self._save(track, "its remote id is lost; looked for at the provider")

    def _cut_to_intent(self, track: _Track) -> None:
        for place in reversed(track.written):
            if isinstance(self.out[place], ev.SubmitStarted):
                break
            self.out[place] = None

    def _save(self, track: _Track, what: str) -> None:
        self.saved[track.key] = Saved(track.key, track.state.value if track.state else "", what)


def _sidecar_id(artifacts: Path | None, stored: ev.ArtifactStored) -> str:
    """The remote id in the sidecar of a stored file of this job; empty when it is not told."""
    if artifacts is None:
        return ""
    try:
        told = msgspec.json.decode((artifacts / f"{stored.path}.json").read_bytes())
    except (OSError, ValueError, msgspec.DecodeError):
        return ""
    right = isinstance(told, dict) and told.get("job") == stored.job and told.get("sha256") == stored.sha256
    found = told.get("remote_id") if right else ""
    return found if isinstance(found, str) else ""


def bridge(state: State | None, event: str) -> tuple[str, ...]:
    """The events that have to come first so that ``event`` can happen to a job in ``state``; fewest first, decisions last."""
    queue: list[tuple[int, int, State | None, tuple[str, ...]]] = [(0, 0, state, ())]
    seen: set[State | None] = set()
    count = 0
    while queue:
        cost, _, here, way = heapq.heappop(queue)
        if event in TABLE[here]:
            return way
        if here in seen:
            continue
        seen.add(here)
        for name, there in TABLE[here].items():
            if there is not here:
                count += 1
                heapq.heappush(queue, (cost + (4 if name in _RARE else 1), count, there, (*way, name)))
    raise AssertionError(f"no way leads to {event}")


# ------------------------------------------------------------------------------------------------------------- the file


def rebuild(reading: Reading, header: Header, known: Known) -> tuple[list[AnyEvent], dict[str, Saved]]:
    """The events of the repaired journal, and what was done about which job. Pure."""
    rebuilder = _Rebuilder(header, known)
    rebuilder.learn(entry for entry in reading.entries if not isinstance(entry, tuple))
    for entry in reading.entries:
        if isinstance(entry, tuple):
            lines, legible, certain = entry
            rebuilder.lose(lines, legible, all_legible=certain)
        else:
            rebuilder.hear(entry)
    rebuilder.finish()
    return [event for event in rebuilder.out if event is not None], rebuilder.saved


def repair(path: Path, known: Known, *, now: float, disk: Disk = REAL_DISK) -> Repair:
    """Repair the ledger at ``path``; ``now`` in Unix seconds. Nothing is written when nothing is wrong.

    Raises ``LedgerLocked``, ``LedgerError`` (a newer version's file, no header and no campaign to make one from, a full disk).
    """
    lock = Lock(path)
    lock.acquire(now)
    try:
        return _repair(path, known, now, disk)
    except OSError as error:
        raise LedgerError(
            f"{path} cannot be repaired: {error.strerror}", hint="nothing was changed; see to the disk, then repair again"
        ) from error
    finally:
        lock.release()


def _repair(path: Path, known: Known, now: float, disk: Disk) -> Repair:
    kept = read_place(path)
    short = kept is not None and committed_size(path) < kept.size
    reading = read_damaged(path, kept.lines if kept and short else 0)
    header, how = _header(reading, kept.header if kept else None, known, now, path)
    known = known if known.artifacts else replace(known, artifacts=path.parent / "artifacts")
    events, saved = rebuild(reading, header, known)
    if not (reading.changed or saved or how or short):
        return Repair(path, None, len(events) + 1, 0, 0, ())
    copy = _copy(path, now, disk)
    remove_file(snapshot_path(path), disk)
    replace_file(path, _framed(header, events), disk)
    jobs = tuple(saved.values())
    return Repair(path, copy, len(events) + 1, reading.healed, reading.lost, jobs, how)


def _framed(header: Header, events: Iterable[AnyEvent]) -> Iterator[bytes]:
    yield frame(_encode(header), 1)
    for number, event in enumerate(events, start=2):
        yield frame(_encode(event), number)


def _header(reading: Reading, kept: Header | None, known: Known, now: float, path: Path) -> tuple[Header, str]:
    if reading.header is not None:
        if reading.header.version > VERSION:
            raise LedgerError(f"{path} was written by a newer Callsheet", hint="upgrade: pip install --upgrade callsheet")
        return reading.header, ""
    if kept is not None:
        return kept, "taken from the snapshot beside it"
    if not known.campaign:
        raise LedgerError(
            f"the first line of {path} is lost, and with it the campaign's name",
            hint="name the manifest in place of the ledger: callsheet ledger repair MANIFEST (with --rehearse for a rehearsal)",
        )
    fresh = Header(
        callsheet="ledger",
        version=VERSION,
        campaign=known.campaign,
        rehearsal=known.rehearsal,
        id=os.urandom(8).hex(),
        created=now,
    )
    return fresh, "written anew from the manifest"


def _copy(path: Path, now: float, disk: Disk) -> Path:
    """A byte-exact copy beside the file, durable before anything is changed."""
    stamp = datetime.fromtimestamp(now, tz=UTC).strftime("%Y%m%dT%H%M%SZ")
    copy = path.with_name(f"{path.name}.damaged-{stamp}")
    number = 1
    while copy.exists():
        number += 1
        copy = path.with_name(f"{path.name}.damaged-{stamp}-{number}")
    shutil.copyfile(path, copy)
    with copy.open("rb") as file:
        disk.fsync(file.fileno())
    disk.sync_folder(path.parent)
    return copy
