"""How numbers, times and states read in a report for people.

Owns the formats; knows nothing of where they are shown. Times are always UTC, so that a report reads the same everywhere.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Protocol

from runner.model import State

NOTHING = "–"
"""Stands where a value is not known."""

STATE_WORDS = {
    State.SUCCEEDED: "Succeeded",
    State.FAILED: "Failed",
    State.UNCERTAIN: "Uncertain",
    State.HELD: "Held for approval",
    State.RUNNING: "Running",
    State.COLLECTING: "Collecting",
    State.SUBMITTING: "Submitting",
    State.CANCELLING: "Cancelling",
    State.READY: "Ready",
    State.PENDING: "Pending",
    State.SKIPPED: "Skipped",
    State.CANCELLED: "Cancelled",
}
"""Every state's name for people, in the order in which reports list them: ends first, what needs somebody next."""


def number(value: float | None) -> str:
    """``12345.678`` as ``12,345.68``; whole numbers without decimals."""
    if value is None or not math.isfinite(value):
        return NOTHING
    text = f"{value:,.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def duration(seconds: float | None) -> str:
    """Seconds as ``0.4 s``, ``42 s``, ``3 min 20 s``, ``2 h 05 min`` or ``3 d 4 h``."""
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return NOTHING
    if seconds < 10:
        return f"{number(round(seconds, 1))} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def moment(at: float | None) -> str:
    """Unix seconds as ``2026-03-01 14:05 UTC``."""
    return _formatted(at, "%Y-%m-%d %H:%M UTC") or NOTHING


def timestamp(at: float | None) -> str:
    """Unix seconds as ``2026-03-01T14:05:09Z`` (ISO 8601); empty when not known."""
    return _formatted(at, "%Y-%m-%dT%H:%M:%SZ")


def size(count: float) -> str:
    """Bytes as ``640 B``, ``1.2 MB`` (powers of 1000)."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"


def percent(part: float, whole: float) -> str:
    """A share as ``97 %``; never rounds up to 100 nor down to 0."""
    if whole <= 0:
        return NOTHING
    share = 100 * part / whole
    if 0 < share < 1:
        return "<1 %"
    if 99 < share < 100:
        return ">99 %"
    return f"{share:.0f} %"


class Money(Protocol):
    """The credits of a group of jobs, as the summary has them."""

    @property
    def estimated(self) -> float:
        """Sum of the estimates."""
        ...

    @property
    def actual(self) -> float:
        """What was charged, as far as told."""
        ...

    @property
    def unpriced(self) -> int:
        """Jobs without an estimate."""
        ...

    @property
    def unreported(self) -> int:
        """Succeeded jobs whose price was not told."""
        ...


def charged(money: Money) -> str:
    """What was charged, or that the provider does not say: ``12``, ``12 + ?``, ``not told``."""
    if money.unreported and not money.actual:
        return "not told"
    return f"{number(money.actual)} + ?" if money.unreported else number(money.actual)


def estimated(money: Money) -> str:
    """``estimate 12``, ``estimate 12 + ?``, ``no estimate``."""
    if money.unpriced and not money.estimated:
        return "no estimate"
    return f"estimate {number(money.estimated)}" + (" + ?" if money.unpriced else "")


def deviation(actual: float, estimated: float) -> str:
    """How far the actual price is from the estimate: ``+12 %``, ``−3 %``, ``as estimated``."""
    if estimated <= 0:
        return NOTHING
    share = 100 * (actual - estimated) / estimated
    if abs(share) < 0.5:
        return "as estimated"
    return f"+{share:.0f} %" if share > 0 else f"−{-share:.0f} %"


def _formatted(at: float | None, pattern: str) -> str:
    if at is None or not math.isfinite(at):
        return ""
    try:
        return datetime.fromtimestamp(at, UTC).strftime(pattern)
    except (OverflowError, OSError, ValueError):
        return ""
