"""The pretend Kling, driven as its documents say, by a client that knows nothing else."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import httpx
import pytest
from pretending import KLING, START, Rig, claims, jwt, png, pretending, wav

pytestmark = pytest.mark.anyio
AVATAR = "/v1/videos/avatar/image2video"
GOOD: dict[str, Any] = {"image": "https://shop.test/a.png", "sound_file": "https://shop.test/a.mp3"}


@pytest.fixture
def anyio_backend() -> str:
    """These run on asyncio, as the server does."""
    return "asyncio"


async def submit(rig: Rig, path: str = AVATAR, **fields: object) -> httpx.Response:
    """POST with the usual good fields."""
    return await rig.client.post(path, headers=KLING, json={**GOOD, **fields})


async def test_a_task_walks_to_a_link_that_serves() -> None:
    """submitted, processing, succeed; the answer has the documented fields and types, and the link works without credentials."""
    async with pretending(job_seconds={"kling": 60}) as rig:
        created = await submit(rig, image=png(), sound_file=wav(3), external_task_id="run-1", prompt="Hello", mode="pro")
        body = created.json()
        assert (created.status_code, body["code"], body["message"]) == (200, 0, "SUCCEED")
        assert body["data"] == {
            "task_id": body["data"]["task_id"],
            "task_status": "submitted",
            "task_info": {"external_task_id": "run-1"},
            "created_at": int(START * 1000),
            "updated_at": int(START * 1000),
        }
        path = f"/kling{AVATAR}/{body['data']['task_id']}"
        seen = []
        for moment in (1, 30, 61):
            rig.time.now = START + moment
            seen.append((await rig.client.get(path, headers=KLING)).json()["data"])
        assert [data["task_status"] for data in seen] == ["submitted", "processing", "succeed"]
        assert "task_result" not in seen[1]
        video = seen[2]["task_result"]["videos"][0]
        assert (video["duration"], seen[2]["final_unit_deduction"]) == ("3", "2.4")
        assert seen[2]["updated_at"] == int((START + 60) * 1000)
        file = await rig.client.get(video["url"])
        assert (file.status_code, file.headers["content-type"]) == (200, "video/mp4")
        order = rig.maker.orders[-1]
        assert (order.seconds, order.prompt, (order.picture or b"")[:4]) == (3, "Hello", b"\x89PNG")


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ({}, 1001),
        ({"Authorization": ""}, 1001),
        ({"Authorization": "Basic abc"}, 1002),
        ({"Authorization": "Bearer  two-blanks"}, 1002),
        ({"Authorization": "Bearer not.a.jwt"}, 1002),
        ({"Authorization": "Bearer " + jwt(claims(START), secret="wrong")}, 1002),
        ({"Authorization": "Bearer " + jwt(claims(START), algorithm="none")}, 1002),
        ({"Authorization": "Bearer " + jwt({"iss": "simulated-access-key"})}, 1002),
        ({"Authorization": "Bearer " + jwt(claims(START, nbf=START + 60))}, 1003),
        ({"Authorization": "Bearer " + jwt(claims(START, exp=START - 1))}, 1004),
    ],
)
async def test_bad_tokens_have_their_codes(header: dict[str, str], code: int) -> None:
    """Each thing wrong with a token is told apart, with HTTP 401."""
    async with pretending() as rig:
        answer = await rig.client.get(AVATAR, headers=header)
        assert (answer.status_code, answer.json()["code"]) == (401, code)
        assert rig.books("kling")["refusals"] == {str(code): 1}


async def test_a_token_expires_in_real_time() -> None:
    """A token judged good before is refused with 1004 once its real half hour is over."""
    async with pretending(speed=1000) as rig:
        header = {"Authorization": "Bearer " + jwt(claims(START))}
        assert (await rig.client.get(AVATAR, headers=header)).status_code == 200
        rig.time.now += 1799
        assert (await rig.client.get(AVATAR, headers=header)).status_code == 200
        rig.time.now += 2
        assert (await rig.client.get(AVATAR, headers=header)).json()["code"] == 1004


async def test_strangers_are_refused_when_told() -> None:
    """With known credentials only, neither a foreign access key nor a foreign static key gets in."""
    async with pretending(any_credentials=False) as rig:
        for token in ("other-key", jwt(claims(START, iss="stranger"), secret="theirs")):
            answer = await rig.client.get(AVATAR, headers={"Authorization": f"Bearer {token}"})
            assert answer.json()["code"] == 1002
        assert (await rig.client.get(AVATAR, headers=KLING)).status_code == 200


BAD_AVATARS: list[dict[str, Any]] = [
    {"image": None},
    {"image": ""},
    {"image": 7},
    {"image": "data:image/png;base64," + png()},
    {"image": "not base64!"},
    {"image": "aGVsbG8="},
    {"image": png(299, 400)},
    {"image": png(300, 751)},
    {"image": "ftp://shop.test/a.png"},
    {"sound_file": None},
    {"audio_id": "a-1"},
    {"sound_file": wav(1.5)},
    {"sound_file": "aGVsbG8="},
    {"sound_file": png()},
    {"sound_file": None, "audio_id": "unknown"},
    {"mode": "ultra"},
    {"prompt": "x" * 2501},
    {"callback_url": "nowhere"},
    {"watermark_info": [True]},
]


@pytest.mark.parametrize("change", BAD_AVATARS)
async def test_rules_of_the_avatar(change: dict[str, Any]) -> None:
    """Whatever the documents forbid is 1201 with HTTP 400 and a reason, and nothing is charged."""
    async with pretending() as rig:
        answer = await submit(rig, **change)
        assert (answer.status_code, answer.json()["code"]) == (400, 1201)
        assert answer.json()["message"]
        assert rig.books("kling")["submissions"] == 0


@pytest.mark.parametrize("change", [{"image": png(300, 750)}, {"sound_file": wav(2)}, {"prompt": "x" * 2500}, {"mode": "pro"}])
async def test_the_bounds_themselves_are_good(change: dict[str, Any]) -> None:
    """Smallest side, widest aspect, shortest sound and longest prompt are accepted."""
    async with pretending() as rig:
        assert (await submit(rig, **change)).status_code == 200


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"\xff\xfe", b"[" * 100_000])
async def test_bodies_that_are_no_object(body: bytes) -> None:
    """No body, broken JSON and other JSON are 1200 or 1201, never an internal error."""
    async with pretending() as rig:
        answer = await rig.client.post(AVATAR, headers=KLING, content=body)
        assert answer.status_code == 400
        assert answer.json()["code"] in (1200, 1201)


async def test_a_repeated_external_id_is_refused_or_replayed() -> None:
    """Unique per account: by default 1201, on request the first task again; never a second charge; another account is free."""
    async with pretending() as rig:
        assert (await submit(rig, external_task_id="a")).status_code == 200
        assert (await submit(rig, external_task_id="a")).json()["code"] == 1201
        other = await rig.client.post(AVATAR, headers={"Authorization": "Bearer other"}, json={**GOOD, "external_task_id": "a"})
        assert other.status_code == 200
    async with pretending(duplicate_id="replay") as rig:
        first, second = await submit(rig, external_task_id="a"), await submit(rig, external_task_id="a")
        assert first.json()["data"] == second.json()["data"]
        assert rig.books("kling")["charged_by_key"] == {"a": 1}


async def test_slots_are_refused_not_queued_and_come_back() -> None:
    """Over the limit is 429 with 1303; a slot is free the moment its task ends; the peak never passes the limit."""
    async with pretending(concurrency={"kling": 2}, job_seconds={"kling": 60}) as rig:
        codes = [(await submit(rig)).json()["code"] for _ in range(3)]
        assert codes == [0, 0, 1303]
        refused = await submit(rig)
        assert (refused.status_code, refused.json()["message"]) == (429, "parallel task over resource pack limit")
        rig.time.now += 60
        assert (await submit(rig)).json()["code"] == 0
        books = rig.books("kling")
        assert (books["peak_in_flight"], books["in_flight"], books["submissions"], books["refusals"]) == (2, 1, 3, {"1303": 2})


async def test_images_take_n_slots_of_their_own_pack() -> None:
    """An image task with n=4 fills four image slots and no video slot; its result has n links."""
    async with pretending(concurrency={"kling": 4}) as rig:
        body = {"prompt": "bottle", "n": 4, "aspect_ratio": "1:1"}
        created = await rig.client.post("/v1/images/generations", headers=KLING, json=body)
        assert created.status_code == 200
        assert (await rig.client.post("/v1/images/generations", headers=KLING, json={"prompt": "b"})).json()["code"] == 1303
        assert (await submit(rig)).status_code == 200
        rig.time.now += 600
        got = await rig.client.get(f"/v1/images/generations/{created.json()['data']['task_id']}", headers=KLING)
        images = got.json()["data"]["task_result"]["images"]
        assert [image["index"] for image in images] == [0, 1, 2, 3]
        assert (await rig.client.get(images[3]["url"])).headers["content-type"] == "image/jpeg"


async def test_an_empty_pack_is_1102() -> None:
    """Without credit a create is refused with 429 and 1102, which must not be taken for a slot limit."""
    async with pretending(credits={"kling": 1.0}) as rig:
        answer = await submit(rig, sound_file=wav(3))
        assert (answer.status_code, answer.json()["code"]) == (429, 1102)


async def test_list_pages_and_finds() -> None:
    """Pages are newest first within the documented bounds; an external id is found by path and by query."""
    async with pretending(concurrency={"kling": 99}) as rig:
        for number in range(5):
            await submit(rig, external_task_id=f"job-{number}")
        page = await rig.client.get(f"{AVATAR}?pageNum=2&pageSize=2", headers=KLING)
        assert [task["task_info"]["external_task_id"] for task in page.json()["data"]] == ["job-2", "job-1"]
        assert (await rig.client.get(f"{AVATAR}?pageNum=9", headers=KLING)).json()["data"] == []
        for bad in ("pageNum=0", "pageNum=1001", "pageSize=501", "pageSize=x", "pageSize=²", "pageNum=-1"):
            assert (await rig.client.get(f"{AVATAR}?{bad}", headers=KLING)).json()["code"] == 1201
        by_path = (await rig.client.get(f"{AVATAR}/job-3", headers=KLING)).json()["data"]
        by_query = (await rig.client.get(f"{AVATAR}?external_task_id=job-3", headers=KLING)).json()["data"]
        assert by_query == [by_path]
        missing = await rig.client.get(f"{AVATAR}/job-9", headers=KLING)
        assert (missing.status_code, missing.json()["code"]) == (404, 1203)
        other = await rig.client.get(f"{AVATAR}/job-3", headers={"Authorization": "Bearer other"})
        assert other.json()["code"] == 1203
        assert (await rig.client.get("/v1/videos/image2video/job-3", headers=KLING)).json()["code"] == 1203


async def test_external_ids_may_hold_anything() -> None:
    """Slashes, blanks and other scripts travel percent-encoded in the path."""
    async with pretending() as rig:
        name = "clip/sku 17/größe=1x1?#"
        assert (await submit(rig, external_task_id=name)).status_code == 200
        found = await rig.client.get(f"{AVATAR}/{quote(name, safe='')}", headers=KLING)
        assert found.json()["data"]["task_info"]["external_task_id"] == name


async def test_speech_feeds_an_avatar() -> None:
    """TTS answers at once with an audio id that an avatar takes; the clip lasts as long as the speech."""
    async with pretending() as rig:
        said = {"text": "word " * 20, "voice_id": "v", "voice_language": "en"}
        spoken = (await rig.client.post("/v1/audio/tts", headers=KLING, json=said)).json()["data"]
        audio = spoken["task_result"]["audios"][0]
        assert spoken["task_status"] == "succeed"
        created = await submit(rig, sound_file=None, audio_id=audio["id"])
        rig.time.now += 600
        task = await rig.client.get(f"{AVATAR}/{created.json()['data']['task_id']}", headers=KLING)
        assert task.json()["data"]["task_result"]["videos"][0]["duration"] == audio["duration"]
        assert (await rig.client.get(audio["url"])).headers["content-type"] == "audio/wav"


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/v1/videos/image2video", {"image": "https://a.test/b.png", "duration": "10", "model_name": "kling-v2-6"}, 0),
        ("/v1/videos/image2video", {"image": "https://a.test/b.png", "duration": 10}, 1201),
        ("/v1/videos/image2video", {"prompt": "x"}, 1201),
        ("/v1/videos/image2video", {"image_tail": "https://a.test/b.png", "camera_control": {"type": "simple"}}, 1201),
        ("/v1/videos/image2video", {"image": "https://a.test/b.png", "model_name": "kling-v9"}, 1201),
        ("/v1/videos/text2video", {"prompt": "x", "aspect_ratio": "9:16"}, 0),
        ("/v1/videos/text2video", {"aspect_ratio": "9:16"}, 1201),
        ("/v1/videos/text2video", {"prompt": "x", "cfg_scale": 1.5}, 1201),
        ("/v1/images/generations", {"prompt": "x", "n": 10}, 1201),
        ("/v1/images/generations", {"prompt": "x", "n": True}, 1201),
        ("/v1/audio/tts", {"text": "x" * 1001, "voice_id": "v"}, 1201),
        ("/v1/nothing", {}, None),
    ],
)
async def test_the_other_families(path: str, body: dict[str, Any], code: int | None) -> None:
    """Create calls of the same shape keep their own rules; unknown paths are 1202 under the mount."""
    async with pretending() as rig:
        answer = await rig.client.post(f"/kling{path}", headers=KLING, json=body)
        assert answer.json()["code"] == (1202 if code is None else code)


async def test_costs_have_a_double_envelope() -> None:
    """The balance needs both times, and shows what was charged."""
    async with pretending(credits={"kling": 100}) as rig:
        assert (await rig.client.get("/account/costs", headers=KLING)).json()["code"] == 1201
        await submit(rig, sound_file=wav(10))
        answer = (await rig.client.get("/account/costs?start_time=0&end_time=9", headers=KLING)).json()
        assert (answer["code"], answer["data"]["code"]) == (0, 0)
        assert answer["data"]["resource_pack_subscribe_infos"][0]["remaining_quantity"] == 96


async def test_failed_tasks_say_why_and_cost_nothing() -> None:
    """With a fail rate of 1 every task fails with a reason and its units come back."""
    async with pretending(fail_rate=1.0, credits={"kling": 100}) as rig:
        created = await submit(rig, external_task_id="f")
        rig.time.now += 600
        task = (await rig.client.get(f"{AVATAR}/f", headers=KLING)).json()["data"]
        assert (task["task_status"], bool(task["task_status_msg"]), created.status_code) == ("failed", True, 200)
        assert "task_result" not in task
        assert list(rig.books("kling")["credits_left"].values()) == [100]
