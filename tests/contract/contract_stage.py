"""A simulator on a real socket in a thread of its own, on time that moves when told, and an account at work on it."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import anyio

from runner.model import JSON, Accepted, Asset, Observation, Phase, Submission
from runner.providers import connect
from runner.seams import Operation
from runner.simulator.options import options_from
from runner.simulator.serve import serve
from runner.wire import HttpWire, WireOptions
from runner.worker import Worker

T = TypeVar("T")
START = 1_760_000_000.0
LONG = 4000.0
"""Longer than any pretend job takes, in seconds."""


class StageTime:
    """The simulator's clock: moves when told. Read by the simulator's thread, moved by the test's."""

    def __init__(self) -> None:
        self.seconds = START

    def __call__(self) -> float:
        """Unix seconds."""
        return self.seconds


class LaggingClock:
    """A runner's clock that is ``ahead`` seconds ahead of the provider's (or behind it)."""

    def __init__(self, time: Callable[[], float], ahead: float = 0.0) -> None:
        self._time = time
        self.ahead = ahead

    def now(self) -> float:
        """Unix seconds, as this machine believes."""
        return self._time() + self.ahead


class Stage:
    """One running simulator. ``source`` is its clock; None takes the machine's, so that callbacks are delivered. Files that tests use and
    fetch lie in ``folder``; making and removing one for each test would take longer than the tests.
    """

    def __init__(self, source: StageTime | None, folder: Path, **options: object) -> None:
        self.time = source
        self.folder = folder
        self._options = options_from({"spread": 0.0, "short_side": 96, **options})
        self._began = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self.address = ""
        self.keys = 0
        self.fetched = 0
        self._line: http.client.HTTPConnection | None = None
        self._thread = threading.Thread(target=self._live, name="stage", daemon=True)
        self._thread.start()
        if not self._began.wait(20) or not self.address:
            raise RuntimeError("the simulator did not start")

    def _live(self) -> None:
        try:
            asyncio.run(self._serve())
        finally:
            self._began.set()

    async def _serve(self) -> None:
        def ready(address: str) -> None:
            self.address = address
            self._began.set()

        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        try:
            if self.time is None:
                await serve(self._options, ready=ready)
            else:
                await serve(self._options, ready=ready, source=self.time)
        except asyncio.CancelledError:
            return

    def end(self) -> None:
        """Stop it and wait until it has stopped."""
        if self._line is not None:
            self._line.close()
        if self._loop is not None and self._task is not None:
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(20)

    def pass_time(self, seconds: float) -> None:
        """Let so much time pass. Only for a stage with a clock of its own."""
        assert self.time is not None
        self.time.seconds += seconds

    def now(self) -> float:
        """Unix seconds on this stage."""
        return time.time() if self.time is None else self.time()

    def faults(self, *rules: Mapping[str, object]) -> None:
        """Put these fault rules in force, and no others."""
        self._admin("faults", json.dumps(list(rules)).encode())

    def books(self, provider: str, *, tasks: bool = False) -> dict[str, Any]:
        """One provider's page of the books."""
        page: dict[str, Any] = self._admin("books?tasks=1" if tasks else "books")["providers"][provider]
        return page

    def _admin(self, page: str, body: bytes | None = None) -> dict[str, Any]:
        """One page, over a connection that is kept: a test asks several times."""
        if self._line is None:
            self._line = http.client.HTTPConnection(self.address.removeprefix("http://"), timeout=10)
        try:
            return self._exchange(self._line, page, body)
        except (http.client.RemoteDisconnected, ConnectionError):  # it idled for too long
            self._line.close()
            return self._exchange(self._line, page, body)

    @staticmethod
    def _exchange(line: http.client.HTTPConnection, page: str, body: bytes | None) -> dict[str, Any]:
        line.request("GET" if body is None else "POST", f"/_simulator/{page}", body)
        reply = line.getresponse()
        answer: dict[str, Any] = json.loads(reply.read())
        assert reply.status == 200, answer
        return answer


class Account:
    """One account at work: an adapter, driven by the real worker over the real wire."""

    def __init__(self, worker: Worker, stage: Stage) -> None:
        self.worker = worker
        self.stage = stage
        self.intents = 0

    def operation(self, name: str) -> Operation:
        """An operation by its full name."""
        return self.worker.provider.operations[name.partition("/")[2]]

    def submission(
        self, params: Mapping[str, JSON], media: Mapping[str, Asset] | None = None, *, callback: str | None = None
    ) -> Submission:
        """A frozen submission with a key that nobody else on the stage has."""
        self.stage.keys += 1
        return Submission(f"contract-{self.stage.keys}-a1", params, media or {}, callback, self.stage.now())

    async def submit(self, operation: Operation, submission: Submission) -> Accepted:
        """Submit, noting the intent."""

        async def intent() -> None:
            self.intents += 1

        return await self.worker.submit(operation, submission, intent)

    async def observe(self, operation: Operation, *remote_ids: str) -> Mapping[str, Observation]:
        """What the provider says of these ids."""
        return await self.worker.ask(lambda: operation.observe(remote_ids))

    async def look(self, operation: Operation, remote_id: str) -> Observation:
        """What the provider says of one id."""
        return (await self.observe(operation, remote_id))[remote_id]

    async def find(self, operation: Operation, submission: Submission) -> Accepted | None:
        """Did it arrive? Asked as the runner does after a restart: the files are no longer at hand."""
        frozen = Submission(submission.key, submission.params, started_at=submission.started_at)
        return await self.worker.ask(lambda: operation.find(frozen))

    async def balance(self) -> float | None:
        """Credits left."""
        return await self.worker.ask(lambda: self.worker.provider.balance(self.stage.now()))

    async def finish(self, operation: Operation, remote_id: str) -> Observation:
        """Let all the time pass that a job can take (or ask until it has passed by itself); the observation after that."""
        if self.stage.time is not None:
            self.stage.pass_time(LONG)
        seen = await self.look(operation, remote_id)
        with anyio.fail_after(20):
            while self.stage.time is None and seen.phase not in {Phase.SUCCEEDED, Phase.FAILED}:
                seen = await self.look(operation, remote_id)
        assert seen.phase in {Phase.SUCCEEDED, Phase.FAILED}, seen
        return seen

    def new_path(self) -> Path:
        """Where a download may go."""
        self.stage.fetched += 1
        return self.stage.folder / f"fetched-{self.stage.fetched}"


class At:
    """How an account is connected: through which address, with which credentials, by which clock."""

    def __init__(
        self,
        stage: Stage,
        provider: str,
        *,
        credentials: Mapping[str, str],
        through_root: bool = False,
        ahead: float = 0.0,
    ) -> None:
        self._stage = stage
        self._provider = provider
        self._credentials = credentials
        self._base = stage.address + ("" if through_root else f"/{provider}")
        self._ahead = ahead

    def run(self, play: Callable[[Account], Awaitable[T]]) -> T:
        """Run ``play`` with the account, on asyncio."""

        async def whole() -> T:
            options = WireOptions(answer_seconds=20, max_answer_bytes=2**20, use_proxies=False)
            async with HttpWire(options) as wire:
                clock = LaggingClock(self._stage.now, self._ahead)
                provider = connect(self._provider, self._credentials)
                worker = Worker(provider, base_url=self._base, wire=wire, clock=clock)
                return await play(Account(worker, self._stage))

        return anyio.run(whole)
