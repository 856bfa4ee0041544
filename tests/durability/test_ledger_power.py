"""Power cuts, full disks and other people's hands, at any moment: what was promised is on the disk, or it was not promised."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest
from core_events import LANE, MAKERS, road

from runner import events as ev
from runner.compaction import compact
from runner.disk import RealDisk
from runner.errors import CallsheetError, LedgerCorrupt, LedgerError, LedgerLocked
from runner.journal import Journal, read_lines
from runner.ledger import Ledger
from runner.repair import Known, repair
from runner.snapshot import snapshot_path

PAGE = 4096


class Killed(BaseException):
    """The machine stops here."""


class MeteredDisk(RealDisk):
    """The machine's disk, which remembers what of the newest file is safe, and may stop or fail at its ``fatal`` call."""

    def __init__(self, fatal: int = 0, failure: Callable[[], BaseException] = Killed) -> None:
        self.calls = 0
        self.safe = b""
        """What a power cut leaves for certain of the journal."""
        self._fatal = fatal
        self._failure = failure

    def _count(self) -> None:
        self.calls += 1
        if self.calls == self._fatal:
            raise self._failure()

    def write(self, fd: int, data: bytes) -> int:
        """Takes half first, like a disk that fills up."""
        if self.calls + 1 == self._fatal:
            os.write(fd, data[: len(data) // 2])
        self._count()
        return super().write(fd, data)

    def fsync(self, fd: int) -> None:
        """And remember."""
        self._count()
        super().fsync(fd)
        size = os.fstat(fd).st_size
        self.safe = Path(f"/proc/self/fd/{fd}").read_bytes()[:size]

    def ftruncate(self, fd: int, size: int) -> None:
        """As it is."""
        self._count()
        super().ftruncate(fd, size)

    def replace(self, source: Path, target: Path) -> None:
        """As it is."""
        self._count()
        super().replace(source, target)

    def sync_folder(self, folder: Path) -> None:
        """As it is."""
        self._count()
        super().sync_folder(folder)


def standing_on(disk: MeteredDisk, path: Path) -> Journal:
    """A journal over that disk."""

    class OnThatDisk(Journal):
        """Stands on the disk above."""

    OnThatDisk.disk = disk
    return OnThatDisk.open(path, campaign="c", rehearsal=False, now=1.0, threaded=False)


def opened(path: Path, disk: MeteredDisk | None = None) -> Ledger:
    """A ledger, over that disk."""
    if disk is None:
        return Ledger.open(path, campaign="c", rehearsal=False, now=1.0, threaded=False)
    journal = standing_on(disk, path)
    return Ledger(path, journal.header, journal)


def campaign() -> Iterator[list[ev.Event]]:
    """What a small run appends, step by step: planned lines are not waited for, everything about money is."""
    for number in range(6):
        job = f"still/P{number}"
        yield road(job, "ready", number * 10)
        yield [MAKERS["SubmitStarted"](job, number * 10 + 3)]
        if number > 1:
            yield [MAKERS["Accepted"](f"still/P{number - 2}", number * 10 + 4)]
        if number > 3:
            yield [MAKERS["RemoteSucceeded"](f"still/P{number - 4}", number * 10 + 5)]


class Promises:
    """What the run was told is safe: intents (a paid request left) and acceptances."""

    def __init__(self) -> None:
        self.intents: set[str] = set()
        self.remote_ids: dict[str, str] = {}

    def note(self, event: ev.Event) -> None:
        """``append`` returned."""
        if isinstance(event, ev.SubmitStarted):
            self.intents.add(event.job)
        elif isinstance(event, ev.Accepted):
            self.remote_ids[event.job] = event.remote_id

    def check(self, ledger: Ledger) -> None:
        """Everything promised is known."""
        for job in self.intents:
            assert ledger.jobs[job].state.value not in {"pending", "ready"}, job
        for job, remote_id in self.remote_ids.items():
            assert ledger.jobs[job].remote_id == remote_id


async def _run(ledger: Ledger, promises: Promises, after: Callable[[], None]) -> None:
    tenure = await ledger.take(LANE)
    for events in campaign():
        if isinstance(events[0], ev.Planned):
            ledger.plan(events)
        else:
            await ledger.append(tenure, events)
            promises.note(events[0])
        after()


def tails(unsynced: bytes, dice: random.Random) -> Iterator[bytes]:
    """What a power cut may leave of bytes that were written and never fsynced: some pages, in any state."""
    yield b""
    yield unsynced
    yield unsynced[: dice.randrange(len(unsynced) + 1)]
    yield b"\0" * len(unsynced)
    yield dice.randbytes(len(unsynced))
    cut = min(len(unsynced), PAGE)
    yield b"\0" * cut + unsynced[cut:]
    yield unsynced[: cut // 2] + dice.randbytes(cut - cut // 2) + unsynced[cut:]


def test_a_power_cut_at_any_moment_loses_nothing_that_was_promised(tmp_path: Path) -> None:
    """After every append, whatever is left of the unsynced tail: no accepted work is lost, no paid request is without its intent."""
    disk, promises, dice = MeteredDisk(), Promises(), random.Random(7)
    path, after = tmp_path / "ledger.jsonl", tmp_path / "after" / "ledger.jsonl"
    after.parent.mkdir()
    damaged = 0

    def cut() -> None:
        nonlocal damaged
        written = path.read_bytes()
        assert written.startswith(disk.safe)
        for tail in tails(written[len(disk.safe) :], dice):
            after.write_bytes(disk.safe + tail)
            try:
                ledger = opened(after)
            except LedgerCorrupt:  # garbage with a newline in it looks like a damaged line: said, and repaired
                damaged += 1
                repair(after, Known(), now=2.0)
                ledger = opened(after)
            with ledger:
                promises.check(ledger)
            snapshot_path(after).unlink(missing_ok=True)

    ledger = opened(path, disk)
    anyio.run(_run, ledger, promises, cut)
    ledger.close()
    assert len(promises.intents) == 6
    assert len(promises.remote_ids) == 4


def test_a_new_ledger_has_its_name_on_the_disk_before_anything_is_written(tmp_path: Path) -> None:
    """Header, fsync, rename, fsync of the folder: in this order."""
    calls: list[str] = []

    class Recording(MeteredDisk):
        """Notes the order."""

        def fsync(self, fd: int) -> None:
            calls.append("fsync")
            super().fsync(fd)

        def replace(self, source: Path, target: Path) -> None:
            calls.append("rename")
            super().replace(source, target)

        def sync_folder(self, folder: Path) -> None:
            calls.append(f"folder {folder == tmp_path}")
            super().sync_folder(folder)

    standing_on(Recording(), tmp_path / "ledger.jsonl").close()
    assert calls[:3] == ["fsync", "rename", "folder True"]


def no_space() -> OSError:
    """A full disk."""
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def broken() -> OSError:
    """A broken disk."""
    return OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize("failure", [no_space, broken, Killed])
def test_any_call_to_the_disk_may_be_the_last(tmp_path: Path, failure: Callable[[], BaseException]) -> None:
    """Every write, fsync, truncation and rename fails or kills in turn: an error in words, and the next run knows everything promised."""
    fatal, ended = 0, False
    hints: list[str] = []
    while not ended:
        fatal += 1
        disk, promises = MeteredDisk(fatal, failure), Promises()
        path = tmp_path / str(fatal) / "ledger.jsonl"
        ledger: Ledger | None = None
        try:
            ledger = opened(path, disk)
            anyio.run(_run, ledger, promises, lambda: None)
            ledger.close()
            ledger = None
        except (LedgerError, Killed) as error:
            hints.append(getattr(error, "hint", "killed"))
        finally:
            if ledger and ledger._writer()._fd >= 0:  # the process is gone, and its lock with it
                os.close(ledger._writer()._fd)
                ledger._writer()._lock.release()
                ledger._writer()._fd = -1
        ended = disk.calls < fatal
        with opened(path) as again:
            promises.check(again)
            assert [line.number for line in read_lines(path)] == list(range(1, len(list(read_lines(path))) + 1))
    assert fatal > 40
    assert all(hints)


@pytest.mark.parametrize("work", ["compact", "repair"])
@pytest.mark.parametrize("failure", [no_space, broken, Killed])
def test_who_dies_while_rewriting_leaves_the_old_file_or_the_new(
    tmp_path: Path, work: str, failure: Callable[[], BaseException]
) -> None:
    """Compaction and repair stop at every call in turn: the ledger is the old one or the new one, and opens (or is repaired) as ever."""
    path = tmp_path / "ledger.jsonl"

    async def write() -> None:
        with opened(path) as ledger:
            tenure = await ledger.take(LANE)
            for number in range(5):
                await ledger.append(tenure, road(f"still/{number}", "running"))
                await ledger.append(tenure, [MAKERS["Observed"](f"still/{number}", n) for n in range(3)])
                await ledger.append(tenure, [MAKERS[name](f"still/{number}", 9) for name in ("RemoteSucceeded", "AllStored")])

    anyio.run(write)
    if work == "repair":
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[:7] + lines[8:]))
    old, kept = path.read_bytes(), snapshot_path(path).read_bytes()
    fatal, ended, results = 0, False, set()
    while not ended:
        fatal += 1
        path.write_bytes(old)
        snapshot_path(path).write_bytes(kept)
        disk = MeteredDisk(fatal, failure)
        try:
            if work == "compact":
                compact(path, now=2.0, disk=disk)
            else:
                repair(path, Known(), now=2.0, disk=disk)
            ended = disk.calls < fatal
        except (CallsheetError, Killed):
            pass
        results.add(path.read_bytes())
        if work == "repair" and path.read_bytes() == old:
            repair(path, Known(), now=3.0)
        with opened(path) as ledger:
            assert {job.state.value for job in ledger.jobs.values()} == {"succeeded"}
    assert len(results) == 2
    assert fatal > 4


# ---------------------------------------------------------------------------------------------------- other people's hands


async def _append_one(ledger: Ledger, job: str) -> None:
    await ledger.append(await ledger.take(LANE), road(job, "running"))


def test_a_ledger_deleted_while_in_use_is_rescued(tmp_path: Path) -> None:
    """The next append says so, and everything written is in a file again."""
    path = tmp_path / "ledger.jsonl"
    ledger = opened(path)
    anyio.run(_append_one, ledger, "still/a")
    path.unlink()
    with pytest.raises(LedgerError, match="deleted"):
        anyio.run(_append_one, ledger, "still/b")
    ledger.close()
    with opened(path) as again:
        assert again.jobs.keys() == {"still/a", "still/b"}


def test_a_ledger_replaced_while_in_use_is_rescued_beside_it(tmp_path: Path) -> None:
    """What stands there now is left alone."""
    path = tmp_path / "ledger.jsonl"
    ledger = opened(path)
    anyio.run(_append_one, ledger, "still/a")
    path.rename(tmp_path / "moved.jsonl")
    path.write_bytes(b"something else")
    with pytest.raises(LedgerError, match="replaced") as caught:
        anyio.run(_append_one, ledger, "still/b")
    ledger.close()
    assert path.read_bytes() == b"something else"
    rescued = next(tmp_path.glob("ledger.jsonl.rescued-*"))
    assert str(rescued) in caught.value.hint
    assert len(list(read_lines(rescued))) == 9


def test_a_second_writer_that_passes_the_lock_is_noticed(tmp_path: Path) -> None:
    """Somebody else's bytes in the file end the run before anything is built on them."""
    path = tmp_path / "ledger.jsonl"
    ledger = opened(path)
    anyio.run(_append_one, ledger, "still/a")
    with path.open("ab") as file:
        file.write(b"a stranger's line\n")
    with pytest.raises(LedgerError, match="something else changed"):
        anyio.run(_append_one, ledger, "still/b")
    ledger.close()


def test_the_lock_of_a_dead_process_of_another_machine_is_free(tmp_path: Path) -> None:
    """A folder copied here with its lock file: the operating system's lock decides, not the text."""
    path = tmp_path / "ledger.jsonl"
    path.with_name("ledger.jsonl.lock").write_bytes(b'{"pid":1,"host":"elsewhere","since":1.0}\n')
    with opened(path), pytest.raises(LedgerLocked) as caught:
        opened(path)
    assert caught.value.pid == os.getpid()


def test_a_moved_folder_is_the_same_ledger(tmp_path: Path) -> None:
    """Nothing in it depends on where it lies."""
    path = tmp_path / "here" / "ledger.jsonl"
    with opened(path) as ledger:
        anyio.run(_append_one, ledger, "still/a")
    path.parent.rename(tmp_path / "there")
    with opened(tmp_path / "there" / "ledger.jsonl") as again:
        assert again.jobs["still/a"].remote_id
        assert again.story("still/a")
