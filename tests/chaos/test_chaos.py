"""Everything at once: four providers, a fifth of all calls faulty in every way the simulator knows, SIGKILLs in between, and budgets."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from crash_rig import KILLED, WITHOUT_HANDLE, Accounts, Campaign, Pretend, Stage, audit, figures, killed_when, started

from runner.errors import EXIT_BUDGET, EXIT_HALTED, EXIT_JOBS_FAILED, EXIT_OK, EXIT_WAITING
from runner.simulator.faults import CALLBACK_KINDS, KINDS, MEDIA_KINDS

JOBS = int(os.environ.get("CALLSHEET_CHAOS_JOBS", "30"))
FULL = 500
SEED = int(os.environ.get("CALLSHEET_CHAOS_SEED", "11"))
SHARE = 0.2
KILLS = 3
MOST_RUNS = 60
SETTINGS = {"CALLSHEET_NETWORK__ANSWER_SECONDS": "2", "CALLSHEET_NETWORK__STALL_SECONDS": "2"}
ACCOUNT_STOPS = ("out_of_credit", "banned", "auth_expired")
TURN_CREDITS = 0.5
"""What one clip of Topview costs here."""


def storm() -> list[Mapping[str, object]]:
    """Every kind of fault, together a fifth of all calls. What stops an account is rarer: each such stop ends a lane's run."""
    plain = [kind for kind in KINDS if kind not in {*CALLBACK_KINDS, *MEDIA_KINDS, *ACCOUNT_STOPS}]
    rules: list[Mapping[str, object]] = [{"kind": kind, "rate": SHARE / 100} for kind in ACCOUNT_STOPS]
    rules += [{**_details(kind), "kind": kind, "rate": SHARE / len(plain)} for kind in plain]
    rules += [{"kind": kind, "rate": SHARE / len(MEDIA_KINDS)} for kind in MEDIA_KINDS]
    return rules + [{"kind": kind, "rate": SHARE} for kind in CALLBACK_KINDS]


def _details(kind: str) -> Mapping[str, object]:
    if kind == "hang":
        return {"seconds": 3}
    if kind == "error":
        return {"status": 503}
    return {"size": 33 * 1024 * 1024} if kind == "huge_body" else {}


@dataclass(slots=True)
class Weather:
    """What a campaign went through."""

    runs: int = 0
    kills: int = 0
    code: int = 0
    faults: int = 0


def through(campaign: Campaign, pretend: Pretend) -> Weather:
    """Kill it three times in the storm, go on until no run is stopped by an account, then run once more in calm weather."""
    weather = Weather()
    chance = random.Random(SEED)
    for _ in range(KILLS):
        line = campaign.lines() + chance.randrange(JOBS // 2, JOBS * 2)
        process = started(campaign, pretend, SETTINGS)
        weather.kills += killed_when(process, campaign.reaches(line), chance.uniform(0, 0.1))
        weather.runs += 1
    with Stage(pretend, settings=SETTINGS, callbacks=True, hanging=400) as stage:
        weather.code = EXIT_HALTED
        while weather.code == EXIT_HALTED:
            assert weather.runs < MOST_RUNS, "accounts are stopped again and again"
            weather.code = stage.run(campaign)
            weather.runs += 1
        weather.faults = sum(pretend.faults().values())
        pretend.misbehave([])
        weather.code = stage.run(campaign)
        weather.runs += 1
    assert weather.code != KILLED
    return weather


def endure(tmp_path: Path, jobs: int) -> None:
    """The whole test, with so many jobs."""
    products = jobs // 5
    affordable = products * 4 // 5
    limits: Mapping[str, Mapping[str, object]] = {
        "topview": {"budget": affordable * TURN_CREDITS},
        "kling": {"budget": 5000},
        "creatify": {"budget": 50000},
    }
    campaign = Campaign.write(tmp_path / "storm", "storm", products, limits)
    with Pretend(tmp_path / "simulator.jsonl", faults=storm(), seed=SEED) as pretend:
        weather = through(campaign, pretend)
        accounts = audit(campaign, pretend)
        charged = Counter[str]()
        for fact in pretend.record():
            if fact["k"] == "task" and fact["lane"]:
                charged[fact["provider"]] += fact["charge"]
        kinds = pretend.faults()
    unpaid = over_budget(campaign, accounts)
    figures(
        test="chaos", seed=SEED, jobs=jobs, runs=weather.runs, kills=weather.kills, code=weather.code, faults=weather.faults,
        kinds=len(kinds), succeeded=accounts.succeeded, uncertain=accounts.uncertain, over_budget=unpaid, twice=len(accounts.twice),
        wrong=len(accounts.wrong), charged=dict(charged),
    )  # fmt: skip
    assert not accounts.twice
    assert not accounts.wrong, "\n".join(accounts.wrong)
    assert {key.partition("/")[0] for key in accounts.uncertain_jobs} <= WITHOUT_HANDLE
    assert charged["topview"] <= affordable * TURN_CREDITS
    assert weather.code in {EXIT_OK, EXIT_BUDGET, EXIT_WAITING, EXIT_JOBS_FAILED}
    assert weather.kills >= 1
    assert weather.faults >= jobs // 2


def over_budget(campaign: Campaign, accounts: Accounts) -> int:
    """Take those jobs out of what is wrong that were never submitted because the budget was used up; how many these are."""
    unpaid = [line for line in accounts.wrong if line.startswith("turn/") and "SubmitStarted" not in line]
    accounts.wrong[:] = [line for line in accounts.wrong if line not in unpaid]
    return len(unpaid)


@pytest.mark.timeout(300)
def test_a_small_storm(tmp_path: Path) -> None:
    """Every job of a small campaign ends right or openly uncertain, charged once, within budget."""
    endure(tmp_path, JOBS)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_storm(tmp_path: Path) -> None:
    """The same with five hundred jobs."""
    endure(tmp_path, FULL)
