"""Ways to damage a ledger file, and what a damaged ledger must never lead to."""

from __future__ import annotations

import copy
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import anyio
from pretend_provider import Fault
from stage import CHAIN, Outcome, Stage, manifest, products, virtual

from runner.engines.local import LocalEngine
from runner.journal import committed_size
from runner.ledger import Ledger
from runner.plan import PlanOptions
from runner.repair import Known, Repair, repair
from runner.snapshot import snapshot_path

Damage = Callable[[list[bytes], int], list[bytes]]
"""(all lines, with their newlines; which one) -> the damaged lines."""


def dropped(lines: list[bytes], at: int) -> list[bytes]:
    """Without that line."""
    return lines[:at] + lines[at + 1 :]


def doubled(lines: list[bytes], at: int) -> list[bytes]:
    """With that line twice."""
    return [*lines[: at + 1], lines[at], *lines[at + 1 :]]


def swapped(lines: list[bytes], at: int) -> list[bytes]:
    """That line after the next one."""
    return [*lines[:at], *reversed(lines[at : at + 2]), *lines[at + 2 :]]


def zeroed(lines: list[bytes], at: int) -> list[bytes]:
    """That line's bytes are zeros, its newline stands."""
    return [*lines[:at], b"\0" * (len(lines[at]) - 1) + b"\n", *lines[at + 1 :]]


def page_zeroed(lines: list[bytes], at: int) -> list[bytes]:
    """Four lines in a row are one stretch of zeros: newlines and all."""
    lost = b"".join(lines[at : at + 4])
    return [*lines[:at], b"\0" * (len(lost) - 1) + b"\n", *lines[at + 4 :]]


def scrambled(lines: list[bytes], at: int) -> list[bytes]:
    """Its first and last thirds are readable, the rest is not."""
    line = lines[at]
    third = len(line) // 3
    return [*lines[:at], line[:third] + b"\x7f" * third + line[2 * third :], *lines[at + 1 :]]


def flipped(lines: list[bytes], at: int) -> list[bytes]:
    """One bit in its middle is another."""
    line = bytearray(lines[at])
    line[len(line) // 2] ^= 0x04
    return [*lines[:at], bytes(line), *lines[at + 1 :]]


def truncated(lines: list[bytes], at: int) -> list[bytes]:
    """The file ends before that line."""
    return lines[:at]


DAMAGES: Mapping[str, Damage] = {
    damage.__name__: damage for damage in (dropped, doubled, swapped, zeroed, page_zeroed, scrambled, flipped, truncated)
}


@dataclass(frozen=True)
class Interrupted:
    """A campaign that was stopped in the middle of everything, to be damaged and resumed many times."""

    stage: Stage
    lines: list[bytes]
    spare: Path

    def resumed(
        self, content: bytes, *, snapshot: bool = True, options: PlanOptions | None = None
    ) -> tuple[Stage, Outcome, Repair]:
        """A copy of it all with this content as the ledger, repaired and run again to its end."""
        shutil.rmtree(self.spare, ignore_errors=True)
        shutil.copytree(self.stage.folder, self.spare)
        stage = Stage(
            self.spare, self.stage.document, servers=copy.deepcopy(self.stage.servers), providers=self.stage.providers,
            concurrency=self.stage.concurrency, rate=self.stage.rate, now=self.stage.now + 60,
        )  # fmt: skip
        stage.path.write_bytes(content)
        if not snapshot:
            snapshot_path(stage.path).unlink()
        done = repair(stage.path, Known(campaign="c"), now=stage.now)
        outcomes: list[Outcome] = []

        async def main() -> None:
            for server in stage.servers.values():  # the loop's clock begins anew
                for task in server.tasks.values():
                    task.began -= 10_000.0
            outcomes.append(await stage.run(options))

        virtual(main)
        return stage, outcomes[0], done


def interrupted(folder: Path, *, seconds: float, count: int = 5) -> Interrupted:
    """A chain over two accounts, with lost replies, refusals and failures, stopped after ``seconds``."""
    stage = Stage(folder / "played", manifest(products(count), CHAIN))
    stage.servers["one"].script = Mishaps()
    stage.servers["one"].ending = some_fail
    stage.concurrency = {"one": 3, "two": 2}
    stage.providers["two"].still.can_find = False
    for operation in stage.providers["two"].operations.values():
        operation.can_find = False  # type: ignore[attr-defined]  # the pretend provider's own switch

    async def stop(_engine: LocalEngine, scope: anyio.CancelScope) -> None:
        await anyio.sleep(seconds)
        scope.cancel()

    async def main() -> None:
        await stage.run(beside=stop)

    virtual(main)
    for server in stage.servers.values():
        server.script = quiet
    return Interrupted(stage, stage.path.read_bytes().splitlines(keepends=True), folder / "resumed")


def quiet(kind: str, document: Mapping[str, object], earlier: int) -> None:
    """Nothing goes wrong any more."""


class Mishaps:
    """Every third submission's reply is lost, every fourth is put off first."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, kind: str, document: Mapping[str, object], earlier: int) -> Fault | None:
        """What goes wrong with this request."""
        if kind != "submit":
            return None
        self.count += 1
        if self.count % 3 == 0:
            return Fault("lost_reply")
        return Fault("deferred", "rate") if self.count % 4 == 0 else None


def some_fail(key: str, params: Mapping[str, object], number: int) -> str:
    """The third task fails."""
    return "failed" if number == 2 else "succeeded"


def work_paid_twice(stage: Stage) -> dict[str, int]:
    """Work (by what was ordered) that a provider did, or does, more than once without having failed at it."""
    done: Counter[str] = Counter()
    for server in stage.servers.values():
        for task in server.tasks.values():
            if task.ending == "succeeded":
                done[f"{task.operation} {sorted(task.params.items())}"] += 1
    return {work: times for work, times in done.items() if times > 1}


def settled(stage: Stage) -> dict[str, str]:
    """Every job's state, by the ledger that is on disk."""
    with Ledger.read(stage.path) as ledger:  # type: ignore[union-attr]  # there is one
        assert committed_size(stage.path) == stage.path.stat().st_size
        return {key: job.state.value for key, job in ledger.jobs.items()}
