"""``callsheet reconcile``: what nobody knows about, and a person's decision on it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import anyio
import typer

from runner.clock import WallClock
from runner.errors import EXIT_OK, EXIT_WAITING, UsageError
from runner.model import State
from runner.workspace import Folder, folder_of, load_manifest, overrides_of, read_ledger, require_ledger, user_name

if TYPE_CHECKING:
    from runner.ledger import Ledger
    from runner.people import Settlement
    from runner.seams import JobState


def command(
    manifest: Annotated[Path, typer.Argument(help="The manifest, or the folder that holds campaign.yaml.")],
    jobs: Annotated[list[str] | None, typer.Argument(help="Job keys to decide on; wildcards are allowed.")] = None,
    adopt: Annotated[str | None, typer.Option("--adopt", metavar="REMOTE_ID", help="The provider has it, under this id.")] = None,
    resubmit: Annotated[
        bool, typer.Option("--resubmit", help="The provider does not have it: the next run submits it again.")
    ] = False,
    give_up: Annotated[bool, typer.Option("--give-up", help="Count it as failed, and its price as spent.")] = False,
    by: Annotated[str | None, typer.Option("--by", help="Who decides (default: you).")] = None,
    note: Annotated[str, typer.Option("--note", help="Why, for the record.")] = "",
    rehearse: Annotated[bool, typer.Option("--rehearse", help="Look at the rehearsal.")] = False,
    var: Annotated[list[str] | None, typer.Option("--var", help="Override a variable: name=value. Repeatable.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Answer as JSON.")] = False,
) -> int:
    """Show submissions that may or may not have reached their provider, and record what a person decides about them.

    Every run looks for them by itself first. What is left here, no provider can answer.
    """
    folder = folder_of(load_manifest(manifest, overrides_of(var or [])), rehearsal=rehearse)
    how = _decision(adopt, resubmit=resubmit, give_up=give_up)
    if how is None:
        with read_ledger(folder) as ledger:
            return _show(require_ledger(ledger, folder), jobs or [], as_json=as_json)
    if not jobs:
        raise UsageError(f"--{how.value} needs the key of a job", hint=f"callsheet reconcile {manifest} lists them")
    decided = anyio.run(_decide, folder, jobs, (how, adopt or "", by or user_name(), note))
    for line in decided:
        sys.stdout.write(line + "\n")
    return EXIT_OK


def _decision(adopt: str | None, *, resubmit: bool, give_up: bool) -> Settlement | None:
    from runner.people import Settlement

    chosen = [
        how
        for how, wanted in (
            (Settlement.ADOPT, adopt is not None),
            (Settlement.RESUBMIT, resubmit),
            (Settlement.GIVE_UP, give_up),
        )
        if wanted
    ]
    if len(chosen) > 1:
        raise UsageError("--adopt, --resubmit and --give-up exclude each other", hint="decide on one")
    return chosen[0] if chosen else None


def _show(ledger: Ledger, patterns: list[str], *, as_json: bool) -> int:
    from runner.terminal.output import write, write_document

    found = list(_matching(ledger, patterns))
    entries = [_entry(ledger, job) for job in found]
    if as_json:
        write_document({"schema": 1, "uncertain": entries})
    elif not entries:
        write(["Nothing is uncertain."])
    else:
        write(line for entry in entries for line in _lines(entry))
        write([_advice(len(entries))])
    return EXIT_WAITING if entries else EXIT_OK


def _matching(ledger: Ledger, patterns: list[str]) -> Iterator[JobState]:
    from fnmatch import fnmatchcase

    for job in ledger.jobs.values():
        if job.state in {State.UNCERTAIN, State.SUBMITTING} and (
            not patterns or any(job.key == pattern or fnmatchcase(job.key, pattern) for pattern in patterns)
        ):
            yield job


def _entry(ledger: Ledger, job: JobState) -> dict[str, object]:
    from runner import events as ev
    from runner.providers import operation_facts

    attempt = ledger.attempt(job.key)
    doubt = next((e for e in reversed(ledger.life(job.key)) if isinstance(e, ev.SubmitUncertain | ev.RemoteLost)), None)
    facts = operation_facts().get(job.operation)
    return {
        "job": job.key,
        "operation": job.operation,
        "account": job.lane,
        "submitted_at": job.submitted_at,
        "submission_key": job.submission_key,
        "remote_id": job.remote_id,
        "credits": job.credits,
        "why": doubt.message if doubt else "the runner stopped before the answer came",
        "how_to_find_it": facts.reconcile if facts else "",
        "parameters": dict(attempt.params) if attempt else {},
    }


def _lines(entry: dict[str, object]) -> Iterator[str]:
    from datetime import UTC, datetime

    from runner.terminal.problems import printable

    at = entry["submitted_at"]
    when = datetime.fromtimestamp(at if isinstance(at, float) else 0.0, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    yield printable(str(entry["job"]))
    yield f"  {entry['operation']}, submitted {when}, about {entry['credits']:g} credits"
    yield f"  why: {printable(str(entry['why']))}"
    if entry["how_to_find_it"]:
        yield f"  where to look: {printable(str(entry['how_to_find_it']))}"
    yield f"  submission key: {entry['submission_key']}"
    parameters = entry["parameters"]
    if isinstance(parameters, dict):
        for name, value in parameters.items():
            text = printable(str(value))
            yield f"  {name}: {text if len(text) <= 90 else text[:87] + '...'}"
    yield ""


def _advice(count: int) -> str:
    return (
        f"{count:,} uncertain. Look each up in the provider's own list, then: callsheet reconcile MANIFEST JOB "
        "--adopt REMOTE_ID | --resubmit | --give-up"
    )


async def _decide(folder: Folder, patterns: list[str], decision: tuple[Settlement, str, str, str]) -> list[str]:
    from runner.ledger import Ledger
    from runner.people import Person, Settlement, settle

    how, remote_id, name, note = decision
    with read_ledger(folder) as before:
        header = require_ledger(before, folder).header
    person = Person(name, WallClock().now(), note)
    with Ledger.open(folder.ledger, campaign=header.campaign, rehearsal=header.rehearsal, now=person.at) as ledger:
        named = [ledger.jobs[key] for key in patterns if key in ledger.jobs]
        jobs = list({job.key: job for job in [*named, *_matching(ledger, patterns)]}.values())
        if not jobs:
            raise UsageError(f"no uncertain job fits {' '.join(patterns)}", hint="callsheet reconcile MANIFEST lists them")
        if how is Settlement.ADOPT and len(jobs) > 1:
            raise UsageError("--adopt names one remote id, but several jobs fit", hint="name one job")
        own = {job.key for job in jobs}  # a job that was lost under its id may be found again under the same one
        taken = frozenset(job.remote_id for job in ledger.jobs.values() if job.remote_id and job.key not in own)
        events = [settle(job, how, person, remote_id=remote_id, taken=taken) for job in jobs]
        for job, event in zip(jobs, events, strict=True):
            await ledger.append(await ledger.take(job.lane), [event])
    return [f"{job.key}: {_done(how, remote_id)}, by {name}" for job in jobs]


def _done(how: Settlement, remote_id: str) -> str:
    said = {
        "adopt": f"adopted {remote_id}; the next run collects it",
        "resubmit": "the next run submits it again",
        "give-up": "given up",
    }
    return said[how.value]
