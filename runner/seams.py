"""The narrow places where one kind of thing meets many of its kind.

Owns the protocols (Provider, Operation, Wire, Source, and the lane seam) and the small values that cross them. No behaviour:
a seam exists only where there are several implementations, and each has one contract suite in ``tests/contract``.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar

import msgspec
from pydantic import BaseModel

from runner.errors import MaybeSent, ProviderError
from runner.events import Event, LaneHalted, Planned, SubmitStarted
from runner.model import JSON, Accepted, ErrorClass, MediaKind, Observation, State, StoredArtifact, Submission

# --------------------------------------------------------------------------------------------------- requests


@dataclass(frozen=True, slots=True)
class FileBase64:
    """Stands inside ``Request.json`` where the bare base64 text of a local file must go (no ``data:`` prefix)."""

    path: Path


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, as an adapter wants it made.

    ``path`` begins with ``/`` (below the provider's base URL) or is a whole URL. ``paid`` marks the one request that
    may cost money: the intent is on disk before it leaves. ``signed`` adds the account's credentials.
    """

    method: str
    path: str
    query: Mapping[str, str | int] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: object = None
    """A JSON document that may hold ``FileBase64``; None sends no body."""
    file: Path | None = None
    """Send this file's bytes as the body."""
    paid: bool = False
    signed: bool = True


@dataclass(frozen=True, slots=True)
class Response:
    """The whole answer. Header names are lower-case; ``body`` is at most the wire's size limit."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> JSON:
        """The body as JSON. Raises ``MaybeSent`` when it is not JSON: the request was made, the answer says nothing."""
        try:
            document: JSON = msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            start = self.body[:80].decode("utf-8", "replace")
            raise MaybeSent(f"the answer (HTTP {self.status}) is not JSON: {start!r}") from error
        return document


T = TypeVar("T")
Flow: TypeAlias = Generator[Request, Response, T]
"""An adapter yields requests, is sent responses, and returns a value: pure, tested by hand-feeding it replies.

When a request got no answer, the driver throws the ``WireError`` into the flow; adapters normally let it pass."""


@dataclass(frozen=True, slots=True)
class Authorisation:
    """Headers that prove who we are, valid until ``expires_at`` (Unix seconds; None: for ever)."""

    headers: Mapping[str, str]
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class Fetched:
    """A finished download: what came, where it lies, and its digest (SHA-256, hex)."""

    path: Path
    bytes: int
    sha256: str
    content_type: str
    declared_length: int | None


class Wire(Protocol):
    """Makes requests. Knows how far each one got; never repeats one by itself."""

    async def send(self, request: Request, *, base_url: str, headers: Mapping[str, str]) -> Response:
        """Make one request. Raises ``NotSent`` or ``MaybeSent``; any HTTP status is a normal answer."""
        ...

    async def fetch(self, url: str, into: Path, *, max_bytes: int) -> Fetched:
        """Stream ``url`` into the new file ``into``. Raises ``DownloadFailed``."""
        ...


# -------------------------------------------------------------------------------------------------- operations


@dataclass(frozen=True, slots=True)
class MediaRule:
    """Metadata of a media parameter (``Annotated[str, MediaRule(...)]``): what a provider documents about that file.

    The value is a local path or a URL. ``sends`` says what the API takes for a local file: ``base64``, ``upload``, or
    ``url`` (a public URL only, so that a local file must be published first). Sizes in bytes and pixels, times in seconds; None: not documented.
    """

    kind: MediaKind
    sends: str
    accepts_url: bool = True
    formats: tuple[str, ...] = ()
    """Formats as ``MediaInfo.format`` names them; empty: not documented."""
    max_bytes: int | None = None
    min_side: int | None = None
    min_ratio: float | None = None
    """Least width / height."""
    max_ratio: float | None = None
    min_seconds: float | None = None
    max_seconds: float | None = None
    max_url_chars: int | None = None


@dataclass(frozen=True, slots=True)
class Upstream:
    """Metadata of a parameter that takes ``needs.X.remote_id`` of given operations rather than a value a person writes.

    ``once`` when one remote record may be used by one job only (Creatify: one record makes one video).
    """

    operations: tuple[str, ...]
    once: bool = False


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """One file that an operation makes. ``count_parameter`` names the parameter that says how many there are
    (further ones are called ``video_2``, ``video_3`` ...).
    """

    name: str
    kind: MediaKind
    count_parameter: str = ""


@dataclass(frozen=True, slots=True)
class Expected:
    """What the request asked of a result, for verification after download. None: not asked."""

    aspect: float | None = None
    """Width / height."""
    seconds: float | None = None
    """Play time; None when the result's length is free or follows an input."""


@dataclass(frozen=True, slots=True)
class CodeRow:
    """One row of a provider's error table: which answer, and what it means for the runner."""

    code: str
    """The provider's code as text; for providers without codes ``HTTP 400``."""
    meaning: str
    error_class: ErrorClass
    cause: str
    """``bad_input``, ``content_policy``, ``not_found``, ``auth``, ``credit``, ``account``, ``permission``, ``rate_limit``,
    ``concurrency``, ``server``."""
    action: str
    """What the runner does, in plain words."""
    source: str


@dataclass(frozen=True, slots=True)
class OperationFacts:
    """What is known of an operation, for checks, estimates and documentation."""

    name: str
    """``kling/avatar``."""
    title: str
    parameters: type[BaseModel]
    outputs: tuple[OutputSpec, ...]
    values: tuple[str, ...] = ()
    """Names of results that are not files."""
    source: str = ""
    """The document that the parameters come from."""
    result_lifetime: float | None = None
    """Seconds until the provider deletes results; None: not documented."""
    typical_seconds: float = 60.0
    """Our guess of a job's processing time, until durations have been seen."""
    bulk: int = 1
    """How many remote ids one observe call can settle."""
    reconcile: str = ""
    """How a lost submission is found again, in a sentence; empty: not at all."""
    poll_within_seconds: float = 5.0
    """Least spacing of two polls of the same task."""


class Operation(Protocol):
    """One thing a provider can do. All methods are pure; flows yield requests."""

    facts: OperationFacts

    def price(self, params: Mapping[str, JSON], seconds: float | None) -> float | None:
        """Estimated credits, rounded up to the provider's billing tiers; ``seconds`` is the length of the audio input
        when there is one. None when the price is not known.
        """
        ...

    def slots(self, params: Mapping[str, JSON]) -> int:
        """How many of the account's slots one job takes."""
        ...

    def expected(self, params: Mapping[str, JSON], seconds: float | None) -> Expected:
        """What the result must look like; ``seconds`` as in ``price``."""
        ...

    def submit(self, submission: Submission) -> Flow[Accepted]:
        """Free preparations (uploads), then the one paid request. Raises ``ProviderError``."""
        ...

    def observe(self, remote_ids: Sequence[str]) -> Flow[Mapping[str, Observation]]:
        """Ask for many tasks at once (at most ``facts.bulk``). Every id is in the answer, as ``MISSING`` where unknown."""
        ...

    def find(self, submission: Submission) -> Flow[Accepted | None]:
        """Did this submission arrive? None: certainly not. Raises ``Uncertain`` when the provider cannot tell."""
        ...


@dataclass(frozen=True, slots=True)
class ProviderFacts:
    """What is known of a provider as a whole."""

    name: str
    title: str
    base_url: str
    credit_name: str
    """What one credit is called there: ``unit``, ``credit``."""
    codes: tuple[CodeRow, ...]
    default_concurrency: int
    default_rate: float
    """Submits per second."""
    source: str = ""
    notes: tuple[str, ...] = ()
    callback_chars: int | None = None
    """Longest callback address that the API takes; None: not documented."""


@dataclass(frozen=True, slots=True)
class CallbackNotice:
    """What one callback says. A hint, unless the provider signed it."""

    remote_id: str
    """Empty when it cannot be read (Akool's body without the secret that opens it)."""
    observation: Observation | None = None
    authenticated: bool = False
    """A signature of the provider was checked, and it is fresh."""
    answer: Mapping[str, JSON] = field(default_factory=dict)
    """The acknowledgement that the provider wants to read."""


class Provider(Protocol):
    """One provider's adapter, bound to one account's credentials."""

    facts: ProviderFacts
    operations: Mapping[str, Operation]
    """By the part after the slash: ``avatar``."""

    def authorise(self, now: float) -> Flow[Authorisation]:
        """Credentials for the next requests; may ask for a token first. Raises ``Halted``."""
        ...

    def renewable(self, error: ProviderError) -> bool:
        """Whether new credentials (one ``authorise``) may cure this answer: an expired token, a clock that is off."""
        ...

    def balance(self, now: float) -> Flow[float | None]:
        """The account's remaining credits; None when the API does not tell. ``now`` (Unix seconds): some APIs want a time span."""
        ...

    def read_callback(self, headers: Mapping[str, str], body: bytes, now: float) -> CallbackNotice | None:
        """What a callback says; None when it says nothing of use. Header names are lower-case; ``now`` in Unix seconds.

        Raises ``Refused`` for a body that is malformed or forged, and nothing else.
        """
        ...


# ----------------------------------------------------------------------------------------------------- sources


class Source(Protocol):
    """Reads one kind of catalogue file."""

    def rows(self) -> Iterator[tuple[int, Mapping[str, JSON]]]:
        """(row number from 1, fields), lazily. Raises ``CatalogueError``."""
        ...


# ------------------------------------------------------------------------------------------------- the lane seam


class Tenure(Protocol):
    """The right to drive one lane, until it is lost."""

    @property
    def lane(self) -> str:
        """The lane's name."""
        ...

    @property
    def epoch(self) -> int:
        """Counts the takings of the lane."""
        ...

    def lost(self) -> bool:
        """True when somebody else drives the lane now."""
        ...


@dataclass(slots=True)
class JobState:
    """What the ledger knows of one job right now. Changed by the ledger alone; everybody else reads."""

    key: str
    target: str = ""
    lane: str = ""
    operation: str = ""
    state: State = State.PENDING
    fingerprint: str = ""
    life: int = 0
    """Counts how often the job was planned anew."""
    attempt: int = 1
    """Which paid submission of this life is due or under way, from 1."""
    submission_key: str = ""
    remote_id: str = ""
    submitted_at: float = 0.0
    """Unix seconds of the last ``SubmitStarted``."""
    credits: float = 0.0
    """What this attempt costs: the estimate until the provider names the price."""
    estimate: float = 0.0
    """What one attempt of this life is expected to cost."""
    priced: bool = False
    """Whether ``credits`` is the provider's own figure."""
    committed: bool = False
    """Whether ``credits`` counts against the budget: it was, or may have been, spent."""
    error_class: str = ""
    error_cause: str = ""
    upstream: str = ""
    """Submission keys of the attempts whose results the newest attempt uses: ``joined_keys`` of them."""
    last: int = -1
    """Index of the job's newest line, where its story begins."""


def joined_keys(upstream: Mapping[str, str]) -> str:
    """Which upstream attempts (need -> submission key) were used, as one short text to compare."""
    return " ".join(f"{need}={key}" for need, key in sorted(upstream.items()))


@dataclass(frozen=True, slots=True)
class JobResult:
    """What a finished job hands to the jobs that need it."""

    remote_id: str
    submission_key: str
    artifacts: Mapping[str, StoredArtifact]
    values: Mapping[str, str]


class LaneLedger(Protocol):
    """The ledger as one lane's driver sees it: what is written under a tenure, and what it tells of the lane's jobs."""

    @property
    def jobs(self) -> Mapping[str, JobState]:
        """Job key -> what is known of it. Others change it only through ``append`` and ``note``."""
        ...

    @property
    def halted(self) -> Mapping[str, LaneHalted]:
        """Lanes that this run found stopped by their provider."""
        ...

    async def take(self, lane: str) -> Tenure:
        """Become the driver; older tenures can write nothing from here on."""
        ...

    def open_jobs(self, lane: str) -> Iterable[JobState]:
        """Jobs that may have cost money and are not settled: submitting, uncertain, running, cancelling, collecting."""
        ...

    async def append(self, tenure: Tenure, events: Sequence[Event]) -> None:
        """All or nothing, durable on return. Raises ``LaneLost`` on a stale epoch, ``IllegalTransition``."""
        ...

    def note(self, tenure: Tenure, events: Sequence[Event]) -> None:
        """The same without waiting for the disk: only for facts that can be learnt again."""
        ...

    async def deliver(self, lane: str, events: Sequence[Event]) -> None:
        """Facts from elsewhere: dependencies met, callbacks, approvals, cancels."""
        ...

    async def record(self, event: Event) -> None:
        """A fact about the run or the lane, durable on return."""
        ...

    def life(self, key: str) -> Sequence[Event]:
        """The job's events since it was last planned."""
        ...

    def planned(self, key: str) -> Planned:
        """The job's newest ``Planned``. Raises ``KeyError`` for an unknown job."""
        ...

    def attempt(self, key: str) -> SubmitStarted | None:
        """The newest frozen attempt of this life, if one was started."""
        ...

    def result(self, key: str) -> JobResult:
        """What is stored of the job so far. Raises ``KeyError`` for an unknown job."""
        ...

    def submission_key(self, job: JobState) -> str:
        """The idempotency key of the job's due attempt: the same however often that attempt is repeated."""
        ...

    def damaged_here(self, key: str) -> bool:
        """Whether lines of this job were lost, so that "not found" at the provider proves nothing."""
        ...


Stop: TypeAlias = Callable[[], bool]
"""True once nothing new may be submitted."""
