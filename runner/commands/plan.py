"""``callsheet plan``: what a run would do, why, and what it costs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from runner.clock import WallClock
from runner.errors import EXIT_OK
from runner.workspace import check_settings, folder_of, load_manifest, open_campaign, overrides_of, read_ledger


def command(
    manifest: Annotated[Path, typer.Argument(help="The manifest, or the folder that holds campaign.yaml.")],
    rehearse: Annotated[bool, typer.Option("--rehearse", help="Plan the rehearsal instead of the real run.")] = False,
    select: Annotated[
        list[str] | None, typer.Option("--select", "-s", help="Only these jobs: target:clip,product:SKU-1*")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=0, help="At most this many submissions.")] = None,
    retry: Annotated[
        list[str] | None, typer.Option("--retry", help="Submit failed jobs again: failed, or a cause. Repeatable.")
    ] = None,
    var: Annotated[list[str] | None, typer.Option("--var", help="Override a variable: name=value. Repeatable.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write the plan to a file for: callsheet run --plan FILE")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Answer as JSON.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Answer as Markdown, for a pull request.")] = False,
) -> int:
    """Show what a run would do, why, and what it costs. Submits nothing and writes nothing (save for --out)."""
    from runner.choices import lane_slots, plan_options
    from runner.plan import make_plan
    from runner.planfile import plan_file, write_plan_file
    from runner.terminal.plans import as_document, as_lines, as_markdown

    check_settings(manifest)
    loaded = load_manifest(manifest, overrides_of(var or []))
    folder = folder_of(loaded, rehearsal=rehearse)
    with open_campaign(loaded, folder) as campaign, read_ledger(folder) as ledger:
        plan = make_plan(campaign, ledger, plan_options(campaign, select or [], limit, retry or []))
        slots = lane_slots(campaign)
        if out is not None:
            document = plan_file(plan, ledger, rehearsal=rehearse, now=WallClock().now())
            write_plan_file(out, document)
        if as_json:
            sys.stdout.write(json.dumps(as_document(plan, slots), ensure_ascii=False, indent=2) + "\n")
        elif markdown:
            sys.stdout.write(as_markdown(plan, slots))
        else:
            sys.stdout.write("\n".join(as_lines(plan, slots)) + "\n")
            if out is not None:
                mode = " --rehearse" if rehearse else ""
                sys.stdout.write(f"Written to {out}; run exactly this with: callsheet run {manifest}{mode} --plan {out}\n")
    return EXIT_OK
