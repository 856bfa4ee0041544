"""Proxies from the environment: who goes through one, who never does, and what counts as sent then."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import anyio
import httpx
import pytest
from hangup import Hangup, Visit, mute, polite

from runner.errors import DownloadFailed, MaybeSent, NotSent
from runner.seams import Request
from runner.wire import HttpWire, WireOptions
from runner.wire.proxies import Proxies, UnusableProxy

QUICK = WireOptions(connect_seconds=0.5, answer_seconds=0.8)
SUBMIT = Request("POST", "/v1", json={}, paid=True)


class ProxyVariables:
    """The process's proxy variables, emptied for a test and put back afterwards."""

    def __init__(self) -> None:
        self._before = dict(os.environ)
        for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
            del os.environ[name]

    def set(self, **values: str) -> None:
        """Set variables such as ``http_proxy``."""
        os.environ.update(values)

    def restore(self) -> None:
        """As it was."""
        os.environ.clear()
        os.environ.update(self._before)


@pytest.fixture
def variables() -> Iterator[ProxyVariables]:
    """An environment without proxies."""
    variables = ProxyVariables()
    yield variables
    variables.restore()


async def refuse_tunnel(visit: Visit) -> None:
    """A proxy that does not allow the tunnel."""
    await visit.head()
    await visit.answer(b"", status="403 Forbidden")


def test_the_environment_is_followed_except_for_this_machine(variables: ProxyVariables) -> None:
    """Schemes, NO_PROXY and loopback are told apart; switched off, there is no proxy at all."""
    variables.set(https_proxy="http://proxy:1", http_proxy="proxy:2", no_proxy="inside.example,.corp")
    proxies = Proxies(enabled=True)
    assert proxies.for_url(httpx.URL("https://api.example/x")) == "http://proxy:1"
    assert proxies.for_url(httpx.URL("http://api.example/x")) == "http://proxy:2"
    for direct in ("https://inside.example", "https://a.corp", "http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1"):
        assert proxies.for_url(httpx.URL(direct)) is None
    assert Proxies(enabled=False).for_url(httpx.URL("https://api.example")) is None


def test_a_socks_proxy_is_refused_plainly(variables: ProxyVariables) -> None:
    """A proxy of a kind we cannot use is never silently skipped."""
    variables.set(all_proxy="socks5://user:hunter2@127.0.0.1:9")

    async def run() -> None:
        async with HttpWire(QUICK) as wire:
            with pytest.raises(NotSent, match="not an http:// proxy") as raised:
                await wire.send(SUBMIT, base_url="https://api.example", headers={})
            assert "hunter2" not in raised.value.message

    anyio.run(run)
    with pytest.raises(UnusableProxy):
        Proxies(enabled=True).for_url(httpx.URL("https://api.example"))


def test_plain_requests_through_a_proxy_count_as_sent(variables: ProxyVariables) -> None:
    """What a proxy has received may have gone further."""

    async def run() -> None:
        async with Hangup(polite) as proxy:
            variables.set(http_proxy=proxy.url.replace("//", "//user:word@"))
            async with HttpWire(QUICK) as wire:
                answer = await wire.send(SUBMIT, base_url="http://api.example", headers={})
                assert answer.status == 200
            assert proxy.heads[0].startswith(b"POST http://api.example/v1 HTTP/1.1")
            assert b"Proxy-Authorization: Basic dXNlcjp3b3Jk" in proxy.heads[0]
        async with Hangup(mute) as proxy:
            variables.set(http_proxy=proxy.url)
            async with HttpWire(QUICK) as wire:
                with pytest.raises(MaybeSent):
                    await wire.send(SUBMIT, base_url="http://api.example", headers={})

    anyio.run(run)


def test_a_tunnel_that_is_refused_is_not_sent(variables: ProxyVariables) -> None:
    """Asking a proxy for a tunnel sends nothing of the request: refused, closed or silent, it is NotSent."""

    async def closing(visit: Visit) -> None:
        await visit.head()

    async def run() -> None:
        for script in (refuse_tunnel, closing, mute):
            async with Hangup(script) as proxy:
                variables.set(https_proxy=proxy.url)
                async with HttpWire(QUICK) as wire:
                    with pytest.raises(NotSent):
                        await wire.send(SUBMIT, base_url="https://api.example", headers={"Authorization": "Bearer s3cret"})
                assert not any(b"s3cret" in head for head in proxy.heads)
                assert proxy.connections == 1

    anyio.run(run)


def test_a_redirect_cannot_lead_to_the_proxy_itself(variables: ProxyVariables, tmp_path: Path) -> None:
    """The proxy may be internal, and still no public link leads to it as a host."""

    async def redirect(visit: Visit) -> None:
        await visit.head()
        await visit.answer(b"", status="302 Found", headers=f"Location: http://{names.proxy}/admin\r\nConnection: close\r\n")

    class Names:
        """Resolves the proxy to this machine."""

        proxy = "proxy.example"

        async def __call__(self, host: str, _port: int) -> Sequence[str]:
            return ["127.0.0.1"] if host == self.proxy else ["8.8.8.8"]

    names = Names()

    async def run() -> None:
        async with Hangup(redirect) as proxy:
            variables.set(http_proxy=f"http://{names.proxy}:{proxy.port}")
            async with HttpWire(QUICK, resolve=names) as wire:
                with pytest.raises(DownloadFailed, match="proxy itself"):
                    await wire.fetch("http://cdn.example/v", tmp_path / "v", max_bytes=10)
            assert proxy.connections == 1

    anyio.run(run)
