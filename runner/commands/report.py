"""``callsheet report``: write the reports again, from the ledger alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from runner.errors import EXIT_OK
from runner.terminal.output import write, write_document
from runner.terminal.problems import shown_path
from runner.workspace import read_ledger, recorded_folder, require_ledger


def command(
    manifest: Annotated[Path, typer.Argument(help="The manifest, its folder, or a run's folder or ledger.")],
    rehearse: Annotated[bool, typer.Option("--rehearse", help="Of the rehearsal instead of the real run.")] = False,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", "-f", help="html, markdown, json, csv or junit. Repeatable; all when not given."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The folder to write to; the run's own when not given.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Answer as JSON.")] = False,
) -> int:
    """Write the reports again, from the ledger alone: a run may go on meanwhile. Asks no provider and changes no result."""
    from runner.reports import FORMATS, write_reports

    folder = recorded_folder(manifest, rehearsal=rehearse)
    chosen = [name.strip().lower() for text in formats or [] for name in text.split(",") if name.strip()]
    with read_ledger(folder) as found:
        ledger = require_ledger(found, folder, manifest)
        info = ledger.info(folder.artifacts)
        written = write_reports(info, ledger.rows, out or folder.report, formats=chosen or list(FORMATS))
    if as_json:
        write_document({"ok": True, "campaign": info.campaign, "reports": {name: str(path) for name, path in written.items()}})
    else:
        width = max(len(name) for name in written)
        write(f"{name:<{width}}  {shown_path(str(path))}" for name, path in written.items())
    return EXIT_OK
