"""Akool: both kinds of credentials, one paid request, status numbers, and why a lost submission stays open."""

from __future__ import annotations

from typing import Any

import pytest
from provider_hand import KEY, NOW, Hand, akool, answer, asset, raw, submission
from pydantic import ValidationError

from runner.errors import Halted, MaybeSent, Refused, Transient, Uncertain
from runner.model import JSON, Observation, Phase
from runner.providers.akool import Akool, AkoolCredentials, TalkingPhotoParameters
from runner.seams import MediaRule, Operation, Response

PARAMS: dict[str, JSON] = {"talking_photo_url": "https://x.test/a.png", "audio_url": "https://x.test/a.mp3"}


def operation() -> Operation:
    """The operation under test."""
    return akool().operations["talking-photo"]


def ok(data: object) -> Response:
    """Akool's envelope around ``data``."""
    return answer({"code": 1000, "msg": "OK", "data": data})


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"talking_photo_url": None}, "talking_photo_url"),
        ({"audio_url": " "}, "audio_url"),
        ({"audio_url": "https://"}, "audio_url"),
        ({"resolution": "480"}, "resolution"),
        ({"resolution": True}, "resolution"),
        ({"webhookUrl": "https://x.test"}, "webhookUrl"),
    ],
)
def test_a_wrong_parameter_is_named(change: dict[str, Any], where: str) -> None:
    """Each rule refuses just beyond its bound, and the error's place is the field."""
    with pytest.raises(ValidationError) as caught:
        TalkingPhotoParameters(**{**PARAMS, **change})
    assert [error["loc"] for error in caught.value.errors()] == [(where,)]


@pytest.mark.parametrize("resolution", ["720", "1080", 720, 1080, None])
def test_a_resolution_may_be_written_as_a_number(resolution: object) -> None:
    """The API wants the text."""
    model = TalkingPhotoParameters(**{**PARAMS, "resolution": resolution})
    assert model.resolution == (None if resolution is None else str(resolution))


def test_both_media_must_be_links_in_the_end() -> None:
    """The API has no upload."""
    for name in ("talking_photo_url", "audio_url"):
        [rule] = [m for m in TalkingPhotoParameters.model_fields[name].metadata if isinstance(m, MediaRule)]
        assert rule.sends == "url"


def test_the_body_is_what_was_given_and_the_address_with_the_key() -> None:
    """One paid request; the answer's own status is not believed."""
    hand = Hand(ok({"_id": "64dd", "video_status": 3, "video": "https://cdn.test/old.mp4"}))
    taken = hand.run(
        operation().submit(submission({**PARAMS, "resolution": "720", "prompt": None}, callback="https://me.test/cb"))
    )
    assert (taken.remote_id, taken.observation) == ("64dd", None)
    [request] = hand.paid
    assert request.json == {**PARAMS, "resolution": "720", "webhookUrl": f"https://me.test/cb?callsheet={KEY}"}


@pytest.mark.parametrize("data", [None, {}, [], {"_id": ""}, {"_id": None}, {"_id": [1]}, "x"])
def test_a_yes_without_an_id_is_uncertain(data: object) -> None:
    """It may be at work and cannot be found."""
    with pytest.raises(Uncertain):
        Hand(ok(data)).run(operation().submit(submission(PARAMS)))


def test_local_files_never_leave() -> None:
    """They must have been published by now."""
    with pytest.raises(Refused):
        Hand().run(operation().submit(submission({}, media={"audio_url": asset("a.mp3", "mp3")})))


def look(data: object) -> Observation:
    """What one question about ``64dd`` tells."""
    return Hand(ok(data)).run(operation().observe(["64dd"]))["64dd"]


@pytest.mark.parametrize(
    ("data", "phase"),
    [
        ({"_id": "64dd", "video_status": 1}, Phase.QUEUED),
        ({"_id": "64dd", "video_status": "2"}, Phase.RUNNING),
        ({"_id": "64dd", "video_status": 3, "video": "https://cdn.test/v.mp4"}, Phase.SUCCEEDED),
        ({"_id": "64dd", "video_status": 3, "video": ""}, Phase.UNKNOWN),
        ({"_id": "64dd", "video_status": 4}, Phase.FAILED),
        ({"_id": "64dd", "video_status": 5}, Phase.UNKNOWN),
        ({"_id": "64dd", "video_status": True}, Phase.UNKNOWN),
        ({"_id": "beef", "video_status": 3, "video": "https://cdn.test/v.mp4"}, Phase.UNKNOWN),
        (None, Phase.UNKNOWN),
    ],
)
def test_every_number_has_a_phase(data: object, phase: Phase) -> None:
    """Unknown numbers, missing links and strangers' videos keep the job waiting."""
    assert look(data).phase is phase


def test_a_result_names_its_credits_and_a_failure_its_reason() -> None:
    """Only a finished video says what it cost."""
    assert look({"_id": "64dd", "video_status": 3, "video": "https://c.test/v", "deduction_duration": 10}).credits == 10
    failed = look({"_id": "64dd", "video_status": 4, "error_code": 12, "error_reason": "face not found"})
    assert (failed.reason, failed.cause, failed.word) == ("face not found (error 12)", "generation_failed", "failed")


def test_content_that_does_not_exist_yet_is_missing() -> None:
    """1008: the caller, who knows the job's age, decides whether to believe it."""
    hand = Hand(answer({"code": 1008, "msg": "no"}))
    assert hand.run(operation().observe(["64dd"]))["64dd"].phase is Phase.MISSING
    assert dict(hand.requests[0].query) == {"video_model_id": "64dd"}


def test_a_lost_submission_always_goes_to_a_person() -> None:
    """There is nothing to ask; never None."""
    with pytest.raises(Uncertain):
        Hand().run(operation().find(submission(PARAMS)))
    with pytest.raises(MaybeSent):
        Hand(MaybeSent("x")).run(operation().submit(submission(PARAMS)))


@pytest.mark.parametrize("document", [{"code": 1000, "token": "tok"}, {"code": 1000, "data": {"token": "tok"}}])
def test_a_token_is_asked_for_with_the_secret(document: object) -> None:
    """It stands at the top of the answer; the data place is understood too."""
    hand = Hand(answer(document))
    assert dict(hand.run(akool().authorise(NOW)).headers) == {"Authorization": "Bearer tok"}
    [request] = hand.requests
    assert (request.path, request.signed, request.paid) == ("/api/open/v3/getToken", False, False)
    assert request.json == {"clientId": "client-1", "clientSecret": "akool-secret"}


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (answer({"code": 1101, "msg": "bad"}), Halted),
        (answer({"code": 1003, "msg": "bad"}), Halted),
        (answer({"code": 1000}), Transient),
        (answer({"code": 1000, "token": 7}), Transient),
        (answer({"code": 1000, "token": "a\nb"}), Halted),
        (raw(b"<html>", 502), Transient),
        (answer([]), Transient),
    ],
)
def test_no_token_is_said_clearly(reply: Response, error: type[Exception]) -> None:
    """A wrong secret stops the account; a hiccup does not."""
    with pytest.raises(error):
        Hand(reply).run(akool().authorise(NOW))


def test_the_key_goes_before_the_token() -> None:
    """The recommended scheme needs no request and cannot be renewed."""
    adapter = Akool(AkoolCredentials(api_key="key-1", client_id="c", client_secret="s"))
    assert dict(Hand().run(adapter.authorise(NOW)).headers) == {"x-api-key": "key-1"}
    assert not adapter.renewable(Halted("x", code="1101"))
    assert akool().renewable(Halted("x", code="1101"))
    assert not akool().renewable(Halted("x", code="1102"))
    with pytest.raises(Halted):
        Hand().run(Akool(AkoolCredentials(client_id="c")).authorise(NOW))


def test_the_rest() -> None:
    """No price is published, one slot, nothing expected, the balance at a sibling's address."""
    one = operation()
    assert (one.price(PARAMS, 10), one.slots(PARAMS), one.expected(PARAMS, 10).seconds) == (None, 1, None)
    hand = Hand(ok({"credit": 77}))
    assert hand.run(akool().balance(NOW)) == 77
    assert hand.requests[0].path == "/api/open/v3/faceswap/quota/info"
