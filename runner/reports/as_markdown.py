"""``report.md``: one short page for a pull request or a chat: totals, what waits, targets, lanes, failures, links.

Owns the escaping for Markdown: foreign text becomes plain text. What CommonMark or GitHub gives a
meaning to within a line is escaped, so that neither a table, a link, HTML nor a mention can come out of a product's title.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from runner.model import RunInfo
from runner.reports.cleaning import one_line
from runner.reports.failures import Failure
from runner.reports.material import FILES, Material
from runner.reports.summary import Group, Spread, Summary
from runner.reports.wording import NOTHING, STATE_WORDS, deviation, duration, moment, number, size
from runner.reports.writing import replace_text

_SPECIAL = re.compile(r"([\\`*_\[\]()#!|~$])")
_AUTOLINK = re.compile(r"(?i)(?:@|:(?=//)|\b(?:www|mailto)(?=[.:]))")
_MAX_CELL = 160
_MAX_FAILURES = 10
_MAX_GROUPS = 50
_LINKED = ("html", "json", "csv", "junit")
_LINK_WORDS = {"html": "Gallery and details", "json": "JSON", "csv": "CSV", "junit": "JUnit"}


def write_markdown(material: Material) -> Path:
    """Write the file and say where. Raises OSError."""
    path = material.path("markdown")
    replace_text(path, "\n".join(_lines(material)).rstrip() + "\n")
    return path


def escaped(text: str, limit: int = _MAX_CELL) -> str:
    """Foreign text on one line, as Markdown that reads as that very text."""
    line = one_line(text, limit).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # A zero-width space keeps renderers from making mentions and links of plain text.
    return _AUTOLINK.sub("\\g<0>\u200b", _SPECIAL.sub(r"\\\1", line))


def _lines(material: Material) -> Iterator[str]:
    info, summary = material.info, material.summary
    yield f"# {escaped(info.campaign) or 'Campaign'}"
    yield ""
    if info.rehearsal:
        yield "> **REHEARSAL:** made by the built-in simulators. No provider was called and nothing was charged."
        yield ""
    yield from _totals(info, summary)
    yield from _attention(summary)
    yield from _section("Targets", _group_table("Target", summary.targets))
    yield from _section("Lanes", _group_table("Lane", summary.lanes))
    yield from _section("Estimate against actual", _credits_table(summary))
    yield from _section("Failures", _failure_table(summary.failures))
    yield from _links(material)


def _totals(info: RunInfo, summary: Summary) -> Iterator[str]:
    states = ", ".join(
        f"{number(summary.states[state])} {word.lower()}" for state, word in STATE_WORDS.items() if summary.states.get(state)
    )
    yield f"**{number(summary.succeeded)} of {number(summary.jobs)} jobs succeeded**" + (f" ({states})." if states else ".")
    yield ""
    facts = [
        f"as of {moment(summary.as_of)}",
        f"{number(info.runs)} {'run' if info.runs == 1 else 'runs'}",
        f"last run {duration(summary.run_seconds)}" if summary.run_seconds is not None else "",
        f"{number(round(summary.per_hour, 1))} jobs an hour" if summary.per_hour else "",
        f"{number(summary.files)} files, {size(summary.file_bytes)}" if summary.files else "",
    ]
    yield " · ".join(fact for fact in facts if fact)
    yield ""


def _attention(summary: Summary) -> Iterator[str]:
    if not summary.attention:
        return
    yield "## What to do first"
    yield ""
    for item in summary.attention:
        head = f"**{escaped(item.subject)} is halted.** " if item.kind == "halted" else ""
        # Our own advice holds `commands`; only the provider's words are escaped.
        message = escaped(item.message, 300) if item.kind == "halted" else item.message
        yield f"- {head}{message}{'' if message.endswith(('.', '!', '?')) else '.'} {item.advice}"
    yield ""


def _section(title: str, table: Iterable[str]) -> Iterator[str]:
    lines = list(table)
    if lines:
        yield f"## {title}"
        yield ""
        yield from lines
        yield ""


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, numbers_from: int) -> Iterator[str]:
    """A table of cells that are already Markdown; columns from ``numbers_from`` on are set right."""
    lines = [f"| {' | '.join(cells)} |" for cells in rows]
    if lines:
        yield f"| {' | '.join(heads)} |"
        yield "|" + "|".join("---:" if place >= numbers_from else "---" for place in range(len(heads))) + "|"
        yield from lines


def _group_table(kind: str, groups: Sequence[Group]) -> Iterator[str]:
    heads = (kind, "Jobs", "Succeeded", "Failed", "Open", "Credits", "Queue, median / p90", "Processing, median / p90")
    yield from _table(heads, (_group_cells(group) for group in groups[:_MAX_GROUPS]), numbers_from=1)
    if len(groups) > _MAX_GROUPS:
        yield ""
        yield f"{len(groups) - _MAX_GROUPS} more are in the other reports."


def _group_cells(group: Group) -> tuple[str, ...]:
    counts = (group.jobs, group.succeeded, group.failed, group.open)
    spreads = (group.queue, group.processing)
    return (
        escaped(group.name) or NOTHING,
        *(number(count) for count in counts),
        number(group.credits.actual),
        *(_spread(item) for item in spreads),
    )


def _spread(item: Spread) -> str:
    return f"{duration(item.median)} / {duration(item.p90)}" if item.count else NOTHING


def _credits_table(summary: Summary) -> Iterator[str]:
    priced = [group for group in summary.providers if group.credits.estimated or group.credits.actual]
    heads = ("Provider", "Estimate, all jobs", "Charged", "Estimate of the charged jobs", "Difference")
    yield from _table(heads, (_credits_cells(group) for group in priced), numbers_from=1)


def _credits_cells(group: Group) -> tuple[str, ...]:
    money = group.credits
    difference = deviation(money.matched_actual, money.matched_estimated) if money.matched else NOTHING
    amounts = (money.estimated, money.actual, money.matched_estimated)
    return (escaped(group.name), *(number(amount) for amount in amounts), difference)


def _failure_table(failures: Sequence[Failure]) -> Iterator[str]:
    heads = ("What happened", "Class", "For example", "What to do", "Jobs")
    yield from _table(heads, (_failure_cells(failure) for failure in failures[:_MAX_FAILURES]), numbers_from=4)
    rest = failures[_MAX_FAILURES:]
    if rest:
        yield ""
        yield f"{number(len(rest))} more kinds of failure ({number(sum(item.count for item in rest))} jobs) are in the other reports."


def _failure_cells(failure: Failure) -> tuple[str, ...]:
    kind = " / ".join(part for part in (failure.error_class, failure.cause) if part)
    example = failure.examples[0] if failure.examples else ""
    return (
        escaped(failure.words),
        escaped(kind) or NOTHING,
        escaped(example, 80),
        escaped(failure.advice, 300),
        number(failure.count),
    )


def _links(material: Material) -> Iterator[str]:
    links = [f"[{_LINK_WORDS[name]}]({FILES[name]})" for name in _LINKED if name in material.formats]
    if links:
        yield " · ".join(links)
