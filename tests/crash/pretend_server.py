"""The simulator as a process of its own, with media that cost nothing: each size and length is drawn once, then only labelled.

Started by ``crash_rig.Pretend``; prints its address, ends with its standard input.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import socket
import struct
import sys
import threading
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import uvicorn

from runner.simulator.application import Simulator
from runner.simulator.faults import rules_from
from runner.simulator.media import MediaMaker, MediaOrder
from runner.simulator.options import options_from
from runner.simulator.serve import CuttableProtocol, QuietServer
from runner.simulator.web import Receive, Scope, Send

Message = MutableMapping[str, Any]


class LabellingMaker:
    """Draws one file for each size and length and puts a label into it, so that no two tasks have the same result."""

    def __init__(self) -> None:
        self._real = MediaMaker(7)
        self._drawn: dict[tuple[str, int, int, float], bytes] = {}
        self._lock = threading.Lock()

    def still(self, order: MediaOrder) -> bytes:
        """A JPEG with a comment of its own right after its start marker."""
        drawn = self._once("still", order)
        label = _label(order)
        return drawn[:2] + b"\xff\xfe" + struct.pack(">H", len(label) + 2) + label + drawn[2:]

    def clip(self, order: MediaOrder) -> bytes:
        """An MP4 with a box of its own at its end that players skip."""
        label = _label(order)
        return self._once("clip", order) + struct.pack(">I", len(label) + 8) + b"free" + label

    def speech(self, order: MediaOrder) -> bytes:
        """A WAV."""
        return self._once("speech", order)

    def _once(self, kind: str, order: MediaOrder) -> bytes:
        key = (kind, order.width, order.height, order.seconds)
        with self._lock:
            if key not in self._drawn:
                plain = MediaOrder(
                    kind=order.kind, provider="", title="", prompt="", width=order.width, height=order.height,
                    seconds=order.seconds, seed=0, picture=None, label="",
                )  # fmt: skip
                self._drawn[key] = getattr(self._real, kind)(plain)
            return self._drawn[key]


def _label(order: MediaOrder) -> bytes:
    return f"{order.provider} {order.seed} {order.prompt}".encode()[:400]


class StaleAnswers:
    """Stands before the simulator and, now and then, answers a question about a task as it answered it some time ago."""

    def __init__(self, simulator: Simulator, share: float) -> None:
        self._simulator = simulator
        self._share = share
        self._random = random.Random(7)
        self._heard: dict[str, list[list[Message]]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI call."""
        if scope["type"] != "http" or not _ABOUT_A_TASK.search(f"{scope['path']}?{scope['query_string'].decode()}"):
            await self._simulator(scope, receive, send)
            return
        heard = self._heard.setdefault(f"{scope['path']}?{scope['query_string'].decode()}", [])
        if heard and self._random.random() < self._share:
            self._simulator.world.write("stale", path=scope["path"])
            for message in self._random.choice(heard):
                await send(message)
            return
        said: list[Message] = []

        async def listening(message: Message) -> None:
            said.append(message)
            await send(message)

        await self._simulator(scope, receive, listening)
        heard.append(said)


_ABOUT_A_TASK = re.compile(r"/videos/avatar/[^/?]+/[0-9]+\?|[?&](ids|taskId|video_model_id)=")


async def _serve(told: dict[str, Any]) -> None:
    stale = told.pop("stale", 0.0)
    told["faults"] = rules_from(told.get("faults", []))
    told["state"] = Path(told["state"])
    options = options_from(told)
    listener = socket.create_server((options.host, options.port), backlog=2048)
    simulator = Simulator(options, maker=LabellingMaker())
    simulator.world.base = "http://{}:{}".format(*listener.getsockname()[:2])
    config = uvicorn.Config(
        StaleAnswers(simulator, stale) if stale else simulator.app, http=CuttableProtocol, ws="none", lifespan="on", log_config=None, access_log=False,
        log_level="critical", timeout_keep_alive=75, timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = QuietServer(config)
    running = asyncio.ensure_future(server.serve(sockets=[listener]))
    await server.begun.wait()
    sys.stdout.write(f"{simulator.world.base}\n")
    sys.stdout.flush()
    loop = asyncio.get_running_loop()
    threading.Thread(target=_end_with_stdin, args=(loop, server), daemon=True).start()
    await running


def _end_with_stdin(loop: asyncio.AbstractEventLoop, server: QuietServer) -> None:
    while os.read(0, 4096):
        pass

    def end() -> None:
        server.should_exit = True
        server.force_exit = True

    loop.call_soon_threadsafe(end)


if __name__ == "__main__":
    asyncio.run(_serve(json.loads(sys.argv[1])))
