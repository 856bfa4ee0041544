"""Topview: a video from a picture (``topview/image-to-video``, v1 of the API).

Owns the upload in three steps, the submit and the reading of results. Pure: yields requests, is sent responses; never sleeps, never
reads a clock. Sources: seed-002 (submit), T-22 (result), T-UPLOAD (upload), T-AUTH (headers), SKILL (the provider's own client).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from runner.errors import Deferred, ProviderError, Refused, Transient, Uncertain
from runner.model import JSON, Accepted, Asset, MediaKind, Observation, Phase, RemoteOutput, Submission
from runner.providers.letters import malformed, parsed
from runner.providers.parameters import given, marked
from runner.providers.replies import at, cleaned, id_at, number_at, pixels_at, rows_at, text_at, url_at, words_at
from runner.providers.topview_terms import CODES, FACTS, IMAGE_TO_VIDEO, OPERATIONS, PRICES, UPLOAD_FORMATS
from runner.providers.verdicts import Envelope, Judge, by_code, generation_cause, sendable
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

__all__ = ["FACTS", "OPERATIONS", "ImageToVideo", "Topview", "TopviewCredentials", "connect"]

_SUBMIT: Final = "/v1/common_task/image2video/submit"
_RESULT: Final = "/v1/common_task/image2video/result"
"""This old family asks at ``/result``; newer ones at ``/query`` (T-22)."""
_CHECKS: Final = 3
"""How often an upload is asked for before the whole submission is tried again later."""
_BODY: Final = ("imageFileId", "prompt", "negativePrompt", "duration", "mode", "generatingCount")

_PHASES: Final[Mapping[str, Phase]] = {
    "init": Phase.QUEUED,
    "running": Phase.RUNNING,
    "success": Phase.SUCCEEDED,
    "fail": Phase.FAILED,
    "failed": Phase.FAILED,
}
"""T-I2V2; ``failed`` is what the provider's own client also takes for a failure."""

_LINKS: Final[tuple[tuple[str, ...], ...]] = (
    ("originVideo", "filePath"),
    ("filePath",),
    ("finishedVideoUrl",),
    ("videoUrl",),
    ("url",),
)
"""Where a video's link may stand: the first is v1's (T-22), the others are those of its sibling calls."""

# A code missing from the table but of its 4xxx family names a fault of the request: nothing was made of it.
_ENVELOPE: Final = Envelope(good="200", words="message", proven=r"4\d{3}")


@dataclass(frozen=True, slots=True)
class TopviewCredentials:
    """The API key and the account's uid."""

    uid: str = ""
    api_key: str = field(default="", repr=False)


class ImageToVideo:
    """``topview/image-to-video``."""

    facts: OperationFacts = IMAGE_TO_VIDEO

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    def price(self, params: Mapping[str, JSON], seconds: float | None) -> float | None:
        """Credits: the mode's rate, times seconds, times videos."""
        del seconds
        rate, duration = PRICES.get(str(params.get("mode"))), number_at(params, "duration")
        if rate is None or duration is None:
            return None
        return round(rate * duration * _count(params), 4)

    def slots(self, params: Mapping[str, JSON]) -> int:
        """One task, however many videos it makes."""
        del params
        return 1

    def expected(self, params: Mapping[str, JSON], seconds: float | None) -> Expected:
        """The asked-for length; the shape is the picture's."""
        del seconds
        return Expected(seconds=number_at(params, "duration"))

    def submit(self, submission: Submission) -> Flow[Accepted]:
        """Upload the picture, then submit. Raises ``ProviderError``; nothing is paid for before the upload is confirmed."""
        params = dict(submission.params)
        picture = submission.media.get("image")
        if picture is not None:
            params["imageFileId"] = yield from self._upload(picture)
        body = given(params, _BODY)
        body.setdefault("generatingCount", 1)
        if submission.callback_url:
            # The answer names no id of ours, so the address does: the callback is the only echo of a lost submission.
            body["noticeUrl"] = marked(submission.callback_url, submission.key)
        response = yield Request("POST", _SUBMIT, json=body, paid=True)
        result = at(self._judge.opened(response, paid=True), "result")
        remote_id = id_at(result, "taskId")
        if remote_id:
            return Accepted(remote_id)
        if _PHASES.get(text_at(result, "status")) is Phase.FAILED:
            raise Refused(
                f"Topview did not accept the task: {words_at(result, 'errorMsg')}",
                cause=generation_cause(text_at(result, "errorMsg")),
                hint="correct what the message names, then run again",
            )
        raise self._judge.doubt("it said yes but named no task", paid=True)

    def _upload(self, picture: Asset) -> Flow[str]:
        """Credential, bytes, check (T-UPLOAD); gives the file id. All of it is free, so each doubt is ``Transient``."""
        word = UPLOAD_FORMATS.get(picture.format)
        if word is None:
            raise Refused(
                f"Topview takes no pictures of format {picture.format or 'unknown'!r}",
                cause="bad_input",
                hint=f"convert the picture to one of: {', '.join(UPLOAD_FORMATS)}",
            )
        response = yield Request("GET", "/v1/upload/credential", query={"format": word})
        answer = self._judge.opened(response, paid=False)
        file_id, link = id_at(answer, "result", "fileId"), url_at(answer, "result", "uploadUrl")
        if not file_id or not link:
            raise self._judge.doubt("it gave no place to upload to", paid=False)
        # The link carries its own signature; the account's headers would spoil it. A refused PUT means an expired link: the next
        # try asks for a new one.
        stored = yield Request("PUT", link, file=picture.path, signed=False)
        if not 200 <= stored.status < 300:
            raise self._judge.doubt(f"the upload was answered with HTTP {stored.status}", paid=False)
        for _ in range(_CHECKS):
            response = yield Request("GET", "/v1/upload/check", query={"fileId": file_id})
            there = self._judge.opened(response, paid=False).get("result")
            if there is True or there == "true":
                return file_id
        raise self._judge.doubt("the uploaded picture has not arrived yet", paid=False)

    def observe(self, remote_ids: Sequence[str]) -> Flow[Mapping[str, Observation]]:
        """One call per task: there is no list (T-22)."""
        seen: dict[str, Observation] = {}
        for remote_id in dict.fromkeys(remote_ids):
            seen[remote_id] = yield from self._one(remote_id)
        return seen

    def _one(self, remote_id: str) -> Flow[Observation]:
        response = yield Request("GET", _RESULT, query={"taskId": remote_id, "needCloudFrontUrl": "true"})
        try:
            result = at(self._judge.opened(response, paid=False), "result")
        except Refused as refusal:
            if refusal.code == "4004":
                return Observation(remote_id, Phase.MISSING)
            raise
        if id_at(result, "taskId") not in {"", remote_id}:
            return Observation(remote_id, Phase.UNKNOWN, word="answered about another task")
        return _observation(remote_id, result)

    def find(self, submission: Submission) -> Flow[Accepted | None]:
        """Always raises ``Uncertain``: neither yes nor no can be proven.

        A task shows nothing of ours that the API gives back: no client id, no echo of the prompt or of the file id. The one list of
        tasks is the credit log, which holds charged tasks only, so a running one is missing there; and whose job a logged task is
        cannot be told while several run. So the log only helps the person who decides: its task ids stand in the message.
        """
        tasks = yield from self._charged(submission.started_at)
        known = f"; charged since then: {', '.join(tasks)}" if tasks else ""
        raise Uncertain(
            f"Topview cannot tell whether the submission arrived{known}",
            cause="server",
            hint="look at the task list on Topview's website, then settle it with `callsheet reconcile`",
        )

    def _charged(self, since: float | None) -> Flow[list[str]]:
        """Ids of tasks of this kind charged since then, oldest question first; nothing when the log cannot be read."""
        if since is None or not 0 <= since < 4e9:
            return []
        span = {"startTime": _utc(since - 60), "endTime": _utc(since + 86400)}
        query: dict[str, str | int] = {"taskType": "common_task_image2video", **span, "pageNo": 1, "pageSize": 20}
        response = yield Request("GET", "/user/credit/logs", query=query)
        try:
            result = at(self._judge.opened(response, paid=False), "result")
        except (Refused, Transient, Deferred):
            return []
        rows = rows_at(result, "data") or rows_at(result) or ()
        return list(dict.fromkeys(task for row in rows if (task := id_at(row, "taskId"))))[:5]


class Topview:
    """The Topview adapter, bound to one account."""

    facts: ProviderFacts = FACTS

    def __init__(self, credentials: TopviewCredentials) -> None:
        self._credentials = credentials
        secret = credentials.api_key.strip()
        self._judge = Judge(FACTS.title, by_code(CODES), _ENVELOPE, (secret,) if secret else ())
        self.operations: Mapping[str, Operation] = {"image-to-video": ImageToVideo(self._judge)}

    def authorise(self, now: float) -> Flow[Authorisation]:
        """Two fixed headers (T-AUTH). Raises ``Halted`` when one is missing."""
        del now
        yield from ()
        key = sendable(self._credentials.api_key, "API key", FACTS.title)
        uid = sendable(self._credentials.uid, "uid", FACTS.title)
        return Authorisation({"Authorization": f"Bearer {key}", "Topview-Uid": uid})

    def renewable(self, error: ProviderError) -> bool:
        """Never: the credentials do not expire."""
        del error
        return False

    def balance(self, now: float) -> Flow[float | None]:
        """Credits left (SKILL)."""
        del now
        response = yield Request("GET", "/user/credit/detail")
        return number_at(self._judge.opened(response, paid=False), "result", "remainCredit")

    def read_callback(self, headers: Mapping[str, str], body: bytes, now: float) -> CallbackNotice | None:
        """The end of a task, with the query's result inside as an object or as its text (T-NOTICE). Not signed: a hint. The provider
        wants its uuid and the account's uid acknowledged. Raises ``Refused``.
        """
        del now
        letter = parsed(body, FACTS.title)
        inside = at(letter, "result")
        if isinstance(inside, str):
            inside = parsed(inside, FACTS.title)
        result = dict(inside) if isinstance(inside, Mapping) else {}
        outer, inner = id_at(letter, "taskId"), id_at(result, "taskId")
        if not (outer or inner) or (outer and inner and outer != inner):
            raise malformed(FACTS.title, "it does not name one task")
        for name in ("status", "errorMsg"):
            if not text_at(result, name) and not (name == "status" and text_at(result, "taskStatus")):
                result[name] = text_at(letter, name)
        uid = self._credentials.uid.strip() or id_at(dict(headers), "topview-uid")
        echo: dict[str, JSON] = {"uuid": id_at(letter, "uuid"), "topviewUid": uid, "result": "success"}
        answer: dict[str, JSON] = {"code": "200", "message": "Success", "result": echo}
        return CallbackNotice(outer or inner, _observation(outer or inner, result), answer=answer)


def connect(credentials: Mapping[str, str], *, marker_base: str = "") -> Provider:
    """The adapter for one account; ``credentials`` are the fields of ``TopviewCredentials``."""
    del marker_base  # this API needs no marker: see ``find``
    return Topview(TopviewCredentials(**credentials))


def _count(params: Mapping[str, JSON]) -> int:
    return math.ceil(number_at(params, "generatingCount") or 1)


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(max(0.0, seconds), UTC).strftime("%Y-%m-%d %H:%M:%S")


def _phase(node: JSON) -> tuple[str, Phase]:
    """The status word and what it means; one sibling call says ``taskStatus`` (T-9)."""
    word = words_at(node, "status") or words_at(node, "taskStatus")
    return word, _PHASES.get(word.lower(), Phase.UNKNOWN)


def _observation(remote_id: str, result: JSON) -> Observation:
    word, phase = _phase(result)
    reason = words_at(result, "errorMsg")
    plain = Observation(remote_id, phase, word=word, credits=number_at(result, "costCredit"))
    if phase not in {Phase.SUCCEEDED, Phase.FAILED}:
        return plain
    return _finished(plain, result, reason)


def _finished(plain: Observation, result: JSON, reason: str) -> Observation:
    """A finished task. With several videos each has its own word (T-I2V2): those that exist are results, whatever became of the rest."""
    rows = rows_at(result, "videos") or ()
    whole = plain.phase is Phase.SUCCEEDED
    phases = [_phase(row)[1] for row in rows]
    if whole and any(phase in {Phase.QUEUED, Phase.RUNNING} for phase in phases):
        return replace(plain, phase=Phase.RUNNING)
    good = [row for row, phase in zip(rows, phases, strict=True) if _made(phase, whole=whole) and _link(row)]
    if not good and not rows and whole and _link(result):
        good = [result]
    failed = [row for row, phase in zip(rows, phases, strict=True) if phase is Phase.FAILED]
    told = reason or next((words for row in failed if (words := words_at(row, "errorMsg"))), "")
    if good:
        partial = f"{len(rows) - len(good)} of {len(rows)} videos were not made" if len(good) < len(rows) else ""
        said = cleaned(": ".join(part for part in (partial, told) if part)) if partial else ""
        return replace(plain, phase=Phase.SUCCEEDED, outputs=_outputs(good), reason=said)
    if not whole or (rows and len(failed) == len(rows)):
        return replace(plain, phase=Phase.FAILED, reason=told, cause=generation_cause(told))
    # Done without a link: asked again until the deadline, because the link may follow and the work is paid for.
    return replace(plain, phase=Phase.UNKNOWN)


def _made(phase: Phase, *, whole: bool) -> bool:
    """Whether one video of a task is there: by its own word, or, without one, by the task's."""
    return phase is Phase.SUCCEEDED or (whole and phase is Phase.UNKNOWN)


def _link(row: JSON) -> str:
    return next((link for path in _LINKS if (link := url_at(row, *path))), "")


def _outputs(rows: Sequence[JSON]) -> tuple[RemoteOutput, ...]:
    """Numbered without gaps, so that whoever needs ``video`` gets one."""
    return tuple(
        RemoteOutput(
            name="video" if number == 1 else f"video_{number}",
            kind=MediaKind.VIDEO,
            url=_link(row),
            width=pixels_at(row, "originVideo", "width"),
            height=pixels_at(row, "originVideo", "height"),
        )
        for number, row in enumerate(rows, start=1)
    )
