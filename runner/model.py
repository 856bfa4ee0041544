"""The nouns of the house: products, jobs, attempts, observations, artifacts.

Owns plain values that several floors share. Knows no I/O, no clock and no provider; imports
nothing from this package. Everything here is frozen, so that a value handed over stays true.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"
"""What a JSON document may hold."""

Cell: TypeAlias = tuple[tuple[str, str], ...]
"""One matrix cell: (axis, value) pairs in the order in which the axes were declared, values as text."""


class State(StrEnum):
    """Where a job is. ``lifecycle.TABLE`` says how it gets from one to the other."""

    PENDING = "pending"
    HELD = "held"
    READY = "ready"
    SUBMITTING = "submitting"
    UNCERTAIN = "uncertain"
    RUNNING = "running"
    CANCELLING = "cancelling"
    COLLECTING = "collecting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


class ErrorClass(StrEnum):
    """What an answer means for the runner (never decided by the HTTP status alone)."""

    DEFERRED = "deferred"
    """A slot or rate limit: nothing was accepted; ask again later."""
    TRANSIENT = "transient"
    """A passing fault; nothing was accepted (or the request was only a question)."""
    REFUSED = "refused"
    """This job cannot succeed as it is: bad input, content policy."""
    HALTED = "halted"
    """The whole account is stopped: credentials, credit, ban. Other lanes go on."""
    UNCERTAIN = "uncertain"
    """Nobody knows whether the provider accepted (and charges) it."""


class MediaKind(StrEnum):
    """The three kinds of media that go in and come out."""

    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"


@dataclass(frozen=True, slots=True)
class Product:
    """One row of the catalogue. ``row`` is the 1-based line (or record) in ``file`` where it begins."""

    key: str
    fields: Mapping[str, JSON]
    file: str
    row: int


@dataclass(frozen=True, slots=True)
class Asset:
    """An input file of ours: where it lies, what it is, and its digest (SHA-256, hex)."""

    path: Path
    sha256: str
    bytes: int
    format: str
    """Lower-case container or codec name without a dot: ``png``, ``jpeg``, ``mp3``, ``mp4``."""


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """What opening a media file showed. Sizes in pixels and bytes, ``seconds`` of play time."""

    kind: MediaKind
    format: str
    bytes: int
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    codec: str | None = None


@dataclass(frozen=True, slots=True)
class RemoteOutput:
    """One result file that a provider offers for download."""

    name: str
    """The output's name within the operation: ``image``, ``video``, ``video_2``."""
    kind: MediaKind
    url: str
    width: int | None = None
    height: int | None = None
    seconds: float | None = None


class Phase(StrEnum):
    """What a provider says of a task, in our words."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """A status word nobody documented: treated as still running until the deadline."""
    MISSING = "missing"
    """The provider does not know this remote id."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What a poll or a callback told us about one remote task."""

    remote_id: str
    phase: Phase
    outputs: tuple[RemoteOutput, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict)
    """Named results that are not files, e.g. ``audio_id``."""
    credits: float | None = None
    """What the provider says it charged, in credits of the account; None when it does not say."""
    reason: str = ""
    """The provider's words for a failure."""
    cause: str = ""
    """Our word for it: ``content_policy``, ``bad_input``, ``server`` ..."""
    word: str = ""
    """The provider's own status word, for people."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A submission that the provider took. ``credits`` when the answer already names a price."""

    remote_id: str
    credits: float | None = None
    observation: Observation | None = None
    """For synchronous operations: the result came with the answer."""


@dataclass(frozen=True, slots=True)
class Submission:
    """One paid submission, frozen: what an adapter needs to make its requests.

    ``key`` is the idempotency key, unique per account and at most 32 characters of ``[a-z0-9-]``. ``params`` are the validated
    parameters under the API's own names, without those that are local files; these are in ``media``, by parameter name.
    """

    key: str
    params: Mapping[str, JSON]
    media: Mapping[str, Asset] = field(default_factory=dict)
    callback_url: str | None = None
    started_at: float | None = None
    """Unix seconds when the intent was written; for looking a lost submission up. None before that."""


@dataclass(frozen=True, slots=True)
class StoredArtifact:
    """A finished file below the run's ``artifacts/``. ``path`` is relative to that folder, with ``/``."""

    name: str
    path: str
    sha256: str
    info: MediaInfo


@dataclass(frozen=True, slots=True)
class JobRow:
    """One job as reports and ``status`` see it: read from the ledger alone. Times are Unix seconds."""

    key: str
    target: str
    product: str
    title: str
    cell: Cell
    operation: str
    lane: str
    state: State
    fingerprint: str
    reason: str
    """Why it was planned: ``new``, ``changed: prompt``, ``redo: needs.still was made again``."""
    attempts: int = 0
    remote_id: str = ""
    params: Mapping[str, JSON] = field(default_factory=dict)
    artifacts: tuple[StoredArtifact, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict)
    credits_estimated: float | None = None
    credits_actual: float | None = None
    credits_before: float = 0.0
    """What earlier lives and attempts of the same job cost."""
    error_class: str = ""
    error_cause: str = ""
    error_message: str = ""
    error_hint: str = ""
    planned_at: float | None = None
    submitted_at: float | None = None
    started_at: float | None = None
    """When the provider was first seen working on it (left its queue)."""
    ready_at: float | None = None
    """When the provider was first seen done with it."""
    finished_at: float | None = None


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What the ledger knows about the campaign as a whole."""

    campaign: str
    rehearsal: bool
    ledger: Path
    artifacts: Path
    created_at: float
    runs: int
    last_run_started_at: float | None = None
    last_run_ended_at: float | None = None
    halted: Mapping[str, str] = field(default_factory=dict)
    """Lane -> what stopped it, for lanes that the last run left halted."""
    limits: Mapping[str, int] = field(default_factory=dict)
    """Lane -> slots, as of the last run."""
