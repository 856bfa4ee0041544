"""``callsheet ledger``: what is damaged is named, what is repaired is said, and the exit code tells scripts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from core_events import LANE, MAKERS, road

from runner.commands import invoke
from runner.errors import EXIT_LEDGER, EXIT_OK, EXIT_USAGE, LedgerCorrupt, LedgerError
from runner.events import Event
from runner.journal import frame, read_header
from runner.ledger import Ledger
from runner.model import State
from runner.repair import bridge
from runner.snapshot import snapshot_path

Run = Any


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger with three jobs that are done and one that runs, without a snapshot."""
    path = tmp_path / "runs" / "c" / "ledger.jsonl"
    for job, state in (("still/a", "succeeded"), ("still/b", "succeeded"), ("still/c", "running"), ("still/d", "ready")):
        write(path, road(job, state, 10))
    snapshot_path(path).unlink()
    return path


def write(path: Path, events: list[Event]) -> None:
    """Append."""

    async def main() -> None:
        with Ledger.open(path, campaign="c", rehearsal=False, now=1.0, threaded=False) as ledger:
            await ledger.append(await ledger.take(LANE), events)

    anyio.run(main)


def replace_line(path: Path, number: int, line: bytes) -> None:
    """Another line in that one's place."""
    lines = path.read_bytes().splitlines(keepends=True)
    lines[number - 1] = line
    path.write_bytes(b"".join(lines))


def said(capsys: pytest.CaptureFixture[str], *arguments: str | Path, code: int = EXIT_OK) -> str:
    """What the command prints."""
    assert invoke([str(argument) for argument in arguments]) == code
    out, err = capsys.readouterr()
    return out + err


def told(capsys: pytest.CaptureFixture[str], *arguments: str | Path, code: int = EXIT_OK) -> dict[str, Any]:
    """The same as JSON."""
    document = json.loads(said(capsys, *arguments, "--json", code=code))
    assert isinstance(document, dict)
    return document


def states(path: Path) -> dict[str, str]:
    """Every job's state."""
    ledger = Ledger.read(path)
    assert ledger is not None
    with ledger:
        return {key: job.state.value for key, job in ledger.jobs.items()}


def test_a_good_ledger_verifies(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 0; a torn tail is harmless and said; by the file, its folder, and as JSON."""
    with path.open("ab") as file:
        file.write(b'{"event":"Acc')
    assert "never finished: harmless" in said(capsys, "ledger", "verify", path)
    document = told(capsys, "ledger", "verify", path.parent)
    assert (document["good"], document["torn_tail_bytes"], document["jobs"], document["findings"]) == (True, 13, 4, [])


def test_every_kind_of_damage_is_named(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Number, byte offset and reason of each bad line; an illegal one with the job's story; exit 4."""
    lines = path.read_bytes().splitlines(keepends=True)
    lines[3] = lines[3][:20] + b"####" + lines[3][24:]
    lines[5] = frame(b'{"event":"Teleported","job":"x","at":1.0}', 6)
    lines[7] = frame(b"{nonsense}", 8)
    path.write_bytes(b"".join(lines))
    write_raw = frame(msgspec.json.encode(MAKERS["AllStored"]("still/d", 99)), len(lines) + 1)
    with path.open("ab") as file:
        file.write(write_raw)
    document = told(capsys, "ledger", "verify", path, code=EXIT_LEDGER)
    found = {(f["line"], f["kind"]) for f in document["findings"]}
    assert {(4, "checksum"), (6, "unknown-event"), (8, "not-json"), (len(lines) + 1, "illegal")} <= found
    assert document["findings"][0]["offset"] == sum(map(len, lines[:3]))
    illegal = document["findings"][-1]
    assert illegal["job"] == "still/d"
    assert [json.loads(line)["event"] for line in illegal["story"]] == ["Planned", "DependenciesMet"]
    text = said(capsys, "ledger", "verify", path, code=EXIT_LEDGER)
    assert "line 4 (byte" in text
    assert f"callsheet ledger repair {path}" in text


def test_opening_says_what_to_type(path: Path) -> None:
    """The hint is the command itself."""
    replace_line(path, 4, b"x" * 80 + b"\n")
    with pytest.raises(LedgerCorrupt) as caught:
        Ledger.open(path, campaign="c", rehearsal=False, now=1.0)
    assert caught.value.hint.startswith(f"callsheet ledger repair {path}")
    assert caught.value.line == 4


def test_a_repair_keeps_the_damaged_file_and_says_what_it_did(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A lost acceptance: the copy is the damaged file to the byte, the job is uncertain, the ledger is good again."""
    lines = path.read_bytes().splitlines(keepends=True)
    at = next(n for n, line in enumerate(lines, 1) if b'"Accepted"' in line and b"still/c" in line)
    replace_line(path, at, b"\0" * 90 + b"\n")
    damaged = path.read_bytes()
    document = told(capsys, "ledger", "repair", path)
    assert Path(document["copy"]).read_bytes() == damaged
    assert document["lost_at_most"] == 1
    assert {job["job"]: job["state"] for job in document["jobs"]} == {"still/c": "uncertain"}
    assert states(path) == {"still/a": "succeeded", "still/b": "succeeded", "still/c": "uncertain", "still/d": "ready"}
    assert told(capsys, "ledger", "verify", path)["good"]
    assert "nothing is wrong" in said(capsys, "ledger", "repair", path)


def test_line_ends_that_git_converted_come_back(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """CR LF is named as what it is, and undone to the byte."""
    good = path.read_bytes()
    path.write_bytes(good.replace(b"\n", b"\r\n"))
    with pytest.raises(LedgerCorrupt, match="CR LF"):
        Ledger.read(path)
    assert told(capsys, "ledger", "verify", path, code=EXIT_LEDGER)["findings"][0]["kind"] == "line-ends"
    assert told(capsys, "ledger", "repair", path)["lost_at_most"] == 0
    assert path.read_bytes() == good


def test_a_lost_header_is_made_again(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not without a name; from the snapshot with its id; from the manifest with a new one."""
    header = read_header(path)
    good = path.read_bytes()
    replace_line(path, 1, b"\0" * 60 + b"\n")
    bad = path.read_bytes()
    assert "name the manifest" in said(capsys, "ledger", "repair", path, code=EXIT_LEDGER)
    assert path.read_bytes() == bad
    path.write_bytes(good)
    write(path, [MAKERS["SubmitStarted"]("still/d", 90)])
    replace_line(path, 1, b"\0" * 60 + b"\n")
    assert "snapshot" in told(capsys, "ledger", "repair", path)["header"]
    assert read_header(path) == header
    replace_line(path, 1, b"\0" * 60 + b"\n")
    manifest = path.parents[2] / "campaign.yaml"
    target = {"uses": "creatify/product-image", "with": {"product_url": "https://x.example/a.png", "type": "product_avatar"}}
    document = {
        "callsheet": 1,
        "name": "c",
        "catalogue": {"products": [{"sku": "a"}], "key": "sku"},
        "targets": {"still": target},
    }
    manifest.write_text(json.dumps(document), encoding="utf-8")
    assert "manifest" in told(capsys, "ledger", "repair", manifest)["header"]
    assert set(states(path)) == {"still/a", "still/b", "still/c", "still/d"}


def test_lines_of_a_newer_version_are_never_dropped(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line whose checksum is right and whose event nobody here knows: repair refuses, and says to upgrade."""
    lines = path.read_bytes().splitlines(keepends=True)
    with path.open("ab") as file:
        file.write(frame(b'{"event":"Teleported","job":"still/d","at":1.0}', len(lines) + 1))
    before = path.read_bytes()
    assert "upgrade" in said(capsys, "ledger", "repair", path, code=EXIT_LEDGER)
    assert path.read_bytes() == before
    with pytest.raises(LedgerCorrupt, match="understood"):
        Ledger.read(path)


def test_compact_and_usage(path: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Compaction counts; what does not exist is a usage error."""
    write(path, [MAKERS["Observed"]("still/c", n) for n in range(5)])
    assert told(capsys, "ledger", "compact", path)["lines_after"] > 10
    assert "one of: verify, repair, compact" in said(capsys, "ledger", "mend", path, code=EXIT_USAGE)
    said(capsys, "ledger", "verify", tmp_path / "nowhere.yaml", code=EXIT_USAGE)


def test_a_repair_waits_for_no_running_writer(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """While a run holds the ledger neither repair nor compaction touches it."""
    with Ledger.open(path, campaign="c", rehearsal=False, now=1.0):
        for action in ("repair", "compact"):
            assert "another run holds" in said(capsys, "ledger", action, path, code=EXIT_LEDGER)
        said(capsys, "ledger", "verify", path)


def test_a_clock_that_jumps_back_breaks_nothing(path: Path) -> None:
    """Events with earlier times are taken as they come; no duration is negative in a report."""
    from runner.reports import summarise

    for n, name in enumerate(("SubmitStarted", "Accepted", "Observed", "RemoteSucceeded", "ArtifactStored", "AllStored")):
        write(path, [MAKERS[name]("still/d", -1000 * n)])
    ledger = Ledger.read(path)
    assert ledger is not None
    with ledger:
        assert ledger.jobs["still/d"].state is State.SUCCEEDED
        summary = summarise(ledger.info(path.parent), ledger.rows())
        numbers = [float(text) for text in _numbers(summary)]
    assert numbers
    assert min(numbers) >= 0


def _numbers(summary: object) -> list[str]:
    import re

    return re.findall(r"(?:median|p90|total|longest|wall|queue|process\w*)=(-?[0-9.]+)", repr(summary))


@pytest.mark.parametrize("state", [None, *State])
def test_every_event_can_be_reached_from_every_state(state: State | None) -> None:
    """Whatever lines are lost, there is a legal way from what is known to what came next."""
    from runner.lifecycle import TABLE

    for name in MAKERS:
        here = state
        for step in bridge(state, name):
            here = TABLE[here][step]
        assert name in TABLE[here]


def test_an_unwritable_folder_is_said_in_words(tmp_path: Path) -> None:
    """A file in the folder's place cannot hold a ledger, whoever asks."""
    (tmp_path / "runs").write_text("in the way")
    with pytest.raises(LedgerError) as caught:
        Ledger.open(tmp_path / "runs" / "ledger.jsonl", campaign="c", rehearsal=False, now=1.0)
    assert caught.value.hint


def test_a_lost_id_is_never_sent_as_nothing(tmp_path: Path) -> None:
    """The acceptance of a finished still is lost, and no sidecar knows its id: the clip that needs it is refused before it is paid for."""
    from damaging import dropped
    from stage import CHAIN, Outcome, Stage, manifest, products, virtual

    from runner.repair import Known, repair

    stage = Stage(tmp_path / "run", manifest(products(1), CHAIN))
    stage.document["targets"].pop("clip")
    outcomes: list[Outcome] = []

    async def main() -> None:
        outcomes.append(await stage.run())

    virtual(main)
    lines = stage.path.read_bytes().splitlines(keepends=True)
    at = next(n for n, line in enumerate(lines) if b'"Accepted"' in line)
    stage.path.write_bytes(b"".join(dropped(lines, at)))
    repair(stage.path, Known(), now=2.0)
    stage.document["targets"] = dict(CHAIN)
    virtual(main)
    assert outcomes[-1].states == {"still/P000": "succeeded", "clip/P000": "failed"}
    assert stage.servers["two"].tasks == {}
