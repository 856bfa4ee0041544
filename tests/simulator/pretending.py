"""How the simulator's tests hold it: manual time, a maker that draws nothing, a client as a stranger would write it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
import struct
import wave
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import httpx

from runner.simulator.application import Simulator
from runner.simulator.media import MediaOrder
from runner.simulator.options import SIMULATED_CREDENTIALS, options_from

START = 1_760_000_000.0
CREATIFY = {"X-API-ID": "simulated-api-id", "X-API-KEY": "simulated-api-key"}
TOPVIEW = {"Authorization": "Bearer simulated-topview-key", "Topview-Uid": "simulated-uid"}
AKOOL = {"x-api-key": SIMULATED_CREDENTIALS["akool"]["client_secret"]}
KLING = {"Authorization": "Bearer simulated-kling-api-key"}


class ManualTime:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        """Unix seconds."""
        return self.now


class PlainMaker:
    """Draws nothing: says in bytes what it was asked for, and notes the orders."""

    def __init__(self) -> None:
        self.orders: list[MediaOrder] = []

    def still(self, order: MediaOrder) -> bytes:
        """A pretend picture."""
        return self._made("still", order)

    def clip(self, order: MediaOrder) -> bytes:
        """A pretend video."""
        return self._made("clip", order)

    def speech(self, order: MediaOrder) -> bytes:
        """A pretend sound."""
        return self._made("speech", order)

    def _made(self, kind: str, order: MediaOrder) -> bytes:
        self.orders.append(order)
        return f"{kind} {order.title} {order.seconds} {order.seed}".encode() + b"." * 200


@dataclass
class Rig:
    """A simulator in process, its time and a client."""

    simulator: Simulator
    client: httpx.AsyncClient
    time: ManualTime
    maker: PlainMaker

    def books(self, provider: str, *, tasks: bool = False) -> dict[str, Any]:
        """One provider's page of the books."""
        page: dict[str, Any] = self.simulator.page(tasks=tasks)["providers"][provider]
        return page


@asynccontextmanager
async def pretending(time: ManualTime | None = None, **options: object) -> AsyncIterator[Rig]:
    """A simulator with exact durations (``spread`` 0) on manual time."""
    time, maker = time or ManualTime(), PlainMaker()
    simulator = Simulator(options_from({"spread": 0.0, **options}), source=time, maker=maker)
    transport = httpx.ASGITransport(app=simulator.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://sim.test") as client:
        yield Rig(simulator, client, time, maker)
    simulator.close()


@asynccontextmanager
async def serving(**options: object) -> AsyncIterator[tuple[str, httpx.AsyncClient]]:
    """A simulator on a real socket, and a client for it."""
    from runner.simulator.serve import serve

    address: list[str] = []
    begun = anyio.Event()

    def ready(url: str) -> None:
        address.append(url)
        begun.set()

    async def run() -> None:
        await serve(options_from({"spread": 0.0, "bench": True, **options}), ready=ready)

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await begun.wait()
        async with httpx.AsyncClient(base_url=address[0], timeout=10) as client:
            yield address[0], client
        group.cancel_scope.cancel()


def png(width: int = 400, height: int = 600) -> str:
    """A whole PNG as bare base64."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress((b"\0" + b"\x80" * width) * height)
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return base64.b64encode(data).decode()


def wav(seconds: float) -> str:
    """A silent WAV as bare base64."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(4000)
        file.writeframes(b"\x80" * int(4000 * seconds))
    return base64.b64encode(buffer.getvalue()).decode()


def jwt(claims: dict[str, Any], secret: str = "", algorithm: str = "HS256") -> str:
    """A token signed by hand."""
    key = secret or SIMULATED_CREDENTIALS["kling"]["secret_key"]

    def part(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).decode().rstrip("=")

    head = part(json.dumps({"alg": algorithm, "typ": "JWT"}).encode())
    body = part(json.dumps(claims).encode())
    return f"{head}.{body}." + part(hmac.new(key.encode(), f"{head}.{body}".encode(), hashlib.sha256).digest())


def claims(now: float, **other: object) -> dict[str, Any]:
    """What a careful Kling client claims."""
    return {"iss": "simulated-access-key", "exp": int(now) + 1800, "nbf": int(now) - 5, **other}
