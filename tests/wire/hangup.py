"""``Hangup``: a raw TCP server on 127.0.0.1 that does exactly what a test says, connection by connection.

Owns the server side of the wire's tests. Speaks no HTTP library, since the point is to be wrong at a chosen moment.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Self, TypeAlias


class Visit:
    """One connection from the server's side."""

    def __init__(self, server: Hangup, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server = server
        self.reader = reader
        self.writer = writer
        self.last_head = b""

    async def head(self) -> bytes:
        """Read a request's head and count it."""
        self.last_head = await self.reader.readuntil(b"\r\n\r\n")
        self.server.heads.append(self.last_head)
        return self.last_head

    async def body(self) -> bytes:
        """Read the body that the last head announced."""
        length = 0
        for line in self.last_head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        body = await self.reader.readexactly(length)
        self.server.bodies.append(body)
        return body

    async def send(self, data: bytes) -> None:
        """Send raw bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, body: bytes = b"{}", *, status: str = "200 OK", headers: str = "") -> None:
        """Send a whole answer."""
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        await self.send(head.encode() + body)

    def reset(self) -> None:
        """Break the connection with a TCP reset."""
        made: socket.socket = self.writer.get_extra_info("socket")
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script: TypeAlias = Callable[[Visit], Awaitable[None]]
"""What to do with one connection; it is closed at the end."""


class Hangup:
    """The server. The first connection runs the first script, the second the second ...; the last one repeats."""

    def __init__(self, *scripts: Script, tls: ssl.SSLContext | None = None) -> None:
        self._scripts = scripts
        self._tls = tls
        self._visits: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.port = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._visit, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._server.close()
        for task in list(self._visits):
            task.cancel()
        for task in list(self._visits):
            with suppress(asyncio.CancelledError):
                await task

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._visits.add(task)
        script = self._scripts[min(self.connections, len(self._scripts) - 1)]
        self.connections += 1
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await script(Visit(self, reader, writer))
        finally:
            self._visits.discard(task)
            writer.close()
            with suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()


async def polite(visit: Visit) -> None:
    """Answers every request on a connection with an empty object."""
    while True:
        await visit.head()
        await visit.body()
        await visit.answer()


async def mute(visit: Visit) -> None:
    """Reads and says nothing."""
    await visit.reader.read()
