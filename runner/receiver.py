"""Listens for callbacks of providers: a very small HTTP server that takes one POST per connection.

Owns sockets, limits and answers. Everybody in the world may call, so it believes nothing: only an address that this ledger made is looked at,
bodies and time are bounded, and no answer repeats what was sent, but for what a provider documents as its acknowledgement (then cleaned).
It decides nothing about jobs: what a callback says is handed on, and the answer does not wait for what becomes of it.

It speaks plain HTTP. What is public (TLS, the name) is the business of the proxy or tunnel in front of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field

import anyio
import anyio.abc
import h11
import msgspec
from anyio.streams.stapled import MultiListener

from runner.bounds import USUAL, InputLimits
from runner.callbacks import Callbacks
from runner.clock import Clock, WallClock
from runner.errors import CallsheetError, UsageError
from runner.model import JSON
from runner.seams import CallbackNotice, Provider

Hear = Callable[[str, str, CallbackNotice], bool]
"""(lane, submission key, notice) -> whether it was taken; returns at once."""

CHUNK = 16 * 1024
LARGEST_HEAD = 16 * 1024
PAUSE_SECONDS = 0.2
LINGER_SECONDS = 0.5
"""How long what a sender still sends is thrown away, so that it reads our answer instead of a reset."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one caller may use up. ``seconds`` for the whole of a connection, ``body`` in bytes."""

    body: int = USUAL.callback_bytes
    seconds: float = USUAL.callback_seconds
    connections: int = USUAL.callback_connections

    @classmethod
    def of(cls, limits: InputLimits) -> Bounds:
        """The part of a run's limits that is about callers."""
        return cls(limits.callback_bytes, limits.callback_seconds, limits.callback_connections)


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen. Port 0 is any free one; ``rather`` is tried first then."""

    host: str = "127.0.0.1"
    port: int = 0
    rather: int = 0

    @classmethod
    def of(cls, text: str) -> Listen:
        """``HOST:PORT``, ``[::1]:PORT`` or a bare port. Raises ``UsageError``."""
        host, _, port = text.strip().rpartition(":")
        host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
        usable = port.isascii() and port.isdigit() and len(port) <= 5 and int(port) < 65536
        bare = ":" in host and not text.strip().startswith("[")
        if not usable or bare or any(c.isspace() for c in host):
            raise UsageError(f"--listen {text!r} is no address", hint="write HOST:PORT, for instance --listen 127.0.0.1:8787")
        return cls(host or "127.0.0.1", int(port))


def _no_one(lane: str, key: str, notice: CallbackNotice) -> bool:
    """Before the engine is there."""
    del lane, key, notice
    return False


@dataclass(slots=True)
class Receiver:
    """One run's receiver. ``hear`` is set once there is somebody to tell; ``counts`` says what came, by our answer's status."""

    callbacks: Callbacks
    clock: Clock
    bounds: Bounds = field(default_factory=Bounds)
    providers: Mapping[str, Provider] = field(default_factory=dict)
    """Lane -> its adapter, for lanes at work."""
    hear: Hear = _no_one
    counts: Counter[int] = field(default_factory=Counter)
    _open: int = 0

    async def take(self, stream: anyio.abc.ByteStream) -> None:
        """One connection, from its first byte to its end. Raises nothing."""
        async with stream:
            if self._open >= self.bounds.connections:
                return
            self._open += 1
            try:
                with anyio.move_on_after(self.bounds.seconds):
                    await _Call(stream, self).run()
            except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, h11.ProtocolError):
                pass
            except Exception:  # noqa: BLE001  # a stranger's bytes must never end a run that is being paid for
                self.counts[500] += 1
            finally:
                self._open -= 1

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, Mapping[str, JSON]]:
        """(status, acknowledgement) for a whole callback; what it says was handed on."""
        attempt = self.callbacks.recognised(path)
        provider = self.providers.get(attempt.lane) if attempt else None
        if attempt is None or provider is None:
            return 404, {}
        try:
            notice = provider.read_callback(headers, body, self.clock.now())
        except CallsheetError:
            return 400, {}
        if notice is None:
            return 200, {}
        return (200, notice.answer) if self.hear(attempt.lane, attempt.key, notice) else (503, {})

    def known(self, path: str) -> bool:
        """Whether anything is read for this path at all."""
        attempt = self.callbacks.recognised(path)
        return attempt is not None and attempt.lane in self.providers


class _Call:
    """One request and its answer."""

    def __init__(self, stream: anyio.abc.ByteStream, receiver: Receiver) -> None:
        self._stream = stream
        self._receiver = receiver
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=LARGEST_HEAD)

    async def run(self) -> None:
        try:
            request = await self._next()
            if not isinstance(request, h11.Request):
                return
            status, document = await self._handled(request)
        except h11.RemoteProtocolError as error:
            status, document = error.error_status_hint, {}
        self._receiver.counts[status] += 1
        await self._reply(status, document)

    async def _handled(self, request: h11.Request) -> tuple[int, Mapping[str, JSON]]:
        if request.method != b"POST":
            return 405, {}
        path = request.target.partition(b"?")[0].decode("ascii", "replace")
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in request.headers}
        if not self._receiver.known(path):
            return 404, {}
        body = await self._body(headers.get("content-length", "0"))
        return (413, {}) if body is None else self._receiver.answer(path, headers, body)

    async def _body(self, declared: str) -> bytes | None:
        """The whole body; None when it is too large, which is known as soon as it is announced or seen."""
        most = self._receiver.bounds.body
        if not declared.isdigit() or len(declared) > 12 or int(declared) > most:
            return None
        if self._http.they_are_waiting_for_100_continue:
            await self._stream.send(self._http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
        body = bytearray()
        while isinstance(event := await self._next(), h11.Data):
            body += event.data
            if len(body) > most:
                return None
        return bytes(body)

    async def _next(self) -> object:
        """The next part of the request. Raises ``EndOfStream`` when the caller went away in the middle."""
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._stream.receive(CHUNK))
        return event

    async def _reply(self, status: int, document: Mapping[str, JSON]) -> None:
        if self._http.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            return
        body = msgspec.json.encode(document) if status == 200 else b""
        headers = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")]
        headers += [("allow", "POST")] if status == 405 else []
        response = h11.Response(status_code=status, headers=headers)
        parts = [self._http.send(event) or b"" for event in (response, h11.Data(data=body), h11.EndOfMessage())]
        await self._stream.send(b"".join(parts))
        await self._stream.send_eof()
        with anyio.move_on_after(LINGER_SECONDS), suppress(anyio.EndOfStream):
            left = 2 * self._receiver.bounds.body
            while left > 0:
                left -= len(await self._stream.receive(CHUNK))


@asynccontextmanager
async def listening(listen: Listen) -> AsyncIterator[MultiListener[anyio.abc.SocketStream]]:
    """A bound socket. Raises ``UsageError`` when the address cannot be used."""
    listener = await _bound(listen)
    async with listener:
        yield listener


async def _bound(listen: Listen) -> MultiListener[anyio.abc.SocketStream]:
    if listen.port == 0 and listen.rather:
        with suppress(OSError):
            return await anyio.create_tcp_listener(local_host=listen.host, local_port=listen.rather, backlog=1024)
    try:
        return await anyio.create_tcp_listener(local_host=listen.host, local_port=listen.port, backlog=1024)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"cannot listen on {listen.host}:{listen.port}: {error}", hint="choose another address: --listen HOST:PORT"
        ) from None


def local_address(listener: MultiListener[anyio.abc.SocketStream]) -> str:
    """``http://host:port`` of a listener as this machine reaches it."""
    host, port = listener.listeners[0].extra(anyio.abc.SocketAttribute.raw_socket).getsockname()[:2]  # noqa: S610  # no Django
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # compared, not bound
    return f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"


@dataclass(frozen=True, slots=True)
class Ears:
    """A bound socket and the addresses that lead to it; callers wait in its queue until it is opened."""

    listener: MultiListener[anyio.abc.SocketStream]
    callbacks: Callbacks
    clock: Clock = field(default_factory=WallClock)

    @classmethod
    def of(cls, listener: MultiListener[anyio.abc.SocketStream], public: str | None, ledger_id: str) -> Ears:
        """``public`` is the base that providers are told; None: the socket's own address."""
        return cls(listener, Callbacks(public or local_address(listener), ledger_id))

    def open(
        self, providers: Mapping[str, Provider], hear: Hear, bounds: Bounds | None = None
    ) -> AbstractAsyncContextManager[Receiver]:
        """Take callbacks while the context lasts."""
        return receiving(self.listener, Receiver(self.callbacks, self.clock, bounds or Bounds(), providers=providers, hear=hear))


@asynccontextmanager
async def receiving(listener: MultiListener[anyio.abc.SocketStream], receiver: Receiver) -> AsyncIterator[Receiver]:
    """Take callbacks while the context lasts; what is raised inside it comes out as it is."""
    failure: Exception | None = None

    async def serve() -> None:
        while True:
            try:
                await listener.serve(receiver.take)
            except Exception:  # noqa: BLE001  # no file handles left, say: callbacks are hints, the run goes on without
                await anyio.sleep(PAUSE_SECONDS)

    async with anyio.create_task_group() as group:
        group.start_soon(serve)
        try:
            yield receiver
        except Exception as error:  # noqa: BLE001  # raised below: the task group would wrap it
            failure = error
        finally:
            group.cancel_scope.cancel()
    if failure is not None:
        raise failure
