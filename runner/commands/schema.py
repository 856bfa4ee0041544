"""``callsheet schema``: the manifest's JSON Schema, for editors."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from runner.errors import EXIT_OK, UsageError
from runner.terminal.output import write, write_document
from runner.terminal.problems import shown_path


def command(
    out: Annotated[Path | None, typer.Option("--out", help="Write it to this file instead of printing it.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="The schema is JSON anyway; with --out, say where it is as JSON.")
    ] = False,
) -> int:
    """Print the manifest's JSON Schema. An editor with YAML support then completes and explains every key."""
    from runner.manifest.schema import manifest_schema
    from runner.providers import operation_facts

    text = json.dumps(manifest_schema(operation_facts()), ensure_ascii=False, indent=2) + "\n"
    if out is None:
        sys.stdout.write(text)
        return EXIT_OK
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{out} cannot be written: {reason}", hint="name another file: callsheet schema --out FILE") from error
    if as_json:
        write_document({"ok": True, "schema": str(out)})
    else:
        name = shown_path(str(out))
        write([f"Written to {name}. First line of a manifest beside it: # yaml-language-server: $schema={out.name}"])
    return EXIT_OK
