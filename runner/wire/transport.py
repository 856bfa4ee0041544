"""aiohttp under httpx's one-method seam, with the hooks that tell what left the machine.

Owns sessions, sockets and TLS on asyncio. Never repeats a request, follows a redirect, keeps a cookie, or reads
``.netrc``. Imported only when a connection is made on asyncio, since aiohttp is slow to load.
"""

from __future__ import annotations

import socket
import weakref
from collections.abc import AsyncGenerator, Callable
from contextlib import contextmanager
from ssl import SSLContext
from types import SimpleNamespace
from typing import TYPE_CHECKING

import aiohttp
import httpx
import yarl
from aiohttp.abc import AbstractResolver, ResolveResult

from runner.wire.addresses import InternalAddress, Resolve, is_internal
from runner.wire.bodies import BLOCK
from runner.wire.options import WireOptions
from runner.wire.proxies import Proxies
from runner.wire.verdict import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiohttp.client_middlewares import ClientHandlerType
    from aiohttp.connector import AddrInfoType

_LONGEST_HEADER = 64 * 1024
_IDLE_SECONDS = 15.0
_AUTOMATIC = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
"""Headers that aiohttp would add by itself. A pre-signed upload must not carry a type that was not signed."""


class Sockets:
    """Makes the sockets and remembers which are still open."""

    def __init__(self) -> None:
        self._made: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    def make(self, address: AddrInfoType) -> socket.socket:
        """A new socket for one of a host's addresses."""
        family, kind, protocol, _, _ = address
        made = socket.socket(family, kind, protocol)
        self._made.add(made)
        return made

    def open(self) -> int:
        """How many are open now."""
        return sum(one.fileno() >= 0 for one in self._made)


class AiohttpTransport(httpx.AsyncBaseTransport):
    """One pool of connections.

    ``idle_seconds`` 0 gives every request a connection of its own. ``public_only`` refuses every name that leads to an internal
    address, at the moment of connecting. A request's ``progress`` extension (a ``Progress``) is told when its head is sent.
    """

    def __init__(
        self,
        options: WireOptions,
        *,
        tls: Callable[[], SSLContext],
        resolve: Resolve,
        proxies: Proxies,
        idle_seconds: float = _IDLE_SECONDS,
        public_only: bool = False,
    ) -> None:
        self._options = options
        self._tls = tls
        self._public_only = public_only
        self._resolver = _Resolver(resolve, refuses=self._must_be_public)
        self._proxies = proxies
        self._idle_seconds = idle_seconds
        self._session: aiohttp.ClientSession | None = None
        self._sockets = Sockets()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Make one request; the answer's body is still to be read. Raises httpx's errors."""
        progress: Progress = request.extensions.get("progress") or Progress()
        progress.reported = True
        proxy = self._proxies.for_url(request.url)
        if self._public_only and request.url.host in self._proxies.hosts:
            raise InternalAddress("a public link leads to the proxy itself")
        session = self._session or self._open()
        with _httpx_errors():
            answer = await session.request(
                request.method,
                yarl.URL(str(request.url), encoded=True),
                headers=request.headers.multi_items(),
                data=_payload(request),
                allow_redirects=False,
                proxy=proxy,
                ssl=self._tls() if request.url.scheme == "https" else True,
                timeout=aiohttp.ClientTimeout(connect=self._options.connect_seconds, sock_connect=self._options.connect_seconds),
                trace_request_ctx=progress,
            )
        return httpx.Response(
            answer.status, headers=list(answer.raw_headers), stream=_AnswerStream(answer), extensions=dict(request.extensions)
        )

    def open_connections(self) -> int:
        """Sockets open now."""
        return self._sockets.open()

    async def aclose(self) -> None:
        """Close every connection."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _must_be_public(self, host: str) -> bool:
        """A proxy may be internal: it is the one that looks up and reaches the link's host, beyond our sight."""
        return self._public_only and host not in self._proxies.hosts

    def _open(self) -> aiohttp.ClientSession:
        always_new = self._idle_seconds <= 0
        connector = aiohttp.TCPConnector(
            limit=self._options.connections,
            resolver=self._resolver,
            force_close=always_new,
            keepalive_timeout=None if always_new else self._idle_seconds,
            socket_factory=self._sockets.make,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=BLOCK,
            max_line_size=_LONGEST_HEADER,
            max_field_size=_LONGEST_HEADER,
            skip_auto_headers=_AUTOMATIC,
            trace_configs=[_reporting()],
            middlewares=(_only_once,),
            timeout=aiohttp.ClientTimeout(total=None),
        )
        return self._session


class _Resolver(AbstractResolver):
    """Name lookup for aiohttp. One internal address among many refuses the name, where ``refuses`` says so."""

    def __init__(self, resolve: Resolve, *, refuses: Callable[[str], bool]) -> None:
        self._resolve = resolve
        self._refuses = refuses

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[ResolveResult]:
        addresses = await self._resolve(host, port)
        if self._refuses(host) and any(is_internal(address) for address in addresses):
            raise InternalAddress("a public link leads to an internal address")
        found = [_resolved(host, port, address) for address in addresses]
        wanted = [one for one in found if family in {socket.AF_UNSPEC, one["family"]}]
        if not wanted:
            raise socket.gaierror(socket.EAI_NONAME, "the name has no address")
        return wanted

    async def close(self) -> None:
        """Nothing to close."""


def _resolved(host: str, port: int, address: str) -> ResolveResult:
    return ResolveResult(
        hostname=host,
        host=address,
        port=port,
        family=socket.AF_INET6 if ":" in address else socket.AF_INET,
        proto=socket.IPPROTO_TCP,
        flags=socket.AI_NUMERICHOST,
    )


class _AnswerStream(httpx.AsyncByteStream):
    """An answer's raw body, as it comes."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        with _httpx_errors():
            async for chunk in self._answer.content.iter_any():
                yield chunk

    async def aclose(self) -> None:
        """Give the connection back when the body was read to its end, else close it."""
        self._answer.close()


class _Broken(aiohttp.ClientError):
    """A connection that broke after it was made; aiohttp does not repeat what fails with this."""


async def _only_once(request: aiohttp.ClientRequest, handler: ClientHandlerType) -> aiohttp.ClientResponse:
    """Left alone, aiohttp repeats a GET or PUT by itself when a reused connection breaks. Here every request is made once."""
    try:
        return await handler(request)
    except (aiohttp.ClientConnectorError, aiohttp.ServerTimeoutError):
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _Broken from error


def _reporting() -> aiohttp.TraceConfig:
    """The hook that runs right before a request's first byte is handed to its connection."""

    async def head_leaves(_session: object, context: SimpleNamespace, _facts: object) -> None:
        context.trace_request_ctx.sent = True

    config = aiohttp.TraceConfig()
    config.on_request_headers_sent.append(head_leaves)
    return config


def _payload(request: httpx.Request) -> bytes | httpx.AsyncByteStream | None:
    stream = request.stream
    if isinstance(stream, httpx.ByteStream):
        return b"".join(stream) or None
    return stream if isinstance(stream, httpx.AsyncByteStream) else None


@contextmanager
def _httpx_errors() -> Iterator[None]:
    """The errors of aiohttp under httpx's names. They serve for words only: what was sent is ``Progress``'s to say."""
    try:
        yield
    except aiohttp.ConnectionTimeoutError as error:
        raise httpx.ConnectTimeout("no connection in time") from error
    except aiohttp.ClientConnectorError as error:
        raise httpx.ConnectError("no connection") from error
    except aiohttp.InvalidURL as error:
        raise httpx.UnsupportedProtocol("the address cannot be used") from error
    except (_Broken, aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError, aiohttp.ClientResponseError) as error:
        raise httpx.RemoteProtocolError("the answer broke off") from error
    except aiohttp.ClientError as error:
        raise httpx.NetworkError("the connection broke") from error
