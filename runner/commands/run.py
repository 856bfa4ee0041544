"""``callsheet run``: run a campaign, or resume it.

Reads as a list of steps: load, expand, compare, price, check, execute, report.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import signal
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import anyio
import typer

from runner import __version__
from runner.clock import WallClock
from runner.errors import EXIT_INTERRUPTED, UsageError
from runner.terminal.output import write_if_heard
from runner.workspace import Folder, account, folder_of, input_limits, load_manifest, open_campaign, overrides_of, user_name

if TYPE_CHECKING:
    from runner.budget import Budget
    from runner.campaign import Campaign
    from runner.engines.local import LaneSettings, LocalEngine
    from runner.ledger import Ledger
    from runner.manifest.model import Manifest
    from runner.plan import Plan, PlanOptions
    from runner.receiver import Ears
    from runner.settings import Settings
    from runner.terminal.outcome import Outcome
    from runner.terminal.progress import Tally

REFRESH_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line asked for."""

    manifest: Path
    rehearse: bool
    speed: float
    fail_rate: float | None
    faults: Path | None
    select: list[str]
    limit: int | None
    max_cost: float | None
    retry: list[str]
    plan: Path | None
    collect: bool
    approve: list[str]
    secrets_dir: Path | None
    quiet: bool
    grace: float
    simulator: str | None = None
    callbacks: str | None = None
    listen: str | None = None


def command(
    manifest: Annotated[Path, typer.Argument(help="The manifest, or the folder that holds campaign.yaml.")],
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="Run against the built-in simulator: no keys, no network, no cost.")
    ] = False,
    select: Annotated[
        list[str] | None, typer.Option("--select", "-s", help="Only these jobs: target:clip,product:SKU-1*. Repeatable.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=0, help="At most this many submissions.")] = None,
    max_cost: Annotated[float | None, typer.Option("--max-cost", min=0, help="At most this many credits in this run.")] = None,
    retry: Annotated[
        list[str] | None, typer.Option("--retry", help="Submit failed jobs again: failed, or a cause. Repeatable.")
    ] = None,
    plan: Annotated[Path | None, typer.Option("--plan", help="Run exactly this plan file, or refuse if anything moved.")] = None,
    collect: Annotated[bool, typer.Option("--collect", help="Submit nothing; finish what is already paid for.")] = False,
    approve: Annotated[
        list[str] | None, typer.Option("--approve", help="Open the gate of this target ('*': of all) for this run.")
    ] = None,
    var: Annotated[list[str] | None, typer.Option("--var", help="Override a variable: name=value. Repeatable.")] = None,
    speed: Annotated[float, typer.Option("--speed", min=0.01, help="Rehearsal: simulated seconds per second.")] = 60.0,
    fail_rate: Annotated[
        float | None, typer.Option("--fail-rate", min=0, max=1, help="Rehearsal: share of jobs that fail.")
    ] = None,
    faults: Annotated[Path | None, typer.Option("--faults", help="Rehearsal: JSON file with fault rules.")] = None,
    simulator: Annotated[
        str | None, typer.Option("--simulator", help="Rehearsal: address of a simulator that runs already, at --speed.")
    ] = None,
    callbacks: Annotated[
        str | None,
        typer.Option(
            "--callbacks",
            help="Public address of this run's receiver; providers call back there. Rehearsals: 'off' to poll only.",
        ),
    ] = None,
    listen: Annotated[
        str | None, typer.Option("--listen", help="Where the receiver listens: HOST:PORT (127.0.0.1 and any free port).")
    ] = None,
    secrets_dir: Annotated[Path | None, typer.Option("--secrets-dir", help="Folder with one file per secret.")] = None,
    grace: Annotated[
        float, typer.Option("--grace", min=0, help="Seconds that steps under way may take to end after the first Ctrl-C.")
    ] = 30.0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Answer as JSON.")] = False,
) -> int:
    """Run a campaign. The same command again resumes it: nothing is paid for twice."""
    wishes = Wishes(
        manifest, rehearse, speed, fail_rate, faults, select or [], limit, max_cost, retry or [], plan, collect,
        approve or [], secrets_dir, quiet or as_json, grace, simulator, callbacks, listen,
    )  # fmt: skip
    loaded = load_manifest(manifest, overrides_of(var or []))
    outcome = anyio.run(_run, loaded, wishes, backend="asyncio")
    said = json.dumps(outcome.as_document(), ensure_ascii=False, indent=2) if as_json else outcome.as_text()
    write_if_heard(sys.stdout, said + "\n")
    return outcome.exit_code


async def _run(manifest: Manifest, wishes: Wishes) -> Outcome:
    """Load, expand, compare, price, check, execute, report."""
    from runner.ledger import Ledger
    from runner.plan import make_plan

    folder = folder_of(manifest, rehearsal=wishes.rehearse)
    with open_campaign(manifest, folder) as campaign:
        _check_before(campaign, folder, wishes)
        with Ledger.open(folder.ledger, campaign=manifest.name, rehearsal=wishes.rehearse, now=WallClock().now()) as ledger:
            options = _options(campaign, wishes)
            if "deadline" in options.retry:
                await _give_up_late(ledger)
            plan = make_plan(campaign, ledger, options)
            campaign.require_distinct_paths()
            _check_plan_file(wishes, plan)
            return await _execute(plan, ledger, folder, wishes)


async def _give_up_late(ledger: Ledger) -> None:
    """``--retry deadline``: a person pays again rather than wait longer; the late work is not looked at any more."""
    from runner import events as ev
    from runner.model import State

    now = WallClock().now()
    late = [job.key for job in ledger.jobs.values() if job.state is State.RUNNING and job.error_cause == "deadline"]
    ledger.plan([ev.GivenUp(job=key, at=now, by=user_name(), note="--retry deadline", cause="deadline") for key in late])
    await ledger.durable()


def _check_before(campaign: Campaign, folder: Folder, wishes: Wishes) -> None:
    """A plan file must fit before the ledger is even opened for writing."""
    from runner.planfile import read_plan_file, require_unmoved
    from runner.workspace import read_ledger

    if wishes.plan is not None:
        with read_ledger(folder) as before:
            require_unmoved(read_plan_file(wishes.plan), campaign, before, rehearsal=wishes.rehearse)
    _check_callbacks(campaign, wishes)
    unknown = [name for name in wishes.approve if name != "*" and name not in campaign.targets]
    if unknown:
        raise UsageError(f"--approve: there is no target {unknown[0]!r}", hint=f"one of: {', '.join(campaign.targets)}")


def _check_callbacks(campaign: Campaign, wishes: Wishes) -> None:
    """Addresses are checked before anything is opened. Raises ``UsageError``."""
    from runner.callbacks import public_base, require_short
    from runner.providers import provider_facts

    if wishes.listen is not None:
        from runner.receiver import Listen

        Listen.of(wishes.listen)
        if not wishes.rehearse and wishes.callbacks in {None, "off"}:
            raise UsageError(
                "--listen alone calls nobody back", hint="add --callbacks with the address that providers reach it at"
            )
    if wishes.callbacks not in {None, "off"}:
        facts = provider_facts()
        lanes = {campaign.lane_of(name) for name in campaign.targets}
        require_short(public_base(wishes.callbacks or ""), {lane: facts[lane] for lane in sorted(lanes) if lane in facts})


def _options(campaign: Campaign, wishes: Wishes) -> PlanOptions:
    from runner.choices import plan_options
    from runner.planfile import read_plan_file

    options = plan_options(campaign, wishes.select, wishes.limit, wishes.retry)
    if wishes.collect:
        return replace(options, limit=0)
    return replace(options, only=read_plan_file(wishes.plan).jobs) if wishes.plan else options


def _check_plan_file(wishes: Wishes, plan: Plan) -> None:
    from runner.planfile import read_plan_file, require_same_plan

    if wishes.plan is not None:
        require_same_plan(read_plan_file(wishes.plan), plan)


async def _execute(plan: Plan, ledger: Ledger, folder: Folder, wishes: Wishes) -> Outcome:
    from runner.budget import Budget
    from runner.terminal.outcome import Outcome
    from runner.terminal.progress import Tally, open_jobs

    open_before = open_jobs(ledger.jobs)
    tally = Tally(total=plan.submissions + open_before)
    lanes = _lanes_at_work(plan, ledger)
    budgets = {lane: limits.budget for lane, limits in plan.campaign.manifest.limits.items() if limits.budget is not None}
    budget = Budget(lambda lane: ledger.committed[lane], budgets, wishes.max_cost, lanes)
    interrupted = False
    if lanes:
        ledger.listeners.append(tally.hear)
        interrupted = await _drive(plan, ledger, folder, wishes, (lanes, budget, tally))
    outcome = Outcome.of(plan, ledger, tally, budget, folder=folder, interrupted=interrupted)
    outcome.advice += _uncollected(ledger)
    if lanes:
        await _record_end(ledger, outcome.exit_code)
    if lanes or not folder.report.exists():
        outcome.write_reports(ledger)
    return outcome


def _lanes_at_work(plan: Plan, ledger: Ledger) -> tuple[str, ...]:
    """Lanes with something to submit or to finish: a run with nothing to do starts nothing."""
    from runner.lifecycle import OPEN
    from runner.plan import TO_DO

    lanes = {target.lane for target in plan.targets.values() if any(target.counts[v] for v in TO_DO)}
    lanes |= {job.lane for job in ledger.jobs.values() if job.state in OPEN}
    order = dict.fromkeys([*(target.lane for target in plan.targets.values()), *sorted(lanes)])
    return tuple(lane for lane in order if lane in lanes)


async def _drive(plan: Plan, ledger: Ledger, folder: Folder, wishes: Wishes, work: tuple[tuple[str, ...], Budget, Tally]) -> bool:
    """Run the engine under signals and a progress display; True when a person stopped it."""
    from runner.artifacts import ArtifactStore
    from runner.engines.local import EngineTools, LocalEngine
    from runner.gates import Gates
    from runner.limits import Pace
    from runner.receiver import Bounds
    from runner.settings import Redactor
    from runner.wire import HttpWire, WireOptions

    lanes, budget, tally = work
    async with AsyncExitStack() as stack:
        ears = await _ears(ledger, wishes, stack)  # before the simulator, which may have old news
        settings = await _settings(plan, folder, wishes, stack)
        redactor = Redactor(settings.secrets())
        ledger.guard = redactor.values
        accounts = _accounts(plan, lanes, settings)
        await _record_start(ledger, accounts)
        limits = input_limits(plan.campaign.manifest.root)
        artifacts = ArtifactStore(folder.artifacts, rehearsal=wishes.rehearse, limits=limits)
        artifacts.sweep()
        tools = EngineTools(
            ledger=ledger,
            wire=await stack.enter_async_context(HttpWire(WireOptions(**settings.network.model_dump()))),
            artifacts=artifacts,
            budget=budget,
            clock=WallClock(),
            gates=Gates(plan.campaign.targets, wishes.approve, rehearsal=wishes.rehearse, by=user_name()),
            pace=Pace(wishes.speed if wishes.rehearse else 1.0),
            provenance={"campaign": ledger.header.campaign},
            submitting=not wishes.collect,
            callbacks=ears.callbacks if ears else None,
            max_artifact_bytes=settings.max_download_bytes,
        )
        engine = LocalEngine(plan, accounts, tools)
        if ears:
            providers = {lane: settings.provider for lane, settings in accounts.items()}
            await stack.enter_async_context(ears.open(providers, engine.hear, Bounds.of(limits)))
        return await _watched(engine, tally, wishes)


async def _ears(ledger: Ledger, wishes: Wishes, stack: AsyncExitStack) -> Ears | None:
    """Where this run listens for callbacks: always in rehearsals, in real runs when it was told its public address."""
    if wishes.callbacks == "off" or not (wishes.callbacks or wishes.rehearse):
        return None
    from runner.callbacks import own_port, public_base
    from runner.receiver import Ears, Listen, listening

    listen = Listen.of(wishes.listen) if wishes.listen else Listen(rather=own_port(ledger.header.id) if wishes.rehearse else 0)
    listener = await stack.enter_async_context(listening(listen))
    return Ears.of(listener, public_base(wishes.callbacks) if wishes.callbacks else None, ledger.header.id)


async def _settings(plan: Plan, folder: Folder, wishes: Wishes, stack: AsyncExitStack) -> Settings:
    from runner.choices import lane_slots
    from runner.rehearsal import RehearsalOptions, simulator
    from runner.settings import load_settings, rehearsal_settings

    if not wishes.rehearse:
        return load_settings(plan.campaign.manifest.root, secrets_dir=wishes.secrets_dir)
    options = RehearsalOptions(
        state=folder.simulator,
        speed=wishes.speed,
        fail_rate=wishes.fail_rate,
        faults=wishes.faults,
        concurrency=lane_slots(plan.campaign),
        address=wishes.simulator,
    )
    return rehearsal_settings(await stack.enter_async_context(simulator(options)))


def _accounts(plan: Plan, lanes: tuple[str, ...], settings: Settings) -> Mapping[str, LaneSettings]:
    from runner.choices import lane_limits
    from runner.engines.local import LaneSettings

    accounts = {}
    for lane in lanes:
        provider, base_url = account(lane, settings)
        concurrency, rate = lane_limits(plan.campaign, lane, provider.facts)
        accounts[lane] = LaneSettings(provider, base_url, concurrency, rate)
    return accounts


async def _watched(engine: LocalEngine, tally: Tally, wishes: Wishes) -> bool:
    """Run the engine; True when a person (or the system) stopped it.

    The first signal drains: nothing new is submitted, steps under way end within the grace period. The second one, or the end of that
    period, stops at once: what was being submitted then is uncertain, and looked for by the next run.
    """
    from runner.terminal.progress import progress_for

    interrupted = False
    failure: Exception | None = None

    async def listen(scope: anyio.CancelScope) -> None:
        nonlocal interrupted
        names = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
        with anyio.open_signal_receiver(*names) as received:
            async for _ in received:
                if interrupted:
                    scope.cancel()
                    return
                interrupted = True
                engine.stop()
                scope.deadline = anyio.current_time() + wishes.grace

    async def show() -> None:
        # The outer suppress is for the display's beginning and end: a terminal that goes away must not end the work.
        with contextlib.suppress(OSError, ValueError), progress_for(tally, engine, quiet=wishes.quiet) as display:
            while True:
                with contextlib.suppress(OSError, ValueError):  # the terminal went away: the work goes on
                    display.refresh()
                await anyio.sleep(REFRESH_SECONDS)

    try:
        async with anyio.create_task_group() as beside:
            beside.start_soon(show)
            with anyio.CancelScope() as scope:
                beside.start_soon(listen, scope)
                try:
                    await engine.run()
                except Exception as error:  # noqa: BLE001  # raised below: a task group would wrap it, and the exit code be lost
                    failure = error
            beside.cancel_scope.cancel()
    finally:
        for pair in engine.lost_ids():
            write_if_heard(sys.stderr, f"accepted by the provider, but not recorded: {pair}\n")
    if failure is not None:
        raise failure
    return interrupted


def _uncollected(ledger: Ledger) -> list[str]:
    """Which results that were paid for expire when, and why the first of them is not stored."""
    from runner.providers import operation_facts
    from runner.terminal.expiry import as_lines, expiries, refused

    now = WallClock().now()
    return [*as_lines(expiries(ledger, operation_facts(), now), now), *refused(ledger)]


async def _record_start(ledger: Ledger, accounts: Mapping[str, LaneSettings]) -> None:
    from runner import events as ev

    limits = {lane: settings.concurrency for lane, settings in accounts.items()}
    await ledger.record(ev.RunStarted(job="", at=WallClock().now(), run=secrets.token_hex(4), version=__version__, limits=limits))


async def _record_end(ledger: Ledger, exit_code: int) -> None:
    from runner import events as ev

    run = ledger.run_started.run if ledger.run_started else ""
    if exit_code != EXIT_INTERRUPTED or run:
        await ledger.record(ev.RunEnded(job="", at=WallClock().now(), run=run, exit_code=exit_code))
