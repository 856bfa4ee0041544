"""``callsheet ledger``: verify, repair and compact the file that knows what was paid for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runner.clock import WallClock
from runner.errors import EXIT_LEDGER, EXIT_OK, UsageError
from runner.terminal.output import shell_path, write, write_document
from runner.terminal.problems import printable
from runner.workspace import folder_of, load_manifest

if TYPE_CHECKING:
    from runner.compaction import Compaction
    from runner.damage import Examination, Finding
    from runner.repair import Known, Repair

MOST_SHOWN = 50


def command(
    action: Annotated[str, typer.Argument(metavar="verify|repair|compact", help="What to do with the ledger.")],
    ledger: Annotated[
        Path, typer.Argument(metavar="MANIFEST|LEDGER", help="The manifest, its folder, or a run's folder or ledger.")
    ],
    rehearse: Annotated[bool, typer.Option("--rehearse", help="Of the rehearsal instead of the real run.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Answer as JSON.")] = False,
) -> int:
    """Look after a campaign's ledger. Nothing here submits anything.

    verify names every damaged line; the exit code is 4 when there is one. repair keeps a copy of the damaged file and saves what can be saved, so
    that nothing is paid for twice: what may have been submitted in a lost line becomes uncertain. compact drops lines that nobody reads any more.
    """
    actions = {"verify": _verify, "repair": _repair, "compact": _compact}
    if action not in actions:
        raise UsageError(f"there is no callsheet ledger {printable(action)}", hint="one of: verify, repair, compact")
    path, campaign = _ledger_file(ledger, rehearsal=rehearse)
    if not path.is_file():
        flag = " --rehearse" if rehearse else ""
        raise UsageError(f"there is no ledger {path}", hint=f"begin with: callsheet run MANIFEST{flag}")
    return actions[action](path, campaign, as_json=as_json)


def _ledger_file(given: Path, *, rehearsal: bool) -> tuple[Path, Known]:
    """The ledger's file, and what the manifest says of the campaign when one was named."""
    from runner.repair import Known

    inside = given / "ledger.jsonl" if given.is_dir() else given
    if inside.is_file() and (inside.name == "ledger.jsonl" or ".jsonl" in inside.name):
        return inside, Known()
    manifest = load_manifest(given, {})
    targets = {name: (target.uses, target.uses.partition("/")[0]) for name, target in manifest.targets.items()}
    known = Known(campaign=manifest.name, rehearsal=rehearsal, targets=targets)
    return folder_of(manifest, rehearsal=rehearsal).ledger, known


# ------------------------------------------------------------------------------------------------------------ verify


def _verify(path: Path, known: Known, *, as_json: bool) -> int:
    from runner.damage import examine

    del known
    found = examine(path)
    short = _missing_at_the_end(path)
    good = found.good and not short
    if as_json:
        write_document(_examination(found, short))
    else:
        write(_examined(found, short))
    return EXIT_OK if good else EXIT_LEDGER


def _missing_at_the_end(path: Path) -> int:
    from runner.journal import committed_size
    from runner.snapshot import read_place

    place = read_place(path)
    return max(0, place.size - committed_size(path)) if place else 0


def _examination(found: Examination, short: int) -> dict[str, Any]:
    return {
        "schema": 1,
        "ledger": str(found.path),
        "good": found.good and not short,
        "campaign": found.header.campaign if found.header else None,
        "lines": found.lines,
        "bytes": found.bytes,
        "events": found.events,
        "jobs": found.jobs,
        "torn_tail_bytes": found.torn,
        "missing_at_the_end_bytes": short,
        "findings": [asdict(finding) for finding in found.findings],
    }


def _examined(found: Examination, short: int) -> Iterator[str]:
    path = shell_path(found.path)
    for finding in found.findings[:MOST_SHOWN]:
        yield from _finding(finding)
    if len(found.findings) > MOST_SHOWN:
        yield f"... and {len(found.findings) - MOST_SHOWN:,} more (--json shows all)"
    if short:
        yield f"the last {short:,} bytes are missing: the ledger was longer when its snapshot was taken"
    if found.torn:
        yield f"the last {found.torn:,} bytes are a line that was never finished: harmless, the next run cuts it off"
    if found.good and not short:
        yield f"{path}: {found.lines:,} lines of {found.jobs:,} jobs are as they were written."
    else:
        yield f"{path} is damaged. callsheet ledger repair {path} keeps a copy and saves what can be saved."


def _finding(finding: Finding) -> Iterator[str]:
    healing = " (can be put right to the byte)" if finding.exact else ""
    yield f"line {finding.line:,} (byte {finding.offset:,}) {printable(finding.why)}{healing}"
    for line in finding.story:
        text = printable(line)
        yield f"    {text if len(text) <= 160 else text[:157] + '...'}"


# ------------------------------------------------------------------------------------------------------------ repair


def _repair(path: Path, known: Known, *, as_json: bool) -> int:
    from runner.repair import repair

    done = repair(path, known, now=WallClock().now())
    if as_json:
        write_document(_repair_document(done))
    else:
        write(_repaired(done))
    return EXIT_OK


def _repair_document(done: Repair) -> dict[str, Any]:
    return {
        "schema": 1,
        "ledger": str(done.path),
        "copy": str(done.copy) if done.copy else None,
        "lines": done.lines,
        "healed": done.healed,
        "lost_at_most": done.lost,
        "header": done.header or None,
        "jobs": [asdict(saved) for saved in done.jobs],
    }


def _repaired(done: Repair) -> Iterator[str]:
    if done.copy is None:
        yield f"{shell_path(done.path)}: nothing is wrong, nothing was changed."
        return
    yield f"The damaged file is kept as {shell_path(done.copy)}."
    if done.header:
        yield f"The first line was {done.header}."
    if done.healed:
        yield f"{done.healed:,} damaged lines were put right to the byte."
    if done.lost:
        yield f"At most {done.lost:,} lines are lost."
    for saved in done.jobs:
        yield f"  {printable(saved.job)}: {saved.what}; it is {saved.state} now"
    uncertain = sum(1 for saved in done.jobs if saved.state == "uncertain")
    if uncertain:
        yield f"{uncertain:,} uncertain: the next run looks for them, callsheet reconcile MANIFEST shows what stays open."
    yield "Run the same command again: it resumes."


# ----------------------------------------------------------------------------------------------------------- compact


def _compact(path: Path, known: Known, *, as_json: bool) -> int:
    from runner.compaction import compact

    del known
    done = compact(path, now=WallClock().now())
    if as_json:
        write_document(
            {"schema": 1, **{name: value for name, value in asdict(done).items() if name != "path"}, "ledger": str(path)}
        )
    else:
        write([_compacted(done)])
    return EXIT_OK


def _compacted(done: Compaction) -> str:
    return (
        f"{shell_path(done.path)}: {done.lines_before:,} lines became {done.lines_after:,}, "
        f"{done.bytes_before:,} bytes became {done.bytes_after:,}."
    )
