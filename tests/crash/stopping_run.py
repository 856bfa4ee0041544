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
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import av
import httpx

from runner import artifacts, feed, planfile, scheduler, worker
from runner.clock import WallClock
from runner.commands import run as door
from runner.disk import RealDisk
from runner.engines import local
from runner.errors import CallsheetError
from runner.journal import Journal
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


class StoppingDisk(RealDisk):
    """A disk under the journal on which its process ends at line ``line`` (the header is line 1; 0: nowhere).

    ``whole``: the line is there. ``torn``: a part of it is. ``power``: the line is written, then everything that was never fsynced is
    lost. ``full``: the process lives on, but from here on the disk takes nothing more.
    """

    def __init__(self, journal: Path, line: int, how: str) -> None:
        there = journal.read_bytes() if journal.exists() else b""
        self._lines = there.count(b"\n")
        self._line = line
        self._how = how
        self._synced = len(there)

    def write(self, fd: int, data: bytes) -> int:
        """Write as ever; at the chosen line end the process instead of returning."""
        whole = data.count(b"\n")
        if not self._lines < self._line <= self._lines + whole:
            self._lines += whole
            return super().write(fd, data)
        if self._how == "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        lines = data.splitlines(keepends=True)[: self._line - self._lines]
        last = lines.pop()
        torn = (1, len(last) // 2, len(last) - 1)[self._line % 3]
        super().write(fd, b"".join(lines) + (last[:torn] if self._how == "torn" else last))
        if self._how == "power":
            os.ftruncate(fd, self._synced)
        os._exit(KILLED)

    def fsync(self, fd: int) -> None:
        """Fsync, and note how much of the file is safe."""
        size = os.fstat(fd).st_size
        super().fsync(fd)
        self._synced = max(self._synced, size)


class StoppingJournal(Journal):
    """A journal on such a disk: one a process."""


async def _run(request: dict[str, Any]) -> int:
    """What ``callsheet run --rehearse`` does, over a journal that stops."""
    manifest = load_manifest(Path(request["campaign"]), {})
    wishes = door.Wishes(
        manifest=Path(request["campaign"]), rehearse=True, simulator=request["simulator"], callbacks=request["callbacks"], speed=request["speed"], fail_rate=None,
        faults=None, select=[], limit=None, max_cost=None, retry=[], plan=None, collect=False, approve=[], secrets_dir=None, quiet=True,
        grace=30.0,
    )  # fmt: skip
    folder = folder_of(manifest, rehearsal=True)
    StoppingJournal.disk = StoppingDisk(folder.ledger, request["line"], request["how"])
    with open_campaign(manifest, folder) as campaign:
        journal = StoppingJournal.open(folder.ledger, campaign=manifest.name, rehearsal=True, now=WallClock().now())
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
