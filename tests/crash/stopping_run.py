"""Runs campaigns, each in a forked process, and ends such a process hard at a chosen line of its journal.

Started by ``crash_rig.Stage`` with one JSON request per line on standard input; answers each with its exit code. The product is imported
once, so that a run costs little more than its requests. The child ends with ``os._exit``: no ``finally``, no flush, no unlock, as by SIGKILL.
"""

from __future__ import annotations

import errno
import gc
import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import av
import httpx

from runner import artifacts, feed, planfile, scheduler, worker
from runner.clock import WallClock
from runner.commands import run as door
from runner.engines import local
from runner.errors import CallsheetError
from runner.journal import Journal, frame
from runner.ledger import Ledger
from runner.manifest import load as manifest_loading
from runner.plan import make_plan
from runner.providers import connect
from runner.reports import write_reports
from runner.terminal import outcome
from runner.wire import HttpWire
from runner.workspace import folder_of, load_manifest, open_campaign

KILLED = 137
WARM = (
    aiohttp,
    av,
    httpx,
    artifacts,
    feed,
    planfile,
    scheduler,
    worker,
    local,
    manifest_loading,
    connect,
    write_reports,
    outcome,
    HttpWire,
)
"""What a run loads only when it needs it: loaded here once, for all children."""


@dataclass(slots=True)
class Stop:
    """Where a run ends: at line ``line`` of the journal (the header is line 1; 0: nowhere), and what is left of the file.

    ``whole``: the line is there. ``torn``: half of it is. ``power``: the line is written, then everything that was never fsynced is lost.
    ``full``: the process lives on, but from here on the disk takes nothing more.
    """

    line: int
    how: str
    lines: int = 0
    synced: int = 0

    def sync(self, fd: int) -> None:
        """Fsync, and note how much of the file is safe."""
        size = os.fstat(fd).st_size
        os.fsync(fd)
        self.synced = max(self.synced, size)


class StoppingJournal(Journal):
    """A journal whose process ends at a chosen line."""

    stop: Stop

    def append(self, documents: Sequence[bytes]) -> list[int]:
        """Write as ever; at the chosen line end the process instead of returning."""
        stop = self.stop
        if not stop.lines < stop.line <= stop.lines + len(documents):
            offsets = super().append(documents)
            stop.lines += len(documents)
            return offsets
        if stop.how == "full":
            self._roll_back(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        framed = [frame(document) for document in documents[: stop.line - stop.lines]]
        last = framed.pop()
        os.write(self._fd, b"".join(framed) + (last[: len(last) // 2] if stop.how == "torn" else last))
        if stop.how == "power":
            os.ftruncate(self._fd, max(stop.synced, len(_header_of(self.path))))
        os._exit(KILLED)


def _header_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.readline()


async def _run(request: dict[str, Any]) -> int:
    """What ``callsheet run --rehearse`` does, over a journal that stops."""
    manifest = load_manifest(Path(request["campaign"]), {})
    wishes = door.Wishes(
        manifest=Path(request["campaign"]), rehearse=True, simulator=request["simulator"], speed=request["speed"], fail_rate=None,
        faults=None, select=[], limit=None, max_cost=None, retry=[], plan=None, collect=False, approve=[], secrets_dir=None, quiet=True,
        grace=30.0,
    )  # fmt: skip
    folder = folder_of(manifest, rehearsal=True)
    stop = Stop(request.get("line", 0), request.get("how", "whole"))
    with open_campaign(manifest, folder) as campaign:
        journal = StoppingJournal.open(
            folder.ledger, campaign=manifest.name, rehearsal=True, now=WallClock().now(), sync=stop.sync
        )
        assert isinstance(journal, StoppingJournal)
        journal.stop = stop
        stop.lines = folder.ledger.read_bytes().count(b"\n")
        with Ledger(folder.ledger, journal.header, journal) as ledger:
            plan = make_plan(campaign, ledger, door._options(campaign, wishes))  # the command's own steps, in its order
            campaign.require_distinct_paths()
            return (await door._execute(plan, ledger, folder, wishes)).exit_code  # same


def _child(request: dict[str, Any]) -> None:
    signal.alarm(request["deadline"])  # a run that hangs ends by SIGALRM: that is a failure of its own
    code = 70
    try:
        code = anyio.run(_run, request, backend="asyncio")
    except BaseException as error:  # noqa: BLE001  # a child must never come back into the parent's loop
        code = getattr(error, "exit_code", 70)
        if not isinstance(error, CallsheetError):
            Path(request["error"]).write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    finally:
        os._exit(code)


def main() -> None:
    """Answer requests until standard input ends."""
    gc.freeze()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _child(json.loads(line))
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
