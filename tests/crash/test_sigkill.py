"""SIGKILL at any moment: the command, as a person types it, is killed as a real process, twice in a row, and while it reconciles."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from crash_rig import KILLED, Campaign, Pretend, Stage, audit, command, figures, killed_when, started, told

from runner.journal import read_lines

POINTS = int(os.environ.get("CALLSHEET_CRASH_POINTS", "5"))
FULL = 200
SEED = int(os.environ.get("CALLSHEET_CRASH_SEED", "20"))
AT_ONCE = 3
PRODUCTS = 2
LINES = 78
"""About as many as the journal of an undisturbed run has."""


@dataclass(slots=True)
class Came:
    """What came of one point."""

    kills: int = 0
    uncertain: int = 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where this module's campaigns lie."""
    return tmp_path_factory.mktemp("sigkill")


@pytest.fixture(scope="module")
def pretend(folder: Path) -> Iterator[Pretend]:
    """One simulator that outlives all runs."""
    with Pretend(folder / "simulator.jsonl") as pretend:
        yield pretend


def settle(campaign: Campaign, pretend: Pretend, doubtful: frozenset[str], came: Came) -> Came:
    """Run to the end, and hold the books against it."""
    code = command(campaign, pretend)
    accounts = audit(campaign, pretend)
    accounts.must_be_right(doubtful | campaign.doubtful())
    told(campaign, accounts, code)
    came.uncertain = accounts.uncertain
    return came


def point(folder: Path, pretend: Pretend, number: int) -> Came:
    """One to three kills at moments that only the seed knows, then a run to the end."""
    chance = random.Random(f"{SEED}/{number}")
    name = f"kill{number}"
    campaign = Campaign.write(folder / name, name, PRODUCTS)
    came, doubtful = Came(), frozenset[str]()
    for _ in range(chance.choice((1, 1, 2, 3))):
        line, wait = campaign.lines() + chance.randrange(0, LINES - min(LINES - 1, campaign.lines()) + 1), chance.uniform(0, 0.06)
        came.kills += killed_when(started(campaign, pretend), campaign.reaches(line), wait)
        doubtful |= campaign.doubtful()
    return settle(campaign, pretend, doubtful, came)


def try_points(folder: Path, pretend: Pretend, numbers: range) -> None:
    """Several points side by side."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        came = list(pool.map(lambda number: point(folder, pretend, number), numbers))
    kills, uncertain = sum(one.kills for one in came), sum(one.uncertain for one in came)
    figures(test="sigkill", seed=SEED, points=len(came), kills=kills, uncertain=uncertain, twice=0, lost=0)
    assert kills >= len(came) // 2, "most kills came too late to test anything"


def test_a_kill_at_any_moment(folder: Path, pretend: Pretend) -> None:
    """A few points, for every day."""
    try_points(folder, pretend, range(POINTS))


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_two_hundred_kills(folder: Path, pretend: Pretend) -> None:
    """Many points."""
    try_points(folder, pretend, range(1000, 1000 + FULL))


def submitting_line(campaign: Campaign, target: str) -> int:
    """The line at which the first submission of ``target`` is about to leave."""
    want = f'"job":"{target}/'.encode()
    return next(
        line.number for line in read_lines(campaign.journal) if b'"SubmitStarted"' in line.payload and want in line.payload
    )


@pytest.fixture(scope="module")
def model(folder: Path, pretend: Pretend) -> Iterator[tuple[Stage, Campaign]]:
    """A stage, and a campaign that ran to its end there: the next ones have their lines in much the same places."""
    with Stage(pretend) as stage:
        model = Campaign.write(folder / "model", "model", PRODUCTS)
        stage.run(model)
        yield stage, model


@pytest.mark.parametrize(
    "target", ["still", "presenter", "greeting", *(pytest.param(name, marks=pytest.mark.slow) for name in ("clip", "turn"))]
)
def test_a_kill_during_reconciliation(folder: Path, pretend: Pretend, model: tuple[Stage, Campaign], target: str) -> None:
    """Killed with a submission under way, and killed again by SIGKILL while the next run looks for it: still paid once at most."""
    chance = random.Random(f"{SEED}/{target}")
    stage, example = model
    campaign = Campaign.write(folder / f"again{target}", f"again{target}", PRODUCTS)
    assert stage.run(campaign, line=submitting_line(example, target)) == KILLED
    doubtful = campaign.doubtful()

    def looking() -> bool:
        return b"SubmitUncertain" in campaign.journal.read_bytes()

    came = Came()
    for _ in range(2):
        came.kills += killed_when(started(campaign, pretend), looking, chance.uniform(0.0, 1.3))
        doubtful |= campaign.doubtful()
    settle(campaign, pretend, doubtful, came)
    figures(test="kill while reconciling", target=target, kills=came.kills, uncertain=came.uncertain, twice=0, lost=0)
