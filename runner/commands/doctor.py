"""``callsheet doctor``: credentials, network, clock and disk, looked at one by one. Nothing it does is paid for."""

from __future__ import annotations

import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from difflib import get_close_matches
from email.utils import parsedate_to_datetime
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import anyio
import typer

from runner.clock import WallClock
from runner.errors import EXIT_HALTED, EXIT_USAGE, CallsheetError, Halted, ProviderError, SettingsError, UsageError, WireError
from runner.terminal.checkup import Check, Verdict, as_document, as_page, exit_code
from runner.terminal.output import write_document, write_rendered
from runner.terminal.problems import shown_path

if TYPE_CHECKING:
    from runner.manifest.model import Manifest
    from runner.seams import Provider, Wire
    from runner.settings import Redactor, Settings

MACHINE = "this machine"
LIBRARIES = ("aiohttp", "av", "cryptography", "httpx", "pillow", "pydantic", "uvicorn")
"""The ones with compiled parts or a wide reach: where an installation breaks."""
_MODULES = {"pillow": "PIL.Image"}
GIGABYTE = 1_000_000_000
LITTLE_ROOM, NO_ROOM = 2 * GIGABYTE, GIGABYTE // 10
CLOCK_SECONDS = 30.0
"""A clock that is further off than this may make signed tokens invalid."""


def command(
    manifest: Annotated[
        Path | None, typer.Argument(help="The manifest whose providers to check; all providers when not given.")
    ] = None,
    provider: Annotated[str | None, typer.Option("--provider", help="Only this provider.")] = None,
    secrets_dir: Annotated[Path | None, typer.Option("--secrets-dir", help="Folder with one file per secret.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Answer as JSON.")] = False,
) -> int:
    """Check this machine, and for each provider its credentials, network, clock and balance. Pays for nothing and shows no secret."""
    from runner.workspace import load_manifest

    loaded = load_manifest(manifest, {}) if manifest is not None else None
    names = _providers(loaded, provider)
    checks = list(_machine(loaded))
    settings = _settings(loaded, secrets_dir, checks)
    if settings is not None:
        needed = loaded is not None or provider is not None
        checks += anyio.run(_ask_all, names, settings, needed, backend="asyncio")
    if as_json:
        write_document(as_document(checks))
    else:
        write_rendered(as_page(checks))
    return exit_code(checks)


def _providers(manifest: Manifest | None, wanted: str | None) -> tuple[str, ...]:
    """Whom to check. Raises ``UsageError`` for a provider that does not exist."""
    from runner.providers import provider_names

    known = provider_names()
    if wanted is not None:
        if wanted not in known:
            close = get_close_matches(wanted.lower(), known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"one of: {', '.join(known)}"
            raise UsageError(f"there is no provider {wanted!r}", hint=hint)
        return (wanted,)
    if manifest is None:
        return known
    used = dict.fromkeys(target.uses.partition("/")[0] for target in manifest.targets.values())
    return tuple(name for name in used if name in known)


# ------------------------------------------------------------------------------------------------- this machine


def _machine(manifest: Manifest | None) -> Iterator[Check]:
    from runner import __version__

    yield Check(MACHINE, "callsheet", Verdict.OK, f"{__version__}, Python {platform.python_version()} on {platform.system()}")
    yield _libraries()
    yield from _disk(manifest)


def _libraries() -> Check:
    found, broken = [], []
    for name in LIBRARIES:
        try:
            import_module(_MODULES.get(name, name))
            found.append(f"{name} {metadata.version(name)}")
        except (ImportError, OSError, metadata.PackageNotFoundError) as error:
            broken.append(f"{name} ({type(error).__name__})")
    if broken:
        advice = f"{Path(sys.executable).name} -m pip install --force-reinstall callsheet"
        return Check(MACHINE, "libraries", Verdict.FAILED, f"cannot be loaded: {', '.join(broken)}", advice)
    return Check(MACHINE, "libraries", Verdict.OK, ", ".join(found))


def _disk(manifest: Manifest | None) -> Iterator[Check]:
    from runner.workspace import folder_of

    wanted = folder_of(manifest, rehearsal=False).root if manifest is not None else Path.cwd()
    folder = next((place for place in (wanted, *wanted.parents) if place.is_dir()), wanted)
    shown = shown_path(str(folder))
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"callsheet")
            probe.flush()
    except OSError as error:
        advice = "choose another folder with `runs:` in the manifest, or change its permissions"
        yield Check(MACHINE, "folder", Verdict.FAILED, f"{shown} cannot be written: {error.strerror}", advice)
    else:
        yield Check(MACHINE, "folder", Verdict.OK, f"{shown} can be written")
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        yield Check(MACHINE, "disk", Verdict.WARNING, f"free space cannot be told: {error.strerror}")
        return
    room = Verdict.OK if free >= LITTLE_ROOM else Verdict.WARNING if free >= NO_ROOM else Verdict.FAILED
    advice = "make room: a clip takes 2 to 50 MB, and the ledger must always fit"
    yield Check(MACHINE, "disk", room, f"{free / GIGABYTE:,.1f} GB free", advice)


def _settings(manifest: Manifest | None, secrets_dir: Path | None, checks: list[Check]) -> Settings | None:
    from runner.settings import load_settings

    try:
        settings = load_settings(manifest.root if manifest is not None else Path.cwd(), secrets_dir=secrets_dir)
    except SettingsError as error:
        checks.append(Check(MACHINE, "settings", Verdict.FAILED, error.message, error.hint, EXIT_USAGE))
        return None
    checks.append(Check(MACHINE, "settings", Verdict.OK, "every CALLSHEET_* variable is understood"))
    return settings


# --------------------------------------------------------------------------------------------------- providers


async def _ask_all(names: tuple[str, ...], settings: Settings, needed: bool) -> list[Check]:
    """All providers at once; answers in the order of ``names``."""
    from runner.settings import Redactor
    from runner.wire import HttpWire, WireOptions

    found: dict[str, list[Check]] = {name: [] for name in names}
    redactor = Redactor(settings.secrets())
    async with HttpWire(WireOptions(**settings.network.model_dump())) as wire, anyio.create_task_group() as group:
        for name in names:
            group.start_soon(_ask, _Patient(name, needed, settings, wire, redactor), found[name])
    return [check for name in names for check in found[name]]


class _Patient:
    """One provider's account under examination."""

    def __init__(self, name: str, needed: bool, settings: Settings, wire: Wire, redactor: Redactor) -> None:
        from runner.providers import connect, provider_facts

        self.name = name
        self.needed = needed
        self.wire = wire
        self.redactor = redactor
        self.problem = settings.credentials_problem(name)
        self.facts = provider_facts()[name]
        self.base_url = settings.provider(name).base_url or self.facts.base_url
        self.moved = settings.provider(name).base_url is not None
        self.provider: Provider | None = None if self.problem else connect(name, settings.credentials(name))

    def says(self, name: str, verdict: Verdict, text: str, advice: str = "", code: int = 1) -> Check:
        """One check about this provider, without secrets."""
        return Check(self.name, name, verdict, self.redactor.text(text), self.redactor.text(advice), code)


async def _ask(patient: _Patient, checks: list[Check]) -> None:
    """Credentials, network, clock, balance; each only where the one before it makes sense."""
    if patient.provider is None:
        verdict = Verdict.FAILED if patient.needed else Verdict.WARNING
        advice = "put them into .env or the environment; without them only rehearsals run: --rehearse"
        checks.append(patient.says("credentials", verdict, patient.problem or "", advice, EXIT_USAGE))
        if not patient.needed:
            return  # nobody said that this provider is used: its server need not be asked
    else:
        checks.append(patient.says("credentials", Verdict.OK, "set"))
    reached = await _network(patient, checks)
    if reached and patient.provider is not None:
        checks.append(await _balance(patient, patient.provider))


async def _network(patient: _Patient, checks: list[Check]) -> bool:
    """Ask for the base address without credentials: any answer shows that the way is open."""
    from runner.seams import Request

    clock = WallClock()
    before = clock.now()
    place = f"{patient.base_url} ({'from the environment' if patient.moved else 'the usual address'})"
    try:
        response = await patient.wire.send(Request("GET", "/", signed=False), base_url=patient.base_url, headers={})
    except WireError as error:
        advice = error.hint or "check the network, the proxy variables and the firewall; rehearsals need no network"
        checks.append(patient.says("network", Verdict.FAILED, f"{place}: {error.message}", advice))
        return False
    took = clock.now() - before
    checks.append(patient.says("network", Verdict.OK, f"{place} answers in {took * 1000:.0f} ms"))
    checks.append(_clock(patient, response.headers.get("date", ""), before + took / 2))
    return True


def _clock(patient: _Patient, date: str, now: float) -> Check:
    """Our clock against the server's, which tells whole seconds."""
    try:
        skew = now - (parsedate_to_datetime(date).timestamp() + 0.5)
    except (ValueError, TypeError, OverflowError):
        return patient.says("clock", Verdict.OK, "the server does not tell the time; not compared")
    if abs(skew) <= CLOCK_SECONDS:
        return patient.says(
            "clock", Verdict.OK, "agrees with the server's within a second" if abs(skew) < 1.5 else f"{skew:+.0f} s"
        )
    ahead = "ahead of" if skew > 0 else "behind"
    text = f"this machine's clock is {abs(skew):,.0f} s {ahead} the server's: signed tokens may be refused"
    return patient.says("clock", Verdict.WARNING, text, "set the clock, best by NTP")


async def _balance(patient: _Patient, provider: Provider) -> Check:
    """Whether the credentials are accepted, by asking for the balance."""
    from runner.worker import Worker

    clock = WallClock()
    worker = Worker(provider, base_url=patient.base_url, wire=patient.wire, clock=clock)
    try:
        left = await worker.ask(lambda: provider.balance(clock.now()))
    except Halted as error:
        return patient.says("account", Verdict.FAILED, error.message, error.hint, EXIT_HALTED)
    except (ProviderError, WireError) as error:
        advice = error.hint or "try again in a moment; a run would find out"
        return patient.says("account", Verdict.WARNING, f"could not be asked for its balance: {error.message}", advice)
    except CallsheetError as error:
        return patient.says("account", Verdict.FAILED, error.message, error.hint)
    unit = f"{patient.facts.credit_name}s"
    if left is None:
        return patient.says("account", Verdict.OK, "credentials accepted; the balance is not told")
    if left <= 0:
        return patient.says(
            "account", Verdict.WARNING, f"credentials accepted, but no {unit} are left", "add credit before a paid run"
        )
    return patient.says("account", Verdict.OK, f"credentials accepted, {left:,.2f}".rstrip("0").rstrip(".") + f" {unit} left")
