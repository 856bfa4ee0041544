"""What Ctrl-C, a service manager's stop and a terminal that goes away do to a run: nothing that was paid for is lost or paid again."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from pathlib import Path

import pytest
from crash_rig import Campaign, Pretend
from people_rig import STILL, callsheet, ended, paid_once, run, started, states, submitted, until, write_campaign

from runner.errors import EXIT_INTERRUPTED, EXIT_OK
from runner.model import State

SLOW = 20.0
"""Simulated seconds per second for the run's waiting: it is stopped half way."""
HANGING = [{"kind": "hang", "operation": "*.submit", "seconds": 30.0, "nth": 3, "moment": "after"}]
"""The third submission is taken, and its reply does not come."""


def half_way(folder: Path, name: str, pretend: Pretend, *more: object) -> tuple[Campaign, subprocess.Popen[str]]:
    """A run that has had something accepted and has more to submit."""
    campaign = write_campaign(folder, name, 8, STILL)
    process = started(campaign, pretend, "--quiet", *more, speed=SLOW)
    until(lambda: submitted(campaign, pretend) >= 2, "two submissions", process)
    return campaign, process


def hanging(folder: Path, name: str, pretend: Pretend, *more: object) -> tuple[Campaign, subprocess.Popen[str]]:
    """A run whose third submission was taken, but is never answered."""
    pretend.misbehave(HANGING)
    campaign = write_campaign(folder, name, 3, STILL, {"creatify": {"concurrency": 3}})
    process = started(campaign, pretend, "--quiet", *more, speed=SLOW)
    until(lambda: submitted(campaign, pretend) == 3, "all are submitted", process)
    until(lambda: State.RUNNING in states(campaign), "the others are accepted", process)
    return campaign, process


def finished(campaign: Campaign, pretend: Pretend) -> None:
    """The same command goes on to the end, having paid for each product once; the ledger is whole."""
    pretend.misbehave([])
    done = run(campaign, pretend)
    assert done.code == EXIT_OK, done
    paid_once(campaign, pretend, "still")
    checked = callsheet("ledger", "verify", campaign.journal)
    assert checked.code == EXIT_OK, checked


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_signal_drains(folder: Path, pretend: Pretend, sign: signal.Signals) -> None:
    """After one signal nothing is submitted any more, no submission is left open, and the same command finishes later."""
    campaign, process = half_way(folder, f"drain{sign.name.lower()}", pretend)
    code, output, _ = ended(process, [sign])
    assert code == EXIT_INTERRUPTED, output
    assert "The same command again goes on" in output
    assert State.SUBMITTING not in states(campaign)
    taken = submitted(campaign, pretend)
    with campaign.ledger() as ledger:
        known = [job for job in ledger.jobs.values() if job.remote_id]
    assert len(known) == taken < len(campaign.products)
    finished(campaign, pretend)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_two_signals_stop_at_once(folder: Path, pretend: Pretend, sign: signal.Signals) -> None:
    """The second signal does not wait for a reply that may never come; the next run finds that submission instead of paying again."""
    campaign, process = hanging(folder, f"twice{sign.name.lower()}", pretend, "--grace", 60)
    code, output, seconds = ended(process, [sign, sign])
    assert code == EXIT_INTERRUPTED, output
    assert seconds < 3
    assert states(campaign) & {State.SUBMITTING, State.UNCERTAIN}
    finished(campaign, pretend)


def test_no_grace_stops_at_the_first_signal(folder: Path, pretend: Pretend) -> None:
    """With --grace 0 one signal does what otherwise two do."""
    campaign, process = hanging(folder, "nograce", pretend, "--grace", 0)
    code, output, seconds = ended(process, [signal.SIGINT])
    assert code == EXIT_INTERRUPTED, output
    assert seconds < 3
    finished(campaign, pretend)


def test_the_grace_period_ends(folder: Path, pretend: Pretend) -> None:
    """A step that does not end within the grace period is left to the next run."""
    campaign, process = hanging(folder, "shortgrace", pretend, "--grace", 0.5)
    code, output, seconds = ended(process, [signal.SIGTERM])
    assert code == EXIT_INTERRUPTED, output
    assert 0.4 < seconds < 4
    finished(campaign, pretend)


def test_a_step_under_way_ends_within_the_grace_period(folder: Path, pretend: Pretend) -> None:
    """A reply that comes soon after the signal is still taken in: its job is running, not uncertain."""
    pretend.misbehave([{**HANGING[0], "seconds": 1.0}])
    campaign = write_campaign(folder, "lastreply", 3, STILL, {"creatify": {"concurrency": 3}})
    process = started(campaign, pretend, "--quiet", speed=1)
    until(lambda: submitted(campaign, pretend) == 3, "all are submitted", process)
    code, output, _ = ended(process, [signal.SIGINT])
    assert code == EXIT_INTERRUPTED, output
    assert states(campaign) == {State.RUNNING}
    finished(campaign, pretend)


def test_a_terminal_that_goes_away_loses_nothing(folder: Path, pretend: Pretend) -> None:
    """A run whose terminal is closed drains or goes on; the ledger is whole and a later run finishes."""
    campaign = write_campaign(folder, "noterminal", 8, STILL)
    master, slave = pty.openpty()
    process = started(
        campaign, pretend, speed=SLOW, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    )  # fmt: skip
    os.close(slave)
    until(lambda: submitted(campaign, pretend) >= 2, "two submissions", process)
    os.close(master)
    os.kill(process.pid, signal.SIGHUP)  # what the kernel sends the session's leader when its terminal closes
    process.wait(15)
    assert process.returncode in {EXIT_OK, EXIT_INTERRUPTED}
    assert State.SUBMITTING not in states(campaign)
    finished(campaign, pretend)


def test_a_closed_terminal_alone_does_not_stop_the_work(folder: Path, pretend: Pretend) -> None:
    """When only the output goes away, the work goes on to its end."""
    campaign = write_campaign(folder, "nooutput", 4, STILL)
    master, slave = pty.openpty()
    process = started(campaign, pretend, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    until(lambda: submitted(campaign, pretend) >= 1, "a submission", process)
    os.close(master)
    process.wait(20)
    assert states(campaign) == {State.SUCCEEDED}
    finished(campaign, pretend)


def test_a_signal_before_the_first_submission(folder: Path, pretend: Pretend) -> None:
    """A run that is stopped while the provider answers nothing at all ends within its grace period and resumes."""
    pretend.misbehave([{"kind": "hang", "operation": "*.submit", "seconds": 20.0, "moment": "before"}])
    campaign = write_campaign(folder, "early", 2, STILL)
    process = started(campaign, pretend, "--quiet", "--grace", 0.2)
    until(lambda: campaign.lines() > 1 and State.SUBMITTING in states(campaign), "a submission begins", process)
    code, output, seconds = ended(process, [signal.SIGTERM])
    assert code == EXIT_INTERRUPTED, output
    assert seconds < 3
    finished(campaign, pretend)


def test_an_interrupted_run_answers_json(folder: Path, pretend: Pretend) -> None:
    """With --json an interrupted run still prints one document, with its exit code."""
    campaign, process = half_way(folder, "asjson", pretend, "--json")
    code, output, _ = ended(process, [signal.SIGINT])
    document = json.loads(output)
    assert code == document["exit_code"] == EXIT_INTERRUPTED
    finished(campaign, pretend)
