"""Which proxy, if any, the environment asks for.

Owns the reading of HTTP_PROXY and its kin. Never reads ``.netrc``: credentials come from the caller or not at all.
"""

from __future__ import annotations

import urllib.request
from urllib.parse import urlsplit

import httpx

from runner.wire.addresses import is_this_machine


class UnusableProxy(OSError):
    """The environment names a proxy of a kind that cannot be used."""


class Proxies:
    """The environment's proxies, read once. ``enabled`` False: there are none."""

    def __init__(self, *, enabled: bool) -> None:
        self._by_scheme = urllib.request.getproxies() if enabled else {}
        self.hosts = frozenset(_host(proxy) for proxy in self._by_scheme.values()) - {""}
        """Host names of the proxies themselves."""
        self._known: dict[tuple[str, str], str | None] = {}

    def for_url(self, url: httpx.URL) -> str | None:
        """The proxy's URL, or None for a direct connection. Raises ``UnusableProxy`` (a SOCKS proxy, or nonsense)."""
        if not self._by_scheme:
            return None
        key = (url.scheme, url.host)
        if key not in self._known:
            self._known[key] = self._choose(url)
        return self._known[key]

    def _choose(self, url: httpx.URL) -> str | None:
        proxy = self._by_scheme.get(url.scheme) or self._by_scheme.get("all")
        if not proxy or is_this_machine(url.host) or urllib.request.proxy_bypass(url.host):
            return None
        if "://" not in proxy:
            proxy = f"http://{proxy}"
        if not proxy.lower().startswith(("http://", "https://")):
            raise UnusableProxy("the proxy in the environment is not an http:// proxy")
        return proxy


def _host(proxy: str) -> str:
    try:
        return urlsplit(proxy if "://" in proxy else f"http://{proxy}").hostname or ""
    except ValueError:
        return ""
