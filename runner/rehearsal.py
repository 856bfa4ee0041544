"""Starts the simulator for a rehearsal, in a process of its own, and stops it again.

Owns that process: it listens on loopback only, keeps what it was told in the rehearsal's folder (so that a rehearsal killed half way goes on
where it was), and ends by itself when this process dies. The only place where the product meets its simulator.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import DEVNULL, PIPE

import anyio
from anyio.streams.text import TextReceiveStream

from runner.errors import CallsheetError, UsageError

STARTING_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class RehearsalOptions:
    """How the pretend providers behave. ``speed``: simulated seconds per real second."""

    state: Path
    speed: float = 100.0
    seed: int = 7
    fail_rate: float | None = None
    faults: Path | None = None
    concurrency: Mapping[str, int] = field(default_factory=dict)
    address: str | None = None
    """A simulator that runs already and is left running; the other options are its own business. None starts one."""


def simulator_command(options: RehearsalOptions) -> list[str]:
    """The command line that starts the simulator."""
    command = [sys.executable, "-m", "runner.simulator", "--port", "0", "--exit-with-stdin"]
    command += ["--speed", str(options.speed), "--seed", str(options.seed), "--state", str(options.state)]
    if options.fail_rate is not None:
        command += ["--fail-rate", str(options.fail_rate)]
    if options.faults is not None:
        command += ["--faults", str(options.faults)]
    for provider, slots in options.concurrency.items():
        command += ["--concurrency", f"{provider}={slots}"]
    return command


@asynccontextmanager
async def simulator(options: RehearsalOptions) -> AsyncIterator[str]:
    """The simulator's address while the context lasts. Raises ``CallsheetError`` when it does not start."""
    if options.address is not None:
        yield options.address
        return
    if options.faults is not None and not options.faults.is_file():
        raise UsageError(f"there is no file {options.faults}", hint="--faults names a JSON file with fault rules")
    options.state.parent.mkdir(parents=True, exist_ok=True)
    # A session of its own: Ctrl-C at the terminal reaches the run, which still needs the simulator to drain.
    async with await anyio.open_process(
        simulator_command(options), stdin=PIPE, stdout=PIPE, stderr=DEVNULL, start_new_session=True
    ) as process:
        try:
            yield await _address(process)
        finally:
            process.terminate()
            with anyio.CancelScope(shield=True):
                await process.wait()


async def _address(process: anyio.abc.Process) -> str:
    if process.stdout is None:
        raise CallsheetError("the simulator has no output")
    heard = ""
    with anyio.move_on_after(STARTING_SECONDS):
        async for text in TextReceiveStream(process.stdout):
            heard += text
            if "\n" in heard:
                break
    start = heard.find("http://")
    if start < 0:
        raise CallsheetError("the simulator did not start", hint="try it alone: callsheet simulate --port 0")
    return heard[start:].split()[0]
