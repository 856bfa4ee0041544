"""The pretend Akool, driven as its documents say."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from pretending import AKOOL, START, Rig, pretending

pytestmark = pytest.mark.anyio
V3 = "/api/open/v3"
V4 = "/api/open/v4/image2Video"
TALK = f"{V3}/content/video/createbytalkingphoto"
INFO = f"{V3}/content/video/infobymodelid"
KNOWN = {"clientId": "simulated-client-0001", "clientSecret": "simulated-secret-24bytes"}
PHOTO = {"talking_photo_url": "https://a.test/m.jpg", "audio_url": "https://a.test/p.mp3"}


@pytest.fixture
def anyio_backend() -> str:
    """These run on asyncio, as the server does."""
    return "asyncio"


async def call(rig: Rig, path: str, body: dict[str, Any] | None = None, headers: dict[str, str] | None = None) -> dict[str, Any]:
    """POST with a body, else GET; the JSON. Every answer is HTTP 200."""
    headers = AKOOL if headers is None else headers
    answer: httpx.Response
    if body is None:
        answer = await rig.client.get(path, headers=headers)
    else:
        answer = await rig.client.post(path, headers=headers, json=body)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


async def test_talking_photo_walks() -> None:
    """The create starts at 1 with an empty video; the query walks 1, 2, 3 and then has a link; ids have 24 hex digits."""
    async with pretending(job_seconds={"akool": 45}) as rig:
        created = (await call(rig, TALK, {**PHOTO, "prompt": "nod", "resolution": "1080"}))["data"]
        assert (created["video_status"], created["video"], len(created["_id"])) == (1, "", 24)
        assert int(created["_id"], 16)
        seen = []
        for moment in (1, 20, 46):
            rig.time.now = START + moment
            seen.append((await call(rig, f"/akool{INFO}?video_model_id={created['_id']}"))["data"])
        assert [data["video_status"] for data in seen] == [1, 2, 3]
        assert (seen[1]["video"], seen[2]["error_code"]) == ("", 0)
        assert (await rig.client.get(seen[2]["video"])).headers["content-type"] == "video/mp4"


async def test_tokens() -> None:
    """The token call puts its token at the top; it is the same account as the bare key; a wrong secret for a known client is 1101."""
    async with pretending() as rig:
        got = await call(rig, f"{V3}/getToken", KNOWN, {})
        assert (set(got), got["code"]) == ({"code", "token"}, 1000)
        bearer = {"Authorization": f"Bearer {got['token']}"}
        task = (await call(rig, TALK, PHOTO, bearer))["data"]["_id"]
        assert (await call(rig, f"{INFO}?video_model_id={task}"))["code"] == 1000
        assert (await call(rig, f"{V3}/getToken", {**KNOWN, "clientSecret": "x"}, {}))["code"] == 1101
        assert (await call(rig, f"{V3}/getToken", {"clientId": "x"}, {}))["code"] == 1003
        stranger = {"x-api-key": "another secret"}
        assert (await call(rig, f"{INFO}?video_model_id={task}", None, stranger))["code"] == 1009


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 1102),
        ({"Authorization": ""}, 1102),
        ({"Authorization": "Bearer "}, 1102),
        ({"x-api-key": ""}, 1102),
        ({"Authorization": "Bearer nonsense"}, 1101),
        ({"Authorization": "Bearer a.b.c"}, 1101),
        ({"Authorization": "Bearer nonsense", **AKOOL}, 1101),
        ({"Authorization": "", **AKOOL}, 1102),
    ],
)
async def test_authorization_wins_and_has_two_codes(headers: dict[str, str], code: int) -> None:
    """Empty is 1102, bad is 1101, and a good key beside a bad token does not help."""
    async with pretending() as rig:
        assert (await call(rig, f"{V3}/faceswap/quota/info", None, headers))["code"] == code


@pytest.mark.parametrize(
    "change",
    [
        {"talking_photo_url": None},
        {"talking_photo_url": "m.jpg"},
        {"audio_url": ""},
        {"audio_url": 7},
        {"webhookUrl": "here"},
        {"resolution": "4k"},
        {"prompt": []},
    ],
)
async def test_rules_are_1003(change: dict[str, Any]) -> None:
    """Whatever is missing or wrong is 1003 inside HTTP 200, and nothing is charged."""
    async with pretending() as rig:
        assert (await call(rig, TALK, {**PHOTO, **change}))["code"] == 1003
        assert rig.books("akool")["submissions"] == 0


async def test_unknown_ids() -> None:
    """No id is 1003, an unknown one 1008."""
    async with pretending() as rig:
        assert (await call(rig, INFO))["code"] == 1003
        assert (await call(rig, f"{INFO}?video_model_id=64dd9000a1b2c3d4e5f60001"))["code"] == 1008


async def test_version_four() -> None:
    """Its status field is ``status``, its link ``video_url``; many ids go in one comma-separated string; the webhook is echoed."""
    async with pretending(concurrency={"akool": 20}) as rig:
        body = {"image_url": "https://a.test/i.png", "prompt": "spin", "webhookurl": "https://h.test/?k=1", "video_length": 10}
        one = (await call(rig, f"{V4}/createBySourcePrompt", body))["data"]
        many = (await call(rig, f"{V4}/createBySourcePrompt/batch", {**body, "count": 3}))["data"]
        assert (one["status"], len(many["successList"]), many["errorList"]) == (1, 3, [])
        rig.time.now += 600
        ids = ",".join([one["_id"], "unknown", many["successList"][1]["_id"]])
        result = (await call(rig, f"{V4}/resultsByIds", {"_ids": ids}))["data"]["result"]
        assert [(entry["status"], entry["webhookUrl"]) for entry in result] == [(3, "https://h.test/?k=1")] * 2
        assert (await rig.client.get(result[0]["video_url"])).status_code == 200
        assert (await call(rig, f"{V4}/resultsByIds", {"_ids": ["x"]}))["code"] == 1003
        for wrong in (
            {"video_length": 7},
            {"image_url": ""},
            {"audio_type": 4},
            {"prompt": ""},
            {"resolution": "8k"},
            {"audio_type": 2},
        ):
            assert (await call(rig, f"{V4}/createBySourcePrompt", {**body, **wrong}))["code"] == 1003


async def test_quota_and_failures() -> None:
    """The quota goes down at once and comes back for what failed; a failure has status 4 and a reason; none left is 1006."""
    async with pretending(credits={"akool": 10}, fail_rate=1.0) as rig:
        task = (await call(rig, TALK, PHOTO))["data"]["_id"]
        assert (await call(rig, f"{V3}/faceswap/quota/info"))["data"]["credit"] == 0
        assert (await call(rig, TALK, PHOTO))["code"] == 1006
        rig.time.now += 600
        state = (await call(rig, f"{INFO}?video_model_id={task}"))["data"]
        assert (state["video_status"], state["video"], state["error_code"]) == (4, "", 1)
        assert state["error_reason"]
        assert (await call(rig, f"{V3}/faceswap/quota/info"))["data"]["credit"] == 10
