"""Kling AI: a talking avatar from a picture and a voice (``kling/avatar``).

Owns Kling's requests, status words and token; what is documented as plain facts stands in ``kling_terms``. Pure: yields requests,
is sent responses; never sleeps, never reads a clock. Sources: seed-001 (avatar), seed-003 (status words), K-INFO (token),
R-AVATAR (look-up by external id), R-COSTS (balance).
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import quote

from runner.errors import Halted, ProviderError, Refused, Transient, Uncertain, WireError
from runner.model import JSON, Accepted, MediaKind, Observation, Phase, RemoteOutput, Submission
from runner.providers.kling_terms import AVATAR, CODES, FACTS, OPERATIONS, PAGE, PRICES, AvatarParameters
from runner.providers.letters import malformed, parsed
from runner.providers.parameters import given
from runner.providers.replies import at, code_at, id_at, number_at, rows_at, text_at, url_at, words_at
from runner.providers.verdicts import Envelope, Judge, by_code, generation_cause, sendable
from runner.seams import (
    Authorisation,
    CallbackNotice,
    Expected,
    FileBase64,
    Flow,
    Operation,
    OperationFacts,
    Provider,
    ProviderFacts,
    Request,
)

__all__ = ["FACTS", "OPERATIONS", "Avatar", "Kling", "KlingCredentials", "connect"]

PATH: Final = "/v1/videos/avatar/image2video"
TOKEN_SECONDS: Final = 1800
"""Life of a token (K-INFO)."""

_DAY: Final = 86400.0
_FEW: Final = 3
"""Up to this many tasks are asked for one by one; more by pages of the list."""
_POLL_PAGES: Final = 5
_FIND_PAGES: Final = 20
_CLOCK_SLACK: Final = 600.0
"""Seconds by which Kling's clock and ours may differ when a list is read backwards in time."""


@dataclass(frozen=True, slots=True)
class KlingCredentials:
    """An access key with its secret key, or (newer) one static API key, which is preferred when both are there."""

    access_key: str = ""
    secret_key: str = field(default="", repr=False)
    api_key: str = field(default="", repr=False)


_PHASES: Final[Mapping[str, Phase]] = {
    "submitted": Phase.QUEUED,
    "processing": Phase.RUNNING,
    "succeed": Phase.SUCCEEDED,
    "failed": Phase.FAILED,
}
"""seed-001; mind the missing 'ed' of succeed."""

_TAKEN: Final = re.compile(r"duplicat|already|not unique|must be unique|repeat", re.IGNORECASE)
_DUPLICATE: Final = re.compile(rf"external.?task.?id|{_TAKEN.pattern}", re.IGNORECASE)
_NO_SUCH_TASK: Final = frozenset({"1200", "1201", "1203", "HTTP 404"})
"""A question about one task answered like this: there is none (K-INFO), or the name cannot be that of one."""
_ENVELOPE: Final = Envelope(good="0", words="message")


class Avatar:
    """``kling/avatar``."""

    facts: OperationFacts = AVATAR

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    def price(self, params: Mapping[str, JSON], seconds: float | None) -> float | None:
        """Units: the mode's rate for each begun second of audio; None for an ``audio_id``, whose length nobody told us."""
        rate = PRICES.get(str(params.get("mode") or "std"))
        if rate is None or seconds is None or not math.isfinite(seconds) or seconds < 0:
            return None
        return round(math.ceil(round(seconds, 3)) * rate, 4)

    def slots(self, params: Mapping[str, JSON]) -> int:
        """A video takes one slot (K-RATE)."""
        del params
        return 1

    def expected(self, params: Mapping[str, JSON], seconds: float | None) -> Expected:
        """Nothing is asked for: the length follows the audio, the shape follows the picture."""
        del params, seconds
        return Expected()

    def submit(self, submission: Submission) -> Flow[Accepted]:
        """Create the task under our own ``external_task_id``. Raises ``ProviderError``.

        A second create with a used id is refused under a code that no document names; 1200 and 1201 are the fitting ones. So
        before one of these fails a job, the task is asked for: it may be an earlier submission of ours that did arrive.
        """
        response = yield Request("POST", PATH, json=_body(submission), paid=True)
        try:
            answer = self._judge.opened(response, paid=True)
        except Refused as refusal:
            if refusal.code not in {"1200", "1201"}:
                raise
            return (yield from self._after_refusal(submission, refusal))
        task = at(answer, "data")
        remote_id = id_at(task, "task_id")
        if not remote_id:
            raise self._judge.doubt("it said yes but named no task", paid=True)
        if text_at(task, "task_info", "external_task_id") not in {"", submission.key}:
            raise self._judge.doubt("it answered about another task", paid=True)
        return Accepted(remote_id)

    def _after_refusal(self, submission: Submission, refusal: Refused) -> Flow[Accepted]:
        """The earlier task if there is one; otherwise the refusal stands. Never a class that allows a blind repetition."""
        named = _DUPLICATE.search(refusal.message) is not None
        try:
            found = yield from (self.find(submission) if named else self._by_external_id(submission.key))
        except (ProviderError, WireError) as error:
            if named:
                raise _taken(refusal, "whether a task has it could not be asked") from error
            raise refusal from error
        if found is not None:
            return found
        if named and _TAKEN.search(refusal.message):
            raise _taken(refusal, "no task shows it")
        raise refusal

    def observe(self, remote_ids: Sequence[str]) -> Flow[Mapping[str, Observation]]:
        """A few tasks one by one; many from the list first, which settles up to 500 with one request."""
        wanted = dict.fromkeys(remote_ids)
        seen: dict[str, Observation] = {}
        if len(wanted) > _FEW:
            seen.update((yield from self._from_list(wanted)))
        for remote_id in wanted:
            if remote_id in seen:
                continue
            try:
                seen[remote_id] = yield from self._one(remote_id)
            except Transient:
                if not seen:
                    raise
                # What the others answered is worth more than one hiccup among hundreds of questions.
                seen[remote_id] = Observation(remote_id, Phase.UNKNOWN, word="no answer")
        return seen

    def _one(self, remote_id: str) -> Flow[Observation]:
        task = yield from self._task(remote_id)
        if task is None:
            return Observation(remote_id, Phase.MISSING)
        if id_at(task, "task_id") not in {"", remote_id}:
            return Observation(remote_id, Phase.UNKNOWN, word="answered about another task")
        return _observation(remote_id, task)

    def _from_list(self, wanted: Mapping[str, None]) -> Flow[dict[str, Observation]]:
        """What the newest pages tell of ``wanted``. Ends early: all found, a short page, or a page without any of them."""
        size = min(PAGE, max(30, 2 * len(wanted)))
        seen: dict[str, Observation] = {}
        for number in range(1, _POLL_PAGES + 1):
            rows = yield from self._page(number, size)
            hits = {task_id: row for row in rows if (task_id := id_at(row, "task_id")) in wanted}
            seen.update({task_id: _observation(task_id, row) for task_id, row in hits.items()})
            if len(seen) == len(wanted) or len(rows) < size or not hits:
                break
        return seen

    def find(self, submission: Submission) -> Flow[Accepted | None]:
        """By external id, first as a path, then in the list. None only when the list was seen to its end, or back to before
        the submission began. Raises ``Uncertain`` when it could not be.
        """
        doubt: Uncertain | None = None
        found: Accepted | None = None
        try:
            found = yield from self._by_external_id(submission.key)
        except Uncertain as error:
            doubt = error
        if found is None:
            found = yield from self._in_list(submission)
        if found is None and doubt is not None:
            raise doubt
        return found

    def _by_external_id(self, key: str) -> Flow[Accepted | None]:
        task = yield from self._task(key)
        if task is None:
            return None
        remote_id = id_at(task, "task_id")
        if remote_id and text_at(task, "task_info", "external_task_id") == key:
            return Accepted(remote_id)
        raise self._judge.doubt("it answered about a task that does not show our id", paid=True)

    def _in_list(self, submission: Submission) -> Flow[Accepted | None]:
        walk = _Walk(submission.started_at)
        for number in range(1, _FIND_PAGES + 1):
            rows = yield from self._page(number, PAGE)
            for row in rows:
                if text_at(row, "task_info", "external_task_id") == submission.key:
                    if remote_id := id_at(row, "task_id"):
                        return Accepted(remote_id)
                    raise self._judge.doubt("its list shows our submission without a task id", paid=True)
            if walk.ended_with(rows):
                return None
            if walk.stuck:
                break
        raise self._judge.doubt(
            "our submission is not among the newest tasks, and the list could not be read to its end", paid=True
        )

    def _task(self, name: str) -> Flow[JSON]:
        """One task by its id or external id; None when Kling says that there is none."""
        response = yield Request("GET", f"{PATH}/{quote(name, safe='')}")
        try:
            answer = self._judge.opened(response, paid=False)
        except Refused as refusal:
            if refusal.code in _NO_SUCH_TASK:
                return None
            raise
        task = at(answer, "data")
        if not isinstance(task, Mapping):
            raise self._judge.doubt("its answer holds no task", paid=False)
        return task

    def _page(self, number: int, size: int) -> Flow[Sequence[JSON]]:
        response = yield Request("GET", PATH, query={"pageNum": number, "pageSize": size})
        rows = rows_at(self._judge.opened(response, paid=False), "data")
        if rows is None:
            raise self._judge.doubt("its list of tasks is no list", paid=False)
        return rows


class _Walk:
    """Knows when a list read page by page has shown everything that could be ours.

    No order is documented. If what was seen so far runs strictly back in time, tasks older than the submission end the search;
    otherwise only an empty page does, or a page that is not full and shows nothing new.
    """

    def __init__(self, started_at: float | None) -> None:
        self._oldest_ms = None if started_at is None else (started_at - _CLOCK_SLACK) * 1000
        self._last = math.inf
        self._backwards = True
        self._ids: set[str] = set()
        self.stuck = False
        """A full page repeated what was seen before: paging does not work."""

    def ended_with(self, rows: Sequence[JSON]) -> bool:
        """Take in one page; True when nothing of ours can follow."""
        fresh = {id_at(row, "task_id") for row in rows} - self._ids - {""}
        self._ids |= fresh
        for row in rows:
            created = number_at(row, "created_at")
            self._backwards = self._backwards and created is not None and created <= self._last
            self._last = created if created is not None else self._last
        if not rows or (not fresh and len(rows) < PAGE):
            return True
        self.stuck = not fresh
        return self._backwards and self._oldest_ms is not None and self._last < self._oldest_ms


class Kling:
    """The Kling adapter, bound to one account."""

    facts: ProviderFacts = FACTS

    def __init__(self, credentials: KlingCredentials) -> None:
        self._credentials = credentials
        self._head_start = 5
        secrets = (credentials.secret_key.strip(), credentials.api_key.strip())
        self._judge = Judge(FACTS.title, by_code(CODES), _ENVELOPE, tuple(secret for secret in secrets if secret))
        self.operations: Mapping[str, Operation] = {"avatar": Avatar(self._judge)}

    def authorise(self, now: float) -> Flow[Authorisation]:
        """The static key, or a token signed here: HS256 over iss, exp and nbf (K-INFO). Raises ``Halted``."""
        yield from ()
        if self._credentials.api_key:
            key = sendable(self._credentials.api_key, "API key", FACTS.title)
            return Authorisation({"Authorization": f"Bearer {key}"})
        access = sendable(self._credentials.access_key, "access key", FACTS.title)
        secret = sendable(self._credentials.secret_key, "secret key", FACTS.title)
        claims = {"iss": access, "exp": int(now) + TOKEN_SECONDS, "nbf": int(now) - self._head_start}
        return Authorisation({"Authorization": f"Bearer {_signed(claims, secret)}"}, expires_at=now + TOKEN_SECONDS - 60)

    def renewable(self, error: ProviderError) -> bool:
        """A token that expired or is not valid yet. After 'not valid yet' our clock is ahead: later tokens begin earlier."""
        if not isinstance(error, Halted) or self._credentials.api_key:
            return False
        if error.code == "1003":
            self._head_start = 300
        return error.code in {"1003", "1004"}

    def balance(self, now: float) -> Flow[float | None]:
        """Units left in the online packs that can pay for videos (R-COSTS; may lag half a day). None without such packs."""
        span = {"start_time": int((now - 365 * _DAY) * 1000), "end_time": int(now * 1000)}
        response = yield Request("GET", "/account/costs", query=span)
        inner = at(self._judge.opened(response, paid=False), "data")
        code = code_at(inner, "code")
        if code not in {"", _ENVELOPE.good}:
            raise self._judge.coded(code, text_at(inner, "msg"), response, paid=False)
        left = [
            number_at(pack, "remaining_quantity") for pack in rows_at(inner, "resource_pack_subscribe_infos") or () if _pays(pack)
        ]
        known = [quantity for quantity in left if quantity is not None]
        return sum(known) if known else None

    def read_callback(self, headers: Mapping[str, str], body: bytes, now: float) -> CallbackNotice | None:
        """The task, flat, at each change of its status (seed-003). Not signed: a hint. Raises ``Refused``."""
        del headers, now
        task = parsed(body, FACTS.title)
        remote_id = id_at(task, "task_id")
        if not remote_id:
            raise malformed(FACTS.title, "it names no task")
        return CallbackNotice(remote_id, _observation(remote_id, task))


def connect(credentials: Mapping[str, str], *, marker_base: str = "") -> Provider:
    """The adapter for one account; ``credentials`` are the fields of ``KlingCredentials``."""
    del marker_base  # this API needs no marker: see ``find``
    return Kling(KlingCredentials(**credentials))


def _taken(refusal: Refused, but: str) -> Uncertain:
    hint = "it is looked up again; `callsheet reconcile` shows what stays open"
    return Uncertain(f"{refusal.message} (the id may be in use: {but})", code=refusal.code, cause="server", hint=hint)


def _body(submission: Submission) -> dict[str, object]:
    names = tuple(AvatarParameters.model_fields)
    body = given(submission.params, names)
    body |= {name: FileBase64(asset.path) for name, asset in submission.media.items() if name in names}
    body["external_task_id"] = submission.key
    if submission.callback_url:
        body["callback_url"] = submission.callback_url
    return body


def _observation(remote_id: str, task: JSON) -> Observation:
    word = words_at(task, "task_status")
    phase = _PHASES.get(word, Phase.UNKNOWN)
    credits_used = number_at(task, "final_unit_deduction")
    plain = Observation(remote_id, phase, word=word, credits=credits_used)
    if phase is Phase.FAILED:
        reason = words_at(task, "task_status_msg")
        return replace(plain, reason=reason, cause=generation_cause(reason))
    if phase is not Phase.SUCCEEDED:
        return plain
    outputs = _outputs(task)
    # Done without a link: asked again until the deadline, because the link may follow and the work is paid for.
    return replace(plain, outputs=outputs) if outputs else replace(plain, phase=Phase.UNKNOWN)


def _outputs(task: JSON) -> tuple[RemoteOutput, ...]:
    rows = [row for row in rows_at(task, "task_result", "videos") or () if url_at(row, "url")]
    return tuple(
        RemoteOutput(
            name="video" if number == 1 else f"video_{number}",
            kind=MediaKind.VIDEO,
            url=url_at(row, "url"),
            seconds=number_at(row, "duration"),
        )
        for number, row in enumerate(rows, start=1)
    )


def _pays(pack: JSON) -> bool:
    """Whether a pack is usable now and is not one for pictures or try-on (they are separate, K-RATE)."""
    name = text_at(pack, "resource_pack_name").lower()
    for_pictures = "video" not in name and ("image" in name or "try" in name)
    return text_at(pack, "status") == "online" and not for_pictures


def _signed(claims: Mapping[str, object], secret: str) -> str:
    import jwt

    with warnings.catch_warnings():
        # The length of the secret key is the provider's choice, not the user's: no warning about it is of use to anybody.
        warnings.simplefilter("ignore")
        return jwt.encode(dict(claims), secret, algorithm="HS256")
