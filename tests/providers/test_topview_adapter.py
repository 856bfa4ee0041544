"""Topview: upload in three steps, then one paid request; several videos per task; why a lost submission stays open."""

from __future__ import annotations

from typing import Any

import pytest
from provider_hand import KEY, NOW, Hand, answer, asset, raw, submission, topview
from pydantic import ValidationError

from runner.errors import Halted, MaybeSent, Refused, Transient, Uncertain
from runner.model import JSON, Observation, Phase
from runner.providers.topview import Topview, TopviewCredentials
from runner.providers.topview_terms import ImageToVideoParameters
from runner.seams import MediaRule, Operation, Response

SUBMIT = "/v1/common_task/image2video/submit"
LINK = "https://bucket.test/f-1.png?X-Amz-Signature=s"
PARAMS: dict[str, JSON] = {"imageFileId": "f-1", "prompt": "turn", "duration": 5, "mode": "pro", "generatingCount": 2}


def operation() -> Operation:
    """The operation under test."""
    return topview().operations["image-to-video"]


def ok(result: object) -> Response:
    """Topview's envelope around ``result``."""
    return answer({"code": "200", "message": "Success", "result": result})


def clip(link: str = "https://cdn.test/v.mp4", **more: object) -> dict[str, object]:
    """One video of a result."""
    return {"originVideo": {"filePath": link, "width": 1080, "height": 1920}, **more}


ACCEPTED = {"taskId": "a9", "status": "success", "errorMsg": None}


# --------------------------------------------------------------------------------------------------- parameters


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"image": None}, "imageFileId"),
        ({"imageFileId": "f"}, "imageFileId"),
        ({"image": None, "imageFileId": ""}, "imageFileId"),
        ({"image": "https://x.test/a.png"}, "image"),
        ({"duration": 6}, "duration"),
        ({"duration": "five"}, "duration"),
        ({"duration": True}, "duration"),
        ({"duration": None}, "duration"),
        ({"mode": "turbo"}, "mode"),
        ({"generatingCount": 0}, "generatingCount"),
        ({"generatingCount": 5}, "generatingCount"),
        ({"generatingCount": True}, "generatingCount"),
        ({"generatingCount": 1.5}, "generatingCount"),
        ({"noticeUrl": "https://x.test"}, "noticeUrl"),
    ],
)
def test_a_wrong_parameter_is_named(change: dict[str, Any], where: str) -> None:
    """Each rule refuses just beyond its bound, and the error's place is the field."""
    with pytest.raises(ValidationError) as caught:
        ImageToVideoParameters(**{"image": "a.png", "duration": 5, "mode": "lite", **change})
    assert [error["loc"] for error in caught.value.errors()] == [(where,)]


@pytest.mark.parametrize(
    ("change", "name", "value"),
    [
        ({"duration": "10"}, "duration", 10),
        ({"generatingCount": "4"}, "generatingCount", 4),
        ({}, "generatingCount", 1),
        ({"image": None, "imageFileId": 123}, "imageFileId", "123"),
        ({"mode": "best"}, "mode", "best"),
    ],
)
def test_a_parameter_at_its_bound_is_taken(change: dict[str, Any], name: str, value: object) -> None:
    """Templates give text, so numbers are read from it."""
    model = ImageToVideoParameters(**{"image": "a.png", "duration": 5, "mode": "lite", **change})
    assert getattr(model, name) == value


def test_the_picture_is_uploaded() -> None:
    """No links: the file itself must be here."""
    [rule] = [m for m in ImageToVideoParameters.model_fields["image"].metadata if isinstance(m, MediaRule)]
    assert (rule.sends, rule.accepts_url, rule.formats) == ("upload", False, ("png", "jpeg", "bmp", "webp"))


# ------------------------------------------------------------------------------------------------------- submit


@pytest.mark.parametrize(("form", "word"), [("jpeg", "jpg"), ("png", "png"), ("webp", "webp"), ("bmp", "bmp")])
def test_a_local_picture_is_uploaded_first(form: str, word: str) -> None:
    """Credential, bytes without our headers, check, then the one paid request with the file's id."""
    picture = asset(f"a.{form}", form)
    hand = Hand(ok({"fileId": "f-1", "fileName": "f-1.x", "uploadUrl": LINK}), raw(b""), ok(True), ok(ACCEPTED))
    params: dict[str, JSON] = {"duration": 5, "mode": "pro"}
    order = submission(params, callback="https://me.test/cb", media={"image": picture})
    assert hand.run(operation().submit(order)).remote_id == "a9"
    asked, put, checked, paid = hand.requests
    assert (asked.path, dict(asked.query)) == ("/v1/upload/credential", {"format": word})
    assert (put.method, put.path, put.file, put.signed, put.json) == ("PUT", LINK, picture.path, False, None)
    assert (checked.path, dict(checked.query)) == ("/v1/upload/check", {"fileId": "f-1"})
    assert hand.paid == [paid]
    assert paid.json == {**params, "imageFileId": "f-1", "generatingCount": 1, "noticeUrl": f"https://me.test/cb?callsheet={KEY}"}


def test_an_uploaded_picture_needs_no_upload() -> None:
    """One request."""
    hand = Hand(ok(ACCEPTED))
    hand.run(operation().submit(submission(PARAMS)))
    assert [request.path for request in hand.requests] == [SUBMIT]
    assert hand.paid[0].json == PARAMS


def test_a_slow_upload_is_asked_for_three_times() -> None:
    """A flow cannot wait; after that the whole submission is tried again later, and nothing was paid."""
    hand = Hand(ok({"fileId": "f-1", "uploadUrl": LINK}), raw(b""), ok(False), ok(None), ok("false"))
    with pytest.raises(Transient):
        hand.run(operation().submit(submission({"duration": 5}, media={"image": asset()})))
    assert hand.paid == []


@pytest.mark.parametrize(
    "answers",
    [
        [ok({})],
        [ok({"fileId": "f", "uploadUrl": "/relative"})],
        [ok({"fileId": "f", "uploadUrl": "file:///etc/passwd"})],
        [ok({"fileId": "f", "uploadUrl": LINK}), raw(b"<Error/>", 403)],
        [answer({"code": "5000", "message": "x"})],
        [raw(b"<html>", 502)],
    ],
)
def test_trouble_while_uploading_is_only_trouble(answers: list[Response]) -> None:
    """Nothing was paid, so nothing is uncertain."""
    with pytest.raises(Transient):
        Hand(*answers).run(operation().submit(submission({}, media={"image": asset()})))


def test_a_picture_of_another_format_never_leaves() -> None:
    """The upload call knows four picture formats."""
    with pytest.raises(Refused):
        Hand().run(operation().submit(submission({}, media={"image": asset("a.gif", "gif")})))


@pytest.mark.parametrize("result", [{}, None, [], {"taskId": ""}, {"taskId": None, "status": "success"}, {"taskId": {}}])
def test_a_yes_without_a_task_is_uncertain(result: object) -> None:
    """The submit answer's 'success' only means that the request was taken."""
    with pytest.raises(Uncertain):
        Hand(ok(result)).run(operation().submit(submission(PARAMS)))


def test_a_failed_acceptance_is_a_refusal() -> None:
    """No task, and the acceptance itself says fail."""
    with pytest.raises(Refused, match="bad picture"):
        Hand(ok({"status": "fail", "errorMsg": "bad picture"})).run(operation().submit(submission(PARAMS)))


@pytest.mark.parametrize("code", ["200", 200])
def test_codes_come_as_text_or_number(code: object) -> None:
    """Both mean the same."""
    assert Hand(answer({"code": code, "result": ACCEPTED})).run(operation().submit(submission(PARAMS))).remote_id == "a9"


# ------------------------------------------------------------------------------------------------------ observe


def look(result: object) -> Observation:
    """What one question about ``a9`` tells."""
    return Hand(ok(result)).run(operation().observe(["a9"]))["a9"]


@pytest.mark.parametrize(
    ("result", "phase"),
    [
        ({"taskId": "a9", "status": "init"}, Phase.QUEUED),
        ({"taskId": "a9", "status": "running"}, Phase.RUNNING),
        ({"taskId": "a9", "taskStatus": "RUNNING"}, Phase.RUNNING),
        ({"taskId": "a9", "status": "fail", "errorMsg": "x"}, Phase.FAILED),
        ({"taskId": "a9", "status": "failed"}, Phase.FAILED),
        ({"taskId": "a9", "status": "success"}, Phase.UNKNOWN),
        ({"taskId": "a9", "status": "success", "videos": [clip("nowhere")]}, Phase.UNKNOWN),
        ({"taskId": "a9", "status": "paused"}, Phase.UNKNOWN),
        ({"taskId": "b7", "status": "success", "videos": [clip()]}, Phase.UNKNOWN),
        ({"taskId": "a9", "status": "success", "videos": "none"}, Phase.UNKNOWN),
        (None, Phase.UNKNOWN),
    ],
)
def test_every_word_has_a_phase(result: object, phase: Phase) -> None:
    """Unknown words, missing links and strangers' tasks keep the job waiting."""
    assert look(result).phase is phase


def test_results_are_asked_for_at_the_old_path_with_lasting_links() -> None:
    """v1 answers at /result; the CDN link outlives the signed one."""
    hand = Hand(ok({"taskId": "a9", "status": "init"}))
    hand.run(operation().observe(["a9"]))
    assert hand.requests[0].path == "/v1/common_task/image2video/result"
    assert dict(hand.requests[0].query) == {"taskId": "a9", "needCloudFrontUrl": "true"}


@pytest.mark.parametrize(
    "video",
    [clip(), {"filePath": "https://cdn.test/v.mp4"}, {"status": "success", "finishedVideoUrl": "https://cdn.test/v.mp4"}],
)
def test_a_link_may_stand_in_several_places(video: object) -> None:
    """v1's place and those of its siblings."""
    seen = look({"taskId": "a9", "status": "success", "videos": [video], "costCredit": 1.0})
    assert (seen.phase, seen.credits, [output.url for output in seen.outputs]) == (
        Phase.SUCCEEDED,
        1.0,
        ["https://cdn.test/v.mp4"],
    )


def test_a_result_without_a_list_of_videos() -> None:
    """A sibling's shape: the link beside the status."""
    assert look({"status": "success", "finishedVideoUrl": "https://cdn.test/v.mp4"}).phase is Phase.SUCCEEDED


def test_several_videos_are_numbered() -> None:
    """The first bears the plain name; sizes come along."""
    seen = look({"status": "success", "videos": [clip("https://c.test/1"), clip("https://c.test/2"), clip("https://c.test/3")]})
    assert [output.name for output in seen.outputs] == ["video", "video_2", "video_3"]
    assert (seen.outputs[0].width, seen.outputs[0].height, seen.reason) == (1080, 1920, "")


@pytest.mark.parametrize("word", ["success", "fail"])
def test_what_exists_of_a_partial_success_is_kept(word: str) -> None:
    """It was paid for: numbered without gaps, with the reason for the rest."""
    videos = [{"status": "fail", "errorMsg": "model busy"}, clip("https://c.test/2", status="success")]
    seen = look({"status": word, "videos": videos})
    assert (seen.phase, [output.url for output in seen.outputs]) == (Phase.SUCCEEDED, ["https://c.test/2"])
    assert seen.outputs[0].name == "video"
    assert seen.reason == "1 of 2 videos were not made: model busy"


def test_nothing_but_failures_is_a_failure() -> None:
    """Also when the task as a whole says success."""
    seen = look({"status": "success", "videos": [{"status": "fail", "errorMsg": "policy violation"}]})
    assert (seen.phase, seen.reason, seen.cause) == (Phase.FAILED, "policy violation", "content_policy")


def test_a_video_still_at_work_is_waited_for() -> None:
    """Otherwise it would be lost."""
    assert look({"status": "success", "videos": [clip(), {"status": "running"}]}).phase is Phase.RUNNING


def test_a_task_nobody_knows_is_missing() -> None:
    """Code 4004."""
    assert Hand(answer({"code": "4004", "message": "no"})).run(operation().observe(["a9"]))["a9"].phase is Phase.MISSING


# --------------------------------------------------------------------------------------------------------- find


def test_a_lost_submission_goes_to_a_person_with_the_charged_tasks() -> None:
    """The credit log proves nothing, but helps."""
    rows = [{"taskId": "a9", "taskType": "common_task_image2video"}, {"taskId": "b7"}, "junk", {"taskId": "a9"}]
    hand = Hand(ok({"data": rows}))
    with pytest.raises(Uncertain, match="a9, b7") as caught:
        hand.run(operation().find(submission(PARAMS)))
    assert "reconcile" in caught.value.hint
    assert hand.requests[0].path == "/user/credit/logs"
    assert hand.requests[0].query["startTime"] == "2025-10-09 08:52:20"


@pytest.mark.parametrize("log", [ok({}), ok([]), answer({"code": "4100", "message": ""}), raw(b"", 500), raw(b"x")])
def test_without_the_log_it_is_uncertain_all_the_same(log: Response) -> None:
    """Never None: nothing could prove it."""
    with pytest.raises((Uncertain, Halted)):
        Hand(log).run(operation().find(submission(PARAMS)))
    with pytest.raises(Uncertain):
        Hand().run(operation().find(submission(PARAMS, started=None)))


def test_a_lost_reply_passes_as_it_is() -> None:
    """Only the driver knows what a wire error means for a submission."""
    with pytest.raises(MaybeSent):
        Hand(MaybeSent("x")).run(operation().submit(submission(PARAMS)))


# ----------------------------------------------------------------------------------------------- price and account


@pytest.mark.parametrize(
    ("params", "credits_"),
    [
        ({"mode": "pro", "duration": 5}, 1.0),
        ({"mode": "lite", "duration": 10, "generatingCount": 4}, 4.0),
        ({"mode": "plus", "duration": 5, "generatingCount": 3}, 8.1),
        ({"mode": "best", "duration": "10"}, 15.5),
        ({"mode": "odd", "duration": 5}, None),
        ({"mode": "pro"}, None),
    ],
)
def test_the_price_is_rate_times_seconds_times_videos(params: dict[str, JSON], credits_: float | None) -> None:
    """In credits of the account."""
    assert operation().price(params, None) == credits_
    assert operation().slots(params) == 1


def test_the_length_that_was_asked_for_is_expected() -> None:
    """The shape follows the picture."""
    assert (operation().expected({"duration": 10}, None).seconds, operation().expected({"duration": 10}, None).aspect) == (
        10,
        None,
    )


def test_the_account() -> None:
    """Two headers, no renewal, and the balance inside the envelope."""
    adapter = topview()
    assert dict(Hand().run(adapter.authorise(NOW)).headers) == {"Authorization": "Bearer topview-secret", "Topview-Uid": "uid-1"}
    assert not adapter.renewable(Halted("x", code="401"))
    assert Hand(ok({"remainCredit": "12.5"})).run(adapter.balance(NOW)) == 12.5
    with pytest.raises(Halted):
        Hand().run(Topview(TopviewCredentials("u")).authorise(NOW))
