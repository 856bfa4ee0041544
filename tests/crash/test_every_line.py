"""The runner may stop at any line of its journal: whole, torn, or with everything unsynced lost. Nothing is paid twice, nothing is lost."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import pytest
from crash_rig import KILLED, Campaign, Pretend, Stage, audit, command, figures, told

from runner.errors import EXIT_LEDGER

STAGES = int(os.environ.get("CALLSHEET_CRASH_STAGES", "3"))
PRODUCTS = 2
SPARSE = 9
"""Without `-m slow` every ninth line is tried, another ninth for each way of stopping."""


class Rig:
    """One simulator for all points, and a few stages that share the work."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pretend = Pretend(folder / "simulator.jsonl")
        self._stages = [Stage(self.pretend) for _ in range(STAGES)]
        self._free: SimpleQueue[Stage] = SimpleQueue()
        for stage in self._stages:
            self._free.put(stage)

    def close(self) -> None:
        """End every process."""
        for stage in self._stages:
            stage.close()
        self.pretend.close()

    def each(self, lines: Iterable[int], one: Callable[[Stage, int], int]) -> int:
        """``one`` for each line, several at the same time; the sum of what it gave."""

        def work(line: int) -> int:
            stage = self._free.get()
            try:
                return one(stage, line)
            finally:
                self._free.put(stage)

        with ThreadPoolExecutor(STAGES) as pool:
            return sum(pool.map(work, lines))

    def whole_run(self) -> int:
        """How many lines the journal of an undisturbed run has."""
        stage = self._free.get()
        campaign = Campaign.write(self.folder / "whole", "whole", PRODUCTS)
        try:
            code = stage.run(campaign)
        finally:
            self._free.put(stage)
        accounts = audit(campaign, self.pretend)
        accounts.must_be_right()
        told(campaign, accounts, code)
        return campaign.lines()


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Processes for this module."""
    rig = Rig(tmp_path_factory.mktemp("every-line"))
    yield rig
    rig.close()


@pytest.fixture(scope="module")
def lines(rig: Rig) -> int:
    """Lines of an undisturbed run. Polls fall a little differently each time, so a few points beyond are tried, too."""
    return rig.whole_run() + 3


def point(rig: Rig, stage: Stage, line: int, how: str) -> int:
    """Stop a run at ``line``, resume it, hold the books against it; 1 for a job that stays uncertain."""
    name = f"{how}{line}"
    campaign = Campaign.write(rig.folder / name, name, PRODUCTS)
    code = stage.run(campaign, line=line, how=how)
    assert code == KILLED or campaign.lines() < line, f"{name}: the run was to stop, but ended with {code}"
    doubtful = campaign.doubtful()
    code = stage.run(campaign)
    accounts = audit(campaign, rig.pretend)
    accounts.must_be_right(doubtful)
    told(campaign, accounts, code)
    return accounts.uncertain


@pytest.mark.parametrize(("how", "first"), [("whole", 2), ("torn", 5), ("power", 8)])
def test_a_run_may_stop_at_a_line(rig: Rig, lines: int, how: str, first: int) -> None:
    """A run that stops at a line (whole, torn, unsynced lines lost) is resumed; every job is paid once and its file is here."""
    tried = range(first, lines, SPARSE)
    uncertain = rig.each(tried, lambda stage, line: point(rig, stage, line, how))
    figures(test="a sample of lines", how=how, lines=lines, points=len(tried), uncertain=uncertain, twice=0, lost=0)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("how", ["whole", "torn", "power"])
def test_a_run_may_stop_at_every_line(rig: Rig, lines: int, how: str) -> None:
    """The same for every line that the sample left out."""
    sampled = {"whole": 2, "torn": 5, "power": 8}[how]
    tried = [line for line in range(2, lines) if (line - sampled) % SPARSE or line < sampled]
    uncertain = rig.each(tried, lambda stage, line: point(rig, stage, line, how))
    figures(test="every other line", how=how, lines=lines, points=len(tried), uncertain=uncertain, twice=0, lost=0)


@pytest.mark.parametrize("size", [0, 1, 60])
def test_a_run_may_stop_in_its_first_line(rig: Rig, size: int) -> None:
    """An empty journal, or one whose header was torn, is begun anew."""
    campaign = Campaign.write(rig.folder / f"header{size}", f"header{size}", 1)
    campaign.home.mkdir(parents=True)
    campaign.journal.write_bytes(b'{"callsheet":"ledger","version":1,"campaign":"header","rehearsal":true,"id":"0'[:size])
    code = rig.each(range(1), lambda stage, _: stage.run(campaign))
    accounts = audit(campaign, rig.pretend)
    accounts.must_be_right()
    told(campaign, accounts, code)


@pytest.mark.parametrize("line", [12, 30, 55])
def test_a_full_disk_ends_the_run_in_plain_words(rig: Rig, line: int) -> None:
    """A journal that cannot be written ends the run with exit code 4; with space again the next run finishes, paying for nothing twice."""
    campaign = Campaign.write(rig.folder / f"full{line}", f"full{line}", PRODUCTS)
    code = rig.each(range(line, line + 1), lambda stage, line: stage.run(campaign, line=line, how="full"))
    assert code == EXIT_LEDGER
    doubtful = campaign.doubtful()
    code = rig.each(range(1), lambda stage, _: stage.run(campaign))
    accounts = audit(campaign, rig.pretend)
    accounts.must_be_right(doubtful)
    told(campaign, accounts, code)


@pytest.mark.parametrize("line", [14, 33, 52])
def test_the_command_itself_resumes(rig: Rig, line: int) -> None:
    """What a hard stop left is finished by ``python -m runner run``, as a person would type it."""
    campaign = Campaign.write(rig.folder / f"typed{line}", f"typed{line}", PRODUCTS)
    code = rig.each(range(line, line + 1), lambda stage, line: stage.run(campaign, line=line))
    assert code == KILLED
    doubtful = campaign.doubtful()
    finished = command(campaign, rig.pretend)
    accounts = audit(campaign, rig.pretend)
    accounts.must_be_right(doubtful)
    told(campaign, accounts, finished)
