"""The command ``callsheet``.

Owns the table of commands and what every one shares: errors in plain words, exit codes, a saved log for what nobody expected. A command's module
is loaded only when that command runs, so that ``callsheet --version`` costs nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    _open_streams()
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given in (["--version"], ["-V"]):
        from runner import __version__

        sys.stdout.write(f"callsheet {__version__}\n")
        return
    from runner.commands import invoke

    sys.exit(invoke(given))


def _open_streams() -> None:
    """Python has None for a stream that is closed (``>&-``): what would be said there is then said to nobody."""
    streams: dict[str, object] = vars(sys)
    for name in ("stdout", "stderr"):
        if streams[name] is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8"))


if __name__ == "__main__":
    main()
