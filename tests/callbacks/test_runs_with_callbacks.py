"""Whole runs: what callbacks heal, what they speed up, and what they can never do."""

from __future__ import annotations

from pathlib import Path

import anyio
import httpx
import pytest
from campaign_rig import SPEED, Rig, books, free_port, pretending

from runner import events as ev
from runner.engines.local import LocalEngine
from runner.events import Event
from runner.model import State
from runner.receiver import Ears
from runner.wire import WireOptions

pytestmark = pytest.mark.anyio
SLOW = SPEED / 3
"""For tests that have to do something while jobs are at work."""
LOST = {"kind": "lost_reply", "operation": "submit", "count": 1}
PROVIDERS = {"still": "creatify", "presenter": "kling", "turn": "topview", "greeting": "akool"}
WITHOUT_HANDLE = ("turn", "greeting")


@pytest.fixture
def anyio_backend() -> str:
    """Real sockets, as in production."""
    return "asyncio"


def lost(*providers: str) -> tuple[dict[str, object], ...]:
    """The reply to the first submit of each provider is lost after it was taken."""
    return tuple({**LOST, "provider": provider} for provider in providers)


def rules(*raw: dict[str, object]) -> dict[str, object]:
    """Fault rules as simulator options."""
    from runner.simulator.faults import rules_from

    return {"faults": rules_from(list(raw))}


async def test_a_lost_reply_is_healed_by_the_callback(tmp_path: Path) -> None:
    """Every provider loses its first reply: all jobs succeed in the same run, each charged once; where nothing else can tell, the callback
    named the submission.
    """
    async with pretending(**rules(*lost(*PROVIDERS.values()))) as address:
        rig = Rig(tmp_path / "c", address, (*PROVIDERS, "clip"))
        ended = await rig.run()
        assert set(ended.states.values()) == {State.SUCCEEDED}
        assert set(ended.submits.values()) == {1}
        assert [ended.how[f"{target}/P0"] for target in WITHOUT_HANDLE] == ["callback", "callback"]
        assert [ended.heard[PROVIDERS[target]]["adopted"] for target in WITHOUT_HANDLE] == [1, 1]
        truth = await books(address)
        assert truth["charged_more_than_once"] == {}
        assert [truth["providers"][name]["submissions"] for name in ("kling", "topview", "akool", "creatify")] == [1, 1, 1, 2]


@pytest.mark.parametrize("kind", ["duplicate_callback", "reordered_callback"])
async def test_repeated_and_reordered_callbacks_change_nothing(tmp_path: Path, kind: str) -> None:
    """Every callback comes twice, or late and again after the last one: each job succeeds once, is charged once, stores its file once."""
    async with pretending(**rules({"kind": kind})) as address:
        rig = Rig(tmp_path / "c", address, (*PROVIDERS, "clip"))
        ended = await rig.run()
        assert set(ended.states.values()) == {State.SUCCEEDED}
        assert set(ended.submits.values()) == {1}
        assert (await books(address))["charged_more_than_once"] == {}
        assert len(rig.seen) > 5


async def test_repeated_callbacks_of_lost_submissions_adopt_once(tmp_path: Path) -> None:
    """The reply is lost and every callback comes twice: one adoption each."""
    async with pretending(**rules({"kind": "duplicate_callback"}, *lost("akool", "topview"))) as address:
        ended = await Rig(tmp_path / "c", address, WITHOUT_HANDLE).run()
        assert set(ended.states.values()) == {State.SUCCEEDED}
        assert [ended.heard[PROVIDERS[target]]["adopted"] for target in WITHOUT_HANDLE] == [1, 1]


async def test_callbacks_replace_most_questions(tmp_path: Path) -> None:
    """With callbacks the provider is asked a few times per job; without them, the same run asks more often and ends the same."""
    asked = {}
    for listen in (True, False):
        async with pretending(job_seconds={"kling": 280.0}, speed=SLOW) as address:
            ended = await Rig(tmp_path / str(listen), address, ("presenter",), listen=listen, speed=SLOW).run()
            assert set(ended.states.values()) == {State.SUCCEEDED}
            requests = (await books(address))["providers"]["kling"]["requests"]
            asked[listen] = sum(count for path, count in requests.items() if path.startswith("GET"))
    assert asked[True] <= 3 < asked[False]


async def test_where_providers_call_back_changes_no_fingerprint(tmp_path: Path) -> None:
    """Done with callbacks, at one address or another, or without: a later run finds nothing to do."""
    async with pretending() as address:
        rig = Rig(tmp_path / "c", address, WITHOUT_HANDLE)
        ended = await rig.run()
        assert set(ended.states.values()) == {State.SUCCEEDED}
        rig.listen = False
        assert (await rig.run()).submits == ended.submits
        rig.listen, rig.base = True, "http://127.0.0.1:9/elsewhere"
        assert (await rig.run()).submits == ended.submits


async def test_the_reply_wins_over_an_early_callback(tmp_path: Path) -> None:
    """The submit's reply hangs until callbacks have come: it is still the reply that names the submission."""
    hang = {"kind": "hang", "operation": "submit", "seconds": 0.4, "moment": "after"}
    async with pretending(**rules(hang), job_seconds={"akool": 30, "topview": 30}) as address:
        ended = await Rig(tmp_path / "c", address, WITHOUT_HANDLE).run()
        assert set(ended.states.values()) == {State.SUCCEEDED}
        assert set(ended.how.values()) == {"reply"}
        assert ended.heard["akool"]["early"] > 0


async def test_an_early_callback_stands_in_for_a_reply_that_never_comes(tmp_path: Path) -> None:
    """The callback comes first, then the reply is given up: the job is never uncertain, because its remote id is known already."""
    hang = {"kind": "hang", "operation": "submit", "seconds": 30, "moment": "after"}
    doubts: list[str] = []

    def note(event: Event, _engine: LocalEngine) -> None:
        if isinstance(event, ev.SubmitUncertain):
            doubts.append(event.job)

    async with pretending(**rules(hang), job_seconds={"akool": 30, "topview": 30}) as address:
        rig = Rig(tmp_path / "c", address, WITHOUT_HANDLE, wire=WireOptions(answer_seconds=0.5))
        ended = await rig.run(on_event=note)
        assert set(ended.states.values()) == {State.SUCCEEDED}
        assert set(ended.how.values()) == {"callback"}
        assert doubts == []
        assert (await books(address))["charged_more_than_once"] == {}


async def test_a_later_run_hears_of_an_earlier_runs_submission(tmp_path: Path) -> None:
    """The run ends between acceptance and callback; the next one, at the same address, is called back and adopts the submission."""
    seconds = {"akool": 450, "topview": 450}
    async with pretending(**rules(*lost("akool", "topview")), job_seconds=seconds, speed=SLOW) as address:
        rig = Rig(tmp_path / "c", address, WITHOUT_HANDLE, port=await free_port(), speed=SLOW)

        def leave(event: Event, engine: LocalEngine) -> None:
            if isinstance(event, ev.SubmitUncertain):
                engine.stop()

        first = await rig.run(on_event=leave)
        assert State.UNCERTAIN in first.states.values()
        second = await rig.run()
        assert set(second.states.values()) == {State.SUCCEEDED}
        assert "callback" in second.how.values()
        assert (await books(address))["charged_more_than_once"] == {}


async def test_a_callback_that_never_comes_is_waited_for_a_bounded_time(tmp_path: Path) -> None:
    """Providers were told an address where nobody is: the run ends by itself, the lost submissions stay uncertain, nothing is paid again;
    a run after that does not wait for callbacks that were asked for elsewhere.
    """
    async with pretending(**rules(*lost("akool", "topview"))) as address:
        rig = Rig(tmp_path / "c", address, WITHOUT_HANDLE, base="http://127.0.0.1:9/nowhere", speed=SPEED / 2)
        began = anyio.current_time()
        ended = await rig.run()
        waited = anyio.current_time() - began
        assert set(ended.states.values()) == {State.UNCERTAIN}
        assert 3 * 180 / (SPEED / 2) <= waited < 30
        rig.base = None
        began = anyio.current_time()
        again = await rig.run()
        assert anyio.current_time() - began < waited / 2
        assert again.states == ended.states
        assert again.submits == ended.submits


async def test_a_callback_after_the_waiting_is_still_recorded(tmp_path: Path) -> None:
    """One lane gave its lost submission up and ended while another one is still at work; the callback that comes then is written down, and
    the next run collects the result.
    """
    async with pretending(**rules(*lost("akool")), job_seconds={"akool": 1200, "kling": 1800}) as address:
        rig = Rig(tmp_path / "c", address, ("greeting", "presenter"), port=await free_port())
        first = await rig.run()
        assert first.states["presenter/P0"] is State.SUCCEEDED
        assert first.how["greeting/P0"] == "callback"
        second = await rig.run()
        assert set(second.states.values()) == {State.SUCCEEDED}
        assert second.submits["greeting/P0"] == 1


async def test_nothing_is_waited_for_without_callbacks(tmp_path: Path) -> None:
    """No receiver: a lost submission without a handle is left to a person at once."""
    async with pretending(**rules(*lost("akool"))) as address:
        began = anyio.current_time()
        ended = await Rig(tmp_path / "c", address, ["greeting"], listen=False, speed=SPEED / 2).run()
        assert anyio.current_time() - began < 3 * 180 / (SPEED / 2)
        assert set(ended.states.values()) == {State.UNCERTAIN}


async def test_a_signed_ending_counts_when_the_provider_cannot_be_asked(tmp_path: Path) -> None:
    """Akool answers no question at all; its signed callback is enough to collect the result."""
    async with pretending(**rules({"kind": "server_error_before", "provider": "akool", "operation": "get"})) as address:
        ended = await Rig(tmp_path / "c", address, ["greeting"]).run()
        assert set(ended.states.values()) == {State.SUCCEEDED}
        assert (await books(address))["providers"]["akool"]["faults"]["server_error_before"] >= 1


FORGED = {
    "kling": b'{"task_id":"%s","task_status":"failed","task_status_msg":"forged","task_result":{"videos":[]}}',
    "topview": b'{"uuid":"n","taskId":"%s","status":"fail","errorMsg":"forged","result":{"taskId":"%s","status":"fail"}}',
    "akool": b'{"signature":"%s","dataEncrypt":"AAAAAAAAAAAAAAAAAAAAAA==","timestamp":1760000191456,"nonce":"8841"}',
    "creatify": b'{"id":"%s","status":"failed","failed_reason":"forged"}',
}


async def test_who_knows_the_address_can_make_us_ask_and_nothing_else(tmp_path: Path) -> None:
    """Somebody who learnt every address calls with forged endings, foreign ids, rubbish and huge bodies while jobs run: all of them still
    end as their providers say, with one submission each.
    """
    async with pretending(job_seconds=dict.fromkeys(FORGED, 500), speed=SLOW) as address:
        rig = Rig(tmp_path / "c", address, PROVIDERS, speed=SLOW)
        begun: dict[str, ev.SubmitStarted] = {}
        taken: dict[str, str] = {}
        statuses: set[int] = set()
        all_taken = anyio.Event()

        def note(event: Event, _engine: LocalEngine) -> None:
            if isinstance(event, ev.SubmitStarted):
                begun[event.account] = event
            elif isinstance(event, ev.Accepted):
                taken[event.job] = event.remote_id
                if len(taken) == len(PROVIDERS):
                    all_taken.set()

        async def attack(_engine: LocalEngine, ears: Ears) -> None:
            async with httpx.AsyncClient(timeout=5) as client:
                await all_taken.wait()
                for lane, event in begun.items():
                    real = taken[event.job].encode()
                    for body in [FORGED[lane].replace(b"%s", one) for one in (real, b"another-id")]:
                        answer = await client.post(ears.callbacks.url(lane, event.key), content=body)
                        statuses.add(answer.status_code)
                for lane, event in begun.items():
                    for body in [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b"x" * 300_000]:
                        answer = await client.post(ears.callbacks.url(lane, event.key), content=body)
                        statuses.add(answer.status_code)

        ended = await rig.run(on_event=note, beside=attack)
        assert set(ended.states.values()) == {State.SUCCEEDED}
        assert set(ended.submits.values()) == {1}
        assert statuses == {200, 400, 413}
        assert sum(heard.get("mismatch", 0) for heard in ended.heard.values()) == 3


async def test_a_false_name_for_a_lost_submission_is_found_out(tmp_path: Path) -> None:
    """A callback gives a lost submission a remote id that does not exist: the provider is asked and does not know it, and the true callback
    settles the job. An id of another job of ours is not taken at all.
    """
    async with pretending(**rules(*lost("topview")), job_seconds={"topview": 450}, speed=SLOW) as address:
        rig = Rig(tmp_path / "c", address, ["turn"], products=2, speed=SLOW)
        begun: list[ev.SubmitStarted] = []
        taken: dict[str, str] = {}
        one_of_two = anyio.Event()

        def note(event: Event, _engine: LocalEngine) -> None:
            if isinstance(event, ev.SubmitStarted):
                begun.append(event)
            elif isinstance(event, ev.Accepted):
                taken.setdefault(event.job, event.remote_id)
            if taken and len(begun) == 2:
                one_of_two.set()

        async def lie(_engine: LocalEngine, ears: Ears) -> None:
            await one_of_two.wait()
            (other,) = taken.values()
            (key,) = [event.key for event in begun if event.job not in taken]
            async with httpx.AsyncClient(timeout=5) as client:
                for name in (other, "made-up"):
                    body = {"uuid": "n", "taskId": name, "status": "success", "result": {"taskId": name, "status": "success"}}
                    assert (await client.post(ears.callbacks.url("topview", key), json=body)).status_code == 200

        ended = await rig.run(on_event=note, beside=lie)
        assert set(ended.states.values()) == {State.SUCCEEDED}
        assert set(ended.submits.values()) == {1}
        assert ended.heard["topview"]["mismatch"] >= 1
        assert "made-up" in taken.values()
