"""Every documented code of every provider, with the class that its documents give it; and answers without a code."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from provider_hand import ADAPTERS, SUBMISSIONS, Hand, Stubborn, answer, raw

from runner.errors import Deferred, Halted, ProviderError, Refused, Transient, Uncertain
from runner.model import ErrorClass
from runner.providers import operation_facts
from runner.providers.verdicts import Judge, generation_cause, sendable
from runner.seams import Operation, Request, Response

D, R, H, T, U = Deferred, Refused, Halted, Transient, Uncertain

DOCUMENTED: Mapping[str, Mapping[str, type[ProviderError]]] = {
    "kling": {
        **dict.fromkeys(("1000", "1001", "1002", "1003", "1004", "1100", "1101", "1102", "1103", "1304"), H),
        **dict.fromkeys(("1200", "1201", "1202", "1203", "1300", "1301"), R),
        **dict.fromkeys(("1302", "1303"), D),
        **dict.fromkeys(("5000", "5001", "5002"), U),
    },
    "topview": {
        **dict.fromkeys(("401", "4002", "4006", "4100"), H),
        **dict.fromkeys(("4000", "4001", "4003", "4004", "4005", "6001"), R),
        **{str(code): R for code in range(4012, 4023)},
        **dict.fromkeys(("4007", "5003"), D),
        **dict.fromkeys(("5000", "5001", "5004", "5005"), U),
    },
    "akool": {
        **dict.fromkeys(("1006", "1009", "1101", "1102", "1103", "1104", "1109", "1200", "1213", "1221"), H),
        **dict.fromkeys(("1003", "1007", "1008"), R),
        "1005": D,
        **dict.fromkeys(("1015", "1201"), T),
    },
    "creatify": {
        **dict.fromkeys(("HTTP 401", "HTTP 402", "HTTP 403"), H),
        **dict.fromkeys(("HTTP 400", "HTTP 404"), R),
        "HTTP 429": D,
        **dict.fromkeys(("HTTP 500", "HTTP 502", "HTTP 503", "HTTP 504"), U),
    },
}
CASES = [(name, code, kind) for name, codes in DOCUMENTED.items() for code, kind in codes.items()]
OPERATIONS = tuple(SUBMISSIONS)
ABSENT: Mapping[str, frozenset[str]] = {
    "kling": frozenset({"1200", "1201", "1203"}),
    "topview": frozenset({"4004"}),
    "akool": frozenset({"1008"}),
    "creatify": frozenset({"HTTP 400", "HTTP 404"}),
}
"""Answers to a question about one task that mean: there is none."""


def operation(full_name: str) -> Operation:
    """A fresh operation by its full name."""
    provider, _, name = full_name.partition("/")
    return ADAPTERS[provider]().operations[name]


def coded(provider: str, code: str, words: str = "the provider's words") -> Response:
    """An answer with that code, as that provider sends it."""
    match provider:
        case "kling":
            return answer({"code": int(code), "message": words, "request_id": "r"}, 429)
        case "topview":
            return answer({"code": code, "message": words})
        case "akool":
            return answer({"code": int(code), "msg": words})
        case _:
            return answer({"detail": words}, int(code.removeprefix("HTTP ")))


class Refusing:
    """Lets the free questions of a submission pass and answers the paid one as told; the look-up afterwards finds nothing."""

    def __init__(self, reply: Response) -> None:
        self.reply = reply

    def __call__(self, request: Request) -> Response:
        """The answer to one request."""
        if request.paid:
            return self.reply
        if request.path.startswith("/api/product_to_videos/"):
            return answer({"id": "rec-1", "status": "image_generated", "webhook_url": None})
        return answer({"code": 1203, "message": "no such task"}, 404)


def test_the_walk_covers_every_row() -> None:
    """The tables hold the documented codes, each once, and nothing else."""
    for name, make in ADAPTERS.items():
        codes = [row.code for row in make().facts.codes]
        assert len(codes) == len(set(codes))
        assert set(codes) == set(DOCUMENTED[name])
        assert all(row.meaning and row.cause and row.action and row.source for row in make().facts.codes)


@pytest.mark.parametrize(("provider", "code", "kind"), CASES)
def test_a_code_on_a_submission_has_its_class(provider: str, code: str, kind: type[ProviderError]) -> None:
    """By the provider's own table, with its code and words, a cause and the next thing to do."""
    for name in OPERATIONS:
        if name.startswith(f"{provider}/"):
            with pytest.raises(ProviderError) as caught:
                Stubborn(Refusing(coded(provider, code))).run(operation(name).submit(SUBMISSIONS[name]))
            error = caught.value
            assert type(error) is kind
            assert (error.code, bool(error.cause), bool(error.hint)) == (code, True, True)
            assert "the provider's words" in str(error)


@pytest.mark.parametrize(("provider", "code", "kind"), CASES)
def test_a_code_on_a_question_is_never_uncertain(provider: str, code: str, kind: type[ProviderError]) -> None:
    """Asking costs nothing: what would be uncertain is transient, and a task that is not there is no error."""
    name = next(name for name in OPERATIONS if name.startswith(f"{provider}/"))
    flow = operation(name).observe(["rec-1"])
    if code in ABSENT[provider]:
        assert Stubborn(lambda _: coded(provider, code)).run(flow)["rec-1"].phase.value == "missing"
        return
    with pytest.raises(ProviderError) as caught:
        Stubborn(lambda _: coded(provider, code)).run(flow)
    assert type(caught.value) is (Transient if kind is Uncertain else kind)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (raw(b"<html>Bad gateway</html>", 502), Uncertain),
        (raw(b"", 500), Uncertain),
        (raw(b"<html/>", 503), Uncertain),
        (raw(b"<html/>", 504), Uncertain),
        (raw(b"", 408), Uncertain),
        (raw(b"", 302), Uncertain),
        (raw(b"", 103), Uncertain),
        (raw(b"", 301), Halted),
        (raw(b"", 308), Halted),
        (raw(b"slow down", 429), Deferred),
        (raw(b"", 401), Halted),
        (raw(b"", 402), Halted),
        (raw(b"", 403), Halted),
        (raw(b"", 413), Refused),
        (raw(b"", 405), Refused),
        (raw(b"OK", 200), Uncertain),
        (raw(b"", 200), Uncertain),
        (raw(b'{"torn": ', 200), Uncertain),
        (raw(b"\xff\xfe\x00", 200), Uncertain),
        (raw(b"[" * 100_000, 200), Uncertain),
    ],
)
def test_a_paid_answer_without_a_code_is_judged_by_its_status(name: str, reply: Response, kind: type[ProviderError]) -> None:
    """Only a status that proves a refusal is one."""
    with pytest.raises(ProviderError) as caught:
        Stubborn(Refusing(reply)).run(operation(name).submit(SUBMISSIONS[name]))
    assert type(caught.value) is kind
    assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "status", "code", "kind"),
    [
        ("kling/avatar", 400, 1299, Refused),
        ("kling/avatar", 429, 1399, Deferred),
        ("kling/avatar", 401, 1099, Halted),
        ("kling/avatar", 500, 5999, Uncertain),
        ("kling/avatar", 200, 1299, Uncertain),
        ("kling/avatar", 200, -1, Uncertain),
        ("topview/image-to-video", 200, "4999", Refused),
        ("topview/image-to-video", 200, "5999", Uncertain),
        ("topview/image-to-video", 200, "500", Uncertain),
        ("topview/image-to-video", 200, "403", Halted),
        ("topview/image-to-video", 200, "429", Deferred),
        ("topview/image-to-video", 200, "odd", Uncertain),
        ("topview/image-to-video", 502, "odd", Uncertain),
        ("akool/talking-photo", 200, 1999, Refused),
        ("akool/talking-photo", 502, 1999, Uncertain),
        ("akool/talking-photo", 429, 1999, Deferred),
    ],
)
def test_an_undocumented_code(name: str, status: int, code: object, kind: type[ProviderError]) -> None:
    """The HTTP status decides; inside HTTP 200 only a family that the documents call refused is a refusal."""
    with pytest.raises(ProviderError, match="undocumented") as caught:
        Stubborn(Refusing(answer({"code": code, "message": "x", "msg": "x"}, status))).run(
            operation(name).submit(SUBMISSIONS[name])
        )
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "0.5"}, 0.5),
        ({"retry_after": "999999"}, 3600.0),
        ({"retry_after": "-3"}, None),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "Wed, 21 Oct 2015 07:28:30 GMT", "date": "Wed, 21 Oct 2015 07:28:00 GMT"}, 30.0),
        ({"retry_after": "Wed, 21 Oct 2015 07:28:00 GMT", "date": "Wed, 21 Oct 2015 07:28:30 GMT"}, 0.0),
        ({"retry_after": "Wed, 21 Oct 2015 07:28:30 GMT"}, None),
        ({}, None),
    ],
)
@pytest.mark.parametrize("name", ["kling/avatar", "creatify/product-image"])
def test_a_named_wait_is_passed_on(name: str, headers: dict[str, str], seconds: float | None) -> None:
    """Seconds or a date, measured against the answer's own; at most an hour."""
    document = {"code": 1302, "message": "x"} if name.startswith("kling") else {"detail": "x"}
    with pytest.raises(Deferred) as caught:
        Hand(answer(document, 429, **headers)).run(operation(name).submit(SUBMISSIONS[name]))
    assert caught.value.retry_after == seconds


def test_the_providers_words_are_cleaned_and_cut() -> None:
    """One line, no control or invisible characters, at most 300 characters of them."""
    dirty = "bad\x1b[31m \u202eimage\n\n" + "x" * 5000
    with pytest.raises(Refused) as caught:
        Stubborn(Refusing(coded("akool", "1003", dirty))).run(
            operation("akool/talking-photo").submit(SUBMISSIONS["akool/talking-photo"])
        )
    text = str(caught.value)
    assert text.isprintable()
    assert "bad [31m image x" in text
    assert len(text) < 400


def test_an_answer_that_repeats_our_secret_does_not_spread_it() -> None:
    """Gateways like to quote what they were sent."""
    for name, secret in {"kling/avatar": "secret-key-that-is-long-enough-0001", "akool/talking-photo": "akool-secret"}.items():
        reply = coded(name.split("/", maxsplit=1)[0], "1102", f"bad credentials: {secret}!")
        with pytest.raises(Halted) as caught:
            Stubborn(Refusing(reply)).run(operation(name).submit(SUBMISSIONS[name]))
        assert secret not in str(caught.value)
        assert "[secret]" in str(caught.value)


def test_a_judge_shows_no_secret() -> None:
    """Nor does any adapter's credentials object."""
    assert "hidden" not in repr(Judge("X", {}, secrets=("hidden-secret",)))


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("Violates our Policy", "content_policy"),
        ("NSFW", "content_policy"),
        ("no face", "generation_failed"),
        ("", "generation_failed"),
    ],
)
def test_failures_are_sorted_by_their_words(reason: str, cause: str) -> None:
    """No provider sends a code with a failed task."""
    assert generation_cause(reason) == cause


@pytest.mark.parametrize("value", ["", "  ", "a\nb", "schlüssel", "a\x00b"])
def test_a_credential_that_cannot_stand_in_a_header_is_refused(value: str) -> None:
    """Before anything is sent, without showing it."""
    with pytest.raises(Halted) as caught:
        sendable(value, "API key", "X")
    assert value.strip() == "" or value not in str(caught.value)


def test_every_operation_is_walked() -> None:
    """A new operation joins these tests by its submission."""
    assert set(SUBMISSIONS) == set(operation_facts())
    assert {row.error_class for make in ADAPTERS.values() for row in make().facts.codes} == set(ErrorClass)
