"""Requests, replies and refusals over bare ASGI. Knows HTTP and JSON, nothing of providers.

Bare ASGI rather than a framework: a reply costs tens of microseconds, and a fault can close the connection.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl, quote, unquote

import msgspec

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

LARGEST_BODY = 64 * 1024 * 1024
CHUNK = 256 * 1024
SEEN = 64 * 1024
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class ConnectionCut(ConnectionError):
    """In-process stand-in for a connection that the server closed without a (whole) reply."""


class TooLarge(ValueError):
    """The body is larger than anybody takes."""


class NotJson(ValueError):
    """The body is not JSON."""


class Refusal(Exception):
    """A provider says no. ``code`` is its own error code; ``detail`` whatever its error body carries besides."""

    def __init__(self, code: str, message: str = "", *, status: int = 0, detail: object = None, retry_after: float = 0) -> None:
        super().__init__(message or code)
        self.code = code
        self.message = message
        self.status = status
        self.detail = detail
        self.retry_after = retry_after


@dataclass(slots=True)
class Request:
    """One request as a provider sees it: ``path`` as sent, without the mount; ``base`` the address the client used."""

    method: str
    path: str
    query_string: str
    headers: dict[str, str]
    body: bytes
    base: str
    mount: str = ""
    params: tuple[str, ...] = ()
    _query: dict[str, str] | None = None

    @property
    def query(self) -> dict[str, str]:
        """Query parameters; of repeated names the last."""
        if self._query is None:
            self._query = dict(parse_qsl(self.query_string, keep_blank_values=True))
        return self._query

    def json(self) -> object:
        """The body as JSON; raises NotJson."""
        try:
            return _decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise NotJson(str(error)) from None

    def text(self) -> str:
        """Path, query and both ends of the body: what a fault rule's ``key`` is looked for in."""
        body = self.body if len(self.body) <= 2 * SEEN else self.body[:SEEN] + self.body[-SEEN:]
        return f"{self.path}?{self.query_string}\n" + body.decode("utf-8", "replace")


@dataclass(slots=True)
class Reply:
    """One reply. ``refusal`` is the code to count it under; ``cut`` makes the connection close instead or halfway."""

    status: int
    body: bytes
    media_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    refusal: str = ""
    cut: Literal["", "whole", "half"] = ""
    head: bool = False


def json_reply(value: object, status: int = 200, **headers: str) -> Reply:
    """``value`` as JSON; header names are given with underscores."""
    return Reply(status, _encode(value), headers={name.replace("_", "-"): text for name, text in headers.items()})


def html_reply(status: int, title: str) -> Reply:
    """A bare page as web servers and gateways send."""
    page = f"<html>\r\n<head><title>{status} {title}</title></head>\r\n<body><h1>{status} {title}</h1></body>\r\n</html>\r\n"
    return Reply(status, page.encode(), "text/html")


Handler = Callable[[Request], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Route:
    """A method and a path pattern (``/v1/videos/{id}``) with its operation's name and handler."""

    method: str
    pattern: str
    operation: str
    handler: Handler


class Router:
    """Finds the route for a path: fixed paths by one lookup, patterns in the given order."""

    def __init__(self, routes: list[Route]) -> None:
        self._fixed: dict[str, dict[str, Route]] = {}
        self._patterns: list[tuple[re.Pattern[str], dict[str, Route]]] = []
        by_pattern: dict[str, dict[str, Route]] = {}
        for route in routes:
            by_pattern.setdefault(route.pattern, {})[route.method] = route
        for pattern, methods in by_pattern.items():
            if "{" in pattern:
                self._patterns.append((re.compile(re.sub(r"\{\w+\}", "([^/]+)", pattern)), methods))
            else:
                self._fixed[pattern] = methods

    def find(self, path: str) -> tuple[dict[str, Route], tuple[str, ...]] | None:
        """The routes of a path by method, and what stood in the pattern's braces; None when there is none."""
        fixed = self._fixed.get(path)
        if fixed is not None:
            return fixed, ()
        for pattern, methods in self._patterns:
            match = pattern.fullmatch(path)
            if match:
                return methods, tuple(unquote(group) for group in match.groups())
        return None


async def read_request(scope: Scope, receive: Receive) -> Request | None:
    """The whole request; None when the client went away. Raises TooLarge."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > LARGEST_BODY:
            raise TooLarge
        parts.append(chunk)
        if not message.get("more_body", False):
            break
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    host = headers.get("host", "127.0.0.1")
    return Request(
        method=scope["method"],
        path=(scope.get("raw_path") or quote(scope["path"]).encode()).decode("latin-1"),
        query_string=scope.get("query_string", b"").decode("latin-1"),
        headers=headers,
        body=b"".join(parts),
        base=f"{scope.get('scheme', 'http')}://{host}",
    )


async def send_reply(scope: Scope, receive: Receive, send: Send, reply: Reply) -> None:
    """Send ``reply``, or cut the connection as it says (ConnectionCut where there is no socket)."""
    if reply.cut == "whole":
        await cut_connection(scope, receive)
        return
    headers = [(b"content-type", reply.media_type.encode()), (b"content-length", str(len(reply.body)).encode())]
    headers += [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers.items()]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    if reply.head:
        await send({"type": "http.response.body", "body": b""})
        return
    if reply.cut == "half":
        await send({"type": "http.response.body", "body": reply.body[: len(reply.body) // 2], "more_body": True})
        await cut_connection(scope, receive)
        return
    body = reply.body
    while len(body) > CHUNK:
        await send({"type": "http.response.body", "body": body[:CHUNK], "more_body": True})
        body = body[CHUNK:]
    await send({"type": "http.response.body", "body": body})


async def cut_connection(scope: Scope, receive: Receive) -> None:
    """Close the TCP connection now. The server's protocol hands in the way to do it; in process there is none to close."""
    means = (scope.get("extensions") or {}).get("simulator.cut")
    if means is None:
        raise ConnectionCut("the simulated provider closed the connection")
    means["close"]()
    while (await receive())["type"] != "http.disconnect":
        pass
