"""The ledger: what it knows live is what it reads back; what is illegal changes nothing; money is never counted below zero."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import anyio
import pytest
from core_events import LANE, MAKERS, TO_REACH, road
from hypothesis import given, settings
from hypothesis import strategies as st

from runner import events as ev
from runner.errors import IllegalTransition, LaneLost, LedgerError
from runner.events import Event
from runner.ledger import Ledger
from runner.lifecycle import OPEN, TABLE
from runner.model import State

KEYS = ("a", "b/1", "ü/take=2")


def opened(path: Path) -> Ledger:
    """A ledger that fsyncs inline, without really syncing."""
    return Ledger.open(path, campaign="c", rehearsal=False, now=1.0, threaded=False, sync=lambda _: None)


def knowledge(ledger: Ledger) -> dict[str, object]:
    """Everything a ledger knows, comparable."""
    return {
        "jobs": {key: asdict(job) for key, job in ledger.jobs.items()},
        "order": list(ledger.jobs),
        "committed": {lane: round(amount, 6) for lane, amount in ledger.committed.items() if amount},
        "stories": {key: ledger.story(key) for key in ledger.jobs},
        "rows": list(ledger.rows()),
        "runs": ledger.runs,
        "halted": ledger.halted,
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all examples of a test."""
    return tmp_path_factory.mktemp("ledger")


def fresh(folder: Path) -> Path:
    """A path at which no ledger stands."""
    return Path(tempfile.mkdtemp(dir=folder)) / "ledger.jsonl"


# ------------------------------------------------------------------------------------------------------ live and read back


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_a_reloaded_ledger_knows_what_the_live_one_knew(folder: Path, data: st.DataObject) -> None:
    """After any legal story of several jobs, a reader and the next writer know exactly the same, and no sum is below zero."""
    path = fresh(folder)
    with opened(path) as live:
        for number in range(data.draw(st.integers(1, 40))):
            key = data.draw(st.sampled_from(KEYS))
            job = live.jobs.get(key)
            name = data.draw(st.sampled_from(sorted(TABLE[job.state if job else None])))
            live.plan([MAKERS[name](key, number)])
            assert live.committed[LANE] >= -1e-9
            counted = sum(one.credits for one in live.jobs.values() if one.committed)
            assert live.committed[LANE] >= counted - 1e-9
        before = knowledge(live)
        reader = Ledger.read(path)
        assert reader
        with reader:
            assert knowledge(reader) == before
    with opened(path) as again:
        assert knowledge(again) == before


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_what_is_illegal_changes_nothing(folder: Path, data: st.DataObject) -> None:
    """A batch that ends in an illegal event raises with the job's story and leaves file, jobs and sums as they were."""
    path = fresh(folder)
    state = data.draw(st.sampled_from([*TO_REACH]))
    with opened(path) as ledger:
        ledger.plan(road("a", state))
        ledger.plan(road("b", "running", 50))
        before, size = knowledge(ledger), path.stat().st_size
        illegal = data.draw(st.sampled_from(sorted(set(MAKERS) - set(TABLE[State(state)]))))
        legal_first: list[Event] = data.draw(st.sampled_from([[], [MAKERS["Observed"]("b", 60)], road("new", "ready", 70)]))
        with pytest.raises(IllegalTransition) as caught:
            ledger.plan([*legal_first, MAKERS[illegal]("a", 99)])
        assert len(caught.value.story) == len(TO_REACH[state])
        assert knowledge(ledger) == before
        assert path.stat().st_size == size


def test_a_batch_is_checked_as_a_sequence(tmp_path: Path) -> None:
    """Each event of a batch is held against the state that those before it lead to."""
    with opened(tmp_path / "l.jsonl") as ledger:
        ledger.plan(road("a", "succeeded"))
        assert ledger.jobs["a"].state is State.SUCCEEDED
        with pytest.raises(IllegalTransition):
            ledger.plan([*road("b", "ready"), MAKERS["Accepted"]("b", 9)])
        assert "b" not in ledger.jobs


def test_an_event_for_a_job_nobody_planned_is_illegal(tmp_path: Path) -> None:
    """Nothing but ``Planned`` can happen to an unknown job."""
    with opened(tmp_path / "l.jsonl") as ledger:
        for name in sorted(set(MAKERS) - {"Planned"}):
            with pytest.raises(IllegalTransition, match="not planned"):
                ledger.plan([MAKERS[name]("ghost", 1)])
        assert not ledger.jobs


def test_listeners_hear_what_was_written_and_only_that(tmp_path: Path) -> None:
    """Every applied event is told once, with the job as it is then; a refused batch is not told."""
    heard: list[tuple[str, str]] = []
    with opened(tmp_path / "l.jsonl") as ledger:
        ledger.listeners.append(lambda event, job: heard.append((type(event).__name__, job.state.value if job else "")))
        ledger.plan(road("a", "ready"))
        with pytest.raises(IllegalTransition):
            ledger.plan([MAKERS["SubmitStarted"]("a", 1), MAKERS["AllStored"]("a", 2)])
    assert heard == [("Planned", "pending"), ("DependenciesMet", "ready")]


# ------------------------------------------------------------------------------------------------------------- tenures


def test_a_stale_tenure_can_write_nothing(tmp_path: Path) -> None:
    """Once a lane was taken again, its former driver's facts are refused, durable or not; other lanes are not touched."""

    async def main() -> None:
        with opened(tmp_path / "l.jsonl") as ledger:
            ledger.plan(road("a", "ready"))
            old, other = await ledger.take(LANE), await ledger.take("other")
            new = await ledger.take(LANE)
            size = (tmp_path / "l.jsonl").stat().st_size
            assert old.lost()
            assert not new.lost()
            assert not other.lost()
            with pytest.raises(LaneLost):
                await ledger.append(old, [MAKERS["SubmitStarted"]("a", 1)])
            with pytest.raises(LaneLost):
                ledger.note(old, [MAKERS["SubmitStarted"]("a", 1)])
            assert (tmp_path / "l.jsonl").stat().st_size == size
            await ledger.append(new, [MAKERS["SubmitStarted"]("a", 1)])

    anyio.run(main)


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    """What was opened for reading refuses every write."""
    with opened(tmp_path / "l.jsonl") as ledger:
        ledger.plan(road("a", "ready"))
    reader = Ledger.read(tmp_path / "l.jsonl")
    assert reader
    with reader, pytest.raises(LedgerError):
        reader.plan([MAKERS["Cancelled"]("a", 3)])


def test_open_jobs_are_those_with_money_at_stake(tmp_path: Path) -> None:
    """A driver takes up exactly the jobs of its lane that the provider may be at work for, or whose result is not here."""
    with opened(tmp_path / "l.jsonl") as ledger:
        for state in TO_REACH:
            ledger.plan(road(state, state))
        assert {job.key for job in ledger.open_jobs(LANE)} == {state.value for state in OPEN}
        assert not list(ledger.open_jobs("other"))


# -------------------------------------------------------------------------------------------------------- story and result


def told(ledger: Ledger, names: Sequence[str], key: str = "a") -> None:
    """Write these events."""
    for number, name in enumerate(names):
        ledger.plan([MAKERS[name](key, number)])


def test_a_life_begins_at_the_newest_plan(tmp_path: Path) -> None:
    """``story`` is everything, ``life`` what came since the last ``Planned``; an earlier life's attempt and files do not show."""
    with opened(tmp_path / "l.jsonl") as ledger:
        told(ledger, [*TO_REACH["succeeded"], *TO_REACH["ready"]])
        assert len(ledger.story("a")) == len(TO_REACH["succeeded"]) + 2
        assert [type(event).__name__ for event in ledger.life("a")] == ["Planned", "DependenciesMet"]
        assert ledger.attempt("a") is None
        assert not ledger.result("a").artifacts
        assert ledger.jobs["a"].life == 2
        assert ledger.planned("a").fingerprint == "f7"
        with pytest.raises(KeyError):
            ledger.planned("nobody")
        assert ledger.story("nobody") == []


def test_a_result_is_that_of_the_newest_attempt(tmp_path: Path) -> None:
    """Files and values of an attempt that was rejected are not handed on with those of the next."""
    with opened(tmp_path / "l.jsonl") as ledger:
        told(ledger, [*TO_REACH["collecting"], "ArtifactStored", "ArtifactRejected", "RetryScheduled", "SubmitStarted"])
        assert ledger.jobs["a"].attempt == 1 + 8 % 3
        told(ledger, ["Accepted", "RemoteSucceeded"])
        assert not ledger.result("a").artifacts
        told(ledger, ["ArtifactStored", "AllStored"])
        result = ledger.result("a")
        assert set(result.artifacts) == {"image"}
        assert result.submission_key == "k8"
        assert result.remote_id == "r0"


def test_a_submission_key_names_one_attempt_of_one_life(tmp_path: Path) -> None:
    """The key stays while the same attempt is repeated, changes with attempt and life, and is within the providers' limits."""
    with opened(tmp_path / "l.jsonl") as ledger:
        told(ledger, TO_REACH["ready"])
        job = ledger.jobs["a"]
        first = ledger.submission_key(job)
        assert len(first) <= 32
        assert set(first) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
        ledger.plan([ev.SubmitStarted(job="a", at=1.0, attempt=1, key=first)])
        told(ledger, ["SubmitDeferred"])
        assert ledger.submission_key(job) == first
        ledger.plan([ev.SubmitStarted(job="a", at=1.0, attempt=1, key=first)])
        told(ledger, ["SubmitUncertain", "NotFoundRemotely"])
        assert ledger.submission_key(job) == first
        told(ledger, ["SubmitRefused", "RetryScheduled"])
        second = ledger.submission_key(job)
        assert second != first
        told(ledger, TO_REACH["ready"])
        assert ledger.submission_key(job) not in {first, second}
    with opened(tmp_path / "other.jsonl") as other:
        told(other, TO_REACH["ready"])
        assert other.submission_key(other.jobs["a"]) != first


# ---------------------------------------------------------------------------------------------------------------- money


def money(ledger: Ledger) -> tuple[float, float, bool]:
    """What counts against the lane's budget, and what the job is thought to cost."""
    job = ledger.jobs["a"]
    return ledger.committed[LANE], job.credits, job.committed


def planned(credits_: float | None) -> ev.Planned:
    """A plan at that price."""
    return ev.Planned(
        job="a", at=1.0, target="t", product="p", operation="pretend/still", lane=LANE, fingerprint="f", credits=credits_
    )


def test_money_is_committed_with_the_intent_and_let_go_with_a_proof(tmp_path: Path) -> None:
    """The estimate counts from the intent on, the provider's price replaces it, and only a proof of refusal takes it back."""
    met, started = ev.DependenciesMet(job="a", at=1.0), ev.SubmitStarted(job="a", at=2.0, attempt=1, key="k")
    with opened(tmp_path / "l.jsonl") as ledger:
        ledger.plan([planned(10.0), met])
        assert money(ledger) == (0.0, 10.0, False)
        ledger.plan([started])
        assert money(ledger) == (10.0, 10.0, True)
        ledger.plan([ev.SubmitDeferred(job="a", at=3.0)])
        assert money(ledger) == (0.0, 10.0, False)
        ledger.plan([started, ev.SubmitUncertain(job="a", at=3.0)])
        assert money(ledger) == (10.0, 10.0, True)
        ledger.plan([ev.Accepted(job="a", at=4.0, remote_id="r", credits=12.0)])
        assert money(ledger) == (12.0, 12.0, True)
        ledger.plan([ev.RemoteSucceeded(job="a", at=5.0, credits=11.0), ev.AllStored(job="a", at=6.0)])
        assert money(ledger) == (11.0, 11.0, True)
        ledger.plan([planned(7.0), met])
        assert money(ledger) == (11.0, 7.0, False)
        ledger.plan([started])
        assert money(ledger) == (18.0, 7.0, True)


@pytest.mark.parametrize("refunded", [0.0, None, 3.0])
def test_a_retry_is_not_free_because_the_failed_attempt_was(tmp_path: Path, refunded: float | None) -> None:
    """After a failure that cost nothing (or little), the next attempt counts with the full estimate again."""
    with opened(tmp_path / "l.jsonl") as ledger:
        told(ledger, TO_REACH["running"])
        ledger.plan([ev.RemoteFailed(job="a", at=9.0, credits=refunded)])
        estimate = ledger.planned("a").credits or 0.0
        before = ledger.committed[LANE]
        assert before == (refunded or 0.0)
        told(ledger, ["RetryScheduled"])
        assert ledger.jobs["a"].credits == estimate
        told(ledger, ["SubmitStarted"])
        assert ledger.committed[LANE] == before + estimate


def test_a_resubmission_counts_the_estimate_and_not_the_price_of_what_was_lost(tmp_path: Path) -> None:
    """The provider's price for a task that it lost again is not taken for the price of the next one."""
    met, started = ev.DependenciesMet(job="a", at=1.0), ev.SubmitStarted(job="a", at=2.0, attempt=1, key="k")
    with opened(tmp_path / "l.jsonl") as ledger:
        ledger.plan([planned(10.0), met, started, ev.Accepted(job="a", at=3.0, remote_id="r", credits=2.0)])
        told(ledger, ["RemoteLost", "NotFoundRemotely"])
        assert money(ledger) == (0.0, 10.0, False)
        assert not ledger.jobs["a"].priced
        ledger.plan([started])
        assert money(ledger) == (10.0, 10.0, True)


# -------------------------------------------------------------------------------------------------------------- reports


@pytest.mark.parametrize("state", sorted(TO_REACH))
def test_every_state_makes_a_row(tmp_path: Path, state: str) -> None:
    """Reports can show a job in any state, and nothing of an error that was overcome."""
    with opened(tmp_path / "l.jsonl") as ledger:
        told(ledger, TO_REACH[state])
        (row,) = ledger.rows()
    assert row.state == state
    assert row.target == "still"
    assert bool(row.error_message or row.error_cause) == (state in {"failed", "uncertain"})
    assert bool(row.artifacts) == (state == "succeeded")


def test_a_row_adds_up_what_earlier_lives_cost(tmp_path: Path) -> None:
    """What a superseded result cost stands beside what the present one costs."""
    with opened(tmp_path / "l.jsonl") as ledger:
        for price in (4.0, 6.0):
            ledger.plan(
                [
                    planned(5.0),
                    ev.DependenciesMet(job="a", at=1.0),
                    ev.SubmitStarted(job="a", at=2.0, attempt=1, key="k"),
                    ev.Accepted(job="a", at=3.0, remote_id="r"),
                    ev.RemoteSucceeded(job="a", at=4.0, credits=price),
                    ev.AllStored(job="a", at=5.0),
                ]
            )
        (row,) = ledger.rows()
    assert (row.credits_before, row.credits_actual, row.credits_estimated) == (4.0, 6.0, 5.0)


def test_a_long_line_is_read_back_whole(tmp_path: Path) -> None:
    """A line of a megabyte, longer than any read block, comes back as it was written, from reader and writer."""
    prompt = "".join(hashlib.sha256(str(n).encode()).hexdigest() for n in range(16_000))
    with opened(tmp_path / "l.jsonl") as ledger:
        told(ledger, TO_REACH["ready"])
        ledger.plan([ev.SubmitStarted(job="a", at=1.0, attempt=1, key="k", params={"prompt": prompt})])
        attempt = ledger.attempt("a")
        assert attempt
        assert attempt.params["prompt"] == prompt
        reader = Ledger.read(tmp_path / "l.jsonl")
        assert reader
        with reader:
            assert reader.attempt("a") == attempt


def test_campaign_facts_survive(tmp_path: Path) -> None:
    """Runs are counted, a new run forgets what halted the last one, and both are read back."""

    async def main() -> None:
        with opened(tmp_path / "l.jsonl") as ledger:
            await ledger.record(ev.RunStarted(job="", at=1.0, run="r1", limits={LANE: 3}))
            await ledger.record(ev.LaneHalted(job="", at=2.0, lane=LANE, message="no credit"))
            assert ledger.info(tmp_path).halted == {LANE: "no credit"}
            before = ledger.info(tmp_path)
            reader = Ledger.read(tmp_path / "l.jsonl")
            assert reader
            with reader:
                assert reader.info(tmp_path) == before
            await ledger.record(ev.RunStarted(job="", at=3.0, run="r2"))
            assert ledger.info(tmp_path).halted == {}
            assert ledger.info(tmp_path).runs == 2

    anyio.run(main)
