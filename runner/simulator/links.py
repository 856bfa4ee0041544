"""Result and upload links: signed, stateless, and dead when their time is over."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from runner.simulator.clock import SimulatedClock
from runner.simulator.options import SimulatorOptions

MARK = "/_media/"


class DeadLink(Exception):
    """The link is not ours, was tampered with, or is over; ``code`` is S3's word for it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class MediaRef:
    """What a link points at: the task, the kind of file (``v``ideo, ``p``icture, ``a``udio) and its number."""

    provider: str
    task: str
    what: str
    index: int

    def __str__(self) -> str:
        return f"{self.provider}/{self.task}_{self.what}{self.index}"


class Links:
    """Makes and checks links."""

    def __init__(self, options: SimulatorOptions, clock: SimulatedClock) -> None:
        self._options = options
        self._clock = clock
        self._secret = hashlib.blake2b(f"links/{options.seed}".encode(), digest_size=32).digest()

    def result(self, base: str, ref: MediaRef, extension: str, *, cdn: bool = False) -> str:
        """A fresh link to a result file."""
        kind = f"{ref.provider}/cdn" if cdn else ref.provider
        return self._sign(base, kind, f"{ref.task}_{ref.what}{ref.index}.{extension}")

    def upload(self, base: str, provider: str, name: str) -> str:
        """A link that takes one file by PUT."""
        return self._sign(base, f"{provider}/upload", name)

    def _sign(self, base: str, kind: str, name: str) -> str:
        life = self._options.link_life(kind)
        expires = f"{self._clock.wall(self._clock.now() + life):.3f}"
        path = f"{MARK}{kind}/{name}"
        return f"{base}{path}?expires={expires}&sig={self._signature(path, expires)}"

    def _signature(self, path: str, expires: str) -> str:
        return hashlib.blake2b(f"{path}|{expires}".encode(), key=self._secret, digest_size=16).hexdigest()

    def check(self, path: str, query: str) -> None:
        """Raises DeadLink unless the signature is ours and the time is not over."""
        values = parse_qs(query)
        expires, given = values.get("expires", [""])[0], values.get("sig", [""])[0]
        if not hmac.compare_digest(self._signature(path, expires).encode(), given.encode()):
            raise DeadLink(
                "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided."
            )
        if self._clock.real() >= float(expires):
            raise DeadLink("AccessDenied", "Request has expired")

    def own(self, url: str) -> MediaRef | None:
        """What a link of ours points at; None for any other URL. Raises DeadLink for one that is over."""
        parts = urlsplit(url)
        place = parts.path.find(MARK)
        if place < 0 or "sig=" not in parts.query:
            return None
        path = parts.path[place:]
        self.check(path, parts.query)
        return parse_media_path(path)


def parse_media_path(path: str) -> MediaRef | None:
    """``/_media/kling/8300_v0.mp4`` as a reference; None for anything else."""
    pieces = path[len(MARK) :].split("/")
    provider, name = pieces[0], pieces[-1]
    task, _, rest = name.rpartition(".")[0].rpartition("_")
    if not task or rest[:1] not in ("v", "p", "a") or not rest[1:].isdigit():
        return None
    return MediaRef(provider, task, rest[0], int(rest[1:]))
