"""Every operation of every adapter against the simulator over a real socket: from the order to files that play."""

from __future__ import annotations

from itertools import count

import pytest
from contract_orders import at, finished, order
from contract_stage import LONG, Account, Stage
from contract_table import ROWS, Row

from runner.artifacts import ArtifactStore
from runner.errors import DownloadFailed
from runner.model import MediaKind, Observation, Phase
from runner.providers import operation_facts, provider_facts
from runner.seams import Expected

EVERY = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
OPERATIONS = pytest.mark.parametrize("row", [row for row in ROWS if not row.label], ids=lambda row: row.name)
STRANGERS = ("4f3d2a9e-0000-4d58-9d0f-3b0a6a5f7c11", "64dd9000a1b2c3d4e5f60001", "830012345678901", "a b/c?d", "x" * 150)


def test_the_table_names_every_operation() -> None:
    """A new operation without a row is a failed test."""
    assert {row.operation for row in ROWS} == set(operation_facts())
    assert {row.provider for row in ROWS} == set(provider_facts())


@EVERY
def test_a_job_walks_from_its_order_to_files_that_play(row: Row, stage: Stage, request: pytest.FixtureRequest) -> None:
    """Queued, running, succeeded; every promised output is there once, downloads, decodes, and is what was ordered. One reading is
    played under each provider's own prefix, the other at the root.
    """
    through_root = request.node.callspec.params["stage"] == "other"

    async def play(account: Account) -> None:
        job = await order(account, row)
        accepted = await account.submit(job.operation, job.submission)
        assert account.intents >= 1
        walk = [(await account.look(job.operation, accepted.remote_id)).phase]
        while walk[-1] in {Phase.QUEUED, Phase.RUNNING} and len(walk) < 400:
            stage.pass_time(1.5)
            walk.append((await account.look(job.operation, accepted.remote_id)).phase)
        assert list(dict.fromkeys(walk)) == list(row.walk)
        seen = await account.look(job.operation, accepted.remote_id)
        assert tuple(output.name for output in seen.outputs) == row.outputs
        assert set(seen.values) == set(job.operation.facts.values)
        await _verified(account, job.operation.expected(job.submission.params, job.sound_seconds), seen, row)

    at(stage, row, through_root=through_root).run(play)


async def _verified(account: Account, expected: Expected, seen: Observation, row: Row) -> None:
    """Fetch each output and store it as the runner does, which decodes it and holds it against the order."""
    store = ArtifactStore(account.new_path(), rehearsal=True)
    for output in seen.outputs:
        fetched = await account.worker.wire.fetch(output.url, account.new_path(), max_bytes=2**24)
        stored = await store.store(fetched, output=output, expected=expected, path=output.name, provenance={})
        info = stored.info
        assert info.kind is output.kind
        assert info.width
        assert info.height
        if row.aspect is not None:
            assert info.width / info.height == pytest.approx(row.aspect, rel=0.03)
        if info.kind is not MediaKind.IMAGE:
            assert info.seconds
        for told, got in ((output.seconds, info.seconds), (row.seconds, info.seconds)):
            assert told is None or got == pytest.approx(told, abs=0.2)
        for told, got in ((output.width, info.width), (output.height, info.height)):
            assert told is None or told == got


@EVERY
def test_what_a_job_costs_agrees_everywhere(row: Row, stage: Stage) -> None:
    """The estimate, the provider's own figure and what leaves the account are one number, where each is known."""

    async def play(account: Account) -> None:
        job = await order(account, row)
        before = await account.balance()
        accepted = await account.submit(job.operation, job.submission)
        seen = await account.finish(job.operation, accepted.remote_id)
        after = await account.balance()
        assert before is not None
        assert after is not None
        spent = before - after
        assert spent > 0
        if seen.credits is not None:
            assert seen.credits == pytest.approx(spent, abs=1e-3)
        if accepted.credits is not None:
            assert accepted.credits == pytest.approx(spent, abs=1e-3)
        assert job.estimate is None or job.estimate == pytest.approx(spent, abs=1e-3)

    at(stage, row).run(play)


@OPERATIONS
def test_a_remote_failure_is_told_with_its_reason(row: Row, unlucky: Stage) -> None:
    """Of several jobs some fail: each says why in the provider's words and ours, has no outputs, and the others are whole."""

    async def play(account: Account) -> None:
        phases = set()
        for number in count():
            job = await order(account, row)
            accepted = await account.submit(job.operation, job.submission)
            seen = await account.finish(job.operation, accepted.remote_id)
            phases.add(seen.phase)
            if seen.phase is Phase.FAILED:
                assert seen.reason
                assert seen.cause in {"content_policy", "generation_failed"}
                assert not seen.outputs
            else:
                assert seen.outputs
            if len(phases) == 2:
                return
            assert number < 40

    at(unlucky, row).run(play)


@OPERATIONS
@pytest.mark.parametrize("amount", [1, 3, 12])
def test_many_ids_are_settled_at_once_whoever_knows_them(row: Row, stage: Stage, amount: int) -> None:
    """Every id asked for is in the answer under its own name; strangers are missing and spoil nothing; repeats are fine."""

    async def play(account: Account) -> None:
        known = []
        for _ in range(amount):
            job = await order(account, row)
            known.append((await account.submit(job.operation, job.submission)).remote_id)
        stage.pass_time(LONG)
        ids = [STRANGERS[0], *known, *STRANGERS[1:], known[0]]
        seen = await account.observe(job.operation, *ids)
        assert set(seen) == set(ids)
        assert {seen[stranger].phase for stranger in STRANGERS} == {Phase.MISSING}
        assert {seen[one].phase for one in known} == {Phase.SUCCEEDED}
        assert all(seen[one].remote_id == one for one in ids)
        assert len({seen[one].outputs[0].url for one in known}) == amount

    at(stage, row).run(play)


@pytest.mark.slow
@OPERATIONS
def test_a_full_bulk_is_settled_with_few_requests(row: Row, stage: Stage) -> None:
    """As many ids as the facts promise, in one flow that asks far fewer times than once per id."""

    async def play(account: Account) -> None:
        bulk = account.operation(row.operation).facts.bulk
        known = []
        for _ in range(bulk):
            job = await order(account, row)
            known.append((await account.submit(job.operation, job.submission)).remote_id)
        stage.pass_time(LONG)
        before = _asked(stage, row)
        seen = await account.observe(job.operation, *known)
        assert {one.phase for one in seen.values()} == {Phase.SUCCEEDED}
        assert len(seen) == bulk
        assert _asked(stage, row) - before <= max(1, bulk // 50)

    if row.operation != "creatify/product-video":  # a hundred pictures first: the list call is the same as the pictures'
        at(stage, row).run(play)


def _asked(stage: Stage, row: Row) -> int:
    requests: dict[str, int] = stage.books(row.provider)["requests"]
    return sum(requests.values())


@OPERATIONS
def test_an_expired_link_is_replaced_by_asking_again(row: Row, stage: Stage) -> None:
    """The old link fails as expired, a new question gives another link to the same file, and nothing is paid again."""

    async def play(account: Account) -> None:
        remote_id = await finished(account, row)
        operation = account.operation(row.operation)
        [old, *_] = (await account.look(operation, remote_id)).outputs
        first = await account.worker.wire.fetch(old.url, account.new_path(), max_bytes=2**24)
        paid = stage.books(row.provider)["submissions"]
        stage.pass_time(700)
        with pytest.raises(DownloadFailed) as caught:
            await account.worker.wire.fetch(old.url, account.new_path(), max_bytes=2**24)
        assert caught.value.expired
        [new, *_] = (await account.look(operation, remote_id)).outputs
        assert new.url != old.url
        second = await account.worker.wire.fetch(new.url, account.new_path(), max_bytes=2**24)
        assert second.sha256 == first.sha256
        assert stage.books(row.provider)["submissions"] == paid

    at(stage, row).run(play)
