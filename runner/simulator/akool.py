"""Pretend Akool: tokens, talking photo, image2Video v4, balance (akool.md; seed-004). Errors are HTTP 200 with a code."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from typing import Any, ClassVar

from runner.simulator.akool_letters import sealed
from runner.simulator.links import MediaRef
from runner.simulator.provider import Letter, PretendProvider, Vocabulary, body_digest, is_web_address, json_object
from runner.simulator.studio import Shot
from runner.simulator.tasks import Phase, Task
from runner.simulator.web import Refusal, Reply, Request, Route, json_reply
from runner.simulator.world import Draft, World

MESSAGES = {
    "1003": "Parameter error or Parameter can not be empty",
    "1005": "Operation is too frequent",
    "1006": "Your quota is not enough",
    "1008": "The content you get does not exist",
    "1009": "You do not have permission to operate",
    "1015": "Create video error, please try again later",
    "1101": "Invalid authorization or The request token has expired",
    "1102": "Authorization cannot be empty",
    "1200": "The account has been banned",
    "1201": "Create audio error, please try again later",
}
TROUBLES = ("No face was detected in the picture", "Create video error, please try again later")
VIDEO_WORDS = {Phase.QUEUED: 1, Phase.WORKING: 2, Phase.DONE: 3, Phase.FAILED: 4}
RATES = {"720": (20, 40), "720p": (20, 40), "1080": (25, 50), "1080p": (25, 50), "4k": (30, 60)}
"""Credits of image2Video for 5 and 10 seconds (akool.md 9)."""
SHARED_CLIENT = "simulated-client-0001"
"""IV and signature need a client id; callers with nothing but an API key get this one."""


@dataclass(frozen=True, slots=True)
class Client:
    """Whose secret seals the callbacks of an account."""

    name: str
    secret: str


class Akool(PretendProvider):
    """Accounts are told apart by the secret alone: a token and the API key of one secret are one account."""

    name: ClassVar[str] = "akool"
    words: ClassVar[Vocabulary] = Vocabulary(frozenset({"video_status", "status"}), 3, 9, frozenset({"video", "video_url"}))
    fault_codes: ClassVar[dict[str, str]] = {
        "rate_limit": "1005",
        "concurrency": "1005",
        "out_of_credit": "1006",
        "banned": "1200",
        "auth_expired": "1101",
        "server_error": "500",
    }

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.callback_tries = 1 + self.options.akool_retries
        known = self.options.account("akool")
        self._known = Client(known["client_id"], known["client_secret"])
        self._clients: dict[str, Client] = {_account_name(self._known.secret): self._known}

    def routes(self) -> list[Route]:
        """v3 talking photo, v4 image2Video, token and quota."""
        v3, v4 = "/api/open/v3", "/api/open/v4/image2Video"
        return [
            Route("POST", f"{v3}/getToken", "token.create", self._token),
            Route("POST", f"{v3}/content/video/createbytalkingphoto", "talking_photo.submit", self._talking),
            Route("GET", f"{v3}/content/video/infobymodelid", "talking_photo.get", self._info),
            Route("GET", f"{v3}/faceswap/quota/info", "balance.get", self._quota),
            Route("POST", f"{v4}/createBySourcePrompt", "image2video.submit", self._clip),
            Route("POST", f"{v4}/createBySourcePrompt/batch", "image2video_batch.submit", self._clips),
            Route("POST", f"{v4}/resultsByIds", "image2video.list", self._results),
        ]

    def refuse(self, refusal: Refusal) -> Reply:
        """``{"code", "msg"}`` inside HTTP 200."""
        code = refusal.code
        if code == "500":
            return Reply(refusal.status or 500, b"Internal Server Error", "text/plain", refusal=code)
        message = refusal.message or MESSAGES.get(code, "error")
        reply = json_reply({"code": int(code) if code.isdigit() else code, "msg": message}, refusal.status or 200)
        reply.refusal = code
        return reply

    def no_route(self, request: Request) -> Reply:
        """A plain 404 of the gateway."""
        return Reply(404, f"Cannot {request.method} {request.path}".encode(), "text/plain", refusal="404")

    def events(self, task: Task) -> list[tuple[float, str]]:
        """Status 2, then 3 or 4."""
        if not task.data.get("hook"):
            return []
        return [(task.works_from, "2"), (task.end, str(VIDEO_WORDS[task.phase(task.end)]))]

    def letter(self, task: Task, event: str, base: str) -> Letter:
        """Sealed for the account's own client."""
        client = self._clients.get(task.account, self._known)
        payload: dict[str, Any] = {"_id": task.id, "status": int(event), "type": task.data["type"]}
        if event == "3":
            payload["url"] = self._link(task, base)
        millis = self.world.clock.millis(self.world.now())
        nonce = str(int.from_bytes(self.world.digest(f"{task.id}/{event}")[:2], "big"))
        return Letter(task.data["hook"], sealed(payload, client.name, client.secret, millis=millis, nonce=nonce))

    def shot(self, task: Task, what: str, index: int) -> Shot | None:
        """One clip."""
        if what != "v" or index != 0:
            return None
        width, height = self.size((9, 16))
        data = task.data
        seed, prompt, picture = task.serial, data["prompt"], data["picture"]
        return Shot(
            "clip",
            "akool",
            data["type"],
            prompt,
            width,
            height,
            data["seconds"],
            seed,
            picture,
            f"akool/{task.family.replace('_', '-')}",
        )

    def _link(self, task: Task, base: str) -> str:
        return self.world.links.result(base, MediaRef("akool", task.id, "v", 0), "mp4")

    def _account(self, request: Request) -> str:
        header, key = request.headers.get("authorization"), request.headers.get("x-api-key")
        if header is None and not (key or "").strip():
            raise Refusal("1102")
        if header is not None:
            return self._bearer(header)
        return self._learn("", (key or "").strip())

    def _bearer(self, header: str) -> str:
        scheme, _, token = header.strip().partition(" ")
        if not scheme or (scheme.lower() == "bearer" and not token.strip()):
            raise Refusal("1102")
        account, _, signature = token.strip().rpartition(".")
        if scheme.lower() != "bearer" or not hmac.compare_digest(self._sign(account).encode(), signature.encode()):
            raise Refusal("1101")
        return account.rpartition(".")[2]

    def _sign(self, account: str) -> str:
        return self.world.digest(f"akool-token/{account}").hex()

    def _learn(self, client: str, secret: str) -> str:
        """The account of a secret; strangers are refused unless any credentials will do."""
        account = _account_name(secret)
        known = self._clients.get(account)
        if client and client == self._known.name and secret != self._known.secret:
            raise Refusal("1101")
        if secret == self._known.secret and client not in ("", self._known.name):
            raise Refusal("1101")
        if secret != self._known.secret and not self.options.any_credentials:
            raise Refusal("1101")
        if known is None or (client and known.name == SHARED_CLIENT):
            self._clients[account] = Client(client or SHARED_CLIENT, secret)
        return account

    async def _token(self, request: Request) -> Reply:
        body = json_object(request, "1003")
        client, secret = body.get("clientId"), body.get("clientSecret")
        if not isinstance(client, str) or not isinstance(secret, str) or not client or not secret:
            raise Refusal("1003")
        head = base64.urlsafe_b64encode(b'{"alg":"HS256"}').decode().rstrip("=")
        account = f"{head}.{self._learn(client, secret)}"
        return json_reply({"code": 1000, "token": f"{account}.{self._sign(account)}"})

    async def _talking(self, request: Request) -> Reply:
        account = self._account(request)
        body = json_object(request, "1003")
        picture = self._address(body, "talking_photo_url", required=True)
        sound = self._address(body, "audio_url", required=True)
        hook = self._hook(body, "webhookUrl")
        prompt, resolution = _text(body, "prompt"), _text(body, "resolution") or "720"
        if resolution not in ("720", "1080"):
            raise Refusal("1003", "resolution must be 720 or 1080")
        data = {"prompt": prompt, "picture": picture, "hook": hook, "type": "talking photo", "photo": body["talking_photo_url"]}
        data["seconds"] = self._seconds(sound, hook or body_digest(request))
        draft = self._draft(request, account, "talking_photo", self.options.price("akool/talking"), data)
        return _good(self._created(self.accept(draft)))

    def _seconds(self, sound: str, handle: str) -> float:
        """What the sound lasts when it is one of ours, otherwise 5 to 12 seconds."""
        task = self.world.tasks.get(sound.partition("/")[2].rpartition("_")[0])
        if task is not None and task.family == "tts":
            return float(task.data["seconds"])
        share = int.from_bytes(self.world.digest(f"sound/{handle}")[:4], "big") / 2**32
        return round(5 + 7 * share, 2)

    def _draft(self, request: Request, account: str, family: str, price: float, data: dict[str, Any]) -> Draft:
        handle = data["hook"] or body_digest(request)
        draft = Draft("akool", family, account, handle, "akool", "akool", price, data=data, troubles=TROUBLES)
        draft.make_id = lambda digest, serial: f"{serial & 0xFFFFFFFF:08x}{digest.hex()[:16]}"
        return draft

    def _created(self, task: Task) -> dict[str, Any]:
        return {
            "_id": task.id,
            "create_time": self.world.clock.millis(task.made),
            "uid": 101400,
            "type": 2,
            "from": 2,
            "video_lock_duration": task.data["seconds"],
            "deduction_lock_duration": task.charge,
            "external_video": "",
            "talking_photo": task.data["photo"],
            "video": "",
            "video_status": 1,
            "storage_loc": 1,
            "faceswap_quality": 2,
        }

    async def _info(self, request: Request) -> Reply:
        account = self._account(request)
        name = request.query.get("video_model_id", "")
        if not name:
            raise Refusal("1003")
        task = self.world.tasks.get(name)
        if task is None or task.provider != "akool" or task.family != "talking_photo":
            raise Refusal("1008")
        if self.world.now() < task.made + self.options.late_ids:
            raise Refusal("1008")
        if task.account != account:
            raise Refusal("1009")
        return _good(self._view(task, self.world.now(), request.base))

    def _view(self, task: Task, now: float, base: str) -> dict[str, Any]:
        phase = task.phase(now)
        done, failed = phase is Phase.DONE, phase is Phase.FAILED
        return {
            "_id": task.id,
            "create_time": self.world.clock.millis(task.made),
            "uid": 101400,
            "team_id": "",
            "video_id": "",
            "video_status": VIDEO_WORDS[phase],
            "video": self._link(task, base) if done else "",
            "progress": 100 if done else 0 if phase is Phase.QUEUED else 50,
            "deduction_duration": task.charge if done else 0,
            "error_code": 1 if failed else 0,
            "error_reason": task.trouble if failed else "",
        }

    def _clip_draft(self, request: Request, account: str, body: dict[str, Any]) -> Draft:
        picture = self._address(body, "image_url", required=True)
        prompt = _text(body, "prompt")
        if not prompt and not _text(body, "effect_code"):
            raise Refusal("1003", "prompt cannot be empty")
        resolution = _text(body, "resolution") or "720p"
        seconds, kind = body.get("video_length", 5), body.get("audio_type", 3)
        if resolution not in RATES or seconds not in (5, 10) or isinstance(seconds, bool) or kind not in (1, 2, 3):
            raise Refusal("1003")
        if kind == 2:
            self._address(body, "audio_url", required=True)
        price = RATES[resolution][0 if seconds == 5 else 1]
        data = {"prompt": prompt, "picture": picture, "hook": self._hook(body, "webhookurl"), "type": "image2video"}
        data |= {"seconds": seconds, "image_url": body["image_url"], "file_name": body.get("file_name", "")}
        return self._draft(request, account, "image2video", float(price), data)

    async def _clip(self, request: Request) -> Reply:
        account = self._account(request)
        draft = self._clip_draft(request, account, json_object(request, "1003"))
        return _good(self._result(self.accept(draft), self.world.now(), request.base))

    async def _clips(self, request: Request) -> Reply:
        """Several of one kind; those that find no slot or credit are named in ``errorList``."""
        account = self._account(request)
        body = json_object(request, "1003")
        amount = body.get("count", 1)
        if isinstance(amount, bool) or not isinstance(amount, int) or not 1 <= amount <= 10:
            raise Refusal("1003", "count must be between 1 and 10")
        good: list[dict[str, Any]] = []
        bad: list[dict[str, Any]] = []
        for _number in range(amount):
            try:
                task = self.accept(self._clip_draft(request, account, body))
                good.append(self._result(task, task.made, request.base))
            except Refusal as refusal:
                if not good and refusal.code == "1003":
                    raise
                bad.append({"code": int(refusal.code), "msg": MESSAGES.get(refusal.code, refusal.message)})
        return _good({"successList": good, "errorList": bad})

    async def _results(self, request: Request) -> Reply:
        account = self._account(request)
        names = json_object(request, "1003").get("_ids")
        if not isinstance(names, str) or not names.strip():
            raise Refusal("1003")
        found = [self.world.tasks.get(name.strip()) for name in names.split(",")]
        now, base = self.world.now(), request.base
        shown = [
            self._result(task, now, base)
            for task in found
            if task is not None and task.account == account and task.provider == "akool" and task.family == "image2video"
        ]
        return _good({"result": shown})

    def _result(self, task: Task, now: float, base: str) -> dict[str, Any]:
        phase, data = task.phase(now), task.data
        failed = phase is Phase.FAILED
        return {
            "_id": task.id,
            "create_time": self.world.clock.millis(task.made),
            "update_time": self.world.clock.millis(task.changed(now)),
            "status": VIDEO_WORDS[phase],
            "video_url": self._link(task, base) if phase is Phase.DONE else "",
            "video_duration": data["seconds"] if phase is Phase.DONE else 0,
            "deduction_credit": 0 if failed else task.charge,
            "webhookUrl": data["hook"],
            "file_name": data["file_name"],
            "image_url": data["image_url"],
            "prompt": data["prompt"],
            "error_code": 1 if failed else 0,
            "error_reason": task.trouble if failed else "",
        }

    async def _quota(self, request: Request) -> Reply:
        account = self.world.account("akool", self._account(request))
        return _good({"credit": round(account.credit, 4)})

    def _address(self, body: dict[str, Any], key: str, *, required: bool = False) -> str:
        value = _text(body, key)
        if not value and not required:
            return ""
        if not is_web_address(value):
            raise Refusal("1003", f"{key} must be a url")
        try:
            return self.world.picture_source(value)
        except ValueError as error:
            raise Refusal("1003", f"{key} {error}") from None

    def _hook(self, body: dict[str, Any], key: str) -> str:
        value = _text(body, key)
        if value and not is_web_address(value):
            raise Refusal("1003", f"{key} must be a url")
        return value


def _good(data: object) -> Reply:
    return json_reply({"code": 1000, "msg": "OK", "data": data})


def _account_name(secret: str) -> str:
    return "account-" + hashlib.blake2b(secret.encode(), digest_size=6).hexdigest()


def _text(body: dict[str, Any], key: str) -> str:
    value = body.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Refusal("1003", f"{key} must be a string")
    return value
