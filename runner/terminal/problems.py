"""Errors as people and machines read them.

Owns the form ``file:line:column: what is wrong`` with the offending line and a hint below, and the JSON form of the same. Control characters from
files and providers never reach the terminal.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from runner.errors import CallsheetError, CatalogueError, IllegalTransition, ManifestError, Mark, Problem, TemplateError

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_SHOWN = 100


def printable(text: str) -> str:
    """The text without control characters (line breaks and tabs become blanks) and without direction marks."""
    return "".join(_printable(letter) for letter in text)


def _printable(letter: str) -> str:
    if letter in "\n\r\t":
        return " "
    if letter.isprintable() or letter == " ":
        return letter
    return "�" if ord(letter) < 0xA0 else ""


def sentences(*parts: str) -> str:
    """The parts as sentences, one after the other: ``no credit left``, ``top up`` becomes ``No credit left. Top up.``"""
    said = [printable(part).strip() for part in parts]
    return " ".join(text[0].upper() + text[1:] + ("" if text[-1] in ".!?" else ".") for text in said if text)


def as_text(error: CallsheetError, redact: Callable[[str], str] = lambda text: text) -> str:
    """The error for a terminal, several lines, without a line break at the end."""
    if isinstance(error, ManifestError):
        return redact(_many(error.problems))
    lines = [f"error: {printable(error.message)}"]
    if isinstance(error, CatalogueError) and error.file:
        lines[0] = f"{shown_path(error.file)}:{max(1, error.row)}:1: {printable(error.message)}"
    elif isinstance(error, TemplateError) and error.mark:
        lines[0] = f"{_place(error.mark)}: {printable(error.message)}"
    if isinstance(error, IllegalTransition):
        lines += [f"    {printable(line)}" for line in error.story]
    if error.hint:
        lines.append(f"  hint: {printable(error.hint)}")
    return redact("\n".join(lines))


def _many(problems: list[Problem]) -> str:
    sources: dict[str, list[str]] = {}
    blocks = [_one(problem, sources) for problem in problems[:MOST_SHOWN]]
    if len(problems) > MOST_SHOWN:
        blocks.append(f"... and {len(problems) - MOST_SHOWN} more")
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return "\n".join([*blocks, f"{count}; nothing was submitted"])


def _one(problem: Problem, sources: dict[str, list[str]]) -> str:
    mark = problem.mark
    lines = [f"{_place(mark)}: {printable(problem.message)}"]
    source = _line(mark, sources)
    if source.strip():
        start = max(0, mark.column - 61)
        shown = source[start : start + 100]
        lines.append(f"    {printable(shown)}")
        lines.append("    " + " " * (min(mark.column - 1, len(source)) - start) + "^")
    if problem.hint:
        lines.append(f"  hint: {printable(problem.hint)}")
    return "\n".join(lines)


def _line(mark: Mark, sources: dict[str, list[str]]) -> str:
    """The line that the mark points at; empty when the file is not text or too large to show from."""
    if mark.file not in sources:
        sources[mark.file] = []
        path = Path(mark.file)
        try:
            if path.stat().st_size < 1_000_000 and path.suffix in {".yaml", ".yml", ".j2", ".txt", ".md"}:
                sources[mark.file] = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
        except (OSError, ValueError):
            pass
    lines = sources[mark.file]
    return lines[mark.line - 1] if 0 < mark.line <= len(lines) else ""


def _place(mark: Mark) -> str:
    return f"{shown_path(mark.file)}:{mark.line}:{mark.column}"


def shown_path(path: str) -> str:
    """A path as a person at this terminal would write it: relative when it lies below the working folder."""
    try:
        relative = os.path.relpath(path)
    except ValueError:
        return printable(path)
    return printable(relative if not relative.startswith("..") else path)


def as_document(error: CallsheetError, redact: Callable[[str], str] = lambda text: text) -> dict[str, object]:
    """The error as a JSON object: ``{"error", "kind", "exit_code", "hint", "problems": [...]}``."""
    document: dict[str, object] = {
        "error": redact(error.message),
        "kind": type(error).__name__,
        "exit_code": error.exit_code,
        "hint": redact(error.hint),
    }
    if isinstance(error, ManifestError):
        document["problems"] = [
            {
                "file": problem.mark.file,
                "line": problem.mark.line,
                "column": problem.mark.column,
                "text": problem.mark.text,
                "message": redact(problem.message),
                "hint": redact(problem.hint),
                "code": problem.code,
            }
            for problem in error.problems
        ]
    return document
