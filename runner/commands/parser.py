"""The command line as Typer reads it: lazily loaded commands, help pages of ours, and its errors as ours.

Owns everything that touches Typer's own classes, which are private to it (hence the ``Any``). Loaded when a command line is read, not before.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup

from runner import __version__
from runner.errors import EXIT_INTERRUPTED, EXIT_USAGE, UsageError
from runner.terminal.help import name_values, write_options

Table = Mapping[str, tuple[str, str]]
"""Command -> (module, one line of help)."""
ABOUT = "From a git-reviewed manifest to finished product videos: planned, paid once, resumable."


class ReaderLeftError(Exception):
    """Whoever read our output has gone. (Typer would end the process with 1, which means failed jobs here, on a ``BrokenPipeError``.)"""


class Commands(TyperGroup):
    """All commands; loads a command's module when it is asked for."""

    table: ClassVar[Table] = {}

    def list_commands(self, _ctx: object) -> list[str]:
        """In the order of the table."""
        return list(self.table)

    def get_command(self, _ctx: object, name: str) -> Any:  # noqa: ANN401  # as in the base class
        """The command, or None."""
        return _command(name, self.table) if name in self.table else None

    def resolve_command(self, _ctx: object, args: list[str]) -> Any:  # noqa: ANN401  # as in the base class
        """Raises ``UsageError`` with a guess for an unknown command."""
        if args[0] not in self.table:
            raise _unknown_command(args[0], self.table)
        return args[0], _command(args[0], self.table), args[1:]

    def make_context(self, *args: Any, **extra: Any) -> Any:  # noqa: ANN401  # as in the base class
        """Also prints help pages."""
        try:
            return super().make_context(*args, **extra)
        except BrokenPipeError:
            raise ReaderLeftError from None

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401  # as in the base class
        """Run the command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise ReaderLeftError from None

    def format_commands(self, _ctx: object, formatter: Any) -> None:  # noqa: ANN401  # as in the base class
        """From the table, so that the page needs no command's module."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in self.table.items()])


class PlainCommand(TyperCommand):
    """One command; shows its options as ours."""

    def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401  # as in the base class
        """In sections where there are many."""
        write_options(self.get_params(ctx), ctx, formatter)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ANN401  # as in the base class
        """``MANIFEST`` rather than ``{MANIFEST}``."""
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]


def application(table: Table) -> Callable[..., object]:
    """The command line over ``table``, as a function of Typer's ``main`` that raises our errors."""

    class Bound(Commands):
        """The commands of this table."""

    Bound.table = table
    app = typer.Typer(
        cls=Bound,
        name="callsheet",
        help=ABOUT,
        no_args_is_help=True,
        add_completion=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    app.callback(invoke_without_command=True)(_root)
    return _guarded(typer.main.get_command(app))


def _root(version: bool = typer.Option(False, "--version", "-V", help="Print the version.")) -> None:
    if version:
        sys.stdout.write(f"callsheet {__version__}\n")
        raise typer.Exit


def _command(name: str, table: Table) -> Any:  # noqa: ANN401  # a class of Typer's
    module = importlib.import_module(table[name][0])
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(name=name, cls=PlainCommand, help=module.command.__doc__, short_help=table[name][1])(module.command)
    found = typer.main.get_command(app)
    name_values(found.params)
    return found


def _guarded(group: Any) -> Callable[..., object]:  # noqa: ANN401  # a class of Typer's
    """The group as a function that turns the parser's own errors into ours."""

    def run(**options: Any) -> object:  # noqa: ANN401  # passed through
        try:
            return group(**options)
        except Exception as error:
            if type(error).__name__ == "NoArgsIsHelpError":
                sys.stdout.write(f"{getattr(error, 'message', '')}\n")
                return EXIT_USAGE
            if hasattr(error, "format_message") and hasattr(error, "exit_code"):
                raise _usage(error) from None
            if type(error).__name__ in {"Exit", "Abort"}:
                return int(getattr(error, "exit_code", EXIT_INTERRUPTED))
            raise

    return run


def _usage(error: Any) -> UsageError:  # noqa: ANN401  # a class of Typer's
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "callsheet"
    message = str(error.format_message()).rstrip(".")
    return UsageError(message[:1].lower() + message[1:], hint=f"{path} --help shows what it takes")


def _unknown_command(name: str, table: Table) -> UsageError:
    close = get_close_matches(name, list(table), n=1)
    hint = f"did you mean: callsheet {close[0]}?" if close else "callsheet --help lists the commands"
    return UsageError(f"there is no command {name!r}", hint=hint)
