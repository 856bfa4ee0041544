"""A snapshot saves time and nothing else: with it, without it, or with a wrong one, the ledger knows the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from core_events import LANE, MAKERS, TO_REACH, road

from runner.compaction import compact
from runner.errors import LedgerCorrupt
from runner.ledger import Ledger
from runner.snapshot import read_snapshot, snapshot_path


def knowledge(ledger: Ledger) -> object:
    """Everything that a ledger tells."""
    return (
        {key: (job, ledger.story(key)) for key, job in ledger.jobs.items()},
        dict(ledger.committed),
        (ledger.runs, ledger.run_started, ledger.run_ended, ledger.halted, ledger.losses),
        [(row.key, row.state, row.attempts, row.started_at, row.credits_actual, row.artifacts) for row in ledger.rows()],
    )


def opened(path: Path) -> Ledger:
    """For writing, fsyncs inline."""
    return Ledger.open(path, campaign="c", rehearsal=False, now=1.0, threaded=False)


def write(path: Path, jobs: dict[str, str]) -> None:
    """Bring jobs to states."""

    async def main() -> None:
        with opened(path) as ledger:
            for job, state in jobs.items():
                await ledger.append(await ledger.take(LANE), road(job, state, len(ledger.jobs) * 10))

    anyio.run(main)


def told(path: Path) -> object:
    """What a reader learns."""
    ledger = Ledger.read(path)
    assert ledger is not None
    with ledger:
        return knowledge(ledger)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger with a job in every state, and a snapshot of it."""
    path = tmp_path / "ledger.jsonl"
    write(path, {f"still/{state}": state for state in TO_REACH})
    return path


def test_the_same_is_known_with_and_without_it(path: Path) -> None:
    """Also when lines came after the snapshot."""
    assert read_snapshot(path) is not None
    old = snapshot_path(path).read_bytes()
    write(path, {"still/late": "succeeded", "still/later": "running"})
    snapshot_path(path).write_bytes(old)
    assert read_snapshot(path) is not None
    with_it = told(path)
    snapshot_path(path).unlink()
    assert told(path) == with_it


def _flip(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize(
    "spoil",
    [lambda c: c[:0], lambda c: c[: len(c) // 2], lambda c: c + b"x", lambda c: c[:19], lambda c: b"\0" * len(c)],
)
def test_a_spoilt_snapshot_is_passed_over(path: Path, spoil: Callable[[bytes], bytes]) -> None:
    """Cut, grown, emptied or zeroed: the journal is read from its beginning."""
    expected = told(path)
    snapshot_path(path).write_bytes(spoil(snapshot_path(path).read_bytes()))
    assert told(path) == expected
    with opened(path) as ledger:
        assert knowledge(ledger) == expected


def test_no_flipped_bit_of_a_snapshot_is_believed(path: Path) -> None:
    """One bit in any byte: what is known stays the same."""
    expected, content = told(path), snapshot_path(path).read_bytes()
    for at in range(0, len(content), 11):
        snapshot_path(path).write_bytes(_flip(content, at))
        assert told(path) == expected


def test_the_snapshot_of_another_ledger_is_passed_over(path: Path, tmp_path: Path) -> None:
    """It names the ledger it belongs to."""
    other = tmp_path / "other" / "ledger.jsonl"
    write(other, {"still/x": "ready"})
    expected = told(path)
    snapshot_path(path).write_bytes(snapshot_path(other).read_bytes())
    assert told(path) == expected


def test_a_snapshot_hides_no_damage(path: Path) -> None:
    """A bit flipped anywhere before the snapshot's place is still reported, with its line."""
    content = path.read_bytes()
    for at in range(0, len(content) - 1, 37):
        path.write_bytes(_flip(content, at))
        with pytest.raises(LedgerCorrupt) as caught:
            told(path)
        assert "callsheet ledger repair" in caught.value.hint
        assert caught.value.line == content[:at].count(b"\n") + 1


def test_a_journal_shorter_than_its_snapshot_is_refused(path: Path) -> None:
    """A restored old copy, or a cut-off end: what was submitted since would be submitted again. No byte is changed."""
    lines = path.read_bytes().splitlines(keepends=True)
    for kept in (len(lines) - 1, len(lines) // 2, 1):
        content = b"".join(lines[:kept])
        for tail in (b"", b"\0" * 500, lines[kept][:-3]):
            path.write_bytes(content + tail)
            with pytest.raises(LedgerCorrupt, match="shorter"):
                told(path)
            with pytest.raises(LedgerCorrupt, match="shorter"):
                opened(path)
            assert path.read_bytes() == content + tail


def test_compaction_changes_nothing_that_is_told(path: Path) -> None:
    """Rows, states, results and sums are the same; only stories lose lines that repeat."""

    async def busy() -> None:
        with opened(path) as ledger:
            tenure = await ledger.take(LANE)
            for number in range(20):
                await ledger.append(tenure, road(f"clip/{number}", "running", 100 + number))
                await ledger.append(tenure, [MAKERS["Observed"](f"clip/{number}", 200 + n) for n in range(5)])
                await ledger.append(tenure, [MAKERS["RemoteSucceeded"](f"clip/{number}", 300)])
                await ledger.append(tenure, [MAKERS["CollectDeferred"](f"clip/{number}", 300 + n) for n in range(3)])
                if number % 2:
                    await ledger.append(tenure, [MAKERS[name](f"clip/{number}", 310) for name in ("ArtifactStored", "AllStored")])

    anyio.run(busy)
    before = told(path)
    done = compact(path, now=2.0)
    after = told(path)
    assert done.lines_after == done.lines_before - 10 * (4 + 3)
    assert done.bytes_after == path.stat().st_size < done.bytes_before
    assert isinstance(before, tuple)
    assert isinstance(after, tuple)
    assert before[1:] == after[1:]
    for key, (job, _) in before[0].items():
        again = after[0][key][0]
        again.last = job.last
        assert again == job
    again_done = compact(path, now=3.0)
    assert again_done.lines_before == again_done.lines_after
