"""The pretend Topview, driven as its documents say."""

from __future__ import annotations

from base64 import b64decode
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from pretending import START, TOPVIEW, Rig, png, pretending

pytestmark = pytest.mark.anyio
V1 = "/v1/common_task/image2video"
V2 = "/v2/common_task/image2video/task"


@pytest.fixture
def anyio_backend() -> str:
    """These run on asyncio, as the server does."""
    return "asyncio"


async def get(rig: Rig, path: str, **query: str) -> dict[str, Any]:
    """GET as a member; the JSON."""
    found: dict[str, Any] = (await rig.client.get(path, headers=TOPVIEW, params=query)).json()
    return found


async def post(rig: Rig, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """POST as a member; the JSON."""
    found: dict[str, Any] = (await rig.client.post(path, headers=TOPVIEW, json=body)).json()
    return found


async def upload(rig: Rig, name: str = "png") -> str:
    """The three steps; the file id."""
    credential = (await get(rig, "/v1/upload/credential", format=name))["result"]
    put = await rig.client.put(credential["uploadUrl"], content=b64decode(png()))
    assert put.status_code == 200
    return str(credential["fileId"])


def order(file: str, **fields: object) -> dict[str, Any]:
    """A good v1 body."""
    return {"imageFileId": file, "prompt": "turn", "duration": 5, "mode": "pro", "generatingCount": 1, **fields}


async def test_upload_is_three_steps() -> None:
    """The link takes a bare PUT once; check turns from false to true; the answer of check is a bare boolean."""
    async with pretending() as rig:
        credential = (await get(rig, "/v1/upload/credential", format="png"))["result"]
        assert set(credential) == {"fileId", "fileName", "uploadUrl"}
        file = credential["fileId"]
        assert await get(rig, "/v1/upload/check", fileId=file) == {"code": "200", "message": "Success", "result": False}
        with_headers = await rig.client.put(credential["uploadUrl"], content=b"x", headers=TOPVIEW)
        assert (with_headers.status_code, with_headers.headers["content-type"]) == (400, "application/xml")
        assert (await get(rig, "/v1/upload/check", fileId=file))["result"] is False
        assert (await rig.client.get(credential["uploadUrl"])).status_code == 405
        assert (await rig.client.put(credential["uploadUrl"], content=b"x")).status_code == 200
        assert (await get(rig, "/v1/upload/check", fileId=file))["result"] is True
        assert (await get(rig, "/v1/upload/check", fileId="other"))["code"] == "4004"


async def test_an_upload_link_expires_and_cannot_be_forged() -> None:
    """After its time, or with one letter changed, the PUT is 403 and nothing arrives."""
    async with pretending(upload_ttl=60) as rig:
        credential = (await get(rig, "/v1/upload/credential", format="jpg"))["result"]
        forged = credential["uploadUrl"].replace("expires=1", "expires=2")
        assert (await rig.client.put(forged, content=b"x")).status_code == 403
        rig.time.now += 61
        late = await rig.client.put(credential["uploadUrl"], content=b"x")
        assert (late.status_code, "expired" in late.text) == (403, True)
        assert (await get(rig, "/v1/upload/check", fileId=credential["fileId"]))["result"] is False


@pytest.mark.parametrize(("name", "code"), [("", "4003"), ("gif", "4000"), ("webp", "200")])
async def test_upload_formats(name: str, code: str) -> None:
    """A missing format is 4003, an unknown one 4000."""
    async with pretending() as rig:
        assert (await get(rig, "/v1/upload/credential", format=name))["code"] == code


async def test_version_one_walks() -> None:
    """The submit's status says only that it was taken; the result walks init, running, success and has one link per video."""
    async with pretending(job_seconds={"topview": 90}) as rig:
        file = await upload(rig)
        taken = await post(rig, f"{V1}/submit", order(file, generatingCount=3))
        assert (taken["code"], taken["result"]["status"], taken["result"]["errorMsg"]) == ("200", "success", None)
        task, seen = taken["result"]["taskId"], []
        for moment in (1, 45, 91):
            rig.time.now = START + moment
            seen.append((await get(rig, f"/topview{V1}/result", taskId=task))["result"])
        assert [result["status"] for result in seen] == ["init", "running", "success"]
        assert (seen[1]["videos"], seen[2]["costCredit"]) == ([], 3.0)
        videos = [video["originVideo"] for video in seen[2]["videos"]]
        assert len({video["filePath"] for video in videos}) == 3
        assert (await rig.client.get(videos[2]["filePath"])).status_code == 200
        drawn = rig.maker.orders[-1]
        assert (drawn.width, drawn.height, drawn.seconds) == (videos[2]["width"], videos[2]["height"], 5)
        assert drawn.picture == b64decode(png())
        assert (await rig.client.get(f"{V1}/query?taskId={task}", headers=TOPVIEW)).status_code == 404


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"imageFileId": None}, "4003"),
        ({"imageFileId": "unknown"}, "4004"),
        ({"imageFileId": 5}, "4001"),
        ({"duration": None}, "4003"),
        ({"duration": 7}, "4000"),
        ({"duration": "5"}, "4001"),
        ({"duration": True}, "4001"),
        ({"duration": 5.0}, "4001"),
        ({"mode": "std"}, "4000"),
        ({"mode": None}, "4003"),
        ({"mode": ["pro"]}, "4001"),
        ({"generatingCount": 0}, "4000"),
        ({"generatingCount": 5}, "4000"),
        ({"generatingCount": None}, "4003"),
        ({"noticeUrl": "here"}, "4000"),
    ],
)
async def test_rules_are_string_codes_in_http_200(change: dict[str, Any], code: str) -> None:
    """Business errors never change the HTTP status unless asked to, and cost nothing."""
    async with pretending() as rig:
        file = await upload(rig)
        answer = await rig.client.post(f"{V1}/submit", headers=TOPVIEW, json={**order(file), **change})
        assert (answer.status_code, answer.json()["code"]) == (200, code)
        assert rig.books("topview")["submissions"] == 0


async def test_a_file_that_never_arrived_cannot_be_used() -> None:
    """A file id without its PUT, or of another account, or of a sound, is refused."""
    async with pretending() as rig:
        credential = (await get(rig, "/v1/upload/credential", format="png"))["result"]
        assert (await post(rig, f"{V1}/submit", order(credential["fileId"])))["code"] == "4004"
        sound = await upload(rig, "mp3")
        assert (await post(rig, f"{V1}/submit", order(sound)))["code"] == "4000"
        file = await upload(rig)
        other = {"Authorization": "Bearer k", "Topview-Uid": "other"}
        assert (await rig.client.post(f"{V1}/submit", headers=other, json=order(file))).json()["code"] == "4004"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer simulated-topview-key"},
        {"Topview-Uid": "simulated-uid"},
        {**TOPVIEW, "Authorization": "simulated-topview-key"},
        {**TOPVIEW, "Authorization": "Bearer wrong"},
    ],
)
async def test_both_headers_are_needed(headers: dict[str, str]) -> None:
    """Otherwise code 401; in HTTP 200, or as a real 401 when told."""
    async with pretending() as rig:
        answer = await rig.client.get("/user/credit/detail", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (200, "401")
    async with pretending(http_errors=True) as rig:
        assert (await rig.client.get("/user/credit/detail", headers=headers)).status_code == 401


async def test_work_over_the_limit_waits() -> None:
    """Accepted with status init until a slot is free; the peak of slots in use never passes the limit."""
    async with pretending(concurrency={"topview": 2}, job_seconds={"topview": 100}) as rig:
        file = await upload(rig)
        tasks = [(await post(rig, f"{V1}/submit", order(file, prompt=str(number))))["result"]["taskId"] for number in range(5)]
        rig.time.now = START + 101
        words = [(await get(rig, f"{V1}/result", taskId=task))["result"]["status"] for task in tasks]
        assert words == ["success", "success", "init", "init", "init"]
        rig.time.now = START + 250
        words = [(await get(rig, f"{V1}/result", taskId=task))["result"]["status"] for task in tasks]
        assert words == ["success", "success", "success", "success", "running"]
        books = rig.books("topview")
        assert (books["peak_in_flight"], books["peak_outstanding"], books["in_flight"]) == (2, 5, 1)
    async with pretending(concurrency={"topview": 1}, over_limit={"topview": "refuse"}) as rig:
        file = await upload(rig)
        codes = [(await post(rig, f"{V1}/submit", order(file)))["code"] for _ in range(2)]
        assert codes == ["200", "4007"]


async def test_boards_find_lost_submissions() -> None:
    """A board lists its tasks with their parameters; one of another account does not exist."""
    async with pretending() as rig:
        file = await upload(rig)
        board = (await post(rig, "/boards/create", {"boardName": "run"}))["result"]["boardId"]
        body = {"model": "Kling V3", "firstFrameFileId": file, "prompt": "p", "boardId": board, "aspectRatio": "16:9"}
        task = (await post(rig, f"{V2}/submit", body))["result"]
        assert task["boardId"] == board
        assert task["boardTaskIds"]
        listed = (await get(rig, "/boards/tasks/list", boardId=board))["result"]["list"]
        assert [(entry["taskId"], entry["parameters"]["prompt"], entry["status"]) for entry in listed] == [
            (task["taskId"], "p", "init")
        ]
        rig.time.now += 600
        detail = (await get(rig, "/boards/tasks/detail", taskId=task["taskId"]))["result"]
        assert detail["result"]["videos"][0]["filePath"].startswith("http://sim.test/_media/topview/cdn/")
        assert (await post(rig, f"{V2}/submit", {**body, "boardId": "none"}))["code"] == "4004"
        other = {"Authorization": "Bearer k", "Topview-Uid": "other"}
        hidden = await rig.client.get(f"/boards/tasks/list?boardId={board}", headers=other)
        assert hidden.json()["code"] == "4004"


async def test_version_two_and_its_siblings() -> None:
    """A model and a first frame are required; text alone is enough for text2video; a removed background can be used again."""
    async with pretending() as rig:
        file = await upload(rig)
        assert (await post(rig, f"{V2}/submit", {"firstFrameFileId": file}))["code"] == "4003"
        assert (await post(rig, f"{V2}/submit", {"model": "Veo 3.1"}))["code"] == "4003"
        words = await post(rig, "/v1/common_task/text2video/task/submit", {"prompt": "sea"})
        cut = await post(rig, "/v1/common_task/remove_background/submit", {"productImageFileId": file})
        rig.time.now += 1000
        done = await get(rig, "/v1/common_task/text2video/task/query", taskId=words["result"]["taskId"])
        assert done["result"]["videos"][0]["status"] == "success"
        removed = (await get(rig, "/v1/common_task/remove_background/query", taskId=cut["result"]["taskId"]))["result"]
        assert (await rig.client.get(removed["maskImagePath"])).status_code == 200
        again = await post(rig, f"{V1}/submit", order(removed["bgRemovedImageFileId"]))
        assert again["code"] == "200"


async def test_credit_is_logged_for_what_succeeded() -> None:
    """The log names charged tasks by type and time window; the balance goes down."""
    async with pretending(credits={"topview": 10}) as rig:
        file = await upload(rig)
        task = (await post(rig, f"{V1}/submit", order(file)))["result"]["taskId"]
        assert (await get(rig, "/user/credit/logs"))["result"]["data"] == []
        rig.time.now += 600
        rows = (await get(rig, "/user/credit/logs", taskType="common_task_image2video"))["result"]["data"]
        assert [(row["taskId"], row["costCredit"]) for row in rows] == [(task, 1.0)]
        day = f"{datetime.fromtimestamp(START + 5000, UTC):%Y-%m-%d %H:%M:%S}"
        assert (await get(rig, "/user/credit/logs", startTime=day))["result"]["total"] == 0
        assert (await get(rig, "/user/credit/logs", startTime="yesterday"))["code"] == "4001"
        assert (await get(rig, "/user/credit/detail"))["result"]["remainCredit"] == 9.0
        big = await post(rig, f"{V1}/submit", order(file, mode="best", duration=10))
        assert big["code"] == "4100"


async def test_failures_and_refunds() -> None:
    """A failed task says fail with a message and gives its credit back."""
    async with pretending(fail_rate=1.0, credits={"topview": 10}) as rig:
        task = (await post(rig, f"{V1}/submit", order(await upload(rig))))["result"]["taskId"]
        rig.time.now += 600
        result = (await get(rig, f"{V1}/result", taskId=task))["result"]
        assert (result["status"], bool(result["errorMsg"]), result["costCredit"]) == ("fail", True, 0.0)
        assert (await get(rig, "/user/credit/detail"))["result"]["remainCredit"] == 10


async def test_partial_success() -> None:
    """With several videos of v2 each has a status of its own; at least one task here succeeds in part."""
    async with pretending(fail_rate=0.5, concurrency={"topview": 50}) as rig:
        file = await upload(rig)
        body = {"model": "Kling V3", "firstFrameFileId": file, "generatingCount": 4}
        tasks = [(await post(rig, f"{V2}/submit", body))["result"]["taskId"] for _ in range(10)]
        rig.time.now += 600
        results = [(await get(rig, f"{V2}/query", taskId=task))["result"] for task in tasks]
        words = [{video["status"] for video in result["videos"]} for result in results if result["status"] == "success"]
        assert {"success", "fail"} in words


async def test_odd_requests() -> None:
    """Missing ids, broken JSON and notice checks have their codes."""
    async with pretending() as rig:
        assert (await get(rig, f"{V1}/result"))["code"] == "4003"
        assert (await get(rig, f"{V1}/result", taskId="x"))["code"] == "4004"
        broken: httpx.Response = await rig.client.post(f"{V1}/submit", headers=TOPVIEW, content=b"{")
        assert broken.json()["code"] == "4001"
        assert (await post(rig, "/notice/notice_url/check", {"noticeUrl": "https://h.test/n"}))["result"] is True
        assert (await post(rig, "/notice/notice_url/check", {"noticeUrl": "h"}))["code"] == "4000"
        assert (await get(rig, "/v1/voice/query"))["result"]["data"][0]["voiceId"]
        assert (await get(rig, "/v1/voice/query", pageNo="0"))["code"] == "4000"
