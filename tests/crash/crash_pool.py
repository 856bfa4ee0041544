"""Several stages that share one simulator: what takes long in these tests is waiting, so points are tried side by side."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from queue import SimpleQueue
from types import TracebackType
from typing import Self, TypeVar

from crash_rig import Pretend, Stage

T = TypeVar("T")
R = TypeVar("R")
STAGES = int(os.environ.get("CALLSHEET_CRASH_STAGES", "3"))


class StagePool:
    """``STAGES`` stages; whoever needs one waits for a free one."""

    def __init__(self, pretend: Pretend, settings: Mapping[str, str] | None = None) -> None:
        self._free: SimpleQueue[Stage] = SimpleQueue()
        self._stack = ExitStack()
        for _ in range(STAGES):
            self._free.put(self._stack.enter_context(Stage(pretend, settings=settings)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def one(self, work: Callable[[Stage], R]) -> R:
        """Do something with one stage."""
        stage = self._free.get()
        try:
            return work(stage)
        finally:
            self._free.put(stage)

    def each(self, things: Iterable[T], work: Callable[[Stage, T], R]) -> list[R]:
        """Do the same for each thing, side by side; the results in their order."""
        with ThreadPoolExecutor(STAGES) as pool:
            return list(pool.map(lambda thing: self.one(lambda stage: work(stage, thing)), things))
