"""Creatify's simulator as a stranger's client meets it: two headers, paths with a closing slash, records without an envelope."""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import pytest
from contract_receiver import Receiver
from contract_stage import Stage
from contract_strangers import PLACES, download, is_picture, plays, poll, session

ANYWHERE = pytest.mark.parametrize("place", PLACES)
KEYS = {"X_API_ID": "simulated-api-id", "X_API_KEY": "simulated-api-key"}
ROOT = "/api/product_to_videos"
FIELDS = {
    "id", "type", "product_url", "aspect_ratio", "override_avatar", "motion_style", "product_showcase_url", "image_prompt",
    "video_prompt", "status", "generated_photo_url", "generated_video_url", "failed_reason", "webhook_url", "created_at",
    "updated_at",
}  # fmt: skip


def good(reply: httpx.Response) -> Any:  # noqa: ANN401 -- whatever the provider sends
    """``raise_for_status``, then the body is the thing itself."""
    reply.raise_for_status()
    return reply.json()


def until(client: httpx.Client, name: str, *words: str, slash: str = "/") -> Any:  # noqa: ANN401 -- whatever the provider sends
    """Poll one record."""
    return poll(lambda: good(client.get(f"{ROOT}/{name}{slash}")), lambda record: record["status"] in {*words, "failed"})


@ANYWHERE
@pytest.mark.parametrize("slash", ["/", ""], ids=["slash", "redirected"])
def test_a_picture_then_its_video(brisk: Stage, place: str, slash: str) -> None:
    """One record through two stages; a GET without its closing slash is redirected, as Django does."""
    body = {
        "product_url": "https://cdn.example.test/sku-17.png",
        "type": "product_avatar",
        "aspect_ratio": "1x1",
        "image_prompt": "kitchen, morning light",
        "override_avatar": None,
    }
    with session(brisk, "creatify", place, **KEYS) as client:
        record = good(client.post(f"{ROOT}/gen_image/", json=body))
        assert set(record) >= FIELDS
        assert str(uuid.UUID(record["id"])) == record["id"]
        assert record["status"] == "initializing"
        assert record["generated_photo_url"] is None
        pictured = until(client, record["id"], "image_generated", slash=slash)
        assert is_picture(download(pictured["generated_photo_url"]))
        started = good(
            client.post(f"{ROOT}/{record['id']}/gen_video/", json={"motion_style": "talking", "video_prompt": "smiles"})
        )
        assert (started["id"], started["status"]) == (record["id"], "video_generating")
        filmed = until(client, record["id"], "video_generated", slash=slash)
        assert plays(download(filmed["generated_video_url"]))
        assert filmed["generated_photo_url"]
        some = good(client.get(f"{ROOT}/", params={"ids": f"{record['id']},{uuid.uuid4()}"}))
        every = good(client.get(f"{ROOT}{slash}"))
    assert isinstance(some, list)
    assert [one["id"] for one in some] == [record["id"]]
    assert record["id"] in [one["id"] for one in every]


@ANYWHERE
def test_made_again_is_a_new_record_that_names_its_source(brisk: Stage, place: str) -> None:
    """regen_image and regen_video."""
    with session(brisk, "creatify", place, **KEYS) as client:
        first = good(client.post(f"{ROOT}/gen_image/", json={"product_url": "https://cdn.example.test/a.png"}))["id"]
        until(client, first, "image_generated")
        again = good(client.post(f"{ROOT}/{first}/regen_image/", json={"image_prompt": "on a table"}))
        assert again["id"] != first
        assert again["regen_source_id"] == first
        until(client, again["id"], "image_generated")
        film = good(client.post(f"{ROOT}/{first}/regen_video/", json={"video_prompt": "turns"}))
        assert film["regen_source_id"] == first
        assert plays(download(until(client, film["id"], "video_generated")["generated_video_url"]))


def test_the_end_of_each_stage_is_called_back(brisk: Stage) -> None:
    """Flat records with the fields of seed-000, and the marker in the address."""
    with Receiver() as hook, session(brisk, "creatify", "root", **KEYS) as client:
        body = {"product_url": "https://cdn.example.test/a.png", "webhook_url": f"{hook.url}?k=8c1"}
        record = good(client.post(f"{ROOT}/gen_image/", json=body))
        assert record["webhook_url"] == f"{hook.url}?k=8c1"
        picture = hook.next()
        good(client.post(f"{ROOT}/{record['id']}/gen_video/", json={"webhook_url": f"{hook.url}?k=8c2"}))
        video = hook.next()
    assert (picture.query["k"], picture.json()["status"]) == (["8c1"], "image_generated")
    assert (video.query["k"], video.json()["status"]) == (["8c2"], "video_generated")
    assert {letter.json()["id"] for letter in (picture, video)} == {record["id"]}
    assert "motion_style" not in picture.json()
    assert picture.json()["failed_reason"] is None


def test_refusals_follow_django_rest_framework(brisk: Stage) -> None:
    """Field errors as lists, details as text, the usual statuses."""
    link = "https://cdn.example.test/a.png"
    with session(brisk, "creatify", "root", **KEYS) as client:
        nothing = client.post(f"{ROOT}/gen_image/", json={})
        assert (nothing.status_code, nothing.json()) == (400, {"product_url": ["This field is required."]})
        wrong = client.post(f"{ROOT}/gen_image/", json={"product_url": "no link", "aspect_ratio": "9:16", "type": "x"})
        assert set(wrong.json()) == {"product_url", "aspect_ratio", "type"}
        long = client.post(f"{ROOT}/gen_image/", json={"product_url": link, "webhook_url": "https://h.test/" + "x" * 186})
        assert list(long.json()) == ["webhook_url"]
        broken = client.post(f"{ROOT}/gen_image/", content=b"{", headers={"Content-Type": "application/json"})
        assert (broken.status_code, list(broken.json())) == (400, ["detail"])
        missing = client.get(f"{ROOT}/{uuid.uuid4()}/")
        assert (missing.status_code, missing.json()) == (404, {"detail": "Not found."})
        assert client.delete(f"{ROOT}/{uuid.uuid4()}/").status_code == 405
        assert client.get("/api/product_to_video/").status_code == 404
        assert client.post(f"{ROOT}/gen_image", json={"product_url": link}).status_code == 404
        early = good(client.post(f"{ROOT}/gen_image/", json={"product_url": link}))["id"]
        refused = client.post(f"{ROOT}/{early}/gen_video/", json={})
        assert refused.status_code in {400, 200}  # the picture may be done already at this speed
    with session(brisk, "creatify", "root", X_API_ID="simulated-api-id") as stranger:
        assert stranger.get("/api/remaining_credits/").status_code in {401, 403}


def test_lookups_and_credits(brisk: Stage) -> None:
    """Avatars, voices, and a balance that goes down by what a picture costs."""
    with session(brisk, "creatify", "prefix", **KEYS) as client:
        avatar = good(client.get("/api/personas/"))[0]["id"]
        assert good(client.get("/api/voices/"))[0]["accents"][0]["id"]
        before = good(client.get("/api/remaining_credits/"))["remaining_credits"]
        body = {"product_url": "https://cdn.example.test/a.png", "type": "product_avatar", "override_avatar": avatar}
        assert good(client.post(f"{ROOT}/gen_image/", json=body))["override_avatar"] == avatar
        assert before - good(client.get("/api/remaining_credits/"))["remaining_credits"] == 2
