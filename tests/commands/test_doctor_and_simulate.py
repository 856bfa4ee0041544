"""``simulate`` serves any client on a real socket; ``doctor`` examines accounts there as it would at the providers."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from command_line import callsheet, environment

from runner.commands import invoke

PROVIDERS = ("akool", "creatify", "kling", "topview")


@dataclass(frozen=True, slots=True)
class Served:
    """A simulator that runs, and what it said about itself."""

    process: subprocess.Popen[str]
    variables: Mapping[str, str]
    books: str


def served(cwd: Path, *arguments: str) -> Served:
    """Start ``callsheet simulate`` and wait until it listens."""
    process = subprocess.Popen(
        [sys.executable, "-m", "runner", "simulate", "--json", *arguments],
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    assert process.stdout is not None
    said = json.loads(process.stdout.readline())
    return Served(process, said["environment"], said["books"])


def ended(one: Served) -> tuple[int, str]:
    """Press Ctrl-C; the exit code and everything on standard error."""
    one.process.send_signal(signal.SIGINT)
    _, err = one.process.communicate(timeout=20)
    return one.process.returncode, err


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One simulator for the module; Topview's account there is empty."""
    one = served(tmp_path_factory.mktemp("simulator"), "--speed", "100", "--credits", "topview=0")
    yield one
    code, err = ended(one)
    assert (code, err) == (0, "")


@pytest.fixture
def at_the_simulator(simulator: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Served:
    """The environment that simulate printed, and nothing else."""
    monkeypatch.chdir(tmp_path)
    for name, value in simulator.variables.items():
        monkeypatch.setenv(name, value)
    return simulator


def doctor(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[tuple[str, str], dict[str, str]]]:
    """The exit code, and every check by topic and name."""
    code = invoke(["doctor", "--json", *arguments])
    document = json.loads(capsys.readouterr().out)
    assert document["exit_code"] == code
    return code, {(check["topic"], check["name"]): check for check in document["checks"]}


def test_all_is_well_at_the_simulator(at_the_simulator: Served, capsys: pytest.CaptureFixture[str]) -> None:
    """Credentials, network, clock and account of all four are looked at; an empty account is a warning, and the exit code 0."""
    code, checks = doctor(capsys)
    assert code == 0
    for provider in PROVIDERS:
        assert [checks[provider, name]["verdict"] for name in ("credentials", "network", "clock")] == ["ok"] * 3
        assert "credentials accepted" in checks[provider, "account"]["text"]
    assert checks["topview", "account"]["verdict"] == "warning"
    assert "1,000,000 credits left" in checks["creatify", "account"]["text"]


def test_it_pays_for_nothing(at_the_simulator: Served, capsys: pytest.CaptureFixture[str]) -> None:
    """After an examination the simulator's books show questions, but no submission and no charge."""
    doctor(capsys)
    books = httpx.get(at_the_simulator.books, timeout=10, trust_env=False).json()["providers"]
    for provider in PROVIDERS:
        assert books[provider]["submissions"] == 0
        assert books[provider]["charged_credits"] == 0
        assert books[provider]["requests"]


@pytest.mark.parametrize(
    ("provider", "name"),
    [("creatify", "API_KEY"), ("kling", "SECRET_KEY"), ("topview", "API_KEY"), ("akool", "CLIENT_SECRET")],
)
def test_wrong_credentials_are_five_and_never_shown(
    at_the_simulator: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, provider: str, name: str
) -> None:
    """A secret that the provider refuses ends with 5, says what to do, and appears nowhere."""
    monkeypatch.setenv(f"CALLSHEET_{provider.upper()}__{name}", "wrong-secret-0123456789ab")
    assert invoke(["doctor", "--provider", provider]) == 5
    said = capsys.readouterr()
    assert "failed" in said.out
    assert "do: " in said.out
    assert "wrong-secret" not in said.out + said.err
    assert all(
        value not in said.out for key, value in at_the_simulator.variables.items() if key.endswith(("KEY", "SECRET", "ID"))
    )


def test_a_server_that_is_not_there_is_told(
    at_the_simulator: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused connection fails the network check alone; the others are still made, and the account is not asked."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("CALLSHEET_CREATIFY__BASE_URL", f"http://127.0.0.1:{port}")
    code, checks = doctor(capsys, "--provider", "creatify")
    assert code == 1
    assert checks["creatify", "network"]["verdict"] == "failed"
    assert checks["creatify", "network"]["advice"]
    assert checks["creatify", "credentials"]["verdict"] == "ok"
    assert ("creatify", "account") not in checks


def test_without_credentials_nobody_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no manifest and no credentials there are warnings that name the variables, no network, and exit code 0."""
    monkeypatch.chdir(tmp_path)
    code, checks = doctor(capsys)
    assert code == 0
    assert "CALLSHEET_CREATIFY__API_ID" in checks["creatify", "credentials"]["text"]
    assert ("creatify", "network") not in checks
    assert checks["this machine", "libraries"]["verdict"] == "ok"


def test_a_manifest_asks_for_its_own_providers(
    at_the_simulator: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the providers in use are examined, and one without credentials is then a failure of the settings: 2."""
    campaign = tmp_path / "campaign"
    assert invoke(["init", str(campaign)]) == 0
    capsys.readouterr()
    monkeypatch.delenv("CALLSHEET_KLING__SECRET_KEY")
    code, checks = doctor(capsys, str(campaign))
    assert code == 2
    assert {topic for topic, _ in checks} == {"this machine", "creatify", "kling", "topview"}
    assert checks["kling", "credentials"]["verdict"] == "failed"
    assert "CALLSHEET_KLING__SECRET_KEY" in checks["kling", "credentials"]["text"]


def test_a_misspelt_variable_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown CALLSHEET_ variable fails the settings (2) with a guess, never with its value."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("CALLSHEET_KLING__APIKEY=very-secret-value-1\n", encoding="utf-8")
    assert invoke(["doctor"]) == 2
    said = capsys.readouterr().out
    assert "CALLSHEET_KLING__API_KEY" in said
    assert "very-secret" not in said


def test_an_unknown_provider_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt provider is 2 with a guess."""
    assert invoke(["doctor", "--provider", "klingg"]) == 2
    assert "did you mean kling?" in capsys.readouterr().err


def test_simulate_says_where_it_is_and_ends_quietly(tmp_path: Path) -> None:
    """The text form prints exports to paste; a second simulator on the same port is refused in plain words; Ctrl-C is 0."""
    one = served(tmp_path, "--state", "books.jsonl")
    port = one.books.split(":")[2].split("/")[0]
    second = callsheet("simulate", "--port", port, cwd=tmp_path)
    assert second.code == 2
    assert "--port 0" in second.err
    assert ended(one) == (0, "")
    assert (tmp_path / "books.jsonl").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--concurrency", "kling"],
        ["--concurrency", "kling=0"],
        ["--concurrency", "klin=5"],
        ["--credits", "kling=lots"],
        ["--credits", "kling=nan"],
        ["--fail-rate", "2"],
        ["--port", "70000"],
        ["--speed", "0"],
        ["--speed", "nan"],
        ["--faults", "nowhere.json"],
        ["--host", "no such host"],
        ["--state", "/"],
    ],
    ids=" ".join,
)
def test_simulate_refuses_what_cannot_be(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Every impossible option is 2 with a hint, before anything is served."""
    assert invoke(["simulate", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "hint:" in said.err


@pytest.mark.parametrize("text", ["", "{", "[1]", '[{"kind": "no-such"}]', '{"kind": 1}', "[" * 5000])
def test_simulate_refuses_fault_files_that_make_no_sense(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    """A broken fault file is 2 with an example of a good one."""
    file = tmp_path / "faults.json"
    file.write_text(text, encoding="utf-8")
    assert invoke(["simulate", "--faults", str(file)]) == 2
    assert "rate_limit" in capsys.readouterr().err
