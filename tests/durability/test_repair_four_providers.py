"""The shipped campaign of four providers, its real adapters and the simulator's books: damage, repair, resume."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from damaging import DAMAGES

from runner.commands import invoke
from runner.ledger import Ledger

CAMPAIGN = Path(__file__).parents[2] / "manifests" / "four-providers"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def run(folder: Path, *more: str) -> int:
    """``callsheet run --rehearse``."""
    return invoke(["run", str(folder), "--rehearse", "--quiet", "--speed", "600", *more])


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The campaign after a whole rehearsal."""
    folder = tmp_path_factory.mktemp("four") / "campaign"
    shutil.copytree(CAMPAIGN, folder, ignore=shutil.ignore_patterns("rehearsals", "runs"))
    assert run(folder) == 0
    return folder


def charged(home: Path) -> Counter[str]:
    """What the providers' books say they were paid for: one entry for each task, by its handle or its order."""
    books: Counter[str] = Counter()
    for line in (home / "simulator.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if entry.get("k") == "task":
            books[entry["provider"]] += 1
    return books


@pytest.mark.parametrize("damage", ["dropped", "zeroed", "page_zeroed", "truncated", "swapped"])
def test_no_provider_charges_twice(played: Path, tmp_path: Path, damage: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Damage at every eleventh line; twelve tasks before, twelve after; every job is done, or a person is asked."""
    home = played / "rehearsals" / "four-providers"
    before = charged(home)
    assert sum(before.values()) == 12
    lines = (home / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    for at in range(2, len(lines), 11):
        folder = tmp_path / str(at)
        shutil.copytree(played, folder)
        again = folder / "rehearsals" / "four-providers"
        (again / "ledger.jsonl").write_bytes(b"".join(DAMAGES[damage](lines, at)))
        assert run(folder) == 4
        assert invoke(["ledger", "repair", str(folder), "--rehearse"]) == 0
        assert run(folder) in {0, 1, 6}
        assert charged(again) == before, (damage, at)
        ledger = Ledger.read(again / "ledger.jsonl")
        assert ledger is not None
        with ledger:
            states = {job.state.value for job in ledger.jobs.values()}
        assert states <= {"succeeded", "uncertain", "pending"}, (damage, at, states)
        capfd.readouterr()


def test_a_lost_remote_id_is_read_from_the_sidecar(played: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The acceptance of a finished job is lost: its file still knows under which id it was made."""
    folder = tmp_path / "campaign"
    shutil.copytree(played, folder)
    path = folder / "rehearsals" / "four-providers" / "ledger.jsonl"
    whole = Ledger.read(path)
    assert whole is not None
    with whole:
        ids = {key: job.remote_id for key, job in whole.jobs.items()}
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(b"\0" * 80 + b"\n" if b'"event":"Accepted"' in line else line for line in lines))
    assert invoke(["ledger", "repair", str(folder), "--rehearse"]) == 0
    mended = Ledger.read(path)
    assert mended is not None
    with mended:
        assert {key: job.remote_id for key, job in mended.jobs.items()} == ids
    capfd.readouterr()
