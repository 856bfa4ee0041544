"""Kling: parameters from both sides of each bound, one paid request, lost replies, polls, tokens."""

from __future__ import annotations

from typing import Any

import jwt
import pytest
from provider_hand import KEY, NOW, Answer, Hand, answer, asset, kling, raw, submission
from pydantic import ValidationError

from runner.errors import Halted, MaybeSent, NotSent, ProviderError, Refused, Transient, Uncertain, WireError
from runner.model import JSON, MediaKind, Phase
from runner.providers.kling import Avatar, Kling, KlingCredentials
from runner.providers.kling_terms import AvatarParameters
from runner.seams import FileBase64, MediaRule, Response

PATH = "/v1/videos/avatar/image2video"
GOOD: dict[str, Any] = {"image": "model.png", "sound_file": "pitch.mp3"}


def avatar() -> Avatar:
    """The operation under test."""
    operation = kling().operations["avatar"]
    assert isinstance(operation, Avatar)
    return operation


def ok(data: object) -> dict[str, object]:
    """Kling's envelope around ``data``."""
    return {"code": 0, "message": "SUCCEED", "request_id": "r", "data": data}


def task(task_id: str = "t-1", status: str = "submitted", external: str = KEY, **more: object) -> dict[str, object]:
    """A task as Kling shows it."""
    return {"task_id": task_id, "task_status": status, "task_info": {"external_task_id": external}, **more}


def done(task_id: str = "t-1", url: object = "https://cdn.test/v.mp4") -> dict[str, object]:
    """A finished task."""
    videos = {"videos": [{"id": "v", "url": url, "duration": "12.04"}]}
    return task(task_id, "succeed", task_result=videos, final_unit_deduction="4.8")


# --------------------------------------------------------------------------------------------------- parameters


def test_the_least_parameters_get_the_documented_default() -> None:
    """A picture and a voice are enough; the mode is std then."""
    assert AvatarParameters(**GOOD).model_dump(exclude_none=True) == {**GOOD, "mode": "std"}


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"image": ""}, "image"),
        ({"image": "ftp://host/a.png"}, "image"),
        ({"image": "http://[bad/a.png"}, "image"),
        ({"image": "data:image/png;base64,AAAA"}, "image"),
        ({"audio_id": "a-1"}, "audio_id"),
        ({"sound_file": None}, "audio_id"),
        ({"sound_file": None, "audio_id": ""}, "audio_id"),
        ({"prompt": "x" * 2501}, "prompt"),
        ({"mode": "best"}, "mode"),
        ({"watermark_info": {"enabled": "perhaps"}}, "watermark_info"),
        ({"watermark_info": {"on": True}}, "watermark_info"),
        ({"callback_url": "https://x.test"}, "callback_url"),
        ({"external_task_id": "mine"}, "external_task_id"),
    ],
)
def test_a_wrong_parameter_is_named(change: dict[str, Any], where: str) -> None:
    """Each rule refuses just beyond its bound, and the error's place is the field (the runner's own fields are unknown)."""
    with pytest.raises(ValidationError) as caught:
        AvatarParameters(**{**GOOD, **change})
    assert {error["loc"][0] for error in caught.value.errors()} == {where}


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "x" * 2500},
        {"prompt": 42},
        {"mode": "pro"},
        {"sound_file": None, "audio_id": "a-1"},
        {"sound_file": None, "audio_id": 700123},
        {"image": "https://cdn.test/a.png?sig=%2F"},
        {"watermark_info": {"enabled": True}},
    ],
)
def test_a_parameter_at_its_bound_is_taken(change: dict[str, Any]) -> None:
    """Each rule accepts its bound."""
    AvatarParameters(**{**GOOD, **change})


def test_a_wrong_sound_file_gives_one_complaint() -> None:
    """The either-or rule does not add a second error to a field that is wrong by itself."""
    with pytest.raises(ValidationError) as caught:
        AvatarParameters(image="a.png", sound_file="")
    assert [error["loc"] for error in caught.value.errors()] == [("sound_file",)]


def test_media_rules_stand_where_the_checks_look_for_them() -> None:
    """The documented limits are metadata of the two media fields."""
    rules = {
        name: [m for m in field.metadata if isinstance(m, MediaRule)] for name, field in AvatarParameters.model_fields.items()
    }
    [image], [sound] = rules["image"], rules["sound_file"]
    assert (image.kind, image.sends, image.min_side, image.min_ratio, image.max_ratio) == (
        MediaKind.IMAGE,
        "base64",
        300,
        0.4,
        2.5,
    )
    assert (sound.kind, sound.min_seconds, sound.max_seconds, sound.max_bytes) == (MediaKind.AUDIO, 2, 300, 5 * 1024 * 1024)
    assert not rules["prompt"]


# ------------------------------------------------------------------------------------------------------- submit


def test_local_files_go_as_base64_and_the_key_as_external_id() -> None:
    """The body holds the files, the parameters, our id and the callback address, in one paid request."""
    hand = Hand(answer(ok(task())))
    files = {"image": asset(), "sound_file": asset("a.mp3", "mp3")}
    order = submission({"mode": "pro", "prompt": None}, callback="https://me.test/cb", media=files)
    assert hand.run(avatar().submit(order)).remote_id == "t-1"
    [request] = hand.paid
    assert (request.method, request.path) == ("POST", PATH)
    assert request.json == {
        "mode": "pro",
        "image": FileBase64(files["image"].path),
        "sound_file": FileBase64(files["sound_file"].path),
        "external_task_id": KEY,
        "callback_url": "https://me.test/cb",
    }


@pytest.mark.parametrize(
    "document",
    [ok({}), ok(None), ok([]), {"code": 0}, ok({"task_id": ""}), ok({"task_id": ["x"]}), ok(task(external="other")), [], 7, {}],
)
def test_a_yes_without_a_task_of_ours_is_uncertain(document: object) -> None:
    """A success without a usable id, or about another task, proves nothing: never submitted again blindly."""
    with pytest.raises(Uncertain):
        Hand(answer(document)).run(avatar().submit(submission(GOOD)))


def test_a_yes_with_a_server_error_status_is_uncertain() -> None:
    """Code 0 under HTTP 500 contradicts itself."""
    with pytest.raises(Uncertain):
        Hand(answer(ok(task()), 500)).run(avatar().submit(submission(GOOD)))


def test_a_numeric_task_id_is_taken_as_text() -> None:
    """Ids may come as numbers."""
    document = ok({"task_id": 830012345678901})
    assert Hand(answer(document)).run(avatar().submit(submission(GOOD))).remote_id == "830012345678901"


def refused(code: int, message: str) -> Response:
    """A refusal in Kling's envelope."""
    return answer({"code": code, "message": message, "request_id": "r"}, 400)


def test_a_used_external_id_leads_to_the_task_that_has_it() -> None:
    """A create refused for its id is an earlier submission of ours that did arrive: it is adopted, not failed."""
    hand = Hand(refused(1201, "external_task_id already exists"), answer(ok(task("t-old"))))
    assert hand.run(avatar().submit(submission(GOOD))).remote_id == "t-old"
    assert [request.path for request in hand.requests] == [PATH, f"{PATH}/{KEY}"]
    assert len(hand.paid) == 1


def test_an_unnamed_refusal_is_also_looked_up() -> None:
    """No document names the code for a used id, so 1200 and 1201 are always checked."""
    hand = Hand(refused(1200, "invalid parameter"), answer(ok(task("t-old"))))
    assert hand.run(avatar().submit(submission(GOOD))).remote_id == "t-old"


MISSING = {"code": 1203, "message": "not found"}


def test_a_real_refusal_stays_one() -> None:
    """No task has our id: the parameter is wrong, in the provider's words."""
    with pytest.raises(Refused, match="Audio format is invalid") as caught:
        Hand(refused(1201, "Audio format is invalid"), answer(MISSING, 404)).run(avatar().submit(submission(GOOD)))
    assert (caught.value.code, caught.value.cause) == ("1201", "bad_input")


def test_a_used_id_that_no_task_shows_is_uncertain() -> None:
    """The id is taken, but nobody shows the task: not a reason to fail, nor to pay again."""
    hand = Hand(refused(1201, "duplicate external_task_id"), answer(MISSING, 404), answer(ok([])))
    with pytest.raises(Uncertain):
        hand.run(avatar().submit(submission(GOOD)))


@pytest.mark.parametrize("lost", [NotSent("x"), MaybeSent("x"), raw(b"<html>", 502)])
def test_a_lookup_that_fails_never_looks_like_nothing_was_sent(lost: Answer) -> None:
    """After the paid request an unsent *question* must not be read as an unsent *submission*."""
    with pytest.raises(Uncertain):
        Hand(refused(1201, "external_task_id exists"), lost).run(avatar().submit(submission(GOOD)))
    with pytest.raises(Refused):
        Hand(refused(1201, "Audio format is invalid"), lost).run(avatar().submit(submission(GOOD)))


@pytest.mark.parametrize("lost", [NotSent("x"), MaybeSent("x")])
def test_a_lost_reply_passes_as_it_is(lost: WireError) -> None:
    """Only the driver knows what a wire error means for a submission."""
    with pytest.raises(type(lost)):
        Hand(lost).run(avatar().submit(submission(GOOD)))


# --------------------------------------------------------------------------------------------------------- find


def test_a_lost_submission_is_found_by_its_external_id() -> None:
    """One GET on the path of our id."""
    assert Hand(answer(ok(task("t-9")))).run(avatar().find(submission(GOOD))) is not None


def page(start: int, count: int, made: float) -> list[dict[str, object]]:
    """Tasks of somebody else, one second apart, newest first."""
    return [task(f"t-{n}", external="", created_at=int((made - n) * 1000)) for n in range(start, start + count)]


@pytest.mark.parametrize("missing", [answer(MISSING, 404), answer({"code": 1200, "message": "bad id"}, 400), raw(b"", 404)])
def test_the_list_is_searched_when_the_path_knows_nothing(missing: Response) -> None:
    """Page after page until our id shows."""
    hand = Hand(missing, answer(ok(page(0, 500, NOW))), answer(ok([task("t-late")])))
    found = hand.run(avatar().find(submission(GOOD)))
    assert found is not None
    assert found.remote_id == "t-late"
    assert [request.query for request in hand.requests[1:]] == [{"pageNum": n, "pageSize": 500} for n in (1, 2)]


def test_absence_is_proven_by_the_end_of_the_list() -> None:
    """An empty page ends the list: certainly not there."""
    hand = Hand(answer(MISSING, 404), answer(ok(page(0, 3, NOW))), answer(ok([])))
    assert hand.run(avatar().find(submission(GOOD))) is None


def test_absence_is_proven_by_a_list_that_runs_back_past_the_start() -> None:
    """Newest first, and already older than the submission: it cannot follow."""
    hand = Hand(answer(MISSING, 404), answer(ok(page(0, 500, NOW - 500))))
    assert hand.run(avatar().find(submission(GOOD))) is None


def test_an_unordered_list_is_read_to_its_end() -> None:
    """Old tasks prove nothing when newer ones may follow."""
    mixed = [*page(0, 250, NOW - 90_000), *page(1000, 250, NOW - 5000)]
    hand = Hand(answer(MISSING, 404), answer(ok(mixed)), answer(ok([])))
    assert hand.run(avatar().find(submission(GOOD))) is None
    assert len(hand.requests) == 3


def test_a_list_too_long_to_read_is_no_proof() -> None:
    """Twenty full pages without an end leave it open."""
    pages = [answer(ok(page(n * 500, 500, NOW + 1e6))) for n in range(20)]
    with pytest.raises(Uncertain):
        Hand(answer(MISSING, 404), *pages).run(avatar().find(submission(GOOD)))


def test_a_list_that_repeats_its_page_is_no_proof() -> None:
    """Paging that does not work must not read as 'not there'."""
    same = answer(ok(page(0, 500, NOW)))
    with pytest.raises(Uncertain):
        Hand(answer(MISSING, 404), same, same).run(avatar().find(submission(GOOD)))


def test_somebody_elses_task_is_never_adopted() -> None:
    """The path answers with a task that bears another id: doubt, unless the list has ours."""
    stranger = answer(ok(task("t-1", external="other")))
    with pytest.raises(Uncertain):
        Hand(stranger, answer(ok([]))).run(avatar().find(submission(GOOD)))
    found = Hand(stranger, answer(ok([task("t-2")]))).run(avatar().find(submission(GOOD)))
    assert found is not None
    assert found.remote_id == "t-2"


@pytest.mark.parametrize("trouble", [raw(b"", 503), answer({"code": 5000, "message": ""}, 500), answer(ok({})), raw(b"nope")])
def test_trouble_while_looking_is_not_an_answer(trouble: Response) -> None:
    """Only an answer counts as 'not there'."""
    with pytest.raises(Transient):
        Hand(answer(MISSING, 404), trouble).run(avatar().find(submission(GOOD)))


# ------------------------------------------------------------------------------------------------------ observe


def test_a_finished_task_gives_its_video_and_its_price() -> None:
    """Link, length and units come from the task."""
    seen = Hand(answer(ok(done()))).run(avatar().observe(["t-1"]))["t-1"]
    assert (seen.phase, seen.credits, seen.word) == (Phase.SUCCEEDED, 4.8, "succeed")
    [output] = seen.outputs
    assert (output.name, output.kind, output.url, output.seconds) == ("video", MediaKind.VIDEO, "https://cdn.test/v.mp4", 12.04)


@pytest.mark.parametrize(
    ("document", "phase"),
    [
        (task(status="submitted"), Phase.QUEUED),
        (task(status="processing"), Phase.RUNNING),
        (task(status="succeed"), Phase.UNKNOWN),
        (done(url=""), Phase.UNKNOWN),
        (done(url="javascript:alert(1)"), Phase.UNKNOWN),
        (done(url=["https://x.test"]), Phase.UNKNOWN),
        (task(status="paused"), Phase.UNKNOWN),
        ({"task_id": "t-1", "task_status": 3}, Phase.UNKNOWN),
        (task("t-2", "succeed"), Phase.UNKNOWN),
    ],
)
def test_every_word_has_a_phase(document: object, phase: Phase) -> None:
    """Unknown words, missing links and strangers' tasks keep the job waiting; they never end it."""
    assert Hand(answer(ok(document))).run(avatar().observe(["t-1"]))["t-1"].phase is phase


def test_a_failed_task_says_why() -> None:
    """The provider's words and our word for them."""
    document = task(status="failed", task_status_msg="triggered the content\n risk control of the platform")
    seen = Hand(answer(ok(document))).run(avatar().observe(["t-1"]))["t-1"]
    assert (seen.phase, seen.cause) == (Phase.FAILED, "content_policy")
    assert seen.reason == "triggered the content risk control of the platform"


def test_a_few_tasks_are_asked_for_one_by_one() -> None:
    """Three single questions; a task that is gone is missing."""
    hand = Hand(answer(ok(task("a"))), answer(MISSING, 404), answer(ok(done("c"))))
    seen = hand.run(avatar().observe(["a", "b", "c", "a"]))
    assert {name: one.phase for name, one in seen.items()} == {"a": Phase.QUEUED, "b": Phase.MISSING, "c": Phase.SUCCEEDED}
    assert [request.path for request in hand.requests] == [f"{PATH}/{name}" for name in "abc"]


def test_one_list_call_settles_five_hundred() -> None:
    """The bulk size that the facts name is really one request."""
    ids = [f"t-{n}" for n in range(500)]
    hand = Hand(answer(ok([done(name) for name in ids])))
    seen = hand.run(avatar().observe(ids))
    assert all(one.phase is Phase.SUCCEEDED for one in seen.values())
    assert list(hand.requests[0].query.items()) == [("pageNum", 1), ("pageSize", 500)]


def test_what_the_list_lacks_is_asked_for_singly() -> None:
    """Old tasks that slid off the newest page are not lost, and one hiccup does not spoil the rest."""
    ids = ["a", "b", "c", "d", "e"]
    hand = Hand(answer(ok([task("a"), task("b"), "junk"])), answer(MISSING, 404), answer(ok(done("d"))), raw(b"", 502))
    seen = hand.run(avatar().observe(ids))
    assert [seen[name].phase for name in ids] == [Phase.QUEUED, Phase.QUEUED, Phase.MISSING, Phase.SUCCEEDED, Phase.UNKNOWN]


def test_ids_cannot_leave_their_place_in_the_path() -> None:
    """A hostile id is one path segment."""
    hand = Hand(answer(MISSING, 404))
    hand.run(avatar().observe(["../x?y=1"]))
    assert hand.requests[0].path == f"{PATH}/..%2Fx%3Fy%3D1"


# ------------------------------------------------------------------------------------------- price, token, balance


@pytest.mark.parametrize(
    ("params", "seconds", "units"),
    [
        ({"mode": "std"}, 10.0, 4.0),
        ({}, 10.01, 4.4),
        ({"mode": "pro"}, 3.0, 2.4),
        ({"mode": "pro"}, 10.0000001, 8.0),
        ({"mode": "pro"}, None, None),
        ({"mode": "odd"}, 10.0, None),
        ({}, float("nan"), None),
        ({}, float("inf"), None),
    ],
)
def test_the_estimate_counts_begun_seconds(params: dict[str, JSON], seconds: float | None, units: float | None) -> None:
    """Rate times begun seconds; no length, no price."""
    assert avatar().price(params, seconds) == units
    assert avatar().slots(params) == 1


def test_the_token_has_the_documented_claims() -> None:
    """HS256 over iss, exp and nbf; it counts as used up a minute early."""
    granted = Hand().run(kling().authorise(NOW))
    token = granted.headers["Authorization"].removeprefix("Bearer ")
    options = {"verify_exp": False, "verify_nbf": False}
    claims = jwt.decode(token, "secret-key-that-is-long-enough-0001", algorithms=["HS256"], options=options)  # type: ignore[arg-type]
    assert claims == {"iss": "access-0001", "exp": int(NOW) + 1800, "nbf": int(NOW) - 5}
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT"}
    assert granted.expires_at == NOW + 1740


def test_a_short_secret_gives_no_warning() -> None:
    """The key's length is the provider's choice (warnings are errors here)."""
    assert Hand().run(Kling(KlingCredentials("a", "short")).authorise(NOW)).headers


def test_the_static_key_is_sent_as_it_is() -> None:
    """The newer scheme wins when both are there, and never expires."""
    granted = Hand().run(Kling(KlingCredentials("a", "b", " key-1\n")).authorise(NOW))
    assert dict(granted.headers) == {"Authorization": "Bearer key-1"}
    assert granted.expires_at is None


@pytest.mark.parametrize(
    "credentials", [KlingCredentials(), KlingCredentials("a"), KlingCredentials("", "b"), KlingCredentials("ä", "b")]
)
def test_missing_or_unsendable_credentials_stop_the_account(credentials: KlingCredentials) -> None:
    """Said before anything is sent."""
    with pytest.raises(Halted) as caught:
        Hand().run(Kling(credentials).authorise(NOW))
    assert caught.value.hint


def test_only_clock_errors_of_the_token_are_renewable() -> None:
    """1003 and 1004; after 1003 the next token begins earlier; never for a static key or another class."""
    adapter = kling()
    assert [code for code in ("1000", "1001", "1002", "1003", "1004", "1102") if adapter.renewable(Halted("x", code=code))] == [
        "1003",
        "1004",
    ]
    token = Hand().run(adapter.authorise(NOW)).headers["Authorization"].removeprefix("Bearer ")
    assert jwt.decode(token, options={"verify_signature": False})["nbf"] == int(NOW) - 300
    assert not adapter.renewable(ProviderError("x", code="1004"))
    assert not Kling(KlingCredentials(api_key="k")).renewable(Halted("x", code="1004"))


def test_the_balance_counts_online_packs_for_videos() -> None:
    """Pictures and try-on have packs of their own; expired ones pay for nothing."""
    packs = [
        {"resource_pack_name": "Video 1000", "remaining_quantity": 118.5, "status": "online"},
        {"resource_pack_name": "Image 1000", "remaining_quantity": 900, "status": "online"},
        {"resource_pack_name": "Video old", "remaining_quantity": 7, "status": "expired"},
        "junk",
    ]
    hand = Hand(answer(ok({"code": 0, "msg": "ok", "resource_pack_subscribe_infos": packs})))
    assert hand.run(kling().balance(NOW)) == 118.5
    assert hand.requests[0].path == "/account/costs"
    assert hand.requests[0].query["end_time"] == int(NOW * 1000)
    assert Hand(answer(ok({"resource_pack_subscribe_infos": []}))).run(kling().balance(NOW)) is None
    with pytest.raises(Halted):
        Hand(answer(ok({"code": 1102, "msg": "no"}))).run(kling().balance(NOW))


def test_nothing_is_asked_of_the_result() -> None:
    """The length follows the audio, the shape the picture."""
    assert avatar().expected({}, 12.0).seconds is None
