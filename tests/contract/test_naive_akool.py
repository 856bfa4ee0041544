"""Akool's simulator as a stranger's client meets it: a token, codes inside HTTP 200, sealed callbacks (seed-004, A-AUTH, A-HOOK)."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import httpx
import pytest
from contract_receiver import Letter, Receiver
from contract_stage import Stage
from contract_strangers import PLACES, download, plays, poll, session
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

ANYWHERE = pytest.mark.parametrize("place", PLACES)
CLIENT, SECRET = "simulated-client-0001", "simulated-secret-24bytes"
V3 = "/api/open/v3"
V4 = "/api/open/v4/image2Video"
ORDER = {"talking_photo_url": "https://cdn.example.test/model.jpg", "audio_url": "https://cdn.example.test/pitch.mp3"}


def good(reply: httpx.Response) -> Any:  # noqa: ANN401 -- whatever the provider sends
    """Code 1000, and then data."""
    answer = reply.json()
    assert answer["code"] == 1000, answer
    return answer["data"]


def token(client: httpx.Client) -> str:
    """At the top of the answer, not in data."""
    answer = client.post(f"{V3}/getToken", json={"clientId": CLIENT, "clientSecret": SECRET}).json()
    assert answer["code"] == 1000
    word: str = answer["token"]
    return word


def opened(letter: Letter) -> Any:  # noqa: ANN401 -- whatever the provider sends
    """As the documentation's receiver: check the signature over the sorted parts, then AES-192-CBC."""
    sealed = letter.json()
    assert isinstance(sealed["timestamp"], int)
    assert isinstance(sealed["nonce"], str)
    parts = sorted([CLIENT, str(sealed["timestamp"]), sealed["nonce"], sealed["dataEncrypt"]])
    assert hashlib.sha1("".join(parts).encode(), usedforsecurity=False).hexdigest() == sealed["signature"]
    decryptor = Cipher(algorithms.AES(SECRET.encode()), modes.CBC(CLIENT.encode()[:16])).decryptor()
    padded = decryptor.update(base64.b64decode(sealed["dataEncrypt"], validate=True)) + decryptor.finalize()
    unpadder = PKCS7(128).unpadder()
    return json.loads(unpadder.update(padded) + unpadder.finalize())


@ANYWHERE
def test_a_talking_photo_with_a_token(brisk: Stage, place: str) -> None:
    """getToken, create, poll until 3, download."""
    with session(brisk, "akool", place) as client:
        client.headers["Authorization"] = f"Bearer {token(client)}"
        made = good(client.post(f"{V3}/content/video/createbytalkingphoto", json=ORDER))
        assert len(made["_id"]) == 24
        int(made["_id"], 16)
        assert made["video_status"] == 1
        assert not made["video"]
        done = poll(
            lambda: good(client.get(f"{V3}/content/video/infobymodelid", params={"video_model_id": made["_id"]})),
            lambda video: video["video_status"] in {3, 4},
        )
    assert done["video_status"] == 3
    assert done["deduction_duration"] == made["deduction_lock_duration"]
    assert plays(download(done["video"]))


@ANYWHERE
def test_a_key_serves_as_well(brisk: Stage, place: str) -> None:
    """x-api-key is the old secret; balance goes down."""
    with session(brisk, "akool", place, x_api_key=SECRET) as client:
        before = good(client.get(f"{V3}/faceswap/quota/info"))["credit"]
        made = good(client.post(f"{V3}/content/video/createbytalkingphoto", json=ORDER))
        spent = before - good(client.get(f"{V3}/faceswap/quota/info"))["credit"]
    assert spent == pytest.approx(made["deduction_lock_duration"])


def test_callbacks_are_signed_sealed_and_repeated(brisk: Stage) -> None:
    """Status 2 and 3 for the marked address; an answer other than 200 brings the same letter again."""
    with Receiver(500) as hook, session(brisk, "akool", "root", x_api_key=SECRET) as client:
        body = {**ORDER, "webhookUrl": f"{hook.url}?k=77"}
        made = good(client.post(f"{V3}/content/video/createbytalkingphoto", json=body))
        letters = [hook.next() for _ in range(3)]
    stories = [opened(letter) for letter in letters]
    assert {story["_id"] for story in stories} == {made["_id"]}
    assert {letter.query["k"][0] for letter in letters} == {"77"}
    assert sorted(story["status"] for story in stories) == [2, 2, 3]
    last = next(story for story in stories if story["status"] == 3)
    assert last["type"] == "talking photo"
    assert plays(download(last["url"]))


@ANYWHERE
def test_image_to_video_in_a_batch(brisk: Stage, place: str) -> None:
    """Several of one kind, asked for with one comma-separated text; the hook's name has no capitals here."""
    with session(brisk, "akool", place, x_api_key=SECRET) as client:
        body = {"image_url": "https://cdn.example.test/a.png", "prompt": "turn", "video_length": 5, "count": 2, "webhookurl": ""}
        made = good(client.post(f"{V4}/createBySourcePrompt/batch", json=body))
        names = [one["_id"] for one in made["successList"]]
        assert len(names) == 2
        assert made["errorList"] == []
        done = poll(
            lambda: good(client.post(f"{V4}/resultsByIds", json={"_ids": ",".join(names)}))["result"],
            lambda rows: all(row["status"] in {3, 4} for row in rows),
        )
    assert [row["_id"] for row in done] == names
    assert plays(download(done[0]["video_url"]))


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 1102),
        ({"Authorization": ""}, 1102),
        ({"Authorization": "Bearer not-a-token"}, 1101),
        ({"x_api_key": "not-a-key"}, 1101),
        ({"Authorization": "Bearer not-a-token", "x_api_key": SECRET}, 1101),
    ],
)
def test_credentials_are_judged_inside_http_200(brisk: Stage, headers: dict[str, str], code: int) -> None:
    """Of two, the Authorization header wins."""
    with session(brisk, "akool", "root", **headers) as client:
        reply = client.get(f"{V3}/faceswap/quota/info")
    assert (reply.status_code, reply.json()["code"]) == (200, code)
    assert "msg" in reply.json()


def test_wrong_parameters_and_strangers(brisk: Stage) -> None:
    """1003 and 1008; a wrong secret gets no token."""
    with session(brisk, "akool", "root", x_api_key=SECRET) as client:
        create = f"{V3}/content/video/createbytalkingphoto"
        for body in (
            {},
            {"audio_url": ORDER["audio_url"]},
            {**ORDER, "talking_photo_url": "picture.png"},
            {**ORDER, "resolution": "4"},
        ):
            assert client.post(create, json=body).json()["code"] == 1003
        info = f"{V3}/content/video/infobymodelid"
        assert client.get(info, params={"video_model_id": "64dd9000a1b2c3d4e5f60001"}).json()["code"] == 1008
        assert client.get(info).json()["code"] == 1003
        assert client.post(f"{V3}/getToken", json={"clientId": CLIENT, "clientSecret": "wrong"}).json()["code"] == 1101
        assert client.post(f"{V3}/getToken", json={"clientId": CLIENT}).json()["code"] == 1003
        assert client.get(f"{V3}/nothing").status_code == 404
