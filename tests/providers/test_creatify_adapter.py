"""Creatify: two stages of one record, the marker that finds a lost submission, and what each status means for each stage."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from provider_hand import KEY, NOW, Hand, answer, asset, creatify, raw, submission
from pydantic import BaseModel, ValidationError

from runner.errors import Deferred, Halted, Refused, Transient, Uncertain
from runner.model import JSON, MediaKind, Phase
from runner.providers.creatify import Creatify, CreatifyCredentials, CreatifyPrices
from runner.providers.creatify_terms import ProductImageParameters, ProductVideoParameters
from runner.seams import MediaRule, Operation, Response, Upstream

PATH = "/api/product_to_videos/"
MARK = f"https://callsheet.invalid/?callsheet={KEY}"
OTHER = "https://callsheet.invalid/?callsheet=another-key"
PHOTO = "https://cdn.test/p.png"
IMAGE_PARAMS: dict[str, JSON] = {"product_url": "https://x.test/a.png", "type": "product_avatar", "image_prompt": "kitchen"}
VIDEO_PARAMS: dict[str, JSON] = {"image": "rec-1", "motion_style": "talking", "video_prompt": "smiles"}


def image() -> Operation:
    """The first stage."""
    return creatify().operations["product-image"]


def video() -> Operation:
    """The second stage."""
    return creatify().operations["product-video"]


def moment(offset: float) -> str:
    """A time relative to the submission's start, as Creatify writes it."""
    return datetime.fromtimestamp(NOW + offset, UTC).isoformat().replace("+00:00", "Z")


def record(status: str = "initializing", name: str = "rec-1", **more: object) -> dict[str, object]:
    """A record as every call shows it."""
    base = {"id": name, "status": status, "product_url": "https://x.test/a.png", "image_prompt": "kitchen", "webhook_url": None}
    return {**base, "generated_photo_url": None, "generated_video_url": None, "failed_reason": None, **more}


def filmed(status: str, **more: object) -> dict[str, object]:
    """A record in its second stage, ordered with our words."""
    return {**record(status), "generated_photo_url": PHOTO, "motion_style": "talking", "video_prompt": "smiles", **more}


# --------------------------------------------------------------------------------------------------- parameters


@pytest.mark.parametrize(
    ("model", "params", "where"),
    [
        (ProductImageParameters, {}, "product_url"),
        (ProductImageParameters, {"product_url": "https://x.test/" + "a" * 186}, "product_url"),
        (ProductImageParameters, {"product_url": "a.png", "type": "avatar"}, "type"),
        (ProductImageParameters, {"product_url": "a.png", "aspect_ratio": "9:16"}, "aspect_ratio"),
        (ProductImageParameters, {"product_url": "a.png", "webhook_url": "https://x.test"}, "webhook_url"),
        (ProductImageParameters, {"product_url": "a.png", "override_avatar": ""}, "override_avatar"),
        (ProductImageParameters, {"product_url": "a.png", "product_showcase_url": "file:///etc/passwd"}, "product_showcase_url"),
        (ProductVideoParameters, {}, "image"),
        (ProductVideoParameters, {"image": ""}, "image"),
        (ProductVideoParameters, {"image": "r", "motion_style": "dance"}, "motion_style"),
        (ProductVideoParameters, {"image": "r", "webhook_url": "https://x.test"}, "webhook_url"),
    ],
)
def test_a_wrong_parameter_is_named(model: type[BaseModel], params: dict[str, Any], where: str) -> None:
    """Each rule refuses just beyond its bound, and the error's place is the field."""
    with pytest.raises(ValidationError) as caught:
        model(**params)
    assert [error["loc"] for error in caught.value.errors()] == [(where,)]


@pytest.mark.parametrize(
    ("model", "params"),
    [
        (ProductImageParameters, {"product_url": "https://x.test/" + "a" * 185, "aspect_ratio": "9x16"}),
        (ProductImageParameters, {"product_url": "pictures/" + "a" * 300 + ".png", "aspect_ratio": "16x9"}),
        (ProductImageParameters, {"product_url": "a.png", "type": "product_avatar", "override_avatar": "4f3d2a9e"}),
        (ProductVideoParameters, {"image": "r", "motion_style": "display", "video_prompt": ""}),
        (ProductVideoParameters, {"image": 17}),
    ],
)
def test_a_parameter_at_its_bound_is_taken(model: type[BaseModel], params: dict[str, Any]) -> None:
    """200 characters are allowed for a link; a path is measured once it is published."""
    model(**params)


def test_the_metadata_says_where_a_video_comes_from() -> None:
    """One record makes one video, and its picture must be a link."""
    [upstream] = [m for m in ProductVideoParameters.model_fields["image"].metadata if isinstance(m, Upstream)]
    assert upstream == Upstream(("creatify/product-image",), once=True)
    [rule] = [m for m in ProductImageParameters.model_fields["product_url"].metadata if isinstance(m, MediaRule)]
    assert (rule.sends, rule.max_url_chars, rule.formats) == ("url", 200, ("png", "jpeg", "webp"))


# --------------------------------------------------------------------------------------------------- first stage


@pytest.mark.parametrize("status", [200, 201])
def test_the_first_stage_carries_the_marker(status: int) -> None:
    """One paid request whose webhook_url bears the key; both documented success statuses are fine."""
    hand = Hand(answer(record(webhook_url=MARK), status))
    assert hand.run(image().submit(submission({**IMAGE_PARAMS, "aspect_ratio": None}))).remote_id == "rec-1"
    [request] = hand.paid
    assert (request.method, request.path) == ("POST", f"{PATH}gen_image/")
    assert request.json == {**IMAGE_PARAMS, "webhook_url": MARK}


def test_a_callback_address_keeps_what_it_had() -> None:
    """The marker joins the query of our own address."""
    hand = Hand(answer(record()))
    hand.run(image().submit(submission({"product_url": "https://x.test/a.png"}, callback="https://me.test/cb?t=1#x")))
    assert hand.paid[0].json == {
        "product_url": "https://x.test/a.png",
        "type": "product_anyshot",
        "webhook_url": f"https://me.test/cb?t=1&callsheet={KEY}",
    }


@pytest.mark.parametrize("operation", [image, video])
def test_a_callback_address_that_is_too_long_stops_before_paying(operation: Callable[[], Operation]) -> None:
    """200 characters with the key; one more stops the account, for every job would meet it."""
    tail = f"?callsheet={KEY}"
    fits = "https://me.test/" + "a" * (200 - 16 - len(tail))
    params = {**IMAGE_PARAMS, **VIDEO_PARAMS}
    answers = [answer(record("image_generated"))] if operation is video else []
    Hand(*answers, answer(record())).run(operation().submit(submission(params, callback=fits)))
    with pytest.raises(Halted):
        Hand().run(operation().submit(submission(params, callback=fits + "a")))


def test_local_files_and_long_links_never_leave() -> None:
    """Both are refused before anything is sent."""
    with pytest.raises(Refused):
        Hand().run(image().submit(submission({}, media={"product_url": asset()})))
    with pytest.raises(Refused):
        Hand().run(image().submit(submission({"product_url": "https://x.test/" + "a" * 200})))


@pytest.mark.parametrize("document", [{}, [], {"id": None}, {"id": {}}, "ok", 3, None, record(webhook_url=OTHER)])
def test_a_yes_without_our_record_is_uncertain(document: object) -> None:
    """No id, or another submission's record."""
    with pytest.raises(Uncertain):
        Hand(answer(document, 201)).run(image().submit(submission(IMAGE_PARAMS)))


def test_a_lost_picture_is_found_by_its_marker() -> None:
    """Among strangers, in the list without a filter; the original goes before a regenerated copy."""
    copy = record(name="copy", webhook_url=MARK, regen_source_id="rec-7")
    hand = Hand(answer([record(name="x", webhook_url=OTHER), copy, "junk", record(name="rec-7", webhook_url=MARK)]))
    found = hand.run(image().find(submission(IMAGE_PARAMS)))
    assert found is not None
    assert found.remote_id == "rec-7"
    assert (hand.requests[0].path, dict(hand.requests[0].query), hand.paid) == (PATH, {}, [])


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [record(webhook_url=OTHER, created_at=moment(5))],
        [record(created_at=moment(-3600))],
        [record(created_at=moment(5), image_prompt="beach")],
        [record(created_at=moment(5), webhook_url="http://[")],
    ],
)
def test_a_picture_that_nobody_has_was_never_ordered(rows: list[object]) -> None:
    """A whole list without it, and without a record that could be it."""
    assert Hand(answer(rows)).run(image().find(submission(IMAGE_PARAMS))) is None


@pytest.mark.parametrize(
    "document",
    [
        [record(created_at=moment(5))],
        [record(created_at="yesterday")],
        {"count": 900, "next": "https://x.test/?page=2", "results": []},
    ],
)
def test_a_record_that_could_be_ours_leaves_it_open(document: object) -> None:
    """Same inputs without a marker, or only part of the list: a person decides, nobody pays again."""
    with pytest.raises(Uncertain):
        Hand(answer(document)).run(image().find(submission(IMAGE_PARAMS)))


def test_a_whole_page_counts_as_a_list() -> None:
    """Other lists of this provider come as pages."""
    assert Hand(answer({"next": None, "results": [record(webhook_url=MARK)]})).run(image().find(submission(IMAGE_PARAMS)))


# -------------------------------------------------------------------------------------------------- second stage


def test_a_video_is_made_on_the_record_itself() -> None:
    """First a look, then the one paid request."""
    hand = Hand(answer(record("image_generated", webhook_url=OTHER)), answer(filmed("video_generating")))
    assert hand.run(video().submit(submission(VIDEO_PARAMS))).remote_id == "rec-1"
    assert [(r.method, r.path, r.paid) for r in hand.requests] == [
        ("GET", f"{PATH}rec-1/", False),
        ("POST", f"{PATH}rec-1/gen_video/", True),
    ]
    assert hand.paid[0].json == {"motion_style": "talking", "video_prompt": "smiles", "webhook_url": MARK}


@pytest.mark.parametrize("status", ["video_generated", "failed"])
def test_a_second_video_opens_a_new_record(status: str) -> None:
    """A record makes one video; the next one is a regeneration with an id of its own."""
    hand = Hand(answer(filmed(status)), answer(record("video_generating", "rec-2")))
    assert hand.run(video().submit(submission(VIDEO_PARAMS))).remote_id == "rec-2"
    assert hand.paid[0].path == f"{PATH}rec-1/regen_video/"


@pytest.mark.parametrize("status", ["image_generated", "video_generating", "video_generated", "failed"])
def test_our_own_lost_submission_is_adopted(status: str) -> None:
    """Our marker on the record: nothing more is paid."""
    hand = Hand(answer(filmed(status, webhook_url=MARK)))
    assert hand.run(video().submit(submission(VIDEO_PARAMS))).remote_id == "rec-1"
    assert hand.paid == []


@pytest.mark.parametrize(
    ("seen", "error"),
    [
        (answer(record("initializing")), Deferred),
        (answer(record("image_generating")), Deferred),
        (answer(filmed("video_generating")), Refused),
        (answer(record("failed", failed_reason="no product found")), Refused),
        (answer(record("rejected")), Transient),
        (answer({"detail": "Not found."}, 404), Refused),
        (answer(record("image_generated", "rec-9")), Transient),
        (answer([]), Transient),
        (raw(b"<html>", 502), Transient),
    ],
)
def test_a_record_that_is_not_ready_costs_nothing(seen: Response, error: type[Exception]) -> None:
    """Whatever the look shows, only a finished picture leads to the paid request."""
    hand = Hand(seen)
    with pytest.raises(error):
        hand.run(video().submit(submission(VIDEO_PARAMS)))
    assert hand.paid == []


@pytest.mark.parametrize(
    ("status", "name"), [("image_generated", "rec-2"), ("image_generated", ""), ("video_generated", "rec-1")]
)
def test_an_answer_about_the_wrong_record_is_uncertain(status: str, name: str) -> None:
    """gen_video keeps the id, regen_video makes a new one; anything else proves nothing."""
    with pytest.raises(Uncertain):
        Hand(answer(filmed(status)), answer(record("video_generating", name))).run(video().submit(submission(VIDEO_PARAMS)))


def test_a_lost_video_shows_its_marker() -> None:
    """First reading: the second stage gives its own webhook_url back."""
    found = Hand(answer(filmed("video_generating", webhook_url=MARK))).run(video().find(submission(VIDEO_PARAMS)))
    assert found is not None
    assert found.remote_id == "rec-1"


@pytest.mark.parametrize("seen", [answer(record("image_generated", webhook_url=OTHER)), answer({"detail": "Not found."}, 404)])
def test_a_record_without_a_video_proves_that_none_was_begun(seen: Response) -> None:
    """The status tells in either reading; a record that is gone makes the next submission refuse by itself."""
    assert Hand(seen).run(video().find(submission(VIDEO_PARAMS))) is None


def test_a_lost_regeneration_is_found_in_the_list() -> None:
    """Its record is new and bears our marker."""
    old = filmed("video_generated", updated_at=moment(-9000))
    new = record("video_generating", "rec-2", webhook_url=MARK, regen_source_id="rec-1")
    found = Hand(answer(old), answer([old, new])).run(video().find(submission(VIDEO_PARAMS)))
    assert found is not None
    assert found.remote_id == "rec-2"


@pytest.mark.parametrize("status", ["video_generating", "video_generated", "failed"])
def test_without_markers_the_status_and_the_times_tell(status: str) -> None:
    """Second reading: the record became a video record after we began, with our words."""
    ours = filmed(status, webhook_url=OTHER, updated_at=moment(20))
    found = Hand(answer(ours), answer([ours])).run(video().find(submission(VIDEO_PARAMS)))
    assert found is not None
    assert found.remote_id == "rec-1"


def test_an_old_video_and_no_new_record_prove_that_nothing_came() -> None:
    """The record had its video long before, and nothing was made from it since."""
    old = filmed("video_generated", updated_at=moment(-9000))
    assert Hand(answer(old), answer([old])).run(video().find(submission(VIDEO_PARAMS))) is None


@pytest.mark.parametrize(
    ("old", "started", "others"),
    [
        (filmed("video_generated", updated_at=moment(-30)), NOW, []),
        (filmed("video_generated", updated_at="?"), NOW, []),
        (filmed("video_generated", updated_at=moment(20)), None, []),
        ({**filmed("video_generated", updated_at=moment(20)), "video_prompt": "dances"}, NOW, []),
        (filmed("video_generating", updated_at=moment(-9000)), NOW, []),
        (
            filmed("video_generated", updated_at=moment(-9000)),
            NOW,
            [record("x", "r2", regen_source_id="rec-1", created_at=moment(3))],
        ),
        (
            filmed("video_generated", updated_at=moment(20)),
            NOW,
            [record("x", "r2", regen_source_id="rec-1", created_at=moment(3))],
        ),
        (filmed("odd_word", updated_at=moment(20)), NOW, []),
    ],
)
def test_any_doubt_about_a_video_goes_to_a_person(old: dict[str, object], started: float | None, others: list[object]) -> None:
    """Times too close, no times, other words, an unclaimed regeneration, an unknown status."""
    with pytest.raises(Uncertain):
        Hand(answer(old), answer([old, *others])).run(video().find(submission(VIDEO_PARAMS, started=started)))


# ------------------------------------------------------------------------------------------------------ observe


@pytest.mark.parametrize(
    ("document", "first", "second"),
    [
        (record("initializing"), Phase.QUEUED, Phase.QUEUED),
        (record("image_generating"), Phase.RUNNING, Phase.QUEUED),
        (record("image_generated", generated_photo_url=PHOTO), Phase.SUCCEEDED, Phase.QUEUED),
        (record("image_generated"), Phase.UNKNOWN, Phase.QUEUED),
        (filmed("video_generating"), Phase.SUCCEEDED, Phase.RUNNING),
        (filmed("video_generated", generated_video_url="https://cdn.test/v.mp4"), Phase.SUCCEEDED, Phase.SUCCEEDED),
        (filmed("video_generated"), Phase.SUCCEEDED, Phase.UNKNOWN),
        (filmed("failed"), Phase.SUCCEEDED, Phase.FAILED),
        (record("failed"), Phase.FAILED, Phase.FAILED),
        (record("rejected"), Phase.UNKNOWN, Phase.UNKNOWN),
        (record("video_generated", generated_video_url=7), Phase.UNKNOWN, Phase.UNKNOWN),
    ],
)
def test_a_status_means_something_else_for_each_stage(document: object, first: Phase, second: Phase) -> None:
    """A picture stays a success when the video after it fails."""
    assert Hand(answer([document])).run(image().observe(["rec-1"]))["rec-1"].phase is first
    assert Hand(answer([document])).run(video().observe(["rec-1"]))["rec-1"].phase is second


def test_results_have_their_names_and_kinds() -> None:
    """``image`` for the first stage, ``video`` for the second."""
    document = filmed("video_generated", generated_video_url="https://cdn.test/v.mp4")
    [still] = Hand(answer([document])).run(image().observe(["rec-1"]))["rec-1"].outputs
    [clip] = Hand(answer([document])).run(video().observe(["rec-1"]))["rec-1"].outputs
    assert (still.name, still.kind, still.url) == ("image", MediaKind.IMAGE, PHOTO)
    assert (clip.name, clip.kind, clip.url) == ("video", MediaKind.VIDEO, "https://cdn.test/v.mp4")


def test_a_hundred_records_are_one_request() -> None:
    """The answer may come in any order, with strangers in it; what it lacks is missing."""
    ids = [f"rec-{n}" for n in range(100)]
    hand = Hand(answer([record("initializing", name) for name in (*reversed(ids[1:]), "stranger")]))
    seen = hand.run(image().observe(ids))
    assert list(hand.requests[0].query.items()) == [("ids", ",".join(ids))]
    assert seen["rec-0"].phase is Phase.MISSING
    assert set(seen) == set(ids)
    assert all(seen[name].phase is Phase.QUEUED for name in ids[1:])


def test_one_bad_id_does_not_hide_the_others() -> None:
    """A refused list is asked for record by record."""
    hand = Hand(answer({"ids": ["bad uuid"]}, 400), answer(record("initializing", "a")), answer({"detail": "Not found."}, 404))
    seen = hand.run(image().observe(["a", "b"]))
    assert (seen["a"].phase, seen["b"].phase) == (Phase.QUEUED, Phase.MISSING)


# ------------------------------------------------------------------------------------------------ words of refusals


@pytest.mark.parametrize(
    ("document", "status", "error", "cause"),
    [
        ({"image_prompt": ["This field may not be blank."]}, 400, Refused, "bad_input"),
        (["Link must have at least one image or one video."], 400, Refused, "bad_input"),
        ({"detail": "Prompt violates our content policy."}, 400, Refused, "content_policy"),
        ({"detail": "You do not have enough... insufficient credits."}, 400, Halted, "credit"),
        ({"message": "Not enough API credits left"}, 403, Halted, "credit"),
        ({"detail": "Payment required"}, 402, Halted, "credit"),
        ({"detail": "no plan"}, 403, Halted, "permission"),
    ],
)
def test_refusals_are_read_by_their_words(document: object, status: int, error: type[Exception], cause: str) -> None:
    """The status for an empty account is not documented, so the words decide; the words stand in the message."""
    with pytest.raises(error) as caught:
        Hand(answer(document, status)).run(image().submit(submission(IMAGE_PARAMS)))
    assert getattr(caught.value, "cause", "") == cause
    assert getattr(caught.value, "hint", "")
    if isinstance(document, list):
        assert document[0] in str(caught.value)


def test_the_wait_is_read_from_header_or_words() -> None:
    """Django REST says it in both places."""
    throttled = {"detail": "Request was throttled. Expected available in 17 seconds."}
    with pytest.raises(Deferred) as caught:
        Hand(answer(throttled, 429)).run(image().submit(submission(IMAGE_PARAMS)))
    assert caught.value.retry_after == 17
    with pytest.raises(Deferred) as caught:
        Hand(answer(throttled, 429, retry_after="4")).run(image().submit(submission(IMAGE_PARAMS)))
    assert caught.value.retry_after == 4


# ----------------------------------------------------------------------------------------------- price and account


def test_prices_can_be_set() -> None:
    """The sources disagree, so both figures are arguments; the defaults are the higher ones."""
    assert (image().price({}, None), video().price({}, None)) == (2.0, 10.0)
    cheap = Creatify(CreatifyCredentials("i", "k"), prices=CreatifyPrices(1, 3)).operations
    assert (cheap["product-image"].price({}, None), cheap["product-video"].price({}, None)) == (1, 3)
    assert image().slots({}) == video().slots({}) == 1


@pytest.mark.parametrize(("ratio", "aspect"), [("9x16", 9 / 16), ("16x9", 16 / 9), ("1x1", 1.0), (None, None)])
def test_the_shape_that_was_asked_for_is_expected(ratio: str | None, aspect: float | None) -> None:
    """Width over height; nothing when nothing was asked."""
    assert image().expected({"aspect_ratio": ratio}, None).aspect == aspect
    assert video().expected({"aspect_ratio": ratio}, None).aspect is None


def test_the_account() -> None:
    """Two headers, no renewal, and the balance as a bare field."""
    adapter = creatify()
    assert dict(Hand().run(adapter.authorise(NOW)).headers) == {"X-API-ID": "id-1", "X-API-KEY": "creatify-secret"}
    assert not adapter.renewable(Halted("x", code="HTTP 401"))
    hand = Hand(answer({"remaining_credits": 480}))
    assert hand.run(adapter.balance(NOW)) == 480
    assert hand.requests[0].path == "/api/remaining_credits/"
    with pytest.raises(Halted):
        Hand().run(Creatify(CreatifyCredentials("id")).authorise(NOW))


def test_the_marker_base_can_be_set() -> None:
    """For those who want the marker to point somewhere else."""
    adapter = Creatify(CreatifyCredentials("i", "k"), marker_base="https://marker.test/x")
    hand = Hand(answer(record()))
    hand.run(adapter.operations["product-image"].submit(submission(IMAGE_PARAMS)))
    assert isinstance(hand.paid[0].json, dict)
    assert hand.paid[0].json["webhook_url"] == f"https://marker.test/x?callsheet={KEY}"
