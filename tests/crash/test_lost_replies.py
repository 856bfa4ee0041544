"""Answers that never come, come torn or say nonsense, at the moment of paying and afterwards. Nothing is paid twice, nothing is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from crash_pool import StagePool
from crash_rig import KILLED, WITHOUT_HANDLE, Campaign, Pretend, Stage, audit, figures, told

from runner.errors import EXIT_HALTED, EXIT_OK, EXIT_WAITING
from runner.model import State
from runner.simulator.faults import MEDIA_KINDS

SUBMITS = {
    "still": "image.submit",
    "clip": "video.submit",
    "presenter": "avatar.submit",
    "turn": "image2video.submit",
    "greeting": "talking_photo.submit",
}
ANSWER_SECONDS = 2

LOST: Mapping[str, Mapping[str, object]] = {
    "lostreply": {"kind": "lost_reply"},
    "errorafter": {"kind": "server_error_after"},
    "gatewayafter": {"kind": "server_error_after", "status": 502},
    "timeoutafter": {"kind": "server_error_after", "status": 504},
    "errorbefore": {"kind": "server_error_before"},
    "gatewaybefore": {"kind": "server_error_before", "status": 503},
    "tornafter": {"kind": "torn_body", "moment": "after"},
    "tornbefore": {"kind": "torn_body", "moment": "before"},
    "hangafter": {"kind": "hang", "moment": "after", "seconds": ANSWER_SECONDS * 2},
    "hangbefore": {"kind": "hang", "moment": "before", "seconds": ANSWER_SECONDS * 2},
    "closed": {"kind": "closed_before"},
    "notjson": {"kind": "not_json", "moment": "after"},
    "types": {"kind": "wrong_types"},
    "envelope": {"kind": "wrong_envelope", "moment": "after"},
    "huge": {"kind": "huge_body", "moment": "after", "size": 33 * 1024 * 1024},
}
"""What may become of the answer to a paid request: afterwards nobody here knows whether it was taken."""
REFUSED: Mapping[str, Mapping[str, object]] = {
    "ratelimit": {"kind": "rate_limit", "seconds": 1},
    "slots": {"kind": "concurrency", "seconds": 1},
    "broke": {"kind": "out_of_credit"},
    "banned": {"kind": "banned"},
    "expired": {"kind": "auth_expired"},
}
"""Answers that prove that nothing was taken."""


def rules(name: str, fault: Mapping[str, object]) -> list[Mapping[str, object]]:
    """The fault once for the first submission of every operation of one campaign."""
    return [{**fault, "operation": operation, "key": f"{name}x0z", "nth": 1} for operation in SUBMITS.values()]


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """Every campaign of this module, run: what its run ended with, and over how many runs."""

    pretend: Pretend
    campaigns: Mapping[str, Campaign]
    codes: Mapping[str, int]


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsed]:
    """One simulator that knows the faults of every campaign here; the campaigns run side by side, patient for two seconds."""
    folder = tmp_path_factory.mktemp("lost-replies")
    every = {**LOST, **REFUSED}
    faults = [rule for name, fault in every.items() for rule in rules(name, fault)]
    patience = {"CALLSHEET_NETWORK__ANSWER_SECONDS": str(ANSWER_SECONDS)}
    with Pretend(folder / "simulator.jsonl", faults=faults) as pretend, StagePool(pretend, patience) as pool:
        campaigns = {name: Campaign.write(folder / name, name, 1) for name in every}
        codes = pool.each(every, lambda stage, name: run_on(stage, campaigns[name]))
        yield Rehearsed(pretend, campaigns, dict(zip(every, codes, strict=True)))


def run_on(stage: Stage, campaign: Campaign) -> int:
    """Run, and run again for as long as an account was stopped, or something is not found yet that can be (a slow machine may take longer
    to answer than these runs wait). Every fault here happens once.
    """
    code = stage.run(campaign)
    for _ in range(4):
        findable = [key for key in campaign.doubtful() if key.partition("/")[0] not in WITHOUT_HANDLE]
        if code == EXIT_HALTED or findable:
            code = stage.run(campaign)
    return code


@pytest.mark.parametrize("name", LOST)
def test_an_answer_may_be_lost(rehearsed: Rehearsed, name: str) -> None:
    """Whatever becomes of the answer to a submission: it is found again, or openly uncertain where the API gives nothing to find it by."""
    campaign = rehearsed.campaigns[name]
    accounts = audit(campaign, rehearsed.pretend)
    accounts.must_be_right(frozenset(campaign.jobs()))
    told(campaign, accounts, rehearsed.codes[name])
    figures(test="lost answers", kind=name, injected=len(SUBMITS), uncertain=accounts.uncertain, twice=0, lost=0)


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_leaves_nothing_uncertain(rehearsed: Rehearsed, name: str) -> None:
    """Where the answer proves that nothing was taken the job goes on, at once or, when the account was stopped, with the next run."""
    audit(rehearsed.campaigns[name], rehearsed.pretend).must_be_right()
    assert rehearsed.codes[name] == EXIT_OK


def test_every_fault_was_injected(rehearsed: Rehearsed) -> None:
    """Each fault met each of the five submissions once: the tests above are not empty."""
    wanted = Counter(str(fault["kind"]) for fault in (*LOST.values(), *REFUSED.values()) for _ in SUBMITS)
    assert rehearsed.pretend.faults() == wanted


def test_two_lost_answers_do_not_block_an_account(tmp_path: Path) -> None:
    """Uncertain submissions hold their slots. When they hold all of them, the run ends and says so instead of waiting for ever."""
    lost = [{"kind": "lost_reply", "operation": SUBMITS["greeting"], "count": 2}]
    with Pretend(tmp_path / "simulator.jsonl", faults=lost) as pretend, Stage(pretend) as stage:
        campaign = Campaign.write(tmp_path / "blocked", "blocked", 4)
        assert stage.run(campaign) == EXIT_WAITING
        assert stage.run(campaign) == EXIT_WAITING
        accounts = audit(campaign, pretend)
    assert not accounts.twice
    assert accounts.uncertain == 2


def test_old_and_repeated_answers_do_no_harm(tmp_path: Path) -> None:
    """Polls that answer older states again, in any order, delay a job at most."""
    with Pretend(tmp_path / "simulator.jsonl", stale=0.5) as pretend, Stage(pretend) as stage:
        campaign = Campaign.write(tmp_path / "stale", "stale", 4)
        code = stage.run(campaign)
        accounts = audit(campaign, pretend)
        stale = sum(fact["k"] == "stale" for fact in pretend.record())
    accounts.must_be_right()
    assert code == EXIT_OK
    assert stale > 4
    assert not WITHOUT_HANDLE & {key.partition("/")[0] for key in accounts.uncertain_jobs}
    figures(test="stale answers", injected=stale, uncertain=0, twice=0, lost=0)


def test_a_provider_that_forgot_is_not_paid_again(tmp_path: Path) -> None:
    """What a provider took and then knows nothing of was paid for: it is left to a person, never submitted again by itself."""
    with Pretend(tmp_path / "before.jsonl", job_seconds={"creatify/image": 1e5, "kling": 1e5}) as before, Stage(before) as stage:
        campaign = Campaign.write(tmp_path / "forgot", "forgot", 2)
        line = 1
        while not any(job.startswith("still/") for job in accepted(campaign)):
            line += 3
            assert stage.run(campaign, line=line) == KILLED
            line = campaign.lines()
        taken = accepted(campaign)
    with Pretend(tmp_path / "after.jsonl") as after, Stage(after) as stage:
        assert stage.run(campaign) == EXIT_WAITING
        again = taken & set(after.paid(campaign))
    assert not again, f"paid again: {again}"
    assert taken <= {key for key, state in campaign.states().items() if state is State.UNCERTAIN}


def accepted(campaign: Campaign) -> set[str]:
    """Jobs that a provider took, by the ledger."""
    if not campaign.journal.exists():
        return set()
    with campaign.ledger() as ledger:
        return {key for key, job in ledger.jobs.items() if job.remote_id}


def test_a_paid_result_is_not_given_up_for_bad_downloads(tmp_path: Path) -> None:
    """However often a download comes torn or as a page: nothing is rejected, and the run after the outage has every file."""
    with Pretend(tmp_path / "simulator.jsonl") as pretend, Stage(pretend) as stage:
        for kind in MEDIA_KINDS:
            pretend.misbehave([{"kind": kind, "operation": "media"}])
            name = kind.replace("_", "")
            campaign = Campaign.write(tmp_path / name, name, 1)
            assert stage.run(campaign) == EXIT_WAITING
            pretend.misbehave([])
            code = stage.run(campaign)
            audit(campaign, pretend).must_be_right()
            assert code == EXIT_OK
