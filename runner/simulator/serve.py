"""A simulator on a real loopback socket: uvicorn, quiet, with a protocol that can truly close a connection without a reply."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Generator
from typing import cast

import anyio
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from runner.simulator.application import Simulator
from runner.simulator.options import SimulatorOptions

GRACE = 1
"""Real seconds that replies under way get at the end."""


class CuttableProtocol(HttpToolsProtocol):
    """Hands the app the means to hang up: what is written so far goes out, then the connection ends."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send small pieces at once: asyncio sees to it only for sockets that it made itself, and a reply would wait 40 ms."""
        super().connection_made(cast("asyncio.Transport", transport))
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def on_message_begin(self) -> None:
        """A new request on this connection."""
        super().on_message_begin()
        self.scope["extensions"] = {"simulator.cut": {"close": self.transport.close}}


class QuietServer(uvicorn.Server):
    """Leaves the process's signals alone; whoever started it ends it. ``begun`` is set once connections are taken."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.begun = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening, and say so."""
        await super().startup(sockets=sockets)
        self.begun.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Nothing is captured."""
        yield


async def serve(options: SimulatorOptions, *, ready: Callable[[str], None], source: Callable[[], float] = time.time) -> None:
    """Serve until cancelled; calls ``ready`` with the address once connections are taken. asyncio only.

    ``source`` is the clock (Unix seconds) that everything but the waiting for callbacks goes by. Raises OSError when the address is
    taken and ValueError for a damaged state file.
    """
    listener = socket.create_server((options.host, options.port), backlog=2048)
    try:
        simulator = Simulator(options, source=source)
    except BaseException:
        listener.close()
        raise
    host, port = listener.getsockname()[:2]
    address = f"http://{host}:{port}"
    simulator.world.base = address
    server = QuietServer(_config(simulator))
    running = asyncio.ensure_future(server.serve(sockets=[listener]))
    try:
        await asyncio.wait({running, begun := asyncio.ensure_future(server.begun.wait())}, return_when=asyncio.FIRST_COMPLETED)
        begun.cancel()
        ready(address)
        await asyncio.shield(running)
    finally:
        server.should_exit = True
        with anyio.CancelScope(shield=True):
            await asyncio.wait({running}, timeout=GRACE + 5)
        simulator.close()


def _config(simulator: Simulator) -> uvicorn.Config:
    return uvicorn.Config(
        simulator.app,
        http=CuttableProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        backlog=2048,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=GRACE,
    )
