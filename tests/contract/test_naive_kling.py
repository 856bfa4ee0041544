"""Kling's simulator as a stranger's client meets it: a token by PyJWT, a POST, a loop of GETs (K-INFO, seed-001, seed-003, R-TTS)."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from contract_media import picture, sound
from contract_receiver import Receiver
from contract_stage import Stage
from contract_strangers import PLACES, download, is_picture, plays, poll, session

ACCESS, SECRET = "simulated-access-key", "simulated-secret-key-0123456789abcdef"
AVATAR = "/v1/videos/avatar/image2video"
ANYWHERE = pytest.mark.parametrize("place", PLACES)


def token(secret: str = SECRET, **changes: int) -> str:
    """As the general information page shows it."""
    payload = {"iss": ACCESS, "exp": int(time.time()) + 1800, "nbf": int(time.time()) - 5, **changes}
    return jwt.encode(payload, secret, headers={"alg": "HS256", "typ": "JWT"})


def encoded(path: Path) -> str:
    """Bare base64."""
    return base64.b64encode(path.read_bytes()).decode()


def good(reply: httpx.Response) -> Any:  # noqa: ANN401 -- whatever the provider sends
    """What the vendor's own client does: anything but 200 with data is an error."""
    answer = reply.json()
    assert reply.status_code == 200, answer
    assert answer["code"] == 0
    assert isinstance(answer["request_id"], str)
    return answer["data"]


def waited(client: httpx.Client, path: str, name: str) -> Any:  # noqa: ANN401 -- whatever the provider sends
    """Poll one task; an unknown word ends the loop, as in clients that read it into an enum."""

    def ask() -> Any:  # noqa: ANN401 -- whatever the provider sends
        task = good(client.get(f"{path}/{name}"))
        assert task["task_status"] in {"submitted", "processing", "succeed", "failed"}
        return task

    return poll(ask, lambda task: task["task_status"] in {"succeed", "failed"})


@ANYWHERE
def test_a_talking_avatar_from_files(brisk: Stage, place: str, tmp_path: Path) -> None:
    """Base64 in, a video out that lasts as long as the voice."""
    body = {
        "image": encoded(picture(tmp_path / "a.png")),
        "sound_file": encoded(sound(tmp_path / "a.mp3", form="mp3", seconds=4)),
        "mode": "std",
        "external_task_id": f"naive-{place}",
    }
    with session(brisk, "kling", place, Authorization=f"Bearer {token()}") as client:
        task = good(client.post(AVATAR, json=body))
        assert task["task_status"] == "submitted"
        assert isinstance(task["task_id"], str)
        assert isinstance(task["created_at"], int)
        assert "task_result" not in task
        done = waited(client, AVATAR, task["task_id"])
        by_external = good(client.get(f"{AVATAR}/naive-{place}"))
        listed = good(client.get(AVATAR, params={"pageNum": 1, "pageSize": 30}))
        by_query = good(client.get(AVATAR, params={"external_task_id": f"naive-{place}"}))
    [video] = done["task_result"]["videos"]
    assert float(video["duration"]) == pytest.approx(4, abs=0.2)
    assert float(done["final_unit_deduction"]) == pytest.approx(0.4 * float(video["duration"]), abs=0.01)
    assert plays(download(video["url"]))
    assert by_external["task_id"] == task["task_id"]
    assert task["task_id"] in [one["task_id"] for one in listed]
    assert [one["task_id"] for one in by_query] == [task["task_id"]]


@ANYWHERE
def test_speech_then_avatar_by_its_audio_id(brisk: Stage, place: str, tmp_path: Path) -> None:
    """The speech call answers at once; its id is what the avatar says."""
    with session(brisk, "kling", place, Authorization=f"Bearer {token()}") as client:
        words = {"text": "Hello and welcome to our spring sale.", "voice_id": "v1", "voice_language": "en", "voice_speed": 1.0}
        speech = good(client.post("/v1/audio/tts", json=words))
        assert speech["task_status"] == "succeed"
        [audio] = speech["task_result"]["audios"]
        assert download(audio["url"])
        body = {"image": encoded(picture(tmp_path / "a.jpg", form="jpeg")), "audio_id": audio["id"]}
        done = waited(client, AVATAR, good(client.post(AVATAR, json=body))["task_id"])
    assert float(done["task_result"]["videos"][0]["duration"]) == pytest.approx(float(audio["duration"]), abs=0.01)


@ANYWHERE
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/videos/text2video", {"prompt": "a bottle on a beach", "aspect_ratio": "16:9", "duration": "5"}),
        ("/v1/videos/image2video", {"image": "https://cdn.example.test/a.png", "duration": "10", "model_name": "kling-v1-6"}),
    ],
)
def test_clips_from_words_and_from_a_link(brisk: Stage, place: str, path: str, body: dict[str, str]) -> None:
    """The same walk for the sibling calls; the length is text."""
    with session(brisk, "kling", place, Authorization=f"Bearer {token()}") as client:
        done = waited(client, path, good(client.post(path, json=body))["task_id"])
    assert float(done["task_result"]["videos"][0]["duration"]) == float(body["duration"])
    assert plays(download(done["task_result"]["videos"][0]["url"]))


@ANYWHERE
def test_pictures_are_numbered(brisk: Stage, place: str) -> None:
    """N of them, each with its index."""
    with session(brisk, "kling", place, Authorization=f"Bearer {token()}") as client:
        path = "/v1/images/generations"
        done = waited(client, path, good(client.post(path, json={"prompt": "a bottle", "n": 2}))["task_id"])
    images = done["task_result"]["images"]
    assert [one["index"] for one in images] == [0, 1]
    assert all(is_picture(download(one["url"])) for one in images)


def test_each_change_of_status_is_called_back(brisk: Stage) -> None:
    """Flat bodies, in order, the last with the video."""
    with Receiver() as hook, session(brisk, "kling", "root", Authorization=f"Bearer {token()}") as client:
        body = {"prompt": "a bottle", "callback_url": f"{hook.url}?t=9f2", "external_task_id": "naive-callback"}
        task = good(client.post("/v1/videos/text2video", json=body))
        letters = [hook.next() for _ in range(3)]
    stories = [letter.json() for letter in letters]
    assert [story["task_status"] for story in stories] == ["submitted", "processing", "succeed"]
    assert {story["task_id"] for story in stories} == {task["task_id"]}
    assert {letter.query["t"][0] for letter in letters} == {"9f2"}
    assert "code" not in stories[0]
    assert stories[2]["task_info"]["external_task_id"] == "naive-callback"
    assert plays(download(stories[2]["task_result"]["videos"][0]["url"]))


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 1001),
        ({"Authorization": ""}, 1001),
        ({"Authorization": "Bearer"}, 1002),
        ({"Authorization": f"Token {token()}"}, 1002),
        ({"Authorization": f"Bearer {token('another-secret-of-the-same-length-00')}"}, 1002),
        ({"Authorization": "Bearer a.b.c"}, 1002),
        ({"Authorization": f"Bearer {token(nbf=int(time.time()) + 600)}"}, 1003),
        ({"Authorization": f"Bearer {token(exp=int(time.time()) - 1)}"}, 1004),
    ],
)
def test_tokens_are_checked_as_documented(brisk: Stage, headers: dict[str, str], code: int) -> None:
    """HTTP 401 with the code of what is wrong."""
    with session(brisk, "kling", "root", **headers) as client:
        reply = client.get(AVATAR)
    assert (reply.status_code, reply.json()["code"]) == (401, code)
    assert set(reply.json()) == {"code", "message", "request_id"}


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({}, "image"),
        ({"image": "https://cdn.example.test/a.png"}, "audio"),
        ({"image": "https://cdn.example.test/a.png", "audio_id": "a", "sound_file": "https://cdn.example.test/a.mp3"}, "audio"),
        ({"image": "data:image/png;base64,AAAA", "sound_file": "https://cdn.example.test/a.mp3"}, "base64"),
        ({"image": "https://cdn.example.test/a.png", "sound_file": "https://cdn.example.test/a.mp3", "mode": "best"}, "mode"),
        (
            {"image": "https://cdn.example.test/a.png", "sound_file": "https://cdn.example.test/a.mp3", "prompt": "x" * 2501},
            "prompt",
        ),
    ],
)
def test_bad_parameters_are_refused_with_a_reason(brisk: Stage, body: dict[str, str], word: str) -> None:
    """HTTP 400, 1201, and what was wrong."""
    with session(brisk, "kling", "root", Authorization=f"Bearer {token()}") as client:
        reply = client.post(AVATAR, json=body)
    assert (reply.status_code, reply.json()["code"]) == (400, 1201)
    assert word in reply.json()["message"].lower()


def test_over_the_limit_is_refused_and_not_queued(brisk: Stage) -> None:
    """HTTP 429 with 1303; a slot is free again once a task has ended, and questions never need one."""
    path = "/v1/videos/text2video"
    with session(brisk, "kling", "root", Authorization="Bearer simulated-kling-api-key") as client:
        replies = [client.post(path, json={"prompt": f"clip {number}"}) for number in range(8)]
        taken = [reply.json()["data"]["task_id"] for reply in replies if reply.status_code == 200]
        refused = [reply for reply in replies if reply.status_code != 200]
        assert {(reply.status_code, reply.json()["code"]) for reply in refused} == {(429, 1303)}
        for name in taken:
            waited(client, path, name)
        assert good(client.post(path, json={"prompt": "one more"}))
    assert 5 <= len(taken) < 8


def test_balance_and_unknown_paths(brisk: Stage) -> None:
    """The balance wants both times and answers in two envelopes; what does not exist is 404 with its own codes."""
    now = int(time.time() * 1000)
    with session(brisk, "kling", "root", Authorization=f"Bearer {token()}") as client:
        inner = good(client.get("/account/costs", params={"start_time": now - 86_400_000, "end_time": now}))
        assert inner["code"] == 0
        [pack] = inner["resource_pack_subscribe_infos"]
        assert pack["remaining_quantity"] <= pack["total_quantity"]
        assert client.get("/account/costs").json()["code"] in {1200, 1201}
        missing = client.get(f"{AVATAR}/999")
        assert (missing.status_code, missing.json()["code"]) == (404, 1203)
        method = client.put(AVATAR, json={})
        assert (method.status_code, method.json()["code"]) == (404, 1202)
