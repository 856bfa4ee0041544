"""The receiver on a real socket, as strangers meet it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

import anyio
import pytest

from runner.clock import WallClock
from runner.errors import Refused, UsageError
from runner.providers import connect
from runner.receiver import Bounds, Ears, Listen, Receiver, listening, local_address, receiving
from runner.seams import CallbackNotice, Provider

pytestmark = pytest.mark.anyio
KEY = "cs-0123456789abcdef01234567"
SECRET_WORD = "echo-me-not"
GOOD = b'{"task_id":"800000000013297071","task_status":"succeed"}'


@pytest.fixture
def anyio_backend() -> str:
    """Real sockets, as in production."""
    return "asyncio"


@dataclass
class Listener:
    """Takes what the receiver hands on; ``full`` turns everything away."""

    full: bool = False
    heard: list[tuple[str, str, CallbackNotice]] = field(default_factory=list)

    def __call__(self, lane: str, key: str, notice: CallbackNotice) -> bool:
        """Note it."""
        if not self.full:
            self.heard.append((lane, key, notice))
        return not self.full


@dataclass
class Odd:
    """An adapter that meets a callback with the given error, or finds nothing in it."""

    error: Exception | None = None

    def read_callback(self, headers: Mapping[str, str], body: bytes, now: float) -> CallbackNotice | None:
        """Fail as told."""
        if self.error:
            raise self.error
        return None


@dataclass
class Door:
    """A running receiver and who listens behind it."""

    ears: Ears
    receiver: Receiver
    listener: Listener

    def path(self, lane: str = "kling", key: str = KEY) -> str:
        """The path of an attempt's callback address."""
        return urlsplit(self.ears.callbacks.url(lane, key)).path

    async def raw(self, *parts: bytes, pause: float = 0.0) -> bytes:
        """Send the parts over one connection; what comes back until it is closed."""
        answer = b""
        address = urlsplit(local_address(self.ears.listener))
        with anyio.fail_after(8):
            async with await anyio.connect_tcp(address.hostname or "", address.port or 0) as stream:
                try:
                    for part in parts:
                        await stream.send(part)
                        await anyio.sleep(pause)
                    while True:
                        answer += await stream.receive()
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    return answer

    async def post(self, path: str, body: bytes = GOOD, *extra: str, method: str = "POST") -> tuple[int, bytes]:
        """(status, body) of one request."""
        head = [f"{method} {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *extra, "", ""]
        answer = await self.raw("\r\n".join(head).encode() + body)
        return status(answer), answer.partition(b"\r\n\r\n")[2]


def status(answer: bytes) -> int:
    """The status of a raw answer; 0 for none."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


@asynccontextmanager
async def opened(bounds: Bounds | None = None, odd: Mapping[str, Odd] | None = None) -> AsyncIterator[Door]:
    """A receiver for a Kling and a Topview account, and whatever else is given."""
    lanes: dict[str, Provider] = {
        "kling": connect("kling", {"api_key": "k"}),
        "topview": connect("topview", {"uid": "u-1", "api_key": "k"}),
        **(odd or {}),  # type: ignore[dict-item]  # an Odd is all of a provider that the receiver touches
    }
    listener = Listener()
    async with listening(Listen()) as sockets:
        ears = Ears.of(sockets, None, "0011223344556677")
        receiver = Receiver(ears.callbacks, WallClock(), bounds or Bounds(), lanes, listener)
        async with receiving(sockets, receiver):
            yield Door(ears, receiver, listener)


async def test_a_callback_is_handed_on_and_acknowledged() -> None:
    """The right address: 200, and lane, key and what was said reach the listener."""
    async with opened() as door:
        assert await door.post(door.path()) == (200, b"{}")
        ((lane, key, notice),) = door.listener.heard
        assert (lane, key, notice.remote_id) == ("kling", KEY, "800000000013297071")


async def test_the_acknowledgement_is_the_providers_own() -> None:
    """Topview reads the answer it documents."""
    body = b'{"uuid":"n-77","taskId":"a9","status":"success","result":{"taskId":"a9","status":"success"}}'
    async with opened() as door:
        code, answer = await door.post(door.path("topview"), body, "Topview-Uid: u-9")
        wanted = {"code": "200", "message": "Success", "result": {"uuid": "n-77", "topviewUid": "u-1", "result": "success"}}
        assert (code, json.loads(answer)) == (200, wanted)


async def test_a_proxy_may_keep_or_take_off_its_own_path() -> None:
    """Only the last three parts of the path and nothing of the query decide."""
    async with opened() as door:
        for prefix in ("", "/hooks", "/a/b/c"):
            assert (await door.post(f"{prefix}{door.path()}?callsheet={KEY}"))[0] == 200
        assert len(door.listener.heard) == 3


def wrong_paths(right: str) -> list[str]:
    """Addresses that nobody was given."""
    lane, key, token = right.strip("/").split("/")
    flipped = token[:-1] + ("A" if token[-1] != "A" else "B")
    return [
        "/",
        "//",
        "/favicon.ico",
        right + "/",
        right[:-1],
        f"/{lane}/{key}/{flipped}",
        f"/{lane}/{key}/",
        f"/{lane}/{key}/{token.swapcase()}",
        f"/topview/{key}/{token}",
        f"/nobody/{key}/{token}",
        f"/{lane}/{key[:-1]}0/{token}",
        f"/{lane}//{token}",
        f"/../{lane}/{key}/%00{token}",
        f"/{lane}/{key}/%s%s%n",
        f"/{'a' * 8000}/{lane}/{key}/{token}",
    ]


async def test_other_addresses_do_not_exist() -> None:
    """Wrong token, key or lane, and whatever else one may try: 404 with an empty answer, always the same, and nothing is handed on."""
    async with opened() as door:
        answers = {await door.post(path) for path in wrong_paths(door.path())}
        assert answers == {(404, b"")}
        assert door.listener.heard == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"])
async def test_only_post_is_taken(method: str) -> None:
    """Everything else is 405, whether the address is right or not, and never a redirect."""
    async with opened() as door:
        for path in (door.path(), "/nothing"):
            code, _ = await door.post(path, b"", method=method)
            assert code == 405
        assert door.listener.heard == []


async def test_large_bodies_are_refused_unread() -> None:
    """Announced or sent in pieces: 413, and nothing is handed on."""
    async with opened(Bounds(body=1000)) as door:
        head = f"POST {door.path()} HTTP/1.1\r\nHost: x\r\n".encode()
        assert status(await door.raw(head + b"Content-Length: 1001\r\n\r\n")) == 413
        assert status(await door.raw(head + b"Content-Length: 99999999999999999999\r\n\r\n")) in {400, 413}
        pieces = b"1f4\r\n" + b"x" * 500 + b"\r\n"
        assert status(await door.raw(head + b"Transfer-Encoding: chunked\r\n\r\n" + pieces * 3)) == 413
        assert (await door.post(door.path(), b" " * (1000 - len(GOOD)) + GOOD))[0] == 200
        assert len(door.listener.heard) == 1


async def test_slow_senders_are_cut_off_and_keep_nobody_waiting() -> None:
    """Heads and bodies that drip: closed without an answer once their time is up, while others are served."""
    async with opened(Bounds(seconds=0.3)) as door:
        head = f"POST {door.path()} HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n".encode()
        ends: list[bytes] = []

        async def drip(*parts: bytes) -> None:
            ends.append(await door.raw(*parts, pause=0.05))

        async with anyio.create_task_group() as group:
            group.start_soon(drip, *([b"P"] * 24))
            group.start_soon(drip, *([head] + [b"x"] * 20))
            group.start_soon(drip, b"")
            assert (await door.post(door.path()))[0] == 200
        assert ends == [b"", b"", b""]
        assert len(door.listener.heard) == 1


RUBBISH = [
    b"\r\n\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,
    b"GET / HTTP/0.9\r\n\r\n",
    b"POST /\xff\xfe HTTP/1.1\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nzzz",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"A" * 100_000,
    b"POST / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
]


@pytest.mark.parametrize("noise", RUBBISH, ids=range(len(RUBBISH)))
async def test_what_is_no_http_harms_nobody(noise: bytes) -> None:
    """Rubbish is refused or cut off, and the next callback is taken."""
    async with opened(Bounds(seconds=0.5)) as door:
        assert status(await door.raw(noise)) in {0, 400, 404, 405, 431, 501}
        assert (await door.post(door.path()))[0] == 200


async def test_rubbish_after_a_callback_is_ignored() -> None:
    """A second request on the same connection is not served: one callback, one connection."""
    async with opened() as door:
        one = f"POST {door.path()} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(GOOD)}\r\n\r\n".encode() + GOOD
        answer = await door.raw(one + one + b"rubbish")
        assert answer.count(b"HTTP/1.1 200") == 1
        assert b"connection: close" in answer.lower()
        assert len(door.listener.heard) == 1


async def test_a_body_that_ends_early_is_no_callback() -> None:
    """The caller announces more than it sends and hangs up."""
    async with opened() as door:
        address = urlsplit(local_address(door.ears.listener))
        async with await anyio.connect_tcp(address.hostname or "", address.port or 0) as stream:
            await stream.send(f"POST {door.path()} HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n".encode() + GOOD)
        assert (await door.post(door.path(), b"{}"))[0] == 400
        assert door.listener.heard == []


async def test_nothing_is_repeated() -> None:
    """What a caller sends in path, header or body does not come back, whatever the answer is."""
    word = SECRET_WORD
    async with opened() as door:
        head = f"Host: {word}\r\nX-{word}: {word}\r\nReferer: {word}\r\n"
        for target in (f"/{word}", f"/kling/{word}/{word}", door.path() + f"?{word}"):
            for body in (word.encode(), json.dumps({"task_id": word, "task_status": word}).encode()):
                answer = await door.raw(f"POST {target} HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
                assert status(answer) in {200, 400, 404}
                assert word.encode() not in answer
                assert b"location" not in answer.lower()


async def test_a_caller_that_asks_first_is_told_to_go_on() -> None:
    """``Expect: 100-continue``, which HTTP libraries send before larger bodies."""
    async with opened() as door:
        head = f"POST {door.path()} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {len(GOOD)}\r\n\r\n"
        answer = await door.raw(head.encode(), GOOD, pause=0.05)
        assert answer.startswith(b"HTTP/1.1 100")
        assert b"HTTP/1.1 200" in answer


async def test_when_nobody_can_take_it_the_caller_may_come_again() -> None:
    """A full queue is 503: providers that repeat callbacks will."""
    async with opened() as door:
        door.listener.full = True
        assert (await door.post(door.path()))[0] == 503
        door.listener.full = False
        assert (await door.post(door.path()))[0] == 200


async def test_a_bug_in_reading_stays_within_its_connection() -> None:
    """An adapter that fails in an unforeseen way costs this callback, not the run; one that refuses or finds nothing is answered."""
    odd = {"one": Odd(ZeroDivisionError()), "two": Odd(Refused("no")), "three": Odd()}
    async with opened(odd=odd) as door:
        answers = [(await door.post(door.path(lane)))[0] for lane in ("one", "two", "three", "kling")]
        assert answers == [0, 400, 200, 200]
        assert len(door.listener.heard) == 1
        assert door.receiver.counts[500] == 1


async def test_connections_are_bounded() -> None:
    """More than the allowed number at once are closed unheard; as soon as there is room again, callbacks come through."""
    async with opened(Bounds(connections=4, seconds=5)) as door:
        address = urlsplit(local_address(door.ears.listener))
        idle = [await anyio.connect_tcp(address.hostname or "", address.port or 0) for _ in range(4)]
        assert (await door.post(door.path()))[0] == 0
        for stream in idle:
            await stream.aclose()
        with anyio.fail_after(5):
            while (await door.post(door.path()))[0] != 200:
                pass


async def test_many_at_once_are_all_taken() -> None:
    """Two hundred callbacks at the same moment."""
    async with opened() as door:
        async with anyio.create_task_group() as group:
            for _ in range(200):
                group.start_soon(door.post, door.path())
        assert len(door.listener.heard) == 200


async def test_errors_inside_come_out_as_they_are() -> None:
    """What the run raises while it listens is not wrapped."""
    with pytest.raises(UsageError, match="mine"):
        async with opened():
            raise UsageError("mine", hint="as it was")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("127.0.0.1:0", Listen("127.0.0.1", 0)),
        ("192.0.2.1:8787", Listen("192.0.2.1", 8787)),
        ("[::1]:80", Listen("::1", 80)),
        (" localhost:9 ", Listen("localhost", 9)),
        ("8787", Listen("127.0.0.1", 8787)),
        (":8787", Listen("127.0.0.1", 8787)),
    ],
)
def test_where_to_listen(text: str, wanted: Listen) -> None:
    """The forms that people write."""
    assert Listen.of(text) == wanted


@pytest.mark.parametrize(
    "text", ["", "host", "host:", "host:x", "h:70000", "::1:80", "h:-1", "a b:80", "h:٣", "http://h:80", "h:1e3"]
)
def test_where_not_to_listen(text: str) -> None:
    """What is no address is an error that says how to write one."""
    with pytest.raises(UsageError, match="--listen") as caught:
        Listen.of(text)
    assert "HOST:PORT" in caught.value.hint


async def test_a_taken_port_is_an_error_and_a_preferred_one_is_not() -> None:
    """``--listen`` on a port in use says so; a port that is only preferred gives way to a free one."""
    async with listening(Listen()) as first:
        port = int(local_address(first).rpartition(":")[2])
        with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1:{port}"):
            async with listening(Listen(port=port)):
                pass
        async with listening(Listen(rather=port)) as second:
            assert local_address(second) != local_address(first)
    async with listening(Listen(rather=port)) as third:
        assert local_address(third) == f"http://127.0.0.1:{port}"


async def test_an_address_that_is_not_ours_is_an_error() -> None:
    """No traceback for a host that this machine does not have."""
    with pytest.raises(UsageError, match="cannot listen"):
        async with listening(replace(Listen(), host="203.0.113.7", port=8787)):
            pass
