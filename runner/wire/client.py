"""``HttpWire``: makes one request at a time for whoever asks, and says how far it got.

Owns the choice of connection pool, the time limit of a request, and its headers. Knows no provider.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio
import httpx

from runner import __version__
from runner.errors import MaybeSent, NotSent
from runner.seams import Fetched, Request, Response
from runner.wire.addresses import Resolve, endpoint, look_up, shown
from runner.wire.bodies import Body, decoded, encode
from runner.wire.download import Download
from runner.wire.options import Counters, Use, WireOptions, WireStatistics
from runner.wire.proxies import Proxies
from runner.wire.verdict import Progress, judge

_OURS = {"user-agent": f"callsheet/{__version__}", "accept": "*/*", "accept-encoding": "gzip, deflate"}
_FORBIDDEN_HEADERS = frozenset({"content-length", "transfer-encoding", "host", "connection", "expect"})
"""Set by the wire alone: a wrong one would make the message say something else than it holds."""


class HttpWire:
    """The ``Wire`` over HTTP. Use as an async context manager, or call ``aclose``.

    ``transport`` replaces all connections (httpx's own on trio, ``httpx.ASGITransport`` in-process). ``resolve`` replaces the
    system's name lookup; with a ``transport`` it only serves to tell public links from internal ones.
    """

    def __init__(
        self,
        options: WireOptions | None = None,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        resolve: Resolve | None = None,
    ) -> None:
        self._options = options or WireOptions()
        self._given = transport
        self._resolve = resolve or look_up
        self._proxies = Proxies(enabled=self._options.use_proxies)
        self._pools: dict[Use, httpx.AsyncBaseTransport] = {}
        self._tls_context: ssl.SSLContext | None = None
        self._counters = Counters()
        self._slots = anyio.CapacityLimiter(self._options.downloads)
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection; later requests raise ``NotSent``."""
        self._closed = True
        pools, self._pools = self._pools, {}
        for pool in {id(one): one for one in pools.values()}.values():
            await pool.aclose()

    async def send(self, request: Request, *, base_url: str, headers: Mapping[str, str]) -> Response:
        """Make one request, once. Any HTTP status is a normal answer, redirects included.

        ``headers`` are the account's credentials; they travel only with a ``signed`` request. Raises ``NotSent`` when it is proven
        that nothing left, else ``MaybeSent``.
        """
        if self._closed:
            raise NotSent("the wire is closed", hint="Run again.")
        url = endpoint(base_url, request.path, request.query)
        body = await encode(request)
        try:
            message = _message(request, url, body, headers)
            return await self._exchange(message, request, body)
        finally:
            await body.stream.aclose()

    async def fetch(self, url: str, into: Path, *, max_bytes: int) -> Fetched:
        """Stream ``url`` into the new file ``into``, following at most five redirects. No credentials travel.

        Raises ``DownloadFailed``; then ``into`` does not exist (unless it did before).
        """
        async with self._slots:
            self._counters.downloads_running += 1
            try:
                done = await Download(self, url, max_bytes).into(into)
            finally:
                self._counters.downloads_running -= 1
        self._counters.downloads += 1
        self._counters.bytes_received += done.bytes
        return done

    async def open(self, message: httpx.Request, use: Use) -> httpx.Response:
        """The head of an answer, for ``Download``: no verdict, no time limit. Raises httpx's errors."""
        if self._closed:
            raise httpx.ConnectError("the wire is closed")
        self._counters.requests += 1
        return await self._pool(use).handle_async_request(message)

    async def resolve(self, host: str, port: int) -> list[str]:
        """IP addresses of a host. Raises ``OSError``."""
        return list(await self._resolve(host, port))

    @property
    def options(self) -> WireOptions:
        """The limits in force."""
        return self._options

    @property
    def connects(self) -> bool:
        """False when the transport was given from outside, so that host names need not exist."""
        return self._given is None

    def statistics(self) -> WireStatistics:
        """What was done so far, and what is open now."""
        counted = self._counters
        return WireStatistics(
            requests=counted.requests,
            not_sent=counted.not_sent,
            maybe_sent=counted.maybe_sent,
            bytes_sent=counted.bytes_sent,
            bytes_received=counted.bytes_received,
            downloads=counted.downloads,
            downloads_running=counted.downloads_running,
            open_connections=sum(_open_connections(pool) for pool in self._pools.values()),
        )

    async def _exchange(self, message: httpx.Request, request: Request, body: Body) -> Response:
        limit = self._options.answer_seconds + (body.length or 0) / self._options.upload_bytes_per_second
        pool = self._pool(Use.PAY if request.paid else Use.ASK)
        progress = Progress(reported=type(pool) is httpx.AsyncHTTPTransport)
        message.extensions = _extensions(progress, self._options)
        self._counters.requests += 1
        try:
            with anyio.fail_after(limit):
                answer = await self._read(pool, message)
        except Exception as error:
            raise self._verdict(progress, error, message.url) from error
        self._counters.bytes_sent += body.length or 0
        self._counters.bytes_received += len(answer.body)
        return answer

    async def _read(self, pool: httpx.AsyncBaseTransport, message: httpx.Request) -> Response:
        response = await pool.handle_async_request(message)
        try:
            async with aclosing(decoded(response, self._options.max_answer_bytes, method=message.method)) as pieces:
                parts = [piece async for piece in pieces]
        finally:
            with anyio.CancelScope(shield=True):
                await response.aclose()
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        return Response(response.status_code, dict(response.headers.items()), body)

    def _verdict(self, progress: Progress, error: Exception, url: httpx.URL) -> NotSent | MaybeSent:
        verdict = judge(progress, error, where=shown(url), options=self._options)
        if isinstance(verdict, NotSent):
            self._counters.not_sent += 1
        else:
            self._counters.maybe_sent += 1
        return verdict

    def _pool(self, use: Use) -> httpx.AsyncBaseTransport:
        pool = self._pools.get(use)
        if pool is None:
            pool = self._pools[use] = self._given or self._new_pool(use)
        return pool

    def _new_pool(self, use: Use) -> httpx.AsyncBaseTransport:
        if not _on_asyncio():
            idle = 0 if use is Use.PAY else 20
            limits = httpx.Limits(max_connections=self._options.connections, max_keepalive_connections=idle)
            return httpx.AsyncHTTPTransport(verify=self._tls(), trust_env=False, limits=limits)
        from runner.wire.transport import AiohttpTransport

        idle_seconds = {"idle_seconds": self._options.paid_idle_seconds} if use is Use.PAY else {}
        return AiohttpTransport(
            self._options,
            tls=self._tls,
            resolve=self._resolve,
            proxies=self._proxies,
            public_only=use is Use.REDIRECTED,
            **idle_seconds,
        )

    def _tls(self) -> ssl.SSLContext:
        """The system's certificate authorities, certifi's (for machines without any), and those of ``ca_file``."""
        if self._tls_context is None:
            import certifi

            context = ssl.create_default_context()
            context.load_verify_locations(certifi.where())
            if self._options.ca_file is not None:
                context.load_verify_locations(self._options.ca_file)
            context.set_alpn_protocols(["http/1.1"])
            self._tls_context = context
        return self._tls_context


@dataclass(frozen=True, slots=True)
class _Header:
    name: str
    value: str


def _message(request: Request, url: httpx.URL, body: Body, credentials: Mapping[str, str]) -> httpx.Request:
    """The request with all its headers; the adapter's win over the account's, and these over ours. Raises ``NotSent``."""
    merged: dict[str, _Header] = {name: _Header(name, value) for name, value in _OURS.items()}
    merged["host"] = _Header("host", url.netloc.decode("ascii"))
    if body.content_type is not None:
        merged["content-type"] = _Header("content-type", body.content_type)
    if body.length is not None or request.method.upper() in {"POST", "PUT", "PATCH"}:
        merged["content-length"] = _Header("content-length", str(body.length or 0))
    for name, value in [*(credentials.items() if request.signed else ()), *request.headers.items()]:
        if name.lower() not in _FORBIDDEN_HEADERS:
            merged[name.lower()] = _checked(name, value)
    method = request.method.upper()
    if not (method.isascii() and method.isalpha()):
        raise NotSent("the request's method is not a word", hint="This is a fault of the adapter: report it.")
    return httpx.Request(method, url, headers=[(h.name, h.value) for h in merged.values()], stream=body.stream)


_NAME_CHARACTERS = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


def _checked(name: str, value: str) -> _Header:
    if not name or not set(name) <= _NAME_CHARACTERS:
        raise NotSent("a header's name holds a character that HTTP does not allow", hint="Check the adapter's headers.")
    if not (value.isascii() and value.isprintable()) or value != value.strip():
        raise NotSent(
            f"the header {name} holds a character that HTTP does not allow",
            hint="Check the credentials for line breaks, blanks and typographic characters.",
        )
    return _Header(name, value)


def _extensions(progress: Progress, options: WireOptions) -> dict[str, object]:
    """What a transport needs to know: limits under httpx's names, and whom to tell how far it got."""
    timeout = {
        "connect": options.connect_seconds,
        "pool": options.connect_seconds,
        "read": None,
        "write": None,
    }
    return {"timeout": timeout, "progress": progress, "trace": progress.trace}


def _open_connections(pool: httpx.AsyncBaseTransport) -> int:
    count = getattr(pool, "open_connections", None)
    return int(count()) if callable(count) else 0


def _on_asyncio() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
