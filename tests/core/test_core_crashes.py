"""Runs that are cut off at any moment, over ledgers that are slow or break: nothing is lost, nothing is paid twice."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from pretend_provider import Fault, Script, Server
from stage import CHAIN, CLIP, STILL, Stage, manifest, products, virtual

from runner.engines.local import LocalEngine
from runner.errors import LedgerError
from runner.events import Event
from runner.ledger import Ledger
from runner.plan import PlanOptions
from runner.seams import Tenure

EVERYTHING = [
    Fault("deferred", "rate_limit"),
    Fault("deferred", "concurrency"),
    Fault("transient", "server"),
    Fault("not_sent"),
    Fault("lost_request"),
    Fault("late_request"),
    Fault("lost_reply"),
    Fault("torn_reply"),
    Fault("no_id"),
    Fault("uncertain"),
]
QUESTIONS = [Fault("transient"), Fault("not_sent"), Fault("lost_reply"), Fault("torn_reply"), Fault("deferred", "rate_limit")]

CAMPAIGNS: Mapping[str, Mapping[str, Any]] = {
    "plain": {"still": STILL},
    "chain": CHAIN,
    "there-and-back": {**CHAIN, "last": {"uses": "one/clip", "needs": "clip", "with": {"record": "{{ needs.clip.remote_id }}"}}},
    "variants": {
        "still": {**STILL, "matrix": {"size": ["a", "b"]}},
        "clip": {**CLIP, "uses": "one/clip"},
        "wide": {
            "uses": "two/clip",
            "needs": {"still": {"size": "a"}},
            "with": {"image": "{{ needs.still.files.image }}"},
            "takes": 2,
        },
    },
}


def faulty(luck: random.Random, share: float) -> Script:
    """Any fault, at random, for that share of all requests."""

    def script(kind: str, _document: Mapping[str, Any], _earlier: int) -> Fault | None:
        if luck.random() >= share:
            return None
        return luck.choice(EVERYTHING if kind == "submit" else QUESTIONS)

    return script


def wait_for(seconds: float) -> Any:  # noqa: ANN401  # the stage's own type
    """Cuts the run off after that time, as a kill would."""

    async def cut(engine: LocalEngine, scope: anyio.CancelScope) -> None:
        await anyio.sleep(seconds)
        scope.cancel()

    return cut


async def rough(one: Stage, luck: random.Random, share: float, cuts: int) -> None:
    """Runs with faults that are cut off, then quiet ones until nothing is left to do."""
    jobs = one.plan().jobs
    for server in one.servers.values():
        server.script = faulty(luck, share)
        server.download = lambda _url, _nth: luck.choices(["good", "expired"], [1 - share, share])[0]
    for _ in range(cuts):
        await one.run(
            beside=wait_for(luck.choice([0.0, 0.04, 0.051, 0.12, 1.0, 25.0, 31.0, 60.0, 200.0]) * luck.uniform(0.9, 1.1))
        )
    for _ in range(6):
        with anyio.fail_after(100_000):
            done = await one.run()
        if done.counts == {"succeeded": jobs}:
            break
        for server in one.servers.values():
            server.script = lambda *_: None
            server.download = lambda _url, _nth: "good"
    assert done.counts == {"succeeded": jobs}
    assert one.charged_twice() == {}
    assert one.paid() == jobs
    assert all(server.peak <= 5 for server in one.servers.values())
    assert done.error is None


@pytest.mark.parametrize("campaign", sorted(CAMPAIGNS))
@pytest.mark.parametrize("seed", range(4))
def test_whatever_goes_wrong_all_is_made_and_paid_once(tmp_path: Path, campaign: str, seed: int) -> None:
    """Faults of every kind and runs cut off at random moments: in the end each job succeeded and was paid for exactly once, and
    the accounts' slots were never exceeded.
    """
    luck = random.Random(f"{campaign}{seed}")
    one = Stage(tmp_path / "c", manifest(products(9), CAMPAIGNS[campaign]))
    virtual(lambda: rough(one, luck, share=0.25, cuts=6))


@pytest.mark.slow
@pytest.mark.parametrize("campaign", sorted(CAMPAIGNS))
@pytest.mark.parametrize("seed", range(4, 64))
def test_whatever_goes_wrong_at_length(tmp_path: Path, campaign: str, seed: int) -> None:
    """The same with more luck, good and bad."""
    luck = random.Random(f"{campaign}{seed}")
    one = Stage(tmp_path / "c", manifest(products(luck.randint(1, 15)), CAMPAIGNS[campaign]))
    virtual(lambda: rough(one, luck, share=luck.choice([0.05, 0.3, 0.6]), cuts=luck.randint(1, 15)))


@pytest.mark.parametrize("moment", [n * 0.025 for n in range(16)])
def test_cut_off_at_any_step_of_a_submit(tmp_path: Path, moment: float) -> None:
    """A run that ends before, while or after the server takes the work is resumed without a second payment."""

    async def main() -> None:
        one = Stage(tmp_path / "c", manifest(products(3), {"still": STILL}))
        await one.run(beside=wait_for(moment))
        done = await one.run()
        assert done.counts == {"succeeded": 3}
        assert one.paid() == 3
        assert not one.charged_twice()

    virtual(main)


def test_a_submission_that_arrives_late_is_found(tmp_path: Path) -> None:
    """The connection breaks at once and the request arrives ten seconds later: nobody believes "not here" before that."""

    async def main() -> None:
        one = Stage(tmp_path / "c", manifest(products(4), {"still": STILL}))
        one.servers["one"].script = lambda kind, _document, earlier: (
            Fault("late_request") if kind == "submit" and earlier == 0 else None
        )
        done = await one.run()
        assert done.counts == {"succeeded": 4}
        assert one.paid() == 4
        assert not one.charged_twice()

    virtual(main)


# ------------------------------------------------------------------------------------------------------------- the ledger


class SlowLedger(Ledger):
    """Every fsync takes as long as a dying disk's."""

    async def append(self, tenure: Tenure, events: Sequence[Event]) -> None:
        """Durable after seven seconds."""
        await super().append(tenure, events)
        await anyio.sleep(7.0)


@pytest.mark.parametrize("instant", [False, True], ids=["polled", "instant"])
def test_a_slow_disk_slows_and_breaks_nothing(tmp_path: Path, instant: bool) -> None:
    """While a fact goes to disk nobody acts on the job again, even when the next question about it is due."""

    async def main() -> None:
        one = Stage(tmp_path / "c", manifest(products(8), {"still": STILL}), ledger_kind=SlowLedger)
        one.servers["one"].seconds = 1.0
        one.providers["one"].still.instant = instant
        done = await one.run()
        assert done.error is None
        assert done.counts == {"succeeded": 8}
        assert one.paid() == 8

    virtual(main)


class BreakingLedger(Ledger):
    """The disk is full after so many lines."""

    room = 0

    def _write(self, events: Sequence[Event]) -> None:
        if type(self).room < len(events):
            raise LedgerError("the ledger cannot be written: no space left", hint="free some space")
        type(self).room -= len(events)
        super()._write(events)


@pytest.mark.parametrize("room", [1, 2, 3, 5, 8, 13, 14, 15, 16, 17, 21, 34, 40])
def test_a_full_disk_ends_the_run_and_loses_nothing(tmp_path: Path, room: int) -> None:
    """Wherever the disk fills up, the run ends with the ledger's error once requests under way have ended; what was accepted
    and could not be written is named; with space again all is finished and nothing is paid twice.
    """

    async def main() -> None:
        one = Stage(tmp_path / "c", manifest(products(6), CHAIN), ledger_kind=BreakingLedger)
        BreakingLedger.room = room
        began = anyio.current_time()
        broken = await one.run()
        assert isinstance(broken.error, LedgerError)
        assert anyio.current_time() - began < 200
        accepted = {task.id for server in one.servers.values() for task in server.tasks.values()}
        text = one.path.read_text()
        for id_ in accepted:
            assert f'"remote_id":"{id_}"' in text or any(pair.endswith(f" = {id_}") for pair in broken.engine.lost_ids())
        one.ledger_kind = Ledger
        done = await one.run()
        assert done.counts == {"succeeded": 12}
        assert one.paid() == 12
        assert not one.charged_twice()

    virtual(main)


def test_a_manifest_that_changed_while_a_submission_was_lost(tmp_path: Path) -> None:
    """The lost submission is looked for as it left, and when it never arrived the job is made as the manifest says now, once."""

    async def main() -> None:
        one = Stage(tmp_path / "c", manifest(products(3), {"still": STILL}))
        one.servers["one"].script = lambda kind, _document, _earlier: Fault("lost_request") if kind == "submit" else None
        await one.run(beside=wait_for(5.0))
        one.servers["one"].script = lambda *_: None
        one.document["targets"]["still"] = {**STILL, "with": {"prompt": "Another {{ product.title }}"}}
        done = await one.run()
        assert done.counts == {"succeeded": 3}
        assert one.paid() == 3
        assert {task.params["prompt"].split()[0] for task in one.servers["one"].tasks.values()} == {"Another"}
        assert (await one.run()).plan.submissions == 0

    virtual(main)


def test_products_that_left_the_catalogue_are_still_collected(tmp_path: Path) -> None:
    """What is paid for is finished even when the manifest no longer asks for it; nothing new is made of it."""

    async def main() -> None:
        one = Stage(tmp_path / "c", manifest(products(4), CHAIN))
        await one.run(beside=wait_for(10.0))
        assert one.paid() == 4
        one.document["catalogue"]["products"] = products(2)
        done = await one.run()
        assert done.counts == {"succeeded": 6}
        assert one.paid() == 6

    virtual(main)


def test_resuming_with_fewer_slots_waits_for_what_runs(tmp_path: Path) -> None:
    """Work found under way counts before anything is submitted, also when it is more than the manifest allows now."""

    async def main() -> None:
        one = Stage(tmp_path / "c", manifest(products(12), {"still": STILL}), servers={"one": Server(), "two": Server()})
        await one.run(beside=wait_for(10.0))
        one.concurrency["one"] = 2
        one.servers["one"].peak = 0
        submits = len(one.servers["one"].submits)
        done = await one.run()
        assert done.counts == {"succeeded": 12}
        assert one.paid() == 12
        later = one.servers["one"].submits[submits:]
        assert min(later) > 30.0
        assert one.servers["one"].peak <= 2

    virtual(main)


def test_limit_zero_submits_nothing_even_after_a_crash(tmp_path: Path) -> None:
    """``--limit 0`` only finishes what is paid for: a lost submission that never arrived is not sent again under it."""

    async def main() -> None:
        one = Stage(tmp_path / "c", manifest(products(3), {"still": STILL}))
        one.servers["one"].script = lambda kind, _document, _earlier: Fault("lost_request") if kind == "submit" else None
        await one.run(beside=wait_for(5.0))
        one.servers["one"].script = lambda *_: None
        await one.run(PlanOptions(limit=0))
        assert one.paid() == 0
        done = await one.run()
        assert done.counts == {"succeeded": 3}

    virtual(main)
