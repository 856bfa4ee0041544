"""How far a request got, and why it failed.

Owns the decision between ``NotSent`` and ``MaybeSent``, and the plain words for a failure. Never quotes a library's
message: these hold URLs with signed queries.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

import httpx

from runner.errors import MaybeSent, NotSent
from runner.wire.addresses import InternalAddress
from runner.wire.options import WireOptions
from runner.wire.proxies import UnusableProxy

_BEFORE_ANY_CONNECTION = (httpx.ConnectError, httpx.PoolTimeout, httpx.UnsupportedProtocol)
"""All that is believed of a transport which does not report its progress. ``ConnectTimeout`` is not among them: httpx-aiohttp
0.2.0 raises it for a server that hung up after the request, too."""


class TornAnswer(Exception):
    """The answer's body is damaged or shorter than announced. The text is safe to show."""


class AnswerTooLarge(Exception):
    """The answer's body is larger than allowed. The text is safe to show."""


@dataclass(slots=True)
class Progress:
    """How far one request got. ``reported``: the transport tells, so that ``sent`` False is proof and not mere ignorance."""

    reported: bool = False
    sent: bool = False

    async def trace(self, event: str, _info: object) -> None:
        """The ``trace`` extension of httpcore: any event of sending a request (or a proxy's CONNECT) counts as sent."""
        self.reported = True
        if ".send_request" in event:
            self.sent = True

    def nothing_left(self, error: BaseException) -> bool:
        """Whether it is proven that no byte of the request left."""
        if self.reported:
            return not self.sent
        return isinstance(error, _BEFORE_ANY_CONNECTION)


def judge(progress: Progress, error: Exception, *, where: str, options: WireOptions) -> NotSent | MaybeSent:
    """The error to raise for a request to ``where`` that failed with ``error``."""
    why = reason(error, options)
    if progress.nothing_left(error):
        return NotSent(f"nothing was sent to {where}: {why}", hint=_advice(error))
    return MaybeSent(
        f"no usable answer from {where}: {why}",
        hint="The request may have arrived: find out before making a paid request again.",
    )


def reason(error: BaseException, options: WireOptions) -> str:
    """Why it failed, in words that hold nothing of the request."""
    links = list(_causes(error))
    for link in links:
        if isinstance(link, AnswerTooLarge):
            return f"{link} (CALLSHEET_NETWORK__MAX_ANSWER_BYTES)"
        if isinstance(link, TornAnswer | InternalAddress | UnusableProxy):
            return str(link)
        if isinstance(link, socket.gaierror):
            return "the host name could not be resolved"
    if any(isinstance(link, ssl.SSLError) for link in links):
        return _tls_reason(links)
    if isinstance(error, httpx.ConnectTimeout | httpx.PoolTimeout):
        return f"no connection within {options.connect_seconds:g} s"
    for link in links:
        if isinstance(link, OSError) and link.errno:
            return os.strerror(link.errno).lower()
    return _by_class(error)


def _tls_reason(links: list[BaseException]) -> str:
    """The libraries wrap ssl's errors in classes that inherit from them without their attributes: hence ``getattr``."""
    for link in links:
        if message := getattr(link, "verify_message", ""):
            return f"its TLS certificate was refused ({message})"
    for link in links:
        if isinstance(link, ssl.SSLError) and (word := getattr(link, "reason", "")):
            return f"TLS failed ({str(word).replace('_', ' ').lower()})"
    return "TLS failed"


def _by_class(error: BaseException) -> str:
    if isinstance(error, TimeoutError | httpx.TimeoutException):
        return "no whole answer within the time limit"
    if isinstance(error, httpx.RemoteProtocolError):
        return "the connection was closed before the answer was whole, or the answer is not HTTP"
    if isinstance(error, httpx.ConnectError):
        return "no connection could be made"
    if isinstance(error, httpx.TransportError | OSError):
        return "the connection broke"
    return type(error).__name__


def _advice(error: Exception) -> str:
    if isinstance(error, UnusableProxy):
        return "Set HTTPS_PROXY to an http:// proxy, or switch proxies off."
    if any(isinstance(link, ssl.SSLError) for link in _causes(error)):
        return "Check the address; a private certificate authority can be named in ca_file."
    return "Check the address and the network; trying again is safe."


def _causes(error: BaseException) -> Iterator[BaseException]:
    """``error``, what caused it, and so on."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
