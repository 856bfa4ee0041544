"""From a provider's answer to an error that says what the runner does next.

Owns the reading of error codes by a provider's own table, and the rules for answers outside that table. The HTTP status
decides only where a provider's code is missing. Never decides whether something is asked again, or when.

The rule that guards the money: on a *paid* request only an answer that proves a refusal may become anything but
``Uncertain``. On a free question the same doubt is harmless, so it becomes ``Transient``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from runner.errors import Deferred, Halted, ProviderError, Refused, Transient, Uncertain
from runner.model import JSON, ErrorClass
from runner.providers.replies import cleaned, code_at, document, retry_after, text_at, words_of
from runner.seams import CodeRow, Response

_KINDS: Final[Mapping[ErrorClass, type[ProviderError]]] = {
    ErrorClass.DEFERRED: Deferred,
    ErrorClass.TRANSIENT: Transient,
    ErrorClass.REFUSED: Refused,
    ErrorClass.HALTED: Halted,
    ErrorClass.UNCERTAIN: Uncertain,
}

_HINTS: Final[Mapping[str, str]] = {
    "auth": "check this account's credentials, then run again",
    "credit": "top up this account, then run again; finished work is kept",
    "account": "settle this with the provider's support, then run again",
    "permission": "have the provider allow this API for the account's plan, then run again",
    "address": "check the provider's base URL in the settings, then run again",
    "rate_limit": "nothing to do: it is tried again, more slowly; lower `rate` if this stays",
    "concurrency": "nothing to do: it waits for a free slot; lower `concurrency` if this stays",
    "content_policy": "change the prompt or the picture, then run again",
    "bad_input": "correct what the message names, then run again",
    "not_found": "check that the id or file still exists at the provider, then run again",
}
_HINTS_BY_CLASS: Final[Mapping[ErrorClass, str]] = {
    ErrorClass.DEFERRED: "nothing to do: it is tried again later",
    ErrorClass.TRANSIENT: "nothing to do: it is tried again; if this stays, see the provider's status page",
    ErrorClass.REFUSED: "read the provider's words, correct the job, then run again",
    ErrorClass.HALTED: "settle this with the provider, then run again",
    ErrorClass.UNCERTAIN: "do not submit it by hand: it is looked up first; `callsheet reconcile` shows what stays open",
}

_POLICY: Final = re.compile(
    r"polic|moderat|sensitive|nsfw|inappropriate|prohibited|violat|unsafe|risk control|content control", re.IGNORECASE
)

_STATUS_ROWS: Final[Mapping[int, tuple[ErrorClass, str, str]]] = {
    301: (ErrorClass.HALTED, "address", "the address has moved"),
    307: (ErrorClass.HALTED, "address", "the address has moved"),
    308: (ErrorClass.HALTED, "address", "the address has moved"),
    401: (ErrorClass.HALTED, "auth", "the credentials were not accepted"),
    402: (ErrorClass.HALTED, "credit", "payment is required"),
    403: (ErrorClass.HALTED, "permission", "access is forbidden"),
    404: (ErrorClass.REFUSED, "not_found", "not found"),
    407: (ErrorClass.HALTED, "auth", "a proxy asks for credentials"),
    408: (ErrorClass.UNCERTAIN, "server", "the request timed out at the provider"),
    425: (ErrorClass.DEFERRED, "rate_limit", "too early"),
    429: (ErrorClass.DEFERRED, "rate_limit", "too many requests"),
    499: (ErrorClass.UNCERTAIN, "server", "the connection was closed on the way"),
}
"""What a status means when no code of the provider comes with it. A moved address (RFC 9110: 301, 307, 308) was not acted on."""


def generation_cause(reason: str) -> str:
    """Our word for why a finished task failed, from the provider's free text: no provider sends a code with it."""
    return "content_policy" if _POLICY.search(reason) else "generation_failed"


def by_code(rows: tuple[CodeRow, ...]) -> dict[str, CodeRow]:
    """A table's rows by their code."""
    return {row.code: row for row in rows}


@dataclass(frozen=True, slots=True)
class Envelope:
    """How a provider wraps its answers: ``{"code": ..., <words>: "..."}``."""

    good: str
    """The code for yes, as text."""
    words: str
    """The key of the text for people."""
    proven: str = ""
    """Pattern of codes missing from the table that nevertheless prove a refusal; empty: none."""


@dataclass(frozen=True, slots=True)
class Judge:
    """Turns one provider's answers into documents or errors. ``secrets`` are blotted out wherever an answer repeats them."""

    title: str
    rows: Mapping[str, CodeRow]
    envelope: Envelope = Envelope(good="", words="")
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def opened(self, response: Response, *, paid: bool) -> Mapping[str, JSON]:
        """The whole answer, once its code says yes. Raises a ``ProviderError`` for every other answer."""
        answer = document(response)
        code = code_at(answer, "code")
        if not code or not isinstance(answer, Mapping):
            raise self.by_status(response, paid=paid)
        if code != self.envelope.good:
            raise self.coded(code, text_at(answer, self.envelope.words), response, paid=paid)
        if not 200 <= response.status < 300:
            raise self.doubt(f"it said yes (code {code}) with HTTP {response.status}", paid=paid)
        return answer

    def coded(self, code: str, words: str, response: Response, *, paid: bool) -> ProviderError:
        """The error for a code of the provider. One that nobody documented is judged by its HTTP status, then by the pattern."""
        row = self.rows.get(code)
        if row is None:
            row = self._undocumented(code, response.status)
        return self.error(row, words, paid=paid, wait=retry_after(response))

    def _undocumented(self, code: str, status: int) -> CodeRow:
        looks_like_http = code.isascii() and code.isdigit() and 400 <= int(code) < 600
        if 300 <= status < 600:
            row = self._status_row(status)
        elif looks_like_http:
            row = self._status_row(int(code))
        elif self.envelope.proven and re.fullmatch(self.envelope.proven, code):
            row = CodeRow(code, "refused", ErrorClass.REFUSED, "bad_input", "fails this job", "")
        else:
            row = CodeRow(code, "unclear", ErrorClass.UNCERTAIN, "server", "looks it up first", "")
        return replace(row, code=code, meaning=f"undocumented code; {row.meaning}")

    def by_status(self, response: Response, *, paid: bool) -> ProviderError:
        """The error for an answer that carries no code of the provider, HTTP 2xx included."""
        if 200 <= response.status < 300:
            return self.doubt(f"its answer (HTTP {response.status}) is not what its documents describe", paid=paid)
        return self.error(self._status_row(response.status), words_of(response), paid=paid, wait=retry_after(response))

    def _status_row(self, status: int) -> CodeRow:
        code = f"HTTP {status}"
        if code in self.rows:
            return self.rows[code]
        if status in _STATUS_ROWS:
            kind, cause, meaning = _STATUS_ROWS[status]
        elif 400 <= status < 500:
            kind, cause, meaning = ErrorClass.REFUSED, "bad_input", "the request was refused"
        else:
            kind, cause, meaning = ErrorClass.UNCERTAIN, "server", "no clear answer"
        return CodeRow(code, meaning, kind, cause, "", "")

    def doubt(self, what: str, *, paid: bool, code: str = "") -> ProviderError:
        """An answer that says nothing usable: ``Uncertain`` when money may have moved, ``Transient`` for a question."""
        row = CodeRow(code, what, ErrorClass.UNCERTAIN, "server", "", "")
        return self.error(row, paid=paid)

    def error(self, row: CodeRow, words: str = "", *, paid: bool, wait: float | None = None) -> ProviderError:
        """The error that a row stands for, with the provider's own ``words``; ``wait`` in seconds when it named a time."""
        kind = row.error_class
        if kind is ErrorClass.UNCERTAIN and not paid:
            kind = ErrorClass.TRANSIENT
        said = self.blotted(words)
        heading = f"{self.title} {row.code}".strip()
        message = f"{heading}: {row.meaning}" + (f": {said}" if said else "")
        hint = _HINTS.get(row.cause, "") or _HINTS_BY_CLASS[kind]
        patient = kind in {ErrorClass.DEFERRED, ErrorClass.TRANSIENT}
        return _KINDS[kind](message, code=row.code, cause=row.cause, hint=hint, retry_after=wait if patient else None)

    def blotted(self, words: str) -> str:
        """``words`` as one clean line without this account's secrets."""
        for secret in self.secrets:
            if len(secret) >= 6:
                words = words.replace(secret, "[secret]")
        return cleaned(words)


def sendable(value: str, name: str, title: str) -> str:
    """A credential as it may stand in a header. Raises ``Halted`` when it is missing or cannot be sent."""
    stripped = value.strip()
    if not stripped:
        raise Halted(f"{title}: the {name} is missing", cause="auth", hint=f"set this account's {name}, then run again")
    if not stripped.isascii() or not stripped.isprintable():
        hint = f"copy the {name} again, without line breaks or typographic characters, then run again"
        raise Halted(f"{title}: the {name} holds characters that cannot be sent", cause="auth", hint=hint)
    return stripped
