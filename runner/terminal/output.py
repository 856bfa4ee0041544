"""How commands write to standard output: lines, JSON documents, and rich's tables.

Owns the choice of width and colour: tables fit the terminal, and colours appear at a terminal only, unless NO_COLOR is set. Decides nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from runner.terminal.problems import printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

PIPED_WIDTH = 100
"""Columns where nobody says how many there are."""


def write(lines: Iterable[str]) -> None:
    """Lines of text."""
    sys.stdout.writelines(f"{line}\n" for line in lines)


def write_if_heard(stream: TextIO, text: str) -> None:
    """Text for whoever still listens. A terminal or a pipe that went away changes neither the work nor the exit code."""
    try:
        stream.write(text)
        stream.flush()
    except OSError:
        # What is left in the buffer would fail again when Python ends, and change the exit code.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def write_document(document: object) -> None:
    """One JSON document; in ASCII where the terminal's encoding could not hold it."""
    plain = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    sys.stdout.write(json.dumps(document, ensure_ascii=plain, indent=2, allow_nan=False) + "\n")


def write_rendered(things: Iterable[RenderableType]) -> None:
    """Tables, rules and texts of rich, one after the other; without blanks at line ends where no terminal shows them."""
    console = _console()
    if sys.stdout.isatty():
        for thing in things:
            console.print(thing)
        return
    with console.capture() as captured:
        for thing in things:
            console.print(thing)
    write(line.rstrip() for line in captured.get().splitlines())


def width() -> int:
    """Columns that output may take."""
    return _console().width


def _console() -> Console:
    from rich.console import Console

    told = os.environ.get("COLUMNS", "")
    columns = None if sys.stdout.isatty() or told.isdigit() else PIPED_WIDTH
    return Console(file=sys.stdout, highlight=False, markup=False, emoji=False, width=columns)


def shell_path(path: Path | str) -> str:
    """A path to be pasted into a shell."""
    return shlex.quote(printable(str(path)))
