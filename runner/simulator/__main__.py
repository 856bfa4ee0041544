"""The simulator as a process of its own: ``python -m runner.simulator --port 0 --speed 100 --state run.jsonl``."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runner.simulator.faults import FaultRuleError, rules_from
from runner.simulator.options import PROVIDERS, SimulatorOptions, options_from


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM, SIGINT or, if asked, the end of standard input; 0 then, 2 for what cannot be used."""
    parser = _parser()
    told = vars(parser.parse_args(arguments))
    with_stdin = told.pop("exit_with_stdin")
    try:
        options = _options(told)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    try:
        asyncio.run(_serve(options, with_stdin=with_stdin))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"callsheet simulator: {error}\n")
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m runner.simulator", description="Pretend Creatify, Kling, Topview and Akool.")
    parser.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port; 0, the default, takes a free one")
    parser.add_argument("--seed", type=int, help="seed of ids, durations, failures and pictures (default 7)")
    parser.add_argument("--speed", type=float, help="simulated seconds per real second (default 1)")
    parser.add_argument("--state", type=Path, help="JSON-lines file to go on from after a restart")
    parser.add_argument("--fail-rate", type=float, help="share of tasks that fail remotely, 0 to 1")
    parser.add_argument("--spread", type=float, help="sigma of the log-normal durations; 0 for exact medians")
    parser.add_argument("--link-ttl", type=float, help="simulated seconds that result links work")
    parser.add_argument("--faults", type=Path, help="JSON file with fault rules")
    parser.add_argument("--bench", action="store_true", default=None, help="serve one small file per kind instead of drawing")
    parser.add_argument("--known-credentials-only", action="store_false", dest="any_credentials", default=None)
    parser.add_argument("--exit-with-stdin", action="store_true", help="end when standard input closes")
    for name, kind in (("concurrency", int), ("credits", float), ("job-seconds", float)):
        text = f"{name} of one provider, e.g. kling=5; may be repeated ({', '.join(PROVIDERS)})"
        parser.add_argument(f"--{name}", action="append", type=_pair(kind), metavar="PROVIDER=N", help=text)
    return parser


def _pair(kind: Callable[[str], float]) -> Callable[[str], tuple[str, float]]:
    def parse(text: str) -> tuple[str, float]:
        name, equals, value = text.partition("=")
        if not equals or name.partition("/")[0] not in PROVIDERS:
            raise argparse.ArgumentTypeError(f"{text!r} is not PROVIDER=N; providers are {', '.join(PROVIDERS)}")
        try:
            return name, kind(value)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{value!r} is not a number") from None

    return parse


def _options(told: dict[str, Any]) -> SimulatorOptions:
    for name in ("concurrency", "credits", "job_seconds"):
        if told[name] is not None:
            told[name] = dict(told[name])
    if told["faults"] is not None:
        try:
            told["faults"] = rules_from(json.loads(told["faults"].read_text(encoding="utf-8")))
        except (FaultRuleError, ValueError) as error:
            raise ValueError(f"{told['faults']}: {error}") from None
    return options_from(told)


async def _serve(options: SimulatorOptions, *, with_stdin: bool) -> None:
    from runner.simulator.serve import serve

    loop = asyncio.get_running_loop()
    serving = asyncio.ensure_future(serve(options, ready=_announce))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, serving.cancel)
    if with_stdin:
        threading.Thread(target=_wait_for_end, args=(loop, serving), daemon=True).start()
    await asyncio.wait({serving})
    if not serving.cancelled():
        serving.result()


def _wait_for_end(loop: asyncio.AbstractEventLoop, serving: asyncio.Future[None]) -> None:
    while os.read(0, 4096):
        pass
    loop.call_soon_threadsafe(serving.cancel)


def _announce(address: str) -> None:
    sys.stdout.write(f"callsheet simulator listening on {address}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
