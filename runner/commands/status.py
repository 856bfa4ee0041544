"""``callsheet status``: where a campaign stands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runner.errors import EXIT_OK
from runner.terminal.output import shell_path, write_document, write_rendered
from runner.workspace import Folder, read_ledger, recorded_folder, require_ledger

if TYPE_CHECKING:
    from runner.terminal.standing import Standing


def command(
    manifest: Annotated[Path, typer.Argument(help="The manifest, its folder, or a run's folder or ledger.")],
    rehearse: Annotated[bool, typer.Option("--rehearse", help="Of the rehearsal instead of the real run.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Answer as JSON.")] = False,
) -> int:
    """Show where a campaign stands: jobs by state, failures and what to do, credits, what to type next. Reads the ledger alone."""
    from runner.terminal.standing import as_document, as_page

    folder = recorded_folder(manifest, rehearsal=rehearse)
    standing = _standing(folder, manifest)
    if as_json:
        write_document(as_document(standing))
    else:
        write_rendered(as_page(standing))
    return EXIT_OK


def _standing(folder: Folder, manifest: Path) -> Standing:
    from runner.locking import lock_owner
    from runner.reports import summarise
    from runner.terminal.problems import sentences
    from runner.terminal.standing import Standing

    with read_ledger(folder) as found:
        ledger = require_ledger(found, folder, manifest)
        info = ledger.info(folder.artifacts)
        again = manifest if manifest.suffix != ".jsonl" and not (manifest / "ledger.jsonl").is_file() else "MANIFEST"
        return Standing(
            info=info,
            summary=summarise(info, ledger.rows()),
            owner=lock_owner(folder.ledger),
            exit_code=ledger.run_ended.exit_code if ledger.run_ended else None,
            halted={lane: sentences(event.message, event.hint) for lane, event in ledger.halted.items()},
            committed={lane: round(amount, 6) for lane, amount in ledger.committed.items()},
            report=folder.report / "index.html",
            given=shell_path(again),
        )
