"""``callsheet cancel``: stop jobs before they are paid for, and say honestly what that means for the others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import anyio
import typer

from runner.clock import WallClock
from runner.errors import EXIT_OK, UsageError
from runner.model import State
from runner.workspace import Folder, folder_of, load_manifest, open_campaign, overrides_of, user_name

if TYPE_CHECKING:
    from runner.campaign import Campaign
    from runner.ledger import Ledger
    from runner.manifest.model import Manifest
    from runner.people import Person


def command(
    manifest: Annotated[Path, typer.Argument(help="The manifest, or the folder that holds campaign.yaml.")],
    select: Annotated[
        list[str] | None, typer.Option("--select", "-s", help="Which jobs: target:clip,product:SKU-1*. Needed.")
    ] = None,
    by: Annotated[str | None, typer.Option("--by", help="Who decides (default: you).")] = None,
    note: Annotated[str, typer.Option("--note", help="Why, for the record.")] = "",
    rehearse: Annotated[bool, typer.Option("--rehearse", help="Cancel in the rehearsal.")] = False,
    var: Annotated[list[str] | None, typer.Option("--var", help="Override a variable: name=value. Repeatable.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Answer as JSON.")] = False,
) -> int:
    """Cancel jobs. Those not yet submitted are never submitted; those at work are marked, and collected if they finish.

    No provider documents a way to stop work that was accepted, so running jobs cost what they cost.
    """
    if not select:
        raise UsageError("cancel needs --select: it never cancels everything by accident", hint="--select 'target:*' means all")
    loaded = load_manifest(manifest, overrides_of(var or []))
    folder = folder_of(loaded, rehearsal=rehearse)
    counts = anyio.run(_cancel, loaded, folder, select, (by or user_name(), note))
    _tell(counts, as_json=as_json)
    return EXIT_OK


async def _cancel(manifest: Manifest, folder: Folder, select: list[str], who: tuple[str, str]) -> dict[str, int]:
    from runner.ledger import Ledger
    from runner.people import Person

    person = Person(who[0], WallClock().now(), who[1])
    with (
        open_campaign(manifest, folder) as campaign,
        Ledger.open(folder.ledger, campaign=manifest.name, rehearsal=folder.rehearsal, now=person.at) as ledger,
    ):
        return await _cancel_selected(campaign, ledger, select, person)


async def _cancel_selected(campaign: Campaign, ledger: Ledger, select: list[str], person: Person) -> dict[str, int]:
    from runner.choices import plan_options
    from runner.feed import planned_event
    from runner.lifecycle import OPEN
    from runner.people import cancel
    from runner.plan import Decision, Verdict, candidate

    selection = plan_options(campaign, select, None, []).selection
    counts = {"cancelled": 0, "marked": 0, "uncertain": 0, "ended": 0}
    for number in range(len(campaign)):
        for spec in campaign.bundle(number):
            if not selection.matches(candidate(spec, Decision(Verdict.NEW), ledger)):
                continue
            known = ledger.jobs.get(spec.key)
            if known is None or (known.fingerprint != spec.fingerprint and known.state not in OPEN):
                ledger.plan([planned_event(spec, "cancelled before it was submitted", person.at)])
            job = ledger.jobs[spec.key]
            event = cancel(job, person)
            if event is not None:
                counts["marked" if job.state is State.RUNNING else "cancelled"] += 1
                ledger.plan([event])
            elif job.state in {State.UNCERTAIN, State.SUBMITTING}:
                counts["uncertain"] += 1
            else:
                counts["ended"] += 1
    await ledger.durable()
    return counts


def _tell(counts: dict[str, int], *, as_json: bool) -> None:
    from runner.terminal.output import write, write_document

    if as_json:
        write_document({"schema": 1, **counts})
        return
    lines = [f"{counts['cancelled']:,} jobs cancelled: they were not submitted and cost nothing."]
    if counts["marked"]:
        lines.append(
            f"{counts['marked']:,} are at work: no provider documents a way to stop them. If they finish, the next run collects them."
        )
    if counts["uncertain"]:
        lines.append(f"{counts['uncertain']:,} are uncertain and stay so: callsheet reconcile MANIFEST")
    if counts["ended"]:
        lines.append(f"{counts['ended']:,} had ended already.")
    lines.append("Cancelled jobs stay cancelled until: callsheet run MANIFEST --retry cancelled")
    write(lines)
