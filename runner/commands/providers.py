"""``callsheet providers``: operations and their parameters."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches
from typing import Annotated

import typer

from runner.errors import EXIT_OK, UsageError
from runner.terminal.output import width, write_document, write_rendered
from runner.workspace import operations


def command(
    operation: Annotated[
        str | None, typer.Argument(help="An operation such as kling/avatar, or a provider; all when not given.")
    ] = None,
    codes: Annotated[bool, typer.Option("--codes", help="Also every error code and what the runner does about it.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Answer as JSON.")] = False,
) -> int:
    """List what the providers can do; with a name, all parameters and rules of that operation."""
    from runner.providers import provider_facts
    from runner.terminal.operations import as_document, as_list, as_page

    every, facts = operations(), provider_facts()
    chosen = _chosen(operation or "", every, facts)
    if as_json:
        listed = [as_document(every[name], facts[name.partition("/")[0]], codes=codes or operation in every) for name in chosen]
        write_document({"schema": 1, "operations": listed})
    elif operation is None or len(chosen) > 1:
        write_rendered(as_list({name: every[name] for name in chosen}, facts, width()))
    else:
        write_rendered(as_page(every[chosen[0]], facts[chosen[0].partition("/")[0]], width(), codes=codes))
    return EXIT_OK


def _chosen(wanted: str, every: Collection[str], providers: Collection[str]) -> list[str]:
    """The operations that are meant. Raises ``UsageError`` with a guess for a name that does not exist."""
    if not wanted:
        return list(every)
    found = [name for name in every if wanted in {name, name.partition("/")[0]}]
    if found:
        return found
    close = get_close_matches(wanted.lower(), [*every, *providers, *(name.partition("/")[2] for name in every)], n=1, cutoff=0.5)
    meant = next((name for name in every if close and close[0] in {name, name.partition("/")[2]}), close[0] if close else "")
    hint = f"did you mean: callsheet providers {meant}?" if meant else "callsheet providers lists them"
    raise UsageError(f"there is no operation {wanted!r}", hint=hint)
