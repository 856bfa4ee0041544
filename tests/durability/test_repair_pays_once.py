"""The rule of the repair: whatever happens to any line, nothing is paid for twice, and nothing that was paid for is forgotten."""

from __future__ import annotations

import pytest
from damaging import DAMAGES, Interrupted, interrupted, settled, work_paid_twice

MOMENTS = (0.3, 33.0, 75.0, 140.0)
"""Seconds after which the campaign was stopped: submitting, collecting, in the second half of the chains, late."""


@pytest.fixture(scope="module", params=MOMENTS)
def played(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Interrupted:
    """A campaign that was stopped at that moment."""
    return interrupted(tmp_path_factory.mktemp("played"), seconds=request.param)


def check(played: Interrupted, damage: str, at: int, *, snapshot: bool) -> None:
    """Damage one place, repair, resume: see the module."""
    if damage == "dropped" and at == len(played.lines) - 1:
        snapshot = True  # the last line, cleanly cut off, leaves no trace anywhere else
    lines = DAMAGES[damage](played.lines, at)
    before = {task.id: task.key for server in played.stage.servers.values() for task in server.tasks.values()}
    stage, outcome, done = played.resumed(b"".join(lines), snapshot=snapshot)
    assert outcome.error is None
    assert stage.charged_twice() == {}, (damage, at)
    assert work_paid_twice(stage) == {}, (damage, at)
    states = settled(stage)
    if damage in {"doubled", "swapped", "flipped"}:
        assert done.lost == 0
    held = {
        state
        for state in states.values()
        if state not in {"succeeded", "failed", "skipped", "uncertain", "cancelled", "ready", "pending"}
    }
    assert held == set(), (damage, at, states)
    assert before.keys() <= {task.id for server in stage.servers.values() for task in server.tasks.values()}


@pytest.mark.parametrize("damage", [name for name in DAMAGES if name != "truncated"])
def test_no_damaged_line_is_paid_for_twice(played: Interrupted, damage: str) -> None:
    """Every seventh line in turn is damaged, the file repaired and the campaign resumed."""
    for at in range(1, len(played.lines), 7):
        check(played, damage, at, snapshot=bool(at % 2))


@pytest.mark.slow
@pytest.mark.parametrize("damage", [name for name in DAMAGES if name != "truncated"])
@pytest.mark.parametrize("snapshot", [True, False])
def test_not_one_damaged_line_is_paid_for_twice(played: Interrupted, damage: str, snapshot: bool) -> None:
    """The same for every line, with and without a snapshot."""
    for at in range(1, len(played.lines)):
        check(played, damage, at, snapshot=snapshot)


def test_a_cut_off_end_is_noticed_by_the_snapshot(played: Interrupted) -> None:
    """Lines missing at the end leave no trace in the file itself; the snapshot knows how many there were."""
    for at in range(1, len(played.lines), 5):
        check(played, "truncated", at, snapshot=True)
