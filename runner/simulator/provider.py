"""What every pretend provider can do, so that dispatch, media, callbacks and faults need not know which one it is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from runner.simulator.accounts import NoCredit, NoSlot
from runner.simulator.faults import FaultRule
from runner.simulator.studio import Shot
from runner.simulator.tasks import Task
from runner.simulator.web import NotJson, Refusal, Reply, Request, Route, html_reply
from runner.simulator.world import Draft, World

SHAPES: Mapping[str, tuple[int, int]] = {
    "9:16": (9, 16),
    "16:9": (16, 9),
    "1:1": (1, 1),
    "4:3": (4, 3),
    "3:4": (3, 4),
    "3:2": (3, 2),
    "2:3": (2, 3),
    "21:9": (21, 9),
}


@dataclass(frozen=True, slots=True)
class Letter:
    """One callback, ready to be sent."""

    url: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Which words of a provider's replies carry status and links; what spoils them."""

    status_keys: frozenset[str]
    success: Any
    unknown: Any
    link_keys: frozenset[str]


class PretendProvider:
    """Base of the four. Subclasses say routes, refusals, letters and shots; they keep their indexes in :meth:`adopt`."""

    name: ClassVar[str]
    words: ClassVar[Vocabulary]
    fault_codes: ClassVar[Mapping[str, str]]
    """The provider's own code for each refusing fault kind."""
    callback_tries: int = 1

    def __init__(self, world: World) -> None:
        self.world = world
        self.options = world.options
        world.adopters[self.name] = self.adopt

    def routes(self) -> list[Route]:
        """Paths with their handlers."""
        raise NotImplementedError

    def refuse(self, refusal: Refusal) -> Reply:
        """The reply in this provider's clothes."""
        raise NotImplementedError

    def no_route(self, request: Request) -> Reply:
        """The reply for a path that does not exist."""
        raise NotImplementedError

    def no_method(self, request: Request) -> Reply:
        """The reply for a path that exists, with another method."""
        return self.no_route(request)

    def adopt(self, task: Task) -> None:
        """Index an accepted task; also called for each one that a state file brings back."""

    def events(self, task: Task) -> list[tuple[float, str]]:
        """Callbacks that ``task`` asks for: moments and names, in order."""
        raise NotImplementedError

    def letter(self, task: Task, event: str, base: str) -> Letter:
        """The callback of that name; only ever asked for one that :meth:`events` named."""
        raise NotImplementedError

    def shot(self, task: Task, what: str, index: int) -> Shot | None:
        """What to draw for a result link; None when ``task`` has no such file."""
        raise NotImplementedError

    def fault_refusal(self, rule: FaultRule) -> Refusal:
        """The documented refusal for a refusing fault."""
        return Refusal(rule.code or self.fault_codes[rule.kind], retry_after=rule.seconds)

    def server_error(self, rule: FaultRule) -> Reply:
        """A failure of the provider's own; with ``status`` set it is the gateway that answers."""
        if rule.status is not None and not rule.code:
            return html_reply(rule.status, "Server Error")
        return self.refuse(Refusal(rule.code or self.fault_codes["server_error"], status=rule.status or 0))

    def accept(self, draft: Draft) -> Task:
        """Accept ``draft`` or raise this provider's refusal for missing credit or slots."""
        try:
            return self.world.accept(draft)
        except NoCredit:
            raise Refusal(self.fault_codes["out_of_credit"]) from None
        except NoSlot:
            raise Refusal(self.fault_codes["concurrency"]) from None

    def size(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Pixels of a drawing with these proportions; even numbers, as video codecs want."""
        wide, high = shape
        factor = self.options.short_side / min(wide, high)
        return max(2, round(wide * factor / 2) * 2), max(2, round(high * factor / 2) * 2)

    def between(self, task: Task, low: float, high: float) -> float:
        """A seeded number that belongs to ``task``."""
        share = int.from_bytes(self.world.digest(f"{task.id}/between")[:4], "big") / 2**32
        return round(low + share * (high - low), 2)


def body_digest(request: Request) -> str:
    """The handle of work that carries none: a digest of path and body."""
    return "body:" + hashlib.blake2b(request.path.encode() + b"\n" + request.body, digest_size=12).hexdigest()


def json_object(request: Request, code: str) -> dict[str, Any]:
    """The body as a JSON object; otherwise a refusal with ``code``."""
    try:
        value = request.json() if request.body else {}
    except NotJson:
        raise Refusal(code, "the request body is not valid JSON") from None
    if not isinstance(value, dict):
        raise Refusal(code, "the request body must be a JSON object")
    return value


def is_web_address(value: object) -> bool:
    """Whether ``value`` is an absolute http(s) URL with a host and no blanks."""
    from urllib.parse import urlsplit

    if not isinstance(value, str) or any(letter.isspace() for letter in value):
        return False
    try:
        parts = urlsplit(value)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False
