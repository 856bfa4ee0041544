"""Result links into files: what is kept, what is refused, and where a redirect may lead."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import anyio
import httpx
import pytest
import trio.testing
from hangup import Hangup, Visit

from runner.errors import DownloadFailed
from runner.seams import Fetched
from runner.wire import HttpWire, WireOptions
from runner.wire.addresses import is_internal, literal, shown

OPTIONS = WireOptions(connect_seconds=2, stall_seconds=0.3, download_seconds=0.8, use_proxies=False)
MOVIE = bytes(range(256)) * 4000


def serving(body: bytes, *, status: str = "200 OK", headers: str = "") -> Callable[[Visit], Awaitable[None]]:
    """Answers one request with ``body``."""

    async def script(visit: Visit) -> None:
        await visit.head()
        await visit.answer(body, status=status, headers=headers + "Connection: close\r\n")

    return script


def fetch(
    script: Callable[[Visit], Awaitable[None]], into: Path, *, max_bytes: int = 10**7, path: str = "/v.mp4?sig=hidden"
) -> Fetched:
    """Download one file from a scripted server."""

    async def run() -> Fetched:
        async with Hangup(script) as server, HttpWire(OPTIONS) as wire:
            return await wire.fetch(server.url + path, into, max_bytes=max_bytes)

    return anyio.run(run)


def failure(script: Callable[[Visit], Awaitable[None]], into: Path, *, max_bytes: int = 10**7) -> DownloadFailed:
    """How a download failed; asserts that nothing is left behind and nothing secret is said."""
    with pytest.raises(DownloadFailed) as raised:
        fetch(script, into, max_bytes=max_bytes)
    assert not into.exists()
    assert "hidden" not in raised.value.message
    assert raised.value.hint
    return raised.value


@pytest.mark.parametrize("size", [0, 1, 256 * 1024, len(MOVIE)])
def test_a_file_is_stored_with_its_digest(tmp_path: Path, size: int) -> None:
    """The file's bytes, digest, type and length are what the server gave."""
    body = MOVIE[:size]
    done = fetch(serving(body, headers="Content-Type: video/mp4\r\n"), tmp_path / "v.mp4")
    assert done.path.read_bytes() == body
    assert done == Fetched(tmp_path / "v.mp4", size, hashlib.sha256(body).hexdigest(), "video/mp4", size)


def test_a_file_without_length_is_stored(tmp_path: Path) -> None:
    """Chunked transfer has no declared length."""

    async def chunked(visit: Visit) -> None:
        await visit.head()
        await visit.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n2\r\nef\r\n0\r\n\r\n")

    done = fetch(chunked, tmp_path / "v.mp4")
    assert (done.path.read_bytes(), done.declared_length, done.content_type) == (b"abcdef", None, "")


def test_a_compressed_transfer_is_unpacked(tmp_path: Path) -> None:
    """A file that was compressed for its journey is stored as it is."""
    done = fetch(serving(gzip.compress(MOVIE), headers="Content-Encoding: gzip\r\n"), tmp_path / "v.mp4")
    assert done.path.read_bytes() == MOVIE
    assert (done.bytes, done.declared_length) == (len(MOVIE), None)


def test_no_credentials_travel(tmp_path: Path) -> None:
    """A result link sees no authorisation, no cookie, and no body."""

    async def run() -> None:
        async with Hangup(serving(b"x")) as server, HttpWire(OPTIONS) as wire:
            await wire.fetch(server.url + "/v.mp4", tmp_path / "v", max_bytes=10)
            head = server.heads[0].lower()
            assert not any(word in head for word in (b"authorization", b"cookie", b"x-api", b"content-length"))

    anyio.run(run)


@pytest.mark.parametrize(
    ("status", "expired"), [(403, True), (404, True), (410, True), (401, False), (500, False), (206, False), (204, False)]
)
def test_other_statuses_fail(tmp_path: Path, status: int, expired: bool) -> None:
    """403, 404 and 410 say that a fresh link may help; nothing but a whole file is success."""
    failed = failure(serving(b"" if status == 204 else b"<xml/>", status=f"{status} No"), tmp_path / "v.mp4")
    assert (failed.status, failed.expired) == (status, expired)


async def torn(visit: Visit) -> None:
    """Closes in the middle."""
    await visit.head()
    await visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"a" * 500_000)


async def stalled(visit: Visit) -> None:
    """Stops in the middle and stays."""
    await torn(visit)
    await visit.reader.read()


async def dripping(visit: Visit) -> None:
    """Sends a byte now and then."""
    await visit.head()
    await visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        await visit.send(b"a")
        await anyio.sleep(0.02)


async def reset(visit: Visit) -> None:
    """Resets in the middle."""
    await torn(visit)
    visit.reset()


async def overflowing(visit: Visit) -> None:
    """Sends without end."""
    await visit.head()
    await visit.send(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        await visit.send(b"a" * 65536)


@pytest.mark.parametrize("script", [torn, stalled, dripping, reset, overflowing], ids=lambda script: script.__name__)
def test_broken_transfers_fail_and_leave_nothing(tmp_path: Path, script: Callable[[Visit], Awaitable[None]]) -> None:
    """A torn, stalled, dripping, reset or endless transfer ends as DownloadFailed, without a file."""
    failed = failure(script, tmp_path / "v.mp4", max_bytes=3_000_000)
    assert (failed.status, failed.expired) == (0, False)


def test_too_large_is_refused_by_announcement_and_by_count(tmp_path: Path) -> None:
    """A file above the limit is refused, whether it is announced, plain, or unpacked."""
    assert "announces" in failure(serving(b"a" * 101), tmp_path / "v", max_bytes=100).message
    bomb = serving(gzip.compress(b"\0" * 5_000_000), headers="Content-Encoding: gzip\r\n")
    assert "larger" in failure(bomb, tmp_path / "v", max_bytes=1_000_000).message
    assert fetch(serving(b"a" * 100), tmp_path / "v", max_bytes=100).bytes == 100


def test_an_existing_file_is_left_alone(tmp_path: Path) -> None:
    """A download never overwrites, and does not remove what it did not make."""
    (tmp_path / "v").write_text("mine")
    with pytest.raises(DownloadFailed):
        fetch(serving(b"x"), tmp_path / "v")
    assert (tmp_path / "v").read_text() == "mine"
    with pytest.raises(DownloadFailed, match="cannot be made"):
        fetch(serving(b"x"), tmp_path / "missing" / "v")


def test_a_cancelled_download_leaves_nothing(tmp_path: Path) -> None:
    """Cancelling removes the partial file and closes the connection."""

    async def run() -> None:
        async with Hangup(stalled) as server, HttpWire(WireOptions(use_proxies=False)) as wire:
            with anyio.move_on_after(0.2):
                await wire.fetch(server.url, tmp_path / "v", max_bytes=10**7)
            assert wire.statistics().downloads_running == 0

    anyio.run(run)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "url",
    [
        "data:video/mp4;base64,AAAA",
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "",
        "/relative",
        "http://",
        "http://user:hunter2@127.0.0.1/x",
        "http://127.0.0.1:70000/",
        "http://a b/",
        "javascript:alert(1)",
        "http://[::1/",
    ],
)
def test_links_that_are_no_web_address_are_refused(tmp_path: Path, url: str) -> None:
    """Only http and https links without a user name are fetched; a data link is not repeated in the message."""

    async def run() -> None:
        async with HttpWire(OPTIONS) as wire:
            with pytest.raises(DownloadFailed) as raised:
                await wire.fetch(url, tmp_path / "v", max_bytes=100)
            assert not any(text in raised.value.message for text in ("AAAA", "hunter2"))

    anyio.run(run)


def test_refused_and_unknown_hosts_fail_as_downloads(tmp_path: Path) -> None:
    """No connection is a failed download like any other."""

    async def run() -> None:
        async with HttpWire(OPTIONS) as wire:
            for url in ("http://127.0.0.1:1/v", "http://nosuch.invalid/v"):
                with pytest.raises(DownloadFailed):
                    await wire.fetch(url, tmp_path / "v", max_bytes=100)

    anyio.run(run)


# --------------------------------------------------------------------------------------------------------- redirects


class Names:
    """A name lookup with invented answers; all of them really lead to this machine or nowhere."""

    def __init__(self, **answers: list[str]) -> None:
        self._answers = {name.replace("_", "."): addresses for name, addresses in answers.items()}

    async def __call__(self, host: str, _port: int) -> Sequence[str]:
        """The invented addresses."""
        return self._answers[host]


def redirecting(*locations: str) -> list[Callable[[Visit], Awaitable[None]]]:
    """Scripts that answer the first requests with redirects and every later one with the file."""
    hops = [serving(b"", status="302 Found", headers=f"Location: {location}\r\n") for location in locations]
    return [*hops, serving(b"movie")]


def test_redirects_are_followed_five_times(tmp_path: Path) -> None:
    """Five redirects are followed, relative ones included; a sixth is one too many."""

    async def run() -> None:
        async with Hangup(*redirecting("/a", "b", "?c=1", "//127.0.0.1:{port}/d", "/e")) as server, HttpWire(OPTIONS) as wire:
            with pytest.raises(DownloadFailed, match="cannot be used"):
                await wire.fetch(server.url, tmp_path / "v", max_bytes=100)
        async with Hangup(*redirecting("/a", "b", "?c=1", "./d", "/e#f")) as server, HttpWire(OPTIONS) as wire:
            done = await wire.fetch(server.url, tmp_path / "v", max_bytes=100)
            assert (done.bytes, server.connections) == (5, 6)
            assert b"GET /b?c=1 " in server.heads[3]
        async with Hangup(*redirecting(*["/a"] * 6)) as server, HttpWire(OPTIONS) as wire:
            with pytest.raises(DownloadFailed, match="more than 5"):
                await wire.fetch(server.url, tmp_path / "w", max_bytes=100)
            assert server.connections == 6

    anyio.run(run)


@pytest.mark.parametrize(
    "location", ["", "file:///etc/passwd", "ftp://x/", "data:,x", "http://u:p@127.0.0.1/", "http://[", "javascript:1"]
)
def test_redirects_to_elsewhere_than_the_web_are_refused(tmp_path: Path, location: str) -> None:
    """A redirect leads to an http address without a user name, or nowhere."""

    async def run() -> None:
        async with Hangup(*redirecting(location)) as server, HttpWire(OPTIONS) as wire:
            with pytest.raises(DownloadFailed):
                await wire.fetch(server.url, tmp_path / "v", max_bytes=100)
            assert server.connections == 1

    anyio.run(run)


class Pages(httpx.AsyncBaseTransport):
    """A transport with invented pages: whole URL -> redirect target, or the file."""

    def __init__(self, redirects: dict[str, str]) -> None:
        self._redirects = redirects
        self.asked: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The invented page."""
        self.asked.append(str(request.url))
        target = self._redirects.get(str(request.url))
        if target is None:
            return httpx.Response(200, content=b"movie")
        return httpx.Response(302, headers={"location": target})


@pytest.mark.parametrize(
    ("first", "target", "why"),
    [
        ("https://cdn.example/v", "http://cdn.example/v", "from https to http"),
        ("https://cdn.example/v", "https://127.0.0.1/v", "internal"),
        ("https://cdn.example/v", "https://localhost/v", "internal"),
        ("https://cdn.example/v", "https://LOCALHOST./v", "internal"),
        ("http://cdn.example/v", "http://169.254.169.254/latest/meta-data", "internal"),
        ("http://cdn.example/v", "http://10.1.2.3/", "internal"),
        ("http://cdn.example/v", "http://[::1]/", "internal"),
        ("http://cdn.example/v", "http://[::ffff:127.0.0.1]/", "internal"),
        ("http://cdn.example/v", "http://[64:ff9b::7f00:1]/", "internal"),
        ("http://cdn.example/v", "http://[fe80::1]/", "internal"),
        ("http://cdn.example/v", "http://0.0.0.0/", "internal"),
        ("http://cdn.example/v", "http://100.64.0.1/", "internal"),
        ("http://8.8.8.8/v", "http://192.168.0.1/", "internal"),
    ],
)
def test_redirects_downhill_are_refused(tmp_path: Path, first: str, target: str, why: str) -> None:
    """A public link never leads to plain http or into somebody's network."""
    pages = Pages({first: target})

    async def run() -> None:
        async with HttpWire(OPTIONS, transport=pages) as wire:
            with pytest.raises(DownloadFailed, match=why):
                await wire.fetch(first, tmp_path / "v", max_bytes=100)

    anyio.run(run)
    assert pages.asked == [first]


@pytest.mark.parametrize(
    ("first", "target"),
    [
        ("http://cdn.example/v", "https://other.example/v"),
        ("https://cdn.example/v", "https://8.8.8.8/v"),
        ("http://127.0.0.1:8000/v", "http://127.0.0.1:8001/v"),
        ("http://localhost:8000/v", "http://127.0.0.1:8001/v"),
    ],
)
def test_redirects_that_stay_level_are_followed(tmp_path: Path, first: str, target: str) -> None:
    """Public to public, and this machine to this machine, are fine."""

    async def run() -> None:
        async with HttpWire(OPTIONS, transport=Pages({first: target})) as wire:
            assert (await wire.fetch(first, tmp_path / "v", max_bytes=100)).bytes == 5

    anyio.run(run)


def test_a_public_name_cannot_redirect_to_a_name_that_leads_inside(tmp_path: Path) -> None:
    """The address a redirect's host resolves to is checked at the moment of connecting; one bad one among many is enough."""

    class Turning(Names):
        """Resolves the first host to this machine for the first request, and as public afterwards."""

        def __init__(self) -> None:
            super().__init__(evil_example=["8.8.8.8", "127.0.0.1"])
            self.asked = 0

        async def __call__(self, host: str, port: int) -> Sequence[str]:
            if host == "cdn.example":
                self.asked += 1
                return ["127.0.0.1"] if self.asked == 1 else ["8.8.8.8"]
            return await super().__call__(host, port)

    async def run() -> None:
        async with Hangup(serving(b"inside")) as inner:
            redirect = redirecting(f"http://evil.example:{inner.port}/v")
            async with Hangup(*redirect) as server, HttpWire(OPTIONS, resolve=Turning()) as wire:
                with pytest.raises(DownloadFailed, match="internal address"):
                    await wire.fetch(f"http://cdn.example:{server.port}/v", tmp_path / "v", max_bytes=100)
            assert inner.connections == 0

    anyio.run(run)


def test_an_internal_name_may_redirect_inside(tmp_path: Path) -> None:
    """A link whose own host is internal may lead to internal addresses."""

    async def run() -> None:
        names = Names(studio_example=["127.0.0.1"], store_example=["127.0.0.1"])
        async with Hangup(serving(b"inside")) as inner:
            redirect = redirecting(f"http://store.example:{inner.port}/v")
            async with Hangup(*redirect) as server, HttpWire(OPTIONS, resolve=names) as wire:
                done = await wire.fetch(f"http://studio.example:{server.port}/v", tmp_path / "v", max_bytes=100)
        assert done.bytes == 6

    anyio.run(run)


def test_downloads_wait_for_each_other(tmp_path: Path) -> None:
    """No more than the set number of downloads run at once."""
    now = most = 0

    async def counting(visit: Visit) -> None:
        nonlocal now, most
        await visit.head()
        now += 1
        most = max(most, now)
        await anyio.sleep(0.02)
        now -= 1
        await visit.answer(b"x", headers="Connection: close\r\n")

    async def run() -> None:
        async with Hangup(counting) as server, HttpWire(WireOptions(downloads=2, use_proxies=False)) as wire:
            async with anyio.create_task_group() as group:
                for number in range(7):
                    group.start_soon(one, wire, server.url, tmp_path / str(number))
            assert wire.statistics().downloads == 7
        assert most == 2

    async def one(wire: HttpWire, url: str, into: Path) -> None:
        await wire.fetch(url, into, max_bytes=10)

    anyio.run(run)


def test_a_download_on_trio(tmp_path: Path) -> None:
    """Downloads run on trio as well, over a given transport."""

    async def run() -> None:
        async with HttpWire(OPTIONS, transport=Pages({})) as wire:
            assert (await wire.fetch("https://cdn.example/v", tmp_path / "v", max_bytes=100)).bytes == 5

    anyio.run(run, backend="trio")


def test_virtual_time_does_not_run_away_from_small_downloads(tmp_path: Path) -> None:
    """On trio's self-advancing clock a small download takes no time at all: no thread is waited for."""

    async def run() -> float:
        async with HttpWire(OPTIONS, transport=Pages({})) as wire:
            start = anyio.current_time()
            for number in range(20):
                await wire.fetch("https://cdn.example/v", tmp_path / str(number), max_bytes=100)
            return anyio.current_time() - start

    clock = trio.testing.MockClock(autojump_threshold=0)
    assert anyio.run(run, backend="trio", backend_options={"clock": clock}) == 0


def test_a_wire_can_be_made_before_the_loop_runs(tmp_path: Path) -> None:
    """Making a wire needs no event loop; using it does."""
    wire = HttpWire(OPTIONS, transport=Pages({}))

    async def run() -> None:
        async with wire:
            await wire.fetch("https://cdn.example/v", tmp_path / "v", max_bytes=100)

    anyio.run(run)


# --------------------------------------------------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("address", "internal"),
    [
        ("8.8.8.8", False),
        ("2606:4700::1", False),
        ("::ffff:8.8.8.8", False),
        ("127.0.0.53", True),
        ("224.0.0.1", True),
        ("255.255.255.255", True),
        ("fc00::1", True),
        ("fe80::1%eth0", True),
        ("2002:7f00:1::", True),
        ("nonsense", True),
    ],
)
def test_internal_addresses_are_told_apart(address: str, internal: bool) -> None:
    """Everything that is not plainly public counts as internal."""
    assert is_internal(address) is internal


def test_hosts_written_as_addresses_are_recognised() -> None:
    """Addresses and the machine's own names are literals; other names are not."""
    assert literal("[::1]") == "::1"
    assert literal("a.localhost") == "127.0.0.1"
    assert literal("localhost.example") is None


def test_shown_urls_hold_no_secret() -> None:
    """A URL for people has no query, fragment, user name or control characters, and a readable length."""
    assert shown("https://u:p@host:8/path/a?sig=1#x") == "https://host:8/path/a?…"
    assert shown("https://host/a#token=1") == "https://host/a"
    assert "\n" not in shown("https://host/a\nb")
    assert len(shown("https://host/" + "a" * 5000)) < 250
