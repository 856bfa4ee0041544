"""``callsheet cancel``: what was not submitted never is; what is paid for is collected; what nobody knows stays for a person."""

from __future__ import annotations

import signal
from pathlib import Path

from crash_rig import Pretend
from people_rig import (
    GREETING,
    STILL,
    callsheet,
    ended,
    on,
    paid_once,
    run,
    started,
    states,
    story,
    submitted,
    until,
    write_campaign,
)  # fmt: skip

from runner import events as ev
from runner.errors import EXIT_INTERRUPTED, EXIT_JOBS_FAILED, EXIT_OK, EXIT_USAGE, EXIT_WAITING
from runner.model import State

ALL = ("--select", "target:*")


def test_needs_a_selection(folder: Path, pretend: Pretend) -> None:
    """Nothing is cancelled by accident: without --select, or with one that names nothing, it refuses and writes no ledger."""
    campaign = write_campaign(folder, "careful", 1, STILL)
    for more in ((), ("--select", "target:nobody")):
        done = on("cancel", campaign, *more)
        assert done.code == EXIT_USAGE, done
        assert "target" in done.err
    assert campaign.lines() <= 1


def test_jobs_never_opened_are_not_submitted(folder: Path, pretend: Pretend) -> None:
    """A job cancelled before any run knew of it is not submitted by the next run; the others are."""
    campaign = write_campaign(folder, "before", 3, STILL)
    first, *others = campaign.products
    done = on("cancel", campaign, "--select", f"product:{first}", "--by", "Mara", "--note", "sold out", "--json")
    assert done.code == EXIT_OK, done
    assert done.document() == {"schema": 1, "cancelled": 1, "marked": 0, "uncertain": 0, "ended": 0}
    told = run(campaign, pretend)
    assert told.code == EXIT_JOBS_FAILED
    assert "--retry cancelled" in told.out
    assert set(pretend.paid(campaign)) == {f"still/{product}" for product in others}
    last = story(campaign, f"still/{first}")[-1]
    assert isinstance(last, ev.Cancelled)
    assert (last.by, last.note) == ("Mara", "sold out")
    assert run(campaign, pretend).code == EXIT_JOBS_FAILED
    assert submitted(campaign, pretend) == 2


def test_cancelled_jobs_come_back_when_asked_for(folder: Path, pretend: Pretend) -> None:
    """Only --retry cancelled submits them, each once."""
    campaign = write_campaign(folder, "back", 2, STILL)
    assert on("cancel", campaign, *ALL).code == EXIT_OK
    run(campaign, pretend, "--retry", "failed")
    assert submitted(campaign, pretend) == 0
    assert run(campaign, pretend, "--retry", "cancelled").code == EXIT_OK
    paid_once(campaign, pretend, "still")


def test_cancelling_twice_says_that_they_had_ended(folder: Path, pretend: Pretend) -> None:
    """The second cancel changes nothing."""
    campaign = write_campaign(folder, "double", 2, STILL)
    on("cancel", campaign, *ALL)
    before = campaign.journal.read_bytes()
    again = on("cancel", campaign, *ALL, "--json")
    assert again.document() == {"schema": 1, "cancelled": 0, "marked": 0, "uncertain": 0, "ended": 2}
    assert campaign.journal.read_bytes() == before


def test_work_under_way_is_marked_and_collected(folder: Path, pretend: Pretend) -> None:
    """What is at work was paid for: it is marked, still collected, and never paid for again; what was waiting is not submitted."""
    campaign = write_campaign(folder, "atwork", 4, STILL)
    process = started(campaign, pretend, "--quiet", speed=1)
    until(
        lambda: sum(state is State.RUNNING for state in campaign.states().values()) == 2 if campaign.lines() else False,
        "two at work",
    )
    assert ended(process, [signal.SIGINT])[0] == EXIT_INTERRUPTED
    told = on("cancel", campaign, *ALL)
    assert "2 jobs cancelled" in told.out
    assert "2 are at work" in told.out
    assert states(campaign) == {State.CANCELLING, State.CANCELLED}
    assert run(campaign, pretend).code == EXIT_JOBS_FAILED
    assert sorted(state.value for state in campaign.states().values()) == ["cancelled"] * 2 + ["succeeded"] * 2
    assert submitted(campaign, pretend) == 2
    assert len(list((campaign.home / "artifacts").rglob("*.jpg"))) == 2


def test_uncertain_jobs_stay_uncertain(folder: Path, pretend: Pretend) -> None:
    """A cancel does not pretend to know what nobody knows."""
    campaign = write_campaign(folder, "doubt", 1, GREETING)
    pretend.misbehave([{"kind": "lost_reply", "provider": "akool", "operation": "*.submit"}])
    assert run(campaign, pretend).code == EXIT_WAITING
    told = on("cancel", campaign, *ALL)
    assert "1 are uncertain" in told.out or "1 is uncertain" in told.out
    assert states(campaign) == {State.UNCERTAIN}


def test_what_has_succeeded_stays(folder: Path, pretend: Pretend) -> None:
    """Finished jobs are not touched; when their inputs change, cancelling keeps the new version from being paid for."""
    campaign = write_campaign(folder, "changed", 2, STILL)
    assert run(campaign, pretend).code == EXIT_OK
    assert on("cancel", campaign, *ALL, "--json").document()["ended"] == 2
    assert states(campaign) == {State.SUCCEEDED}
    other = ("--var", "place=in a forest")
    assert on("cancel", campaign, *ALL, *other, "--json").document()["cancelled"] == 2
    run(campaign, pretend, *other)
    assert submitted(campaign, pretend) == 2
    assert run(campaign, pretend, *other, "--retry", "cancelled").code == EXIT_OK
    assert submitted(campaign, pretend) == 4


def test_a_running_run_holds_the_ledger(folder: Path, pretend: Pretend) -> None:
    """While a run is at work a cancel is refused with a plain message, and the run is not disturbed."""
    campaign = write_campaign(folder, "busy", 2, STILL)
    process = started(campaign, pretend, "--quiet", speed=1)
    until(lambda: submitted(campaign, pretend) == 2, "both are submitted", process)
    done = callsheet("cancel", campaign.folder, *ALL, "--rehearse")
    assert done.code == 4, done
    assert str(process.pid) in done.err
    assert ended(process, [signal.SIGINT])[0] == EXIT_INTERRUPTED
    assert run(campaign, pretend).code == EXIT_OK
    paid_once(campaign, pretend, "still")
