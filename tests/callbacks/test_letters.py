"""What the four adapters read in callbacks: the documented shapes, and everything that is not."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from runner.errors import Refused
from runner.model import Phase
from runner.providers import connect, provider_names
from runner.providers.akool import Akool, AkoolCredentials
from runner.seams import CallbackNotice, Provider

NOW = 1_760_000_191.5
LINK = "https://cdn.example.test/v.mp4"
CREDENTIALS = {
    "kling": {"api_key": "k"},
    "creatify": {"api_id": "i", "api_key": "k"},
    "topview": {"uid": "u-1", "api_key": "k"},
    "akool": {"client_id": "AKDt8rWEczpYPzCGur2xE=", "client_secret": "nmwUjMAK0PJpl0MOiXLOOOwZ"},
}


def adapter(name: str) -> Provider:
    """The provider's adapter."""
    return connect(name, CREDENTIALS[name])


def read(name: str, body: object, **headers: str) -> CallbackNotice:
    """What the adapter makes of a body, given as bytes or as a JSON document."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    notice = adapter(name).read_callback(headers, raw, NOW)
    assert notice is not None
    return notice


@dataclass
class Sealer:
    """Akool's side, written from its documents alone."""

    client: str = CREDENTIALS["akool"]["client_id"]
    secret: str = CREDENTIALS["akool"]["client_secret"]
    nonce: str = "8841"
    stamp: object = int(NOW * 1000)

    def encrypted(self, plain: bytes) -> str:
        """AES-CBC with PKCS#7."""
        padding = 16 - len(plain) % 16
        cipher = Cipher(algorithms.AES(self.secret.encode()), modes.CBC(self.client.encode()[:16].ljust(16, b"\0")))
        encryptor = cipher.encryptor()
        return base64.b64encode(encryptor.update(plain + bytes([padding] * padding)) + encryptor.finalize()).decode()

    def letter(self, content: object, **changes: object) -> bytes:
        """A whole body; ``changes`` are made after the signature."""
        hidden = self.encrypted(content if isinstance(content, bytes) else json.dumps(content).encode())
        return self.signed(hidden, **changes)

    def signed(self, hidden: str, **changes: object) -> bytes:
        """The same with the sealed part as it is."""
        parts = sorted([self.client, str(self.stamp), self.nonce, hidden])
        signature = hashlib.sha1("".join(parts).encode()).hexdigest()  # noqa: S324  # the provider's choice
        body = {"signature": signature, "dataEncrypt": hidden, "timestamp": self.stamp, "nonce": self.nonce}
        return json.dumps({**body, **changes}).encode()


DONE = {"_id": "64f1", "status": 3, "type": "talking photo", "url": LINK}


# ------------------------------------------------------------------------------------------------------- Kling


@pytest.mark.parametrize(
    ("word", "phase"),
    [("submitted", Phase.QUEUED), ("processing", Phase.RUNNING), ("failed", Phase.FAILED), ("resting", Phase.UNKNOWN)],
)
def test_kling_tells_every_change(word: str, phase: Phase) -> None:
    """A flat task, at any of its statuses; a hint, because nothing is signed."""
    notice = read("kling", {"task_id": "830012345678901", "task_status": word, "task_status_msg": "because"})
    assert notice.observation is not None
    assert (notice.remote_id, notice.observation.phase, notice.authenticated) == ("830012345678901", phase, False)
    assert notice.answer == {}


def test_kling_tells_results() -> None:
    """The documented example of a finished task."""
    videos = [{"id": "v-551", "url": LINK, "duration": "12.04"}]
    body = {"task_id": "8", "task_status": "succeed", "final_unit_deduction": "4.8", "task_result": {"videos": videos}}
    seen = read("kling", body).observation
    assert seen is not None
    assert (seen.phase, seen.credits, [output.url for output in seen.outputs]) == (Phase.SUCCEEDED, 4.8, [LINK])


# ---------------------------------------------------------------------------------------------------- Creatify


@pytest.mark.parametrize(
    ("record", "phase"),
    [
        ({"status": "image_generated", "generated_photo_url": LINK}, Phase.SUCCEEDED),
        ({"status": "video_generated", "generated_photo_url": LINK, "generated_video_url": LINK}, Phase.SUCCEEDED),
        ({"status": "video_generating", "generated_photo_url": LINK}, Phase.RUNNING),
        ({"status": "failed", "failed_reason": "no"}, Phase.FAILED),
        ({"status": "failed", "failed_reason": "no", "generated_photo_url": LINK}, Phase.FAILED),
        ({"status": "in_queue"}, Phase.UNKNOWN),
        ({}, Phase.UNKNOWN),
    ],
)
def test_creatify_tells_the_end_of_a_stage(record: dict[str, Any], phase: Phase) -> None:
    """The record's fields, flat: which stage ended shows in the status."""
    notice = read("creatify", {"id": "2f9a", **record})
    assert notice.observation is not None
    assert (notice.remote_id, notice.observation.phase, notice.authenticated) == ("2f9a", phase, False)


# ----------------------------------------------------------------------------------------------------- Topview


@pytest.mark.parametrize("as_text", [False, True])
def test_topview_tells_the_end_with_its_result(as_text: bool) -> None:
    """The documented example, its result as an object or as the text of one."""
    videos = [{"originVideo": {"filePath": LINK, "width": 1080, "height": 1920}}]
    result: object = {"taskId": "a9", "status": "success", "videos": videos, "costCredit": 1.0}
    letter = {"uuid": "n-77", "taskId": "a9", "status": "success", "errorMsg": None}
    notice = read("topview", {**letter, "result": json.dumps(result) if as_text else result})
    seen = notice.observation
    assert seen is not None
    assert (seen.phase, seen.credits, seen.outputs[0].width) == (Phase.SUCCEEDED, 1.0, 1080)
    echo = {"uuid": "n-77", "topviewUid": "u-1", "result": "success"}
    assert notice.answer == {"code": "200", "message": "Success", "result": echo}


def test_topview_may_leave_the_result_out() -> None:
    """A failure with nothing inside: the envelope tells."""
    seen = read(
        "topview", {"uuid": "n", "taskId": "a9", "status": "fail", "errorMsg": "face not found", "result": None}
    ).observation
    assert seen is not None
    assert (seen.phase, seen.reason) == (Phase.FAILED, "face not found")


def test_topviews_uuid_is_given_back_only_when_it_is_one() -> None:
    """The one thing that is repeated is bounded and plain."""
    for uuid in ("x" * 5000, "a b", "\u202e", "\n", 7.5, {"a": 1}, None):
        notice = read("topview", {"uuid": uuid, "taskId": "a9", "status": "fail"})
        assert notice.answer["result"] == {"uuid": "", "topviewUid": "u-1", "result": "success"}


def test_topview_must_name_one_task() -> None:
    """Envelope and result about different tasks: not used."""
    with pytest.raises(Refused):
        read("topview", {"uuid": "n", "taskId": "a", "status": "success", "result": {"taskId": "b", "status": "success"}})


# ------------------------------------------------------------------------------------------------------- Akool


@pytest.mark.parametrize("secret", ["s" * 16, "s" * 24, "s" * 32])
@pytest.mark.parametrize("client", ["short", "exactly-16-chars", "longer-than-sixteen-characters"])
def test_akools_seal_is_checked_and_opened(client: str, secret: str) -> None:
    """Signed and encrypted as documented, with keys of each size."""
    akool = connect("akool", {"client_id": client, "client_secret": secret})
    notice = akool.read_callback({}, Sealer(client, secret).letter(DONE), NOW)
    assert notice is not None
    assert notice.observation is not None
    assert (notice.remote_id, notice.authenticated, notice.observation.phase) == ("64f1", True, Phase.SUCCEEDED)
    assert [output.url for output in notice.observation.outputs] == [LINK]


@pytest.mark.parametrize(("number", "phase"), [(2, Phase.RUNNING), (4, Phase.FAILED), (9, Phase.UNKNOWN), (3, Phase.UNKNOWN)])
def test_akools_other_statuses(number: int, phase: Phase) -> None:
    """At work, failed, undocumented, and completed without a link."""
    seen = read("akool", Sealer().letter({"_id": "64f1", "status": number})).observation
    assert seen is not None
    assert seen.phase is phase


FORGERIES: dict[str, bytes] = {
    "signature of another": Sealer().letter(DONE, signature="0" * 40),
    "no signature": Sealer().letter(DONE, signature=""),
    "signature of a wrong type": Sealer().letter(DONE, signature=7),
    "signature in another script": Sealer().letter(DONE, signature="ü" * 40),
    "other content": Sealer().letter(DONE, dataEncrypt=Sealer().encrypted(b'{"_id":"other","status":3}')),
    "other time": Sealer().letter(DONE, timestamp=int(NOW * 1000) + 1),
    "other nonce": Sealer().letter(DONE, nonce="8842"),
    "other secret": Sealer(secret="another-secret-of-24-byt").letter(DONE),
    "other client": Sealer(client="another-client").letter(DONE),
    "in the clear": json.dumps(DONE).encode(),
    "signed, not encrypted": Sealer().signed(base64.b64encode(json.dumps(DONE).encode()).decode()),
    "signed, no base64": Sealer().signed("%%%%"),
    "signed, empty": Sealer().signed(""),
    "signed, torn": Sealer().signed(Sealer().encrypted(b'{"_id":"x"}')[:-4]),
    "signed, no JSON": Sealer().letter(b"hello"),
    "signed, a list": Sealer().letter([DONE]),
    "signed, no id": Sealer().letter({"status": 3, "url": LINK}),
    "signed, a strange id": Sealer().letter({"_id": "../../x y", "status": 3, "url": LINK}),
}


@pytest.mark.parametrize("body", FORGERIES.values(), ids=FORGERIES)
def test_akools_forged_letters_are_refused(body: bytes) -> None:
    """Whatever does not fit together is not used, and the message repeats nothing of it."""
    with pytest.raises(Refused) as caught:
        read("akool", body)
    assert "64f1" not in caught.value.message
    assert CREDENTIALS["akool"]["client_secret"] not in caught.value.message


def test_akools_letter_counts_as_signed_once() -> None:
    """The same letter again (the provider repeats unanswered ones; anybody could) is a hint; another letter is signed again."""
    akool = adapter("akool")
    notices = [akool.read_callback({}, body, NOW) for body in [Sealer().letter(DONE)] * 3 + [Sealer(nonce="1").letter(DONE)]]
    assert [notice.authenticated for notice in notices if notice] == [True, False, False, True]
    assert {notice.remote_id for notice in notices if notice} == {"64f1"}


@pytest.mark.parametrize(
    ("stamp", "fresh"),
    [(int((NOW - 890) * 1000), True), (int((NOW + 890) * 1000), True), (int((NOW - 910) * 1000), False), (int((NOW + 910) * 1000), False),
     (0, False), (10**30, False), ("1760000191456", True), ("soon", False), (True, None), (None, None), (1.5, None)],
)  # fmt: skip
def test_akools_old_letters_are_hints(stamp: object, fresh: bool | None) -> None:
    """Outside fifteen minutes it is no proof any more; without a readable time it is no letter (None)."""
    body = Sealer(stamp=stamp).letter(DONE)
    if fresh is None:
        with pytest.raises(Refused):
            read("akool", body)
    else:
        assert read("akool", body).authenticated is fresh


def test_akools_window_can_be_set() -> None:
    """A second is enough for who wants that."""
    akool = Akool(AkoolCredentials(**CREDENTIALS["akool"]), replay_seconds=1.0)
    notice = akool.read_callback({}, Sealer().letter(DONE), NOW + 5)
    assert notice is not None
    assert not notice.authenticated


def test_akools_remembered_seals_are_bounded() -> None:
    """Thousands of letters do not fill the memory."""
    akool = Akool(AkoolCredentials(**CREDENTIALS["akool"]))
    hidden = Sealer().encrypted(json.dumps(DONE).encode())
    for number in range(4200):
        akool.read_callback({}, Sealer(nonce=str(number)).signed(hidden), NOW)
    assert len(akool._seals) == 4096  # there is no other way to see it


def test_an_akool_account_with_a_key_alone_cannot_read() -> None:
    """Something happened, nobody knows to what: the provider can still be asked."""
    akool = connect("akool", {"api_key": "k"})
    notice = akool.read_callback({}, Sealer().letter(DONE), NOW)
    assert notice == CallbackNotice("")
    with pytest.raises(Refused):
        akool.read_callback({}, json.dumps(DONE).encode(), NOW)


# ------------------------------------------------------------------------------------------------------ anything

WILD: list[bytes] = [
    b"", b" ", b"null", b"true", b"0", b'"text"', b"[]", b"{}", b"{", b"\x00" * 50, b"\xff\xfe{}", b"\xef\xbb\xbf{}", b"[" * 100_000,
    b'{"a":' * 50_000, b"<html></html>", b"task_id=1&task_status=succeed", b'{"task_id":NaN}', b"9" * 10_000,
]  # fmt: skip
NAMES = ("task_id", "task_status", "task_result", "id", "status", "generated_photo_url", "uuid", "taskId", "result", "errorMsg", "signature",
         "dataEncrypt", "timestamp", "nonce", "task_info", "failed_reason", "final_unit_deduction", "videos")  # fmt: skip
VALUES: list[object] = [
    None, True, 0, -1, 1e308, 10**400, "", "x" * 10_000, "\u0000", "\ud800", "javascript:alert(1)", "../..", [], [[]], {}, {"videos": 7},
    {"videos": [None, 1, "x", {"url": {}}, {"url": "file:///etc/passwd"}]}, {"taskId": []}, '{"taskId":', "[]",
]  # fmt: skip


@pytest.mark.parametrize("name", provider_names())
def test_no_body_does_harm(name: str) -> None:
    """Rubbish, and every documented field with every wrong value: a notice that can be used, or ``Refused``; never anything else."""
    documents = [{field: value} for field in NAMES for value in VALUES]
    whole = {"task_id": "1", "task_status": "succeed", "id": "1", "status": "success", "taskId": "1", "uuid": "1"}
    documents += [{**whole, field: value} for field in NAMES for value in VALUES]
    bodies = WILD + [json.dumps(document).encode() for document in documents]
    provider = adapter(name)
    longest = 0
    for body in bodies:
        for now in (NOW, 0.0, -1e18):
            try:
                notice = provider.read_callback({"topview-uid": "\x00"}, body, now)
            except Refused as error:
                longest = max(longest, len(error.message))
                continue
            assert notice is not None
            assert not notice.authenticated
            assert len(notice.remote_id) <= 200
            json.dumps(notice.answer)
            for output in notice.observation.outputs if notice.observation else ():
                assert output.url.startswith(("http://", "https://"))
    assert 0 < longest < 200
