"""Where providers may call back, and what their calls are worth. Pure: no clock, no I/O.

Owns the callback address of an attempt (``<base>/<lane>/<submission key>/<token>``) and the memory of what callbacks said about one lane's
attempts. The token can only be made by who holds the ledger's random id, so whoever uses it was told by us: the provider of that one attempt.
That proves that the submission arrived. It does not prove that the body is true, so a body only ever makes us ask.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, urlsplit

from runner.errors import UsageError
from runner.model import Observation, Phase
from runner.providers.parameters import marked
from runner.seams import ProviderFacts

TOKEN_BYTES: Final = 16
LONGEST_KEY: Final = 32
"""Characters of a submission key, at most."""
LONGEST_PATH: Final = 2048
PATIENCE_TIMES: Final = 3.0
PATIENCE_SECONDS: Final = 120.0
"""A lost submission that only a callback can settle is waited for so many typical durations, and at least so many seconds."""

ENDINGS: Final = frozenset({Phase.SUCCEEDED, Phase.FAILED})


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a callback's address says: whose attempt it is about."""

    lane: str
    key: str


@dataclass(frozen=True, slots=True)
class Callbacks:
    """The callback addresses of one ledger. ``base`` is public; ``ledger_id`` is the ledger's own random id."""

    base: str
    ledger_id: str = field(repr=False)

    def url(self, lane: str, key: str) -> str:
        """Where the provider of the attempt ``key`` calls back. The same in every run over this ledger."""
        return f"{self.base}/{quote(lane, safe='')}/{quote(key, safe='')}/{self._token(lane, key)}"

    def recognised(self, path: str) -> Attempt | None:
        """The attempt that a path belongs to; None for every other path. What stands before the last three parts is not looked at: a
        proxy may have taken it off. Takes the same time for every wrong token.
        """
        parts = path[: LONGEST_PATH + 1].split("/")
        whole = len(path) <= LONGEST_PATH and len(parts) > 3
        lane, key, token = parts[-3:] if whole else ("", "", "")
        same = hmac.compare_digest(self._token(lane, key).encode(), token.encode("utf-8", "replace"))
        return Attempt(lane, key) if same and lane and key else None

    def _token(self, lane: str, key: str) -> str:
        message = f"callback\0{lane}\0{key}".encode("utf-8", "replace")
        made = hashlib.blake2b(message, key=hashlib.sha256(self.ledger_id.encode()).digest(), digest_size=TOKEN_BYTES)
        return base64.urlsafe_b64encode(made.digest()).decode().rstrip("=")


def public_base(text: str) -> str:
    """The address that providers reach us at, as a person wrote it. Raises ``UsageError``."""
    hint = "write the public address of the receiver, such as --callbacks https://hooks.example.com/callsheet"
    try:
        parts = urlsplit(text.strip())
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or not text.isascii() or not text.isprintable() or any(c in text.strip() for c in ' ?#\\<>"'):
        raise UsageError("--callbacks is no http(s) address, or holds a query or a fragment", hint=hint)
    if "@" in parts.netloc:
        raise UsageError("--callbacks holds a user name or password, and every provider would see them", hint=hint)
    return text.strip().rstrip("/")


def require_short(base: str, lanes: Mapping[str, ProviderFacts]) -> None:
    """Check that each lane's provider takes addresses as long as ours. Raises ``UsageError`` before anything is submitted."""
    for lane, facts in lanes.items():
        if facts.callback_chars is None:
            continue
        key = "k" * LONGEST_KEY
        excess = len(marked(Callbacks(base, "").url(lane, key), key)) - facts.callback_chars
        if excess > 0:
            raise UsageError(
                f"--callbacks is {excess} characters too long: {facts.title} takes addresses of {facts.callback_chars} characters, "
                "and the job's key and token come on top",
                hint=f"use an address of at most {len(base) - excess} characters, or leave --callbacks out: results are polled for anyway",
            )


def own_port(ledger_id: str) -> int:
    """A port below the ones that systems hand out, the same for every rehearsal over a ledger: a rehearsal that was killed is called back
    where it listens again.
    """
    return 20_000 + int.from_bytes(hashlib.sha256(ledger_id.encode()).digest()[:4], "big") % 10_000


def patience(typical_seconds: float) -> float:
    """Seconds of the provider's time that a callback is waited for when nothing else can settle a lost submission."""
    return max(PATIENCE_TIMES * typical_seconds, PATIENCE_SECONDS)


@dataclass(slots=True)
class Hearsay:
    """What callbacks said about one lane's attempts, until it is used or of no use any more.

    ``counts`` says what they were: ``hint`` (the provider is asked), ``progress`` (no news, nothing to ask), ``early`` (the submit's own
    reply is still under way), ``lost`` (of a lost submission), ``ended`` (the job is done), ``mismatch`` (another remote id), ``unread``
    (no remote id). Besides, ``adopted`` counts the submissions that only a callback settled, and ``contradicted`` those whose remote id
    turned out to be another one than a callback had said.
    """

    counts: Counter[str] = field(default_factory=Counter)
    _jobs: dict[str, str] = field(default_factory=dict)
    _remote_ids: dict[str, str] = field(default_factory=dict)
    _vouched: dict[str, Observation] = field(default_factory=dict)

    def expect(self, submission_key: str, job: str) -> None:
        """Callbacks about this attempt may come from now on."""
        self._jobs[submission_key] = job

    def job(self, submission_key: str) -> str | None:
        """The job whose attempt it is; None for attempts that are over."""
        return self._jobs.get(submission_key)

    def remember(self, job: str, remote_id: str) -> None:
        """The provider named the remote id of an attempt whose own reply may still come; the first one counts."""
        self._remote_ids.setdefault(job, remote_id)

    def remote_id(self, job: str) -> str | None:
        """The remote id that a callback named."""
        return self._remote_ids.get(job)

    def settled(self, job: str, remote_id: str) -> None:
        """The job has its remote id."""
        if self._remote_ids.pop(job, remote_id) != remote_id:
            self.counts["contradicted"] += 1

    def vouch(self, job: str, seen: Observation) -> None:
        """A signed ending: it counts if the provider cannot be asked."""
        self._vouched[job] = seen

    def vouched(self, job: str) -> Observation | None:
        """The signed ending, once."""
        return self._vouched.pop(job, None)

    def better(self, job: str, seen: Observation) -> Observation:
        """What was asked, unless it knows less than a signed ending."""
        vouched = self._vouched.pop(job, None)
        return seen if vouched is None or seen.phase in ENDINGS else vouched

    def forget(self, job: str, submission_key: str) -> None:
        """The job ended."""
        self._jobs.pop(submission_key, None)
        self._remote_ids.pop(job, None)
        self._vouched.pop(job, None)
