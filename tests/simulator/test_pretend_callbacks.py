"""Callbacks as they really arrive on a socket: shapes, signature, order, retries and faults."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.abc
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from pretending import AKOOL, CREATIFY, KLING, TOPVIEW, serving

pytestmark = pytest.mark.anyio
AVATAR = "/v1/videos/avatar/image2video"
FAST: dict[str, Any] = {"speed": 400, "job_seconds": {"kling": 20, "creatify": 20, "topview": 20, "akool": 20}}
GOOD = {"image": "https://a.test/a.png", "sound_file": "https://a.test/a.mp3"}


@pytest.fixture
def anyio_backend() -> str:
    """These run on asyncio, as the server does."""
    return "asyncio"


@dataclass
class Mailbox:
    """A receiver on a real socket that answers with the given statuses, the last one for ever."""

    statuses: list[int] = field(default_factory=lambda: [200])
    letters: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    port: int = 0
    came: anyio.Event = field(default_factory=anyio.Event)

    async def take(self, stream: anyio.abc.SocketStream) -> None:
        """One connection, one letter."""
        async with stream:
            data = b""
            while b"\r\n\r\n" not in data:
                data += await stream.receive()
            head, _, body = data.partition(b"\r\n\r\n")
            first, *rest = head.decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in rest)}
            while len(body) < int(headers["content-length"]):
                body += await stream.receive()
            self.letters.append((first, headers, json.loads(body)))
            self.came.set()
            status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
            await stream.send(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode())

    async def wait(self, amount: int) -> list[Any]:
        """The bodies, once that many have come."""
        with anyio.fail_after(8):
            while len(self.letters) < amount:
                self.came = anyio.Event()
                await self.came.wait()
        return [body for _first, _headers, body in self.letters]


@asynccontextmanager
async def mailbox(*statuses: int) -> AsyncIterator[Mailbox]:
    """A mailbox that listens on loopback."""
    box = Mailbox(list(statuses) or [200])
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    box.port = listener.extra_attributes[anyio.abc.SocketAttribute.local_port]()
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, box.take)
        yield box
        group.cancel_scope.cancel()


async def test_kling_calls_at_every_status() -> None:
    """Three flat letters in order, without an envelope, the last with a link that works."""
    async with mailbox() as box, serving(**FAST) as (_address, client):
        body = {**GOOD, "external_task_id": "k1", "callback_url": f"http://127.0.0.1:{box.port}/in?t=9"}
        await client.post(AVATAR, headers=KLING, json=body)
        letters = await box.wait(3)
        assert [letter["task_status"] for letter in letters] == ["submitted", "processing", "succeed"]
        assert [letter["task_info"]["external_task_id"] for letter in letters] == ["k1"] * 3
        assert letters[0]["updated_at"] < letters[1]["updated_at"] < letters[2]["updated_at"]
        assert "code" not in letters[2]
        assert box.letters[0][0] == "POST /in?t=9 HTTP/1.1"
        assert (await client.get(letters[2]["task_result"]["videos"][0]["url"])).status_code == 200


async def test_creatify_calls_at_the_end_of_each_stage() -> None:
    """The record's documented fields, flat, once per stage."""
    async with mailbox() as box, serving(**FAST) as (_address, client):
        hook = f"http://127.0.0.1:{box.port}/?m=1"
        sent = {"product_url": "https://a.test/p.png", "webhook_url": hook}
        record = (await client.post("/api/product_to_videos/gen_image/", headers=CREATIFY, json=sent)).json()
        await box.wait(1)
        filmed = await client.post(
            f"/api/product_to_videos/{record['id']}/gen_video/", headers=CREATIFY, json={"webhook_url": hook}
        )
        assert filmed.status_code == 200
        letters = await box.wait(2)
        assert [letter["status"] for letter in letters] == ["image_generated", "video_generated"]
        assert {letter["id"] for letter in letters} == {record["id"]}
        assert "motion_style" not in letters[0]
        assert letters[0]["webhook_url"] == hook


async def test_topview_calls_once_with_its_uid() -> None:
    """One letter with uuid, bizType and the result inside, and the Topview-Uid header."""
    async with mailbox() as box, serving(**FAST) as (_address, client):
        body = {"prompt": "sea", "noticeUrl": f"http://127.0.0.1:{box.port}/n"}
        taken = (await client.post("/v1/common_task/text2video/task/submit", headers=TOPVIEW, json=body)).json()["result"]
        (letter,) = await box.wait(1)
        assert (letter["uuid"], letter["taskId"], letter["status"]) == (taken["noticeUuid"], taken["taskId"], "success")
        assert (letter["bizType"], letter["result"]["status"]) == ("COMMON_TASK_TEXT2VIDEO", "success")
        assert box.letters[0][1]["topview-uid"] == "simulated-uid"


async def test_akool_signs_and_encrypts_and_tries_again() -> None:
    """Signature and cipher text hold by the documented recipe; a letter not answered with 200 comes again."""
    client_id, secret = "simulated-client-0001", "simulated-secret-24bytes"
    async with mailbox(500, 200) as box, serving(**FAST) as (_address, client):
        sent = {"talking_photo_url": "https://a.test/a.png", "audio_url": "https://a.test/a.mp3"}
        sent["webhookUrl"] = f"http://127.0.0.1:{box.port}/a?k=7"
        created = (await client.post("/api/open/v3/content/video/createbytalkingphoto", headers=AKOOL, json=sent)).json()
        seen = []
        for letter in await box.wait(3):
            parts = sorted([client_id, str(letter["timestamp"]), letter["nonce"], letter["dataEncrypt"]])
            assert letter["signature"] == hashlib.sha1("".join(parts).encode(), usedforsecurity=False).hexdigest()
            cipher = Cipher(algorithms.AES(secret.encode()), modes.CBC(client_id.encode()[:16])).decryptor()
            padded = cipher.update(base64.b64decode(letter["dataEncrypt"])) + cipher.finalize()
            seen.append(json.loads(padded[: -padded[-1]]))
        assert {plain["_id"] for plain in seen} == {created["data"]["_id"]}
        assert sorted(plain["status"] for plain in seen) == [2, 2, 3]
        last = next(plain for plain in seen if plain["status"] == 3)
        assert (last["type"], (await client.get(last["url"])).status_code) == ("talking photo", 200)


async def test_duplicates_and_reordering() -> None:
    """A duplicate comes twice; a reordered letter comes after its successor with its old content."""
    rules = [{"kind": "duplicate_callback", "key": "twice", "count": 1}, {"kind": "reordered_callback", "key": "late", "nth": 2}]
    async with mailbox() as box, serving(**FAST) as (_address, client):
        assert (await client.post("/_simulator/faults", json=rules)).status_code == 200
        for name, amount in (("twice", 4), ("late", 7)):
            body = {**GOOD, "external_task_id": name, "callback_url": f"http://127.0.0.1:{box.port}/{name}"}
            await client.post(AVATAR, headers=KLING, json=body)
            await box.wait(amount)
        words = [body["task_status"] for _first, _headers, body in box.letters]
        assert words[:4] == ["submitted", "submitted", "processing", "succeed"]
        assert words[4:] == ["submitted", "succeed", "processing"]


async def test_no_letter_leaves_the_machine() -> None:
    """A callback to a foreign host is counted as not sent; one to a closed port as unreachable."""
    async with serving(**FAST) as (_address, client):
        for name, url in (("far", "http://127.example.test/x"), ("shut", "http://127.0.0.1:9/x")):
            await client.post(AVATAR, headers=KLING, json={**GOOD, "external_task_id": name, "callback_url": url})
        with anyio.fail_after(8):
            while True:
                books = (await client.get("/_simulator/books")).json()["providers"]["kling"]["callbacks"]
                if sum(books.values()) == 6:
                    break
                await anyio.sleep(0.02)
        assert books == {"not sent": 3, "unreachable": 3}
