"""What is sent, byte for byte, and what is taken as an answer: sizes, compression, files, headers."""

from __future__ import annotations

import base64
import gzip
import json
import warnings
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import msgspec
import pytest
from hangup import Hangup, Visit, polite

from runner.errors import MaybeSent, NotSent
from runner.seams import FileBase64, Request, Response
from runner.wire import HttpWire, WireOptions

KIB = 1024
SMALL = WireOptions(answer_seconds=3, max_answer_bytes=64 * KIB, use_proxies=False)


def exchange(
    script: Callable[[Visit], Awaitable[None]], request: Request, options: WireOptions = SMALL, base: str = ""
) -> tuple[Response, Hangup]:
    """One request's answer, and the server with what it saw."""

    async def run() -> tuple[Response, Hangup]:
        async with Hangup(script) as server, HttpWire(options) as wire:
            answer = await wire.send(request, base_url=server.url + base, headers={"Authorization": "Bearer abc"})
            return answer, server

    return anyio.run(run)


def answering(raw: bytes, *, headers: str = "", status: str = "200 OK") -> Callable[[Visit], Awaitable[None]]:
    """A script that answers with ``raw``."""

    async def script(visit: Visit) -> None:
        await visit.head()
        await visit.body()
        await visit.answer(raw, headers=headers, status=status)

    return script


GET = Request("GET", "/x")


def head_of(server: Hangup) -> dict[str, str]:
    """The headers that the server saw, by lower-case name."""
    lines = server.heads[0].decode().split("\r\n")[1:-2]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


# ---------------------------------------------------------------------------------------------------- what comes back


@pytest.mark.parametrize(
    "status", ["200 OK", "201 Created", "400 Bad", "402 Pay", "404 No", "429 Slow", "500 Oh", "503 No", "599 X"]
)
def test_every_status_is_a_normal_answer(status: str) -> None:
    """A status never raises: what it means is the adapter's business."""
    answer, _ = exchange(answering(b'{"code":1}', status=status), GET)
    assert answer.status == int(status[:3])
    assert answer.json() == {"code": 1}


def test_redirects_are_answers_and_are_not_followed() -> None:
    """A submit that is redirected is not made anywhere else."""
    answer, server = exchange(
        answering(b"", status="307 Elsewhere", headers="Location: /other\r\n"), Request("POST", "/x", json={})
    )
    assert (answer.status, answer.headers["location"], len(server.heads)) == (307, "/other", 1)


def test_header_names_are_lower_case_and_repeated_ones_joined() -> None:
    """Headers are looked up by lower-case names; a repeated one is joined by commas."""
    answer, _ = exchange(answering(b"{}", headers="X-Limit: 1\r\nX-LIMIT: 2\r\nRetry-After: 7\r\n"), GET)
    assert answer.headers["x-limit"] == "1, 2"
    assert answer.headers["retry-after"] == "7"


@pytest.mark.parametrize("body", [b"<html>504</html>", b"", b"{", b"\xff\xfe", b"nul\0"])
def test_what_is_not_json_is_maybe_sent_when_read(body: bytes) -> None:
    """The answer arrives as it is; reading it as JSON says that nobody knows."""
    answer, _ = exchange(answering(body), GET)
    assert answer.body == body
    with pytest.raises(MaybeSent, match="not JSON"):
        answer.json()


RAW_DEFLATE = zlib.compressobj(wbits=-15)


@pytest.mark.parametrize(
    ("raw", "coding"),
    [
        (gzip.compress(b'{"a":1}'), "gzip"),
        (gzip.compress(b'{"a":1}'), "x-gzip"),
        (gzip.compress(b'{"a"') + gzip.compress(b":1}"), "GZIP"),
        (gzip.compress(b'{"a":1}') + b"\0\0\0", "gzip"),
        (zlib.compress(b'{"a":1}'), "deflate"),
        (RAW_DEFLATE.compress(b'{"a":1}') + RAW_DEFLATE.flush(), "deflate"),
        (b'{"a":1}', "identity"),
        (b'{"a":1}', "utf-8"),
        (b'{"a":1}', ""),
    ],
)
def test_compressed_answers_are_unpacked(raw: bytes, coding: str) -> None:
    """Gzip and both kinds of deflate are undone; a coding nobody asked for is left alone."""
    answer, _ = exchange(answering(raw, headers=f"Content-Encoding: {coding}\r\n"), GET)
    assert answer.json() == {"a": 1}


@pytest.mark.parametrize(
    ("raw", "coding", "why"),
    [
        (gzip.compress(b'{"a":1}' * 99)[:-9], "gzip", "middle of compressed"),
        (b"not gzip at all", "gzip", "damaged"),
        (b"not deflate at all", "deflate", "damaged"),
        (gzip.compress(b"a") + b"junk", "gzip", "damaged"),
        (gzip.compress(gzip.compress(b"a")), "gzip, gzip", "more than once"),
        (gzip.compress(b"\0" * 10_000_000), "gzip", "larger than the 65536"),
        (zlib.compress(b"\0" * 10_000_000), "deflate", "larger than the 65536"),
        (b"".join(gzip.compress(b"\0" * 60_000) for _ in range(3)), "gzip", "larger than"),
    ],
)
def test_bombs_and_damaged_compression_are_maybe_sent(raw: bytes, coding: str, why: str) -> None:
    """A compressed answer counts by its unpacked size, and must be whole."""
    with pytest.raises(MaybeSent, match=why):
        exchange(answering(raw, headers=f"Content-Encoding: {coding}\r\n"), GET)


def test_an_answer_at_the_limit_is_taken_and_one_byte_more_is_not() -> None:
    """The limit itself is allowed, plain and compressed."""
    fits = b"a" * 64 * KIB
    assert exchange(answering(fits), GET)[0].body == fits
    assert exchange(answering(gzip.compress(fits), headers="Content-Encoding: gzip\r\n"), GET)[0].body == fits
    with pytest.raises(MaybeSent, match="65537"):
        exchange(answering(fits + b"a"), GET)


def test_200_megabytes_are_not_read() -> None:
    """A huge announced answer is refused by its head alone."""
    sent = 0

    async def huge(visit: Visit) -> None:
        nonlocal sent
        await visit.head()
        await visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: 209715200\r\n\r\n")
        for _ in range(3200):
            await visit.send(b"a" * 64 * KIB)
            sent += 64 * KIB

    with pytest.raises(MaybeSent, match="announces 209715200 bytes"):
        exchange(huge, GET)
    assert sent < 20_000_000


@pytest.mark.parametrize("chunked", [True, False])
def test_an_endless_answer_ends_at_the_limit(chunked: bool) -> None:
    """A body without end is cut off at the size limit."""

    async def endless(visit: Visit) -> None:
        await visit.head()
        await visit.send(b"HTTP/1.1 200 OK\r\n" + (b"Transfer-Encoding: chunked\r\n" if chunked else b"") + b"\r\n")
        while True:
            await visit.send(b"1000\r\n" + b"a" * 4096 + b"\r\n" if chunked else b"a" * 4096)

    with pytest.raises(MaybeSent, match="larger than the 65536"):
        exchange(endless, GET)


def test_a_dripping_answer_ends_at_the_time_limit() -> None:
    """A body that comes a byte at a time ends with the whole request's time."""

    async def drip(visit: Visit) -> None:
        await visit.head()
        await visit.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await visit.send(b" ")
            await anyio.sleep(0.02)

    with pytest.raises(MaybeSent, match="time limit"):
        exchange(drip, GET, WireOptions(answer_seconds=0.3, use_proxies=False))


def test_interim_answers_are_skipped() -> None:
    """100 and 103 come before the answer and are not it."""

    async def hints(visit: Visit) -> None:
        await visit.head()
        await visit.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        await visit.answer(b"[1]")

    assert exchange(hints, GET)[0].json() == [1]


@pytest.mark.parametrize(("method", "status"), [("HEAD", "200 OK"), ("GET", "304 Not Modified"), ("GET", "204 No Content")])
def test_answers_without_a_body_may_announce_one(method: str, status: str) -> None:
    """The length in an answer to HEAD, or in a 304, speaks of a body that does not come."""

    async def bodiless(visit: Visit) -> None:
        await visit.head()
        length = "" if status.startswith("204") else "Content-Length: 99999999\r\n"
        await visit.send(f"HTTP/1.1 {status}\r\n{length}\r\n".encode())

    assert exchange(bodiless, Request(method, "/x"))[0].body == b""


def test_cookies_are_never_kept() -> None:
    """One account's cookie does not travel with another request."""

    async def cookies(visit: Visit) -> None:
        for _ in range(2):
            await visit.head()
            await visit.answer(headers="Set-Cookie: session=1; Path=/\r\n")

    async def run() -> None:
        async with Hangup(cookies) as server, HttpWire(SMALL) as wire:
            await wire.send(GET, base_url=server.url, headers={})
            await wire.send(GET, base_url=server.url, headers={})
            assert b"ookie" not in server.heads[1]

    anyio.run(run)


# ------------------------------------------------------------------------------------------------------ what is sent


def test_json_is_utf8_with_its_length() -> None:
    """JSON leaves compact, in UTF-8, with type and length."""
    _, server = exchange(polite, Request("POST", "/x", json={"prompt": "Kännchen „heiß“ 🫖", "n": 1.5, "no": None}))
    assert json.loads(server.bodies[0].decode("utf-8")) == {"prompt": "Kännchen „heiß“ 🫖", "n": 1.5, "no": None}
    head = head_of(server)
    assert head["content-type"] == "application/json"
    assert head["content-length"] == str(len(server.bodies[0]))
    assert "transfer-encoding" not in head
    assert head["user-agent"].startswith("callsheet/")


@pytest.mark.parametrize("size", [0, 5, 300 * KIB, 3_000_000])
def test_files_in_json_become_bare_base64(tmp_path: Path, size: int) -> None:
    """A FileBase64 anywhere in the document becomes the file's base64 text, small or large."""
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    file = tmp_path / "voice.mp3"
    file.write_bytes(data)
    document = {"image": FileBase64(file), "more": [{"deep": FileBase64(file)}], "text": "kept"}
    _, server = exchange(polite, Request("POST", "/x", json=document))
    sent = msgspec.json.decode(server.bodies[0])
    assert base64.b64decode(sent["image"], validate=True) == data
    assert sent["more"][0]["deep"] == sent["image"]
    assert sent["text"] == "kept"


@pytest.mark.parametrize("size", [0, 1, 256 * KIB, 256 * KIB + 1, 2_000_000])
def test_a_signed_upload_carries_the_file_and_nothing_else(tmp_path: Path, size: int) -> None:
    """A file is the whole body, with its length and without a type or credentials; its signed query arrives to the letter."""
    file = tmp_path / "a.bin"
    file.write_bytes(b"z" * size)
    path = "/bucket/a%20b?X-Sig=a%2Fb%2bc+d=&e=%E2%82%AC"
    _, server = exchange(polite, Request("PUT", path, file=file, signed=False))
    assert server.bodies[0] == b"z" * size
    head = head_of(server)
    assert head["content-length"] == str(size)
    assert not {"content-type", "transfer-encoding", "authorization"} & set(head)
    assert server.heads[0].split(b"\r\n")[0] == f"PUT {path} HTTP/1.1".encode()


def test_given_headers_win_and_lengths_cannot_be_forged(tmp_path: Path) -> None:
    """The adapter's headers win over credentials and defaults, but never over the message's own frame."""
    file = tmp_path / "a.mp3"
    file.write_bytes(b"12345")
    request = Request(
        "PUT",
        "/x",
        file=file,
        headers={"content-type": "audio/mpeg", "Content-Length": "9", "AUTHORIZATION": "mine", "Host": "evil"},
    )
    _, server = exchange(polite, request)
    head = head_of(server)
    assert (head["content-type"], head["content-length"], head["authorization"]) == ("audio/mpeg", "5", "mine")
    assert head["host"].startswith("127.0.0.1:")


def test_a_shrinking_file_is_maybe_sent(tmp_path: Path) -> None:
    """A file that becomes shorter while it is sent breaks the request off at once."""
    file = tmp_path / "a.bin"
    file.write_bytes(b"z" * 3_000_000)

    async def shrink(visit: Visit) -> None:
        file.write_bytes(b"")
        await visit.head()
        await visit.body()

    with pytest.raises(MaybeSent, match="no usable answer"):
        exchange(shrink, Request("PUT", "/x", file=file))


DEEP: list[object] = []
for _ in range(5000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    "request_",
    [
        Request("POST", "/x", json={"image": FileBase64(Path("/nowhere/a.png"))}),
        Request("PUT", "/x", file=Path("/nowhere/a.png")),
        Request("PUT", "/x", file=Path("/")),
        Request("POST", "/x", json={"a": object()}),
        Request("POST", "/x", json={"a": "\ud800"}),
        Request("POST", "/x", json=DEEP),
        Request("POST", "/x", json={}, file=Path("/nowhere")),
        Request("GET /x HTTP/1.1\r\nX:", "/x"),
        Request("GET", "/x", headers={"bad name": "1"}),
        Request("GET", "/x", headers={"": "1"}),
    ],
)
def test_what_cannot_be_written_is_not_sent(request_: Request) -> None:
    """A missing file or an impossible document is found before a connection is made."""

    async def run() -> None:
        async with Hangup(polite) as server, HttpWire(SMALL) as wire:
            with pytest.raises(NotSent) as raised:
                await wire.send(request_, base_url=server.url, headers={})
            assert "/nowhere" not in raised.value.message
            assert server.connections == 0

    anyio.run(run)


def test_queries_are_encoded_once_and_added_to_given_ones() -> None:
    """Query values are percent-encoded; what already stands in the path stays."""
    _, server = exchange(polite, Request("GET", "/x?a=%2B", query={"ids": "a,b", "q": "1 & 2=3", "n": 5}), base="/base/")
    assert server.heads[0].split(b" ")[1] == b"/base/x?a=%2B&ids=a%2Cb&q=1%20%26%202%3D3&n=5"


def test_an_empty_post_says_that_it_is_empty() -> None:
    """A POST without a body announces length 0, and a GET announces nothing."""
    assert head_of(exchange(polite, Request("POST", "/x"))[1])["content-length"] == "0"
    assert "content-length" not in head_of(exchange(polite, Request("GET", "/x"))[1])


def test_large_bodies_raise_no_warning() -> None:
    """A body of megabytes is streamed in pieces."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, server = exchange(polite, Request("POST", "/x", json="ü" * 2_000_000))
    assert len(server.bodies[0]) == 4_000_002
