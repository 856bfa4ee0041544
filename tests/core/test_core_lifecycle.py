"""The life-cycle table keeps the laws that its module states."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from core_events import MAKERS, TO_REACH

from runner.errors import IllegalTransition
from runner.events import JobEvent, name_of
from runner.lifecycle import CAMPAIGN_EVENTS, OPEN, REMOTE, TABLE, TERMINAL, advance, mermaid
from runner.model import State

ALL_STATES = [None, *State]


def reachable(start: State, avoiding: Collection[str] = (), through: Collection[State] = tuple(State)) -> set[State]:
    """States that a job in ``start`` can come to without any event in ``avoiding``, by way of states in ``through``."""
    found: set[State] = set()
    todo = [start]
    while todo:
        for event, after in TABLE[todo.pop()].items():
            if event not in avoiding and after not in found:
                found.add(after)
                if after in through:
                    todo.append(after)
    return found


@pytest.mark.parametrize("state", ALL_STATES, ids=lambda state: state.value if state else "none")
@pytest.mark.parametrize("name", sorted(MAKERS))
def test_every_pair_is_in_the_table_or_illegal(state: State | None, name: str) -> None:
    """Each of the (state, event) pairs either leads where the table says or raises, naming job, event and state."""
    event = MAKERS[name]("job-1", 1)
    if name in TABLE[state]:
        assert advance("job-1", state, event) is TABLE[state][name]
        return
    with pytest.raises(IllegalTransition) as caught:
        advance("job-1", state, event)
    assert "job-1" in caught.value.message
    assert name in caught.value.message
    assert (state.value if state else "not planned") in caught.value.message


def test_table_and_events_name_the_same_things() -> None:
    """The table knows every state and no event that does not exist; every job event is used somewhere."""
    job_events = {name_of(kind) for kind in JobEvent.__args__}
    assert set(TABLE) == set(ALL_STATES)
    assert {name for row in TABLE.values() for name in row} == job_events == set(MAKERS)
    assert not job_events & CAMPAIGN_EVENTS


def test_every_state_can_be_reached() -> None:
    """The roads that other tests use lead where they say, and there is one to every state."""
    assert set(TO_REACH) == {state.value for state in State}
    for goal, names in TO_REACH.items():
        state: State | None = None
        for name in names:
            state = advance("j", state, MAKERS[name]("j", 0))
        assert state == goal


def test_finished_jobs_open_again_only_by_plan_or_retry() -> None:
    """From a terminal state only ``Planned`` leads on, and ``RetryScheduled`` from failed."""
    for state in TERMINAL:
        allowed = {"Planned", "RetryScheduled"} if state is State.FAILED else {"Planned"}
        assert set(TABLE[state]) == allowed


def test_nothing_begins_a_new_life_while_money_is_at_stake() -> None:
    """``Planned`` is illegal in every state in which the provider may be at work or a paid result is not here yet."""
    assert set(TABLE) - {state for state, row in TABLE.items() if "Planned" in row} == OPEN
    assert REMOTE < OPEN
    assert not OPEN & TERMINAL


def test_an_uncertain_job_is_not_submitted_again_before_the_provider_denied_it() -> None:
    """From uncertain no path stays within this life's attempt and reaches submitting without ``NotFoundRemotely``."""
    for state in (State.UNCERTAIN, State.RUNNING, State.CANCELLING):
        without = reachable(state, avoiding={"NotFoundRemotely", "RetryScheduled", "Planned"})
        assert State.SUBMITTING not in without
        assert State.READY not in without


def test_collecting_never_pays_again() -> None:
    """A job that reached collecting ends stored or rejected; only a person's retry or a new plan leads further."""
    assert reachable(State.COLLECTING, avoiding={"RetryScheduled", "Planned"}) == {
        State.COLLECTING,
        State.SUCCEEDED,
        State.FAILED,
    }


def test_submitting_leads_back_to_ready_only_by_a_proof() -> None:
    """``SubmitDeferred`` is the one event that brings a job from submitting back to ready."""
    assert [name for name, after in TABLE[State.SUBMITTING].items() if after is State.READY] == ["SubmitDeferred"]


def test_submitting_is_entered_by_the_intent_alone() -> None:
    """Only ``SubmitStarted``, and only from ready, leads to submitting."""
    ways = {(state, name) for state, row in TABLE.items() for name, after in row.items() if after is State.SUBMITTING}
    assert ways == {(State.READY, "SubmitStarted")}


def test_every_open_state_has_a_way_to_an_end() -> None:
    """No state is a trap: an end can be reached from each."""
    for state in State:
        assert state in TERMINAL or reachable(state) & TERMINAL


def test_the_diagram_holds_every_transition() -> None:
    """The Mermaid diagram is drawn from the table: every arrow and every event name is there."""
    text = mermaid()
    for source, row in TABLE.items():
        for name, target in row.items():
            line = next(x for x in text.splitlines() if x.strip().startswith(f"{source or '[*]'} --> {target}:"))
            assert name in line.partition(":")[2].replace(",", " ").split()
