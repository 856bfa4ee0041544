"""``callsheet validate``: every error that can be found without spending."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from runner.errors import EXIT_OK
from runner.workspace import check_settings, folder_of, load_manifest, open_campaign, overrides_of


def command(
    manifest: Annotated[Path, typer.Argument(help="The manifest, or the folder that holds campaign.yaml.")],
    var: Annotated[list[str] | None, typer.Option("--var", help="Override a variable: name=value. Repeatable.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Answer as JSON.")] = False,
) -> int:
    """Find every error that can be found without spending: in the manifest, catalogue, templates, parameters and media files."""
    check_settings(manifest)
    from runner.terminal.plans import some

    loaded = load_manifest(manifest, overrides_of(var or []))
    folder = folder_of(loaded, rehearsal=False)
    with open_campaign(loaded, folder) as campaign:
        jobs = sum(len(campaign.bundle(number)) for number in range(len(campaign)))
        campaign.raise_problems()
        campaign.require_distinct_paths()
        products, dropped = len(campaign), campaign.catalogue.dropped
    if as_json:
        answer = {
            "ok": True,
            "campaign": loaded.name,
            "products": products,
            "dropped": dropped,
            "jobs": jobs,
            "targets": list(loaded.targets),
        }
        sys.stdout.write(json.dumps(answer, indent=2) + "\n")
    else:
        left_out = f" ({dropped:,} left out by where)" if dropped else ""
        sys.stdout.write(
            f"{loaded.name}: good. {some(products, 'product')}{left_out}, {some(len(loaded.targets), 'target')}, {some(jobs, 'job')}.\n"
        )
        if not products:
            sys.stdout.write("warning: no product is left, so nothing would be made; look at catalogue.where and at the file\n")
    return EXIT_OK
