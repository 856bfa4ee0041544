"""Pretend Creatify: product_to_videos, avatars, voices, credits (creatify.md; seed-000).

One record moves through two paid stages. Here each stage is a task of its own; the record is what they show together. There is no
envelope: a good reply *is* the record.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, ClassVar
from urllib.parse import urlsplit

import msgspec

from runner.simulator.links import MediaRef
from runner.simulator.provider import Letter, PretendProvider, Vocabulary, body_digest, is_web_address
from runner.simulator.studio import Shot
from runner.simulator.tasks import Phase, Task
from runner.simulator.web import NotJson, Refusal, Reply, Request, Route, json_reply
from runner.simulator.world import Draft, World

ROOT = "/api/product_to_videos"
LONGEST_URL = 200
MOST_IDS = 100
TYPES = ("product_anyshot", "product_avatar")
RATIOS = {"9x16": (9, 16), "16x9": (16, 9), "1x1": (1, 1)}
MOTIONS = ("talking", "display")
TROUBLES = (
    "Failed to generate: the product could not be recognised.",
    "Generation failed because of a content policy violation.",
)
VIDEO_SECONDS = 5.0
CALLED_BACK = (
    "id",
    "failed_reason",
    "type",
    "product_url",
    "aspect_ratio",
    "override_avatar",
    "product_showcase_url",
    "image_prompt",
    "video_prompt",
    "status",
    "generated_video_url",
    "generated_photo_url",
    "created_at",
    "updated_at",
    "webhook_url",
)
"""Fields of a webhook, in the order of seed-000: neither motion_style nor regen_*."""
STATUSES = {
    "detail": 400,
    "invalid": 400,
    "auth": 401,
    "permission": 403,
    "missing": 404,
    "method": 405,
    "throttled": 429,
    "server": 500,
}
DETAILS = {
    "auth": "Invalid API ID or API key.",
    "permission": "You do not have permission to perform this action.",
    "missing": "Not found.",
    "credit": "Not enough credits.",
}


class Creatify(PretendProvider):
    """Accounts are API ids. Errors follow Django REST conventions."""

    name: ClassVar[str] = "creatify"
    words: ClassVar[Vocabulary] = Vocabulary(
        frozenset({"status"}), "video_generated", "archiving", frozenset({"generated_photo_url", "generated_video_url"})
    )
    fault_codes: ClassVar[dict[str, str]] = {
        "rate_limit": "throttled",
        "concurrency": "throttled",
        "out_of_credit": "credit",
        "banned": "permission",
        "auth_expired": "auth",
        "server_error": "server",
    }

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._videos: dict[str, list[Task]] = {}
        self._avatars = [str(uuid.UUID(bytes=world.digest(f"avatar/{number}")[:16])) for number in range(4)]

    def routes(self) -> list[Route]:
        """The official paths, all with their closing slash."""
        one = ROOT + "/{id}"
        return [
            Route("POST", f"{ROOT}/gen_image/", "image.submit", self._gen_image),
            Route("GET", f"{ROOT}/", "product.list", self._list),
            Route("GET", f"{one}/", "product.get", self._get),
            Route("POST", f"{one}/gen_video/", "video.submit", self._gen_video),
            Route("POST", f"{one}/regen_image/", "regen_image.submit", self._regen_image),
            Route("POST", f"{one}/regen_video/", "regen_video.submit", self._regen_video),
            Route("GET", "/api/personas/", "personas.list", self._personas),
            Route("GET", "/api/voices/", "voices.list", self._voices),
            Route("GET", "/api/remaining_credits/", "balance.get", self._credits),
        ]

    def refuse(self, refusal: Refusal) -> Reply:
        """``{"detail": ...}``, or the field errors that ``detail`` holds."""
        code = refusal.code
        status = refusal.status or (self.options.out_of_credit_status if code == "credit" else STATUSES.get(code, 400))
        if code == "server":
            reply = Reply(status, b"<h1>Server Error (500)</h1>", "text/html")
        elif code == "throttled":
            wait = max(1, round(refusal.retry_after))
            text = f"Request was throttled. Expected available in {wait} seconds."
            reply = json_reply({"detail": text}, status, Retry_After=str(wait))
        elif refusal.detail is not None:
            reply = json_reply(refusal.detail, status)
        else:
            reply = json_reply({"detail": DETAILS.get(code, refusal.message)}, status)
        reply.refusal = str(status)
        return reply

    def no_route(self, request: Request) -> Reply:
        """Without its closing slash a GET is sent there; everything else is not found."""
        if request.method in ("GET", "HEAD") and not request.path.endswith("/"):
            target = f"{request.mount}{request.path}/" + (f"?{request.query_string}" if request.query_string else "")
            return Reply(301, b"", "text/html", {"location": target})
        return Reply(
            404, b"<h1>Not Found</h1><p>The requested resource was not found on this server.</p>", "text/html", refusal="404"
        )

    def no_method(self, request: Request) -> Reply:
        """405 as Django REST words it."""
        return self.refuse(Refusal("method", f'Method "{request.method}" not allowed.'))

    def adopt(self, task: Task) -> None:
        """Tie a video stage to its record."""
        if task.family == "video":
            self._videos.setdefault(task.data["record"], []).append(task)

    def events(self, task: Task) -> list[tuple[float, str]]:
        """One at the end of each stage that was given a webhook_url."""
        return [(task.end, "end")] if task.data.get("callback") else []

    def letter(self, task: Task, event: str, base: str) -> Letter:
        """The record as it stands when the stage ends; there is no other ``event``."""
        del event
        record = self.world.tasks[task.data["record"]] if task.family == "video" else task
        view = self._view(record, task.end, base)
        return Letter(task.data["callback"], msgspec.json.encode({key: view[key] for key in CALLED_BACK}))

    def shot(self, task: Task, what: str, index: int) -> Shot | None:
        """The still of a record, or the clip of a video stage; ``index`` tells regenerated clips apart."""
        data = task.data
        width, height = self.size(RATIOS.get(data.get("aspect_ratio") or "9x16", (9, 16)))
        seed = task.serial
        if task.family == "video" and what == "v" and index == 0:
            record = self.world.tasks[data["record"]]
            picture = f"media:{self._photo(record)}"
            prompt = data.get("video_prompt") or ""
            return Shot(
                "clip", "creatify", "product_video", prompt, width, height, VIDEO_SECONDS, seed, picture, "creatify/product-video"
            )
        if task.family == "image" and what == "p" and index == 0:
            prompt = data.get("image_prompt") or ""
            return Shot(
                "still", "creatify", data["type"], prompt, width, height, 0, seed, data["picture"], "creatify/product-image"
            )
        return None

    def _account(self, request: Request) -> str:
        name, key = request.headers.get("x-api-id", ""), request.headers.get("x-api-key", "")
        known = self.options.account("creatify")
        if not name.strip() or not key.strip():
            raise Refusal("auth")
        if (name == known["api_id"] and key != known["api_key"]) or (
            name != known["api_id"] and not self.options.any_credentials
        ):
            raise Refusal("auth")
        return name

    async def _gen_image(self, request: Request) -> Reply:
        account = self._account(request)
        body = _body(request)
        fields = _Fields(body)
        fields.url("product_url", required=True)
        fields.url("product_showcase_url", limit=None)
        fields.url("webhook_url")
        fields.choice("type", TYPES)
        fields.choice("aspect_ratio", tuple(RATIOS))
        fields.text("image_prompt")
        kind = body.get("type") or TYPES[0]
        if kind == "product_avatar":
            fields.avatar("override_avatar", self._avatars if self.options.strict_ids else None)
        picture = fields.picture("product_url", self.world.picture_source)
        fields.done()
        data = {
            key: body.get(key)
            for key in ("product_url", "aspect_ratio", "override_avatar", "product_showcase_url", "image_prompt")
        }
        data |= {"type": kind, "picture": picture, "callback": body.get("webhook_url"), "webhook_url": body.get("webhook_url")}
        return self._created(request, self._stage("image", account, _handle("image", request, body), data))

    def _stage(self, family: str, account: str, handle: str, data: dict[str, Any]) -> Task:
        work = f"creatify/{family}"
        draft = Draft(
            "creatify", family, account, handle, work, "creatify", self.options.price(work), data=data, troubles=TROUBLES
        )
        draft.make_id = lambda digest, _serial: str(uuid.UUID(bytes=digest[:16], version=4))
        return self.accept(draft)

    def _created(self, request: Request, record: Task) -> Reply:
        return json_reply(self._view(record, record.made, request.base), self.options.create_status)

    def _record(self, request: Request) -> Task:
        account = self._account(request)
        record = self.world.tasks.get(request.params[0].lower())
        if record is None or record.provider != "creatify" or record.family != "image" or record.account != account:
            raise Refusal("missing")
        return record

    async def _gen_video(self, request: Request) -> Reply:
        record = self._record(request)
        body = self._video_body(request)
        self._check_ready(record)
        running = self._videos.get(record.id, [])
        again = bool(running) and running[-1].phase(self.world.now()) is not Phase.FAILED
        if again and self.options.repeat_stage == "refuse":
            raise Refusal("invalid", detail=["The video of this product has already been requested."])
        stage = self._film(record, request, body)
        return json_reply(self._view(record, stage.made, request.base), self.options.create_status)

    def _video_body(self, request: Request) -> dict[str, Any]:
        body = _body(request)
        fields = _Fields(body)
        fields.choice("motion_style", MOTIONS)
        fields.text("video_prompt")
        fields.url("webhook_url")
        fields.done()
        return body

    def _check_ready(self, record: Task) -> None:
        if record.data.get("photo_of") is None and record.phase(self.world.now()) is not Phase.DONE:
            raise Refusal("invalid", detail=["The image of this product has not been generated."])

    def _film(self, record: Task, request: Request, body: dict[str, Any], *, record_id: str = "") -> Task:
        """Accept the video stage of ``record``, or of the new record that starts from it."""
        stage = "regen_video" if record_id else "video"
        handle = _handle(stage, request, body, fallback="" if record_id else f"video:{record.id}")
        data = {
            "record": record_id or record.id,
            "callback": body.get("webhook_url"),
            "aspect_ratio": record.data.get("aspect_ratio"),
        }
        data |= {key: body.get(key) for key in ("motion_style", "video_prompt", "webhook_url")}
        return self._stage("video", record.account, handle, data)

    async def _regen_image(self, request: Request) -> Reply:
        source = self._record(request)
        body = _body(request)
        fields = _Fields(body)
        fields.text("image_prompt")
        fields.url("webhook_url")
        fields.done()
        data = {**source.data, "callback": body.get("webhook_url"), "webhook_url": body.get("webhook_url")}
        data |= {"regen_type": "image", "regen_source_id": source.id, "photo_of": None}
        if body.get("image_prompt") is not None:
            data["image_prompt"] = body["image_prompt"]
        handle = _handle("regen_image", request, body)
        return self._created(request, self._stage("image", source.account, handle, data))

    async def _regen_video(self, request: Request) -> Reply:
        source = self._record(request)
        body = self._video_body(request)
        self._check_ready(source)
        data = {**source.data, "callback": None, "webhook_url": body.get("webhook_url"), "regen_type": "video"}
        data |= {"regen_source_id": source.id, "photo_of": str(self._photo(source))}
        record_id = str(uuid.UUID(bytes=self.world.draw("creatify")[0][:16], version=4))
        self._film(source, request, body, record_id=record_id)
        return self._created(request, self._copy(source, data, record_id))

    def _copy(self, source: Task, data: dict[str, Any], record_id: str) -> Task:
        """A record that starts with the finished picture of another: free, at once, no slot."""
        handle = f"copy:{source.id}"
        draft = Draft("creatify", "image", source.account, handle, "creatify/image", "", 0.0, data=data, instant=True)
        draft.make_id = lambda _digest, _serial: record_id
        return self.accept(draft)

    async def _get(self, request: Request) -> Reply:
        record = self._record(request)
        return json_reply(self._view(record, self.world.now(), request.base))

    async def _list(self, request: Request) -> Reply:
        account = self._account(request)
        records = self.world.account("creatify", account).tasks.get("image", [])
        if "ids" in request.query:
            names = [name.strip().lower() for name in request.query["ids"].split(",") if name.strip()]
            if not names or len(names) > MOST_IDS:
                raise Refusal("invalid", detail={"ids": [f"Between 1 and {MOST_IDS} ids are allowed."]})
            found = [self.world.tasks[name] for name in dict.fromkeys(names) if name in self.world.tasks]
            records = [
                task for task in found if task.account == account and task.provider == "creatify" and task.family == "image"
            ]
        now, base = self.world.now(), request.base
        return json_reply([self._view(record, now, base) for record in records])

    def _photo(self, record: Task) -> MediaRef:
        held = record.data.get("photo_of")
        task = held.partition("/")[2].rpartition("_")[0] if held else record.id
        return MediaRef("creatify", task, "p", 0)

    def _view(self, record: Task, now: float, base: str) -> dict[str, Any]:
        data = record.data
        videos = [task for task in self._videos.get(record.id, []) if task.made <= now]
        video = videos[-1] if videos else None
        stage = video or record
        links = self.world.links
        phase = record.phase(now)
        has_photo = phase is Phase.DONE
        has_video = video is not None and video.phase(now) is Phase.DONE
        view = {"id": record.id, "type": data["type"]}
        view |= {key: data.get(key) for key in ("product_url", "aspect_ratio", "override_avatar")}
        view |= {
            "motion_style": video.data.get("motion_style") if video else None,
            "product_showcase_url": data.get("product_showcase_url"),
            "image_prompt": data.get("image_prompt"),
            "video_prompt": video.data.get("video_prompt") if video else None,
            "status": _status(record, video, now),
            "generated_photo_url": links.result(base, self._photo(record), "jpg") if has_photo else None,
            "generated_video_url": links.result(base, MediaRef("creatify", video.id, "v", 0), "mp4")
            if video and has_video
            else None,
            "failed_reason": stage.trouble if stage.phase(now) is Phase.FAILED else None,
            "webhook_url": self._webhook_url(record, video),
            "created_at": self._moment(record.made),
            "updated_at": self._moment(stage.changed(now)),
        }
        if data.get("regen_type"):
            view |= {"regen_type": data["regen_type"], "regen_source_id": data["regen_source_id"]}
        return view

    def _webhook_url(self, record: Task, video: Task | None) -> str | None:
        """The documents leave open whether the second stage gives its own webhook_url back."""
        of_video = video.data.get("webhook_url") if video else None
        told: str | None = record.data.get("webhook_url")
        return told if self.options.webhook_echo == "first" else of_video or told

    def _moment(self, simulated: float) -> str:
        moment = datetime.fromtimestamp(self.world.clock.wall(simulated), UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    async def _personas(self, request: Request) -> Reply:
        self._account(request)
        faces = zip(self._avatars, ("Ada", "Ben", "Cleo", "Dara"), ("f", "m", "f", "m"), strict=True)
        return json_reply(
            [{"id": avatar, "creator_name": name, "gender": gender, "is_active": True} for avatar, name, gender in faces]
        )

    async def _voices(self, request: Request) -> Reply:
        self._account(request)
        accent = {"id": str(uuid.UUID(bytes=self.world.digest("voice")[:16])), "accent_name": "American", "preview_url": None}
        return json_reply([{"name": "Simulated voice", "gender": "female", "accents": [accent]}])

    async def _credits(self, request: Request) -> Reply:
        credit = self.world.account("creatify", self._account(request)).credit
        return json_reply({"remaining_credits": int(credit) if credit == int(credit) else round(credit, 4)})


def _status(record: Task, video: Task | None, now: float) -> str:
    if video is not None:
        return {Phase.DONE: "video_generated", Phase.FAILED: "failed"}.get(video.phase(now), "video_generating")
    words = {Phase.QUEUED: "initializing", Phase.WORKING: "image_generating", Phase.DONE: "image_generated"}
    return words.get(record.phase(now), "failed")


def _handle(stage: str, request: Request, body: dict[str, Any], fallback: str = "") -> str:
    """The query of the webhook, which is where a client can put a marker; per stage, since both stages are paid."""
    query = urlsplit(body.get("webhook_url") or "").query
    return f"{stage}:{query}" if query else fallback or f"{stage}:{body_digest(request)}"


def _body(request: Request) -> dict[str, Any]:
    try:
        value = request.json() if request.body else {}
    except NotJson as error:
        raise Refusal("detail", f"JSON parse error - {error}") from None
    if not isinstance(value, dict):
        kind = {list: "list", str: "str", bool: "bool", int: "int", float: "float"}.get(type(value), "NoneType")
        raise Refusal("invalid", detail={"non_field_errors": [f"Invalid data. Expected a dictionary, but got {kind}."]})
    return value


class _Fields:
    """Collects the messages of all fields, as a Django serializer does."""

    def __init__(self, body: dict[str, Any]) -> None:
        self._body = body
        self._errors: dict[str, list[str]] = {}

    def text(self, key: str, limit: int | None = None, *, required: bool = False) -> str:
        """A string; null and absent are fine unless it is required."""
        value = self._body.get(key)
        if key not in self._body:
            message = "This field is required." if required else ""
        elif value is None:
            message = "This field may not be null." if required else ""
        elif not isinstance(value, str):
            message = "Not a valid string."
        elif not value.strip() and required:
            message = "This field may not be blank."
        elif limit is not None and len(value) > limit:
            message = f"Ensure this field has no more than {limit} characters."
        else:
            return value
        if message:
            self._errors.setdefault(key, []).append(message)
        return ""

    def url(self, key: str, limit: int | None = LONGEST_URL, *, required: bool = False) -> None:
        """An http(s) address."""
        value = self.text(key, limit, required=required)
        if value and not is_web_address(value):
            self._errors.setdefault(key, []).append("Enter a valid URL.")

    def choice(self, key: str, allowed: tuple[str, ...]) -> None:
        """One of a fixed set."""
        value = self._body.get(key)
        if value is not None and (not isinstance(value, str) or value not in allowed):
            self._errors.setdefault(key, []).append(f'"{value}" is not a valid choice.')

    def avatar(self, key: str, known: list[str] | None) -> None:
        """A UUID, of the known ones if those are given."""
        value = self._body.get(key)
        if value is None:
            return
        try:
            name = str(uuid.UUID(value)) if isinstance(value, str) else ""
        except ValueError:
            name = ""
        if not name:
            self._errors.setdefault(key, []).append("Must be a valid UUID.")
        elif known is not None and name not in known:
            self._errors.setdefault(key, []).append("Avatar does not exist.")

    def picture(self, key: str, own: Callable[[str], str]) -> str:
        """The source for drawing when the address is one of ours."""
        value = self._body.get(key)
        if not is_web_address(value):
            return ""
        try:
            return own(str(value))
        except ValueError as error:
            self._errors.setdefault(key, []).append(f"The image {error}.")
            return ""

    def done(self) -> None:
        """Refuse when anything was wrong."""
        if self._errors:
            raise Refusal("invalid", detail=self._errors)
