"""Files that a manifest names: manifests, includes, prompts.

Owns reading them with a cap, and saying in plain words why one cannot be read. Reads regular files only: a pipe or a device never blocks it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

from runner.bounds import raised_by, size_shown
from runner.errors import ManifestError, Mark
from runner.manifest.reader import Reader, show, show_path, suggest
from runner.yamltree import Node, decode

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def beside(node: Node) -> Path:
    """The path that a node's text names, relative to the file in which it stands."""
    return Path(os.path.normpath(Path(node.mark.file).parent / str(node.value)))


def usable(reader: Reader, node: Node, what: str) -> bool:
    """Whether the text can be a path at all; notes it when not."""
    text = str(node.value)
    if not text.strip():
        reader.note(node.mark, f"the path of {what} is empty", "write a path relative to this file", "file")
        return False
    if _URL.match(text):
        reader.note(node.mark, f"{what} is a URL: {show(text)}", "download it and name the local file", "file")
        return False
    return True


def exists(reader: Reader, path: Path, mark: Mark, what: str) -> bool:
    """Whether ``path`` is a regular file; notes why not."""
    fault = _fault(path, Path(mark.file).name)
    if fault:
        reader.note(mark, f"{what} {show_path(path)} {fault[0]}", fault[1], "file")
    return not fault


def read(reader: Reader, path: Path, mark: Mark, what: str, limit: int) -> bytes | None:
    """The file's bytes, at most one more than ``limit``; None (and a note at ``mark``) when it cannot be read."""
    if not exists(reader, path, mark, what):
        return None
    try:
        with path.open("rb") as stream:
            return stream.read(limit + 1)
    except OSError as error:
        reader.note(mark, f"{what} {show_path(path)} cannot be read: {error.strerror}", "check its permissions", "file")
        return None


def template(reader: Reader, path: Path, node: Node) -> str | None:
    """A prompt file's text; None (and a note) when there is none."""
    most = reader.limits.prompt_bytes
    data = read(reader, path, node.mark, "the prompt file", most)
    if data is None:
        return None
    if len(data) > most:
        message = f"the prompt file {show_path(path)} is larger than {size_shown(most)}"
        reader.note(node.mark, message, f"name a text file; {raised_by('prompt_bytes')}", "file")
        return None
    try:
        text = decode(data, file=str(path))
    except ManifestError as error:
        reader.problems += error.problems
        return None
    if not text.strip():
        reader.note(node.mark, f"the prompt file {show_path(path)} is empty", "write the prompt into it", "prompt")
        return None
    # A checkout with other line ends must not make other prompts: that would be paid for again.
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _fault(path: Path, asking: str) -> tuple[str, str] | None:
    """(fault, hint) of a path that is no readable regular file; ``asking`` is the name of the file that names it."""
    try:
        if path.is_file():
            return None
        if path.is_dir():
            return "is a folder", "name a file in it"
        if path.exists():
            return "is not a regular file", "name a regular file"
        if path.parent.is_dir():
            names = [entry.name for entry in islice(path.parent.iterdir(), 1000) if entry.name != asking]
            return "does not exist", suggest(path.name, sorted(names)) or f"there is no such file in {show_path(path.parent)}"
        return "does not exist", f"there is no folder {show_path(path.parent)}"
    except (OSError, ValueError):
        return "cannot be read", "check the path and its permissions"


def entries_of(node: Node) -> Mapping[str, Node]:
    """A mapping node's entries; empty for anything else."""
    return node.value if isinstance(node.value, Mapping) else {}
