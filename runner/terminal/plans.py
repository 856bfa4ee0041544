"""A plan as text, as Markdown for a pull request, and as JSON.

Owns the wording. Sums per account are never added up across providers: their credits are different money.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from runner.plan import TO_DO, Verdict
from runner.terminal.problems import printable

if TYPE_CHECKING:
    from runner.plan import Plan, TargetPlan

SHOWN = (
    Verdict.NEW,
    Verdict.CHANGED,
    Verdict.RETRY,
    Verdict.RUNNING,
    Verdict.UNCERTAIN,
    Verdict.UNCHANGED,
    Verdict.FAILED,
    Verdict.BLOCKED,
    Verdict.EXCLUDED,
)
WORDS = {
    Verdict.NEW: "new",
    Verdict.CHANGED: "changed",
    Verdict.RETRY: "retry",
    Verdict.RUNNING: "running",
    Verdict.UNCERTAIN: "uncertain",
    Verdict.UNCHANGED: "unchanged",
    Verdict.FAILED: "failed",
    Verdict.BLOCKED: "blocked",
    Verdict.EXCLUDED: "left out",
}


def duration(seconds: float) -> str:
    """``45 s``, ``12 min``, ``3 h 20 min``, ``2 d 4 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def counted(number: int, noun: str) -> str:
    """``1 job is``, ``1,200 jobs are``."""
    return f"{number:,} {noun} is" if number == 1 else f"{number:,} {noun}s are"


def some(number: int, noun: str) -> str:
    """``1 job``, ``1,200 jobs``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def credits_text(plan: Plan) -> str:
    """``creatify 24, kling 38.4 (+ 4 submissions without a known price)`` by account."""
    unpriced = plan.unpriced_by_lane()
    parts = []
    for lane, amount in plan.credits_by_lane().items():
        todo = sum(t.counts[v] for t in plan.targets.values() if t.lane == lane for v in TO_DO)
        if not todo:
            continue
        unknown = unpriced.get(lane, 0)
        if unknown == todo:
            parts.append(f"{lane}: price not known ({unknown} submissions)")
        elif unknown:
            parts.append(f"{lane} {amount:,.2f}".rstrip("0").rstrip(".") + f" + {unknown} of unknown price")
        else:
            parts.append(f"{lane} {amount:,.2f}".rstrip("0").rstrip("."))
    return ", ".join(parts) or "nothing"


def as_lines(plan: Plan, slots: Mapping[str, int]) -> Iterator[str]:
    """The plan for a terminal."""
    used = [v for v in SHOWN if any(t.counts[v] for t in plan.targets.values())] or [Verdict.NEW]
    width = max(len("target"), *(len(name) for name in plan.targets))
    uses = max(len(t.operation) for t in plan.targets.values())
    yield f"{plan.campaign.manifest.name}: {some(len(plan.campaign), 'product')}, {some(plan.jobs, 'job')}"
    yield ""
    yield f"  {'target':<{width}}  {'uses':<{uses}}  " + "  ".join(f"{WORDS[v]:>9}" for v in used)
    for target in plan.targets.values():
        cells = "  ".join(f"{target.counts[v] or '-':>9}" for v in used)
        yield f"  {target.target:<{width}}  {target.operation:<{uses}}  {cells}"
    yield ""
    for target in plan.targets.values():
        yield from _details(target)
    yield from _sums(plan, slots)


def _details(target: TargetPlan) -> Iterator[str]:
    if target.changed_fields:
        fields = ", ".join(f"{name} ({count:,})" for name, count in target.changed_fields.items())
        yield f"  {target.target}: changed fields: {fields}"
    for verdict in (Verdict.CHANGED, Verdict.RETRY, Verdict.UNCERTAIN, Verdict.FAILED, Verdict.BLOCKED, Verdict.UNCHANGED):
        examples = target.examples.get(verdict, [])
        for key, why in examples:
            yield f"    {printable(key)}: {printable(why)}"
        rest = target.counts[verdict] - len(examples)
        if examples and rest > 0 and verdict is not Verdict.UNCHANGED:
            yield f"    ... and {rest:,} more {WORDS[verdict]}"


def _sums(plan: Plan, slots: Mapping[str, int]) -> Iterator[str]:
    submissions = plan.submissions
    if not submissions:
        open_ = sum(t.counts[v] for t in plan.targets.values() for v in (Verdict.RUNNING, Verdict.UNCERTAIN))
        yield f"Nothing to submit; {open_:,} jobs to finish." if open_ else "Nothing to do."
        return
    yield f"Paid submissions: {submissions:,}"
    yield f"Estimated credits: {credits_text(plan)}"
    yield f"Expected duration: about {duration(plan.expected_seconds(slots))}"


def as_markdown(plan: Plan, slots: Mapping[str, int]) -> str:
    """The plan as a comment for a pull request."""
    name = _escape(plan.campaign.manifest.name)
    lines = [f"### Callsheet plan: {name}", ""]
    submissions = plan.submissions
    if submissions:
        lines.append(
            f"**{submissions:,} paid submissions** over {len(plan.campaign):,} products. "
            f"Estimated credits: **{_escape(credits_text(plan))}**. "
            f"Expected duration: about {duration(plan.expected_seconds(slots))}."
        )
    else:
        lines.append(f"**Nothing to submit.** {plan.jobs:,} jobs over {len(plan.campaign):,} products are as they should be.")
    used = [v for v in SHOWN if any(t.counts[v] for t in plan.targets.values())]
    lines += [
        "",
        "| target | uses | " + " | ".join(WORDS[v] for v in used) + " | credits |",
        "|---|---|" + "---:|" * (len(used) + 1),
    ]
    for target in plan.targets.values():
        cells = " | ".join(f"{target.counts[v]:,}" if target.counts[v] else "" for v in used)
        price = f"{target.credits:,.2f}".rstrip("0").rstrip(".") + (f" + {target.unpriced}×?" if target.unpriced else "")
        lines.append(f"| `{target.target}` | {target.operation} | {cells} | {price} |")
    for target in plan.targets.values():
        details = list(_details(target))
        if details:
            lines += ["", f"<details><summary>{_escape(target.target)}: why</summary>", ""]
            lines += [f"- {_escape(line.strip())}" for line in details]
            lines += ["", "</details>"]
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    """Catalogue text must not become markup or mentions."""
    escaped = printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for letter in "\\`*_[]()|#@!~":
        escaped = escaped.replace(letter, f"&#{ord(letter)};")
    return escaped


def as_document(plan: Plan, slots: Mapping[str, int]) -> dict[str, object]:
    """The plan for scripts."""
    return {
        "schema": 1,
        "campaign": plan.campaign.manifest.name,
        "products": len(plan.campaign),
        "jobs": plan.jobs,
        "submissions": plan.submissions,
        "credits": plan.credits_by_lane(),
        "submissions_without_price": plan.unpriced_by_lane(),
        "expected_seconds": round(plan.expected_seconds(slots), 1),
        "digest": plan.digest,
        "targets": {
            target.target: {
                "uses": target.operation,
                "jobs": target.jobs,
                "counts": {verdict.word: target.counts[verdict] for verdict in SHOWN},
                "changed_fields": target.changed_fields,
                "credits": target.credits,
                "submissions_without_price": target.unpriced,
                "examples": {
                    verdict.word: [{"job": key, "why": why} for key, why in examples]
                    for verdict, examples in target.examples.items()
                },
            }
            for target in plan.targets.values()
        },
    }
