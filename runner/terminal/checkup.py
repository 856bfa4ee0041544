"""What ``callsheet doctor`` found, as lines and as JSON.

Owns the kinds of verdict, how they look, and the exit code that they add up to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from runner.errors import EXIT_HALTED, EXIT_JOBS_FAILED, EXIT_OK, EXIT_USAGE
from runner.terminal.problems import printable

if TYPE_CHECKING:
    from rich.console import RenderableType


class Verdict(StrEnum):
    """How one check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


_STYLES = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.FAILED: "red"}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. ``advice`` says what to do when it is not ok."""

    topic: str
    """``this machine``, or a provider's name."""
    name: str
    verdict: Verdict
    text: str
    advice: str = ""
    exit_code: int = EXIT_JOBS_FAILED
    """What the command ends with when this failed."""


def exit_code(checks: Iterable[Check]) -> int:
    """5 when a provider refuses the account, else 2 when settings are wrong, else 1 when anything failed."""
    codes = {check.exit_code for check in checks if check.verdict is Verdict.FAILED}
    return next((code for code in (EXIT_HALTED, EXIT_USAGE, EXIT_JOBS_FAILED) if code in codes), EXIT_OK)


def as_page(checks: Sequence[Check]) -> Iterator[RenderableType]:
    """One line per check, by topic, with advice below what is not ok."""
    from rich.table import Table
    from rich.text import Text

    for topic in dict.fromkeys(check.topic for check in checks):
        yield Text(topic, style="bold")
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for check in checks:
            if check.topic == topic:
                advice = f"\ndo: {printable(check.advice)}" if check.advice and check.verdict is not Verdict.OK else ""
                verdict = Text(f"  {check.verdict.value}", style=_STYLES[check.verdict])
                table.add_row(verdict, check.name, Text(printable(check.text) + advice))
        yield table
        yield Text("")
    yield _verdict(checks)


def _verdict(checks: Sequence[Check]) -> RenderableType:
    from rich.text import Text

    failed = sum(check.verdict is Verdict.FAILED for check in checks)
    warned = sum(check.verdict is Verdict.WARNING for check in checks)
    warnings = f"{warned} warning{'s' if warned != 1 else ''}"
    if failed:
        return Text(f"{failed} failed, {warnings}.", style="red")
    return Text(f"Nothing failed, {warnings}." if warned else "All good.", style="yellow" if warned else "green")


def as_document(checks: Sequence[Check]) -> dict[str, object]:
    """The same for scripts."""
    return {
        "schema": 1,
        "exit_code": exit_code(checks),
        "checks": [
            {"topic": c.topic, "name": c.name, "verdict": c.verdict.value, "text": c.text, "advice": c.advice} for c in checks
        ],
    }
