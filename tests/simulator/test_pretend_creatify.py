"""The pretend Creatify, driven as its documents say."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from pretending import CREATIFY, START, Rig, pretending

pytestmark = pytest.mark.anyio
ROOT = "/api/product_to_videos"
FIELDS = {
    "id",
    "type",
    "product_url",
    "aspect_ratio",
    "override_avatar",
    "motion_style",
    "product_showcase_url",
    "image_prompt",
    "video_prompt",
    "status",
    "generated_photo_url",
    "generated_video_url",
    "failed_reason",
    "webhook_url",
    "created_at",
    "updated_at",
}


@pytest.fixture
def anyio_backend() -> str:
    """These run on asyncio, as the server does."""
    return "asyncio"


async def gen_image(rig: Rig, **fields: object) -> httpx.Response:
    """POST gen_image with a good product."""
    return await rig.client.post(f"{ROOT}/gen_image/", headers=CREATIFY, json={"product_url": "https://a.test/p.png", **fields})


async def film(rig: Rig, record: str, **fields: object) -> httpx.Response:
    """POST gen_video."""
    return await rig.client.post(f"{ROOT}/{record}/gen_video/", headers=CREATIFY, json=fields)


async def record_of(rig: Rig, record: str) -> dict[str, Any]:
    """GET the record."""
    found: dict[str, Any] = (await rig.client.get(f"/creatify{ROOT}/{record}/", headers=CREATIFY)).json()
    return found


async def test_one_record_moves_through_both_stages() -> None:
    """The id stays; the status walks through the documented words; picture and clip appear at the end of their stages."""
    async with pretending(job_seconds={"creatify/image": 20, "creatify/video": 60}) as rig:
        hook = "https://hooks.test/c?k=1"
        created = (await gen_image(rig, type="product_avatar", aspect_ratio="16x9", webhook_url=hook)).json()
        assert set(created) == FIELDS
        assert (created["status"], created["webhook_url"], created["created_at"]) == (
            "initializing",
            hook,
            "2025-10-09T08:53:20.000Z",
        )
        rig.time.now = START + 10
        assert (await record_of(rig, created["id"]))["status"] == "image_generating"
        early = await film(rig, created["id"])
        assert early.status_code == 400
        rig.time.now = START + 20
        done = await record_of(rig, created["id"])
        assert (done["status"], done["generated_video_url"]) == ("image_generated", None)
        assert (await rig.client.get(done["generated_photo_url"])).headers["content-type"] == "image/jpeg"
        filmed = (await film(rig, created["id"], motion_style="talking", video_prompt="Turn")).json()
        assert (filmed["id"], filmed["status"], filmed["video_prompt"]) == (created["id"], "video_generating", "Turn")
        again = await film(rig, created["id"])
        assert again.status_code == 400
        rig.time.now = START + 80
        last = await record_of(rig, created["id"])
        assert last["status"] == "video_generated"
        assert (await rig.client.get(last["generated_video_url"])).headers["content-type"] == "video/mp4"
        assert (rig.maker.orders[-1].picture or b"").startswith(b"still")
        books = rig.books("creatify")
        assert (books["charged_credits"], books["submissions"]) == (12, 2)


async def test_a_repeated_gen_video_charges_when_told() -> None:
    """The documents do not say what a repeat does; with repeat_stage=charge it is paid again, and the books show it."""
    async with pretending(repeat_stage="charge") as rig:
        record = (await gen_image(rig)).json()["id"]
        rig.time.now += 600
        hook = "https://h.test/?job=7"
        for _ in range(2):
            assert (await film(rig, record, webhook_url=hook)).status_code == 200
        assert rig.books("creatify")["charged_by_key"]["video:job=7"] == 2
        assert rig.simulator.books.charged_more_than_once() == {"creatify:video:job=7": 2}


@pytest.mark.parametrize("headers", [{}, {"X-API-ID": "a"}, {"X-API-KEY": "a"}, {**CREATIFY, "X-API-KEY": "wrong"}])
async def test_both_headers_are_needed(headers: dict[str, str]) -> None:
    """Anything less than both headers is 401 with a detail."""
    async with pretending() as rig:
        answer = await rig.client.get("/api/remaining_credits/", headers=headers)
        assert (answer.status_code, list(answer.json())) == (401, ["detail"])


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"product_url": None}, "product_url"),
        ({"product_url": ""}, "product_url"),
        ({"product_url": "shop.test/p.png"}, "product_url"),
        ({"product_url": "https://a.test/" + "x" * 186}, "product_url"),
        ({"product_url": ["https://a.test"]}, "product_url"),
        ({"type": "product_video"}, "type"),
        ({"aspect_ratio": "9:16"}, "aspect_ratio"),
        ({"aspect_ratio": ["9x16"]}, "aspect_ratio"),
        ({"type": "product_avatar", "override_avatar": "ada"}, "override_avatar"),
        ({"webhook_url": "https://a.test/?" + "k" * 200}, "webhook_url"),
        ({"image_prompt": 5}, "image_prompt"),
    ],
)
async def test_field_errors_name_the_field(fields: dict[str, Any], wrong: str) -> None:
    """400 with a list of messages under the field's name, and nothing charged."""
    async with pretending() as rig:
        answer = await gen_image(rig, **fields)
        assert answer.status_code == 400
        assert list(answer.json()) == [wrong]
        assert all(isinstance(message, str) for message in answer.json()[wrong])
        assert rig.books("creatify")["submissions"] == 0


async def test_what_is_just_allowed() -> None:
    """200 characters are fine, and a shot without people ignores its avatar."""
    async with pretending() as rig:
        assert (await gen_image(rig, product_url="https://a.test/" + "x" * 185)).status_code == 200
        assert (await gen_image(rig, type="product_anyshot", override_avatar="whatever")).status_code == 200


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff"])
async def test_bodies_that_are_no_object(body: bytes) -> None:
    """Broken or other JSON is 400."""
    async with pretending() as rig:
        assert (await rig.client.post(f"{ROOT}/gen_image/", headers=CREATIFY, content=body)).status_code == 400


async def test_slashes_and_methods() -> None:
    """As in Django: a GET without its slash is redirected, a POST without it is not found, a wrong method is 405."""
    async with pretending() as rig:
        moved = await rig.client.get("/creatify/api/personas", headers=CREATIFY)
        assert (moved.status_code, moved.headers["location"]) == (301, "/creatify/api/personas/")
        assert (await rig.client.post(f"{ROOT}/gen_image", headers=CREATIFY, json={})).status_code == 404
        assert (await rig.client.get(f"{ROOT}/gen_image/x/", headers=CREATIFY)).status_code == 404
        assert (await rig.client.delete("/api/personas/", headers=CREATIFY)).status_code == 405
        assert (await rig.client.get(f"{ROOT}/nothing/", headers=CREATIFY)).json() == {"detail": "Not found."}


async def test_the_list_filters_by_ids() -> None:
    """A bare array; ids picks records, unknown ones are left out; more than 100 or none are refused; others' stay hidden."""
    async with pretending(concurrency={"creatify": 200}) as rig:
        ids = [(await gen_image(rig, image_prompt=str(number))).json()["id"] for number in range(3)]
        everything = (await rig.client.get(f"{ROOT}/", headers=CREATIFY)).json()
        assert sorted(record["id"] for record in everything) == sorted(ids)
        some = await rig.client.get(f"{ROOT}/?ids={ids[2]},unknown,{ids[0]}", headers=CREATIFY)
        assert [record["id"] for record in some.json()] == [ids[2], ids[0]]
        assert (await rig.client.get(f"{ROOT}/?ids=", headers=CREATIFY)).status_code == 400
        many = ",".join(str(number) for number in range(101))
        assert (await rig.client.get(f"{ROOT}/?ids={many}", headers=CREATIFY)).status_code == 400
        stranger = {"X-API-ID": "x", "X-API-KEY": "y"}
        assert (await rig.client.get(f"{ROOT}/", headers=stranger)).json() == []
        assert (await rig.client.get(f"{ROOT}/{ids[0]}/", headers=stranger)).status_code == 404


async def test_again_makes_new_records() -> None:
    """regen_image and regen_video make records of their own that name their source, and cost again."""
    async with pretending() as rig:
        source = (await gen_image(rig, image_prompt="old")).json()["id"]
        rig.time.now += 600
        image = (await rig.client.post(f"{ROOT}/{source}/regen_image/", headers=CREATIFY, json={"image_prompt": "new"})).json()
        assert (image["regen_source_id"], image["image_prompt"], image["status"]) == (source, "new", "initializing")
        video = (await rig.client.post(f"{ROOT}/{source}/regen_video/", headers=CREATIFY, json={"video_prompt": "v"})).json()
        assert len({source, image["id"], video["id"]}) == 3
        assert (video["status"], video["regen_type"]) == ("video_generating", "video")
        rig.time.now += 600
        done = await record_of(rig, video["id"])
        assert done["status"] == "video_generated"
        assert (await rig.client.get(done["generated_photo_url"])).status_code == 200
        assert (await record_of(rig, source))["status"] == "image_generated"
        books = rig.books("creatify")
        assert (books["charged_credits"], books["submissions"]) == (2 + 2 + 10, 3)


async def test_no_credit() -> None:
    """402 or 400 as set; the balance goes down by what was charged."""
    async with pretending(credits={"creatify": 3}) as rig:
        assert (await gen_image(rig)).status_code == 200
        assert (await rig.client.get("/api/remaining_credits/", headers=CREATIFY)).json() == {"remaining_credits": 1}
        assert (await gen_image(rig)).status_code == 402
    async with pretending(credits={"creatify": 1}, out_of_credit_status=400) as rig:
        assert (await gen_image(rig)).status_code == 400


async def test_a_failed_image_cannot_be_filmed() -> None:
    """It failed with a reason and without a picture; gen_video on it is refused."""
    async with pretending(fail_rate=1.0) as rig:
        failed = (await gen_image(rig)).json()["id"]
        rig.time.now += 600
        state = await record_of(rig, failed)
        assert (state["status"], state["generated_photo_url"]) == ("failed", None)
        assert state["failed_reason"]
        assert (await film(rig, failed)).status_code == 400


async def test_a_failed_video_keeps_its_picture_and_may_be_tried_again() -> None:
    """A record whose clip failed still shows its picture, and gen_video on it is taken once more."""
    async with pretending(fail_rate=0.5, concurrency={"creatify": 99}) as rig:
        records = [(await gen_image(rig)).json()["id"] for _ in range(20)]
        rig.time.now += 600
        filmed = [record for record in records if (await film(rig, record)).status_code == 200]
        rig.time.now += 600
        states = [await record_of(rig, record) for record in filmed]
        failed = [state for state in states if state["status"] == "failed"]
        assert failed
        assert all(state["generated_photo_url"] and not state["generated_video_url"] for state in failed)
        again = await film(rig, failed[0]["id"])
        assert (again.status_code, again.json()["status"]) == (200, "video_generating")


async def test_lookups() -> None:
    """Avatars have ids, voices carry their usable id in accents; strict ids refuse what is not listed."""
    async with pretending(strict_ids=True) as rig:
        avatars = (await rig.client.get("/api/personas/", headers=CREATIFY)).json()
        voices = (await rig.client.get("/api/voices/", headers=CREATIFY)).json()
        assert voices[0]["accents"][0]["id"]
        good = await gen_image(rig, type="product_avatar", override_avatar=avatars[0]["id"])
        other = "4f3d2a9e-0b1c-4d58-9d0f-3b0a6a5f7c11"
        assert (good.status_code, (await gen_image(rig, type="product_avatar", override_avatar=other)).status_code) == (200, 400)
