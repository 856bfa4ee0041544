"""A run as people watch it: a line per lane and an overall line, or plain lines where there is no terminal.

Owns the display; reads the engine's statistics and listens to the ledger. Never influences the run.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, Self

from runner import events as ev
from runner.model import State
from runner.terminal.plans import duration

if TYPE_CHECKING:
    from rich.console import RenderableType

    from runner.events import Event
    from runner.scheduler import LaneStatistics
    from runner.seams import JobState

PLAIN_SECONDS = 10.0
WINDOW_SECONDS = 60.0


class Engine(Protocol):
    """What the display asks the engine."""

    def statistics(self) -> Mapping[str, LaneStatistics]:
        """Every lane now."""
        ...

    @property
    def stopping(self) -> bool:
        """Draining."""
        ...


@dataclass(slots=True)
class Tally:
    """What happened in this run so far. Listens to the ledger."""

    total: int
    """Jobs that this run should finish."""
    clock: Callable[[], float] = time.monotonic
    done: int = 0
    failed: int = 0
    skipped: int = 0
    submitted: int = 0
    credits: dict[str, float] = field(default_factory=dict)
    by_lane: dict[str, list[int]] = field(default_factory=dict)
    """Lane -> [done, failed]."""
    recent: deque[float] = field(default_factory=deque)
    last_failure: str = ""
    halted: dict[str, str] = field(default_factory=dict)
    _started: float = 0.0

    def __post_init__(self) -> None:
        self._started = self.clock()

    def hear(self, event: Event, job: JobState | None) -> None:
        """One event was applied."""
        if isinstance(event, ev.LaneHalted):
            self.halted[event.lane] = event.message
        if job is None:
            return
        counts = self.by_lane.setdefault(job.lane, [0, 0])
        match event:
            case ev.SubmitStarted():
                self.submitted += 1
            case ev.Accepted():
                self.credits[job.lane] = self.credits.get(job.lane, 0.0) + job.credits
            case ev.AllStored():
                self.done += 1
                counts[0] += 1
                self.recent.append(self.clock())
            case ev.SubmitRefused() | ev.RemoteFailed() | ev.ArtifactRejected():
                self.failed += 1
                counts[1] += 1
                self.last_failure = f"{event.job}: {event.message}"
            case ev.DependencyFailed():
                self.skipped += 1
            case _:
                pass

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return self.clock() - self._started

    def rate(self) -> float:
        """Jobs finished per second, over the last minute."""
        now = self.clock()
        while self.recent and self.recent[0] < now - WINDOW_SECONDS:
            self.recent.popleft()
        return len(self.recent) / max(1.0, min(WINDOW_SECONDS, self.elapsed))

    def eta(self) -> float | None:
        """Seconds until all is finished at the present rate; None while that cannot be told."""
        left = self.total - self.done - self.failed - self.skipped
        rate = self.rate()
        return left / rate if rate > 0 and left > 0 else (0.0 if left <= 0 else None)

    def credits_text(self) -> str:
        """``creatify 24, kling 4.8``."""
        shown = (f"{lane} {amount:,.2f}".rstrip("0").rstrip(".") for lane, amount in self.credits.items() if amount)
        return ", ".join(shown) or "0"


def overall(tally: Tally, *, stopping: bool) -> str:
    """The overall line."""
    finished = tally.done + tally.failed + tally.skipped
    parts = [f"{tally.done:,} of {tally.total:,} done"]
    if tally.failed:
        parts.append(f"{tally.failed:,} failed")
    if tally.skipped:
        parts.append(f"{tally.skipped:,} skipped")
    parts.append(f"{tally.rate() * 60:.0f}/min")
    eta = tally.eta()
    if finished < tally.total and eta is not None:
        parts.append(f"about {duration(eta)} left")
    parts.append(f"credits: {tally.credits_text()}")
    if stopping:
        parts.append("stopping: nothing new is submitted")
    return " · ".join(parts)


class PlainProgress:
    """Lines for logs: every ten seconds, and when a lane halts."""

    def __init__(self, tally: Tally, engine: Engine, write: Callable[[str], None]) -> None:
        self._tally = tally
        self._engine = engine
        self._write = write
        self._next = 0.0
        self._told: set[str] = set()

    def refresh(self) -> None:
        """Called several times a second."""
        for lane, why in self._tally.halted.items():
            if lane not in self._told:
                self._told.add(lane)
                self._write(f"{lane} halted: {why}\n")
        if self._tally.elapsed >= self._next:
            self._next = self._tally.elapsed + PLAIN_SECONDS
            running = sum(lane.slots for lane in self._engine.statistics().values())
            self._write(
                f"[{duration(self._tally.elapsed)}] {overall(self._tally, stopping=self._engine.stopping)} · {running} at work\n"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class RichProgress:
    """A live table at a terminal."""

    def __init__(self, tally: Tally, engine: Engine) -> None:
        from rich.console import Console
        from rich.live import Live

        self._tally = tally
        self._engine = engine
        self._live = Live(console=Console(stderr=True), refresh_per_second=4, transient=False, auto_refresh=False)

    def refresh(self) -> None:
        """Called several times a second."""
        self._live.update(self._table(), refresh=True)

    def _table(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
        table.add_column("lane", no_wrap=True)
        table.add_column("slots", no_wrap=True)
        for name in ("running", "ready", "collecting", "done", "failed"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("", no_wrap=True, overflow="ellipsis")
        for name, lane in self._engine.statistics().items():
            done, failed = self._tally.by_lane.get(name, (0, 0))
            table.add_row(
                name,
                Text(f"{_bar(lane.slots, lane.allowed)} {lane.slots}/{lane.allowed}", style="cyan"),
                str(lane.running),
                str(lane.ready),
                str(lane.collecting),
                Text(str(done), style="green" if done else "dim"),
                Text(str(failed), style="red" if failed else "dim"),
                Text(self._note(name, lane), style="yellow"),
            )
        finished = self._tally.done + self._tally.failed + self._tally.skipped
        bar = ProgressBar(total=max(1, self._tally.total), completed=finished, width=40)
        below = Table.grid()
        below.add_row(bar)
        lines: list[RenderableType] = [table, below, Text(overall(self._tally, stopping=self._engine.stopping))]
        if self._tally.last_failure:
            lines.append(Text(f"last failure: {self._tally.last_failure}", style="red", no_wrap=True, overflow="ellipsis"))
        return Group(*lines)

    def _note(self, name: str, lane: LaneStatistics) -> str:
        if name in self._tally.halted:
            return f"halted: {self._tally.halted[name]}"
        return f"{lane.uncertain} uncertain" if lane.uncertain else ""

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.refresh()
        self._live.__exit__(None, None, None)


def _bar(used: int, allowed: int) -> str:
    width = min(10, max(1, allowed))
    full = round(width * min(1.0, used / max(1, allowed)))
    return "▰" * full + "▱" * (width - full)


def progress_for(tally: Tally, engine: Engine, *, quiet: bool) -> PlainProgress | RichProgress:
    """The display that fits: live at a terminal, plain lines elsewhere, nothing when ``quiet``."""
    if quiet:
        return PlainProgress(tally, engine, lambda _text: None)
    if sys.stderr.isatty():
        return RichProgress(tally, engine)
    return PlainProgress(tally, engine, lambda text: print(text, end="", file=sys.stderr, flush=True))  # noqa: T201


def open_jobs(ledger_jobs: Mapping[str, JobState]) -> int:
    """How many jobs an earlier run left under way."""
    open_states = {State.SUBMITTING, State.UNCERTAIN, State.RUNNING, State.CANCELLING, State.COLLECTING}
    return sum(job.state in open_states for job in ledger_jobs.values())
