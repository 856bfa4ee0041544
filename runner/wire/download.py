"""Result links into files.

Owns redirects, the checks of where they lead, hashing, and the partial file's removal. Sends no credentials, ever.
"""

from __future__ import annotations

import hashlib
from contextlib import aclosing, suppress
from pathlib import Path
from typing import BinaryIO, Protocol

import anyio
import anyio.to_thread
import httpx

from runner import __version__
from runner.errors import DownloadFailed
from runner.seams import Fetched
from runner.wire.addresses import is_internal, literal, parse, shown
from runner.wire.bodies import BLOCK, declared_length, decoded
from runner.wire.options import Use, WireOptions
from runner.wire.verdict import AnswerTooLarge, reason

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 5
_EXPIRED = frozenset({403, 404, 410})
_PARTIAL = frozenset({204, 205, 206})
_HINT_SIZE = "If such files are expected, set CALLSHEET_MAX_DOWNLOAD_BYTES to allow more; then the same command collects it."
_HINT_AGAIN = "Collecting it again costs nothing."
_HINT_FRESH = "A fresh link from the provider may help."


class Opener(Protocol):
    """What a download needs of the wire."""

    @property
    def options(self) -> WireOptions:
        """The limits in force."""
        ...

    @property
    def connects(self) -> bool:
        """Whether host names are really looked up."""
        ...

    async def open(self, message: httpx.Request, use: Use) -> httpx.Response:
        """The head of an answer."""
        ...

    async def resolve(self, host: str, port: int) -> list[str]:
        """IP addresses of a host."""
        ...


class Download:
    """One download of one link; ``into`` may be called once."""

    def __init__(self, opener: Opener, url: str, max_bytes: int) -> None:
        self._opener = opener
        self._options = opener.options
        self._first = url
        self._max_bytes = max_bytes
        self._give_up_at = 0.0

    async def into(self, path: Path) -> Fetched:
        """Fetch the link into the new file ``path``. Raises ``DownloadFailed``, and leaves no partial file then."""
        self._give_up_at = anyio.current_time() + self._options.download_seconds
        try:
            response = await self._follow(_link(self._first))
            try:
                return await self._store(response, path)
            finally:
                with anyio.CancelScope(shield=True):
                    await response.aclose()
        except DownloadFailed:
            raise
        except Exception as error:
            raise self._failed(reason(error, self._options), hint=_HINT_AGAIN) from error

    async def _follow(self, link: httpx.URL) -> httpx.Response:
        """The answer at the end of the redirects, its status checked, its body unread."""
        first, use = link, Use.ASK
        for _ in range(_MOST_REDIRECTS + 1):
            response = await self._open(link, use)
            if response.status_code not in _REDIRECTS:
                return await self._checked(response)
            location = response.headers.get("location", "")
            await response.aclose()
            if use is Use.ASK and not await self._leads_inside(first):
                use = Use.REDIRECTED
            link = self._next(link, location, public=use is Use.REDIRECTED)
        raise self._failed(f"it was redirected more than {_MOST_REDIRECTS} times", hint=_HINT_FRESH)

    async def _open(self, link: httpx.URL, use: Use) -> httpx.Response:
        headers = {
            "host": link.netloc.decode("ascii"),
            "user-agent": f"callsheet/{__version__}",
            "accept": "*/*",
            "accept-encoding": "identity",
        }
        connect = self._options.connect_seconds
        timeout = {"connect": connect, "pool": connect, "read": self._options.stall_seconds, "write": self._options.stall_seconds}
        message = httpx.Request("GET", link, headers=headers, extensions={"timeout": timeout})
        with anyio.fail_after(connect + self._options.stall_seconds):
            return await self._opener.open(message, use)

    async def _leads_inside(self, link: httpx.URL) -> bool:
        """Whether the original link is itself of an internal kind, so that its redirects may be as well."""
        address = literal(link.host)
        if address is not None:
            return is_internal(address)
        if not self._opener.connects:
            return False
        port = link.port or (443 if link.scheme == "https" else 80)
        return any(is_internal(found) for found in await self._opener.resolve(link.host, port))

    def _next(self, link: httpx.URL, location: str, *, public: bool) -> httpx.URL:
        if not location:
            raise self._failed("it is redirected to nowhere", hint=_HINT_FRESH)
        try:
            target = parse(str(link.join(location)))
        except (httpx.InvalidURL, ValueError) as error:
            raise self._failed("it is redirected to an address that cannot be used", hint=_HINT_FRESH) from error
        if link.scheme == "https" and target.scheme == "http":
            raise self._failed(f"it is redirected from https to http ({shown(target)})", hint=_HINT_FRESH)
        address = literal(target.host)
        if public and address is not None and is_internal(address):
            raise self._failed(f"it is redirected to an internal address ({shown(target)})", hint="Ask the provider.")
        return target

    async def _checked(self, response: httpx.Response) -> httpx.Response:
        status = response.status_code
        if 200 <= status < 300 and status not in _PARTIAL:
            return response
        await response.aclose()
        if status in _EXPIRED:
            raise self._failed(f"HTTP {status}: the link has expired or is gone", status=status, expired=True, hint=_HINT_FRESH)
        raise self._failed(f"HTTP {status}", status=status, hint=_HINT_AGAIN)

    async def _store(self, response: httpx.Response, path: Path) -> Fetched:
        try:
            sink = _Sink(path)
        except OSError as error:
            raise self._failed(f"{path.name} cannot be made", hint="Check the folder and the disk.") from error
        try:
            await self._pour(response, sink)
            digest = sink.finish()
        except BaseException:
            sink.discard()
            raise
        encoded = bool(response.headers.get("content-encoding", ""))
        return Fetched(
            path=path,
            bytes=sink.bytes,
            sha256=digest,
            content_type=response.headers.get("content-type", ""),
            declared_length=None if encoded else declared_length(response),
        )

    async def _pour(self, response: httpx.Response, sink: _Sink) -> None:
        try:
            async with aclosing(decoded(response, self._max_bytes)) as pieces:
                while True:
                    with anyio.fail_after(self._options.stall_seconds):
                        piece = await anext(pieces, None)
                    if piece is None:
                        return
                    if anyio.current_time() > self._give_up_at:
                        raise self._failed(f"it took longer than {self._options.download_seconds:g} s", hint=_HINT_AGAIN)
                    await sink.write(piece)
        except AnswerTooLarge as error:
            raise self._failed(f"{error} (CALLSHEET_MAX_DOWNLOAD_BYTES)", hint=_HINT_SIZE) from error

    def _failed(self, why: str, *, hint: str, status: int = 0, expired: bool = False) -> DownloadFailed:
        return DownloadFailed(f"cannot download {shown(self._first)}: {why}", status=status, expired=expired, hint=hint)


def _link(text: str) -> httpx.URL:
    try:
        return parse(text)
    except ValueError as error:
        raise DownloadFailed(f"cannot download {_head(text)}: {error}", hint=_HINT_FRESH) from error


def _head(text: str) -> str:
    """A link for people; of one that is data rather than an address, only the scheme."""
    scheme, colon, _ = text.partition(":")
    return shown(text) if "://" in text else f"{shown(scheme)[:20]}{colon}…"


class _Sink:
    """The new file: hashes and writes, whole blocks in a worker thread. Raises ``OSError``, also when it exists already."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO = path.open("xb")
        self._hash = hashlib.sha256()
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self.bytes = 0

    async def write(self, piece: bytes) -> None:
        """Take a piece; write when a block has come together."""
        self._waiting.append(piece)
        self._waiting_bytes += len(piece)
        self.bytes += len(piece)
        if self._waiting_bytes >= BLOCK:
            await anyio.to_thread.run_sync(self._put)

    def finish(self) -> str:
        """Write the rest, close the file, and give the digest."""
        self._put()
        self._file.close()
        return self._hash.hexdigest()

    def discard(self) -> None:
        """Remove what was written."""
        with suppress(OSError):  # a full disk fails here once more
            self._file.close()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _put(self) -> None:
        block = b"".join(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0
        self._hash.update(block)
        self._file.write(block)
