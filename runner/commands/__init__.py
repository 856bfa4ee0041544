"""The commands, one file each (and ``parser``, which reads the command line), and the one way in.

``COMMANDS`` is the table: name, module, one line of help. Every module offers ``command``, a Typer function whose return value is the exit
code. A module is imported when its command runs; the help page needs none of them.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from runner.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_UNEXPECTED, CallsheetError

COMMANDS: Mapping[str, tuple[str, str]] = {
    "init": ("runner.commands.init", "Write a small campaign that runs at once."),
    "validate": ("runner.commands.validate", "Find every error that can be found without spending."),
    "plan": ("runner.commands.plan", "Show what a run would do, why, and what it costs."),
    "run": ("runner.commands.run", "Run a campaign, or resume it."),
    "status": ("runner.commands.status", "Show where a campaign stands."),
    "reconcile": ("runner.commands.reconcile", "Settle submissions that nobody knows about."),
    "cancel": ("runner.commands.cancel", "Stop jobs before they are paid for."),
    "ledger": ("runner.commands.ledger", "Verify, repair or compact the ledger."),
    "report": ("runner.commands.report", "Write the reports again, from the ledger alone."),
    "providers": ("runner.commands.providers", "List operations and their parameters."),
    "simulate": ("runner.commands.simulate", "Serve the pretend providers on this machine."),
    "schema": ("runner.commands.schema", "Print the manifest's JSON Schema for editors."),
    "doctor": ("runner.commands.doctor", "Check credentials, network, clock and disk."),
}


def invoke(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit code. Prints errors on standard error, as JSON when ``--json`` was given."""
    from runner.commands.parser import ReaderLeftError, application

    _never_choke()
    try:
        code = application(COMMANDS)(args=list(arguments), prog_name="callsheet", standalone_mode=False)
        sys.stdout.flush()
    except CallsheetError as error:
        _print_error(error, as_json="--json" in arguments)
        return error.exit_code
    except (KeyboardInterrupt, EOFError):
        return EXIT_INTERRUPTED
    except (BrokenPipeError, ReaderLeftError):
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


def _print_error(error: CallsheetError, *, as_json: bool) -> None:
    from runner.terminal.output import write_if_heard
    from runner.terminal.problems import as_document, as_text

    if as_json:
        import json

        write_if_heard(sys.stdout, json.dumps(as_document(error, _redact), ensure_ascii=False, indent=2) + "\n")
    else:
        write_if_heard(sys.stderr, as_text(error, _redact) + "\n")


def _redact(text: str) -> str:
    """Without anything that looks like a secret; by value for those of the environment, and those that this process has read."""
    import os

    from runner.settings import Redactor, secrets_read

    secrets = [value for name, value in os.environ.items() if name.startswith("CALLSHEET_") and _is_secret(name)]
    return Redactor([*secrets, *secrets_read()]).text(text)


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

    from runner.terminal.output import write_if_heard

    report = _redact("".join(traceback.format_exception(error)))
    with tempfile.NamedTemporaryFile(
        "w", prefix="callsheet-", suffix=".log", delete=False, encoding="utf-8", errors="replace"
    ) as log:
        log.write(report)
    write_if_heard(
        sys.stderr,
        f"error: something unexpected happened: {_redact(repr(error))[:300]}\n"
        f"  hint: nothing is lost, run the same command again; please report the log: {log.name}\n",
    )
    return EXIT_UNEXPECTED
