"""Each fault does on the wire what its name says, and the books tell whether the work was accepted."""

from __future__ import annotations

from typing import Any

import anyio
import httpx
import pytest
from pretending import AKOOL, CREATIFY, KLING, TOPVIEW, Rig, pretending, serving

from runner.simulator.faults import KINDS, FaultRuleError, rule_from, rules_from
from runner.simulator.web import ConnectionCut

pytestmark = pytest.mark.anyio
AVATAR = "/v1/videos/avatar/image2video"
GOOD = {"image": "https://a.test/a.png", "sound_file": "https://a.test/a.mp3"}


@pytest.fixture
def anyio_backend() -> str:
    """These run on asyncio, as the server does."""
    return "asyncio"


def accepted(page: dict[str, Any]) -> int:
    """How many Kling submissions the books know."""
    return int(page["providers"]["kling"]["submissions"])


async def rules(client: httpx.AsyncClient, *given: dict[str, Any]) -> None:
    """Put rules in force."""
    assert (await client.post("/_simulator/faults", json=list(given))).status_code == 200


async def submit(client: httpx.AsyncClient, name: str = "x") -> httpx.Response:
    """One good avatar."""
    return await client.post(AVATAR, headers=KLING, json={**GOOD, "external_task_id": name})


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("rate_limit", 429, 1302),
        ("concurrency", 429, 1303),
        ("out_of_credit", 429, 1102),
        ("banned", 429, 1100),
        ("auth_expired", 401, 1004),
        ("server_error_before", 500, 5000),
    ],
)
async def test_refusing_faults_accept_nothing(kind: str, status: int, code: int) -> None:
    """Answered with the documented code, and not in the books; the next request is good again."""
    async with pretending() as rig:
        await rules(rig.client, {"kind": kind, "operation": "submit", "count": 1})
        answer = await submit(rig.client)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert rig.books("kling")["submissions"] == 0
        assert (await submit(rig.client)).status_code == 200
        assert rig.books("kling")["faults"] == {kind: 1}


async def test_each_provider_has_its_own_words() -> None:
    """The same kinds in the clothes of the other three."""
    cases: list[tuple[str, str, dict[str, str], dict[str, tuple[int, Any]]]] = [
        (
            "creatify",
            "/api/remaining_credits/",
            CREATIFY,
            {"rate_limit": (429, None), "out_of_credit": (402, None), "banned": (403, None), "auth_expired": (401, None)},
        ),
        (
            "topview",
            "/user/credit/detail",
            TOPVIEW,
            {"rate_limit": (200, "5003"), "concurrency": (200, "4007"), "out_of_credit": (200, "4100"), "banned": (200, "4006")},
        ),
        (
            "akool",
            "/api/open/v3/faceswap/quota/info",
            AKOOL,
            {"rate_limit": (200, 1005), "out_of_credit": (200, 1006), "banned": (200, 1200), "auth_expired": (200, 1101)},
        ),
    ]
    async with pretending() as rig:
        for provider, path, headers, kinds in cases:
            for kind, (status, code) in kinds.items():
                await rules(rig.client, {"kind": kind, "provider": provider, "seconds": 3})
                answer = await rig.client.get(path, headers=headers)
                assert (answer.status_code, answer.json().get("code")) == (status, code), (provider, kind)
        await rules(rig.client, {"kind": "rate_limit", "provider": "creatify", "seconds": 3})
        throttled = await rig.client.get("/api/remaining_credits/", headers=CREATIFY)
        assert (throttled.headers["retry-after"], "3 seconds" in throttled.json()["detail"]) == ("3", True)


async def test_any_documented_code_can_be_asked_for() -> None:
    """Kind error answers with the given code, or as a gateway with the given status."""
    async with pretending() as rig:
        await rules(rig.client, {"kind": "error", "code": "1301"})
        answer = await submit(rig.client)
        assert (answer.status_code, answer.json()["code"]) == (400, 1301)
        await rules(rig.client, {"kind": "error", "status": 502})
        answer = await submit(rig.client)
        assert (answer.status_code, answer.headers["content-type"]) == (502, "text/html")


async def test_accepted_and_then_broken() -> None:
    """5xx, torn, not JSON, wrong types, wrong envelope and huge: the work is accepted and charged, the reply is useless."""
    async with serving(concurrency={"kling": 9}) as (_address, client):
        kinds = ["server_error_after", "not_json", "wrong_types", "wrong_envelope", "huge_body"]
        found = {}
        for kind in kinds:
            await rules(client, {"kind": kind, "operation": "avatar.submit", "size": 300_000})
            found[kind] = await submit(client, kind)
        assert (found["server_error_after"].status_code, found["server_error_after"].json()["code"]) == (500, 5000)
        assert found["not_json"].headers["content-type"] == "text/html"
        assert found["wrong_types"].json()["code"] == "0"
        assert set(found["wrong_envelope"].json()) == {"ok", "payload"}
        assert len(found["huge_body"].content) > 300_000
        assert found["huge_body"].json()["data"]["task_status"] == "submitted"
        await rules(client, {"kind": "torn_body", "operation": "avatar.submit"})
        with pytest.raises(httpx.RemoteProtocolError, match="peer closed connection"):
            await submit(client, "torn_body")
        books = (await client.get("/_simulator/books")).json()["providers"]["kling"]
        assert books["charged_by_key"] == dict.fromkeys([*kinds, "torn_body"], 1)


async def test_connections_really_close() -> None:
    """closed_before and lost_reply both hang up without a byte; only the second has accepted the work."""
    async with serving() as (_address, client):
        for kind, known in (("closed_before", 0), ("lost_reply", 1)):
            await rules(client, {"kind": kind, "operation": "submit", "count": 1})
            with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
                await submit(client)
            assert accepted((await client.get("/_simulator/books")).json()) == known
        found = await client.get(f"{AVATAR}/x", headers=KLING)
        assert found.json()["data"]["task_info"]["external_task_id"] == "x"


async def test_cut_connections_in_process() -> None:
    """Without a socket a cut is an exception of the simulator's own, and the books agree."""
    async with pretending() as rig:
        for kind, known in (("closed_before", 0), ("lost_reply", 1), ("torn_body", 2)):
            await rules(rig.client, {"kind": kind, "operation": "submit", "count": 1})
            with pytest.raises(ConnectionCut):
                await submit(rig.client, kind)
            assert rig.books("kling")["submissions"] == known


@pytest.mark.parametrize(("moment", "known"), [("before", 0), ("after", 1)])
async def test_hangs(moment: str, known: int) -> None:
    """A client that gives up on a hanging submit has, before or after, bought nothing or the work; one that waits is served."""
    async with serving() as (_address, client):
        await rules(client, {"kind": "hang", "moment": moment, "seconds": 30, "operation": "submit", "count": 1})
        with pytest.raises(httpx.ReadTimeout):
            await client.post(AVATAR, headers=KLING, json={**GOOD, "external_task_id": "h"}, timeout=0.2)
        await anyio.sleep(0.05)
        assert accepted((await client.get("/_simulator/books")).json()) == known
        await rules(client, {"kind": "hang", "moment": moment, "seconds": 0.05, "operation": "submit"})
        assert (await submit(client, "patient")).status_code == 200


async def finished(rig: Rig) -> dict[str, Any]:
    """A finished task as a query shows it."""
    await submit(rig.client)
    rig.time.now += 600
    data: dict[str, Any] = (await rig.client.get(f"{AVATAR}/x", headers=KLING)).json()["data"]
    return data


async def test_strange_statuses() -> None:
    """An unknown status word, and success without a link; the next query is right again."""
    async with pretending() as rig:
        good = await finished(rig)
        await rules(rig.client, {"kind": "unknown_status", "operation": "get", "nth": 1})
        assert (await rig.client.get(f"{AVATAR}/x", headers=KLING)).json()["data"]["task_status"] == "archiving"
        await rules(rig.client, {"kind": "success_without_url", "operation": "get", "nth": 1})
        odd = (await rig.client.get(f"{AVATAR}/x", headers=KLING)).json()["data"]
        assert (odd["task_status"], odd["task_result"]["videos"][0]["url"]) == ("succeed", "")
        again = (await rig.client.get(f"{AVATAR}/x", headers=KLING)).json()["data"]
        assert again["task_status"] == good["task_status"]


async def test_media_faults() -> None:
    """expired_link is 403, truncated_media half the file, html_media a page with status 200; media is spared by plain rules."""
    async with pretending() as rig:
        url = (await finished(rig))["task_result"]["videos"][0]["url"]
        whole = (await rig.client.get(url)).content
        await rules(rig.client, {"kind": "expired_link", "key": "x"})
        assert (await rig.client.get(url)).status_code == 403
        await rules(rig.client, {"kind": "truncated_media"})
        assert (await rig.client.get(url)).content == whole[: len(whole) // 2]
        await rules(rig.client, {"kind": "html_media"})
        page = await rig.client.get(url)
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html")
        await rules(rig.client, {"kind": "server_error_before"})
        assert (await rig.client.get(url)).status_code == 200
        await rules(rig.client, {"kind": "server_error_before", "operation": "media"})
        assert (await rig.client.get(url)).status_code == 503


async def test_rules_choose() -> None:
    """By number, count, rate, method, path and key; the first rule that fires wins; draws repeat with the seed."""
    async with pretending() as rig:
        await rules(
            rig.client,
            {"kind": "error", "code": "5001", "method": "get", "path": "/v1/videos/*", "nth": 2},
            {"kind": "error", "code": "1301", "key": "poison"},
        )
        codes = [(await rig.client.get(AVATAR, headers=KLING)).json()["code"] for _ in range(3)]
        assert codes == [0, 5001, 0]
        assert [(await submit(rig.client, name)).json()["code"] for name in ("fine", "poison")] == [0, 1301]
    runs = []
    for seed in (1, 1, 2):
        async with pretending(seed=seed) as rig:
            await rules(rig.client, {"kind": "rate_limit", "rate": 0.5, "operation": "list"})
            runs.append([(await rig.client.get(AVATAR, headers=KLING)).status_code for _ in range(40)])
    assert runs[0] == runs[1] != runs[2]
    assert 8 < runs[0].count(429) < 32


@pytest.mark.parametrize(
    "raw",
    [
        {"kind": "nonsense"},
        {"kind": "hang", "when": "now"},
        {"kind": "hang", "moment": "later"},
        {"kind": "hang", "seconds": "5"},
        {"kind": "hang", "rate": 0.5, "nth": 1},
        {"kind": "hang", "key": 7},
        {"kind": ["hang"]},
        {"kind": "hang", "count": True},
    ],
)
def test_bad_rules_are_named(raw: dict[str, Any]) -> None:
    """A rule that cannot be understood is refused with the reason; nothing is put in force."""
    with pytest.raises(FaultRuleError, match="fault"):
        raise_for(raw)


def raise_for(raw: dict[str, Any]) -> None:
    """The message always speaks of a fault rule or kind."""
    try:
        rule_from(raw)
    except FaultRuleError as error:
        raise FaultRuleError(f"fault: {error}") from None


async def test_bad_rules_over_http() -> None:
    """The admin page answers 400 with the reason and keeps the rules in force."""
    async with pretending() as rig:
        await rules(rig.client, {"kind": "rate_limit"})
        for body in ("{", "7", '[{"kind": "x"}]', '{"rules": "all"}', "[1]"):
            answer = await rig.client.post("/_simulator/faults", content=body)
            assert (answer.status_code, bool(answer.json()["error"])) == (400, True)
        assert len((await rig.client.get("/_simulator/faults")).json()["rules"]) == 1
        assert (await rig.client.get("/_simulator/health")).json()["ok"] is True
        assert (await rig.client.get("/_simulator/other")).status_code == 404
        assert (await rig.client.delete("/_simulator/books")).status_code == 405
        assert (await rig.client.get("/nowhere")).status_code == 404


def test_every_kind_parses() -> None:
    """The list of kinds and the parser agree, also in the wrapped form."""
    assert [rule.kind for rule in rules_from({"rules": [{"kind": kind} for kind in KINDS]})] == list(KINDS)
