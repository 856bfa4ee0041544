"""Runs in virtual time: everything ends as it should, nobody pays twice, no slot is exceeded, whatever goes wrong."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from pretend_provider import Fault, PretendProvider, Server, first_time, sequence
from stage import CHAIN, STILL, Stage, Wishes, manifest, products, virtual

from runner.engines.local import LocalEngine
from runner.plan import PlanOptions

FREE_FAULTS = [
    Fault("deferred", "rate_limit"),
    Fault("deferred", "rate_limit", retry_after=7.0),
    Fault("deferred", "concurrency"),
    Fault("transient", "server"),
    Fault("not_sent"),
]
UNCERTAIN_FAULTS = [Fault("lost_request"), Fault("lost_reply"), Fault("torn_reply"), Fault("no_id"), Fault("uncertain")]


def stage(tmp_path: Path, count: int = 10, targets: object = None, **more: object) -> Stage:
    """A campaign of that many products."""
    return Stage(tmp_path / "c", manifest(products(count), targets or {"still": STILL}, **more))  # type: ignore[arg-type]  # a mapping


def test_a_plain_run_ends_well_and_uses_every_slot(tmp_path: Path) -> None:
    """Every job succeeds, each is paid for once, the slots are full and never exceeded, and the time is close to the ideal."""

    async def main() -> None:
        one = stage(tmp_path, 50)
        done = await one.run()
        assert done.counts == {"succeeded": 50}
        assert one.paid() == 50
        assert not one.charged_twice()
        server = one.servers["one"]
        assert server.peak == 5 == done.engine.peaks()["one"]
        assert done.seconds < 1.25 * 30.0 * 50 / 5
        assert server.requests["observe"] < 50 * 8
        again = await one.run()
        assert again.plan.submissions == 0
        assert one.paid() == 50

    virtual(main)


@pytest.mark.parametrize("fault", FREE_FAULTS, ids=lambda fault: f"{fault.kind}-{fault.cause}-{fault.retry_after}")
def test_what_was_certainly_not_taken_is_tried_again(tmp_path: Path, fault: Fault) -> None:
    """Each job's first two submits fail without having been taken: all succeed in the same run, each paid for once."""

    async def main() -> None:
        one = stage(tmp_path, 12)
        one.servers["one"].script = first_time(fault, times=2)
        done = await one.run()
        assert done.counts == {"succeeded": 12}
        assert one.paid() == 12
        assert not one.charged_twice()
        assert one.servers["one"].peak <= 5

    virtual(main)


@pytest.mark.parametrize("fault", UNCERTAIN_FAULTS, ids=lambda fault: fault.kind)
def test_what_nobody_knows_is_looked_up_and_never_paid_twice(tmp_path: Path, fault: Fault) -> None:
    """Each job's first submit ends in doubt: it is found or certainly missing, then finished; the server was paid once each."""

    async def main() -> None:
        one = stage(tmp_path, 12)
        one.servers["one"].script = first_time(fault)
        done = await one.run()
        assert done.counts == {"succeeded": 12}
        assert one.paid() == 12
        assert not one.charged_twice()
        assert one.servers["one"].peak <= 5
        assert one.servers["one"].requests["find"] >= 12

    virtual(main)


def test_where_nobody_can_tell_the_run_ends_and_waits_for_a_person(tmp_path: Path) -> None:
    """Without a way to look a lost submission up, it is left uncertain and never submitted again, and neither it nor the slots
    that such jobs hold hang a run.
    """

    async def main() -> None:
        one = stage(tmp_path, 10)
        one.providers["one"] = PretendProvider("one", can_find=False)
        one.servers["one"].script = first_time(Fault("lost_reply"))
        for _ in range(3):
            with anyio.fail_after(36_000):
                done = await one.run()
        assert done.counts == {"uncertain": 10}
        assert one.paid() == 10
        assert not one.charged_twice()

    virtual(main)


def test_work_beyond_its_deadline_does_not_hang_the_jobs_behind_it(tmp_path: Path) -> None:
    """When every slot is held by work that this run has given up waiting for, the run ends; the jobs behind it stay to do."""

    async def main() -> None:
        one = stage(tmp_path, 8, {"still": {**STILL, "deadline": "10m"}})
        one.servers["one"].ending = lambda _key, _params, _nth: "odd"
        with anyio.fail_after(36_000):
            done = await one.run()
        assert done.counts["running"] == 5
        assert one.paid() == 5
        for task in one.servers["one"].tasks.values():
            task.ending = "succeeded"
        one.servers["one"].ending = lambda _key, _params, _nth: "succeeded"
        done = await one.run()
        assert done.counts == {"succeeded": 8}
        assert one.paid() == 8

    virtual(main)


def test_refused_jobs_fail_alone(tmp_path: Path) -> None:
    """A refusal fails that job and costs nothing; the others go on; the next run does not submit it again."""

    async def main() -> None:
        one = stage(tmp_path, 10)
        one.servers["one"].script = sequence(None, Fault("refused", "content_policy"), None, Fault("refused", "bad_input"))
        done = await one.run()
        assert done.counts == {"succeeded": 8, "failed": 2}
        assert one.paid() == 8
        again = await one.run()
        assert again.plan.submissions == 0
        retried = await one.run(PlanOptions(retry=frozenset({"content_policy"})))
        assert retried.counts == {"succeeded": 9, "failed": 1}

    virtual(main)


def test_failed_work_fails_and_is_retried_only_when_asked(tmp_path: Path) -> None:
    """What the provider gave up on is failed; ``--retry failed`` submits it under a new key."""

    async def main() -> None:
        one = stage(tmp_path, 6)
        one.servers["one"].ending = lambda _key, _params, nth: "failed" if nth < 2 else "succeeded"
        done = await one.run()
        assert done.counts == {"succeeded": 4, "failed": 2}
        done = await one.run(PlanOptions(retry=frozenset({"failed"})))
        assert done.counts == {"succeeded": 6}
        assert one.paid() == 8
        assert not one.charged_twice()

    virtual(main)


# ------------------------------------------------------------------------------------------------------------- chains


def test_chains_run_across_lanes(tmp_path: Path) -> None:
    """A job starts as soon as what it needs is there, on the other account, with the real remote id filled in."""

    async def main() -> None:
        one = stage(tmp_path, 20, CHAIN)
        done = await one.run()
        assert done.counts == {"succeeded": 40}
        records = {task.params["record"] for task in one.servers["two"].tasks.values()}
        assert records == set(one.servers["one"].tasks)
        assert done.seconds < 1.3 * (30.0 * 20 / 5 + 30.0)

    virtual(main)


def test_chains_run_within_one_lane(tmp_path: Path) -> None:
    """Both halves share one account's slots; begun chains are finished first."""

    async def main() -> None:
        one = stage(tmp_path, 12, {"still": STILL, "clip": {**CHAIN["clip"], "uses": "one/clip"}})
        done = await one.run()
        assert done.counts == {"succeeded": 24}
        order = [task.operation for task in one.servers["one"].tasks.values()]
        assert order.index("one/clip") < 12
        assert one.servers["one"].peak <= 5

    virtual(main)


def test_files_travel_down_a_chain(tmp_path: Path) -> None:
    """A result file of one job is what the next one uploads."""

    async def main() -> None:
        clip = {**CHAIN["clip"], "with": {"image": "{{ needs.still.files.image }}"}}
        one = stage(tmp_path, 3, {"still": STILL, "clip": clip})
        done = await one.run()
        assert done.counts == {"succeeded": 6}
        assert one.servers["two"].requests["upload"] == 3

    virtual(main)


@pytest.mark.parametrize("how", ["refused", "failed"])
def test_a_failed_upstream_skips_all_that_needs_it(tmp_path: Path, how: str) -> None:
    """Two floors below the failure are skipped with nothing paid; a retry of the first makes all three."""

    async def main() -> None:
        last = {"uses": "one/clip", "needs": "clip", "with": {"record": "{{ needs.clip.remote_id }}"}}
        one = stage(tmp_path, 4, {**CHAIN, "last": last})
        if how == "refused":
            one.servers["one"].script = sequence(Fault("refused"))
        else:
            one.servers["one"].ending = lambda _key, _params, nth: "failed" if nth == 0 else "succeeded"
        done = await one.run()
        assert done.counts == {"succeeded": 9, "failed": 1, "skipped": 2}
        again = await one.run()
        assert again.plan.submissions == 0
        done = await one.run(PlanOptions(retry=frozenset({"failed"})))
        assert done.counts == {"succeeded": 12}
        assert not one.charged_twice()

    virtual(main)


# ---------------------------------------------------------------------------------------------------------- stopped lanes


def test_a_halted_lane_leaves_its_jobs_ready_and_others_finish(tmp_path: Path) -> None:
    """Credit runs out on one account: what runs there is finished, nothing more is submitted, the other account goes on."""

    async def main() -> None:
        targets = {"still": STILL, "other": {"uses": "two/still", "with": STILL["with"]}}
        one = stage(tmp_path, 20, targets)
        one.servers["one"].script = lambda kind, _doc, _n: (
            Fault("halted", "credit") if kind == "submit" and one.servers["one"].requests["submit"] > 6 else None
        )
        done = await one.run()
        assert sum(one.servers["one"].paid.values()) == 7
        assert [done.states[key] for key in done.states if key.startswith("other")] == ["succeeded"] * 20
        stills = [done.states[key] for key in done.states if key.startswith("still")]
        assert stills.count("succeeded") == 7
        assert set(stills) == {"succeeded", "ready"}
        assert one.servers["one"].requests["submit"] <= 7 + 5
        one.servers["one"].script = lambda *_: None
        again = await one.run()
        assert again.counts == {"succeeded": 40}
        assert one.paid() == 40

    virtual(main)


def test_a_lane_halted_while_asking_leaves_its_work_for_the_next_run(tmp_path: Path) -> None:
    """Credentials that fail while work is running end the lane at once; the next run collects without paying again."""

    async def main() -> None:
        one = stage(tmp_path, 8)
        one.servers["one"].script = lambda kind, _doc, _n: Fault("halted", "auth") if kind == "observe" else None
        with anyio.fail_after(3600):
            done = await one.run()
        assert done.counts["running"] == 5
        one.servers["one"].script = lambda *_: None
        done = await one.run()
        assert done.counts == {"succeeded": 8}
        assert one.paid() == 8

    virtual(main)


@pytest.mark.parametrize("kind", ["budget", "max_cost"])
def test_the_budget_is_never_exceeded(tmp_path: Path, kind: str) -> None:
    """Jobs of two credits under a budget of eleven: five are submitted, not six, however many slots are free."""

    async def main() -> None:
        one = stage(tmp_path, 20)
        wishes = Wishes(budgets={"one": 11.0}) if kind == "budget" else Wishes(max_cost=11.0)
        one.concurrency["one"] = 20
        done = await one.run(wishes=wishes)
        assert one.paid() == 5
        assert done.counts["succeeded"] == 5
        assert "one" in done.budget.exceeded
        if kind == "budget":
            await one.run(wishes=wishes)
            assert one.paid() == 5
        else:
            await one.run(wishes=wishes)
            assert one.paid() == 10

    virtual(main)


def test_retries_count_against_the_budget(tmp_path: Path) -> None:
    """Attempts that failed for free do not make the next ones free."""

    async def main() -> None:
        one = stage(tmp_path, 10)
        one.servers["one"].ending = lambda _key, _params, nth: "failed" if nth < 10 else "succeeded"
        assert (await one.run()).counts == {"failed": 10}
        await one.run(PlanOptions(retry=frozenset({"failed"})), wishes=Wishes(budgets={"one": 6.0}))
        assert one.paid() == 10 + 3

    virtual(main)


def test_the_limit_is_kept(tmp_path: Path) -> None:
    """``--limit 7`` submits seven, upstream before downstream; run after run finishes the rest."""

    async def main() -> None:
        one = stage(tmp_path, 10, CHAIN)
        totals = []
        for _ in range(4):
            await one.run(PlanOptions(limit=7))
            totals.append(one.paid())
        assert totals == [7, 14, 20, 20]

    virtual(main)


def test_a_gate_holds_until_a_person_says_yes(tmp_path: Path) -> None:
    """Nothing downstream of the gate is paid for before the approval; after it the rest runs."""

    async def main() -> None:
        one = stage(tmp_path, 5, {"still": {**STILL, "gate": "approve"}, "clip": CHAIN["clip"]})
        done = await one.run()
        assert done.counts == {"succeeded": 5, "held": 5}
        done = await one.run()
        assert done.counts == {"succeeded": 5, "held": 5}
        assert one.paid() == 5
        done = await one.run(wishes=Wishes(approved=("still",)))
        assert done.counts == {"succeeded": 10}

    virtual(main)


def test_collecting_only_submits_nothing(tmp_path: Path) -> None:
    """``--collect`` finishes what is paid for and leaves the rest."""

    async def main() -> None:
        one = stage(tmp_path, 10)

        async def stop(engine: LocalEngine, scope: anyio.CancelScope) -> None:
            await anyio.sleep(10)
            scope.cancel()

        await one.run(beside=stop)
        paid = one.paid()
        done = await one.run(PlanOptions(limit=0), wishes=Wishes(submitting=False))
        assert one.paid() == paid == 5
        assert done.counts["succeeded"] == 5

    virtual(main)


def test_draining_is_quick_and_submits_no_more(tmp_path: Path) -> None:
    """After the stop no request is begun; the run ends within a request's time; the next run goes on without paying again."""

    async def main() -> None:
        one = stage(tmp_path, 30)
        stopped = 0.0

        async def stop(engine: LocalEngine, scope: anyio.CancelScope) -> None:
            nonlocal stopped
            await anyio.sleep(47.3)
            engine.stop()
            stopped = anyio.current_time()

        done = await one.run(beside=stop)
        assert anyio.current_time() - stopped < 1.0
        assert max(one.servers["one"].submits) <= stopped + 0.1
        assert "submitting" not in done.counts
        done = await one.run()
        assert done.counts == {"succeeded": 30}
        assert one.paid() == 30

    virtual(main)


# --------------------------------------------------------------------------------------------------- odd provider answers


def test_a_word_that_nobody_documented_is_waited_for_until_the_deadline(tmp_path: Path) -> None:
    """Such a task counts as running; at the deadline this run lets it be, paid for and kept for the next."""

    async def main() -> None:
        one = stage(tmp_path, 8, {"still": {**STILL, "deadline": "10m"}})
        one.servers["one"].ending = lambda _key, _params, nth: "odd" if nth < 2 else "succeeded"
        with anyio.fail_after(7200):
            done = await one.run()
        assert done.counts == {"succeeded": 6, "running": 2}
        for task in one.servers["one"].tasks.values():
            task.ending = "succeeded"
        done = await one.run()
        assert done.counts == {"succeeded": 8}
        assert one.paid() == 8

    virtual(main)


def test_success_without_a_result_is_not_success(tmp_path: Path) -> None:
    """The provider says done but offers no file: the job stays paid and uncollected until it does, and is never submitted again."""

    async def main() -> None:
        one = stage(tmp_path, 3)
        one.servers["one"].ending = lambda _key, _params, nth: "empty" if nth == 0 else "succeeded"
        done = await one.run()
        assert done.counts == {"succeeded": 2, "collecting": 1}
        one.servers["one"].tasks["one0"].ending = "succeeded"
        done = await one.run()
        assert done.counts == {"succeeded": 3}
        assert one.paid() == 3

    virtual(main)


def test_a_task_that_the_provider_lost_is_looked_for_and_then_left_to_a_person(tmp_path: Path) -> None:
    """An id that is unknown again and again is looked for by its key. It was taken, so perhaps paid for: it is not made again by itself."""

    async def main() -> None:
        one = stage(tmp_path, 2)
        one.servers["one"].ending = lambda _key, _params, nth: "gone" if nth == 0 else "succeeded"

        async def forget(engine: LocalEngine, scope: anyio.CancelScope) -> None:
            await anyio.sleep(60)
            one.servers["one"].tasks.pop("one0")

        with anyio.fail_after(7200):
            done = await one.run(beside=forget)
        assert done.counts == {"succeeded": 1, "uncertain": 1}
        assert len(one.servers["one"].paid) == 2

    virtual(main)


@pytest.mark.parametrize(
    ("answers", "ending", "fetches"),
    [
        (["expired", "good"], "succeeded", 2),
        (["expired"] * 4 + ["good"], "succeeded", 5),
        (["wrong", "good"], "succeeded", 2),
        (["wrong", "wrong"], "failed", 2),
        (["expired"] * 50, "collecting", 6),
    ],
)
def test_downloads_that_fail(tmp_path: Path, answers: list[str], ending: str, fetches: int) -> None:
    """A dead link is asked for anew, a wrong file is believed the second time, and nothing is ever paid again for it."""

    async def main() -> None:
        one = stage(tmp_path, 1)
        one.servers["one"].download = lambda _url, nth: answers[nth]
        done = await one.run()
        assert done.counts == {ending: 1}
        assert sum(one.servers["one"].fetches.values()) == fetches
        assert one.paid() == 1

    virtual(main)


def test_a_result_that_cannot_be_collected_does_not_hang_the_chain(tmp_path: Path) -> None:
    """While an upstream result cannot be downloaded its dependants wait for another run; the others are made."""

    async def main() -> None:
        one = stage(tmp_path, 4, CHAIN)
        one.servers["one"].download = lambda url, _nth: "expired" if "/one0/" in url else "good"
        with anyio.fail_after(7200):
            done = await one.run()
        assert done.counts == {"succeeded": 6, "collecting": 1}
        one.servers["one"].download = lambda _url, _nth: "good"
        done = await one.run()
        assert done.counts == {"succeeded": 8}
        assert one.paid() == 8

    virtual(main)


def test_questions_that_fail_are_asked_again(tmp_path: Path) -> None:
    """An outage of ten minutes in which no question is answered delays the jobs and loses none."""

    async def main() -> None:
        one = stage(tmp_path, 8)

        def script(kind: str, _document: object, _earlier: int) -> Fault | None:
            return Fault("transient") if kind == "observe" and 20 < anyio.current_time() < 620 else None

        one.servers["one"].script = script
        done = await one.run()
        assert done.counts == {"succeeded": 8}
        assert one.servers["one"].requests["observe"] < 400

    virtual(main)


def test_an_outage_does_not_burn_through_the_catalogue(tmp_path: Path) -> None:
    """While nothing can be submitted for two minutes the lane waits instead of trying, and giving up, one job after the other."""

    async def main() -> None:
        one = stage(tmp_path, 200)
        one.servers["one"].seconds = 5.0
        one.servers["one"].script = lambda kind, _d, _n: (
            Fault("transient", "server") if kind == "submit" and 10 < anyio.current_time() < 130 else None
        )
        done = await one.run()
        assert done.counts == {"succeeded": 200}
        assert one.servers["one"].requests["submit"] < 200 + 150

    virtual(main)


def test_an_account_with_fewer_slots_than_declared_is_found_out(tmp_path: Path) -> None:
    """The provider allows three though the manifest says ten: all is done, few submits are turned away."""

    async def main() -> None:
        one = stage(tmp_path, 30)
        one.servers["one"].slots = 3
        one.concurrency["one"] = 10
        done = await one.run()
        assert done.counts == {"succeeded": 30}
        assert one.paid() == 30
        assert one.servers["one"].peak <= 3
        assert one.servers["one"].requests["submit"] < 30 + 30
        assert done.seconds < 1.5 * 30 * 30 / 3

    virtual(main)


def test_nothing_spins(tmp_path: Path) -> None:
    """The loops look for work a few times per request made, not per tick: a run of an hour turns a few hundred times."""

    async def main() -> None:
        one = stage(tmp_path, 6)
        one.servers["one"] = Server(seconds=3600.0)
        one.wire.servers = one.servers
        turns = 0

        async def count(engine: LocalEngine, scope: anyio.CancelScope) -> None:
            nonlocal turns
            for driver in engine._drivers.values():
                wait = driver._wait

                async def counted(wait: object = wait) -> None:
                    nonlocal turns
                    turns += 1
                    await wait()  # type: ignore[operator]  # the driver's own

                driver._wait = counted  # type: ignore[method-assign]  # only counts

        done = await one.run(beside=count)
        assert done.counts == {"succeeded": 6}
        requests = sum(one.servers["one"].requests.values())
        assert turns < 4 * requests + 50

    virtual(main)
