"""The lane's scheduler and limits: slots are never exceeded, no job is lost or handed out twice, and ``delay`` never lies."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from runner.limits import Durations, Limits, Pace, backoff
from runner.scheduler import AT_ONCE, Active, LaneScheduler, Order, Spacing, Step

OPERATIONS = ("p/still", "p/clip")
ENDINGS = {
    Step.SUBMIT: (
        "accepted", "accepted", "deferred", "troubled", "no-slot", "rate", "retry-after", "uncertain", "returned", "refused",
    ),
    Step.POLL: ("running", "running", "done", "done", "failed", "no-answer", "lost", "parked"),
    Step.COLLECT: ("stored", "stored", "later", "parked"),
    Step.RECONCILE: ("found", "missing", "no-answer", "parked-lost"),
}  # fmt: skip
GOOD = {Step.SUBMIT: "accepted", Step.POLL: "done", Step.COLLECT: "stored", Step.RECONCILE: "found"}


def scheduler(concurrency: int = 4, rate: float = 2.0, speed: float = 1.0) -> LaneScheduler:
    """One lane with two operations."""
    pace = Pace(speed)
    return LaneScheduler(
        limits=Limits(concurrency=concurrency, rate=rate, pace=pace),
        pace=pace,
        spacing={name: Spacing(5, 3.0) for name in OPERATIONS},
        durations={name: Durations(30.0) for name in OPERATIONS},
    )


class Lane(RuleBasedStateMachine):
    """Any order of events that a driver could bring about."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.lane = scheduler()
        self.living: set[str] = set()
        self.parked: set[str] = set()
        self.out: list[Order] = []
        self.count = 0
        self.last_submit = -math.inf

    # ------------------------------------------------------------------------------------------------ what happens

    @precondition(lambda self: self.lane.room() > 0)
    @rule(operation=st.sampled_from(OPERATIONS), front=st.booleans())
    def a_job_is_ready(self, operation: str, front: bool) -> None:
        """The feed gives one while there is room."""
        key = self._new()
        self.lane.ready(key, operation, 1, front=front)

    @precondition(lambda self: self.count < 3)
    @rule(step=st.sampled_from([Step.POLL, Step.COLLECT, Step.RECONCILE]), late=st.floats(0, 50))
    def work_is_found_under_way(self, step: Step, late: float) -> None:
        """A restart."""
        key = self._new()
        self.lane.resumed(Active(key, OPERATIONS[0], 1, since=self.now - late), step, due=self.now + late)

    def _new(self) -> str:
        self.count += 1
        key = f"j{self.count}"
        self.living.add(key)
        return key

    @rule(seconds=st.floats(0, 100))
    def time_passes(self, seconds: float) -> None:
        """A little."""
        self.now += seconds

    @rule()
    def the_lane_waits(self) -> None:
        """As long as it says; then there is something to do, or less to wait for."""
        self._start_all()
        delay = self.lane.delay(self.now)
        assert delay > 0
        if delay < math.inf:
            self.now += delay
            entries = self._entries()
            order = self.lane.next_order(self.now)
            assert order is not None or self._entries() < entries or self.lane.delay(self.now) > 0
            if order:
                self._note(order)

    def _entries(self) -> int:
        return sum(len(heap) for heap in self.lane._due.values())

    @rule()
    def orders_are_taken(self) -> None:
        """All there are now."""
        self._start_all()

    def _start_all(self) -> None:
        for _ in range(1000):
            order = self.lane.next_order(self.now)
            if order is None:
                return
            self._note(order)
        raise AssertionError("orders without end")

    def _note(self, order: Order) -> None:
        busy = {key for other in self.out for key in other.jobs}
        assert not busy & set(order.jobs)
        assert len(set(order.jobs)) == len(order.jobs) <= 5
        assert set(order.jobs) <= self.living - self.parked
        self.out.append(order)
        assert sum(other.step is order.step for other in self.out) <= AT_ONCE[order.step]
        if order.step is Step.SUBMIT:
            assert self.lane.limits.in_use <= max(1, math.floor(self.lane.limits.allowed))
            assert self.now - self.last_submit >= 0.5 - 1e-6
            self.last_submit = self.now

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def a_step_ends(self, data: st.DataObject) -> None:
        """In any way."""
        order = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        for key in order.jobs:
            self._report(key, data.draw(st.sampled_from(ENDINGS[order.step])))
        self.lane.finished(order)

    def _report(self, key: str, ending: str) -> None:  # noqa: C901  # one line for each thing a driver reports
        lane, now = self.lane, self.now
        match ending:
            case "accepted" | "found":
                lane.accepted(key, now)
            case "deferred":
                lane.deferred(key, now, 3.0)
            case "troubled":
                lane.troubled(key, now)
            case "no-slot" | "rate" | "retry-after":
                wait = 9.0 if ending == "retry-after" else None
                lane.turned_away(key, now, concurrency=ending == "no-slot", retry_after=wait)
            case "uncertain" | "lost":
                lane.uncertain(key, now + 20.0)
            case "returned":
                lane.returned(key)
            case "running":
                lane.still_running(key, now)
            case "no-answer":
                lane.ask_again(key, now)
            case "done":
                lane.remote_done(key, now)
            case "later":
                lane.collect_later(key, now)
            case "parked" | "parked-lost":
                lane.parked(key, lost=ending == "parked-lost")
                self.parked.add(key)
            case _:
                lane.gone(key, clean=ending == "stored")
                self.living.discard(key)

    # --------------------------------------------------------------------------------------------- what always holds

    @invariant()
    def slots_are_counted(self) -> None:
        """The count is that of the jobs that hold one, and the limit is within its bounds."""
        jobs = self.lane._active.values()
        assert self.lane.limits.in_use == sum(job.weight for job in jobs if job.holds_slot) >= 0
        assert 1 <= self.lane.limits.allowed <= max(4, self.lane.limits.in_use)
        assert set(self.lane._active) == self.living

    @invariant()
    def statistics_add_up(self) -> None:
        """The display counts every job at most once."""
        seen = self.lane.statistics()
        assert seen.running + seen.uncertain + seen.collecting <= len(self.living)
        assert seen.slots == self.lane.limits.in_use

    def teardown(self) -> None:
        """From here on everything works: every job that is not parked comes to its end, in few steps."""
        for _ in range(3000):
            self._start_all()
            if self.out:
                order = self.out.pop()
                for key in order.jobs:
                    self._report(key, GOOD[order.step])
                self.lane.finished(order)
                continue
            if not self.living - self.parked or self.lane.stuck():
                break
            delay = self.lane.delay(self.now)
            assert delay < math.inf, "work is left and nothing is due"
            self.now += max(delay, 1e-6)
        assert self.lane.stuck() or not self.living - self.parked
        assert self.lane.stuck() or self.lane.idle()


TestLane = Lane.TestCase
TestLane.settings = settings(max_examples=120, stateful_step_count=60, deadline=None)


def drained(lane: LaneScheduler, now: float) -> list[Order]:
    """Every order there is now."""
    orders = []
    while order := lane.next_order(now):
        orders.append(order)
    return orders


def test_collecting_goes_first() -> None:
    """A result that can be fetched comes before lost submissions, questions and new work."""
    lane = scheduler()
    lane.ready("new", OPERATIONS[0], 1)
    for key, step in (("ask", Step.POLL), ("lost", Step.RECONCILE), ("done", Step.COLLECT)):
        lane.resumed(Active(key, OPERATIONS[0], 1), step, due=0.0)
    assert [order.step for order in drained(lane, 1.0)] == [Step.COLLECT, Step.RECONCILE, Step.POLL, Step.SUBMIT]


def test_due_questions_are_asked_together() -> None:
    """Tasks of one operation that are due now or soon share one question of at most the operation's size; others do not."""
    lane = scheduler(concurrency=50)
    for number in range(7):
        lane.resumed(Active(f"s{number}", OPERATIONS[0], 1), Step.POLL, due=0.0 if number < 6 else 100.0)
        lane.resumed(Active(f"c{number}", OPERATIONS[1], 1), Step.POLL, due=2.9)
    orders = drained(lane, 0.0)
    assert sorted(len(order.jobs) for order in orders) == [1, 5]
    assert {key[0] for order in orders for key in order.jobs} == {"s"}
    assert sorted(len(order.jobs) for order in drained(lane, 2.9)) == [2, 5]


def test_a_lane_that_does_not_accept_still_asks_and_collects() -> None:
    """``accepting`` False stops submits alone; ``asking`` False stops everything, and then nothing is ever due."""
    lane = scheduler()
    lane.ready("new", OPERATIONS[0], 1)
    lane.resumed(Active("ask", OPERATIONS[0], 1), Step.POLL, due=0.0)
    lane.accepting = False
    assert [order.step for order in drained(lane, 1.0)] == [Step.POLL]
    assert lane.room() == 0
    lane.asking = False
    assert lane.next_order(1e9) is None
    assert math.isinf(lane.delay(1e9))


def test_a_job_heavier_than_the_account_runs_alone() -> None:
    """A job that takes more slots than the account has is submitted when nothing else runs, never beside another."""
    lane = scheduler(concurrency=2, rate=1000.0)
    lane.ready("light", OPERATIONS[0], 1)
    lane.ready("heavy", OPERATIONS[0], 3)
    (light,) = drained(lane, 0.0)
    assert drained(lane, 1.0) == []
    lane.gone("light")
    lane.finished(light)
    (heavy,) = drained(lane, 2.0)
    assert heavy.jobs == ("heavy",)


# ---------------------------------------------------------------------------------------------------------------- limits


def limits(concurrency: int = 8, rate: float = 1.0) -> Limits:
    """Real time."""
    return Limits(concurrency=concurrency, rate=rate, pace=Pace())


def test_one_episode_cuts_once() -> None:
    """Answers to submits that left before the cut do not cut again; one that left after it does."""
    some = limits()
    for _ in range(8):
        some.started(0.0, 1)
    for number in range(5):
        some.ended(1, clean=False)
        some.refused(1.0 + number * 0.1, 0.5, concurrency=True, retry_after=None)
    assert some.cuts == 1
    some.refused(9.0, 8.0, concurrency=True, retry_after=None)
    assert some.cuts == 2


def test_limits_grow_only_when_they_were_used() -> None:
    """After a cut, work that ends while slots are idle does not raise the limit; work that ends while others wait does."""
    some = limits()
    some.taken(4)
    some.refused(1.0, 0.5, concurrency=True, retry_after=None)
    assert some.allowed == 4.0
    for _ in range(20):
        some.taken(1)
        some.ended(1, clean=True)
    assert some.allowed == 4.0
    for _ in range(200):
        while some.wait(2.0) < math.inf:
            some.taken(1)
        some.ended(1, clean=True)
    assert some.allowed > 7.0
    assert some.allowed <= 8.0


def test_unclean_ends_never_raise_a_limit() -> None:
    """What failed or was turned away proves nothing about how much the account takes."""
    some = limits()
    some.taken(4)
    some.refused(1.0, 0.5, concurrency=True, retry_after=None)
    for _ in range(50):
        some.wait(2.0)
        some.ended(1, clean=False)
        some.taken(1)
    assert some.allowed == 4.0


def test_the_rate_is_kept_and_recovers() -> None:
    """Submits keep their distance, a rate refusal halves the rate, and it comes back with clean work up to the declared one."""
    some = limits(concurrency=100, rate=4.0)
    now = 0.0
    starts: list[float] = []
    while len(starts) < 20:
        now += some.wait(now)
        some.started(now, 1)
        starts.append(now)
    assert all(b - a >= 0.25 - 1e-9 for a, b in pairwise(starts))
    some.refused(now, now, concurrency=False, retry_after=30.0)
    assert some.wait(now) >= 30.0
    for _ in range(20):
        some.ended(1, clean=True)
        some.started(now + 100, 1)
    for _ in range(100):
        some.ended(1, clean=True)
        some.taken(1)
    some.started(1000.0, 1)
    assert some.wait(1000.0) == pytest.approx(0.25)


def test_troubles_pause_longer_each_time_and_end_with_a_success() -> None:
    """The pause doubles per episode up to a minute; requests of one episode count once; a taken submit forgets it all."""
    some = limits(rate=1000.0)
    now, pauses = 10.0, []
    for _ in range(8):
        sent = now
        now += 0.1
        pauses.append(some.troubled(now, sent))
        assert some.troubled(now, sent) == pauses[-1]
        now += pauses[-1]
    assert pauses == pytest.approx([2, 4, 8, 16, 32, 60, 60, 60])
    some.accepted()
    assert some.troubles == 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.001, 10_000), max_size=600), st.floats(0, 1))
def test_durations_stay_within_what_was_seen(seen: list[float], share: float) -> None:
    """A quantile is a duration that was seen among the last 256, or near the typical figure while few were."""
    durations = Durations(60.0)
    for seconds in seen:
        durations.add(seconds)
    value = durations.quantile(share)
    if len(seen) < 5:
        assert 0.3 * 60 <= value <= 1.7 * 60
    else:
        assert value in seen[-256:]
        assert value >= sorted(seen[-256:])[min(len(seen), 256) // 2] or share < 0.51


@settings(max_examples=100, deadline=None)
@given(st.floats(0, 1e6), st.floats(0.05, 100))
def test_the_next_question_is_never_sooner_than_allowed(elapsed: float, floor: float) -> None:
    """However long a task has run, two questions about it are at least the floor apart, and never infinitely far."""
    wait = Durations(30.0).next_poll(elapsed, floor)
    assert floor <= wait < 1e6


def test_backoff_doubles_and_is_bounded() -> None:
    """It never overflows, however often something failed."""
    assert [backoff(n) for n in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert backoff(10**6) == 60.0
