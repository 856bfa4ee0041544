"""``callsheet init``: write a small campaign that runs at once."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated

import typer

from runner.errors import EXIT_OK, UsageError
from runner.terminal.output import shell_path, write, write_document
from runner.terminal.problems import printable, shown_path

MOST_LISTED = 10


def command(
    folder: Annotated[Path, typer.Argument(help="Where to write it; made when it is not there.")],
    as_json: Annotated[bool, typer.Option("--json", help="Answer as JSON.")] = False,
) -> int:
    """Write a small campaign that runs at once: manifest, four products, prompts, pictures and voices. Never overwrites anything."""
    from runner.starter import SCHEMA_FILE, starter_files

    try:
        _refuse_file(folder)
        schema = _schema_near(folder)
        files = dict(starter_files(_campaign_name(folder), schema or SCHEMA_FILE))
        if schema is None:
            files[PurePosixPath(SCHEMA_FILE)] = _schema()
        kept = _keep_gitignore(folder, files)
        _refuse_overwriting(folder, files)
        _write(folder, files)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        hint = "choose another folder, or check its permissions and the free space"
        raise UsageError(f"{error.filename or folder} cannot be written: {reason}", hint=hint) from error
    next_commands = [
        f"callsheet validate {shell_path(folder)}",
        f"callsheet plan {shell_path(folder)}",
        f"callsheet run {shell_path(folder)} --rehearse",
    ]
    if as_json:
        written = [str(folder / path) for path in files]
        write_document({"ok": True, "folder": str(folder), "written": written, "kept": kept, "next": next_commands})
    else:
        write(_lines(folder, len(files), kept, next_commands))
    return EXIT_OK


def _lines(folder: Path, count: int, kept: list[str], next_commands: list[str]) -> Iterator[str]:
    yield f"Wrote a campaign to {shown_path(str(folder))}{os.sep} ({count} files). Begin with {shown_path(str(folder / 'campaign.yaml'))}."
    yield from (f"Kept your {name}: see that it names runs/, rehearsals/ and .env" for name in kept)
    yield ""
    yield "Next:"
    abouts = ("find every mistake", "what would run, and what it costs", "make it all for free, against pretend providers")
    width = max(len(command) for command in next_commands)
    yield from (f"  {command:<{width}}   # {about}" for command, about in zip(next_commands, abouts, strict=True))


def _refuse_file(folder: Path) -> None:
    if "\0" in str(folder):
        raise UsageError("a folder's name cannot hold a NUL character", hint="callsheet init FOLDER, with another name")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file, not a folder", hint="name a new folder: callsheet init my-campaign")


def _campaign_name(folder: Path) -> str:
    """The folder's name, as far as it can be a campaign's."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", folder.absolute().resolve().name).strip("-")[:64]
    return name if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", name) else f"campaign-{name}"[:64].strip("-")


def _schema_near(folder: Path) -> str | None:
    """The way from ``folder`` to a schema of ours that this repository has already; None when there is none."""
    start = folder.absolute().resolve()
    for place in [start, *start.parents]:
        for found in (place / "manifest.schema.json", place / "schemas" / "manifest.schema.json"):
            if _is_our_schema(found):
                return Path(os.path.relpath(found, start)).as_posix()
        if (place / ".git").exists():
            break
    return None


def _is_our_schema(file: Path) -> bool:
    try:
        found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("title") == "Callsheet manifest"


def _schema() -> bytes:
    from runner.manifest.schema import manifest_schema
    from runner.providers import operation_facts

    return (json.dumps(manifest_schema(operation_facts()), ensure_ascii=False, indent=2) + "\n").encode()


def _keep_gitignore(folder: Path, files: dict[PurePosixPath, bytes]) -> list[str]:
    """A repository usually has its own .gitignore: it stays as it is. Returns the names of what was kept."""
    if not (folder / ".gitignore").is_file():
        return []
    del files[PurePosixPath(".gitignore")]
    return [".gitignore"]


def _refuse_overwriting(folder: Path, files: dict[PurePosixPath, bytes]) -> None:
    in_the_way = {str(path): None for path in files if os.path.lexists(folder / path)}
    for path in files:
        if len(path.parts) > 1 and os.path.lexists(top := folder / path.parts[0]) and not top.is_dir():
            in_the_way[path.parts[0]] = None
    if in_the_way:
        names = [printable(name) for name in in_the_way]
        more = f" and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else ""
        raise UsageError(
            f"{folder} already has {', '.join(names[:MOST_LISTED])}{more}: nothing was written",
            hint="choose a new folder, or move these away: init never overwrites",
        )


def _write(folder: Path, files: dict[PurePosixPath, bytes]) -> None:
    """Write everything; takes back what it wrote when it cannot finish. Raises ``OSError``."""
    written: list[Path] = []
    try:
        for path, content in files.items():
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("xb") as file:
                written.append(place)
                file.write(content)
    except BaseException:
        for place in written:
            place.unlink(missing_ok=True)
        raise
