"""A plan as a file: what was reviewed is what runs.

Owns the format of ``plan.json`` and the check that nothing moved since: manifest and its files, catalogue, assets (through the jobs' fingerprints)
and ledger. Holds key and fingerprint of every job to do; no prices are trusted from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from runner.campaign import Campaign
from runner.errors import UsageError
from runner.ledger import Ledger
from runner.plan import Plan

FORMAT = 1


class PlanFile(msgspec.Struct, frozen=True, kw_only=True):
    """``plan.json``."""

    callsheet_plan: int
    campaign: str
    rehearsal: bool
    made_at: float
    inputs: dict[str, str]
    """File name relative to the manifest's folder -> SHA-256 of the manifest, its includes and prompts."""
    catalogue: str
    """Digest over the products."""
    ledger: str
    """Which ledger, and how long it was: ``id:bytes``, or empty when there was none."""
    digest: str
    submissions: int
    credits: dict[str, float]
    jobs: dict[str, str]
    """Job key -> fingerprint, for every job to do."""


def plan_file(plan: Plan, ledger: Ledger | None, *, rehearsal: bool, now: float) -> PlanFile:
    """The plan as its file will hold it."""
    campaign = plan.campaign
    return PlanFile(
        callsheet_plan=FORMAT,
        campaign=campaign.manifest.name,
        rehearsal=rehearsal,
        made_at=now,
        inputs=input_digests(campaign),
        catalogue=campaign.catalogue.digest,
        ledger=ledger_position(ledger),
        digest=plan.digest,
        submissions=plan.submissions,
        credits=plan.credits_by_lane(),
        jobs={spec.key: spec.fingerprint for spec, _ in plan.to_do()},
    )


def input_digests(campaign: Campaign) -> dict[str, str]:
    """SHA-256 of the manifest and every file that belongs to it."""
    root = campaign.manifest.root
    return {
        (str(file.relative_to(root)) if file.is_relative_to(root) else str(file)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in campaign.manifest.files
    }


def ledger_position(ledger: Ledger | None) -> str:
    """Which ledger, and how far it was written."""
    return f"{ledger.header.id}:{ledger.path.stat().st_size}" if ledger else ""


def write_plan_file(path: Path, plan: PlanFile) -> None:
    """Write ``plan.json``, whole or not at all. Raises ``UsageError``."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(plan), indent=2) + b"\n")
        partial.replace(path)
    except OSError as error:
        raise UsageError(
            f"the plan cannot be written to {path}: {error.strerror}", hint="name another file with --out"
        ) from error


def read_plan_file(path: Path) -> PlanFile:
    """Read ``plan.json``. Raises ``UsageError``."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=PlanFile)
    except OSError as error:
        raise UsageError(
            f"the plan file {path} cannot be read: {error.strerror}", hint="make one: callsheet plan MANIFEST --out plan.json"
        ) from error
    except msgspec.DecodeError as error:
        raise UsageError(
            f"{path} is not a plan file: {error}", hint="make one: callsheet plan MANIFEST --out plan.json"
        ) from error
    if found.callsheet_plan != FORMAT:
        raise UsageError(
            f"{path} has the plan format {found.callsheet_plan}, this Callsheet reads {FORMAT}", hint="make the plan again"
        )
    return found


def require_unmoved(file: PlanFile, campaign: Campaign, ledger: Ledger | None, *, rehearsal: bool) -> None:
    """Raise ``UsageError`` naming everything that is not as it was when the plan was made."""
    moved = list(_moved(file, campaign, ledger, rehearsal=rehearsal))
    if moved:
        raise UsageError(
            f"the plan does not fit any more: {'; '.join(moved)}",
            hint="make and review a new one: callsheet plan MANIFEST --out plan.json",
        )


def _moved(file: PlanFile, campaign: Campaign, ledger: Ledger | None, *, rehearsal: bool) -> list[str]:
    moved = []
    if file.campaign != campaign.manifest.name:
        moved.append(f"it is for the campaign {file.campaign!r}")
    if file.rehearsal != rehearsal:
        moved.append("it was made for a rehearsal" if file.rehearsal else "it was made for a real run")
    moved += [f"{name} changed" for name in _differences(file.inputs, input_digests(campaign))]
    if file.catalogue != campaign.catalogue.digest:
        moved.append("the catalogue changed")
    if file.ledger != ledger_position(ledger):
        moved.append("the ledger moved on (something ran since)")
    return moved


def _differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))


def require_same_plan(file: PlanFile, plan: Plan) -> None:
    """Raise ``UsageError`` when the jobs to do are not exactly those of the file (an asset changed, for instance)."""
    if plan.digest == file.digest:
        return
    now = {spec.key: spec.fingerprint for spec, _ in plan.to_do()}
    differing = _differences(file.jobs, now)
    shown = ", ".join(differing[:3]) + (f" and {len(differing) - 3} more" if len(differing) > 3 else "")
    raise UsageError(
        f"the plan does not fit any more: an input of {shown or 'its jobs'} changed",
        hint="make and review a new one: callsheet plan MANIFEST --out plan.json",
    )
