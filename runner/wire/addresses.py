"""URLs and addresses: building them, showing them without secrets, and telling public from internal ones.

Owns every judgement about where a request may go. Makes no request; the only I/O is the name lookup in ``look_up``.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeAlias
from urllib.parse import quote, urlencode

import anyio
import httpx

from runner.errors import NotSent

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""(host, port) -> IP addresses as text, never empty. Raises ``OSError`` when the name has none."""

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_SHOWN_CHARACTERS = 200


class InternalAddress(OSError):
    """A public link led to an address inside somebody's network."""


async def look_up(host: str, port: int) -> Sequence[str]:
    """IP addresses of ``host``, in the system's order of preference. Raises ``OSError``."""
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def parse(text: str) -> httpx.URL:
    """An absolute http or https URL without fragment. Raises ``ValueError`` with a reason that quotes nothing secret."""
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        raise ValueError("it is not a URL") from error
    if url.scheme not in {"http", "https"}:
        raise ValueError("only http and https are allowed")
    if not url.host:
        raise ValueError("it names no host")
    if url.userinfo:
        raise ValueError("it holds a user name or password")
    return url.copy_with(fragment=None) if url.fragment else url


def endpoint(base_url: str, path: str, query: Mapping[str, str | int]) -> httpx.URL:
    """Where a request goes: ``path`` below ``base_url``, or ``path`` itself when it is a whole URL.

    An existing query is kept to the letter, since it may be signed. Raises ``NotSent``.
    """
    text = path
    if not path.lower().startswith(("http://", "https://")):
        if not path.startswith("/"):
            raise NotSent("the request's path does not begin with '/'", hint="This is a fault of the adapter: report it.")
        text = base_url.rstrip("/") + path
    if query:
        text += ("&" if "?" in text else "?") + urlencode(query, quote_via=quote)
    try:
        return parse(text)
    except ValueError as error:
        raise NotSent(f"the address {shown(text)} cannot be used: {error}", hint="Check the provider's base_url.") from error


def shown(url: httpx.URL | str) -> str:
    """The URL for people: no query, no user name, no password, cut to a readable length."""
    text = str(url)
    head, has_query, _ = text.partition("?")
    head = head.partition("#")[0]
    scheme, has_scheme, rest = head.partition("://")
    if has_scheme:
        authority, slash, tail = rest.partition("/")
        head = f"{scheme}://{authority.rpartition('@')[2]}{slash}{tail}"
    printable = "".join(c if c.isprintable() else "?" for c in head)
    if len(printable) > _SHOWN_CHARACTERS:
        printable = printable[:_SHOWN_CHARACTERS] + "…"
    return f"{printable}?…" if has_query else printable


def is_internal(address: str) -> bool:
    """Whether an IP address is anything but a public one: loopback, private, link-local, shared, reserved, multicast.

    IPv6 forms that carry an IPv4 address are judged by that address.
    """
    try:
        ip: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return True
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        ip = inner or ip
    return not ip.is_global or ip.is_multicast


def literal(host: str) -> str | None:
    """The IP address when ``host`` is written as one, else None. ``localhost`` and its kin count as 127.0.0.1."""
    bare = host.strip("[]").rstrip(".").lower()
    if bare == "localhost" or bare.endswith(".localhost"):
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(bare.partition("%")[0]))
    except ValueError:
        return None


def is_this_machine(host: str) -> bool:
    """Whether ``host`` plainly names the machine we run on."""
    address = literal(host)
    if address is None:
        return False
    ip = ipaddress.ip_address(address)
    return ip.is_loopback or ip.is_unspecified
