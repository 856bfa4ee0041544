"""Lifecycle, journal, ledger, snapshot, compaction and repair driven at random against a model that is three dictionaries."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from core_events import MAKERS
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from runner.compaction import compact
from runner.damage import examine
from runner.disk import RealDisk
from runner.errors import IllegalTransition, LedgerCorrupt
from runner.events import Event
from runner.journal import Journal
from runner.ledger import Ledger
from runner.lifecycle import TABLE
from runner.model import State
from runner.repair import Known, repair
from runner.snapshot import snapshot_path

JOBS = ("still/a", "still/b", "clip/a/take=1")
MOVES = tuple(name for name in MAKERS if name != "Observed")
steps_taken = 0


class FastDisk(RealDisk):
    """Fsyncs nothing: the disk is not what is tested here."""

    def fsync(self, fd: int) -> None:
        """Nothing."""

    def sync_folder(self, folder: Path) -> None:
        """Nothing."""


FAST = FastDisk()


class FastJournal(Journal):
    """Stands on it."""

    disk = FAST


class LedgerMachine(RuleBasedStateMachine):
    """``states``, ``paid`` and ``ids`` are the model; ``safe`` is what of the file an fsync covered."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="ledger-machine-"))
        self.path = self.folder / "ledger.jsonl"
        self.states: dict[str, State] = {}
        self.stories: dict[str, list[Event]] = {}
        self.pending: list[Event] = []
        self.count = 0
        self.ledger: Ledger | None = None

    @initialize()
    def begin(self) -> None:
        """A new ledger."""
        self._open()

    def _open(self) -> None:
        journal = FastJournal.open(self.path, campaign="c", rehearsal=False, now=1.0, threaded=False)
        try:
            self.ledger = Ledger(self.path, journal.header, journal)
        except LedgerCorrupt:
            journal.close()
            raise

    @property
    def open_ledger(self) -> Ledger:
        """The ledger at hand."""
        assert self.ledger is not None
        return self.ledger

    @rule(job=st.sampled_from(JOBS), pick=st.integers(0, 99), wild=st.integers(0, 9))
    def append(self, job: str, pick: int, wild: int) -> None:
        """Mostly something that can happen; now and then something that cannot."""
        self.count += 1
        row = sorted(TABLE[self.states.get(job)])
        name = MOVES[pick % len(MOVES)] if wild == 0 else row[pick % len(row)]
        event = MAKERS[name](job, self.count)
        if name in row:
            self.open_ledger.plan([event])
            self.states[job] = TABLE[self.states.get(job)][name]
            self.stories.setdefault(job, []).append(event)
        else:
            with pytest.raises(IllegalTransition):
                self.open_ledger.plan([event])

    @rule()
    def close_and_open(self) -> None:
        """In good order, which leaves a snapshot."""
        self.open_ledger.close()
        self._open()

    @rule(torn=st.binary(max_size=40).filter(lambda tail: b"\n" not in tail))
    def crash(self, torn: bytes) -> None:
        """The process dies in the middle of a line."""
        self._abandon()
        with self.path.open("ab") as file:
            file.write(torn)
        self._open()

    def _abandon(self) -> None:
        ledger = self.open_ledger
        ledger._snapshot_lines = ledger._writer().lines  # a killed process takes none
        ledger.close()
        self.ledger = None

    @rule()
    def snapshot(self) -> None:
        """Now."""
        self.open_ledger.take_snapshot()

    @rule()
    def lose_the_snapshot(self) -> None:
        """A person tidied up."""
        snapshot_path(self.path).unlink(missing_ok=True)

    @rule()
    def compact(self) -> None:
        """Between two runs."""
        self._abandon()
        compact(self.path, now=2.0, disk=FAST)
        self.stories = {
            job: [e for e in told if type(e).__name__ not in {"Observed", "CollectDeferred"}]
            for job, told in self.stories.items()
        }
        self._open()

    @precondition(lambda self: self.path.stat().st_size > 200)
    @rule(where=st.floats(0, 0.999), bit=st.integers(0, 7))
    def flip_a_bit(self, where: float, bit: int) -> None:
        """Refused, found by ``verify``, and put right to the byte: nothing is lost."""
        self._abandon()
        content = self.path.read_bytes()
        at = int(where * (len(content) - 1))
        self.path.write_bytes(content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :])
        assert not examine(self.path).good
        with pytest.raises(LedgerCorrupt):
            self._open()
        assert repair(self.path, Known(campaign="c"), now=3.0, disk=FAST).lost == 0
        assert self.path.read_bytes() == content
        for copy in self.folder.glob("*.damaged-*"):
            copy.unlink()
        self._open()

    @precondition(lambda self: self.path.read_bytes().count(b"\n") > 3)
    @rule(where=st.floats(0, 0.999), count=st.integers(1, 3))
    def lose_lines(self, where: float, count: int) -> None:
        """Repaired: what had been paid for, or may have been, is never ready to be submitted again without a question."""
        self._abandon()
        snapshot_path(self.path).unlink(missing_ok=True)
        lines = self.path.read_bytes().splitlines(keepends=True)
        at = 1 + int(where * (len(lines) - 1 - count)) if len(lines) > 1 + count else 1
        if at + count >= len(lines):  # a clean end leaves no trace; the snapshot tests have it
            count = max(0, len(lines) - 1 - at)
        self.path.write_bytes(b"".join(lines[:at] + lines[at + count :]))
        before = dict(self.states)
        repair(self.path, Known(campaign="c"), now=3.0, disk=FAST)
        for copy in self.folder.glob("*.damaged-*"):
            copy.unlink()
        self._open()
        after = {key: job.state for key, job in self.open_ledger.jobs.items()}
        for job, state in before.items():
            if state in {State.SUBMITTING, State.UNCERTAIN, State.RUNNING, State.CANCELLING, State.COLLECTING, State.SUCCEEDED}:
                assert after.get(job) is not State.READY or self.open_ledger.in_doubt(job), (job, state, after.get(job))
                assert after.get(job) is not None or self.open_ledger.in_doubt(job)
        self.states = dict(after)
        self.stories = {job: list(self.open_ledger.story(job)) for job in after}

    @invariant()
    def it_knows_what_happened(self) -> None:
        """States as in the model, after every step."""
        global steps_taken  # noqa: PLW0603  # counts over all examples
        steps_taken += 1
        if self.ledger is not None:
            assert {key: job.state for key, job in self.ledger.jobs.items()} == self.states

    def teardown(self) -> None:
        """Read it once more, whole, and compare the stories."""
        if self.ledger is not None:
            self.ledger.close()
            found = Ledger.read(self.path)
            assert found is not None
            with found:
                for job, told in self.stories.items():
                    kept = [e for e in found.story(job) if type(e).__name__ not in {"Observed", "CollectDeferred"}]
                    assert kept == [e for e in told if type(e).__name__ not in {"Observed", "CollectDeferred"}]
            assert examine(self.path).good
        shutil.rmtree(self.folder)


QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


def test_the_ledger_knows_what_happened_whatever_happens() -> None:
    """Ten thousand random steps: appends, crashes, compactions, snapshots, damage and repair."""
    global steps_taken  # noqa: PLW0603  # counts over all examples
    steps_taken = 0
    profile = settings(
        max_examples=240, stateful_step_count=50, deadline=None, derandomize=True, database=None, suppress_health_check=QUIET
    )
    run_state_machine_as_test(LedgerMachine, settings=profile)
    assert steps_taken >= 10_000


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_ledger_knows_what_happened_for_long() -> None:
    """The same with a new dice each time, and longer lives."""
    profile = settings(max_examples=300, stateful_step_count=120, deadline=None, suppress_health_check=QUIET)
    run_state_machine_as_test(LedgerMachine, settings=profile)
