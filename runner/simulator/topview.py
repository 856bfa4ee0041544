"""Pretend Topview: uploads, image and text to video, boards, credit, look-ups (topview.md; seed-002).

Business errors are HTTP 200 with a string code. Work over the limit is accepted and waits.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

import msgspec

from runner.simulator import topview_rules as rules
from runner.simulator.links import MediaRef
from runner.simulator.options import DAY
from runner.simulator.provider import Letter, PretendProvider, Vocabulary, body_digest, is_web_address, json_object
from runner.simulator.studio import Shot
from runner.simulator.tasks import Phase, Task
from runner.simulator.topview_families import BACKGROUND, BY_NAME, CLIP_V1, FAMILIES, Family
from runner.simulator.web import Handler, Refusal, Reply, Request, Route, json_reply
from runner.simulator.world import Draft, World

MESSAGES = {
    "401": "Unauthorized, please log in again",
    "4000": "Parameter error",
    "4001": "Data format mismatch",
    "4002": "Digital signature mismatch",
    "4003": "Required parameter is null",
    "4004": "Resource not found",
    "4006": "Request refused",
    "4007": "There is an unfinished task, please wait",
    "4100": "Credit not enough",
    "5000": "Internal server error",
    "5001": "Internal rpc error",
    "5003": "Server is busy, please try again later",
    "6001": "Security problem detected",
}
HTTP = {"401": 401, "4002": 401, "4004": 404, "4006": 403, "4007": 429, "4100": 402, "5000": 500, "5001": 500, "5003": 503}
TROUBLES = ("The model is currently unavailable, please try again later", "The content violates the security policy")
WORDS = {Phase.QUEUED: "init", Phase.WORKING: "running", Phase.DONE: "success", Phase.FAILED: "fail"}
LARGEST_PAGE = 100


@dataclass(slots=True)
class Upload:
    """A file that was announced, and maybe arrived."""

    account: str
    format: str
    picture: str = ""
    arrived: bool = False


class Topview(PretendProvider):
    """Accounts are uids."""

    name: ClassVar[str] = "topview"
    words: ClassVar[Vocabulary] = Vocabulary(
        frozenset({"status", "taskStatus"}),
        "success",
        "archiving",
        frozenset({"filePath", "finishedVideoUrl", "bgRemovedImagePath", "maskImagePath", "uploadUrl"}),
    )
    fault_codes: ClassVar[dict[str, str]] = {
        "rate_limit": "5003",
        "concurrency": "4007",
        "out_of_credit": "4100",
        "banned": "4006",
        "auth_expired": "401",
        "server_error": "5000",
    }

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._uploads: dict[str, Upload] = {}
        self._boards: dict[str, tuple[str, list[Task]]] = {}
        world.recallers |= {"upload": self._recall_upload, "uploaded": self._recall_uploaded, "board": self._recall_board}

    def routes(self) -> list[Route]:
        """Uploads, four families, boards, credit and look-ups."""
        found = [
            Route("GET", "/v1/upload/credential", "upload.credential", self._credential),
            Route("GET", "/v1/upload/check", "upload.check", self._check_upload),
            Route("POST", "/boards/create", "board.create", self._create_board),
            Route("GET", "/boards/tasks/list", "board.list", self._board_tasks),
            Route("GET", "/boards/tasks/detail", "board.detail", self._board_task),
            Route("GET", "/user/credit/detail", "balance.get", self._credit),
            Route("GET", "/user/credit/logs", "credit_log.list", self._credit_logs),
            Route("POST", "/notice/notice_url/check", "notice.check", self._check_notice),
            Route("GET", "/v1/voice/query", "voices.list", self._voices),
            Route("GET", "/v1/caption/list", "captions.list", self._captions),
        ]
        for family in FAMILIES:
            found.append(Route("POST", family.submit, f"{family.name}.submit", self._submitter(family)))
            found.append(Route("GET", family.query, f"{family.name}.get", self._querier(family)))
        return found

    def refuse(self, refusal: Refusal) -> Reply:
        """``{"code", "message", "result": null}`` inside HTTP 200, unless real statuses were asked for."""
        code = refusal.code
        status = refusal.status or (HTTP.get(code, 400) if self.options.http_errors else 200)
        message = refusal.message or MESSAGES.get(code, "error")
        reply = json_reply({"code": code, "message": message, "result": None}, status)
        reply.refusal = code
        return reply

    def no_route(self, request: Request) -> Reply:
        """A gateway's 404."""
        return self.refuse(Refusal("4004", f"No handler for {request.method} {request.path}", status=404))

    def adopt(self, task: Task) -> None:
        """Put it on its board; the files of a background removal get their ids."""
        if task.family == BACKGROUND.name:
            for file in _cut_out_files(task):
                self._uploads[file] = Upload(task.account, "png", task.data["picture"], arrived=True)
        board = self._boards.get(task.data.get("board") or "")
        if board is not None:
            board[1].append(task)

    def events(self, task: Task) -> list[tuple[float, str]]:
        """One at the end (topview.md 6)."""
        return [(task.end, "end")] if task.data.get("notice") else []

    def letter(self, task: Task, event: str, base: str) -> Letter:
        """The notice with the query's result inside; there is no other ``event``."""
        del event
        result: Any = self._view(task, task.end, base, cdn=False)
        notice = {
            "uuid": _notice_id(task),
            "bizType": BY_NAME[task.family].notice_type,
            "taskId": task.id,
            "status": result["status"],
            "errorMsg": result["errorMsg"],
            "result": msgspec.json.encode(result).decode() if self.options.result_as_text else result,
        }
        return Letter(task.data["notice"], msgspec.json.encode(notice), {"Topview-Uid": task.account})

    def shot(self, task: Task, what: str, index: int) -> Shot | None:
        """A clip for each of ``generatingCount``; for background removal the picture and its mask."""
        data = task.data
        width, height = self._size(task)
        label = f"topview/{task.family.replace('_', '-')}"
        seed, picture, prompt = task.serial * 16 + index, data["picture"], data["prompt"]
        if task.family == BACKGROUND.name and what == "p" and index < 2:
            return Shot("still", "topview", "background_removed", prompt, width, height, 0, seed, picture, label)
        if task.family != BACKGROUND.name and what == "v" and index < data["count"] and not self._part_fails(task, index):
            return Shot("clip", "topview", task.family, prompt, width, height, data["seconds"], seed, picture, label)
        return None

    def _size(self, task: Task) -> tuple[int, int]:
        wide, high = task.data.get("shape") or (9, 16)
        return self.size((wide, high))

    def upload_arrived(self, name: str, data: bytes, request: Request) -> Reply:
        """The PUT to an upload link, which like S3 takes exactly one kind of authorisation."""
        file = name.partition(".")[0]
        if "authorization" in request.headers or "topview-uid" in request.headers:
            return storage_error(400, "InvalidArgument", "Only one auth mechanism allowed")
        upload = self._uploads.get(file)
        if upload is None:
            return storage_error(404, "NoSuchKey", "The specified key does not exist.")
        picture = f"blob:{self.world.blobs.put(data)}" if upload.format in rules.PICTURE_FORMATS else ""
        self.world.write("uploaded", file=file, picture=picture)
        self._recall_uploaded({"file": file, "picture": picture})
        return Reply(200, b"", "application/xml", {"etag": f'"{file}"'})

    def _recall_upload(self, line: dict[str, Any]) -> None:
        self._uploads[line["file"]] = Upload(line["account"], line["format"])

    def _recall_uploaded(self, line: dict[str, Any]) -> None:
        upload = self._uploads[line["file"]]
        upload.arrived, upload.picture = True, line["picture"]
        self.world.books["topview"].uploads += 1

    def _recall_board(self, line: dict[str, Any]) -> None:
        self._boards[line["board"]] = (line["account"], [])

    def _account(self, request: Request) -> str:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        uid = request.headers.get("topview-uid", "").strip()
        known = self.options.account("topview")
        if scheme.lower() != "bearer" or not key.strip() or not uid:
            raise Refusal("401")
        if (uid == known["uid"] and key.strip() != known["api_key"]) or (
            uid != known["uid"] and not self.options.any_credentials
        ):
            raise Refusal("401")
        return uid

    async def _credential(self, request: Request) -> Reply:
        account = self._account(request)
        wanted = request.query.get("format", "")
        if not wanted:
            raise rules.missing("format")
        if wanted not in rules.UPLOAD_FORMATS:
            raise Refusal("4000", f"format must be one of {', '.join(rules.UPLOAD_FORMATS)}")
        digest, serial = self.world.draw("topview")
        file = digest.hex()[:32]
        self.world.write("upload", file=file, account=account, format=wanted, serial=serial)
        self._recall_upload({"file": file, "account": account, "format": wanted})
        name = f"{file}.{wanted}"
        url = self.world.links.upload(request.base, "topview", name)
        return _good({"fileId": file, "fileName": name, "uploadUrl": url})

    async def _check_upload(self, request: Request) -> Reply:
        account = self._account(request)
        file = request.query.get("fileId", "")
        if not file:
            raise rules.missing("fileId")
        upload = self._uploads.get(file)
        if upload is None or upload.account != account:
            raise Refusal("4004", f"file {file} not found")
        return _good(upload.arrived)

    def _submitter(self, family: Family) -> Handler:
        async def submit(request: Request) -> Reply:
            account = self._account(request)
            body = json_object(request, "4001")
            data, price = family.check(body, lambda file: self._picture(account, file))
            board = data.get("board")
            if board and (board not in self._boards or self._boards[board][0] != account):
                raise Refusal("4004", f"board {board} not found")
            handle = data["notice"] or body_digest(request)
            data["parameters"] = body if board else {}
            draft = Draft("topview", family.name, account, handle, "topview", "topview", price, data=data, troubles=TROUBLES)
            draft.make_id = lambda digest, _serial: digest.hex()[:32]
            return _good(_receipt(self.accept(draft), family))

        return submit

    def _picture(self, account: str, file: str) -> str:
        upload = self._uploads.get(file)
        if upload is None or not upload.arrived or upload.account != account:
            raise Refusal("4004", f"file {file} not found")
        if upload.format not in rules.PICTURE_FORMATS:
            raise Refusal("4000", f"file {file} is not an image")
        return upload.picture

    def _querier(self, family: Family) -> Handler:
        async def query(request: Request) -> Reply:
            account = self._account(request)
            task = self._task(account, request.query.get("taskId", ""))
            if task.family != family.name:
                raise Refusal("4004", f"task {task.id} not found")
            cdn = request.query.get("needCloudFrontUrl", "").lower() in ("true", "1")
            return _good(self._view(task, self.world.now(), request.base, cdn=cdn))

        return query

    def _task(self, account: str, name: str) -> Task:
        if not name:
            raise rules.missing("taskId")
        task = self.world.tasks.get(name)
        if task is None or task.provider != "topview" or task.account != account:
            raise Refusal("4004", f"task {name} not found")
        return task

    def _view(self, task: Task, now: float, base: str, *, cdn: bool) -> dict[str, Any]:
        phase = task.phase(now)
        view: dict[str, Any] = {"taskId": task.id, "status": WORDS[phase], "errorMsg": None, "costCredit": 0.0}
        if phase is Phase.FAILED:
            view["errorMsg"] = task.trouble
        if task.family == BACKGROUND.name:
            return view | (self._cut_out(task, base, cdn=cdn) if phase is Phase.DONE else {})
        if task.data.get("board"):
            view |= {"boardId": task.data["board"], "boardTaskId": _board_task_id(task)}
        view["videos"] = []
        if phase is Phase.DONE:
            view["costCredit"] = task.charge
            view["videos"] = [self._video(task, index, base, cdn=cdn) for index in range(task.data["count"])]
        return view

    def _video(self, task: Task, index: int, base: str, *, cdn: bool) -> dict[str, Any]:
        width, height = self._size(task)
        if self._part_fails(task, index):
            return {"status": "fail", "filePath": None, "errorMsg": TROUBLES[0]}
        path = self.world.links.result(base, MediaRef("topview", task.id, "v", index), "mp4", cdn=cdn)
        if task.family == CLIP_V1.name:
            return {"originVideo": {"filePath": path, "width": width, "height": height}}
        return {"status": "success", "filePath": path, "errorMsg": None, "width": width, "height": height}

    def _part_fails(self, task: Task, index: int) -> bool:
        """With several videos each has its own luck, but for the first: the task as a whole succeeded."""
        if index == 0 or not task.data.get("parts"):
            return False
        share = int.from_bytes(self.world.digest(f"{task.id}/part/{index}")[:4], "big") / 2**32
        return share < self.options.fail_rate

    def _cut_out(self, task: Task, base: str, *, cdn: bool) -> dict[str, Any]:
        width, height = self._size(task)
        links = [self.world.links.result(base, MediaRef("topview", task.id, "p", index), "jpg", cdn=cdn) for index in (0, 1)]
        files = _cut_out_files(task)
        return {
            "bgRemovedImageFileId": files[0],
            "bgRemovedImagePath": links[0],
            "bgRemovedImageWidth": width,
            "bgRemovedImageHeight": height,
            "maskImageFileId": files[1],
            "maskImagePath": links[1],
        }

    async def _create_board(self, request: Request) -> Reply:
        account = self._account(request)
        json_object(request, "4001")
        digest, serial = self.world.draw("topview")
        board = digest.hex()[:24]
        self.world.write("board", board=board, account=account, serial=serial)
        self._recall_board({"board": board, "account": account})
        return _good({"boardId": board})

    async def _board_tasks(self, request: Request) -> Reply:
        account = self._account(request)
        board = request.query.get("boardId", "")
        if not board:
            raise rules.missing("boardId")
        owner, tasks = self._boards.get(board, ("", []))
        if owner != account:
            raise Refusal("4004", f"board {board} not found")
        page, size = _page(request, "pageNo", 1), _page(request, "pageSize", 20)
        now, base = self.world.now(), request.base
        shown = [self._board_view(task, now, base) for task in tasks[::-1][(page - 1) * size : page * size]]
        return _good({"total": len(tasks), "pageNo": page, "pageSize": size, "list": shown})

    async def _board_task(self, request: Request) -> Reply:
        task = self._task(self._account(request), request.query.get("taskId", ""))
        return _good(self._board_view(task, self.world.now(), request.base))

    def _board_view(self, task: Task, now: float, base: str) -> dict[str, Any]:
        view = self._view(task, now, base, cdn=True)
        return {
            "taskId": task.id,
            "boardTaskId": _board_task_id(task),
            "status": view["status"],
            "parameters": task.data.get("parameters", {}),
            "result": view if view["status"] == "success" else None,
            "errorMessage": view["errorMsg"],
            "errorCode": None,
            "creditsCost": view["costCredit"],
            "gmtCreate": self._date(task.made),
            "estimateInfo": None,
        }

    def _date(self, simulated: float) -> str:
        return f"{datetime.fromtimestamp(self.world.clock.wall(simulated), UTC):%Y-%m-%d %H:%M:%S}"

    async def _credit(self, request: Request) -> Reply:
        account = self.world.account("topview", self._account(request))
        expires = self._date(self.world.now() + 365 * DAY)
        return _good({"remainCredit": round(account.credit, 4), "expiredTime": expires, "apiKeyMap": {}})

    async def _credit_logs(self, request: Request) -> Reply:
        name = self._account(request)
        first, last = _time(request, "startTime", 0.0), _time(request, "endTime", float("inf"))
        wanted = request.query.get("taskType", "")
        page, size = _page(request, "pageNo", 1), _page(request, "pageSize", 20)
        now, wall = self.world.now(), self.world.clock.wall
        rows = [
            (wall(task.end), family.credit_type, task)
            for family in FAMILIES
            if wanted in ("", family.credit_type)
            for task in self.world.account("topview", name).tasks.get(family.name, [])
            if task.charge and task.phase(now) is Phase.DONE and first <= int(wall(task.end)) <= last
        ]
        rows.sort(key=lambda row: row[0], reverse=True)
        shown = [
            {
                "uid": name,
                "apiKey": None,
                "date": self._date(task.end),
                "costCredit": task.charge,
                "taskId": task.id,
                "taskType": kind,
            }
            for _moment, kind, task in rows[(page - 1) * size : page * size]
        ]
        return _good({"total": len(rows), "pageNo": page, "pageSize": size, "data": shown})

    async def _check_notice(self, request: Request) -> Reply:
        self._account(request)
        address = rules.text(json_object(request, "4001"), "noticeUrl", required=True)
        if not is_web_address(address):
            raise Refusal("4000", "noticeUrl is not a valid url")
        return _good(result=True)

    async def _voices(self, request: Request) -> Reply:
        self._account(request)
        page, size = _page(request, "pageNo", 1), _page(request, "pageSize", 20)
        names = (("simulated-voice-1", "Calm", "female"), ("simulated-voice-2", "Bright", "male"))
        voices = [
            {"voiceId": voice, "voiceName": name, "language": "en", "gender": gender, "demoAudioUrl": None}
            for voice, name, gender in names[(page - 1) * size : page * size]
        ]
        return _good({"total": len(names), "pageNo": page, "pageSize": size, "data": voices})

    async def _captions(self, request: Request) -> Reply:
        self._account(request)
        return _good([{"captionId": "simulated-caption-1", "thumbnail": None}])


def storage_error(status: int, code: str, message: str) -> Reply:
    """An error as an object store words it."""
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Reply(status, body.encode(), "application/xml", refusal=code)


def _good(result: object) -> Reply:
    return json_reply({"code": "200", "message": "Success", "result": result})


def _receipt(task: Task, family: Family) -> dict[str, Any]:
    """Trap A of topview.md: ``status`` says only that the work was taken."""
    receipt: dict[str, Any] = {"taskId": task.id, "status": "success", "errorMsg": None}
    if task.data["notice"]:
        receipt["noticeUuid"] = _notice_id(task)
    if family.boards:
        receipt["subTaskId"] = f"{task.id}-1"
        if task.data.get("board"):
            receipt |= {"boardId": task.data["board"], "boardTaskIds": [_board_task_id(task)]}
    return receipt


def _notice_id(task: Task) -> str:
    return f"n-{task.id[:24]}"


def _cut_out_files(task: Task) -> list[str]:
    return [task.id[:28] + f"{index:04x}" for index in (0, 1)]


def _board_task_id(task: Task) -> str:
    return f"b-{task.id[:24]}"


def _page(request: Request, name: str, default: int) -> int:
    given = request.query.get(name, "")
    if not given:
        return default
    if not given.isascii() or not given.isdigit() or len(given) > 9 or int(given) < 1:
        raise Refusal("4000", f"{name} must be a positive integer")
    return min(int(given), LARGEST_PAGE) if name == "pageSize" else int(given)


def _time(request: Request, name: str, default: float) -> float:
    given = request.query.get(name, "")
    if not given:
        return default
    try:
        return datetime.strptime(given, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise Refusal("4001", f"{name} must look like 2026-01-31 23:59:59") from None
