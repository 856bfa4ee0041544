"""Creatify: a picture of a product (``creatify/product-image``), and a video made from it (``creatify/product-video``).

Owns the two paid stages of a record and how a lost submission of either is found again. Pure: yields requests, is sent responses;
never sleeps, never reads a clock. Sources: seed-000, C-DOCS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from runner.errors import Deferred, Halted, ProviderError, Refused, Transient
from runner.model import JSON, Accepted, Observation, Phase, Submission
from runner.providers.creatify_records import (
    IMAGE_STAGE,
    PATH,
    VIDEO_STAGE,
    Listing,
    image_observation,
    listed,
    observed,
    one,
    opened,
    record_path,
    video_observation,
)
from runner.providers.creatify_terms import (
    CODES,
    FACTS,
    OPERATIONS,
    PRODUCT_IMAGE,
    PRODUCT_VIDEO,
    URL_CHARS,
    CreatifyPrices,
)
from runner.providers.letters import malformed, parsed
from runner.providers.parameters import given, marked, marker_in, wanted_text
from runner.providers.replies import id_at, moment_at, number_at, text_at, url_at, words_at
from runner.providers.verdicts import Judge, by_code, sendable
from runner.seams import (
    Authorisation,
    CallbackNotice,
    Expected,
    Flow,
    Operation,
    OperationFacts,
    Provider,
    ProviderFacts,
    Request,
)

__all__ = [
    "FACTS",
    "OPERATIONS",
    "Creatify",
    "CreatifyCredentials",
    "CreatifyPrices",
    "ProductImage",
    "ProductVideo",
    "connect",
]

MARKER_BASE: Final = "https://callsheet.invalid"
"""Where webhook_url points when nobody listens: a name that never resolves (RFC 2606), there only to carry the marker."""

_CLOCK_SLACK: Final = 600.0
"""Seconds by which Creatify's clock and ours may differ."""
_ASPECTS: Final[Mapping[str, float]] = {"9x16": 9 / 16, "16x9": 16 / 9, "1x1": 1.0}


@dataclass(frozen=True, slots=True)
class CreatifyCredentials:
    """The API id and the API key of one account."""

    api_id: str = ""
    api_key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class _Marking:
    """How submissions are marked: the key goes into ``webhook_url``, the one field that comes back and alters no picture."""

    base: str

    def webhook(self, submission: Submission) -> str:
        """Our callback address with the key. Raises ``Halted`` when it is too long: every job of the account would fail on it."""
        url = marked(submission.callback_url or self.base, submission.key)
        if len(url) > URL_CHARS:
            raise Halted(
                f"Creatify takes callback addresses of {URL_CHARS} characters, ours has {len(url)} with the job's key",
                cause="bad_input",
                hint="set a shorter callback address, or none: results are polled for anyway",
            )
        return url


class ProductImage:
    """``creatify/product-image``: the first stage, which opens a record."""

    facts: OperationFacts = PRODUCT_IMAGE

    def __init__(self, judge: Judge, marking: _Marking, credits_each: float) -> None:
        self._judge = judge
        self._marking = marking
        self._credits = credits_each

    def price(self, params: Mapping[str, JSON], seconds: float | None) -> float | None:
        """Credits for one picture."""
        del params, seconds
        return self._credits

    def slots(self, params: Mapping[str, JSON]) -> int:
        """One."""
        del params
        return 1

    def expected(self, params: Mapping[str, JSON], seconds: float | None) -> Expected:
        """The asked-for shape; none when the API's own default (not documented) applies."""
        del seconds
        return Expected(aspect=_ASPECTS.get(wanted_text(params, "aspect_ratio")))

    def submit(self, submission: Submission) -> Flow[Accepted]:
        """Open a record. Raises ``ProviderError``."""
        body = given(submission.params, PRODUCT_IMAGE.parameters.model_fields)
        # Sent even when it is the default: seed-000 does not say whether it may be left out.
        body.setdefault("type", "product_anyshot")
        _check_links(submission)
        body["webhook_url"] = self._marking.webhook(submission)
        response = yield Request("POST", f"{PATH}gen_image/", json=body, paid=True)
        record = opened(self._judge, response, paid=True)
        record_id = id_at(record, "id")
        if not record_id:
            raise self._judge.doubt("it said yes but named no record", paid=True)
        if marker_in(text_at(record, "webhook_url")) not in {"", submission.key}:
            raise self._judge.doubt("it answered about another record", paid=True)
        return Accepted(record_id)

    def observe(self, remote_ids: Sequence[str]) -> Flow[Mapping[str, Observation]]:
        """One list call for up to 100 records."""
        records = yield from observed(self._judge, remote_ids)
        return {
            record_id: image_observation(record_id, record) if record else Observation(record_id, Phase.MISSING)
            for record_id, record in records.items()
        }

    def find(self, submission: Submission) -> Flow[Accepted | None]:
        """By the marker in the account's list. None only when the list is whole and no record without a marker looks like
        ours (a provider that stopped giving the marker back must not make us pay again). Raises ``Uncertain``.
        """
        listing = yield from listed(self._judge)
        found = _marked_record(listing, submission.key)
        if found is not None:
            return found
        if not listing.complete:
            raise self._judge.doubt("its list shows only part of the records, ours is not among them", paid=True)
        if any(_looks_like(row, submission) for row in listing.rows):
            raise self._judge.doubt("a record without our marker has the same inputs", paid=True)
        return None


class ProductVideo:
    """``creatify/product-video``: the second stage, on the record of a finished picture.

    One record makes one video. Once it has one (or failed at it), ``regen_video`` opens a new record from it, which costs again.
    """

    facts: OperationFacts = PRODUCT_VIDEO

    def __init__(self, judge: Judge, marking: _Marking, credits_each: float) -> None:
        self._judge = judge
        self._marking = marking
        self._credits = credits_each

    def price(self, params: Mapping[str, JSON], seconds: float | None) -> float | None:
        """Credits for one video; its length is the provider's choice."""
        del params, seconds
        return self._credits

    def slots(self, params: Mapping[str, JSON]) -> int:
        """One."""
        del params
        return 1

    def expected(self, params: Mapping[str, JSON], seconds: float | None) -> Expected:
        """Nothing: the shape is the picture's, the length is the provider's choice."""
        del params, seconds
        return Expected()

    def submit(self, submission: Submission) -> Flow[Accepted]:
        """Look at the record, then start its video. Raises ``ProviderError``; ``Deferred`` while the picture is being made."""
        record_id = wanted_text(submission.params, "image")
        body = given(submission.params, ("motion_style", "video_prompt"))
        body["webhook_url"] = self._marking.webhook(submission)
        record = yield from one(self._judge, record_id)
        if record is None:
            raise _no_video(
                f"there is no record {record_id[:80]!r}", cause="not_found", hint="make the picture again, then run again"
            )
        if marker_in(text_at(record, "webhook_url")) == submission.key:
            return Accepted(record_id)  # our own submission, whose answer was lost
        action = _action(record)
        response = yield Request("POST", record_path(record_id, action), json=body, paid=True)
        new_id = id_at(opened(self._judge, response, paid=True), "id")
        if not new_id:
            raise self._judge.doubt("it said yes but named no record", paid=True)
        if (new_id == record_id) is not (action == "gen_video"):
            raise self._judge.doubt("it answered about another record", paid=True)
        return Accepted(new_id)

    def observe(self, remote_ids: Sequence[str]) -> Flow[Mapping[str, Observation]]:
        """One list call for up to 100 records."""
        records = yield from observed(self._judge, remote_ids)
        return {
            record_id: video_observation(record_id, record) if record else Observation(record_id, Phase.MISSING)
            for record_id, record in records.items()
        }

    def find(self, submission: Submission) -> Flow[Accepted | None]:
        """Read the record again; once it has a video, also look in the list for a new record made from it.

        The documents leave open whether the second stage gives *its* webhook_url back. First reading: it does; then the marker
        decides. Second reading: the record keeps the first stage's; then the status decides, see ``_by_status``.
        """
        record_id = wanted_text(submission.params, "image")
        record = yield from one(self._judge, record_id)
        if record is None:
            return None  # safe: a new submission reads the record first, and is refused
        if marker_in(text_at(record, "webhook_url")) == submission.key:
            return Accepted(record_id)
        status = text_at(record, "status")
        if status in IMAGE_STAGE or (status == "failed" and not url_at(record, "generated_photo_url")):
            return None  # a video that was begun shows in the status, in either reading
        listing = yield from listed(self._judge)
        found = _marked_record(listing, submission.key)
        return found if found is not None else self._by_status(submission, record, listing)

    def _by_status(self, submission: Submission, record: Mapping[str, JSON], listing: Listing) -> Accepted | None:
        """The second reading: no marker anywhere. Raises ``Uncertain`` wherever the times leave a doubt.

        A record becomes a video record only once, and nothing changes it afterwards (a further video opens a new record). So if
        it changed after our submission began, it had no video before, and the video is ours, if it was made with our words.
        If it last changed well before, our request can only have opened a new record: no such record, no submission.
        """
        began, changed = submission.started_at, moment_at(record, "updated_at")
        status = text_at(record, "status")
        if began is None or changed is None or status not in {*VIDEO_STAGE, "failed"}:
            raise self._judge.doubt("the record does not tell whether its video is ours", paid=True)
        record_id = id_at(record, "id")
        remade = any(_remade_from(row, record_id, began - _CLOCK_SLACK) for row in listing.rows)
        if changed >= began and not remade and _same_order(record, submission.params):
            return Accepted(record_id)
        if changed < began - _CLOCK_SLACK and status != "video_generating" and listing.complete and not remade:
            return None
        raise self._judge.doubt("the record has a video that cannot be told from ours", paid=True)


class Creatify:
    """The Creatify adapter, bound to one account."""

    facts: ProviderFacts = FACTS

    def __init__(
        self, credentials: CreatifyCredentials, *, marker_base: str = MARKER_BASE, prices: CreatifyPrices | None = None
    ) -> None:
        self._credentials = credentials
        prices = prices or CreatifyPrices()
        secret = credentials.api_key.strip()
        self._judge = Judge(FACTS.title, by_code(CODES), secrets=(secret,) if secret else ())
        marking = _Marking(marker_base)
        self.operations: Mapping[str, Operation] = {
            "product-image": ProductImage(self._judge, marking, prices.image),
            "product-video": ProductVideo(self._judge, marking, prices.video),
        }

    def authorise(self, now: float) -> Flow[Authorisation]:
        """Two fixed headers (C-QUICK). Raises ``Halted`` when one is missing."""
        del now
        yield from ()
        api_id = sendable(self._credentials.api_id, "API id", FACTS.title)
        api_key = sendable(self._credentials.api_key, "API key", FACTS.title)
        return Authorisation({"X-API-ID": api_id, "X-API-KEY": api_key})

    def renewable(self, error: ProviderError) -> bool:
        """Never: the credentials do not expire."""
        del error
        return False

    def balance(self, now: float) -> Flow[float | None]:
        """Credits left (C-DOCS)."""
        del now
        response = yield Request("GET", "/api/remaining_credits/")
        return number_at(opened(self._judge, response, paid=False), "remaining_credits")

    def read_callback(self, headers: Mapping[str, str], body: bytes, now: float) -> CallbackNotice | None:
        """The record, flat, at the end of a stage (seed-000). Not signed: a hint. Raises ``Refused``.

        Which stage ended shows in the status; of a failure only whether there is a picture, which is enough for a hint.
        """
        del headers, now
        record = parsed(body, FACTS.title)
        record_id = id_at(record, "id")
        if not record_id:
            raise malformed(FACTS.title, "it names no record")
        filming = text_at(record, "status") in VIDEO_STAGE or bool(url_at(record, "generated_photo_url"))
        of_image = text_at(record, "status") in IMAGE_STAGE or not filming
        seen = image_observation(record_id, record) if of_image else video_observation(record_id, record)
        return CallbackNotice(record_id, seen)


def connect(credentials: Mapping[str, str], *, marker_base: str = "") -> Provider:
    """The adapter for one account; ``credentials`` are the fields of ``CreatifyCredentials``."""
    return Creatify(CreatifyCredentials(**credentials), marker_base=marker_base or MARKER_BASE)


def _check_links(submission: Submission) -> None:
    """Local files must have been published by now; only then is the length of their links known."""
    for name in submission.media:
        raise _no_video(
            f"{name} is a local file, this API takes links only", cause="bad_input", hint="publish the file and write its link"
        )
    length = len(wanted_text(submission.params, "product_url"))
    if length > URL_CHARS:
        raise _no_video(
            f"product_url has {length} characters, the API takes {URL_CHARS}",
            cause="bad_input",
            hint="use a shorter, unsigned link",
        )


def _no_video(what: str, *, cause: str, hint: str) -> Refused:
    return Refused(f"Creatify: {what}; nothing was submitted", cause=cause, hint=hint)


def _action(record: Mapping[str, JSON]) -> str:
    """Which call makes a video from this record now. Raises when none can."""
    status = text_at(record, "status")
    if status == "image_generated":
        return "gen_video"
    if status == "video_generated" or (status == "failed" and url_at(record, "generated_photo_url")):
        return "regen_video"
    if status == "failed":
        reason = words_at(record, "failed_reason")
        raise _no_video(f"the picture itself failed: {reason}", cause="generation_failed", hint="make the picture again")
    if status == "video_generating":
        raise _no_video(
            "somebody else is making a video from this record",
            cause="bad_input",
            hint="wait until it is done and run again (a second video costs again), or make a picture of its own for this job",
        )
    if status in IMAGE_STAGE:
        raise Deferred(
            "Creatify: the picture is still being made", cause="concurrency", hint="nothing to do: it is tried again later"
        )
    raise Transient(
        f"Creatify: the record has the undocumented status {words_at(record, 'status')[:60]!r}",
        cause="server",
        hint="nothing to do: it is tried again; nothing was submitted",
    )


def _marked_record(listing: Listing, key: str) -> Accepted | None:
    """The record with our marker. If a regenerated copy took the marker over, the one that is not a copy is ours."""
    ours = [row for row in listing.rows if marker_in(text_at(row, "webhook_url")) == key and id_at(row, "id")]
    ours.sort(key=lambda row: bool(text_at(row, "regen_source_id")))
    return Accepted(id_at(ours[0], "id")) if ours else None


def _looks_like(row: JSON, submission: Submission) -> bool:
    """A record without any marker that has our inputs and may have been made since we began."""
    if text_at(row, "webhook_url") or text_at(row, "product_url") != wanted_text(submission.params, "product_url"):
        return False
    made, began = moment_at(row, "created_at"), submission.started_at
    recent = made is None or began is None or made >= began - _CLOCK_SLACK
    return recent and text_at(row, "image_prompt").strip() == wanted_text(submission.params, "image_prompt").strip()


def _remade_from(row: JSON, record_id: str, since: float) -> bool:
    """Whether a record was regenerated from ``record_id`` since then without showing whose it is."""
    made = moment_at(row, "created_at")
    unclaimed = not marker_in(text_at(row, "webhook_url"))
    return unclaimed and text_at(row, "regen_source_id") == record_id and (made is None or made >= since)


def _same_order(record: Mapping[str, JSON], params: Mapping[str, JSON]) -> bool:
    """Whether the record's video was ordered with our words; what we did not say cannot differ."""
    return all(
        text_at(record, name).strip() == wanted.strip()
        for name in ("motion_style", "video_prompt")
        if (wanted := wanted_text(params, name))
    )
