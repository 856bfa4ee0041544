"""Feeds flows by hand: scripted answers go in, the requests that were made stay to be looked at."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from runner.errors import WireError
from runner.model import JSON, Asset, Submission
from runner.providers.akool import Akool, AkoolCredentials
from runner.providers.creatify import Creatify, CreatifyCredentials
from runner.providers.kling import Kling, KlingCredentials
from runner.providers.topview import Topview, TopviewCredentials
from runner.seams import Flow, Provider, Request, Response

T = TypeVar("T")
Answer = Response | WireError

KEY = "spring-still-a1-7f3c"
NOW = 1_760_000_000.0


class Hand:
    """Gives one scripted answer per request; running out of answers is a failed test."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[Request] = []

    def run(self, flow: Flow[T]) -> T:
        """The flow's value. Its errors pass."""
        try:
            request = next(flow)
            while True:
                self.requests.append(request)
                assert self.answers, f"no answer left for {request.method} {request.path}"
                answer = self.answers.pop(0)
                request = flow.throw(answer) if isinstance(answer, WireError) else flow.send(answer)
        except StopIteration as stop:
            value: T = stop.value
        assert not self.answers, f"{len(self.answers)} answers were never asked for"
        return value

    @property
    def paid(self) -> list[Request]:
        """The requests that may cost money."""
        return [request for request in self.requests if request.paid]


class Stubborn:
    """Gives the same answer to every request, at most ``limit`` times: a flow that never ends is a failed test."""

    def __init__(self, answer: Callable[[Request], Response], limit: int = 300) -> None:
        self.answer = answer
        self.limit = limit

    def run(self, flow: Flow[T]) -> T:
        """The flow's value. Its errors pass."""
        try:
            request = next(flow)
            for _ in range(self.limit):
                request = flow.send(self.answer(request))
        except StopIteration as stop:
            value: T = stop.value
            return value
        raise AssertionError(f"the flow did not end after {self.limit} requests")


def answer(document: object, status: int = 200, **headers: str) -> Response:
    """An answer with a JSON body; header names are written with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status, named, json.dumps(document).encode())


def raw(body: bytes, status: int = 200) -> Response:
    """An answer with any body."""
    return Response(status, {}, body)


def asset(name: str = "model.png", form: str = "png") -> Asset:
    """A local file that nobody opens here."""
    return Asset(Path("/somewhere") / name, "0" * 64, 1000, form)


def submission(
    params: Mapping[str, JSON],
    *,
    callback: str | None = None,
    started: float | None = NOW,
    media: Mapping[str, Asset] | None = None,
) -> Submission:
    """A frozen submission with the usual key."""
    return Submission(KEY, params, media or {}, callback, started)


def kling() -> Kling:
    """An adapter with invented credentials."""
    return Kling(KlingCredentials("access-0001", "secret-key-that-is-long-enough-0001"))


def creatify() -> Creatify:
    """An adapter with invented credentials."""
    return Creatify(CreatifyCredentials("id-1", "creatify-secret"))


def topview() -> Topview:
    """An adapter with invented credentials."""
    return Topview(TopviewCredentials("uid-1", "topview-secret"))


def akool() -> Akool:
    """An adapter with invented credentials."""
    return Akool(AkoolCredentials(client_id="client-1", client_secret="akool-secret"))


ADAPTERS: Mapping[str, Callable[[], Provider]] = {"kling": kling, "creatify": creatify, "topview": topview, "akool": akool}

SUBMISSIONS: Mapping[str, Submission] = {
    "kling/avatar": submission({"image": "https://x.test/a.png", "sound_file": "https://x.test/a.mp3", "mode": "std"}),
    "creatify/product-image": submission({"product_url": "https://x.test/a.png", "type": "product_anyshot"}),
    "creatify/product-video": submission({"image": "rec-1", "video_prompt": "slow push-in"}),
    "topview/image-to-video": submission({"imageFileId": "f-1", "duration": 5, "mode": "pro", "generatingCount": 1}),
    "akool/talking-photo": submission({"talking_photo_url": "https://x.test/a.png", "audio_url": "https://x.test/a.mp3"}),
}
