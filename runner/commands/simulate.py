"""``callsheet simulate``: the pretend providers, served on this machine for any client."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import anyio
import typer

from runner.errors import EXIT_OK, UsageError
from runner.terminal.output import shell_path, write

if TYPE_CHECKING:
    from runner.simulator import SimulatorOptions


def command(
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")] = 0,
    speed: Annotated[float, typer.Option("--speed", min=0.01, help="Simulated seconds per second.")] = 1.0,
    seed: Annotated[int, typer.Option("--seed", help="Of ids, durations, failures and pictures.")] = 7,
    state: Annotated[Path | None, typer.Option("--state", help="File to go on from after a restart.")] = None,
    faults: Annotated[Path | None, typer.Option("--faults", help="JSON file with fault rules.")] = None,
    fail_rate: Annotated[float, typer.Option("--fail-rate", min=0, max=1, help="Share of jobs that fail.")] = 0.0,
    concurrency: Annotated[
        list[str] | None, typer.Option("--concurrency", help="Slots of an account: kling=5. Repeatable.")
    ] = None,
    credit: Annotated[list[str] | None, typer.Option("--credits", help="Credit of an account: kling=100. Repeatable.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Say where it listens as one line of JSON.")] = False,
) -> int:
    """Serve the pretend providers until Ctrl-C: for this runner, or for any other client of these APIs. They speak the providers' protocols,
    charge pretend credit and return real media.
    """
    from runner.simulator.options import options_from

    told = {
        "host": host,
        "port": port,
        "speed": speed,
        "seed": seed,
        "state": state,
        "faults": _rules(faults),
        "fail_rate": fail_rate,
        "concurrency": {name: int(value) for name, value in _pairs(concurrency or [], "--concurrency kling=5", whole=True)},
        "credits": dict(_pairs(credit or [], "--credits kling=100")),
    }
    try:
        anyio.run(_serve, options_from(told), as_json, backend="asyncio")
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"cannot listen on {host} port {port}: {reason}", hint="--port 0 takes a free port") from error
    except ValueError as error:
        raise UsageError(str(error), hint="callsheet simulate --help shows what it takes") from error
    return EXIT_OK


async def _serve(options: SimulatorOptions, as_json: bool) -> None:  # anyio.run passes by position
    from runner.simulator.serve import serve

    async def until_told() -> None:
        names = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
        with anyio.open_signal_receiver(*names) as received:
            async for _ in received:
                group.cancel_scope.cancel()
                return

    errors: list[OSError | ValueError] = []
    async with anyio.create_task_group() as group:
        group.start_soon(until_told)
        try:
            await serve(options, ready=lambda address: write(_announcement(address, as_json=as_json)))
        except (OSError, ValueError) as error:
            errors.append(error)
        group.cancel_scope.cancel()
    if errors:
        raise errors[0]


def _announcement(address: str, *, as_json: bool) -> Iterator[str]:
    variables = _environment(address)
    books = f"{address}/_simulator/books"
    if as_json:
        yield json.dumps({"address": address, "environment": variables, "books": books})
        return
    yield f"The pretend providers listen on {address} (Ctrl-C ends them)."
    yield ""
    yield "Point the runner at them from another terminal:"
    yield from (f"  export {name}={shell_path(value)}" for name, value in variables.items())
    yield ""
    yield f"What they took and charged: {books}"


def _environment(address: str) -> Mapping[str, str]:
    """The variables that make a paid run go to the simulator, with credentials that it knows."""
    from runner.settings import REQUIRED, variable
    from runner.simulator import SIMULATED_CREDENTIALS

    found: dict[str, str] = {}
    for provider, ways in REQUIRED.items():
        known = SIMULATED_CREDENTIALS[provider]
        way = next(way for way in reversed(ways) if all(field in known for field in way))
        found[variable(provider, "base_url")] = f"{address}/{provider}"
        found.update({variable(provider, field): known[field] for field in way})
    return found


def _pairs(texts: list[str], example: str, *, whole: bool = False) -> Iterator[tuple[str, float]]:
    """``kling=5`` as a name and a number. Raises ``UsageError``."""
    from runner.simulator.options import PROVIDERS

    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name.partition("/")[0] not in PROVIDERS:
            raise UsageError(
                f"{text!r} is not PROVIDER=N", hint=f"write for example {example}; providers are {', '.join(PROVIDERS)}"
            )
        number = _number(value)
        if number is None or number < 0 or (whole and (number < 1 or number != int(number))):
            kind = "a whole number above 0" if whole else "a number"
            raise UsageError(f"{text!r}: {value!r} is not {kind}", hint=f"write for example {example}")
        yield name, number


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < 1e15 else None


def _rules(file: Path | None) -> object:
    """The fault rules in ``file``; None without one. Raises ``UsageError``."""
    from runner.simulator.faults import FaultRuleError, rules_from

    if file is None:
        return None
    hint = 'a list such as [{"kind": "rate_limit", "provider": "kling", "rate": 0.1}]'
    try:
        return rules_from(json.loads(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}", hint="name a JSON file with fault rules") from error
    except (FaultRuleError, ValueError, RecursionError) as error:
        raise UsageError(f"{file}: {error}", hint=hint) from error
