"""Credentials over a real socket: wrong ones stop the account before anything is paid, expired ones are renewed once."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from contract_orders import CREDENTIALS, at, order
from contract_stage import Account, At, Stage
from contract_table import ROWS, Row

from runner.errors import Halted
from runner.model import Phase
from runner.settings import REQUIRED
from runner.simulator.options import SIMULATED_CREDENTIALS

MAIN = [row for row in ROWS if not row.label]
OPERATIONS = pytest.mark.parametrize("row", MAIN, ids=lambda row: row.name)
RENEWING = pytest.mark.parametrize("row", [row for row in MAIN if row.provider in {"kling", "akool"}], ids=lambda row: row.name)
WAYS = [pytest.param(row, way, id=f"{row.name}-{'+'.join(way)}") for row in MAIN for way in REQUIRED[row.provider]]


def _credentials(provider: str, way: tuple[str, ...]) -> Mapping[str, str]:
    known = dict(SIMULATED_CREDENTIALS[provider])
    known.setdefault("api_key", known.get("client_secret", ""))  # Akool's API key is the old client secret (A-AUTH)
    return {name: known[name] for name in way}


@pytest.mark.parametrize(("row", "way"), WAYS)
def test_every_documented_way_to_sign_in_works(row: Row, way: tuple[str, ...], stage: Stage) -> None:
    """With each set of credentials that the settings call enough."""

    async def play(account: Account) -> None:
        job = await order(account, row)
        accepted = await account.submit(job.operation, job.submission)
        assert (await account.finish(job.operation, accepted.remote_id)).phase is Phase.SUCCEEDED
        assert await account.balance() is not None

    At(stage, row.provider, credentials=_credentials(row.provider, way)).run(play)


@pytest.mark.parametrize(
    ("row", "wrong"),
    [pytest.param(row, name, id=f"{row.name}-{name}") for row in MAIN for name in CREDENTIALS[row.provider]],
)
def test_wrong_credentials_stop_the_account(row: Row, wrong: str, stage: Stage) -> None:
    """For questions and for submissions alike: halted, with the cause and what to do, and nothing is paid or shown."""
    credentials = {**CREDENTIALS[row.provider], wrong: "something-else-of-24-byte"[:24]}

    async def play(account: Account) -> None:
        operation = account.operation(row.operation)
        params = {**row.params, "image": "https://cdn.example.test/a.png", "imageFileId": "f-1"}
        before = stage.books(row.provider)["submissions"]
        with pytest.raises(Halted) as caught:
            await account.submit(operation, account.submission(params))
        assert caught.value.cause == "auth"
        assert caught.value.hint
        with pytest.raises(Halted):
            await account.look(operation, "rec-1")
        with pytest.raises(Halted):
            await account.balance()
        assert stage.books(row.provider)["submissions"] == before
        for secret in credentials.values():
            assert len(secret) < 20 or secret not in caught.value.message

    At(stage, row.provider, credentials=credentials).run(play)


@RENEWING
def test_an_expired_token_is_renewed_once_and_the_job_goes_on(row: Row, stage: Stage) -> None:
    """Submit and question both survive it; one submission is accepted and paid."""

    async def play(account: Account) -> None:
        job = await order(account, row)
        before = stage.books(row.provider)
        stage.faults({"kind": "auth_expired", "provider": row.provider, "operation": row.submit, "count": 1})
        accepted = await account.submit(job.operation, job.submission)
        stage.faults({"kind": "auth_expired", "provider": row.provider, "operation": row.asks[0], "count": 1})
        assert (await account.look(job.operation, accepted.remote_id)).phase is not Phase.MISSING
        after = stage.books(row.provider)
        assert after["submissions"] == before["submissions"] + 1
        assert account.intents == 1

    at(stage, row).run(play)


@RENEWING
def test_a_token_that_stays_expired_stops_the_account(row: Row, stage: Stage) -> None:
    """After one renewal no more is tried."""

    async def play(account: Account) -> None:
        job = await order(account, row)
        stage.faults({"kind": "auth_expired", "provider": row.provider, "operation": row.submit})
        fired = stage.books(row.provider)["faults"].get("auth_expired", 0)
        with pytest.raises(Halted):
            await account.submit(job.operation, job.submission)
        assert stage.books(row.provider)["faults"]["auth_expired"] - fired == 2

    at(stage, row).run(play)


def _kling(stage: Stage, *, ahead: float) -> At:
    return At(stage, "kling", credentials=CREDENTIALS["kling"], ahead=ahead)


KLING = next(row for row in MAIN if row.provider == "kling")


@pytest.mark.parametrize("ahead", [4.0, 60.0, 290.0, -60.0, -1500.0])
def test_a_clock_that_is_off_does_not_stop_kling(ahead: float, stage: Stage) -> None:
    """A token that is not valid yet (1003) is made anew with an earlier begin; one from the past still has life in it."""

    async def play(account: Account) -> None:
        job = await order(account, KLING)
        paid = stage.books("kling")["submissions"]
        await account.submit(job.operation, job.submission)
        assert stage.books("kling")["submissions"] == paid + 1

    _kling(stage, ahead=ahead).run(play)


@pytest.mark.parametrize("ahead", [400.0, 7200.0, -1900.0, -90_000.0])
def test_a_clock_that_is_far_off_stops_kling_with_its_reason(ahead: float, stage: Stage) -> None:
    """Nothing can be signed then: halted, not retried for ever."""

    async def play(account: Account) -> None:
        with pytest.raises(Halted) as caught:
            await account.balance()
        assert caught.value.code == ("1003" if ahead > 0 else "1004")

    _kling(stage, ahead=ahead).run(play)


def test_a_long_run_outlives_its_token(stage: Stage) -> None:
    """Hours of polling: the worker makes new tokens before the old ones end, so Kling never has to complain."""

    async def play(account: Account) -> None:
        job = await order(account, KLING)
        accepted = await account.submit(job.operation, job.submission)
        refusals = dict(stage.books("kling")["refusals"])
        for _ in range(20):
            stage.pass_time(890)
            await account.look(job.operation, accepted.remote_id)
        assert stage.books("kling")["refusals"] == refusals

    at(stage, KLING).run(play)
