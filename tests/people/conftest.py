"""One simulator for all tests here: each test has a campaign of its own name, and puts its own faults in force."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from crash_rig import Pretend
from people_rig import SLOW, SPEED


@pytest.fixture(scope="session")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pretend]:
    """A simulator in a process of its own."""
    with Pretend(tmp_path_factory.mktemp("simulator") / "state.jsonl", speed=SPEED, spread=0.0, short_side=64) as pretend:
        yield pretend


@pytest.fixture
def pretend(simulator: Pretend) -> Iterator[Pretend]:
    """The simulator without any fault left by an earlier test."""
    simulator.misbehave([])
    yield simulator
    simulator.misbehave([])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the campaign lives."""
    return tmp_path / "campaign"


@pytest.fixture(scope="session")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pretend]:
    """A slower simulator, whose work can be seen to be late."""
    with Pretend(
        tmp_path_factory.mktemp("slow") / "state.jsonl", speed=SLOW, spread=0.0, short_side=64, job_seconds={"akool": 500.0}
    ) as pretend:
        yield pretend
