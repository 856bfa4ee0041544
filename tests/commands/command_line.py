"""The real command line, as a person starts it: a process of its own, without the tester's settings."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without anything that changes what callsheet does."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CALLSHEET_", "COLUMNS", "NO_COLOR"))}
    kept |= {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error::ResourceWarning", "NO_PROXY": "*"}
    return kept | dict(more or {})


def callsheet(*arguments: str | Path, cwd: Path, env: Mapping[str, str] | None = None, seconds: float = 90) -> Ended:
    """Run ``callsheet`` with these arguments in ``cwd`` until it ends."""
    done = subprocess.run(
        [sys.executable, "-m", "runner", *map(str, arguments)],
        cwd=cwd,
        env=environment(env),
        capture_output=True,
        encoding="utf-8",
        timeout=seconds,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return Ended(done.returncode, done.stdout, done.stderr)
