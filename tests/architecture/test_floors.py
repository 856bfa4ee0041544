"""Rules of the house that import-linter cannot see: who reads clocks, who does I/O, what loads when."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import runner

HOUSE = Path(runner.__file__).parent
MODULES = sorted(HOUSE.rglob("*.py"))
PURE = (
    "lifecycle.py",
    "scheduler.py",
    "limits.py",
    "budget.py",
    "gates.py",
    "callbacks.py",
    "people.py",
    "plan.py",
    "selection.py",
    "story.py",
    "variants.py",
)
"""Decisions: everything they know is handed to them."""
HEAVY = ("aiohttp", "av", "cryptography", "httpx", "jinja2", "PIL", "pydantic", "rich", "starlette", "typer", "uvicorn")
CLOCKS = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"}
WAITING = {"time.sleep", "time.monotonic", "time.perf_counter", "anyio.current_time", "anyio.sleep"}
FILES = {"open", "print", "input", ".read_text", ".read_bytes", ".write_text", ".write_bytes", ".unlink", ".mkdir", ".rename"}


def named(path: Path) -> str:
    """The module's path below the package, with forward slashes."""
    return path.relative_to(HOUSE).as_posix()


def pure_modules() -> list[Path]:
    """The decisions and the adapters."""
    return [path for path in MODULES if named(path) in PURE or named(path).startswith("providers/")]


def names_in(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every dotted name that the code mentions, shortened to its last two parts, and its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = node.value
            last = owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else ""
            yield f"{last}.{node.attr}", node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module in {"time", "datetime"}:
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def calls_in(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """The name of everything that is called (a method's with a dot before it), and its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id, node.lineno
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield f".{node.func.attr}", node.lineno


def parsed(path: Path) -> ast.Module:
    """The module's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def without_defaults(tree: ast.Module) -> ast.Module:
    """The code without its parameters' defaults: a clock that is handed on by default is not read there."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arguments):
            node.defaults, node.kw_defaults = [], []
    return tree


def test_the_wall_clock_is_read_in_one_place() -> None:
    """Only clock.py reads the wall clock, and within the simulator only its own clock: elsewhere ``now`` is a parameter."""
    found: list[str] = []
    for path in MODULES:
        tree = without_defaults(parsed(path)) if named(path).startswith("simulator/") else parsed(path)
        found += [f"{named(path)}:{line}: {name}" for name, line in names_in(tree) if name in CLOCKS]
    assert [one for one in found if one.partition(":")[0] not in {"clock.py", "simulator/clock.py"}] == []


@pytest.mark.parametrize("path", pure_modules(), ids=named)
def test_decisions_neither_wait_nor_touch_the_world(path: Path) -> None:
    """A decision or an adapter holds no await, no async function, no clock and no file access."""
    tree = parsed(path)
    waits = (ast.Await, ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith)
    asynchronous = [node.lineno for node in ast.walk(tree) if isinstance(node, waits)]
    clocks = [f"{name} in line {line}" for name, line in names_in(tree) if name in CLOCKS | WAITING]
    files = [f"{name}() in line {line}" for name, line in calls_in(tree) if name in FILES]
    assert (asynchronous, clocks, files) == ([], [], [])


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_every_module_says_what_it_is(path: Path) -> None:
    """Every file opens with a docstring, is named after one thing, and stays readable in one go."""
    text = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text))
    assert path.stem not in {"utils", "helpers", "common", "misc", "core", "manager"}


def test_only_the_wire_imports_http_libraries() -> None:
    """httpx, aiohttp and the standard library's clients appear in runner/wire alone; the simulator only listens."""
    clients = {"httpx", "aiohttp", "requests", "urllib3", "http.client", "urllib.request"}
    found: list[str] = []
    for path in MODULES:
        for node in ast.walk(parsed(path)):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [f"{named(path)}: {m}" for m in modules if m in clients or m.partition(".")[0] in clients - {"http.client"}]
    assert {line for line in found if not line.startswith("wire/")} == set()


def test_the_simulator_shares_nothing_with_what_it_tests() -> None:
    """No module of the simulator imports anything of the house outside of itself, not even for type checking."""
    found: list[str] = []
    for path in MODULES:
        if not named(path).startswith("simulator/"):
            continue
        for node in ast.walk(parsed(path)):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [
                f"{named(path)}: {m}"
                for m in modules
                if m.partition(".")[0] == "runner" and not f"{m}.".startswith("runner.simulator.")
            ]
    assert found == []


def loaded_by(code: str) -> set[str]:
    """Top-level names of the modules that a fresh interpreter has loaded after ``code``."""
    script = f"import sys\n{code}\nsys.stdout.write('\\n' + ' '.join(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=HOUSE.parent)
    return set(ran.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import runner",
        "from runner.__main__ import main; main(['--version'])",
        "import runner.model, runner.lifecycle, runner.events, runner.errors, runner.scheduler, runner.limits, runner.budget",
    ],
)
def test_what_is_not_needed_is_not_loaded(code: str) -> None:
    """Importing the package, asking for the version, or taking the words and decisions loads no heavy library."""
    assert loaded_by(code) & set(HEAVY) == set()
