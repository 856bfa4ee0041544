"""The machine's clock may jump: records stay readable, and no report shows negative time."""

from __future__ import annotations

from pathlib import Path

import anyio

from runner import events as ev
from runner.ledger import Ledger
from runner.model import State
from runner.reports.summary import summarise


def test_a_clock_that_jumps_back_breaks_nothing(tmp_path: Path) -> None:
    """Every event is earlier than the one before it; the ledger reads back the same, and times that make no sense are left out."""
    path = tmp_path / "ledger.jsonl"

    async def write() -> State:
        with Ledger.open(path, campaign="c", rehearsal=False, now=9000.0, threaded=False) as ledger:
            tenure = await ledger.take("kling")
            job = "a/b"
            planned = ev.Planned(
                job=job, at=8000.0, target="a", product="b", operation="kling/avatar", lane="kling", fingerprint="f"
            )
            story: list[ev.Event] = [
                planned,
                ev.DependenciesMet(job=job, at=7000.0),
                ev.SubmitStarted(job=job, at=6000.0, attempt=1, key="cs-1"),
                ev.Accepted(job=job, at=5000.0, remote_id="r"),
                ev.Observed(job=job, at=4000.0, phase="running"),
                ev.RemoteSucceeded(job=job, at=3000.0),
                ev.AllStored(job=job, at=2000.0),
            ]
            await ledger.append(tenure, story)
            return ledger.jobs[job].state

    assert anyio.run(write) is State.SUCCEEDED
    again = Ledger.read(path)
    assert again is not None
    with again:
        assert again.jobs["a/b"].state is State.SUCCEEDED
        summary = summarise(again.info(tmp_path), again.rows())
    target = summary.targets[0]
    assert all(
        seconds is None or seconds >= 0 for seconds in (target.queue.median, target.processing.median, summary.run_seconds)
    )
