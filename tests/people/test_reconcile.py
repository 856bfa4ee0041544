"""``callsheet reconcile``: what nobody knows about is shown with all that is known, and a person's decision is carried out once."""

from __future__ import annotations

from pathlib import Path

import pytest
from crash_rig import Campaign, Pretend
from people_rig import GREETING, Ended, on, paid_once, run, states, story, submitted, write_campaign

from runner import events as ev
from runner.errors import EXIT_JOBS_FAILED, EXIT_OK, EXIT_USAGE, EXIT_WAITING, UsageError
from runner.model import State
from runner.people import Person, Settlement, settle
from runner.seams import JobState

LOST = [{"kind": "lost_reply", "provider": "akool", "operation": "*.submit"}]
NEVER_CAME = [{"kind": "closed_before", "provider": "akool", "operation": "*.submit"}]


def uncertain(folder: Path, name: str, pretend: Pretend, products: int = 2, *, arrived: bool = True) -> Campaign:
    """A campaign whose every submission is uncertain; the simulator took them only when they ``arrived``."""
    campaign = write_campaign(folder, name, products, GREETING)
    pretend.misbehave(LOST if arrived else NEVER_CAME)
    assert run(campaign, pretend).code == EXIT_WAITING
    pretend.misbehave([])
    assert states(campaign) == {State.UNCERTAIN}
    assert submitted(campaign, pretend) == (products if arrived else 0)
    return campaign


def refused(done: Ended, *words: str) -> None:
    """The command said no, and why."""
    assert done.code == EXIT_USAGE, done
    assert all(word in done.err for word in words), done.err


def test_lists_what_is_known(folder: Path, pretend: Pretend) -> None:
    """Each uncertain job is shown with its parameters, its submission key, why it is uncertain and where to look."""
    campaign = uncertain(folder, "shown", pretend)
    told = on("reconcile", campaign)
    assert told.code == EXIT_WAITING
    for product in campaign.products:
        assert f"greeting/{product}" in told.out
        assert f"https://shop.example/hosts/{product}.jpg" in told.out
    assert "why: " in told.out
    assert "2 uncertain" in told.out
    document = on("reconcile", campaign, "--json").document()
    entry = document["uncertain"][0]
    assert len(document["uncertain"]) == 2
    assert entry["submission_key"].startswith("cs-")
    assert entry["operation"] == "akool/talking-photo"
    assert entry["account"] == "akool"
    one = on("reconcile", campaign, f"greeting/{campaign.products[1]}", "--json").document()
    assert [entry["job"] for entry in one["uncertain"]] == [f"greeting/{campaign.products[1]}"]


def test_nothing_uncertain(folder: Path, pretend: Pretend) -> None:
    """Where all is known it says so and exits 0."""
    campaign = write_campaign(folder, "calm", 1, GREETING)
    assert run(campaign, pretend).code == EXIT_OK
    assert on("reconcile", campaign) == Ended(EXIT_OK, "Nothing is uncertain.\n", "")
    assert on("reconcile", campaign, "--json").document() == {"schema": 1, "uncertain": []}


def test_a_run_never_submits_uncertain_jobs_again(folder: Path, pretend: Pretend) -> None:
    """However often the run is repeated, with --retry too, nothing uncertain is paid for again by itself."""
    campaign = uncertain(folder, "patient", pretend)
    for more in ((), ("--retry", "failed"), ("--collect",)):
        assert run(campaign, pretend, *more).code == EXIT_WAITING
    paid_once(campaign, pretend, "greeting")


def test_adopt(folder: Path, pretend: Pretend) -> None:
    """An adopted id is collected by the next run, without another payment; who, when and why stand in the ledger."""
    campaign = uncertain(folder, "adopted", pretend, 1)
    key = f"greeting/{campaign.products[0]}"
    [remote_id] = pretend.paid(campaign)[key]
    done = on("reconcile", campaign, key, "--adopt", f"  {remote_id} ", "--by", "Mara", "--note", "seen in the list")
    assert done.code == EXIT_OK, done
    assert "Mara" in done.out
    accepted = story(campaign, key)[-1]
    assert isinstance(accepted, ev.Accepted)
    assert (accepted.remote_id, accepted.how, accepted.by, accepted.note) == (remote_id, "person", "Mara", "seen in the list")
    assert accepted.at > 1_600_000_000
    assert run(campaign, pretend).code == EXIT_OK
    paid_once(campaign, pretend, "greeting")
    assert states(campaign) == {State.SUCCEEDED}


def test_resubmit(folder: Path, pretend: Pretend) -> None:
    """What never arrived is submitted by the next run, under the same key, and paid for once."""
    campaign = uncertain(folder, "again", pretend, arrived=False)
    done = on("reconcile", campaign, "greeting/*", "--resubmit", "--by", "Mara")
    assert done.code == EXIT_OK, done
    assert states(campaign) == {State.READY}
    assert run(campaign, pretend).code == EXIT_OK
    paid_once(campaign, pretend, "greeting")
    for product in campaign.products:
        events = story(campaign, f"greeting/{product}")
        assert len({event.key for event in events if isinstance(event, ev.SubmitStarted)}) == 1
        assert [event.by for event in events if isinstance(event, ev.NotFoundRemotely)] == ["Mara"]


def test_give_up(folder: Path, pretend: Pretend) -> None:
    """What is given up has failed, and is submitted again only when a person asks for it."""
    campaign = uncertain(folder, "enough", pretend, 1)
    key = f"greeting/{campaign.products[0]}"
    assert on("reconcile", campaign, key, "--give-up", "--by", "Mara", "--note", "no idea").code == EXIT_OK
    given_up = story(campaign, key)[-1]
    assert isinstance(given_up, ev.GivenUp)
    assert (given_up.by, given_up.note) == ("Mara", "no idea")
    assert run(campaign, pretend).code == EXIT_JOBS_FAILED
    paid_once(campaign, pretend, "greeting")
    assert run(campaign, pretend, "--retry", "given_up").code == EXIT_OK
    assert submitted(campaign, pretend) == 2


def test_wrong_uses_are_refused_and_change_nothing(folder: Path, pretend: Pretend) -> None:
    """Two decisions, no job, an unknown job, several jobs for one id, an empty id: each is refused before anything is written."""
    campaign = uncertain(folder, "wrong", pretend)
    first, second = (f"greeting/{product}" for product in campaign.products)
    before = campaign.journal.read_bytes()
    refused(on("reconcile", campaign, first, "--resubmit", "--give-up"), "exclude each other")
    refused(on("reconcile", campaign, first, "--adopt", "x", "--resubmit"), "exclude each other")
    refused(on("reconcile", campaign, "--resubmit"), "needs the key")
    refused(on("reconcile", campaign, "greeting/nobody", "--resubmit"), "no uncertain job fits")
    refused(on("reconcile", campaign, "greeting/*", "--adopt", "x"), "several jobs fit")
    refused(on("reconcile", campaign, first, second, "--adopt", "x"), "several jobs fit")
    refused(on("reconcile", campaign, first, "--adopt", "  "), "needs the provider's id")
    assert campaign.journal.read_bytes() == before


def test_what_is_known_cannot_be_settled(folder: Path, pretend: Pretend) -> None:
    """The id of another job is refused, in blanks too, and so is a job that is not uncertain any more."""
    campaign = uncertain(folder, "known", pretend)
    first, second = (f"greeting/{product}" for product in campaign.products)
    [remote_id] = pretend.paid(campaign)[first]
    assert on("reconcile", campaign, first, "--adopt", remote_id).code == EXIT_OK
    refused(on("reconcile", campaign, second, "--adopt", remote_id), "another job")
    refused(on("reconcile", campaign, second, "--adopt", f" {remote_id} "), "another job")
    refused(on("reconcile", campaign, first, "--resubmit"), "not uncertain")
    assert run(campaign, pretend).code == EXIT_WAITING
    refused(on("reconcile", campaign, first, "--give-up"), "not uncertain")
    assert campaign.states()[second] is State.UNCERTAIN


def test_a_wrongly_adopted_id_can_be_corrected(folder: Path, pretend: Pretend) -> None:
    """An id that the provider does not know makes the job uncertain again; the right one can then be adopted."""
    campaign = uncertain(folder, "typo", pretend, 1)
    key = f"greeting/{campaign.products[0]}"
    [remote_id] = pretend.paid(campaign)[key]
    assert on("reconcile", campaign, key, "--adopt", "000000000000000000000000").code == EXIT_OK
    assert run(campaign, pretend).code == EXIT_WAITING
    assert states(campaign) == {State.UNCERTAIN}
    assert on("reconcile", campaign, key, "--adopt", remote_id).code == EXIT_OK
    assert run(campaign, pretend).code == EXIT_OK
    paid_once(campaign, pretend, "greeting")


@pytest.mark.parametrize("state", [State.PENDING, State.HELD, State.READY, State.SUCCEEDED, State.FAILED, State.CANCELLED])
@pytest.mark.parametrize("how", list(Settlement))
def test_only_doubt_can_be_settled(state: State, how: Settlement) -> None:
    """No decision fits a job that nobody doubts."""
    with pytest.raises(UsageError, match="nothing to settle"):
        settle(JobState("a/b", state=state), how, Person("Mara", 1.0), remote_id="x")
