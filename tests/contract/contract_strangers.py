"""How strangers speak to these APIs: one session with fixed headers that follows redirects, and loops that poll. Tests alone use it."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from contract_stage import Stage

PATIENCE = 20.0
PLACES = ("root", "prefix")
"""Through the host's root as at the real provider, and below a prefix of its own."""


@contextmanager
def session(stage: Stage, provider: str, place: str, **headers: str) -> Iterator[httpx.Client]:
    """As with ``requests.Session``: redirects are followed, the environment's proxies are not looked at here."""
    base = stage.address if place == "root" else f"{stage.address}/{provider}"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with httpx.Client(base_url=base, headers=named, follow_redirects=True, timeout=10, trust_env=False) as client:
        yield client


def poll(ask: Callable[[], Any], done: Callable[[Any], bool]) -> Any:  # noqa: ANN401 -- whatever the provider sends
    """Ask until it is done."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        answer = ask()
        if done(answer):
            return answer
    raise AssertionError(f"not done after {PATIENCE} s: {answer}")


def download(url: str) -> bytes:
    """A plain GET, without any of the API's headers."""
    reply = httpx.get(url, timeout=10, trust_env=False)
    assert reply.status_code == 200
    return reply.content


def plays(data: bytes) -> bool:
    """Whether it is a video with at least one frame."""
    import av

    with av.open(io.BytesIO(data), "r") as container:
        return next(container.decode(video=0), None) is not None


def is_picture(data: bytes) -> bool:
    """Whether it is a whole picture."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image.width > 0
