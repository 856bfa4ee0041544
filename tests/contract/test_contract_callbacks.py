"""What an operation does with a callback address: the provider takes it, calls back, and the call names our submission."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from contract_orders import at, first_row, order
from contract_receiver import Receiver
from contract_stage import Account, Stage
from contract_table import ROWS, Row

from runner.errors import Halted
from runner.model import Accepted, Phase
from runner.providers import operation_facts

MAIN = [row for row in ROWS if not row.label]
SIGNING = {"akool"}
"""Providers that sign their callbacks."""
OPERATIONS = pytest.mark.parametrize("row", MAIN, ids=lambda row: row.name)


@OPERATIONS
def test_the_callback_names_the_submission(row: Row, brisk: Stage) -> None:
    """By the key in the address, or in the letter where the provider keeps it; whatever else the address held is still there."""

    async def play(account: Account, hook: Receiver) -> Accepted:
        job = await order(account, row, callback=f"{hook.url}?run=7")
        accepted = await account.submit(job.operation, job.submission)
        await account.finish(job.operation, accepted.remote_id)
        letter = hook.next()
        key = job.submission.key
        assert letter.query["run"] == ["7"]
        assert key in str(letter.query) or key in letter.body.decode()
        return accepted

    with Receiver() as hook:
        at(brisk, row).run(lambda account: play(account, hook))


@OPERATIONS
def test_a_callback_says_what_a_question_would(row: Row, hearing: Stage) -> None:
    """Read by the adapter, the last letter of a job has its id, its end and its files; the signed ones are known as such, once."""

    async def play(account: Account, hook: Receiver) -> None:
        job = await order(account, row, callback=hook.url)
        accepted = await account.submit(job.operation, job.submission)
        asked = await account.finish(job.operation, accepted.remote_id)
        read = account.worker.provider.read_callback
        told = None
        while told is None or told.phase is not Phase.SUCCEEDED:
            letter = hook.next()
            notice = read(letter.headers, letter.body, hearing.now())
            assert notice is not None
            assert notice.remote_id == accepted.remote_id
            assert notice.authenticated is (row.provider in SIGNING)
            again = read(letter.headers, letter.body, hearing.now())
            assert again is None or not again.authenticated
            told = notice.observation
        assert asked.phase is Phase.SUCCEEDED
        assert [one.name for one in told.outputs] == [one.name for one in asked.outputs]
        for one in told.outputs:
            assert await account.worker.wire.fetch(one.url, account.new_path(), max_bytes=2**24)

    with Receiver() as hook:
        at(hearing, row).run(lambda account: play(account, hook))


@pytest.mark.parametrize("row", [row for row in MAIN if operation_facts()[row.operation].reconcile], ids=lambda row: row.name)
def test_a_submission_with_a_callback_is_found_again(row: Row, stage: Stage) -> None:
    """The look-up does not depend on where callbacks go: after a restart the address may be another one."""

    async def play(account: Account) -> None:
        job = await order(account, row, callback="https://hooks.example.test/cb?run=7")
        accepted = await account.submit(job.operation, job.submission)
        assert await account.find(job.operation, job.submission) == Accepted(accepted.remote_id)

    at(stage, row).run(play)


@OPERATIONS
def test_a_long_callback_address_is_taken_or_stops_the_account_unpaid(row: Row, stage: Stage) -> None:
    """Where the provider has a limit, every job would fail on it: it is said before anything is paid."""

    async def play(account: Account) -> None:
        job = await order(account, row, callback="https://hooks.example.test/" + "c" * 200)
        before = stage.books(row.provider)["submissions"]
        if row.provider == "creatify":
            with pytest.raises(Halted):
                await account.submit(job.operation, job.submission)
            assert stage.books(row.provider)["submissions"] == before
        else:
            assert await account.submit(job.operation, job.submission)

    at(stage, row).run(play)


def test_a_new_id_may_be_unknown_for_a_moment(late: Stage) -> None:
    """Akool: missing right after the submission, there a little later; the caller has to ask again before it believes it."""
    row = first_row("akool/talking-photo")

    async def play(account: Account) -> None:
        job = await order(account, row)
        accepted = await account.submit(job.operation, job.submission)
        assert (await account.look(job.operation, accepted.remote_id)).phase is Phase.MISSING
        late.pass_time(6)
        assert (await account.look(job.operation, accepted.remote_id)).phase is Phase.RUNNING

    at(late, row).run(play)


def test_the_receiver_listens_on_loopback_only() -> None:
    """The simulator calls back nowhere else unless it is told to."""
    with Receiver() as hook:
        assert urlsplit(hook.url).hostname == "127.0.0.1"
