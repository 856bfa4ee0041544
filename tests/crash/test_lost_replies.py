"""Answers that never come, come torn or say nonsense, at the moment of paying and afterwards. Nothing is paid twice, nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from crash_rig import WITHOUT_HANDLE, Campaign, Pretend, Stage, audit, figures, told
from runner.errors import EXIT_HALTED, EXIT_OK, EXIT_WAITING

SUBMITS = {"still": "image.submit", "clip": "video.submit", "presenter": "avatar.submit", "turn": "image2video.submit", "greeting": "talking_photo.submit"}
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where this module's campaigns lie."""
    return tmp_path_factory.mktemp("lost-replies")


@pytest.fixture(scope="module")
def pretend(folder: Path) -> Iterator[Pretend]:
    """One simulator that knows the faults of every campaign here."""
    every = [rule for name, fault in {**LOST, **REFUSED}.items() for rule in rules(name, fault)]
    with Pretend(folder / "simulator.jsonl", faults=every) as pretend:
        yield pretend


@pytest.fixture(scope="module")
def stage(pretend: Pretend) -> Iterator[Stage]:
    """Runs that wait two seconds for an answer."""
    with Stage(pretend, settings={"CALLSHEET_NETWORK__ANSWER_SECONDS": str(ANSWER_SECONDS)}) as stage:
        yield stage


@pytest.mark.parametrize("name", LOST)
def test_an_answer_may_be_lost(folder: Path, pretend: Pretend, stage: Stage, name: str) -> None:
    """Whatever becomes of the answer to a submission: it is found again, or openly uncertain where the API gives nothing to find it by."""
    campaign = Campaign.write(folder / name, name, 1)
    before = pretend.faults()[str(LOST[name]["kind"])]
    code = stage.run(campaign)
    accounts = audit(campaign, pretend)
    injected = pretend.faults()[str(LOST[name]["kind"])] - before
    accounts.must_be_right(frozenset(campaign.jobs()))
    told(campaign, accounts, code)
    assert injected == len(SUBMITS), f"{injected} faults were injected"
    figures(test="lost answers", kind=name, injected=injected, uncertain=accounts.uncertain, twice=0, lost=0)


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_leaves_nothing_uncertain(folder: Path, pretend: Pretend, stage: Stage, name: str) -> None:
    """Where the answer proves that nothing was taken the job goes on, at once or, when the account was stopped, with the next run."""
    campaign = Campaign.write(folder / name, name, 1)
    code, runs = stage.run(campaign), 1
    while code == EXIT_HALTED and runs < 4:
        code, runs = stage.run(campaign), runs + 1
    accounts = audit(campaign, pretend)
    accounts.must_be_right()
    assert code == EXIT_OK


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
