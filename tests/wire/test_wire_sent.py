"""Did bytes of the request leave? Told over real sockets on 127.0.0.1, for every moment at which a request can fail."""

from __future__ import annotations

import asyncio
import functools
import gc
import socket
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from hangup import Hangup, Visit, mute, polite
from moments import (
    answer_once_then_close_on_the_next,
    close_after_body,
    close_after_head,
    endless_head,
    half_body,
    half_chunks,
    half_head,
    not_http,
    reset_after_body,
    reset_in_answer,
    self_signed,
    silent,
    slam,
    stalled_body,
)

from runner.errors import MaybeSent, NotSent, WireError
from runner.seams import Request, Response
from runner.wire import HttpWire, WireOptions

QUICK = WireOptions(connect_seconds=0.3, answer_seconds=0.4, upload_bytes_per_second=10**9, use_proxies=False)
SUBMIT = Request("POST", "/v1/videos?sig=hidden", json={"prompt": "a cup"}, paid=True)
CREDENTIALS = {"Authorization": "Bearer top-secret-token"}


async def attempt(url: str, request: Request = SUBMIT, options: WireOptions = QUICK) -> Response | WireError:
    """One request over a wire of its own; its answer, or the error it raised."""
    async with HttpWire(options) as wire:
        try:
            return await wire.send(request, base_url=url, headers=CREDENTIALS)
        except WireError as error:
            outcome = error
    assert "hidden" not in outcome.message
    assert "secret" not in outcome.message
    return outcome


def against(*scripts: Callable[[Visit], Awaitable[None]], request: Request = SUBMIT) -> tuple[Response | WireError, Hangup]:
    """What one request against a scripted server came to."""

    async def run() -> tuple[Response | WireError, Hangup]:
        async with Hangup(*scripts) as server:
            return await attempt(server.url, request), server

    return anyio.run(run)


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# ------------------------------------------------------------------------------------------- nothing left the machine


def test_refused_connection_is_not_sent() -> None:
    """A refused connection proves that nothing left."""
    outcome = anyio.run(attempt, f"http://127.0.0.1:{free_port()}")
    assert isinstance(outcome, NotSent)
    assert "refused" in outcome.message
    assert outcome.hint


def test_full_backlog_is_not_sent() -> None:
    """A host that does not answer the knock proves that nothing left."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        outcome = anyio.run(attempt, f"http://127.0.0.1:{listener.getsockname()[1]}")
        for filler in fillers:
            filler.close()
    assert isinstance(outcome, NotSent)
    assert "0.3 s" in outcome.message


def test_unknown_host_is_not_sent() -> None:
    """A name that does not resolve proves that nothing left."""
    outcome = anyio.run(attempt, "http://nosuch.invalid")
    assert isinstance(outcome, NotSent)
    assert "could not be resolved" in outcome.message


def test_a_lookup_that_hangs_is_not_sent() -> None:
    """The time limit for connecting covers the name lookup."""

    async def never(_host: str, _port: int) -> Sequence[str]:
        await anyio.sleep_forever()
        return []

    async def run() -> None:
        async with HttpWire(QUICK, resolve=never) as wire:
            with pytest.raises(NotSent, match="no connection within"):
                await wire.send(SUBMIT, base_url="http://slow.example", headers={})

    anyio.run(run)


def test_https_to_a_plain_server_is_not_sent() -> None:
    """A failed TLS handshake proves that nothing of the request left."""

    async def babble(visit: Visit) -> None:
        await visit.reader.read(10)
        await visit.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    async def run() -> None:
        async with Hangup(babble) as server:
            outcome = await attempt(server.url.replace("http:", "https:"))
            assert isinstance(outcome, NotSent)
            assert "TLS" in outcome.message
            assert server.heads == []

    anyio.run(run)


def test_tls_that_never_finishes_is_not_sent() -> None:
    """A server that is silent in the TLS handshake has received nothing."""

    async def run() -> None:
        async with Hangup(mute) as server:
            outcome = await attempt(server.url.replace("http:", "https:"))
            assert isinstance(outcome, NotSent)
            assert "no connection within" in outcome.message

    anyio.run(run)


def test_self_signed_certificate_is_not_sent_unless_trusted(tmp_path: Path) -> None:
    """A certificate nobody vouches for is refused before the request; one that ca_file vouches for is fine."""
    context = self_signed(tmp_path)

    async def run() -> None:
        async with Hangup(polite, tls=context) as server:
            refused = await attempt(server.url)
            assert isinstance(refused, NotSent)
            assert "certificate was refused" in refused.message
            assert server.heads == []
            trusting = WireOptions(answer_seconds=2, ca_file=tmp_path / "cert.pem", use_proxies=False)
            accepted = await attempt(server.url, options=trusting)
            assert isinstance(accepted, Response)
            assert len(server.heads) == 1

    anyio.run(run)


@pytest.mark.parametrize(
    ("base_url", "path"),
    [
        ("ftp://127.0.0.1", "/x"),
        ("http://", "/x"),
        ("http://user:hunter2@127.0.0.1", "/x"),
        ("http://127.0.0.1:99999", "/x"),
        ("http://127.0.0.1", "x"),
        ("http://127.0.0.1", "/x\r\nHost: evil"),
        ("", "/x"),
        ("http://[::1", "/x"),
        ("http://2130706433", "/x"),
    ],
)
def test_addresses_that_cannot_be_used_are_not_sent(base_url: str, path: str) -> None:
    """An address that makes no sense is refused before anything leaves."""
    outcome = anyio.run(attempt, base_url, Request("POST", path, json={}, paid=True))
    assert isinstance(outcome, NotSent)
    assert "hunter2" not in outcome.message


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "schlüssel", "“quoted”", " padded ", "nul\0", "\x7f"])
def test_credentials_that_http_cannot_carry_are_not_sent(value: str) -> None:
    """A header value with a line break or a typographic character is refused, and not shown."""

    async def run() -> None:
        async with Hangup(polite) as server, HttpWire(QUICK) as wire:
            with pytest.raises(NotSent) as raised:
                await wire.send(SUBMIT, base_url=server.url, headers={"X-API-KEY": value})
            assert "X-API-KEY" in raised.value.message
            assert value not in raised.value.message
            assert server.connections == 0

    anyio.run(run)


def test_a_closed_wire_sends_nothing() -> None:
    """After aclose every request is refused before anything leaves."""

    async def run() -> None:
        wire = HttpWire(QUICK)
        await wire.aclose()
        with pytest.raises(NotSent):
            await wire.send(SUBMIT, base_url="http://127.0.0.1:1", headers={})

    anyio.run(run)


# ------------------------------------------------------------------------------------------------ bytes may have left


UNCERTAIN = [
    close_after_head,
    close_after_body,
    reset_after_body,
    reset_in_answer,
    silent,
    half_head,
    half_body,
    half_chunks,
    stalled_body,
    not_http,
    endless_head,
]


@pytest.mark.parametrize("script", UNCERTAIN, ids=lambda script: script.__name__)
@pytest.mark.parametrize(("method", "paid"), [("POST", True), ("PUT", True), ("GET", False)])
def test_failures_after_the_head_are_maybe_sent_and_never_repeated(
    script: Callable[[Visit], Awaitable[None]], method: str, paid: bool
) -> None:
    """Once the head has left, every failure is MaybeSent, and the server has seen the request exactly once."""
    request = Request(method, "/v1/videos?sig=hidden", json=None if method == "GET" else {"a": 1}, paid=paid)
    outcome, server = against(script, request=request)
    assert isinstance(outcome, MaybeSent)
    assert outcome.hint
    assert len(server.heads) == 1
    assert server.connections == 1


def test_a_server_that_slams_the_door_is_maybe_sent() -> None:
    """Accept and close at once is MaybeSent: the connection stood, so the request's bytes went into it, and no reply from
    this side of the network tells whether anybody read them.
    """
    outcome, server = against(slam)
    assert isinstance(outcome, MaybeSent)
    assert server.connections == 1
    assert len(server.heads) == 0


def test_a_body_cut_off_by_a_reset_is_maybe_sent() -> None:
    """A server that breaks off in the middle of a large body has still seen the head."""

    async def cut(visit: Visit) -> None:
        await visit.head()
        await visit.reader.read(1000)
        visit.reset()

    outcome, server = against(cut, request=Request("POST", "/x", json="a" * 5_000_000, paid=True))
    assert isinstance(outcome, MaybeSent)
    assert len(server.heads) == 1


def test_an_early_answer_to_a_large_body_is_read_or_uncertain() -> None:
    """A server may answer before the body is whole; what comes is that answer, and never a second request."""

    async def early(visit: Visit) -> None:
        await visit.head()
        await visit.answer(b'{"detail":"too large"}', status="413 Content Too Large", headers="Connection: close\r\n")
        await visit.reader.read()

    outcome, server = against(early, request=Request("POST", "/x", json="a" * 3_000_000, paid=True))
    assert isinstance(outcome, Response)
    assert outcome.status == 413
    assert len(server.heads) == 1


# ------------------------------------------------------------------------------------------------- idle connections


@pytest.mark.parametrize("first", ["paid", "free"])
def test_a_stale_connection_never_makes_a_paid_request_uncertain(first: str) -> None:
    """A paid request gets a connection of its own, so that an idle one being dropped cannot hit it."""

    async def run() -> None:
        async with Hangup(answer_once_then_close_on_the_next) as server, HttpWire(QUICK) as wire:
            await wire.send(Request("POST", "/warm", json={}, paid=first == "paid"), base_url=server.url, headers={})
            await wire.send(SUBMIT, base_url=server.url, headers={})
            await wire.send(SUBMIT, base_url=server.url, headers={})
            assert server.connections == 3
            assert len(server.heads) == 3

    anyio.run(run)


@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
def test_a_stale_connection_is_not_retried_by_the_library(method: str) -> None:
    """A question on a dropped idle connection fails as MaybeSent; the library does not repeat it behind our back."""

    async def run() -> None:
        async with Hangup(answer_once_then_close_on_the_next) as server, HttpWire(QUICK) as wire:
            await wire.send(Request("GET", "/warm"), base_url=server.url, headers={})
            with pytest.raises(MaybeSent):
                await wire.send(Request(method, "/again"), base_url=server.url, headers={})
            assert server.connections == 1

    anyio.run(run)


def test_a_young_connection_may_carry_a_paid_request_when_allowed() -> None:
    """With paid_idle_seconds a connection that idled less is used again."""

    async def run() -> None:
        options = WireOptions(paid_idle_seconds=30, use_proxies=False)
        async with Hangup(polite) as server, HttpWire(options) as wire:
            for _ in range(3):
                await wire.send(SUBMIT, base_url=server.url, headers={})
            assert server.connections == 1
            assert wire.statistics().open_connections == 1

    anyio.run(run)


def test_questions_share_a_connection_and_statistics_count() -> None:
    """Unpaid requests reuse their connection, and the counts say what happened."""

    async def run() -> None:
        async with Hangup(polite) as server, HttpWire(QUICK) as wire:
            for _ in range(3):
                await wire.send(Request("GET", "/x"), base_url=server.url, headers={})
            with pytest.raises(NotSent):
                await wire.send(SUBMIT, base_url=f"http://127.0.0.1:{free_port()}", headers={})
            counted = wire.statistics()
            assert server.connections == 1
            assert (counted.requests, counted.not_sent, counted.maybe_sent) == (4, 1, 0)
            assert (counted.bytes_received, counted.open_connections) == (6, 1)
            await wire.aclose()
            assert wire.statistics().open_connections == 0

    anyio.run(run)


def test_cancelling_leaves_no_connection_behind() -> None:
    """A cancelled request closes its connection: nothing half-read is ever used again."""

    async def run() -> None:
        async with Hangup(silent) as server, HttpWire(QUICK) as wire:
            with anyio.move_on_after(0.1):
                await wire.send(SUBMIT, base_url=server.url, headers={})
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert wire.statistics().open_connections == 0
            assert len(server.heads) == 1

    anyio.run(run)
    gc.collect()


# ---------------------------------------------------------------------------------------------- other transports


class Stubborn(httpx.AsyncBaseTransport):
    """A transport that reports nothing about its progress and fails as it is told."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Fail."""
        raise self._error


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (httpx.ConnectError("x"), NotSent),
        (httpx.PoolTimeout("x"), NotSent),
        (httpx.UnsupportedProtocol("x"), NotSent),
        (httpx.ConnectTimeout("x"), MaybeSent),
        (httpx.ReadTimeout("x"), MaybeSent),
        (httpx.RemoteProtocolError("x"), MaybeSent),
        (httpx.WriteError("x"), MaybeSent),
        (RuntimeError("x"), MaybeSent),
        (OSError(111, "x"), MaybeSent),
    ],
)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_unknown_transport_is_believed_only_before_any_connection(
    error: Exception, verdict: type[WireError], backend: str
) -> None:
    """Of a transport that does not report, only errors from before any connection count as NotSent."""

    async def run() -> None:
        async with HttpWire(QUICK, transport=Stubborn(error)) as wire:
            with pytest.raises(verdict):
                await wire.send(SUBMIT, base_url="http://somewhere", headers={})

    anyio.run(run, backend=backend)


@pytest.mark.parametrize(
    ("script", "verdict"), [(close_after_body, MaybeSent), (silent, MaybeSent), (half_body, MaybeSent), (None, NotSent)]
)
def test_on_trio_httpcore_tells_how_far_it_got(
    script: Callable[[Visit], Awaitable[None]] | None, verdict: type[WireError]
) -> None:
    """The transport of httpx itself transport on trio reports through httpcore's trace: same verdicts."""

    async def request(port: int) -> None:
        async with HttpWire(QUICK) as wire:
            with pytest.raises(verdict):
                await wire.send(SUBMIT, base_url=f"http://127.0.0.1:{port}", headers={})

    async def run() -> None:
        async with Hangup(script or mute) as server:
            port = server.port if script else free_port()
            elsewhere = functools.partial(anyio.run, request, port, backend="trio")
            await asyncio.get_running_loop().run_in_executor(None, elsewhere)
            assert len(server.heads) == (1 if script else 0)

    anyio.run(run)


def test_an_in_process_application_answers_like_a_server() -> None:
    """An ASGI application stands in for the network, on either backend."""

    async def application(
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        body = str(scope["path"]).encode()
        await send({"type": "http.response.start", "status": 201, "headers": [(b"X-Seen", b"yes")]})
        await send({"type": "http.response.body", "body": b'"' + body + b'"'})

    async def run() -> None:
        async with HttpWire(transport=httpx.ASGITransport(application)) as wire:
            answer = await wire.send(SUBMIT, base_url="http://simulator/kling/", headers={})
        assert (answer.status, answer.json(), answer.headers["x-seen"]) == (201, "/kling/v1/videos", "yes")

    for backend in ("asyncio", "trio"):
        anyio.run(run, backend=backend)
