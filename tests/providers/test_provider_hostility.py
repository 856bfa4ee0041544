"""Whatever an answer holds, a flow ends in a value or in an error of ours: never in an accident."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from provider_hand import ADAPTERS, KEY, NOW, SUBMISSIONS, Stubborn, asset, submission

from runner.errors import CallsheetError, Refused
from runner.model import Accepted, Observation
from runner.providers.replies import at, cleaned, code_at, document, id_at, moment_at, number_at, rows_at, url_at, words_of
from runner.seams import Flow, Response

ID = "rec-1"
KNOWN_KEYS = [
    "code",
    "data",
    "message",
    "msg",
    "result",
    "id",
    "_id",
    "task_id",
    "taskId",
    "task_status",
    "task_info",
    "external_task_id",
    "task_result",
    "videos",
    "url",
    "duration",
    "status",
    "taskStatus",
    "errorMsg",
    "originVideo",
    "filePath",
    "costCredit",
    "webhook_url",
    "generated_photo_url",
    "generated_video_url",
    "failed_reason",
    "updated_at",
    "created_at",
    "regen_source_id",
    "video_status",
    "video",
    "error_code",
    "token",
    "remaining_credits",
    "remainCredit",
    "credit",
    "results",
    "next",
    "fileId",
    "uploadUrl",
    "resource_pack_subscribe_infos",
    "remaining_quantity",
    "resource_pack_name",
    "final_unit_deduction",
]
KNOWN_WORDS = (
    "",
    ID,
    KEY,
    "200",
    "succeed",
    "success",
    "failed",
    "fail",
    "image_generated",
    "video_generated",
    "video_generating",
    "online",
    f"https://callsheet.invalid/?callsheet={KEY}",
    "https://cdn.test/v.mp4",
    "http://[",
    "2026-01-05T10:00:00Z",
    "0001-01-01T00:00:00+23:59",
    "nan",
    "1e999",
    "\u202e\x00",
)
scalars = (
    st.none()
    | st.booleans()
    | st.sampled_from((0, 1, 3, 4, 200, 1000, 1008, 1201, 1203, -1, 10**40))
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(KNOWN_WORDS)
    | st.text(max_size=12)
)
documents = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KNOWN_KEYS) | st.text(max_size=5), inner, max_size=6)
    ),
    max_leaves=25,
)
envelopes = st.builds(
    lambda code, inner: {"code": code, "data": inner, "result": inner}, st.sampled_from((0, "200", 1000)), documents
)
bodies = (documents | envelopes).map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40)
replies = st.builds(
    Response,
    st.sampled_from((200, 200, 200, 201, 204, 301, 400, 401, 404, 429, 500, 503, 999)),
    st.dictionaries(st.sampled_from(("retry-after", "date")), st.text(max_size=30), max_size=2),
    bodies,
)

UPLOADING = submission({"duration": 5, "mode": "pro"}, media={"image": asset()})


def flows() -> list[tuple[str, Callable[[], Flow[object]]]]:
    """Every flow of every adapter, by a name for the failure message."""
    found: list[tuple[str, Callable[[], Flow[object]]]] = []
    for name, order in SUBMISSIONS.items():
        provider, _, short = name.partition("/")
        one = ADAPTERS[provider]().operations[short]
        found.append((f"{name} submit", partial(one.submit, order)))
        found.append((f"{name} observe", partial(one.observe, [ID])))
        found.append((f"{name} observe many", partial(one.observe, [ID, "b", "c", "d", "e"])))
        found.append((f"{name} find", partial(one.find, order)))
    uploader = ADAPTERS["topview"]().operations["image-to-video"]
    found.append(("topview upload", partial(uploader.submit, UPLOADING)))
    for provider, make in ADAPTERS.items():
        found.append((f"{provider} authorise", partial(make().authorise, NOW)))
        found.append((f"{provider} balance", partial(make().balance, NOW)))
    return found


FLOWS = flows()


class Reel:
    """Gives the drawn answers one after another, over and over."""

    def __init__(self, answers: Sequence[Response]) -> None:
        self._answers = answers
        self._next = 0

    def __call__(self, _request: object) -> Response:
        """The next answer."""
        self._next += 1
        return self._answers[(self._next - 1) % len(self._answers)]


@pytest.mark.parametrize(("name", "flow"), FLOWS, ids=[name for name, _ in FLOWS])
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(answers=st.lists(replies, min_size=1, max_size=4))
def test_any_answer_ends_in_a_value_or_in_an_error_of_ours(
    name: str, flow: Callable[[], Flow[object]], answers: list[Response]
) -> None:
    """No KeyError, no TypeError, no endless asking; and what comes out has the promised shape."""
    try:
        value = Stubborn(Reel(answers)).run(flow())
    except CallsheetError as error:
        assert str(error).isprintable()  # noqa: PT017 -- either outcome is fine, both are checked
        return
    if "observe" in name:
        assert isinstance(value, Mapping)
        assert ID in value
        assert all(isinstance(one, Observation) and one.remote_id == key for key, one in value.items())
    elif "submit" in name or "upload" in name:
        assert isinstance(value, Accepted)
        assert value.remote_id
    elif "find" in name:
        assert value is None or isinstance(value, Accepted)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(reply=replies)
def test_the_getters_never_raise(reply: Response) -> None:
    """Wherever they are pointed."""
    node = document(reply)
    for path in ((), ("data",), ("data", 0), ("data", -1), (0,), ("result", "videos", 0, "url")):
        assert isinstance(id_at(node, *path), str)
        assert isinstance(url_at(node, *path), str)
        assert isinstance(code_at(node, *path), str)
        number, moment, rows = number_at(node, *path), moment_at(node, *path), rows_at(node, *path)
        assert number is None or number >= 0
        assert moment is None or isinstance(moment, float)
        assert rows is None or isinstance(at(node, *path), list)
    assert len(words_of(reply)) <= 300


@given(text=st.text())
def test_cleaned_text_is_one_short_printable_line(text: str) -> None:
    """Terminals and logs can show it as it is."""
    line = cleaned(text)
    assert line.isprintable()
    assert len(line) <= 300


@pytest.mark.parametrize("value", ["", ".", "..", "a b", "a\n", "ü", "x" * 201, None, True, 1.5, ["a"], {}])
def test_an_id_that_cannot_be_kept_is_no_id(value: object) -> None:
    """It goes into paths and ledgers."""
    assert id_at(document(Response(200, {}, json.dumps({"id": value}).encode())), "id") == ""


def test_a_refusal_of_ours_is_one_for_the_driver_too() -> None:
    """Errors raised before anything is sent are provider errors, so the driver writes them down."""
    with pytest.raises(Refused):
        Stubborn(Reel([Response(200, {}, b"{}")])).run(
            ADAPTERS["akool"]().operations["talking-photo"].submit(submission({}, media={"audio_url": asset()}))
        )
