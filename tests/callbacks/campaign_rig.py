"""A small campaign through all four providers, run in this process: the simulator, the receiver and every request on real sockets."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx

from runner import events as ev
from runner.artifacts import ArtifactStore
from runner.budget import Budget
from runner.campaign import Campaign
from runner.clock import WallClock
from runner.engines.local import EngineTools, LaneSettings, LocalEngine
from runner.events import Event
from runner.fingerprint import AssetDigests
from runner.gates import Gates
from runner.ledger import Ledger
from runner.lifecycle import OPEN
from runner.limits import Pace
from runner.manifest.load import load
from runner.model import State
from runner.plan import TO_DO, PlanOptions, make_plan
from runner.receiver import Ears, Listen, listening, local_address
from runner.seams import CallbackNotice
from runner.settings import rehearsal_settings
from runner.simulator.assets import product_picture, voice_track
from runner.simulator.options import options_from
from runner.simulator.serve import serve
from runner.wire import HttpWire, WireOptions
from runner.workspace import account, operations

SPEED = 600.0
TARGETS: Mapping[str, str] = {
    "still": """
    uses: creatify/product-image
    with: { product_url: "https://shop.example/{{ product.key }}.jpg", type: product_anyshot, image_prompt: "on a table" }""",
    "clip": """
    uses: creatify/product-video
    needs: still
    with: { image: "{{ needs.still.remote_id }}", video_prompt: "it turns" }""",
    "presenter": """
    uses: kling/avatar
    with: { image: picture.jpg, sound_file: voice.mp3, prompt: "speaks" }""",
    "turn": """
    uses: topview/image-to-video
    with: { image: picture.jpg, prompt: "in daylight", duration: 5, mode: lite }""",
    "greeting": """
    uses: akool/talking-photo
    with: { talking_photo_url: "https://shop.example/h.jpg", audio_url: "https://shop.example/v.mp3", prompt: "greets" }""",
}


@asynccontextmanager
async def pretending(**options: object) -> AsyncIterator[str]:
    """A simulator on a real socket; gives its address."""
    address: list[str] = []
    begun = anyio.Event()

    def ready(url: str) -> None:
        address.append(url)
        begun.set()

    async def run() -> None:
        await serve(options_from({"speed": SPEED, "spread": 0.0, **options}), ready=ready)

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await begun.wait()
        yield address[0]
        group.cancel_scope.cancel()


async def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        return int(local_address(listener).rpartition(":")[2])


async def books(address: str) -> dict[str, Any]:
    """The simulator's own account of what it took."""
    async with httpx.AsyncClient(timeout=10) as client:
        page: dict[str, Any] = (await client.get(f"{address}/_simulator/books")).json()
    return page


@dataclass
class Ended:
    """What one run left."""

    states: dict[str, State]
    how: dict[str, str]
    """Job -> how its submission was found to be accepted."""
    submits: Counter[str]
    """Job -> paid submissions begun."""
    heard: Mapping[str, Mapping[str, int]]
    """Lane -> what its callbacks were."""


@dataclass
class Rig:
    """One campaign's folder. ``base`` is told to providers instead of the receiver's own address; without ``listen`` they are told none."""

    folder: Path
    simulator: str
    targets: Collection[str]
    products: int = 1
    base: str | None = None
    port: int = 0
    listen: bool = True
    speed: float = SPEED
    wire: WireOptions = field(default_factory=WireOptions)
    seen: list[tuple[str, str, CallbackNotice]] = field(default_factory=list)
    """Every callback that was let in: lane, submission key, notice."""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        rows = "".join(f"  - {{ sku: P{number} }}\n" for number in range(self.products))
        targets = "".join(f"  {name}:{TARGETS[name]}\n" for name in self.targets)
        text = f"callsheet: 1\nname: rig\ncatalogue:\n  key: sku\n  products:\n{_indented(rows)}targets:\n{targets}"
        (self.folder / "campaign.yaml").write_text(text, encoding="utf-8")
        (self.folder / "picture.jpg").write_bytes(product_picture("Cedar Bottle", 3, 320))
        (self.folder / "voice.mp3").write_bytes(voice_track("a short line", 2.2, 3).data)

    async def run(
        self,
        *,
        on_event: Callable[[Event, LocalEngine], None] | None = None,
        beside: Callable[[LocalEngine, Ears], Coroutine[Any, Any, None]] | None = None,
    ) -> Ended:
        """One run to its end, as ``callsheet run --rehearse`` wires it; ``beside`` runs next to it, ``on_event`` hears each event."""
        campaign = Campaign.open(load(self.folder / "campaign.yaml"), operations(), AssetDigests(None))
        ledger = Ledger.open(self.folder / "ledger.jsonl", campaign="rig", rehearsal=True, now=WallClock().now())
        with closing(campaign), ledger:
            return await self._run(campaign, ledger, on_event, beside)

    async def _run(
        self,
        campaign: Campaign,
        ledger: Ledger,
        on_event: Callable[[Event, LocalEngine], None] | None,
        beside: Callable[[LocalEngine, Ears], Coroutine[Any, Any, None]] | None,
    ) -> Ended:
        plan = make_plan(campaign, ledger, PlanOptions())
        lanes = {target.lane for target in plan.targets.values() if any(target.counts[v] for v in TO_DO)}
        lanes |= {job.lane for job in ledger.jobs.values() if job.state in OPEN}
        settings = rehearsal_settings(self.simulator)
        accounts = {lane: LaneSettings(*account(lane, settings), 4, 10.0) for lane in sorted(lanes)}
        await ledger.record(ev.RunStarted(job="", at=WallClock().now(), run="r"))
        async with contextlib.AsyncExitStack() as stack:
            listener = await stack.enter_async_context(listening(Listen(port=self.port)))
            ears = Ears.of(listener, self.base, ledger.header.id)
            tools = EngineTools(
                ledger=ledger,
                wire=await stack.enter_async_context(HttpWire(self.wire)),
                artifacts=ArtifactStore(self.folder / "artifacts", rehearsal=True),
                budget=Budget(lambda lane: ledger.committed[lane], {}, None, tuple(lanes)),
                clock=WallClock(),
                gates=Gates(campaign.targets, rehearsal=True),
                pace=Pace(self.speed),
                callbacks=ears.callbacks if self.listen else None,
            )
            engine = LocalEngine(plan, accounts, tools)
            if on_event:
                ledger.listeners.append(lambda event, _job: on_event(event, engine))

            def hear(lane: str, key: str, notice: CallbackNotice) -> bool:
                self.seen.append((lane, key, notice))
                return engine.hear(lane, key, notice)

            await stack.enter_async_context(ears.open({lane: one.provider for lane, one in accounts.items()}, hear))
            async with anyio.create_task_group() as group:
                if beside:
                    group.start_soon(beside, engine, ears)
                await engine.run()
                group.cancel_scope.cancel()
        return _ended(ledger, engine.heard())


def _indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.splitlines())


def _ended(ledger: Ledger, heard: Mapping[str, Mapping[str, int]]) -> Ended:
    stories = {key: ledger.story(key) for key in ledger.jobs}
    return Ended(
        states={key: job.state for key, job in ledger.jobs.items()},
        how={key: event.how for key, story in stories.items() for event in story if isinstance(event, ev.Accepted)},
        submits=Counter(key for key, story in stories.items() for event in story if isinstance(event, ev.SubmitStarted)),
        heard=heard,
    )
