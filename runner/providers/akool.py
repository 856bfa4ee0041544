"""Akool: a talking photo from a picture and a voice, both given as links (``akool/talking-photo``).

Owns Akool's paths, parameters, status numbers, error codes and token. Pure: yields requests, is sent responses; never sleeps, never
reads a clock. Sources: seed-004 (talking photo, codes), A-TP (newer page), A-AUTH (credentials), A-FS (codes of a sibling page),
C-AIO (a third party's client).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Final, Literal

from pydantic import Field

from runner.errors import Halted, ProviderError, Refused, Uncertain
from runner.model import JSON, Accepted, ErrorClass, MediaKind, Observation, Phase, RemoteOutput, Submission
from runner.providers.letters import Opened, Seal, malformed, parsed
from runner.providers.parameters import PLACE, WORDED, ParameterModel, given, marked
from runner.providers.replies import at, cleaned, code_at, id_at, number_at, text_at, url_at, words_at
from runner.providers.verdicts import Envelope, Judge, by_code, generation_cause, sendable
from runner.seams import (
    Authorisation,
    CallbackNotice,
    CodeRow,
    Expected,
    Flow,
    MediaRule,
    Operation,
    OperationFacts,
    OutputSpec,
    Provider,
    ProviderFacts,
    Request,
)

_TOKEN: Final = "/api/open/v3/getToken"  # noqa: S105 -- a path, not a secret
_CREATE: Final = "/api/open/v3/content/video/createbytalkingphoto"
_INFO: Final = "/api/open/v3/content/video/infobymodelid"
_QUOTA: Final = "/api/open/v3/faceswap/quota/info"
_DAY: Final = 86400.0
_REPLAY_SECONDS: Final = 900.0
_MOST_SEALS: Final = 4096
"""Seals remembered, so that a letter counts as signed only once."""

_D, _R, _H, _T = ErrorClass.DEFERRED, ErrorClass.REFUSED, ErrorClass.HALTED, ErrorClass.TRANSIENT

CODES: Final = (
    CodeRow("1003", "a parameter is wrong or empty", _R, "bad_input", "fails this job", "seed-004"),
    CodeRow("1005", "operations come too often", _D, "rate_limit", "slows down and tries again", "A-FS"),
    CodeRow("1006", "the quota is not enough", _H, "credit", "stops the account", "A-FS"),
    CodeRow("1007", "the picture shows too many faces", _R, "bad_input", "fails this job", "A-FS"),
    CodeRow("1008", "the content does not exist", _R, "not_found", "fails this job", "seed-004"),
    CodeRow("1009", "no permission", _H, "permission", "stops the account", "seed-004"),
    # 'Please try again later' is the provider's own text for the next one and for 1201: the video was not created.
    CodeRow("1015", "the video could not be created now", _T, "server", "tries again a few times", "seed-004"),
    CodeRow(
        "1101", "the authorization is invalid or expired", _H, "auth", "gets one new token, then stops the account", "seed-004"
    ),
    CodeRow("1102", "the authorization is empty", _H, "auth", "stops the account", "seed-004"),
    CodeRow("1103", "unpaid", _H, "credit", "stops the account", "C-AIO"),
    CodeRow("1104", "not enough credits", _H, "credit", "stops the account", "C-AIO"),
    CodeRow("1109", "the account does not exist", _H, "auth", "stops the account", "C-AIO"),
    CodeRow("1200", "the account is banned", _H, "account", "stops the account", "seed-004"),
    CodeRow("1201", "the audio could not be created now", _T, "server", "tries again a few times", "seed-004"),
    CodeRow("1213", "a subscription is required", _H, "permission", "stops the account", "C-AIO"),
    CodeRow("1221", "a subscription is required", _H, "permission", "stops the account", "C-AIO"),
)

FACTS: Final = ProviderFacts(
    name="akool",
    title="Akool",
    base_url="https://openapi.akool.com",
    credit_name="credit",
    codes=CODES,
    default_concurrency=2,
    default_rate=1.0,
    source="seed-004",
    notes=(
        "Errors come inside HTTP 200; only the code in the answer counts.",
        "There is no list of videos and no id of ours: a lost submission cannot be found again, a person decides.",
        "Right after a submission the provider may not know the id yet (1008): that alone does not mean that the work is lost.",
    ),
)


class TalkingPhotoParameters(ParameterModel):
    """Parameters of ``POST /api/open/v3/content/video/createbytalkingphoto`` (seed-004; ``prompt``, ``resolution``: A-TP)."""

    talking_photo_url: Annotated[str, PLACE, MediaRule(MediaKind.IMAGE, sends="url")] = Field(
        description="Link to the picture of the person."
    )
    audio_url: Annotated[str, PLACE, MediaRule(MediaKind.AUDIO, sends="url")] = Field(description="Link to what the person says.")
    prompt: str | None = Field(default=None, description="Gestures of the person.")
    resolution: Annotated[Literal["720", "1080"] | None, WORDED] = Field(
        default=None, description="Lines of the video: 720 or 1080."
    )


@dataclass(frozen=True, slots=True)
class AkoolCredentials:
    """An API key (recommended by the provider, preferred when both are there), or a client id with its secret."""

    api_key: str = field(default="", repr=False)
    client_id: str = ""
    client_secret: str = field(default="", repr=False)


TALKING_PHOTO: Final = OperationFacts(
    name="akool/talking-photo",
    title="Talking photo from a picture and a voice",
    parameters=TalkingPhotoParameters,
    outputs=(OutputSpec("video", MediaKind.VIDEO),),
    source="seed-004",
    result_lifetime=7 * _DAY,
    typical_seconds=180.0,
    bulk=1,
    reconcile="",
)
OPERATIONS: Final = (TALKING_PHOTO,)

PRICE: Final[float | None] = None
"""Credits for one video: not published."""

_PHASES: Final[Mapping[str, Phase]] = {"1": Phase.QUEUED, "2": Phase.RUNNING, "3": Phase.SUCCEEDED, "4": Phase.FAILED}
_WORDS: Final[Mapping[str, str]] = {"1": "queueing", "2": "processing", "3": "completed", "4": "failed"}
"""seed-004."""

# seed-004: 'if the value of the response code is not equal to 1000, the request is failed or wrong'. So every other code proves a
# refusal, also one that no table names.
_ENVELOPE: Final = Envelope(good="1000", words="msg", proven=r".+")


class TalkingPhoto:
    """``akool/talking-photo``."""

    facts: OperationFacts = TALKING_PHOTO

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    def price(self, params: Mapping[str, JSON], seconds: float | None) -> float | None:
        """None: no price of a talking photo is published."""
        del params, seconds
        return PRICE

    def slots(self, params: Mapping[str, JSON]) -> int:
        """One."""
        del params
        return 1

    def expected(self, params: Mapping[str, JSON], seconds: float | None) -> Expected:
        """Nothing is asked for: the length follows the audio, the shape follows the picture."""
        del params, seconds
        return Expected()

    def submit(self, submission: Submission) -> Flow[Accepted]:
        """Create the video. Raises ``ProviderError``.

        The answer's own status is not read: samples show 3 (completed) there while nothing is made yet.
        """
        for name in submission.media:
            raise Refused(
                f"Akool: {name} is a local file, this API takes links only; nothing was submitted",
                cause="bad_input",
                hint="publish the file and write its link",
            )
        body = given(submission.params, TalkingPhotoParameters.model_fields)
        if submission.callback_url:
            # The answer names no id of ours, so the address does: the callback is the only echo of a lost submission.
            body["webhookUrl"] = marked(submission.callback_url, submission.key)
        response = yield Request("POST", _CREATE, json=body, paid=True)
        remote_id = id_at(self._judge.opened(response, paid=True), "data", "_id")
        if not remote_id:
            raise self._judge.doubt("it said yes but named no video", paid=True)
        return Accepted(remote_id)

    def observe(self, remote_ids: Sequence[str]) -> Flow[Mapping[str, Observation]]:
        """One call per video. ``MISSING`` right after a submission may only mean 'not yet': the caller, who knows the job's age,
        asks a few more times before it believes it.
        """
        seen: dict[str, Observation] = {}
        for remote_id in dict.fromkeys(remote_ids):
            seen[remote_id] = yield from self._one(remote_id)
        return seen

    def _one(self, remote_id: str) -> Flow[Observation]:
        response = yield Request("GET", _INFO, query={"video_model_id": remote_id})
        try:
            data = at(self._judge.opened(response, paid=False), "data")
        except Refused as refusal:
            if refusal.code == "1008":
                return Observation(remote_id, Phase.MISSING)
            raise
        if id_at(data, "_id") not in {"", remote_id}:
            return Observation(remote_id, Phase.UNKNOWN, word="answered about another video")
        return _observation(remote_id, data)

    def find(self, submission: Submission) -> Flow[Accepted | None]:
        """Always raises ``Uncertain``: the API lists no videos and gives back nothing of ours (seed-004, A-TP)."""
        del submission
        yield from ()
        raise Uncertain(
            "Akool cannot tell whether the submission arrived",
            cause="server",
            hint="look at the results on Akool's website, then settle it with `callsheet reconcile`",
        )


class Akool:
    """The Akool adapter, bound to one account."""

    facts: ProviderFacts = FACTS

    def __init__(self, credentials: AkoolCredentials, *, replay_seconds: float = _REPLAY_SECONDS) -> None:
        self._credentials = credentials
        self._replay_seconds = replay_seconds
        self._seals: dict[str, None] = {}
        secrets = (credentials.api_key.strip(), credentials.client_secret.strip())
        self._judge = Judge(FACTS.title, by_code(CODES), _ENVELOPE, tuple(secret for secret in secrets if secret))
        self.operations: Mapping[str, Operation] = {"talking-photo": TalkingPhoto(self._judge)}

    def authorise(self, now: float) -> Flow[Authorisation]:
        """The key itself, or a token asked for with the client's secret; a token lives over a year, so only 1101 renews it
        (A-AUTH). Raises ``Halted``.
        """
        del now
        if self._credentials.api_key:
            return Authorisation({"x-api-key": sendable(self._credentials.api_key, "API key", FACTS.title)})
        body = {
            "clientId": sendable(self._credentials.client_id, "client id", FACTS.title),
            "clientSecret": sendable(self._credentials.client_secret, "client secret", FACTS.title),
        }
        response = yield Request("POST", _TOKEN, json=body, signed=False)
        try:
            answer = self._judge.opened(response, paid=False)
        except Refused as refusal:
            hint = "check this account's client id and client secret, then run again"
            raise Halted(refusal.message, code=refusal.code, cause="auth", hint=hint) from refusal
        token = text_at(answer, "token") or text_at(answer, "data", "token")
        if not token.strip():
            raise self._judge.doubt("it said yes but gave no token", paid=False)
        return Authorisation({"Authorization": f"Bearer {sendable(token, 'token', FACTS.title)}"})

    def renewable(self, error: ProviderError) -> bool:
        """An expired token; a fixed key cannot be renewed."""
        return isinstance(error, Halted) and error.code == "1101" and not self._credentials.api_key

    def balance(self, now: float) -> Flow[float | None]:
        """Credits left (documented on a sibling page)."""
        del now
        response = yield Request("GET", _QUOTA)
        return number_at(self._judge.opened(response, paid=False), "data", "credit")

    def read_callback(self, headers: Mapping[str, str], body: bytes, now: float) -> CallbackNotice | None:
        """A signed and encrypted letter (A-HOOK). Signature and freshness make it authenticated; a letter that is old or comes a second
        time (the provider repeats unanswered ones) is still a hint. An account with nothing but an API key cannot open its letters:
        then all a letter says is that something happened. Raises ``Refused`` for a wrong signature or a body that is no letter.
        """
        del headers
        letter = parsed(body, FACTS.title)
        client, secret = self._credentials.client_id.strip(), self._credentials.client_secret.strip()
        if not (client and secret):
            if not text_at(letter, "dataEncrypt"):
                raise malformed(FACTS.title, "it is not sealed as the provider seals")
            return CallbackNotice("")
        opened = Seal(client, secret).open(letter, FACTS.title)
        remote_id = id_at(opened.content, "_id")
        if not remote_id:
            raise malformed(FACTS.title, "it names no video")
        told = opened.content
        # The letter says `status` and `url` where the query says `video_status` and `video`.
        data: JSON = {**told, "video_status": at(told, "status"), "video": at(told, "url")}
        return CallbackNotice(remote_id, _observation(remote_id, data), authenticated=self._fresh(opened, now))

    def _fresh(self, opened: Opened, now: float) -> bool:
        """Sealed within the replay window, and seen for the first time."""
        known = opened.signature in self._seals
        self._seals[opened.signature] = None
        if len(self._seals) > _MOST_SEALS:
            del self._seals[next(iter(self._seals))]
        return not known and abs(now - opened.millis / 1000) <= self._replay_seconds


def connect(credentials: Mapping[str, str], *, marker_base: str = "") -> Provider:
    """The adapter for one account; ``credentials`` are the fields of ``AkoolCredentials``."""
    del marker_base  # this API needs no marker: see ``find``
    return Akool(AkoolCredentials(**credentials))


def _observation(remote_id: str, data: JSON) -> Observation:
    number = code_at(data, "video_status")
    phase = _PHASES.get(number, Phase.UNKNOWN)
    plain = Observation(remote_id, phase, word=_WORDS.get(number, number))
    if phase is Phase.FAILED:
        code = code_at(data, "error_code")
        said = words_at(data, "error_reason")
        reason = cleaned(f"{said} (error {code})" if code not in {"", "0"} else said)
        return replace(plain, reason=reason, cause=generation_cause(reason))
    if phase is not Phase.SUCCEEDED:
        return plain
    link = url_at(data, "video")
    # Completed without a link: asked again until the deadline, because the link may follow and the work is paid for.
    if not link:
        return replace(plain, phase=Phase.UNKNOWN)
    output = RemoteOutput("video", MediaKind.VIDEO, link)
    return replace(plain, outputs=(output,), credits=number_at(data, "deduction_duration"))
