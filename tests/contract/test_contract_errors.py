"""Every way in which a provider says no, or says nothing: injected on a real socket, and judged as the adapter's table says."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from contract_orders import Order, at, order
from contract_stage import LONG, Account, Stage
from contract_table import READINGS, ROWS, Row

from runner.errors import MaybeSent, ProviderError, Transient, Uncertain
from runner.model import Accepted, ErrorClass, Observation, Phase
from runner.providers import operation_facts, provider_facts
from runner.seams import CodeRow
from runner.wire import HttpWire, WireOptions

MAIN = [row for row in ROWS if not row.label]
OPERATIONS = pytest.mark.parametrize("row", MAIN, ids=lambda row: row.name)
FINDABLE = [row for row in MAIN if operation_facts()[row.operation].reconcile]
PATIENCE = 0.3
"""Seconds that an impatient wire waits for an answer."""
RENEWED = {"kling": {"1003", "1004"}, "akool": {"1101"}}
"""Codes after which the runner gets new credentials and asks once more."""
REST_WORDS = {"HTTP 400": "invalid", "HTTP 401": "auth", "HTTP 403": "permission", "HTTP 404": "missing", "HTTP 429": "throttled"}
"""The simulator's words for answers of Creatify that have a body in Django REST framework's manner; the others are a gateway's."""


def _injected(code: str) -> Mapping[str, object]:
    """The fault that makes the provider answer with this code."""
    if code in REST_WORDS:
        return {"kind": "error", "code": REST_WORDS[code]}
    if code == "HTTP 402":
        return {"kind": "out_of_credit"}
    if code.startswith("HTTP "):
        return {"kind": "error", "status": int(code.removeprefix("HTTP "))}
    return {"kind": "error", "code": code}


OFTEN = {"usual", "other topview"}
"""Readings in which every code is walked by default: elsewhere the second reading changes nothing about a code."""
CODES = pytest.mark.parametrize(
    ("row", "code", "reading"),
    [
        pytest.param(
            row,
            code,
            reading,
            id=f"{row.operation}-{code.code.replace(' ', '')}-{reading}",
            marks=() if OFTEN & {reading, f"{reading} {row.provider}"} else pytest.mark.slow,
        )
        for row in MAIN
        for code in provider_facts()[row.provider].codes
        for reading in sorted(READINGS)
    ],
)


async def _refused(account: Account, job: Order) -> ProviderError:
    """The error that a submission ends with. Nothing may have been charged."""
    before = account.stage.books(job.row.provider)
    with pytest.raises(ProviderError) as caught:
        await account.submit(job.operation, job.submission)
    after = account.stage.books(job.row.provider)
    assert after["submissions"] == before["submissions"]
    assert after["charged_credits"] == before["charged_credits"]
    return caught.value


def _submits(stage: Stage, row: Row) -> int:
    """Paid requests that reached the provider."""
    requests: Mapping[str, int] = stage.books(row.provider)["requests"]
    return sum(count for path, count in requests.items() if path.startswith("POST ") and "getToken" not in path)


@CODES
def test_every_code_on_a_submit_is_judged_as_the_table_says(
    row: Row, code: CodeRow, reading: str, staged: Callable[[str], Stage]
) -> None:
    """Class, cause and code of the table; one paid request, or two when new credentials may have cured it."""
    stage = staged(reading)

    async def play(account: Account) -> None:
        job = await order(account, row)
        stage.faults({**_injected(code.code), "provider": row.provider, "operation": row.submit})
        before = _submits(stage, row)
        error = await _refused(account, job)
        assert error.error_class is code.error_class
        assert error.cause == code.cause
        if code.code != "HTTP 402":  # which status means an empty account is open: 402, or 400 with words
            assert error.code == code.code
        assert error.hint
        assert account.intents >= 1
        renewed = code.code in RENEWED.get(row.provider, set())
        assert _submits(stage, row) - before == (2 if renewed else 1)

    at(stage, row).run(play)


@CODES
def test_every_code_on_a_question_is_judged_as_the_table_says(
    row: Row, code: CodeRow, reading: str, staged: Callable[[str], Stage]
) -> None:
    """The same, but a question costs nothing, so what is uncertain there is merely asked again; 'no such task' is an answer."""
    stage = staged(reading)

    async def play(account: Account) -> None:
        job = await order(account, row)
        accepted = await account.submit(job.operation, job.submission)
        injected = _injected(code.code)
        stage.faults(*({**injected, "provider": row.provider, "operation": ask} for ask in row.asks))
        if code.code in row.absent:
            assert (await account.look(job.operation, accepted.remote_id)).phase is Phase.MISSING
            return
        with pytest.raises(ProviderError) as caught:
            await account.look(job.operation, accepted.remote_id)
        wanted = ErrorClass.TRANSIENT if code.error_class is ErrorClass.UNCERTAIN else code.error_class
        assert caught.value.error_class is wanted
        assert caught.value.cause == code.cause

    at(stage, row).run(play)


@OPERATIONS
@pytest.mark.parametrize(
    ("kind", "kinds", "cause"),
    [
        ("rate_limit", {ErrorClass.DEFERRED}, {"rate_limit", "server"}),
        ("concurrency", {ErrorClass.DEFERRED}, {"concurrency", "rate_limit"}),
        ("out_of_credit", {ErrorClass.HALTED}, {"credit"}),
        ("banned", {ErrorClass.HALTED}, {"account", "permission"}),
    ],
)
def test_the_common_refusals_mean_the_same_everywhere(
    row: Row, kind: str, kinds: set[ErrorClass], cause: set[str], stage: Stage
) -> None:
    """Whatever a provider calls it: too fast and too many wait, no credit and a ban stop the account."""

    async def play(account: Account) -> None:
        job = await order(account, row)
        stage.faults({"kind": kind, "provider": row.provider, "operation": row.submit, "seconds": 7})
        error = await _refused(account, job)
        assert error.error_class in kinds
        assert error.cause in cause
        assert error.retry_after in {None, 7.0}

    at(stage, row).run(play)


@OPERATIONS
@pytest.mark.parametrize("kind", ["lost_reply", "server_error_after", "torn_body", "not_json", "wrong_envelope", "huge_body"])
def test_work_whose_answer_was_lost_is_never_said_to_be_absent(row: Row, kind: str, stage: Stage) -> None:
    """It was accepted and charged: the submit is uncertain, and looking for it finds it, or says that nobody knows."""

    async def play(account: Account) -> None:
        job = await order(account, row)
        before = stage.books(row.provider)["submissions"]
        fault = {"kind": kind, "moment": "after", "count": 1, "size": 2**21}
        stage.faults({**fault, "provider": row.provider, "operation": row.submit})
        with pytest.raises(Uncertain):
            await account.submit(job.operation, job.submission)
        await _found_or_unknown(account, job, before)

    at(stage, row).run(play)


@OPERATIONS
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_provider_that_hangs_leaves_it_uncertain(row: Row, moment: str, plain: Stage) -> None:
    """Whether it hung before or after it took the work cannot be told from here; looking tells, where there is a handle."""

    async def play(account: Account) -> None:
        job = await order(account, row)
        before = plain.books(row.provider)["submissions"]
        fault = {"kind": "hang", "moment": moment, "count": 1, "seconds": 5}
        plain.faults({**fault, "provider": row.provider, "operation": row.submit})
        async with HttpWire(WireOptions(answer_seconds=PATIENCE, use_proxies=False)) as impatient:
            patient, account.worker.wire = account.worker.wire, impatient
            with pytest.raises(Uncertain):
                await account.submit(job.operation, job.submission)
            account.worker.wire = patient
        if moment == "after":
            await _found_or_unknown(account, job, before)
        else:
            assert await _looked_for(account, job) is (None if row in FINDABLE else UNKNOWN)

    at(plain, row).run(play)


async def _found_or_unknown(account: Account, job: Order, before: int) -> None:
    """The one accepted submission is found and ends well, or nobody knows; asking costs nothing."""
    stage, row = account.stage, job.row
    assert stage.books(row.provider)["submissions"] == before + 1
    stage.faults()
    found = await _looked_for(account, job)
    if row in FINDABLE:
        assert found is not None
        newest = stage.books(row.provider, tasks=True)["tasks"][-1]["id"]
        assert found.remote_id == (job.submission.params["image"] if row.operation == VIDEO else newest)
        assert (await account.finish(job.operation, found.remote_id)).phase is Phase.SUCCEEDED
    else:
        assert found is UNKNOWN
    assert stage.books(row.provider)["submissions"] == before + 1


VIDEO = "creatify/product-video"
"""The one operation whose remote id is its upstream's."""
UNKNOWN = Accepted("nobody knows")


async def _looked_for(account: Account, job: Order) -> Accepted | None:
    try:
        return await account.find(job.operation, job.submission)
    except Uncertain:
        return UNKNOWN


@OPERATIONS
@pytest.mark.parametrize("kind", ["closed_before", "server_error_before"])
def test_work_that_never_arrived_is_found_to_be_absent_where_that_can_be_known(row: Row, kind: str, stage: Stage) -> None:
    """From here it looks the same as a lost answer: uncertain. A provider with a handle proves that it is not there."""

    async def play(account: Account) -> None:
        job = await order(account, row)
        before = stage.books(row.provider)["submissions"]
        stage.faults({"kind": kind, "count": 1, "provider": row.provider, "operation": row.submit})
        with pytest.raises(Uncertain):
            await account.submit(job.operation, job.submission)
        stage.faults()
        assert await _looked_for(account, job) is (None if row in FINDABLE else UNKNOWN)
        assert stage.books(row.provider)["submissions"] == before
        again = await account.submit(job.operation, job.submission)
        assert (await account.finish(job.operation, again.remote_id)).phase is Phase.SUCCEEDED
        assert stage.books(row.provider)["submissions"] == before + 1

    at(stage, row).run(play)


@pytest.mark.parametrize("row", FINDABLE, ids=lambda row: row.name)
def test_a_found_submission_is_the_right_one_among_its_likes(row: Row, stage: Stage) -> None:
    """Many jobs with the very same parameters, all answers lost: each finds its own, never another's."""

    async def play(account: Account) -> None:
        jobs = [await order(account, row) for _ in range(4)]
        stage.faults({"kind": "lost_reply", "provider": row.provider, "operation": row.submit})
        for job in jobs:
            with pytest.raises(Uncertain):
                await account.submit(job.operation, job.submission)
        stage.faults()
        never_sent = await order(account, row)
        found = [await _looked_for(account, job) for job in jobs]
        assert None not in found
        assert UNKNOWN not in found
        assert len({one.remote_id for one in found if one is not None}) == len(jobs)
        assert await _looked_for(account, never_sent) is None
        if row.operation == VIDEO:
            assert [one.remote_id for one in found if one] == [job.submission.params["image"] for job in jobs]

    at(stage, row).run(play)


@OPERATIONS
@pytest.mark.parametrize("kind", ["lost_reply", "torn_body", "not_json", "wrong_types", "server_error_before", "error"])
def test_trouble_while_looking_is_never_taken_for_absence(row: Row, kind: str, stage: Stage) -> None:
    """A look-up that fails leaves the question open: an error, never a no."""

    async def play(account: Account) -> None:
        job = await order(account, row)
        await account.submit(job.operation, job.submission)
        stage.faults({"kind": kind, "provider": row.provider, "method": "GET", "status": 502})
        try:
            found = await account.find(job.operation, job.submission)
        except (ProviderError, MaybeSent):
            return
        assert found is not None

    at(stage, row).run(play)


@OPERATIONS
@pytest.mark.parametrize(
    "kind",
    [
        "torn_body",
        "not_json",
        "wrong_types",
        "wrong_envelope",
        "huge_body",
        "unknown_status",
        "success_without_url",
        "lost_reply",
    ],
)
@pytest.mark.parametrize("amount", [1, 5])
def test_a_broken_answer_never_ends_a_job(row: Row, kind: str, amount: int, plain: Stage) -> None:
    """Finished work, reported in a broken way, is asked for again: not lost, not failed, not done without its files."""

    async def play(account: Account) -> None:
        known = []
        for _ in range(amount):
            job = await order(account, row)
            known.append((await account.submit(job.operation, job.submission)).remote_id)
        plain.pass_time(LONG)
        rules = ({"kind": kind, "provider": row.provider, "operation": ask, "size": 2**21} for ask in row.asks)
        plain.faults(*rules)
        try:
            seen: Mapping[str, Observation] = await account.observe(job.operation, *known)
        except (Transient, MaybeSent):
            seen = {}
        for one in seen.values():
            assert one.phase in {Phase.QUEUED, Phase.RUNNING, Phase.UNKNOWN} or (one.phase is Phase.SUCCEEDED and one.outputs)
        plain.faults()
        seen = await account.observe(job.operation, *known)
        assert {one.phase for one in seen.values()} == {Phase.SUCCEEDED}

    at(plain, row).run(play)


@pytest.mark.parametrize("row", [row for row in FINDABLE if row.provider == "kling"], ids=lambda row: row.name)
def test_a_repeated_submission_under_one_key_pays_once(row: Row, stage: Stage) -> None:
    """Should the same submission ever be made twice, an id that the provider keeps unique lets only one through."""

    async def play(account: Account) -> None:
        job = await order(account, row)
        first = await account.submit(job.operation, job.submission)
        paid = stage.books(row.provider)["submissions"]
        try:
            second = await account.submit(job.operation, job.submission)
        except ProviderError:
            second = first
        assert second.remote_id == first.remote_id
        assert stage.books(row.provider)["submissions"] == paid

    at(stage, row).run(play)
