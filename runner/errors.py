"""Every error that a user can meet, with its exit code and the next thing to do.

    CallsheetError (exit_code, hint)
      UsageError 2:    ManifestError(mark)  CatalogueError(file, row)  TemplateError(mark, product)  SettingsError(source)
      BudgetError 3
      LedgerError 4:   LedgerLocked(pid, host)  LedgerCorrupt(file, line)  IllegalTransition(story)
      ProviderError:   Deferred(retry_after)  Transient  Refused(code)  Halted(5)  Uncertain
      WireError:       NotSent  MaybeSent
      ArtifactError:   DownloadFailed  VerificationFailed(expected, got)

Owns the tree and nothing else. Split by fault: the user's input, ours, the provider's, nobody knows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from runner.model import ErrorClass

EXIT_OK = 0
EXIT_JOBS_FAILED = 1
EXIT_USAGE = 2
EXIT_BUDGET = 3
EXIT_LEDGER = 4
EXIT_HALTED = 5
EXIT_WAITING = 6
EXIT_UNEXPECTED = 70
EXIT_INTERRUPTED = 130


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A place in a text file; ``line`` and ``column`` count from 1. ``text`` is what stands there."""

    file: str
    line: int
    column: int
    text: str = ""
    inside: Callable[[int, int], Mark] | None = field(default=None, compare=False, repr=False)
    """Line and column within the text that stands here -> its own place; None when the text stands line by line as it is read."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"

    def within(self, line: int, column: int) -> Mark:
        """The place of a character of the text that stands here; both count from 1, and ``column`` 0 is the line's beginning."""
        if self.inside is not None:
            return self.inside(line, column)
        return Mark(self.file, self.line + max(0, line - 1), self.column + max(0, column - 1), self.text)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with the user's input, and what to do about it."""

    mark: Mark
    message: str
    hint: str = ""
    code: str = "manifest"
    """A short stable word for machines: ``unknown-key``, ``duplicate-key``, ``parameter`` ..."""


class CallsheetError(Exception):
    """Base of all errors that are meant for people. ``hint`` is the next thing to do."""

    exit_code = EXIT_UNEXPECTED

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(CallsheetError):
    """The command line, the manifest or a setting is wrong."""

    exit_code = EXIT_USAGE


class ManifestError(UsageError):
    """The manifest (or something it names) has problems; all of them are in ``problems``."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(f"{p.mark}: {p.message}" for p in problems))
        self.problems = problems


class CatalogueError(UsageError):
    """A catalogue file cannot be read. ``row`` counts lines or records from 1; 0 means the file as a whole."""

    def __init__(self, message: str, *, file: str, row: int = 0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.file = file
        self.row = row


class TemplateError(UsageError):
    """A template cannot be compiled or rendered; ``product`` names the row it failed for."""

    def __init__(self, message: str, *, mark: Mark | None = None, product: str = "", hint: str = "", line: int = 0) -> None:
        super().__init__(message, hint=hint)
        self.mark = mark
        self.product = product
        self.line = line
        """Line within the template's own text, from 1; 0 when unknown."""
        self.column = 0
        """Column in that line, from 1; 0 when unknown."""


class SettingsError(UsageError):
    """A credential or setting is missing or wrong; ``source`` says where it was looked for."""

    def __init__(self, message: str, *, source: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.source = source


class BudgetError(CallsheetError):
    """Going on would cost more than was allowed."""

    exit_code = EXIT_BUDGET


class LedgerError(CallsheetError):
    """The ledger cannot be used."""

    exit_code = EXIT_LEDGER


class LedgerLocked(LedgerError):
    """Another runner holds the ledger."""

    def __init__(self, message: str, *, pid: int, host: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.pid = pid
        self.host = host


class LedgerCorrupt(LedgerError):
    """A line of the journal is not what was written."""

    def __init__(self, message: str, *, file: str, line: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.file = file
        self.line = line


class IllegalTransition(LedgerError):
    """An event that the life-cycle table does not allow; ``story`` are the job's journal lines so far."""

    def __init__(self, message: str, *, story: tuple[str, ...] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.story = story


class LaneLost(LedgerError):
    """Somebody else drives this lane now; nothing more may be written under the old tenure."""


class ProviderError(CallsheetError):
    """A provider answered something other than yes. ``error_class`` says what that means for the runner."""

    error_class = ErrorClass.TRANSIENT

    def __init__(
        self, message: str, *, code: str = "", cause: str = "", hint: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.cause = cause
        self.retry_after = retry_after
        """Seconds the provider asked us to wait, when it did."""


class Deferred(ProviderError):
    """A slot or rate limit; nothing was accepted."""

    error_class = ErrorClass.DEFERRED


class Transient(ProviderError):
    """A passing fault; nothing was accepted."""

    error_class = ErrorClass.TRANSIENT


class Refused(ProviderError):
    """This job cannot succeed as it is."""

    error_class = ErrorClass.REFUSED


class Halted(ProviderError):
    """The account is stopped."""

    exit_code = EXIT_HALTED
    error_class = ErrorClass.HALTED


class Uncertain(ProviderError):
    """Nobody knows whether it was accepted."""

    error_class = ErrorClass.UNCERTAIN


class WireError(CallsheetError):
    """A request got no usable answer. The two kinds differ in the one thing that matters for money."""


class NotSent(WireError):
    """No byte of the request left this machine: repeating it is safe."""


class MaybeSent(WireError):
    """Bytes may have reached the provider: a paid request must not be repeated blindly."""


class ArtifactError(CallsheetError):
    """A result could not be stored."""


class DownloadFailed(ArtifactError):
    """The result link did not give the file. ``expired`` when a fresh link may help; ``status`` is HTTP's, 0 for none."""

    def __init__(self, message: str, *, status: int = 0, expired: bool = False, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.expired = expired


class VerificationFailed(ArtifactError):
    """The file is not what was ordered. ``damaged`` when it is not a whole media file at all: another try may bring the right one."""

    def __init__(self, message: str, *, expected: str, got: str, hint: str = "", damaged: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.damaged = damaged
        self.expected = expected
        self.got = got
