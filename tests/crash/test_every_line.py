"""The runner may stop at any line of its journal: whole, torn, or with everything unsynced lost. Nothing is paid twice, nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from crash_pool import StagePool
from crash_rig import KILLED, Campaign, Pretend, Stage, audit, command, figures, told

from runner.errors import EXIT_LEDGER

PRODUCTS = 2
SPARSE = 20
"""Without ``-m slow`` every twentieth line is tried, others for each way of stopping."""
FIRST = {"whole": 1, "torn": 8, "power": 15}
"""Way of stopping -> the first line that the sample tries."""


@dataclass(frozen=True, slots=True)
class Rig:
    """What the tests of this module share."""

    folder: Path
    pretend: Pretend
    pool: StagePool
    lines: int
    """Lines of an undisturbed run, and a few more: polls fall a little differently each time."""

    def points(self, tried: list[int], how: str) -> None:
        """Stop a run at each of these lines, resume it, hold the books against it."""

        def point(stage: Stage, line: int) -> int:
            return try_line(self, stage, line, how)

        uncertain = self.pool.each(tried, point)
        figures(test="lines", how=how, lines=self.lines, points=len(tried), uncertain=sum(uncertain), twice=0, lost=0)


def try_line(rig: Rig, stage: Stage, line: int, how: str) -> int:
    """One point; how many jobs stay uncertain."""
    name = f"{how}{line}"
    campaign = Campaign.write(rig.folder / name, name, PRODUCTS)
    code = stage.run(campaign, line=line, how=how)
    assert code == KILLED or campaign.lines() < line, f"{name}: the run was to stop, but ended with {code}"
    return finish(campaign, rig, stage.run)


def finish(campaign: Campaign, rig: Rig, run: object) -> int:
    """Resume ``campaign`` with ``run`` and hold it against the books; how many jobs stay uncertain."""
    assert callable(run)
    doubtful = campaign.doubtful()
    code = run(campaign)
    accounts = audit(campaign, rig.pretend)
    accounts.must_be_right(doubtful)
    told(campaign, accounts, code)
    return accounts.uncertain


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Processes for this module, and one undisturbed run."""
    folder = tmp_path_factory.mktemp("every-line")
    with Pretend(folder / "simulator.jsonl") as pretend, StagePool(pretend) as pool:
        campaign = Campaign.write(folder / "undisturbed", "undisturbed", PRODUCTS)
        code = pool.one(lambda stage: stage.run(campaign))
        accounts = audit(campaign, pretend)
        accounts.must_be_right()
        told(campaign, accounts, code)
        yield Rig(folder, pretend, pool, campaign.lines() + 3)


@pytest.mark.parametrize("how", FIRST)
def test_a_run_may_stop_at_a_line(rig: Rig, how: str) -> None:
    """A run that stops at a line (whole, torn, unsynced lines lost) is resumed; every job is paid once and its file is here."""
    rig.points(list(range(FIRST[how], rig.lines, SPARSE)), how)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("how", FIRST)
def test_a_run_may_stop_at_every_line(rig: Rig, how: str) -> None:
    """The same for every line that the sample leaves out."""
    sampled = range(FIRST[how], rig.lines, SPARSE)
    rig.points([line for line in range(1, rig.lines) if line not in sampled], how)


@pytest.mark.parametrize("size", [0, 1, 60])
def test_a_run_may_stop_in_its_first_line(rig: Rig, size: int) -> None:
    """An empty journal, or one whose header was torn, is begun anew."""
    campaign = Campaign.write(rig.folder / f"header{size}", f"header{size}", 1)
    campaign.home.mkdir(parents=True)
    campaign.journal.write_bytes(b'{"callsheet":"ledger","version":1,"campaign":"header","rehearsal":true,"id":"0'[:size])
    rig.pool.one(lambda stage: finish(campaign, rig, stage.run))


def test_a_full_disk_ends_the_run_in_plain_words(rig: Rig) -> None:
    """A journal that cannot be written ends the run with exit code 4; with space again the next run finishes, paying for nothing twice."""

    def fill(stage: Stage, line: int) -> None:
        campaign = Campaign.write(rig.folder / f"full{line}", f"full{line}", PRODUCTS)
        assert stage.run(campaign, line=line, how="full") == EXIT_LEDGER
        finish(campaign, rig, stage.run)

    rig.pool.each([12, 30, 55, 70], fill)


def test_the_command_itself_resumes(rig: Rig) -> None:
    """What a hard stop left is finished by ``python -m runner run``, as a person would type it."""

    def resume(stage: Stage, line: int) -> None:
        campaign = Campaign.write(rig.folder / f"typed{line}", f"typed{line}", PRODUCTS)
        assert stage.run(campaign, line=line) == KILLED
        finish(campaign, rig, lambda campaign: command(campaign, rig.pretend))

    rig.pool.each([14, 33, 52], resume)
