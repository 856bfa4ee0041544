"""A whole run in virtual time: real manifest, plan, ledger, feed, driver and engine; pretend providers behind a pretend wire."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import trio.testing
from pretend_provider import PlainStore, PretendProvider, PretendWire, Server, picture

from runner import events as ev
from runner.budget import Budget
from runner.campaign import Campaign
from runner.clock import LoopClock
from runner.engines.local import EngineTools, LaneSettings, LocalEngine
from runner.errors import CallsheetError
from runner.fingerprint import AssetDigests
from runner.gates import Gates
from runner.ledger import Ledger
from runner.lifecycle import OPEN
from runner.manifest.load import load
from runner.plan import TO_DO, Plan, PlanOptions, make_plan

START = 1_760_000_000.0


def virtual(main: Callable[[], Awaitable[None]]) -> None:
    """Run ``main`` in virtual time: hours pass at once."""
    clock = trio.testing.MockClock(autojump_threshold=0)
    anyio.run(main, backend="trio", backend_options={"clock": clock})


def products(count: int) -> list[dict[str, Any]]:
    """That many products."""
    return [{"sku": f"P{number:03}", "title": f"Product {number}"} for number in range(count)]


def manifest(rows: Collection[Mapping[str, Any]], targets: Mapping[str, Any], **more: object) -> dict[str, Any]:
    """A manifest with inline products."""
    document = {"callsheet": 1, "name": "c", "catalogue": {"products": list(rows), "key": "sku"}, "targets": targets, **more}
    return copy.deepcopy(document)


STILL = {"uses": "one/still", "with": {"prompt": "A picture of {{ product.title }}"}}
CLIP = {"uses": "two/clip", "needs": "still", "with": {"record": "{{ needs.still.remote_id }}"}}
CHAIN = {"still": STILL, "clip": CLIP}


@dataclass
class Outcome:
    """What a run left."""

    states: dict[str, str]
    seconds: float
    engine: LocalEngine
    plan: Plan
    budget: Budget
    error: BaseException | None = None

    @property
    def counts(self) -> Counter[str]:
        """State -> jobs."""
        return Counter(self.states.values())


@dataclass(frozen=True)
class Wishes:
    """What a person asked of one run."""

    budgets: Mapping[str, float] = field(default_factory=dict)
    max_cost: float | None = None
    approved: tuple[str, ...] = ()
    submitting: bool = True


@dataclass
class Stage:
    """One campaign's folder and its providers; ``run`` is one run of the product, with a ledger of its own each time."""

    folder: Path
    document: dict[str, Any]
    servers: dict[str, Server] = field(default_factory=lambda: {"one": Server(), "two": Server()})
    providers: dict[str, PretendProvider] = field(
        default_factory=lambda: {"one": PretendProvider("one"), "two": PretendProvider("two")}
    )
    concurrency: dict[str, int] = field(default_factory=lambda: {"one": 5, "two": 5})
    rate: float = 10.0
    now: float = START
    sync: Callable[[int], None] = lambda _fd: None
    stores: list[PlainStore] = field(default_factory=list)
    turns: int = 0
    """Times that any lane looked for work in the newest run."""
    ledger_kind: type[Ledger] = Ledger

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.wire = PretendWire(self.servers, picture(self.folder / "pixel.png"))
        self.store = PlainStore(self.folder / "artifacts")

    @property
    def path(self) -> Path:
        """The ledger's file."""
        return self.folder / "ledger.jsonl"

    def campaign(self) -> Campaign:
        """The manifest as it is now."""
        path = self.folder / "campaign.yaml"
        path.write_text(json.dumps(self.document, ensure_ascii=False), encoding="utf-8")
        operations = {op.facts.name: op for one in self.providers.values() for op in one.operations.values()}
        return Campaign.open(load(path), operations, AssetDigests(None))

    def ledger(self) -> Ledger:
        """Open for writing."""
        return self.ledger_kind.open(self.path, campaign="c", rehearsal=False, now=self.now, threaded=False, sync=self.sync)

    def plan(self, options: PlanOptions | None = None) -> Plan:
        """What a run would do."""
        campaign = self.campaign()
        ledger = Ledger.read(self.path)
        try:
            return make_plan(campaign, ledger, options or PlanOptions())
        finally:
            campaign.close()
            if ledger:
                ledger.close()

    async def run(
        self,
        options: PlanOptions | None = None,
        *,
        beside: Callable[[LocalEngine, anyio.CancelScope], Coroutine[Any, Any, None]] | None = None,
        wishes: Wishes | None = None,
    ) -> Outcome:
        """One run to its end. ``beside`` runs next to it and may stop or cancel it."""
        with closing(self.campaign()) as campaign, self.ledger() as ledger:
            return await self._run(
                campaign, ledger, make_plan(campaign, ledger, options or PlanOptions()), beside, wishes or Wishes()
            )

    async def _run(
        self,
        campaign: Campaign,
        ledger: Ledger,
        plan: Plan,
        beside: Callable[[LocalEngine, anyio.CancelScope], Coroutine[Any, Any, None]] | None,
        wishes: Wishes,
    ) -> Outcome:
        began = anyio.current_time()
        lanes = {target.lane for target in plan.targets.values() if any(target.counts[v] for v in TO_DO)}
        lanes |= {job.lane for job in ledger.jobs.values() if job.state in OPEN}
        clock = LoopClock(self.now)
        await ledger.record(ev.RunStarted(job="", at=clock.now(), run="r"))
        budget = Budget(lambda lane: ledger.committed[lane], wishes.budgets, wishes.max_cost, tuple(lanes))
        tools = EngineTools(
            ledger=ledger,
            wire=self.wire,
            artifacts=self.store,
            budget=budget,
            clock=clock,
            gates=Gates(campaign.targets, wishes.approved),
            submitting=wishes.submitting,
        )
        accounts = {lane: LaneSettings(self.providers[lane], lane, self.concurrency[lane], self.rate) for lane in sorted(lanes)}
        engine = LocalEngine(plan, accounts, tools)
        error: BaseException | None = None
        async with anyio.create_task_group() as group:
            with anyio.CancelScope() as scope:
                if beside:
                    group.start_soon(beside, engine, scope)
                try:
                    await engine.run()
                except CallsheetError as caught:
                    error = caught
            group.cancel_scope.cancel()
        seconds = anyio.current_time() - began
        self.now += seconds
        states = {key: job.state.value for key, job in ledger.jobs.items()}
        return Outcome(states, seconds, engine, plan, budget, error)

    def charged_twice(self) -> dict[str, int]:
        """Keys that any server was paid for more than once."""
        return {key: times for server in self.servers.values() for key, times in server.twice.items()}

    def paid(self) -> int:
        """Tasks accepted over all servers."""
        return sum(sum(server.paid.values()) for server in self.servers.values())
