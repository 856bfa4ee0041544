"""Where a campaign stands, for ``callsheet status``: from the ledger alone.

Owns the layout of that page and the words for what to type next. Credits of different providers are different money and never added up.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runner.errors import EXIT_INTERRUPTED
from runner.model import RunInfo, State
from runner.reports.as_json import summary_fields
from runner.reports.cleaning import plain
from runner.reports.summary import Group, Summary
from runner.reports.wording import STATE_WORDS, duration, moment, number
from runner.terminal.problems import printable, shown_path

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from runner.locking import Owner

MOST_FAILURES = 10
_STYLES = {State.SUCCEEDED: "green", State.FAILED: "red", State.UNCERTAIN: "yellow", State.HELD: "yellow"}


@dataclass(frozen=True, slots=True)
class Standing:
    """Everything that the page shows. Built by ``callsheet status``."""

    info: RunInfo
    summary: Summary
    owner: Owner | None
    """Who runs it right now."""
    exit_code: int | None
    """The last run's; None while it has not ended."""
    halted: dict[str, str]
    """Lane -> what stopped it and what to do, in sentences."""
    committed: dict[str, float]
    """Lane -> credits that were or may have been spent."""
    report: Path
    given: str
    """The manifest as the person named it, quoted for a shell."""

    def command(self, name: str) -> str:
        """Another command about the same campaign, to be pasted."""
        return f"callsheet {name} {self.given}" + (" --rehearse" if self.info.rehearsal else "")

    @property
    def again(self) -> str:
        """The command that goes on."""
        return self.command("run")

    @property
    def unfinished(self) -> bool:
        """A run began, never said that it ended, and nobody runs now: it was killed."""
        return self.owner is None and self.info.last_run_started_at is not None and self.exit_code is None

    def next_steps(self) -> list[str]:
        """What to type next, most urgent first; empty when all is done."""
        return list(_next_steps(self))


def _next_steps(at: Standing) -> Iterator[str]:
    states = at.summary.states
    if at.owner is not None:
        yield f"Wait: it runs now, process {at.owner.pid} on {printable(at.owner.host)}."
        return
    for lane, why in at.halted.items():
        yield f"{lane} is halted. {why} Check with: callsheet doctor --provider {lane}"
    if count := states.get(State.UNCERTAIN, 0):
        it = "1 submission is" if count == 1 else f"{count:,} submissions are"
        yield f"{it} uncertain: the next run looks for it at the provider first. To settle it yourself: {at.command('reconcile')}"
    if count := states.get(State.HELD, 0):
        yield f"{_jobs(count)} behind a gate. Look at the results, then: {at.again} --approve TARGET"
    if count := states.get(State.READY, 0) + states.get(State.PENDING, 0):
        yield f"{_jobs(count)} not submitted yet: {at.again}"
    at_provider = sum(states.get(state, 0) for state in (State.SUBMITTING, State.RUNNING, State.CANCELLING, State.COLLECTING))
    if at_provider:
        yield f"{_jobs(at_provider)} still with the provider; this collects them and pays nothing: {at.again} --collect"
    if count := at.summary.failed:
        yield f"{_jobs(count)} failed. Submit failed ones again (this pays again): {at.again} --retry failed"


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count:,} jobs"


def as_document(at: Standing) -> object:
    """The same for scripts."""
    owner = {"pid": at.owner.pid, "host": at.owner.host, "since": at.owner.since} if at.owner else None
    return plain(
        {
            "schema": 1,
            "campaign": at.info.campaign,
            "rehearsal": at.info.rehearsal,
            "ledger": str(at.info.ledger),
            "report": str(at.report) if at.report.exists() else None,
            "as_of": at.summary.as_of,
            "running_now": owner,
            "runs": at.info.runs,
            "last_run": {
                "started_at": at.info.last_run_started_at,
                "ended_at": at.info.last_run_ended_at if at.exit_code is not None else None,
                "exit_code": at.exit_code,
            },
            "halted": at.halted,
            "credits": at.committed,
            "next": at.next_steps(),
            "summary": summary_fields(at.summary),
        }
    )


def as_page(at: Standing) -> Iterator[RenderableType]:
    """The page for a terminal."""
    from rich.text import Text

    yield Text(_headline(at), style="bold")
    yield Text(_last_run(at))
    yield Text("")
    if not at.summary.jobs:
        yield Text("No job has been planned yet.")
    else:
        yield _states(at.summary)
        yield Text("")
        yield _groups("target", at.summary.targets, at)
        if len(at.summary.lanes) > 1:
            yield Text("")
            yield _groups("account", at.summary.lanes, at)
    yield from _credits(at)
    yield from _failures(at.summary)
    yield from _last_lines(at)


def _headline(at: Standing) -> str:
    kind = "rehearsal" if at.info.rehearsal else "paid run"
    finished = at.summary.succeeded
    share = f"{finished:,} of {at.summary.jobs:,} jobs done" if at.summary.jobs else "nothing planned"
    return f"{printable(at.info.campaign)} ({kind}): {share}"


def _last_run(at: Standing) -> str:
    started = at.info.last_run_started_at
    if started is None:
        return "No run has submitted anything yet."
    if at.owner is not None:
        return f"Running now since {moment(started)}: process {at.owner.pid} on {printable(at.owner.host)}."
    if at.exit_code is None:
        return f"Run {at.info.runs} began {moment(started)} and was killed before its end. Nothing is lost."
    how = {0: "all good", EXIT_INTERRUPTED: "interrupted"}.get(at.exit_code, f"exit code {at.exit_code}")
    return f"Run {at.info.runs} ended {moment(at.info.last_run_ended_at)} after {duration(at.summary.run_seconds)}: {how}."


def _states(summary: Summary) -> RenderableType:
    from rich.text import Text

    line = Text()
    for state, word in STATE_WORDS.items():
        count = summary.states.get(state, 0)
        if count:
            line.append(" · " if line else "")
            line.append(f"{count:,} {word.lower()}", style=_STYLES.get(state, ""))
    return line


def _groups(title: str, groups: tuple[Group, ...], at: Standing) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(title, overflow="fold")
    for name in ("jobs", "done", "failed", "at work", "waiting"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("median", justify="right", no_wrap=True)
    for group in groups:
        name = f"{group.name} (halted)" if title == "account" and group.name in at.halted else group.name
        table.add_row(
            Text(printable(name)),
            f"{group.jobs:,}",
            Text(_count(group.succeeded), style="green" if group.succeeded else "dim"),
            Text(_count(group.failed), style="red" if group.failed else "dim"),
            _count(group.running),
            _count(group.waiting),
            duration(group.processing.median),
        )
    return table


def _count(value: int) -> str:
    return f"{value:,}" if value else "-"


def _credits(at: Standing) -> Iterator[RenderableType]:
    from rich.text import Text

    spent = ", ".join(f"{lane} {number(amount)}" for lane, amount in at.committed.items() if amount)
    if at.summary.jobs:
        word = "Credits (pretend)" if at.info.rehearsal else "Credits spent"
        yield Text("")
        yield Text(f"{word}: {printable(spent) or 'none'}")


def _failures(summary: Summary) -> Iterator[RenderableType]:
    from rich.padding import Padding
    from rich.text import Text

    if summary.failures:
        yield Text("")
        yield Text("Failed:", style="bold")
    for failure in summary.failures[:MOST_FAILURES]:
        targets = ", ".join(failure.targets)
        yield Padding(Text(f"{failure.count:,} × {printable(targets)}: {printable(failure.words)}", style="red"), (0, 0, 0, 2))
        yield Padding(Text(f"for example {printable(failure.examples[0])}"), (0, 0, 0, 4))
        yield Padding(Text(f"do: {printable(failure.advice)}"), (0, 0, 0, 4))
    rest = len(summary.failures) - MOST_FAILURES
    if rest > 0:
        yield Text(f"  ... and {rest} more kinds; the report has them all")


def _last_lines(at: Standing) -> Iterator[RenderableType]:
    from rich.padding import Padding
    from rich.text import Text

    steps = at.next_steps()
    yield Text("")
    if steps:
        yield Text("Next:", style="bold")
        for step in steps:
            yield Padding(Text(step, overflow="fold"), (0, 0, 0, 2))
    elif at.summary.jobs:
        yield Text("All done.", style="green")
    else:
        yield Text(f"Begin with: {at.again}")
    if at.report.exists():
        yield Text(f"Report: {shown_path(str(at.report))}", overflow="fold")
