"""The journal's bytes: torn tails, flipped bits, full disks, locks and shared fsyncs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.from_thread
import anyio.lowlevel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.errors import LedgerCorrupt, LedgerError, LedgerLocked
from runner.journal import Journal, frame, read_header, read_lines, unframe
from runner.ledger import Ledger

DOCUMENTS = [b'{"a":1}', '{"text":"ä\\n\u2028"}'.encode(), b'{"nested":{"crc":"00000000"}}', b'{"last":true}']


def opened(path: Path, *, sync: Callable[[int], None] = os.fsync, campaign: str = "c", rehearsal: bool = False) -> Journal:
    """A journal that fsyncs inline."""
    return Journal.open(path, campaign=campaign, rehearsal=rehearsal, now=1.0, threaded=False, sync=sync)


def written(path: Path) -> bytes:
    """A journal with a header and four lines; its bytes."""
    with opened(path) as journal:
        journal.append(DOCUMENTS)
    return path.read_bytes()


def payloads(path: Path) -> list[bytes]:
    """Every line's payload without the header's."""
    return [line.payload for line in read_lines(path)][1:]


class CountingSync:
    """An fsync that counts, and lets others go on while it lasts (as the real one in its thread does)."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, fd: int) -> None:
        """What the journal calls."""
        self.calls += 1
        os.fsync(fd)


class FailingSync:
    """An fsync that fails once it is told to, ``times`` times."""

    def __init__(self, times: int) -> None:
        self.left = times
        self.armed = False
        self.calls = 0

    def __call__(self, fd: int) -> None:
        """What the journal calls."""
        self.calls += 1
        if self.armed and self.left > 0:
            self.left -= 1
            raise OSError(5, "Input/output error")


# ------------------------------------------------------------------------------------------------------------ torn tails


def test_a_tail_torn_at_any_byte_is_cut_off(tmp_path: Path) -> None:
    """Cut anywhere, the journal opens with exactly the lines whose newline is there, and goes on from them."""
    whole = written(tmp_path / "whole.jsonl")
    header = whole.index(b"\n") + 1
    path = tmp_path / "torn.jsonl"
    for end in range(header, len(whole) + 1):
        path.write_bytes(whole[:end])
        complete = whole[:end].count(b"\n") - 1
        assert payloads(path) == DOCUMENTS[:complete]
        with opened(path) as journal:
            journal.append([b'{"after":1}'])
        assert payloads(path) == [*DOCUMENTS[:complete], b'{"after":1}']


def test_a_torn_header_begins_a_new_journal(tmp_path: Path) -> None:
    """A run that died while it wrote the first line left nothing: the next one begins anew."""
    whole = written(tmp_path / "whole.jsonl")
    path = tmp_path / "torn.jsonl"
    for end in (0, 1, whole.index(b"\n")):
        path.write_bytes(whole[:end])
        assert read_header(path) is None
        assert Ledger.read(path) is None
        with opened(path) as journal:
            assert journal.size == path.stat().st_size > 0


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole journal that examples are made from."""
    path = tmp_path_factory.mktemp("journal") / "whole.jsonl"
    written(path)
    return path


@settings(max_examples=200, deadline=None)
@given(tail=st.binary(max_size=300).filter(lambda tail: b"\n" not in tail))
def test_any_tail_without_a_newline_is_harmless(whole: Path, tail: bytes) -> None:
    """Whatever bytes a torn write left behind the last newline, they are dropped and the lines stay."""
    path = whole.with_name("torn.jsonl")
    path.write_bytes(whole.read_bytes() + tail)
    with opened(path) as journal:
        journal.append([b'{"after":1}'])
    assert payloads(path) == [*DOCUMENTS, b'{"after":1}']


# ---------------------------------------------------------------------------------------------------------- flipped bits


def test_a_flipped_bit_anywhere_in_a_line_is_caught(tmp_path: Path) -> None:
    """Every bit of every committed line but the last newline is guarded: reading raises and names that line."""
    whole = written(tmp_path / "whole.jsonl")
    path = tmp_path / "flipped.jsonl"
    line = 1
    for position, byte in enumerate(whole[:-1]):
        for bit in range(8):
            path.write_bytes(whole[:position] + bytes([byte ^ (1 << bit)]) + whole[position + 1 :])
            with pytest.raises(LedgerCorrupt) as caught:
                list(read_lines(path))
            assert caught.value.line == line
        line += byte == 0x0A


def test_a_damaged_last_newline_drops_that_line_only(tmp_path: Path) -> None:
    """The last newline cannot be told from a torn write: the line before it counts as never committed, all others stay."""
    whole = written(tmp_path / "whole.jsonl")
    path = tmp_path / "flipped.jsonl"
    path.write_bytes(whole[:-1] + b"\x0b")
    assert payloads(path) == DOCUMENTS[:-1]


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(st.text(max_size=8), st.one_of(st.text(max_size=20), st.integers(), st.none()), min_size=1, max_size=4),
    st.data(),
)
def test_a_line_read_back_is_the_line_or_nothing(document: dict[str, object], data: st.DataObject) -> None:
    """Any document survives framing; a line with one byte changed, dropped or doubled is never taken for a good one."""
    payload = json.dumps(document).encode()
    line = frame(payload)[:-1]
    assert unframe(line) == payload
    at = data.draw(st.integers(0, len(line) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != line[at]))
    assert unframe(line[:at] + bytes([other]) + line[at + 1 :]) is None
    dropped = line[:at] + line[at + 1 :]
    assert unframe(dropped) is None
    assert unframe(line[:at] + line[at : at + 1] + line[at:]) is None


def test_damage_is_reported_and_not_repaired(tmp_path: Path) -> None:
    """Opening for writing raises too when the header is damaged, and no byte of the file is changed."""
    whole = written(tmp_path / "ledger.jsonl")
    damaged = whole.replace(b'"campaign":"c"', b'"campaign":"d"')
    (tmp_path / "ledger.jsonl").write_bytes(damaged)
    with pytest.raises(LedgerCorrupt):
        opened(tmp_path / "ledger.jsonl")
    assert (tmp_path / "ledger.jsonl").read_bytes() == damaged
    (tmp_path / "ledger.jsonl").write_bytes(whole)
    opened(tmp_path / "ledger.jsonl").close()  # the lock was let go


def test_a_damaged_line_is_reported_by_the_ledger_with_its_number(tmp_path: Path) -> None:
    """Readers and the writer both refuse a ledger with a bad line, naming it, and leave no file or lock open."""
    path = tmp_path / "ledger.jsonl"
    whole = written(path)
    path.write_bytes(whole.replace(b'"a":1', b'"a":2'))
    for _ in range(2):
        with pytest.raises(LedgerCorrupt) as caught:
            Ledger.read(path)
        assert caught.value.line == 2
        with pytest.raises(LedgerCorrupt):
            Ledger.open(path, campaign="c", rehearsal=False, now=2.0)


def test_a_line_that_is_no_event_is_reported(tmp_path: Path) -> None:
    """A well-formed line that this version does not know is damage with a line number, not a traceback."""
    path = tmp_path / "ledger.jsonl"
    with opened(path) as journal:
        journal.append([b'{"event":"Teleported","job":"x","at":1.0}'])
    with pytest.raises(LedgerCorrupt, match="line 2"):
        Ledger.read(path)


def test_a_foreign_file_is_not_a_ledger(tmp_path: Path) -> None:
    """A file of something else is refused and left as it is."""
    path = tmp_path / "ledger.jsonl"
    for content in (b"hello\nworld\n", b"\n", b"{}\n", frame(b'{"callsheet":"ledger"}'), b"\x00" * 100 + b"\n"):
        path.write_bytes(content)
        with pytest.raises(LedgerCorrupt):
            opened(path)
        with pytest.raises(LedgerCorrupt):
            Ledger.read(path)
        assert path.read_bytes() == content


def test_a_folder_in_the_ledgers_place_is_said_in_words(tmp_path: Path) -> None:
    """What cannot be opened is a ``LedgerError`` with a hint, whatever stands in the way."""
    (tmp_path / "ledger.jsonl").mkdir()
    with pytest.raises(LedgerError) as caught:
        opened(tmp_path / "ledger.jsonl")
    assert caught.value.hint
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError):
        opened(tmp_path / "file" / "ledger.jsonl")


# ----------------------------------------------------------------------------------------------------- identity of a file


def test_rehearsals_and_paid_runs_never_share_a_ledger(tmp_path: Path) -> None:
    """Another kind of run or another campaign is refused, the file stays as it was, and the lock is free again."""
    path = tmp_path / "ledger.jsonl"
    whole = written(path)
    with pytest.raises(LedgerError, match="rehearsal"):
        opened(path, rehearsal=True)
    with pytest.raises(LedgerError, match="'c'"):
        opened(path, campaign="other")
    assert path.read_bytes() == whole
    opened(path).close()


def test_a_ledger_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    """Reader and writer both say that an upgrade is needed."""
    path = tmp_path / "ledger.jsonl"
    header = {"callsheet": "ledger", "version": 2, "campaign": "c", "rehearsal": False, "id": "x", "created": 1.0, "new": 1}
    path.write_bytes(frame(json.dumps(header).encode()))
    with pytest.raises(LedgerError, match="newer"):
        Ledger.read(path)
    with pytest.raises(LedgerError, match="newer"):
        opened(path)


def test_two_ledgers_never_have_the_same_id(tmp_path: Path) -> None:
    """The id that idempotency keys are made from is random."""
    ids = set()
    for number in range(20):
        with opened(tmp_path / f"{number}.jsonl") as journal:
            ids.add(journal.header.id)
    assert len(ids) == 20


# ----------------------------------------------------------------------------------------------------------- full disks


def limited(folder: Path, script: str) -> dict[str, object]:
    """Run ``script`` in a process whose files may not grow beyond ``limit(bytes)``; what it prints as JSON."""
    prelude = """
        import json, resource, signal, sys
        from pathlib import Path
        from runner.errors import LedgerError
        from runner.journal import Journal, read_lines
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        folder = Path(sys.argv[1])
        def limit(size):
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        def opened():
            return Journal.open(folder / "ledger.jsonl", campaign="c", rehearsal=False, now=1.0, threaded=False)
    """
    code = textwrap.dedent(prelude) + textwrap.dedent(script)
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_an_append_on_a_full_disk_is_all_or_nothing(tmp_path: Path) -> None:
    """At every size at which the disk may fill up, a block of lines is there as a whole or not at all, and later appends refuse."""
    result = limited(
        tmp_path,
        """
        outcomes = []
        block = [b'{"n":1,"pad":"' + b"x" * 20 + b'"}', b'{"n":2}', b'{"n":3}']
        for room in range(0, 160, 3):
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            (folder / "ledger.jsonl").unlink(missing_ok=True)
            journal = opened()
            journal.append([b'{"n":0}'])
            before = journal.size
            limit(before + room)
            try:
                journal.append(block)
                written = True
            except LedgerError as error:
                written = False
                resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
                try:
                    journal.append([b'{"n":9}'])
                    outcomes.append("appended after a failure")
                except LedgerError:
                    pass
                if (folder / "ledger.jsonl").stat().st_size != before:
                    outcomes.append(f"left {room}")
            journal.close()
            lines = [line.payload.decode() for line in read_lines(folder / "ledger.jsonl")][1:]
            if len(lines) != (4 if written else 1):
                outcomes.append(f"{room}: {lines}")
        print(json.dumps({"wrong": outcomes}))
        """,
    )
    assert result["wrong"] == []


def test_a_disk_that_is_full_at_the_first_line_is_noticed(tmp_path: Path) -> None:
    """A header that did not fit raises; nothing is ever appended behind half a header."""
    result = limited(
        tmp_path,
        """
        wrong = []
        for room in (0, 1, 50, 100):
            (folder / "ledger.jsonl").unlink(missing_ok=True)
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
            try:
                journal = opened()
            except LedgerError:
                journal = None
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            if journal:
                wrong.append(room)
                journal.close()
            opened().close()
            if len(list(read_lines(folder / "ledger.jsonl"))) != 1:
                wrong.append(f"{room}: not readable")
        print(json.dumps({"wrong": wrong}))
        """,
    )
    assert result["wrong"] == []


# -------------------------------------------------------------------------------------------------------------- the lock

HOLDER = """
import sys, time
from pathlib import Path
from runner.journal import Journal
journal = Journal.open(Path(sys.argv[1]), campaign="c", rehearsal=False, now=1.0, threaded=False)
journal.append([b'{"n":1}'])
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_writer_is_told_who_holds_the_ledger(tmp_path: Path) -> None:
    """The error names process and host; readers are not hindered; a killed owner's lock is free at once."""
    path = tmp_path / "ledger.jsonl"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(LedgerLocked) as caught:
            opened(path)
        assert caught.value.pid == holder.pid
        assert caught.value.host == os.uname().nodename
        assert "ledger.jsonl" in caught.value.message
        assert len(list(read_lines(path))) == 2
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with opened(path) as journal:
        journal.append([b'{"n":2}'])
    assert len(list(read_lines(path))) == 3


def test_the_lock_holds_within_one_process_too(tmp_path: Path) -> None:
    """Two writers in one process are as bad as two processes; closing lets go."""
    path = tmp_path / "ledger.jsonl"
    with opened(path):
        with pytest.raises(LedgerLocked) as caught:
            opened(path)
        assert caught.value.pid == os.getpid()
    opened(path).close()


def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    """Closing a closed journal neither raises nor frees somebody else's lock."""
    first = opened(tmp_path / "ledger.jsonl")
    first.close()
    with opened(tmp_path / "ledger.jsonl"):
        first.close()
        with pytest.raises(LedgerLocked):
            opened(tmp_path / "ledger.jsonl")


# ---------------------------------------------------------------------------------------------------------------- fsyncs


def test_concurrent_callers_share_fsyncs(tmp_path: Path) -> None:
    """Sixty-four steps that need their line on disk at the same moment cost a few fsyncs, not sixty-four."""
    sync = CountingSync()

    async def main() -> None:
        journal = Journal.open(tmp_path / "ledger.jsonl", campaign="c", rehearsal=False, now=1.0, sync=sync)
        before = sync.calls

        async def one(number: int) -> None:
            journal.append([b'{"n":%d}' % number])
            await journal.durable()

        async with anyio.create_task_group() as group:
            for number in range(64):
                group.start_soon(one, number)
        assert sync.calls - before <= 4
        calls = sync.calls
        await journal.durable()
        assert sync.calls == calls  # nothing new, nothing to do
        journal.close()

    anyio.run(main)
    assert len(list(read_lines(tmp_path / "ledger.jsonl"))) == 65


class AppendingSync:
    """An fsync during whose first call after ``armed`` another line is appended."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.armed: Journal | None = None

    def __call__(self, fd: int) -> None:
        """What the journal calls."""
        self.sizes.append(os.fstat(fd).st_size)
        if self.armed:
            journal, self.armed = self.armed, None
            anyio.from_thread.run_sync(journal.append, [b'{"n":2}'])


def test_a_line_appended_during_an_fsync_waits_for_the_next(tmp_path: Path) -> None:
    """An fsync covers only what was written when it began."""
    sync = AppendingSync()

    async def main() -> None:
        with Journal.open(tmp_path / "ledger.jsonl", campaign="c", rehearsal=False, now=1.0, sync=sync) as journal:
            sync.sizes.clear()
            sync.armed = journal
            journal.append([b'{"n":1}'])
            first = journal.size
            await journal.durable()
            assert sync.sizes == [first]
            await journal.durable()
            assert sync.sizes == [first, journal.size]

    anyio.run(main)


def test_a_failed_fsync_is_never_forgotten(tmp_path: Path) -> None:
    """After one failed fsync nobody is told that his line is safe: neither those who waited with it nor later ones."""
    sync = FailingSync(times=1)

    async def main() -> None:
        journal = Journal.open(tmp_path / "ledger.jsonl", campaign="c", rehearsal=False, now=1.0, sync=sync)
        sync.armed = True
        outcomes: list[str] = []

        async def one(number: int) -> None:
            try:
                journal.append([b'{"n":%d}' % number])
                await anyio.lowlevel.checkpoint()
                await journal.durable()
                outcomes.append("safe")
            except LedgerError:
                outcomes.append("refused")

        async with anyio.create_task_group() as group:
            for number in range(8):
                group.start_soon(one, number)
        await one(9)
        with pytest.raises(LedgerError):
            await journal.durable()
        journal.close()
        assert outcomes == ["refused"] * 9

    anyio.run(main)
