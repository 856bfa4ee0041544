"""Help pages, lists and the schema: complete, readable, and never a traceback for what was mistyped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]  # it ships no types
import pytest
from command_line import callsheet, environment

from runner.commands import COMMANDS, invoke
from runner.generated import manifest_schema_text
from runner.providers import operation_facts, provider_facts


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--help is exit code 0, says what the command does, and leaves no option without a word about it."""
    assert invoke([command, "--help"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"Usage: callsheet {command}")
    assert "{" not in said.split("\n", 1)[0]
    assert "<" not in said
    lines = said.splitlines()
    options = [number for number, line in enumerate(lines) if line.startswith("  -")]
    assert options
    assert all("  " in lines[at].strip() or lines[at + 1].startswith("     ") for at in options)
    assert "--json" in said


def test_the_long_help_is_in_sections(capsys: pytest.CaptureFixture[str]) -> None:
    """``run`` has so many options that they stand in groups, each option once."""
    assert invoke(["run", "--help"]) == 0
    said = capsys.readouterr().out
    assert [title for title in ("Which jobs:", "Rehearsal:", "Output:") if f"\n{title}\n" in said] == [
        "Which jobs:",
        "Rehearsal:",
        "Output:",
    ]
    assert said.count("  --speed NUMBER") == 1


def test_the_overview_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """The overview names all commands; without arguments the same page comes, as a usage error."""
    assert invoke(["--help"]) == 0
    page = capsys.readouterr().out
    assert all(f"\n  {name} " in page for name in COMMANDS)
    assert invoke([]) == 2
    assert capsys.readouterr().out.strip() == page.strip()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["valdate", "x"], "callsheet validate"),
        (["bogus"], "callsheet --help"),
        (["validate"], "MANIFEST"),
        (["validate", "--nope"], "--nope"),
        (["run", "x", "--limit", "many"], "--limit"),
        (["run", "x", "--limit", "-1"], "--limit"),
        (["run", "x", "--rehears"], "--rehearse"),
        (["status", "a", "b"], "unexpected"),
        (["--vershun"], "--vershun"),
        (["validate", "no/such/file.yaml"], "callsheet init"),
        (["run", "."], "callsheet init"),
        (["providers", "klinng/avatar"], "kling/avatar"),
        (["providers", "avatr"], "kling/avatar"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistyping_is_two_with_a_way_on(
    arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unknown commands, options and names, and missing arguments: exit code 2, a hint, no traceback; with --json one document."""
    monkeypatch.chdir(tmp_path)
    assert invoke(arguments) == 2
    said = capsys.readouterr()
    assert words in said.err
    assert "hint:" in said.err
    assert "Traceback" not in said.err
    assert invoke([*arguments, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["exit_code"] == 2


def test_the_version_needs_no_library(tmp_path: Path) -> None:
    """--version answers without loading typer, pydantic or rich."""
    done = callsheet("--version", cwd=tmp_path, env={"PYTHONPROFILEIMPORTTIME": "1"})
    assert done.code == 0
    assert done.out.startswith("callsheet ")
    assert not [
        line for line in done.err.splitlines() if line.rpartition("|")[2].strip() in {"typer", "pydantic", "rich", "anyio"}
    ]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion_works(tmp_path: Path, shell: str) -> None:
    """The script for each shell can be shown, and completing ``callsheet va`` gives ``validate``."""
    shown = callsheet("--show-completion", shell, cwd=tmp_path)
    assert "_CALLSHEET_COMPLETE" in shown.out or shown.code == 0, shown.err
    asked = {
        "_CALLSHEET_COMPLETE": f"complete_{shell}",
        "_TYPER_COMPLETE_ARGS": "callsheet va",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "COMP_WORDS": "callsheet va",
        "COMP_CWORD": "1",
    }
    done = callsheet(cwd=tmp_path, env=asked)
    assert "validate" in done.out
    assert "Traceback" not in done.err


def test_a_poor_terminal_gets_escapes_not_a_crash(tmp_path: Path) -> None:
    """Where the encoding lacks a character, an escape stands for it."""
    folder = tmp_path / "caf\u00e9"
    done = callsheet("init", folder, cwd=tmp_path, env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert done.code == 0, done.err
    assert "caf\\xe9" in done.out


def test_providers_lists_all_operations_and_all_their_facts(capsys: pytest.CaptureFixture[str]) -> None:
    """The JSON form has every operation with every parameter, required ones marked, and every error code."""
    assert invoke(["providers", "--json", "--codes"]) == 0
    listed = {one["name"]: one for one in json.loads(capsys.readouterr().out)["operations"]}
    facts, providers = operation_facts(), provider_facts()
    assert set(listed) == set(facts)
    for name, one in listed.items():
        schema = facts[name].parameters.model_json_schema()
        assert {p["name"] for p in one["parameters"]} == set(schema["properties"])
        assert {p["name"] for p in one["parameters"] if p["required"]} == set(schema.get("required", []))
        assert len(one["codes"]) == len(providers[name.partition("/")[0]].codes)
        assert one["slots_per_job"] >= 1


@pytest.mark.parametrize("columns", [40, 60, 100, 160])
@pytest.mark.parametrize("name", [None, "kling/avatar", "topview/image-to-video"])
def test_provider_pages_fit_the_terminal(
    columns: int, name: str | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At any width no line is too long, nothing is cut off with dots, and every operation or parameter is there."""
    monkeypatch.setenv("COLUMNS", str(columns))
    assert invoke(["providers", *([name] if name else []), "--codes"]) == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= columns
    assert "…" not in said
    wanted = operation_facts()[name].parameters.model_json_schema()["properties"] if name else operation_facts()
    assert all(one in said for one in wanted)


def test_every_choice_and_limit_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """Choices, defaults and media rules of Kling's avatar can be read from its page."""
    assert invoke(["providers", "kling/avatar"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for words in ("std | pro", "default std", "2500", "10 MB", "300", "external_task_id", "30 days", "4 units for 10 s of audio"):
        assert words in said


def test_the_schema_is_the_one_that_is_generated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is printed, what --out writes and what is generated for schemas/ is the same, and a valid draft-07 schema."""
    assert invoke(["schema"]) == 0
    printed = capsys.readouterr().out
    assert invoke(["schema", "--out", str(tmp_path / "new" / "s.json")]) == 0
    assert (tmp_path / "new" / "s.json").read_text(encoding="utf-8") == printed
    assert manifest_schema_text() == printed
    document: Mapping[str, object] = json.loads(printed)
    jsonschema.Draft7Validator.check_schema(document)
    assert invoke(["schema", "--out", str(tmp_path)]) == 2


@pytest.mark.parametrize("arguments", [["schema"], ["providers"], ["--help"]], ids=" ".join)
def test_a_closed_pipe_is_no_error(tmp_path: Path, arguments: list[str]) -> None:
    """``callsheet schema | head -1`` ends with 0 and without a word on standard error."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "runner", *arguments],
        cwd=tmp_path,
        env=environment(),
        stdout=write,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")
