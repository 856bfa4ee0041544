"""The postman: delivers callbacks when they are due, in order per task, with the faults and retries that belong to them.

The only background work of a simulator, and the only thing here that opens connections: to loopback addresses alone unless told.
"""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from heapq import heappop, heappush
from ipaddress import ip_address
from urllib.parse import urlsplit

import anyio

from runner.simulator.faults import Occasion
from runner.simulator.provider import Letter, PretendProvider
from runner.simulator.tasks import Task
from runner.simulator.world import World

TIMEOUT = 10.0
RETRY_SECONDS = 30.0
"""Simulated seconds before a refused callback is sent again; doubled each time."""
AT_ONCE = 32
LONGEST_STATUS_LINE = 8192


@dataclass(slots=True)
class Due:
    """One callback of one task that is to be sent."""

    task: Task
    event: str
    tries: int = 0
    letter: Letter | None = None
    """Set when the text is older than the moment of sending."""


class Postman:
    """Holds what is due in a heap; letters of one task never overtake each other unless a fault says so."""

    def __init__(self, world: World, providers: Mapping[str, PretendProvider]) -> None:
        self._world = world
        self._providers = providers
        self._heap: list[tuple[float, int, Due]] = []
        self._count = 0
        self._busy: dict[str, deque[Due]] = {}
        self._wake: Callable[[], None] = lambda: None

    def expect(self, task: Task) -> None:
        """Note the callbacks that ``task`` asks for, but for those delivered before a restart."""
        for moment, event in self._providers[task.provider].events(task):
            if (task.id, event) not in self._world.delivered:
                self._push(moment, Due(task, event))

    def waiting(self) -> int:
        """Callbacks not yet sent."""
        return len(self._heap)

    def _push(self, moment: float, due: Due) -> None:
        self._count += 1
        heappush(self._heap, (moment, self._count, due))
        self._wake()

    async def run(self) -> None:
        """Deliver until cancelled."""
        limiter = anyio.CapacityLimiter(AT_ONCE)
        async with anyio.create_task_group() as group:
            while True:
                now = self._world.now()
                while self._heap and self._heap[0][0] <= now:
                    due = heappop(self._heap)[2]
                    if due.task.id in self._busy:
                        self._busy[due.task.id].append(due)
                    else:
                        self._busy[due.task.id] = deque([due])
                        group.start_soon(self._work_off, due.task.id, limiter)
                await self._pause()

    async def _pause(self) -> None:
        event = anyio.Event()
        self._wake = event.set
        wait = self._world.clock.real_wait(self._heap[0][0]) if self._heap else float("inf")
        with anyio.move_on_after(wait):
            await event.wait()

    async def _work_off(self, task_id: str, limiter: anyio.CapacityLimiter) -> None:
        queue = self._busy[task_id]
        async with limiter:
            while queue:
                await self._deliver(queue.popleft())
        del self._busy[task_id]

    async def _deliver(self, due: Due) -> None:
        provider = self._providers[due.task.provider]
        letter = due.letter or provider.letter(due.task, due.event, self._world.base)
        rule = self._world.fault(self._occasion(due, letter)) if due.letter is None and due.tries == 0 else None
        if rule is not None and rule.kind == "reordered_callback" and self._put_behind(due, letter):
            return
        status = await self._send(letter)
        if rule is not None and rule.kind == "duplicate_callback":
            await self._send(letter)
        if rule is not None and rule.kind == "reordered_callback":
            await self._send_stale(due)
        self._settle(due, status, provider)

    def _occasion(self, due: Due, letter: Letter) -> Occasion:
        text = f"{letter.url}\n{due.task.handle}\n{due.task.id}"
        path = urlsplit(letter.url).path
        return Occasion(due.task.provider, f"{due.task.family}.callback", path, "POST", text, "callback")

    def _put_behind(self, due: Due, letter: Letter) -> bool:
        """Hold ``due`` back until the task's next event is sent; False when there is none."""
        events = self._providers[due.task.provider].events(due.task)
        names = [event for _moment, event in events]
        place = names.index(due.event)
        if place + 1 >= len(events):
            return False
        self._push(events[place + 1][0] + 1e-6, Due(due.task, due.event, letter=letter))
        return True

    async def _send_stale(self, due: Due) -> None:
        """After the last event, send the one before it once more."""
        provider = self._providers[due.task.provider]
        names = [event for _moment, event in provider.events(due.task)]
        place = names.index(due.event)
        if place:
            await self._send(provider.letter(due.task, names[place - 1], self._world.base))

    def _settle(self, due: Due, status: int, provider: PretendProvider) -> None:
        due.tries += 1
        if status != 200 and due.tries < provider.callback_tries:
            self._world.books[provider.name].callbacks["retried"] += 1
            self._push(self._world.now() + RETRY_SECONDS * 2 ** (due.tries - 1), due)
            return
        outcome = {0: "unreachable", -1: "not sent"}.get(status, "delivered" if status < 300 else "refused")
        self._world.books[provider.name].callbacks[outcome] += 1
        self._world.write("called", provider=provider.name, task=due.task.id, event=due.event, outcome=outcome)

    async def _send(self, letter: Letter) -> int:
        if not (self._world.options.callbacks_anywhere or _is_loopback(letter.url)):
            return -1
        try:
            with anyio.fail_after(TIMEOUT):
                return await post(letter)
        except (OSError, TimeoutError, ValueError, anyio.BrokenResourceError, anyio.EndOfStream, ssl.SSLError):
            return 0


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


async def post(letter: Letter) -> int:
    """Send ``letter`` over a connection of its own; returns the HTTP status. Raises OSError, EndOfStream or ValueError."""
    parts = urlsplit(letter.url)
    secure = parts.scheme == "https"
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    head = [f"POST {target} HTTP/1.1", f"Host: {parts.netloc.rpartition('@')[2]}", "Content-Type: application/json"]
    head += [f"{name}: {value}" for name, value in letter.headers.items()]
    head += [f"Content-Length: {len(letter.body)}", "Connection: close", "", ""]
    stream = await (anyio.connect_tcp(host, port, tls=True) if secure else anyio.connect_tcp(host, port))
    async with stream:
        await stream.send("\r\n".join(head).encode("latin-1", "replace") + letter.body)
        received = b""
        while b"\r\n" not in received and len(received) < LONGEST_STATUS_LINE:
            received += await stream.receive()
    version, _, rest = received.partition(b" ")
    if not version.startswith(b"HTTP/"):
        raise ValueError("not an HTTP answer")
    return int(rest[:3])
