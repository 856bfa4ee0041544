"""How a run ended: the exit code, and what a person should do next.

Owns the order in which endings outrank each other, and the last lines of a run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runner.errors import (
    EXIT_BUDGET,
    EXIT_HALTED,
    EXIT_INTERRUPTED,
    EXIT_JOBS_FAILED,
    EXIT_OK,
    EXIT_WAITING,
)
from runner.model import State
from runner.plan import Verdict
from runner.terminal.plans import counted, duration
from runner.terminal.problems import printable, sentences, shown_path

if TYPE_CHECKING:
    from runner.budget import Budget
    from runner.ledger import Ledger
    from runner.plan import Plan
    from runner.terminal.progress import Tally
    from runner.workspace import Folder


@dataclass(slots=True)
class Outcome:
    """See the module. Build it with ``Outcome.of`` when the engine has ended."""

    campaign: str
    folder: Folder
    exit_code: int
    seconds: float
    done: int
    submitted: int
    failed: int
    skipped: int
    unchanged: int
    states: Mapping[str, int]
    credits: Mapping[str, float]
    advice: list[str]
    reports: Mapping[str, Path]

    @classmethod
    def of(cls, plan: Plan, ledger: Ledger, tally: Tally, budget: Budget, *, folder: Folder, interrupted: bool) -> Outcome:
        """What came of the run."""
        states = Counter(job.state.value for job in ledger.jobs.values())
        unretried = sum(t.counts[Verdict.FAILED] for t in plan.targets.values())
        code, advice = _verdict(ledger, tally, budget, states, unretried=unretried, interrupted=interrupted)
        return cls(
            campaign=ledger.header.campaign,
            folder=folder,
            exit_code=code,
            seconds=tally.elapsed,
            done=tally.done,
            submitted=tally.submitted,
            failed=tally.failed,
            skipped=tally.skipped,
            unchanged=sum(t.counts[Verdict.UNCHANGED] for t in plan.targets.values()),
            states=states,
            credits=dict(tally.credits),
            advice=advice,
            reports={},
        )

    def write_reports(self, ledger: Ledger) -> None:
        """Write all reports from the ledger."""
        from runner.reports import write_reports

        self.reports = write_reports(ledger.info(self.folder.artifacts), ledger.rows, self.folder.report)

    def as_text(self) -> str:
        """The last lines of a run."""
        kind = "rehearsal" if self.folder.rehearsal else "run"
        lines = []
        if not self.submitted and not self.done and not self.failed and self.exit_code == EXIT_OK:
            lines.append(f"{self.campaign}: nothing to do, {self.unchanged:,} jobs are as they should be.")
        else:
            sums = [f"{self.done:,} done"]
            sums += [f"{count:,} {word}" for count, word in ((self.failed, "failed"), (self.skipped, "skipped")) if count]
            sums.append(f"{self.unchanged:,} unchanged")
            lines.append(f"{self.campaign}: {kind} ended after {duration(self.seconds)}: {', '.join(sums)}.")
        lines += [printable(line) for line in self.advice]
        report = self.reports.get("html") or self.folder.report / "index.html"
        if report.exists():
            lines.append(f"Report: {shown_path(str(report))}")
        return "\n".join(lines)

    def as_document(self) -> dict[str, object]:
        """The same for scripts."""
        return {
            "schema": 1,
            "campaign": self.campaign,
            "rehearsal": self.folder.rehearsal,
            "exit_code": self.exit_code,
            "seconds": round(self.seconds, 3),
            "submitted": self.submitted,
            "done": self.done,
            "failed": self.failed,
            "skipped": self.skipped,
            "unchanged": self.unchanged,
            "states": dict(self.states),
            "credits": dict(self.credits),
            "advice": self.advice,
            "ledger": str(self.folder.ledger),
            "reports": {name: str(path) for name, path in self.reports.items()},
        }


def _verdict(
    ledger: Ledger, tally: Tally, budget: Budget, states: Mapping[str, int], *, unretried: int, interrupted: bool
) -> tuple[int, list[str]]:
    """(exit code, what to do next). All advice is given; the most urgent ending decides the code."""
    endings = [
        *_stopped(ledger, tally, budget, interrupted=interrupted),
        *_waiting(states, interrupted=interrupted),
        *_failed(tally, {} if interrupted else states, unretried),
    ]
    return next((code for code, _ in endings), EXIT_OK), [advice for _, advice in endings]


def _stopped(ledger: Ledger, tally: Tally, budget: Budget, *, interrupted: bool) -> Iterator[tuple[int, str]]:
    if interrupted:
        yield EXIT_INTERRUPTED, "Interrupted: nothing is lost. The same command again goes on."
    for lane, event in ledger.halted.items():
        if lane in tally.halted:
            what = f"{lane} is halted. {sentences(event.message, event.hint)}"
            yield EXIT_HALTED, f"{what} Then run the same command again."
    for why in budget.exceeded.values():
        yield EXIT_BUDGET, f"Stopped for cost: {why}. Raise the limit and run the same command again."


def _waiting(states: Mapping[str, int], *, interrupted: bool) -> Iterator[tuple[int, str]]:
    if uncertain := states.get(State.UNCERTAIN.value, 0):
        what = f"{counted(uncertain, 'submission')} uncertain: the provider may or may not have taken them."
        yield EXIT_WAITING, f"{what} Nothing uncertain is submitted again blindly; callsheet reconcile MANIFEST shows it."
    if held := states.get(State.HELD.value, 0):
        yield (
            EXIT_WAITING,
            f"{counted(held, 'job')} waiting behind a gate. Look at the report, then run again with --approve TARGET.",
        )
    left = sum(states.get(state.value, 0) for state in (State.RUNNING, State.CANCELLING, State.COLLECTING))
    if left and not interrupted:
        yield EXIT_WAITING, f"{counted(left, 'job')} still with the provider. The same command again collects them."


def _failed(tally: Tally, states: Mapping[str, int], unretried: int) -> Iterator[tuple[int, str]]:
    failed = tally.failed + tally.skipped
    cancelled = states.get(State.CANCELLED.value, 0)
    if failed or unretried:
        parts = [
            f"{failed:,} failed or skipped" if failed else "",
            f"{unretried:,} failed {'or cancelled ' if cancelled else ''}earlier" if unretried else "",
        ]
        said = "; ".join(part for part in parts if part)
        also = ", --retry cancelled cancelled ones" if cancelled else ""
        yield EXIT_JOBS_FAILED, f"{said}. The report says why; --retry failed submits failed ones again{also}."
    ready = states.get(State.READY.value, 0)
    if ready and tally.total > tally.done + failed:
        yield EXIT_JOBS_FAILED, f"{counted(ready, 'job')} not submitted yet. The same command again goes on."
