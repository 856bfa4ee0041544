"""What failures have in common: one group per (class, cause, message without its particulars), and what to do about it.

Owns the normalisation of messages and the advice per cause. Decides nothing about retries.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TypeAlias

from runner.model import ErrorClass, JobRow
from runner.reports.cleaning import one_line

FailureKey: TypeAlias = tuple[str, str, str]
"""(error class, cause, normalised message)."""

MAX_MESSAGE = 240
MAX_EXAMPLES = 5

ADVICE = {
    "content_policy": "Change the prompt or the picture so that the provider's content rules allow it, then run again with `--retry`.",
    "bad_input": "Correct the parameter or the input file that the message names, then run again: changed jobs are planned anew.",
    "not_found": "Check that the id or link in the message still exists at the provider, then run again with `--retry`.",
    "auth": "Check the credentials with `callsheet doctor`, then run again.",
    "credit": "Add credit to the account, then run again: nothing is submitted twice.",
    "account": "Clear up the account's state with the provider, then run again.",
    "permission": "Ask the provider to enable this operation for the account, or use another target, then run again.",
    "rate_limit": "Lower `rate` for this provider in the manifest, then run again with `--retry`.",
    "concurrency": "Lower `concurrency` for this provider in the manifest, then run again with `--retry`.",
    "server": "The provider failed on its side: run again with `--retry`, and ask its support if it stays.",
    "deadline": "The provider took too long: look the job up there before paying again, then run with `--retry`.",
}
"""Cause -> what to do first, for failures that bring no hint of their own."""

_CLASS_ADVICE = {
    ErrorClass.DEFERRED: ADVICE["concurrency"],
    ErrorClass.TRANSIENT: ADVICE["server"],
    ErrorClass.REFUSED: "Read the message, correct the manifest or the product, then run again: changed jobs are planned anew.",
    ErrorClass.HALTED: "Put the account in order with the provider, then run again: nothing is submitted twice.",
    ErrorClass.UNCERTAIN: "Settle it with `callsheet reconcile` before anything is paid for again.",
}
_OTHER_ADVICE = "Open one of the example jobs to see its parameters, correct what is wrong, then run again with `--retry`."

_PARTICULARS = re.compile(
    r"""
      (?P<kept> \b (?:HTTP|code|status|error) \b [\s:=\#]* \d{1,6} \b )
    | (?P<link> \b [a-z][a-z0-9+.-]{1,10}:// [^\s"'<>]+ )
    | (?P<quoted> " [^"]{1,200} " | (?<!\w) ' [^']{1,200} ' (?!\w) | “ [^”]{1,200} ” )
    | (?P<id> (?<![\w-]) (?= [a-z_-]{0,40} \d ) [\w-]{12,} )
    | (?P<number> \d+ (?: [.,:] \d+ )* )
    """,
    re.VERBOSE | re.IGNORECASE,
)
_SIGNS = {"link": "<link>", "quoted": "“…”", "id": "…", "number": "#"}


@dataclass(frozen=True, slots=True)
class Failure:
    """Jobs that failed for the same reason. ``credits`` is what they are known to have cost all the same."""

    error_class: str
    cause: str
    message: str
    """Without particulars such as ids and numbers."""
    sample: str
    """The first job's own message."""
    count: int
    examples: tuple[str, ...]
    """Keys of the first jobs of this kind."""
    advice: str
    credits: float = 0.0
    targets: tuple[str, ...] = ()

    @property
    def key(self) -> FailureKey:
        """What the group's jobs have in common."""
        return (self.error_class, self.cause, self.message)

    @property
    def words(self) -> str:
        """What to show: the job's own message where there is only one job."""
        return self.sample if self.count == 1 else self.message


@dataclass(slots=True)
class FailureTally:
    """Collects the jobs of one group while the rows go by."""

    key: FailureKey
    sample: str
    advice: str
    count: int = 0
    credits: float = 0.0
    examples: list[str] = field(default_factory=list)
    targets: dict[str, None] = field(default_factory=dict)

    def add(self, row: JobRow, credits_actual: float | None) -> None:
        """Count one more job."""
        self.count += 1
        self.credits += credits_actual or 0.0
        self.targets.setdefault(row.target)
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(row.key)

    def result(self) -> Failure:
        """The finished group."""
        error_class, cause, message = self.key
        return Failure(
            error_class=error_class,
            cause=cause,
            message=message,
            sample=self.sample,
            count=self.count,
            examples=tuple(self.examples),
            advice=self.advice,
            credits=self.credits,
            targets=tuple(self.targets),
        )


def failure_key(row: JobRow) -> FailureKey:
    """Which group a failed job belongs to."""
    return (row.error_class, row.error_cause, normalised(row))


def normalised(row: JobRow) -> str:
    """The job's error message without what belongs to this job alone: ids, numbers, quoted values, links, its names."""
    text = one_line(row.error_message, MAX_MESSAGE)
    for own in (row.remote_id, row.product, row.title):
        if len(own) >= 4:
            text = text.replace(own, "…")
    return _PARTICULARS.sub(_sign, text) or "no message"


def advice_for(row: JobRow) -> str:
    """What to do first: the failure's own hint, else what its cause or class suggests."""
    hint = one_line(row.error_hint, MAX_MESSAGE)
    if hint:
        return hint
    if row.error_cause in ADVICE:
        return ADVICE[row.error_cause]
    return _CLASS_ADVICE.get(ErrorClass(row.error_class), _OTHER_ADVICE) if row.error_class in set(ErrorClass) else _OTHER_ADVICE


def new_tally(key: FailureKey, row: JobRow) -> FailureTally:
    """A group that begins with this job (which still has to be added)."""
    return FailureTally(key=key, sample=one_line(row.error_message, MAX_MESSAGE) or "no message", advice=advice_for(row))


def _sign(match: re.Match[str]) -> str:
    kind = match.lastgroup or ""
    return _SIGNS.get(kind, match.group())
