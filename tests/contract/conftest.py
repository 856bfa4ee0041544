"""The stages that the contract is played on: each is one simulator with its reading of what the documents leave open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from contract_stage import Stage, StageTime
from contract_table import READINGS

LINK_LIFE = 600.0


class Stages:
    """Running simulators by what they were told; each is started once in a session."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, Stage] = {}

    def get(self, name: str, source: StageTime | None, **options: object) -> Stage:
        """The stage of that name, started when it is first wanted."""
        if name not in self._running:
            folder = self._folder / name
            folder.mkdir()
            self._running[name] = Stage(source, folder, **options)
        return self._running[name]

    def end(self) -> None:
        """Stop them all."""
        for stage in self._running.values():
            stage.end()


@pytest.fixture(scope="session")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stages]:
    """All stages of the session."""
    held = Stages(tmp_path_factory.mktemp("stages"))
    yield held
    held.end()


def _fresh(stage: Stage) -> Stage:
    """Nothing of an earlier test is under way or in force."""
    stage.faults()
    stage.pass_time(10_000)
    return stage


def _manual(stages: Stages, name: str, **options: object) -> Stage:
    slots = {"kling": 2000, "creatify": 2000, "topview": 2000, "akool": 2000}
    told = {"concurrency": slots, "link_ttl": LINK_LIFE, "any_credentials": False, "strict_keys": True, **options}
    return _fresh(stages.get(name, StageTime(), **told))


@pytest.fixture(params=sorted(READINGS))
def stage(request: pytest.FixtureRequest, stages: Stages) -> Stage:
    """Each reading of the documents in turn, on time that moves when told."""
    name: str = request.param
    return _manual(stages, name, **READINGS[name])


@pytest.fixture
def staged(stages: Stages) -> Callable[[str], Stage]:
    """The stage of a reading by its name."""
    return lambda name: _manual(stages, name, **READINGS[name])


@pytest.fixture
def plain(stages: Stages) -> Stage:
    """The documents as they are read first."""
    return _manual(stages, "usual", **READINGS["usual"])


@pytest.fixture
def unlucky(stages: Stages) -> Stage:
    """Every second job fails."""
    return _manual(stages, "unlucky", fail_rate=0.5)


@pytest.fixture
def late(stages: Stages) -> Stage:
    """New ids are unknown for a while where the documents leave that open."""
    return _manual(stages, "late", late_ids=5.0)


def _brisk(stages: Stages, name: str, **options: object) -> Stage:
    stage = stages.get(name, None, speed=600.0, bench=True, any_credentials=False, **options)
    stage.faults()
    return stage


@pytest.fixture
def brisk(stages: Stages) -> Stage:
    """The machine's own clock, six hundred times as fast, so that callbacks are delivered; one file per kind."""
    return _brisk(stages, "brisk")


@pytest.fixture(params=["brisk", "brisk-text"])
def hearing(request: pytest.FixtureRequest, stages: Stages) -> Stage:
    """The same, in both readings of what a callback holds."""
    name: str = request.param
    return _brisk(stages, name, **({"result_as_text": True} if name == "brisk-text" else {}))
