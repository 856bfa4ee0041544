"""Where a campaign's files lie, and how a command opens them.

Owns the layout below ``runs/`` and ``rehearsals/`` and the wiring of manifest, catalogue, operations, ledger and accounts. Rehearsals live
in a folder of their own, with a ledger that says so: they can never be mistaken for paid work.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runner.bounds import LIMIT_PREFIX, USUAL, InputLimits, env_files
from runner.errors import ManifestError, Mark, Problem, SettingsError, UsageError
from runner.naming import path_component

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.campaign import Campaign
    from runner.ledger import Ledger
    from runner.manifest.model import Manifest
    from runner.seams import Operation, Provider
    from runner.settings import Settings

MANIFEST_NAMES = ("campaign.yaml", "campaign.yml", "callsheet.yaml", "callsheet.yml")


@dataclass(frozen=True, slots=True)
class Folder:
    """One campaign's folder: ``runs/<name>/`` or ``rehearsals/<name>/``."""

    root: Path
    rehearsal: bool

    @property
    def ledger(self) -> Path:
        """The journal."""
        return self.root / "ledger.jsonl"

    @property
    def artifacts(self) -> Path:
        """Finished media."""
        return self.root / "artifacts"

    @property
    def report(self) -> Path:
        """Reports."""
        return self.root / "report"

    @property
    def simulator(self) -> Path:
        """What the simulator remembers between two runs of a rehearsal."""
        return self.root / "simulator.jsonl"

    @property
    def digests(self) -> Path:
        """Remembered digests of input files."""
        return self.root / "digests.json"


def manifest_path(given: Path) -> Path:
    """The manifest that a person means: a file, or a folder that holds ``campaign.yaml``. Raises ``UsageError``."""
    if given.is_dir():
        for name in MANIFEST_NAMES:
            if (given / name).is_file():
                return given / name
        raise UsageError(
            f"there is no campaign.yaml in {given}/", hint="name the manifest file, or write one: callsheet init FOLDER"
        )
    return given


def load_manifest(given: Path, overrides: Mapping[str, str]) -> Manifest:
    """Read the manifest, within the limits in force. Raises ``ManifestError`` with every problem, ``SettingsError``."""
    from runner.manifest.load import load

    path = manifest_path(given)
    if not path.exists():
        raise ManifestError(
            [
                Problem(
                    Mark(str(path), 1, 1),
                    f"there is no file {path}",
                    "name the manifest, or write one: callsheet init FOLDER",
                    "missing",
                )
            ]
        )
    return load(path, overrides=overrides, limits=input_limits(path))


def input_limits(root: Path) -> InputLimits:
    """The limits in force for a manifest in ``root`` (or at it). Loads the settings only when a limit is set. Raises ``SettingsError``."""
    if not _mentioned(LIMIT_PREFIX.rstrip("_"), root):
        return USUAL
    from runner.settings import load_limits

    return load_limits(root)


def check_settings(given: Path) -> None:
    """Refuse unknown variables and wrong values before anything else, as a run would; credentials may be missing. Raises ``SettingsError``."""
    root = manifest_path(given)
    if _mentioned("CALLSHEET_", root):
        from runner.settings import load_settings

        load_settings(root)


def _mentioned(prefix: str, root: Path) -> bool:
    """Whether a variable that begins so may be set. An ``.env`` file that cannot be read as it stands counts: the settings will say why."""
    if any(name.upper().startswith(prefix) for name in os.environ):
        return True
    try:
        texts = [file.read_bytes() for file in env_files(root) if file.is_file()]
    except OSError:
        return True
    return any(prefix.encode() in text.upper() or b"\0" in text for text in texts)


def overrides_of(pairs: list[str]) -> dict[str, str]:
    """``--var name=value`` pairs. Raises ``UsageError``."""
    overrides: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"--var {pair!r} has no value", hint="write --var name=value")
        overrides[name.strip()] = value
    return overrides


def folder_of(manifest: Manifest, *, rehearsal: bool) -> Folder:
    """Where the campaign's runs (or rehearsals) live."""
    base = manifest.runs.parent / "rehearsals" if rehearsal else manifest.runs
    return Folder(base / path_component(manifest.name), rehearsal)


def recorded_folder(given: Path, *, rehearsal: bool) -> Folder:
    """The folder of what has run: by the manifest, or directly by a run's folder or ledger (which knows itself whether it is a rehearsal).

    Raises ``ManifestError``, ``UsageError``.
    """
    from runner.journal import read_header

    ledger = given / "ledger.jsonl" if given.is_dir() else given
    if ledger.name == "ledger.jsonl" and ledger.is_file():
        header = read_header(ledger)
        return Folder(ledger.parent, header.rehearsal if header else rehearsal)
    return folder_of(load_manifest(given, {}), rehearsal=rehearsal)


def operations() -> Mapping[str, Operation]:
    """Every operation of every provider by its full name, for checks and prices; not bound to an account."""
    from runner.providers import connect, provider_names

    return {operation.facts.name: operation for name in provider_names() for operation in connect(name, {}).operations.values()}


@contextmanager
def open_campaign(manifest: Manifest, folder: Folder) -> Iterator[Campaign]:
    """Bind manifest and catalogue, within the limits in force; remembers digests of input files in ``folder`` when that exists."""
    from runner.campaign import Campaign
    from runner.fingerprint import AssetDigests

    digests = AssetDigests(folder.digests if folder.root.is_dir() else None)
    campaign = Campaign.open(manifest, operations(), digests, input_limits(manifest.root))
    try:
        yield campaign
    finally:
        campaign.close()
        digests.save()


@contextmanager
def read_ledger(folder: Folder) -> Iterator[Ledger | None]:
    """The ledger for reading; None when nothing has run yet."""
    from runner.ledger import Ledger

    ledger = Ledger.read(folder.ledger)
    try:
        yield ledger
    finally:
        if ledger:
            ledger.close()


def require_ledger(ledger: Ledger | None, folder: Folder, given: Path | None = None) -> Ledger:
    """The ledger, or ``UsageError`` saying how to get one. ``given`` is the manifest as the person named it."""
    if ledger is not None:
        return ledger
    other = Folder(
        folder.root.parents[1] / ("runs" if folder.rehearsal else "rehearsals") / folder.root.name, not folder.rehearsal
    )
    name, flag = shlex.quote(str(given)) if given else "MANIFEST", " --rehearse" if folder.rehearsal else ""
    hint = f"begin with: callsheet run {name}{flag}"
    if other.ledger.is_file():
        hint += f"; only a {'paid run' if folder.rehearsal else 'rehearsal'} was made: {'leave out' if folder.rehearsal else 'add'} --rehearse"
    raise UsageError(f"nothing has run yet: there is no {folder.ledger}", hint=hint)


def account(name: str, settings: Settings) -> tuple[Provider, str]:
    """The provider's adapter with credentials, and its base URL. Raises ``SettingsError`` naming what to set."""
    from runner.providers import connect

    problem = settings.credentials_problem(name)
    if problem:
        raise SettingsError(
            problem, source=name, hint="set it in the environment or in .env, or rehearse: callsheet run MANIFEST --rehearse"
        )
    provider = connect(name, settings.credentials(name), marker_base=settings.webhook_marker_base)
    return provider, settings.provider(name).base_url or provider.facts.base_url


def user_name() -> str:
    """Who sits at this terminal, for the record of decisions; empty when the system does not say."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
