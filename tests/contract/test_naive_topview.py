"""Topview's simulator as a stranger's client meets it: upload in three steps, submit, then ``result`` (seed-002, T-22, SKILL)."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from contract_media import picture
from contract_receiver import Receiver
from contract_stage import Stage
from contract_strangers import PLACES, download, is_picture, plays, poll, session

ANYWHERE = pytest.mark.parametrize("place", PLACES)
KEYS = {"Authorization": "Bearer simulated-topview-key", "Topview_Uid": "simulated-uid"}
V1 = "/v1/common_task/image2video"
V2 = "/v2/common_task/image2video/task"


def good(reply: httpx.Response) -> Any:  # noqa: ANN401 -- whatever the provider sends
    """The official client's way: first the status, then the code, which is text."""
    reply.raise_for_status()
    answer = reply.json()
    assert answer["code"] == "200", answer
    return answer["result"]


def put_plain(url: str, data: bytes) -> int:
    """As the official script: urllib, no Content-Type of its own choosing."""
    request = urllib.request.Request(url, data=data, method="PUT", headers={"Content-Type": ""})  # noqa: S310 -- loopback
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as reply:
        return int(reply.status)


def put_typed(url: str, data: bytes) -> int:
    """With the picture's type."""
    return httpx.put(url, content=data, headers={"Content-Type": "image/png"}, trust_env=False).status_code


def put_chunked(url: str, data: bytes) -> int:
    """Streamed, without a length."""

    def pieces() -> Iterator[bytes]:
        yield data[:100]
        yield data[100:]

    return httpx.put(url, content=pieces(), trust_env=False).status_code


def uploaded(client: httpx.Client, path: Path, put: Any = put_typed) -> str:  # noqa: ANN401 -- one of the above
    """Credential, bytes, check."""
    credential = good(client.get("/v1/upload/credential", params={"format": "png"}))
    assert good(client.get("/v1/upload/check", params={"fileId": credential["fileId"]})) is False
    assert put(credential["uploadUrl"], path.read_bytes()) == 200
    assert good(client.get("/v1/upload/check", params={"fileId": credential["fileId"]})) is True
    name: str = credential["fileId"]
    return name


def until(client: httpx.Client, path: str, task: str, **more: object) -> Any:  # noqa: ANN401 -- whatever the provider sends
    """Poll one task."""
    query = {"taskId": task, **more}

    def ask() -> Any:  # noqa: ANN401 -- whatever the provider sends
        result = good(client.get(path, params=query))  # type: ignore[arg-type] # a mapping of plain values
        assert result["status"] in {"init", "running", "success", "fail"}
        return result

    return poll(ask, lambda result: result["status"] in {"success", "fail"})


@ANYWHERE
@pytest.mark.parametrize("put", [put_plain, put_typed, put_chunked])
def test_upload_submit_and_result(brisk: Stage, place: str, put: object, tmp_path: Path) -> None:
    """Whatever way the bytes are put; the submit's own status says nothing of the video."""
    with session(brisk, "topview", place, **KEYS) as client:
        file = uploaded(client, picture(tmp_path / "a.png"), put)
        body = {"imageFileId": file, "prompt": "slow turn", "duration": 5, "mode": "pro", "generatingCount": 2}
        receipt = good(client.post(f"{V1}/submit", json=body))
        assert (receipt["status"], receipt["errorMsg"]) == ("success", None)
        assert good(client.get(f"{V1}/result", params={"taskId": receipt["taskId"]}))["status"] != "success"
        for cloud_front in ({}, {"needCloudFrontUrl": "true"}, {"needCloudFrontUrl": True}):
            result = until(client, f"{V1}/result", receipt["taskId"], **cloud_front)
            assert len(result["videos"]) == 2
            assert result["costCredit"] == pytest.approx(2.0)
        video = result["videos"][0]["originVideo"]
        assert video["width"] > 0
        assert plays(download(video["filePath"]))


@ANYWHERE
def test_boards_tell_which_task_is_whose(brisk: Stage, place: str, tmp_path: Path) -> None:
    """A board per attempt is found again with its task, its parameters and its result."""
    with session(brisk, "topview", place, **KEYS) as client:
        board = good(client.post("/boards/create", json={"boardName": "attempt-1"}))["boardId"]
        file = uploaded(client, picture(tmp_path / "a.png"))
        body = {"model": "Kling V3", "firstFrameFileId": file, "prompt": "turn", "duration": 5, "boardId": board}
        receipt = good(client.post(f"{V2}/submit", json=body))
        result = until(client, f"{V2}/query", receipt["taskId"])
        assert plays(download(result["videos"][0]["filePath"]))
        [row] = good(client.get("/boards/tasks/list", params={"boardId": board, "pageNo": 1, "pageSize": 20}))["list"]
        assert row["taskId"] == receipt["taskId"]
        assert row["parameters"]["prompt"] == "turn"


@ANYWHERE
def test_a_cut_out_picture_feeds_the_next_task(brisk: Stage, place: str, tmp_path: Path) -> None:
    """remove_background gives a file id that image2video takes."""
    with session(brisk, "topview", place, **KEYS) as client:
        file = uploaded(client, picture(tmp_path / "a.png"))
        base = "/v1/common_task/remove_background"
        cut = until(client, f"{base}/query", good(client.post(f"{base}/submit", json={"productImageFileId": file}))["taskId"])
        assert is_picture(download(cut["bgRemovedImagePath"]))
        body = {"imageFileId": cut["bgRemovedImageFileId"], "duration": 5, "mode": "lite", "generatingCount": 1}
        assert until(client, f"{V1}/result", good(client.post(f"{V1}/submit", json=body))["taskId"])["videos"]


def test_the_end_is_called_back(brisk: Stage, tmp_path: Path) -> None:
    """With the query's result inside and the uid in a header; the address is checked first."""
    ours = b'{"code":"200","message":"Success","result":{"uuid":"n","topviewUid":"u","result":"success"}}'
    with Receiver(reply=ours) as hook, session(brisk, "topview", "root", **KEYS) as client:
        good(client.post("/notice/notice_url/check", json={"noticeUrl": f"{hook.url}?t=1"}))
        file = uploaded(client, picture(tmp_path / "a.png"))
        body = {"imageFileId": file, "duration": 5, "mode": "lite", "generatingCount": 1, "noticeUrl": f"{hook.url}?t=1"}
        receipt = good(client.post(f"{V1}/submit", json=body))
        letter = hook.next()
    notice = letter.json()
    assert notice["bizType"] == "COMMON_TASK_IMAGE2VIDEO"
    assert (notice["taskId"], notice["status"], letter.query["t"]) == (receipt["taskId"], "success", ["1"])
    assert letter.headers["topview-uid"] == "simulated-uid"
    assert plays(download(notice["result"]["videos"][0]["originVideo"]["filePath"]))
    assert receipt["noticeUuid"] == notice["uuid"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, {"4003"}),
        ({"imageFileId": "no-such-file", "duration": 5, "mode": "pro", "generatingCount": 1}, {"4004"}),
        ({"imageFileId": "f", "duration": 7, "mode": "pro", "generatingCount": 1}, {"4000"}),
        ({"imageFileId": "f", "duration": 5, "mode": "ultra", "generatingCount": 1}, {"4000"}),
        ({"imageFileId": "f", "duration": 5, "mode": "pro", "generatingCount": 5}, {"4000"}),
        ({"imageFileId": "f", "duration": "five", "mode": "pro", "generatingCount": 1}, {"4000", "4001"}),
    ],
)
def test_refusals_come_inside_http_200(brisk: Stage, body: dict[str, object], code: set[str]) -> None:
    """The code is text, and there is no result."""
    with session(brisk, "topview", "root", **KEYS) as client:
        reply = client.post(f"{V1}/submit", json=body)
    assert reply.status_code == 200
    assert reply.json()["code"] in code
    assert reply.json()["result"] is None
    assert reply.json()["message"]


def test_the_old_family_is_asked_at_result(brisk: Stage) -> None:
    """``/query`` of v1 exists nowhere; neither do wrong capitals."""
    with session(brisk, "topview", "root", **KEYS) as client:
        for path in (f"{V1}/query", f"{V1}/task/query", "/v1/common_task/image2Video/result"):
            reply = client.get(path, params={"taskId": "x"})
            assert reply.status_code == 404 or reply.json()["code"] != "200"
        assert client.get(f"{V1}/result", params={"taskId": "x"}).json()["code"] == "4004"


def test_uploads_take_one_kind_of_authorisation(brisk: Stage, tmp_path: Path) -> None:
    """The account's headers on the PUT are refused, as S3 refuses them; a link of another file too."""
    data = picture(tmp_path / "a.png").read_bytes()
    with session(brisk, "topview", "root", **KEYS) as client:
        link = good(client.get("/v1/upload/credential", params={"format": "png"}))["uploadUrl"]
        assert client.put(link, content=data).status_code == 400
        assert httpx.put(link.replace(".png", ".jpg"), content=data, trust_env=False).status_code == 403
        assert client.get("/v1/upload/credential").json()["code"] in {"4000", "4003"}
        assert client.get("/v1/upload/credential", params={"format": "gif"}).json()["code"] == "4000"


def test_credit_goes_down_and_is_logged(brisk: Stage, tmp_path: Path) -> None:
    """Balance and log name the same task and price."""
    with session(brisk, "topview", "root", **KEYS) as client:
        before = good(client.get("/user/credit/detail"))["remainCredit"]
        file = uploaded(client, picture(tmp_path / "a.png"))
        body = {"imageFileId": file, "duration": 10, "mode": "plus", "generatingCount": 1}
        task = good(client.post(f"{V1}/submit", json=body))["taskId"]
        assert until(client, f"{V1}/result", task)["costCredit"] == pytest.approx(5.4)
        assert before - good(client.get("/user/credit/detail"))["remainCredit"] == pytest.approx(5.4)
        log = good(client.get("/user/credit/logs", params={"taskType": "common_task_image2video", "pageNo": 1, "pageSize": 50}))
    assert task in [row["taskId"] for row in log["data"]]


@pytest.mark.parametrize("headers", [{}, {"Authorization": KEYS["Authorization"]}, {"Topview_Uid": "simulated-uid"}])
def test_both_headers_are_needed(brisk: Stage, headers: dict[str, str]) -> None:
    """On every call."""
    with session(brisk, "topview", "root", **headers) as client:
        assert client.get("/user/credit/detail").json()["code"] == "401"
