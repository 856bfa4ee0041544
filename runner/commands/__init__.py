"""The commands, one file each, and the one way in.

``COMMANDS`` is the table: name, module, one line of help. Every module offers ``command``, a Typer function whose return value is the exit
code. A module is imported when its command runs; the help page needs none of them.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from runner.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_UNEXPECTED, EXIT_USAGE, CallsheetError, UsageError

COMMANDS: Mapping[str, tuple[str, str]] = {
    "init": ("runner.commands.init", "Write a small campaign that runs at once."),
    "validate": ("runner.commands.validate", "Find every error that can be found without spending."),
    "plan": ("runner.commands.plan", "Show what a run would do, why, and what it costs."),
    "run": ("runner.commands.run", "Run a campaign, or resume it."),
    "status": ("runner.commands.status", "Show where a campaign stands."),
    "report": ("runner.commands.report", "Write the reports again, from the ledger alone."),
    "providers": ("runner.commands.providers", "List operations and their parameters."),
    "simulate": ("runner.commands.simulate", "Serve the pretend providers on this machine."),
    "schema": ("runner.commands.schema", "Print the manifest's JSON Schema for editors."),
    "doctor": ("runner.commands.doctor", "Check credentials, network, clock and disk."),
}


def invoke(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit code. Prints errors on standard error, as JSON when ``--json`` was given."""
    _never_choke()
    try:
        code = _application()(args=list(arguments), prog_name="callsheet", standalone_mode=False)
    except CallsheetError as error:
        _print_error(error, as_json="--json" in arguments)
        return error.exit_code
    except (KeyboardInterrupt, EOFError):
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return _broken_pipe()
    except Exception as error:  # noqa: BLE001  # the last resort: a saved log instead of a traceback
        return _unexpected(error)
    return code if isinstance(code, int) else EXIT_OK


def _never_choke() -> None:
    """A character that the terminal's encoding does not have is shown as an escape; it must not end the command."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _application() -> Any:  # noqa: ANN401  # Typer's own command classes are private to it
    import typer
    from typer.core import TyperGroup

    class Commands(TyperGroup):
        """Loads a command's module when it is asked for."""

        def list_commands(self, _ctx: object) -> list[str]:
            return list(COMMANDS)

        def get_command(self, _ctx: object, name: str) -> Any:  # noqa: ANN401  # as in the base class
            return _command(name, typer)

        def resolve_command(self, _ctx: object, args: list[str]) -> Any:  # noqa: ANN401  # as in the base class
            if args[0] not in COMMANDS:
                raise _unknown_command(args[0])
            return args[0], _command(args[0], typer), args[1:]

        def format_commands(self, _ctx: object, formatter: Any) -> None:  # noqa: ANN401  # as in the base class
            with formatter.section("Commands"):
                formatter.write_dl([(name, about) for name, (_, about) in COMMANDS.items()])

    app = typer.Typer(
        cls=Commands,
        name="callsheet",
        help="From a git-reviewed manifest to finished product videos: planned, paid once, resumable.",
        no_args_is_help=True,
        add_completion=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )

    @app.callback(invoke_without_command=True)
    def root(version: bool = typer.Option(False, "--version", "-V", help="Print the version.")) -> None:
        if version:
            from runner import __version__

            sys.stdout.write(f"callsheet {__version__}\n")
            raise typer.Exit

    return _guarded(typer.main.get_command(app))


def _guarded(group: Any) -> Any:  # noqa: ANN401  # Typer's own command classes are private to it
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


def _usage(error: Any) -> UsageError:  # noqa: ANN401  # the parser's error classes are private to Typer
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "callsheet"
    message = str(error.format_message()).rstrip(".")
    return UsageError(message[:1].lower() + message[1:], hint=f"{path} --help shows what it takes")


def _unknown_command(name: str) -> CallsheetError:
    from difflib import get_close_matches

    close = get_close_matches(name, list(COMMANDS), n=1)
    hint = f"did you mean: callsheet {close[0]}?" if close else "callsheet --help lists the commands"
    return UsageError(f"there is no command {name!r}", hint=hint)


def _command(name: str, typer: Any) -> Any:  # noqa: ANN401  # a module, and a private class of it
    if name not in COMMANDS:
        return None
    from typer.core import TyperCommand

    from runner.terminal.help import name_values, write_options

    class PlainCommand(TyperCommand):
        """Shows its options as ours."""

        def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401  # as in the base class
            write_options(self.get_params(ctx), ctx, formatter)

        def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ANN401  # as in the base class
            return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]

    module = importlib.import_module(COMMANDS[name][0])
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(name=name, cls=PlainCommand, help=module.command.__doc__, short_help=COMMANDS[name][1])(module.command)
    found = typer.main.get_command(app)
    name_values(found.params)
    return found


def _print_error(error: CallsheetError, *, as_json: bool) -> None:
    from runner.terminal.problems import as_document, as_text

    if as_json:
        import json

        sys.stdout.write(json.dumps(as_document(error, _redact), ensure_ascii=False, indent=2) + "\n")
    else:
        sys.stderr.write(as_text(error, _redact) + "\n")


def _redact(text: str) -> str:
    """Without anything that looks like a secret; by value for the secrets of the environment."""
    import os

    from runner.settings import Redactor

    secrets = [value for name, value in os.environ.items() if name.startswith("CALLSHEET_") and _is_secret(name)]
    return Redactor(secrets).text(text)


def _is_secret(name: str) -> bool:
    return any(part in name for part in ("KEY", "SECRET", "_ID", "UID", "TOKEN"))


def _broken_pipe() -> int:
    """The reader of our output went away (``callsheet plan | head``): no error of ours."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return EXIT_OK


def _unexpected(error: Exception) -> int:
    import tempfile
    import traceback

    report = _redact("".join(traceback.format_exception(error)))
    with tempfile.NamedTemporaryFile(
        "w", prefix="callsheet-", suffix=".log", delete=False, encoding="utf-8", errors="replace"
    ) as log:
        log.write(report)
    sys.stderr.write(
        f"error: something unexpected happened: {_redact(repr(error))[:300]}\n"
        f"  hint: nothing is lost, run the same command again; please report the log: {log.name}\n"
    )
    return EXIT_UNEXPECTED
