"""A provider that exists only here: its server keeps books of what it was paid for, and fails as scripted. All in loop time."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import anyio
from PIL import Image
from pydantic import BaseModel, ConfigDict

from runner.artifacts import ArtifactStore
from runner.errors import (
    Deferred,
    DownloadFailed,
    Halted,
    MaybeSent,
    NotSent,
    ProviderError,
    Refused,
    Transient,
    Uncertain,
    VerificationFailed,
)
from runner.model import (
    JSON,
    Accepted,
    MediaInfo,
    MediaKind,
    Observation,
    Phase,
    RemoteOutput,
    StoredArtifact,
    Submission,
)
from runner.seams import (
    Authorisation,
    Expected,
    Fetched,
    Flow,
    MediaRule,
    Operation,
    OperationFacts,
    OutputSpec,
    ProviderFacts,
    Request,
    Response,
)

ERRORS: Mapping[str, type[ProviderError]] = {
    "deferred": Deferred,
    "transient": Transient,
    "refused": Refused,
    "halted": Halted,
    "uncertain": Uncertain,
}


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong with one request. ``kind``: an error class of ``ERRORS``, or

    ``not_sent``, ``lost_request`` (never arrived, nobody knows), ``late_request`` (arrives after ten seconds, nobody knows),
    ``lost_reply`` (arrived, nobody knows), ``torn_reply``, ``no_id``.
    """

    kind: str
    cause: str = ""
    retry_after: float | None = None


@dataclass
class Task:
    """One piece of paid work at the server."""

    id: str
    key: str
    operation: str
    params: Mapping[str, Any]
    began: float
    seconds: float
    ending: str = "succeeded"
    """``succeeded``, ``failed``, ``empty`` (success without outputs), ``odd`` (a status word that nobody documented), ``gone``."""

    def phase(self, now: float) -> str:
        """What the server says of it."""
        if self.ending in {"odd", "gone"}:
            return self.ending
        return self.ending if now >= self.began + self.seconds else "running"


Script = Callable[[str, Mapping[str, Any], int], Fault | None]
"""(kind of request, its document, how many of that kind for that key came before) -> what goes wrong, or None."""


def no_faults(kind: str, document: Mapping[str, Any], earlier: int) -> Fault | None:
    """Everything works."""


@dataclass
class Server:
    """One account at the provider. ``slots`` is its own limit, enforced whatever the client believes."""

    slots: int = 1_000_000
    seconds: float = 30.0
    latency: float = 0.05
    script: Script = no_faults
    lifetime: Callable[[Mapping[str, Any]], float] | None = None
    """Seconds of one task, by its parameters."""
    ending: Callable[[str, Mapping[str, Any], int], str] = lambda _key, _params, _nth: "succeeded"
    """(key, parameters, how many tasks came before) -> how the task ends."""
    refunds: bool = True
    price: float = 2.0
    tasks: dict[str, Task] = field(default_factory=dict)
    paid: Counter[str] = field(default_factory=Counter)
    """Idempotency key -> how many tasks were accepted for it: more than one is paid twice."""
    seen: Counter[tuple[str, str]] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    fetches: Counter[str] = field(default_factory=Counter)
    download: Callable[[str, int], str] = lambda _url, _nth: "good"
    """(link, how often before) -> ``good``, ``expired``, ``wrong`` or ``wrong-2``."""
    peak: int = 0
    late: list[tuple[float, Mapping[str, Any]]] = field(default_factory=list)
    """Submits on their way: (when they arrive, document)."""
    submits: list[float] = field(default_factory=list)

    def running(self, now: float) -> int:
        """Slots taken now."""
        return sum(task.phase(now) == "running" or task.ending == "odd" for task in self.tasks.values())

    @property
    def twice(self) -> dict[str, int]:
        """Keys that were paid for more than once."""
        return {key: times for key, times in self.paid.items() if times > 1}

    def answer(self, kind: str, document: Mapping[str, Any], now: float) -> dict[str, Any]:
        """The server's answer to one request that arrived."""
        while self.late and self.late[0][0] <= now:
            due, belated = self.late.pop(0)
            self._submit(belated, due)
        match kind:
            case "submit":
                return self._submit(document, now)
            case "observe":
                return {"tasks": {id_: self._seen(id_, now) for id_ in document["ids"]}}
            case "find":
                found = next((task for task in self.tasks.values() if task.key == document["key"]), None)
                return {"id": found.id if found else None}
            case _:
                return {}

    def _submit(self, document: Mapping[str, Any], now: float) -> dict[str, Any]:
        self.submits.append(now)
        if self.running(now) >= self.slots:
            return {"error": "deferred", "cause": "concurrency"}
        key = document["key"]
        number = len(self.tasks)
        params = document["params"]
        seconds = self.lifetime(params) if self.lifetime else self.seconds
        task = Task(
            f"{document['operation'][:3]}{number}",
            key,
            document["operation"],
            params,
            now,
            seconds,
            self.ending(key, params, number),
        )
        self.tasks[task.id] = task
        self.paid[key] += 1
        self.peak = max(self.peak, self.running(now))
        return {"id": task.id, "credits": self.price}

    def _seen(self, id_: str, now: float) -> dict[str, Any]:
        task = self.tasks.get(id_)
        phase = task.phase(now) if task else "gone"
        links = [f"https://files.invalid/{id_}/{self.requests['observe']}"] if phase == "succeeded" else []
        return {"phase": "succeeded" if phase == "empty" else phase, "links": links}


class PretendWire:
    """Takes requests to the servers by their base URL, after their latency, and breaks them as scripted."""

    def __init__(self, servers: Mapping[str, Server], picture: bytes) -> None:
        self.servers = servers
        self._picture = picture

    async def send(self, request: Request, *, base_url: str, headers: Mapping[str, str]) -> Response:
        """One request, there and back."""
        server = self.servers[base_url]
        document = request.json
        assert isinstance(document, dict)
        kind = request.path.strip("/")
        assert request.paid is (kind == "submit")
        mark = (kind, str(document.get("key", "")))
        fault = server.script(kind, document, server.seen[mark])
        server.seen[mark] += 1
        server.requests[kind] += 1
        if fault and fault.kind == "not_sent":
            await anyio.sleep(server.latency)
            raise NotSent("no connection was made")
        await anyio.sleep(server.latency)
        if fault and fault.kind == "late_request":
            server.late.append((anyio.current_time() + 10.0, document))
        if fault and fault.kind in {"lost_request", "late_request"}:
            raise MaybeSent("the connection broke")
        if fault and fault.kind in ERRORS:
            answer: dict[str, Any] = {"error": fault.kind, "cause": fault.cause, "retry_after": fault.retry_after}
        else:
            answer = server.answer(kind, document, anyio.current_time())
        await anyio.sleep(server.latency)
        if fault and fault.kind == "lost_reply":
            raise MaybeSent("the connection broke before the answer came")
        if fault and fault.kind == "torn_reply":
            return Response(200, {}, b'{"id": "t')
        if fault and fault.kind == "no_id":
            return Response(200, {}, b'{"ok": true}')
        return Response(200, {}, json.dumps(answer).encode())

    async def fetch(self, url: str, into: Path, *, max_bytes: int) -> Fetched:
        """A small picture, or what the script says."""
        server = next(one for one in self.servers.values() if url.split("/")[3] in one.tasks)
        outcome = server.download(url, server.fetches[url.split("/")[3]])
        server.fetches[url.split("/")[3]] += 1
        await anyio.sleep(server.latency)
        if outcome == "expired":
            raise DownloadFailed("the link is not valid any more", status=403, expired=True)
        body = self._picture if outcome == "good" else outcome.encode()
        _write(into, body)
        return Fetched(into, len(body), hashlib.sha256(body).hexdigest(), "image/png", len(body))


class PlainStore(ArtifactStore):
    """Puts files in place without looking into them: bytes that do not begin like a picture are refused."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, rehearsal=False)
        self.stored: Counter[str] = Counter()

    async def store(
        self, fetched: Fetched, *, output: RemoteOutput, expected: Expected, path: str, provenance: Mapping[str, JSON]
    ) -> StoredArtifact:
        """Move it."""
        return self._put(fetched, output, path)

    def _put(self, fetched: Fetched, output: RemoteOutput, path: str) -> StoredArtifact:
        content = fetched.path.read_bytes()
        if not content.startswith(b"\x89PNG"):
            raise VerificationFailed("not a picture", expected="a picture", got=content.decode())
        final = self.root / f"{path}.png"
        final.parent.mkdir(parents=True, exist_ok=True)
        fetched.path.replace(final)
        self.stored[path] += 1
        info = MediaInfo(MediaKind.IMAGE, "png", len(content), width=8, height=8)
        return StoredArtifact(output.name, f"{path}.png", fetched.sha256, info)


def _write(path: Path, body: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)


def picture(path: Path) -> bytes:
    """A real, tiny picture."""
    Image.new("RGB", (8, 8), (200, 30, 30)).save(path, format="PNG")
    return path.read_bytes()


# ------------------------------------------------------------------------------------------------------------ operations


class StillParameters(BaseModel):
    """What ``still`` takes."""

    model_config = ConfigDict(extra="forbid")
    prompt: str
    size: str | None = None
    seconds: float | None = None


class ClipParameters(BaseModel):
    """What ``clip`` takes."""

    model_config = ConfigDict(extra="forbid")
    prompt: str | None = None
    record: str | None = None
    image: Annotated[str | None, MediaRule(MediaKind.IMAGE, "upload")] = None
    seconds: float | None = None


class PretendOperation:
    """One operation. ``can_find`` False: a lost submission cannot be found again."""

    def __init__(self, name: str, parameters: type[BaseModel], *, bulk: int = 10, can_find: bool = True) -> None:
        self.can_find = can_find
        self.instant = False
        """The result comes with the answer."""
        self.facts = OperationFacts(
            name=name,
            title=name,
            parameters=parameters,
            outputs=(OutputSpec("image", MediaKind.IMAGE),),
            values=("voice",),
            typical_seconds=30.0,
            bulk=bulk,
            poll_within_seconds=2.0,
        )

    def price(self, params: Mapping[str, JSON], seconds: float | None) -> float | None:
        """Two credits."""
        return 2.0

    def slots(self, params: Mapping[str, JSON]) -> int:
        """One slot."""
        return 1

    def expected(self, params: Mapping[str, JSON], seconds: float | None) -> Expected:
        """Anything."""
        return Expected()

    def submit(self, submission: Submission) -> Flow[Accepted]:
        """A free upload for each file, then the paid request."""
        for name in submission.media:
            yield Request("POST", "/upload", json={"key": submission.key, "name": name})
        document = {"key": submission.key, "operation": self.facts.name, "params": dict(submission.params)}
        answer = _read((yield Request("POST", "/submit", json=document, paid=True)))
        if "id" not in answer:
            raise Uncertain("the answer names no task")
        id_ = str(answer["id"])
        if self.instant:
            seen = {"phase": "succeeded", "links": [f"https://files.invalid/{id_}/0"]}
            return Accepted(id_, None, _observation(id_, seen))
        return Accepted(id_, None)

    def observe(self, remote_ids: Sequence[str]) -> Flow[Mapping[str, Observation]]:
        """One question for all."""
        assert 0 < len(remote_ids) <= self.facts.bulk
        answer = _read((yield Request("GET", "/observe", json={"ids": list(remote_ids)})))
        return {id_: _observation(id_, seen) for id_, seen in answer["tasks"].items() if seen["phase"] != "gone"}

    def find(self, submission: Submission) -> Flow[Accepted | None]:
        """By its key."""
        if not self.can_find:
            raise Uncertain("this provider cannot tell")
        answer = _read((yield Request("GET", "/find", json={"key": submission.key})))
        return Accepted(answer["id"]) if answer["id"] else None


def _read(response: Response) -> dict[str, Any]:
    document = response.json()
    assert isinstance(document, dict)
    if "error" in document:
        kind = ERRORS[str(document["error"])]
        wait = document.get("retry_after")
        cause = str(document.get("cause") or "")
        raise kind("as scripted", code="x", cause=cause, retry_after=float(wait) if isinstance(wait, int | float) else None)
    return document


def _observation(id_: str, seen: Mapping[str, Any]) -> Observation:
    phase = {"succeeded": Phase.SUCCEEDED, "failed": Phase.FAILED, "running": Phase.RUNNING}.get(seen["phase"], Phase.UNKNOWN)
    outputs = tuple(RemoteOutput("image", MediaKind.IMAGE, link) for link in seen["links"])
    return Observation(id_, phase, outputs, values={"voice": f"v-{id_}"}, word=seen["phase"])


class PretendProvider:
    """The adapter of one lane."""

    def __init__(self, name: str, *, can_find: bool = True, bulk: int = 10) -> None:
        self.facts = ProviderFacts(
            name=name,
            title=name,
            base_url=name,
            credit_name="credit",
            codes=(),
            default_concurrency=5,
            default_rate=10.0,
        )
        self.still = PretendOperation(f"{name}/still", StillParameters, bulk=bulk, can_find=can_find)
        self.operations: Mapping[str, Operation] = {
            "still": self.still,
            "clip": PretendOperation(f"{name}/clip", ClipParameters, bulk=bulk, can_find=can_find),
        }

    def authorise(self, now: float) -> Flow[Authorisation]:
        """Nothing to ask for."""
        yield from ()
        return Authorisation({})

    def renewable(self, error: ProviderError) -> bool:
        """Never."""
        return False

    def balance(self, now: float) -> Flow[float | None]:
        """Not told."""
        yield from ()
        return None

    def read_callback(self, headers: Mapping[str, str], body: bytes, now: float) -> None:
        """It never calls back."""


def sequence(*faults: Fault | None, kinds: Sequence[str] = ("submit",)) -> Script:
    """These faults one after the other, over all requests of those kinds; then none."""
    left: Iterator[Fault | None] = iter(faults)
    return lambda kind, _document, _earlier: next(left, None) if kind in kinds else None


def first_time(fault: Fault, kind: str = "submit", times: int = 1) -> Script:
    """The fault for each key's first ``times`` requests of that kind."""
    return lambda which, _document, earlier: fault if which == kind and earlier < times else None
