"""Pretend Kling: avatar, image and text to video, images, speech, balance (kling.md; seed-001, seed-003)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import anyio.to_thread
import msgspec

from runner.simulator.kling_auth import KlingAuth
from runner.simulator.kling_rules import SPEECH_KEYS, KlingRules, Wanted, choice, number, text, wrong
from runner.simulator.links import MediaRef
from runner.simulator.options import DAY
from runner.simulator.provider import Letter, PretendProvider, Vocabulary, json_object
from runner.simulator.provider import body_digest as digest_of
from runner.simulator.studio import Shot
from runner.simulator.tasks import Phase, Task
from runner.simulator.web import Handler, Refusal, Reply, Request, Route, json_reply
from runner.simulator.world import Draft, World

STATUSES = {
    1000: 401,
    1001: 401,
    1002: 401,
    1003: 401,
    1004: 401,
    1103: 403,
    1202: 404,
    1203: 404,
    5000: 500,
    5001: 503,
    5002: 504,
}
STATUSES |= dict.fromkeys((1100, 1101, 1102, 1302, 1303, 1304), 429)
MESSAGES = {
    "1000": "Authentication failed",
    "1001": "Authorization is empty",
    "1002": "Authorization is invalid",
    "1003": "Authorization is not yet valid",
    "1004": "Authorization has expired",
    "1100": "Account exception",
    "1101": "Account in arrears",
    "1102": "Resource pack depleted or expired",
    "1103": "No permission for the requested resource",
    "1200": "Invalid request parameters",
    "1202": "The requested method is invalid",
    "1203": "The requested resource does not exist",
    "1300": "Trigger strategy of the platform",
    "1301": "Trigger the content security policy of the platform",
    "1302": "The API request is too fast, exceeding the platform rate limit",
    "1303": "parallel task over resource pack limit",
    "1304": "Trigger the IP whitelist policy of the platform",
    "5000": "Server internal error",
    "5001": "Server temporarily unavailable",
    "5002": "Server internal timeout",
}
TROUBLES = ("Failure to pass the risk control system", "task failed: generation error, please try again")
WORDS = {Phase.QUEUED: "submitted", Phase.WORKING: "processing", Phase.DONE: "succeed", Phase.FAILED: "failed"}
SLOW_MODELS = {"kling-v1": (1.0, 3.5), "kling-v1-6": (2.0, 3.5), "kling-v2-5-turbo": (1.5, 2.5)}
"""Units per 5 s in std and pro where kling.md names them; the others cost 10."""
OFFLOAD = 64 * 1024


@dataclass(frozen=True, slots=True)
class Family:
    """One create/get/list triple."""

    name: str
    path: str
    lane: str
    result: Literal["videos", "images", "audios"]


AVATAR = Family("avatar", "/v1/videos/avatar/image2video", "kling/video", "videos")
IMAGE_VIDEO = Family("image2video", "/v1/videos/image2video", "kling/video", "videos")
TEXT_VIDEO = Family("text2video", "/v1/videos/text2video", "kling/video", "videos")
IMAGES = Family("image", "/v1/images/generations", "kling/image", "images")
SPEECH = Family("tts", "/v1/audio/tts", "kling/audio", "audios")
FAMILIES = (AVATAR, IMAGE_VIDEO, TEXT_VIDEO, IMAGES, SPEECH)
BY_NAME = {family.name: family for family in FAMILIES}


class Kling(PretendProvider):
    """One account per access key; every reply but errors carries ``data``."""

    name: ClassVar[str] = "kling"
    words: ClassVar[Vocabulary] = Vocabulary(
        frozenset({"task_status"}), "succeed", "archiving", frozenset({"url", "watermark_url"})
    )
    fault_codes: ClassVar[dict[str, str]] = {
        "rate_limit": "1302",
        "concurrency": "1303",
        "out_of_credit": "1102",
        "banned": "1100",
        "auth_expired": "1004",
        "server_error": "5000",
    }

    def __init__(self, world: World) -> None:
        super().__init__(world)
        account = self.options.account("kling")
        self._auth = KlingAuth(account, world.clock.real, any_credentials=self.options.any_credentials)
        self._rules = KlingRules(world.blobs, world.picture_source, self._sound_behind, strict=self.options.strict_keys)
        self._by_external: dict[tuple[str, str], Task] = {}
        self._audios: dict[tuple[str, str], Task] = {}
        self._requests = 0

    def routes(self) -> list[Route]:
        """Five families, voices and the balance."""
        found: list[Route] = []
        for family in FAMILIES:
            found += [
                Route("POST", family.path, f"{family.name}.submit", self._creator(family)),
                Route("GET", family.path, f"{family.name}.list", self._lister(family)),
                Route("GET", family.path + "/{id}", f"{family.name}.get", self._getter(family)),
            ]
        found.append(Route("GET", "/v1/general/presets-voices", "voices.list", self._voices))
        found.append(Route("GET", "/account/costs", "balance.get", self._costs))
        return found

    def refuse(self, refusal: Refusal) -> Reply:
        """``{"code", "message", "request_id"}`` with the code's HTTP status."""
        code = int(refusal.code) if refusal.code.isdigit() else 5000
        body = {
            "code": code,
            "message": refusal.message or MESSAGES.get(refusal.code, "error"),
        }
        reply = json_reply({**body, "request_id": self._request_id()}, refusal.status or STATUSES.get(code, 400))
        reply.refusal = str(code)
        return reply

    def no_route(self, request: Request) -> Reply:
        """1202: the method or path is unknown."""
        return self.refuse(Refusal("1202", f"{request.method} {request.path} is not supported"))

    def adopt(self, task: Task) -> None:
        """Index by external id and by audio id."""
        if task.data.get("external"):
            self._by_external[task.account, task.data["external"]] = task
        if task.family == SPEECH.name:
            self._audios[task.account, f"a-{task.id}"] = task

    def events(self, task: Task) -> list[tuple[float, str]]:
        """One per status, when a callback_url was given (seed-003)."""
        if not task.data.get("callback"):
            return []
        last = WORDS[task.phase(task.end)]
        return [(task.made, "submitted"), (task.works_from, "processing"), (task.end, last)]

    def letter(self, task: Task, event: str, base: str) -> Letter:
        """The task, flat, as it was at that moment."""
        moment = {"submitted": task.made, "processing": task.works_from}.get(event, task.end)
        return Letter(task.data["callback"], msgspec.json.encode(self._view(task, moment, base)))

    def shot(self, task: Task, what: str, index: int) -> Shot | None:
        """Videos, pictures and speech."""
        family, data = BY_NAME[task.family], task.data
        width, height = self.size(tuple(data.get("shape") or (9, 16)))
        common = {
            "provider": "kling",
            "prompt": data.get("prompt", ""),
            "seed": task.serial * 16 + index,
            "label": f"kling/{family.name}",
        }
        if family.result == "videos" and what == "v" and index == 0:
            seconds, picture = task.data["seconds"], data["picture"]
            return Shot("clip", title=family.name, width=width, height=height, seconds=seconds, picture=picture, **common)
        if family.result == "images" and what == "p" and index < data["n"]:
            return Shot("still", title="image", width=width, height=height, picture=data["picture"], **common)
        if family.result == "audios" and what == "a" and index == 0:
            return Shot("speech", title="speech", seconds=data["seconds"], **common)
        return None

    def _request_id(self) -> str:
        self._requests += 1
        return f"{self.options.seed & 0xFFFFFFFF:08x}-{self._requests:012x}"

    def _good(self, data: object) -> Reply:
        return json_reply({"code": 0, "message": "SUCCEED", "request_id": self._request_id(), "data": data})

    def _creator(self, family: Family) -> Handler:
        async def create(request: Request) -> Reply:
            account = self._auth.account(request)
            body = json_object(request, "1200")
            if family is SPEECH:
                return self._speak(request, body, account)
            wanted = await self._checked(family, body, account)
            external = text(body, "external_task_id")
            known = self._by_external.get((account, external)) if external else None
            if known is not None:
                return self._repeated(known)
            task = self._submit(family, wanted, body, account, external or digest_of(request))
            return self._good(self._receipt(task))

        return create

    async def _checked(self, family: Family, body: dict[str, Any], account: str) -> Wanted:
        check: Callable[[], Wanted] = {
            AVATAR: lambda: self._rules.avatar(body, lambda audio: self._audio_seconds(account, audio)),
            IMAGE_VIDEO: lambda: self._rules.image_video(body),
            TEXT_VIDEO: lambda: self._rules.text_video(body),
            IMAGES: lambda: self._rules.image(body),
        }[family]
        size = sum(len(value) for value in body.values() if isinstance(value, str))
        return await anyio.to_thread.run_sync(check) if size > OFFLOAD else check()

    def _submit(self, family: Family, wanted: Wanted, body: dict[str, Any], account: str, handle: str) -> Task:
        data = {
            **wanted.data,
            "external": text(body, "external_task_id"),
            "callback": text(body, "callback_url"),
            "shape": wanted.shape,
            "picture": wanted.picture,
            "seconds": wanted.seconds,
        }
        draft = Draft("kling", family.name, account, handle, "kling", family.lane, 0.0, data=data, troubles=TROUBLES)
        draft.make_id = _task_id
        if family is AVATAR and wanted.seconds is None:
            data["seconds"] = self._guess(handle)
        draft.charge = _price(family, data)
        if family is IMAGES:
            draft.slots, draft.work = data["n"], "kling/image"
        return self.accept(draft)

    def _guess(self, handle: str) -> float:
        """5 to 12 seconds for a sound that was named by a foreign URL."""
        share = int.from_bytes(self.world.digest(f"sound/{handle}")[:4], "big") / 2**32
        return round(5 + 7 * share, 2)

    def _repeated(self, known: Task) -> Reply:
        if self.options.duplicate_id == "replay":
            return self._good(self._receipt(known))
        raise wrong(f"external_task_id '{known.data['external']}' already exists")

    def _speak(self, request: Request, body: dict[str, Any], account: str) -> Reply:
        if self.options.strict_keys and (unknown := sorted(set(body) - SPEECH_KEYS)):
            raise wrong(f"unknown key {unknown[0]}")
        words = text(body, "text", limit=1000, required=True)
        text(body, "voice_id", required=True)
        choice(body, "voice_language", ("zh", "en"), "zh")
        speed = number(body, "voice_speed", 0.8, 2.0, 1.0)
        data = {"prompt": words, "seconds": round(max(0.5, len(words) / 14 / speed), 2)}
        draft = Draft("kling", SPEECH.name, account, digest_of(request), "kling", SPEECH.lane, 0.05, data=data, instant=True)
        draft.make_id = _task_id
        task = self.accept(draft)
        return self._good(self._view(task, task.end, request.base))

    def _audio_seconds(self, account: str, audio: str) -> float:
        task = self._audios.get((account, audio))
        if task is None or self.world.now() - task.made > 30 * DAY:
            raise wrong(f"audio_id {audio} does not exist or is older than 30 days")
        return float(task.data["seconds"])

    def _sound_behind(self, source: str) -> float | None:
        task = self.world.tasks.get(source.partition("/")[2].rpartition("_")[0])
        return float(task.data["seconds"]) if task is not None and task.family == SPEECH.name else None

    def _getter(self, family: Family) -> Handler:
        async def get(request: Request) -> Reply:
            account = self._auth.account(request)
            task = self._find(family, account, request.params[0])
            return self._good(self._view(task, self.world.now(), request.base))

        return get

    def _find(self, family: Family, account: str, name: str) -> Task:
        task = self.world.tasks.get(name)
        if task is None and self.options.external_lookup == "path":
            task = self._by_external.get((account, name))
        if task is None or task.provider != "kling" or task.account != account or task.family != family.name:
            raise Refusal("1203", f"task {name} does not exist")
        return task

    def _lister(self, family: Family) -> Handler:
        async def listing(request: Request) -> Reply:
            account = self._auth.account(request)
            base, now = request.base, self.world.now()
            external = request.query.get("external_task_id")
            if external is not None:
                known = self._by_external.get((account, external))
                found = [known] if known is not None and known.family == family.name else []
            else:
                page = _whole(request, "pageNum", 1, 1000, 1)
                size = _whole(request, "pageSize", 1, 500, 30)
                tasks = self.world.account("kling", account).tasks.get(family.name, [])
                found = self._page(tasks, page, size)
            return self._good([self._view(task, now, base) for task in found])

        return listing

    def _page(self, tasks: list[Task], page: int, size: int) -> list[Task]:
        if self.options.list_order == "oldest":
            return tasks[(page - 1) * size : page * size]
        end = len(tasks) - (page - 1) * size
        return tasks[max(0, end - size) : max(0, end)][::-1]

    def _receipt(self, task: Task) -> dict[str, Any]:
        made = self.world.clock.millis(task.made)
        info = {"external_task_id": task.data["external"]} if task.data["external"] else {}
        return {"task_id": task.id, "task_status": "submitted", "task_info": info, "created_at": made, "updated_at": made}

    def _view(self, task: Task, now: float, base: str) -> dict[str, Any]:
        phase, millis = task.phase(now), self.world.clock.millis
        external = task.data.get("external")
        view: dict[str, Any] = {
            "task_id": task.id,
            "task_status": WORDS[phase],
            "task_status_msg": task.trouble if phase is Phase.FAILED else "",
            "task_info": {"external_task_id": external} if external else {},
            "created_at": millis(task.made),
            "updated_at": millis(task.changed(now)),
        }
        if phase is Phase.FAILED:
            view["final_unit_deduction"] = "0"
        if phase is Phase.DONE:
            view["final_unit_deduction"] = f"{task.charge:g}"
            view["watermark_info"] = {"enabled": False}
            view["task_result"] = self._result(task, base)
        return view

    def _result(self, task: Task, base: str) -> dict[str, Any]:
        result = BY_NAME[task.family].result
        if result == "images":
            links = [self._link(base, task, "p", index, "jpg") for index in range(task.data["n"])]
            return {"images": [{"index": index, "url": url, "watermark_url": ""} for index, url in enumerate(links)]}
        if result == "audios":
            url, seconds = self._link(base, task, "a", 0, "wav"), _seconds(task.data["seconds"])
            return {"audios": [{"id": f"a-{task.id}", "url": url, "duration": seconds}]}
        url, seconds = self._link(base, task, "v", 0, "mp4"), _seconds(task.data["seconds"])
        return {"videos": [{"id": f"v-{task.id}", "url": url, "watermark_url": "", "duration": seconds}]}

    def _link(self, base: str, task: Task, what: str, index: int, extension: str) -> str:
        return self.world.links.result(base, MediaRef("kling", task.id, what, index), extension)

    async def _voices(self, request: Request) -> Reply:
        self._auth.account(request)
        names = (("simulated-voice-1", "Calm"), ("simulated-voice-2", "Bright"))
        return self._good([{"voice_id": voice, "voice_name": name, "voice_language": "en"} for voice, name in names])

    async def _costs(self, request: Request) -> Reply:
        name = self._auth.account(request)
        _whole(request, "start_time", 0, 10**15, None)
        _whole(request, "end_time", 0, 10**15, None)
        account = self.world.account("kling", name)
        opened = self.world.clock.millis(0)
        pack = {
            "resource_pack_name": "Simulated pack",
            "resource_pack_id": "pack-1",
            "resource_pack_type": "decreasing_total",
            "total_quantity": self.options.credit("kling"),
            "remaining_quantity": round(account.credit, 6),
            "purchase_time": opened,
            "effective_time": opened,
            "invalid_time": opened + int(365 * DAY * 1000),
            "status": "online" if account.credit > 0 else "runOut",
        }
        wanted = request.query.get("resource_pack_name")
        packs = [pack] if wanted in (None, "", pack["resource_pack_name"]) else []
        return self._good({"code": 0, "msg": "success", "resource_pack_subscribe_infos": packs})


def _whole(request: Request, name: str, low: int, high: int, default: int | None) -> int:
    given = request.query.get(name)
    if given is None and default is not None:
        return default
    if given is None or not given.isascii() or not given.isdigit() or len(given) > 16 or not low <= int(given) <= high:
        raise wrong(f"{name} must be an integer in [{low},{high}]")
    return int(given)


def _task_id(digest: bytes, serial: int) -> str:
    return str(8 * 10**17 + serial * 10**6 + int.from_bytes(digest[:3], "big") % 10**6)


def _seconds(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")


def _price(family: Family, data: dict[str, Any]) -> float:
    """Units (kling.md 8)."""
    if family is AVATAR:
        return float(round(data["seconds"] * (0.8 if data["mode"] == "pro" else 0.4), 4))
    if family is IMAGES:
        return float(data["n"]) * 0.025
    std, pro = SLOW_MODELS.get(data["model"], (10.0, 10.0))
    return float((pro if data["mode"] == "pro" else std) * data["seconds"] / 5)
