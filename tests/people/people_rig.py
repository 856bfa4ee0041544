"""What tests of people's decisions work with: small campaigns, the real commands, and the simulator's own record of what it was paid for."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crash_rig import Campaign, Pretend, environment

from runner import events as ev
from runner.commands import invoke
from runner.model import State

SPEED = 300.0
SLOW = 200.0
PATIENCE = 20.0
"""Real seconds after which a condition counts as never coming true."""

STILL = """\
  still:
    uses: creatify/product-image
    with:
      product_url: "https://shop.example/{{ product.key }}.jpg"
      type: product_anyshot
      aspect_ratio: 1x1
      image_prompt: "{{ product.key }} {{ vars.place }}"
"""
GREETING = """\
  greeting:
    uses: akool/talking-photo
    with:
      talking_photo_url: "https://shop.example/hosts/{{ product.key }}.jpg"
      audio_url: "https://shop.example/voice/{{ product.key }}.mp3"
      prompt: "{{ product.key }} greets {{ vars.place }}"
"""
HEAD = """\
callsheet: 1
name: {name}
vars: {{ place: on a table }}
catalogue: {{ source: products.csv, key: sku }}
providers: {limits}
targets:
"""


def write_campaign(folder: Path, name: str, products: int, targets: str, limits: Mapping[str, object] | None = None) -> Campaign:
    """A campaign with these targets. Its product keys are words that occur nowhere else."""
    folder.mkdir(parents=True, exist_ok=True)
    keys = tuple(f"{name}x{number}z" for number in range(products))
    told = {"creatify": {"concurrency": 2}, "akool": {"concurrency": 4}} if limits is None else limits
    used = {lane: value for lane, value in told.items() if f"uses: {lane}/" in targets}
    text = HEAD.format(name=name, limits=json.dumps(used)) + targets
    (folder / "campaign.yaml").write_text(text, encoding="utf-8")
    (folder / "products.csv").write_text("sku,title\n" + "".join(f"{key},Bottle {key}\n" for key in keys), encoding="utf-8")
    return Campaign(folder, name, keys)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    def document(self) -> Any:  # noqa: ANN401 -- any JSON
        """What it answered with ``--json``."""
        return json.loads(self.out)


def callsheet(*arguments: object) -> Ended:
    """A command, run in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = invoke([str(argument) for argument in arguments])
    return Ended(code, out.getvalue(), err.getvalue())


def run(campaign: Campaign, pretend: Pretend, *more: object, speed: float = SPEED) -> Ended:
    """``callsheet run`` in this process, against the simulator, polling only."""
    words = ["--rehearse", "--simulator", pretend.address, "--speed", speed, "--callbacks", "off", "--quiet"]
    return callsheet("run", campaign.folder, *words, *more)


def on(command: str, campaign: Campaign, *more: object) -> Ended:
    """Another command on the same rehearsal."""
    return callsheet(command, campaign.folder, *more, "--rehearse")


def started(campaign: Campaign, pretend: Pretend, *more: object, speed: float = SPEED, **streams: Any) -> subprocess.Popen[str]:  # noqa: ANN401 -- Popen's own
    """``callsheet run`` as a process of its own."""
    words = ["--rehearse", "--simulator", pretend.address, "--speed", speed, "--callbacks", "off", *more]
    told: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, **streams}
    return subprocess.Popen(
        [sys.executable, "-m", "runner", "run", str(campaign.folder), *map(str, words)],
        text=True, cwd=campaign.folder, env=environment(), **told,
    )  # fmt: skip


def until(condition: Callable[[], bool], what: str, process: subprocess.Popen[str] | None = None) -> None:
    """Wait for ``condition``; fails when the process ends, or the patience does."""
    deadline = time.monotonic() + PATIENCE
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"never came true: {what}"
        assert process is None or process.poll() is None, f"the process ended ({process.returncode}) before: {what}"
        pause.wait(0.01)


def ended(process: subprocess.Popen[str], signals: list[signal.Signals]) -> tuple[int, str, float]:
    """Send ``signals``; the exit code, what was printed, and the seconds that it took to end."""
    began = time.monotonic()
    for number, sign in enumerate(signals):
        if number:
            until(lambda: _asleep(process.pid), "the first signal was taken in", process)
        os.kill(process.pid, sign)
    output, _ = process.communicate(timeout=PATIENCE)
    assert "Traceback" not in (output or ""), output
    return process.returncode, output or "", time.monotonic() - began


def _asleep(pid: int) -> bool:
    """Two signals of the same kind become one when the first is not taken in yet: wait until none is pending."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return True
    pending = [line.split()[1] for line in status.read_text().splitlines() if line.startswith(("SigPnd", "ShdPnd"))]
    return all(int(mask, 16) == 0 for mask in pending)


def submitted(campaign: Campaign, pretend: Pretend) -> int:
    """How many tasks the simulator took for this campaign."""
    return sum(len(ids) for ids in pretend.paid(campaign).values())


def paid_once(campaign: Campaign, pretend: Pretend, target: str) -> None:
    """Every product of the campaign was paid for exactly once."""
    paid = {key: len(ids) for key, ids in pretend.paid(campaign).items()}
    assert paid == {f"{target}/{product}": 1 for product in campaign.products}


def states(campaign: Campaign) -> set[State]:
    """The states that its jobs are in."""
    return set(campaign.states().values())


def story(campaign: Campaign, key: str) -> list[ev.Event]:
    """All that the ledger says of a job."""
    with campaign.ledger() as ledger:
        return list(ledger.story(key))
