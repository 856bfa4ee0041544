"""The numbers: counted once, per target and lane, with failures grouped by what they have in common."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from report_samples import START, Row, failed, hostile_rows, info_of, summary_of

from runner.model import JobRow, State
from runner.reports.failures import ADVICE, failure_key, normalised
from runner.reports.summary import Spread, processing_seconds, queue_seconds, spread


def test_an_empty_campaign_has_numbers_too(tmp_path: Path) -> None:
    """Nothing planned yet is a summary of zeros, not an error."""
    summary = summary_of(info_of(tmp_path))
    assert (summary.jobs, summary.succeeded, summary.failed, summary.open) == (0, 0, 0, 0)
    assert summary.targets == ()
    assert summary.failures == ()
    assert summary.attention == ()
    assert summary.run_seconds == 3600
    assert summary.per_hour == 0


def test_every_state_is_counted_once(tmp_path: Path) -> None:
    """Finished, running and waiting jobs of a group add up to its jobs, whatever the states."""
    rows = [Row(state=state, product=f"{place}").made() for place, state in enumerate(State)]
    summary = summary_of(info_of(tmp_path), *rows)
    (group,) = summary.targets
    assert summary.jobs == group.jobs == len(State) == sum(summary.states.values())
    assert group.succeeded == group.failed == 1
    assert group.running == 5
    assert group.waiting == 3
    assert summary.open == group.open == 8
    assert summary.products == len(State)


def test_groups_keep_manifest_order_and_know_slots(tmp_path: Path) -> None:
    """Targets and lanes come in the order of their first job; a lane knows its slots and provider."""
    rows = [
        Row(target="still", lane="creatify", operation="creatify/product-image").made(),
        Row(target="clip").made(),
        Row(target="still", lane="creatify", operation="creatify/product-image", product="2").made(),
    ]
    summary = summary_of(info_of(tmp_path), *rows)
    assert [(group.name, group.jobs) for group in summary.targets] == [("still", 2), ("clip", 1)]
    assert [(lane.name, lane.provider, lane.slots) for lane in summary.lanes] == [
        ("creatify", "creatify", None),
        ("kling", "kling", 5),
    ]


def test_queue_and_processing_times_are_apart(tmp_path: Path) -> None:
    """Queue time ends when work was first seen, processing begins there; without that, processing begins at submission."""
    seen = Row(times=(0, 30, 90, 95)).made()
    unseen = Row(times=(0, None, 90, 95)).made()
    backwards = Row(times=(50, 10, 5, 60)).made()
    assert (queue_seconds(seen), processing_seconds(seen)) == (30, 60)
    assert (queue_seconds(unseen), processing_seconds(unseen)) == (None, 90)
    assert (queue_seconds(backwards), processing_seconds(backwards)) == (None, None)
    (group,) = summary_of(info_of(tmp_path), seen, unseen, backwards).targets
    assert group.queue == Spread(1, 30, 30)
    assert group.processing.count == 2
    assert group.processing.median == 75


@pytest.mark.parametrize(
    ("values", "expected"),
    [([], Spread()), ([4], Spread(1, 4, 4)), ([3, 1, 2], Spread(3, 2, 2.8)), (list(range(11)), Spread(11, 5, 9))],
)
def test_spread_interpolates(values: list[float], expected: Spread) -> None:
    """Median and 90th percentile of the sorted values, interpolated between neighbours."""
    found = spread(values)
    assert found.count == expected.count
    assert found.median == expected.median
    assert found.p90 == (None if expected.p90 is None else pytest.approx(expected.p90))


def test_estimates_are_compared_like_with_like(tmp_path: Path) -> None:
    """Only jobs with both prices are compared; skipped jobs cost nothing; what nobody knows is counted."""
    rows = [
        Row(estimated=10, actual=12).made(),
        Row(estimated=10, actual=None, product="2").made(),
        Row(estimated=None, actual=5, product="3").made(),
        Row(estimated=99, actual=None, product="4", state=State.SKIPPED).made(),
        Row(estimated=math.nan, actual=math.inf, product="5", state=State.RUNNING).made(),
    ]
    money = summary_of(info_of(tmp_path), *rows).targets[0].credits
    assert (money.estimated, money.actual) == (20, 17)
    assert (money.matched, money.matched_estimated, money.matched_actual) == (1, 10, 12)
    assert (money.unpriced, money.unreported) == (2, 1)


def test_throughput_counts_the_last_run_only(tmp_path: Path) -> None:
    """Jobs that succeeded before the last run began do not make it look faster."""
    old, new = Row(times=(-500, -400, -300, -200)).made(), Row(product="2", times=(1, 2, 3, 1800)).made()
    summary = summary_of(info_of(tmp_path), old, new)
    assert summary.per_hour == 1
    assert summary.run_seconds == 3600


def test_a_run_that_never_ended_lasts_until_the_last_word(tmp_path: Path) -> None:
    """After a crash the run's time is measured to the latest time in the ledger."""
    info = replace(info_of(tmp_path), last_run_ended_at=START - 50)
    summary = summary_of(info, Row(times=(1, 2, 3, 600)).made())
    assert summary.run_seconds == 600
    assert summary.as_of == START + 600
    assert summary.campaign_seconds == 700


def test_failures_with_the_same_cause_are_one_group(tmp_path: Path) -> None:
    """Ids, numbers, links and quoted values do not tell failures apart; codes, causes and classes do."""
    rows = [failed(f"image 3{n} px is under 300, task 8f7a6b5c4d3e2f1{n}", product=f"P{n}") for n in range(7)]
    rows.append(failed("HTTP 500: trace 1234567890abcdef", cause="server", error_class="transient"))
    rows.append(failed("HTTP 503: trace 1234567890abcdef", cause="server", error_class="transient"))
    groups = summary_of(info_of(tmp_path), *rows).failures
    assert [group.count for group in groups] == [7, 1, 1]
    assert groups[0].message == "image # px is under #, task …"
    assert groups[0].examples == tuple(f"clip/P{n}" for n in range(5))
    assert groups[1].words == "HTTP 500: trace 1234567890abcdef"
    assert groups[0].key == failure_key(rows[0])


def test_the_hint_of_a_failure_comes_before_general_advice(tmp_path: Path) -> None:
    """What the adapter knows is said first; else the cause's advice, else the class's, else something sensible."""
    advice = [
        summary_of(info_of(tmp_path), row).failures[0].advice
        for row in (
            failed("x", hint="Use a JPEG."),
            failed("x", cause="content_policy"),
            failed("x", cause="unheard of", error_class="halted"),
            failed("x", cause="", error_class="no such class"),
        )
    ]
    assert advice[0] == "Use a JPEG."
    assert advice[1] == ADVICE["content_policy"]
    assert "account" in advice[2]
    assert "example" in advice[3]


def test_what_waits_for_a_person_is_named_first(tmp_path: Path) -> None:
    """Halted lanes, then uncertain jobs, then approvals; each with what to do."""
    rows = [Row(state=State.HELD).made(), Row(state=State.UNCERTAIN, product="2").made()]
    summary = summary_of(info_of(tmp_path, halted={"kling": "no credit\nleft"}), *rows)
    assert [(item.kind, item.subject) for item in summary.attention] == [("halted", "kling"), ("uncertain", ""), ("held", "")]
    assert summary.attention[0].message == "no credit left"
    assert all(item.advice for item in summary.attention)


def test_hostile_messages_are_grouped_quickly() -> None:
    """Normalising is linear: long runs of letters, digits and quotes do not make it hang."""
    for text in ("a-" * 50_000, "'" * 50_000, "1." * 50_000, "a" * 50_000, "http" * 20_000, '"x' * 30_000):
        assert len(normalised(failed(text))) <= 400


def test_hostile_rows_are_counted(tmp_path: Path) -> None:
    """No text can stop the count."""
    rows = hostile_rows()
    assert summary_of(info_of(tmp_path), *rows).jobs == len(rows)


def test_times_that_are_no_times_are_ignored(tmp_path: Path) -> None:
    """NaN and infinity in the ledger neither count nor crash."""
    row: JobRow = replace(Row().made(), planned_at=math.nan, submitted_at=math.inf, ready_at=-math.inf, finished_at=math.nan)
    summary = summary_of(info_of(tmp_path), row)
    assert math.isfinite(summary.as_of)
    assert summary.targets[0].processing == Spread()
