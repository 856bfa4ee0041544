"""Creatify's records: reading them, refusing bad answers, and what their status words mean for each of the two stages.

Owns the free questions (one record, the list) and the translation of a record into an ``Observation``. Submits nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import quote

from runner.errors import ProviderError, Refused
from runner.model import JSON, MediaKind, Observation, Phase, RemoteOutput
from runner.providers.creatify_terms import NO_CREDIT, NO_CREDIT_WORDS
from runner.providers.replies import document, id_at, number_at, retry_after, rows_at, url_at, words_at, words_of
from runner.providers.verdicts import Judge, generation_cause
from runner.seams import Flow, Request, Response

PATH: Final = "/api/product_to_videos/"
"""Every path ends with a slash (C-DOCS)."""

IMAGE_STAGE: Final = frozenset({"initializing", "image_generating", "image_generated"})
VIDEO_STAGE: Final = frozenset({"video_generating", "video_generated"})

_WAIT: Final = re.compile(r"available in (\d{1,6}) ?s", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Listing:
    """Records of the account. ``complete`` unless the answer itself says that there are more."""

    rows: Sequence[JSON]
    complete: bool


def record_path(record_id: str, action: str = "") -> str:
    """The path of a record, or of an action on it."""
    return f"{PATH}{quote(record_id, safe='')}/" + (f"{action}/" if action else "")


def opened(judge: Judge, response: Response, *, paid: bool) -> JSON:
    """The document of a good answer (200 or 201). Raises a ``ProviderError`` for every other one."""
    if not 200 <= response.status < 300:
        raise _refusal(judge, response, paid=paid)
    answer = document(response)
    if answer is None:
        raise judge.by_status(response, paid=paid)
    return answer


def _refusal(judge: Judge, response: Response, *, paid: bool) -> ProviderError:
    words = words_of(response)
    if response.status in {400, 402, 403, 422} and NO_CREDIT_WORDS.search(words):
        return judge.error(replace(NO_CREDIT, code=f"HTTP {response.status}"), words, paid=paid)
    error = judge.by_status(response, paid=paid)
    told = _WAIT.search(words)
    if response.status == 429 and told and retry_after(response) is None:
        error.retry_after = number_at(told.group(1))
    if error.cause == "bad_input" and generation_cause(words) == "content_policy":
        error.cause, error.hint = "content_policy", "change the prompt or the picture, then run again"
    return error


def one(judge: Judge, record_id: str) -> Flow[Mapping[str, JSON] | None]:
    """One record; None when there is none. Raises ``Transient`` when the answer is about another one."""
    response = yield Request("GET", record_path(record_id))
    try:
        record = opened(judge, response, paid=False)
    except Refused as refusal:
        if refusal.cause == "not_found":
            return None
        raise
    if not isinstance(record, Mapping) or id_at(record, "id") != record_id:
        raise judge.doubt("it did not answer with the record that was asked for", paid=False)
    return record


def listed(judge: Judge, ids: Iterable[str] = ()) -> Flow[Listing]:
    """The given records, or all of the account. A bare array is documented; a page (``results``, ``next``) is understood too,
    because other lists of this provider come that way.
    """
    query = {"ids": ",".join(ids)}
    response = yield Request("GET", PATH, query=query if query["ids"] else {})
    answer = opened(judge, response, paid=False)
    rows = rows_at(answer)
    if rows is not None:
        return Listing(rows, complete=True)
    rows = rows_at(answer, "results")
    if rows is None or not isinstance(answer, Mapping):
        raise judge.doubt("its list of records is no list", paid=False)
    return Listing(rows, complete=not answer.get("next"))


def observed(judge: Judge, remote_ids: Sequence[str]) -> Flow[dict[str, Mapping[str, JSON] | None]]:
    """Each record by its id; None where there is none. One list call; when that is refused (one bad id spoils it), one by one."""
    wanted = dict.fromkeys(remote_ids)
    found: dict[str, Mapping[str, JSON] | None] = {}
    try:
        listing = yield from listed(judge, wanted)
    except Refused:
        listing = Listing((), complete=False)
    for row in listing.rows:
        if isinstance(row, Mapping) and id_at(row, "id") in wanted:
            found[id_at(row, "id")] = row
    for record_id in wanted:
        if record_id not in found:
            found[record_id] = None if listing.complete else (yield from _tolerant(judge, record_id))
    return found


def _tolerant(judge: Judge, record_id: str) -> Flow[Mapping[str, JSON] | None]:
    """One record; None also when the provider finds the id itself wrong."""
    try:
        return (yield from one(judge, record_id))
    except Refused:
        return None


def image_observation(record_id: str, record: Mapping[str, JSON]) -> Observation:
    """The first stage: done at ``image_generated`` and ever after, also when a later video stage failed (no status word says
    which stage failed; a picture that exists proves it was not the first).
    """
    status = words_at(record, "status")
    picture = url_at(record, "generated_photo_url")
    plain = Observation(record_id, Phase.UNKNOWN, word=status)
    if status == "initializing":
        return replace(plain, phase=Phase.QUEUED)
    if status == "image_generating":
        return replace(plain, phase=Phase.RUNNING)
    if status == "failed" and not picture:
        return _failed(plain, record)
    if picture and status in {"image_generated", "failed", *VIDEO_STAGE}:
        return replace(plain, phase=Phase.SUCCEEDED, outputs=(RemoteOutput("image", MediaKind.IMAGE, picture),))
    return plain


def video_observation(record_id: str, record: Mapping[str, JSON]) -> Observation:
    """The second stage. A first-stage word means that it has not begun yet."""
    status = words_at(record, "status")
    video = url_at(record, "generated_video_url")
    plain = Observation(record_id, Phase.UNKNOWN, word=status)
    if status in IMAGE_STAGE:
        return replace(plain, phase=Phase.QUEUED)
    if status == "video_generating":
        return replace(plain, phase=Phase.RUNNING)
    if status == "failed":
        return _failed(plain, record)
    if status == "video_generated" and video:
        return replace(plain, phase=Phase.SUCCEEDED, outputs=(RemoteOutput("video", MediaKind.VIDEO, video),))
    return plain


def _failed(plain: Observation, record: Mapping[str, JSON]) -> Observation:
    reason = words_at(record, "failed_reason")
    return replace(plain, phase=Phase.FAILED, reason=reason, cause=generation_cause(reason))
