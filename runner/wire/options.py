"""What can be set about the wire, and what it counts.

Owns two values and their limits. Reads no environment: ``settings`` has fields of the same names.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

MIB = 1024 * 1024


class Use(Enum):
    """What a connection is for; each use has its own pool."""

    ASK = "ask"
    PAY = "pay"
    REDIRECTED = "redirected"
    """A public link's redirects: never to an internal address."""


@dataclass(frozen=True, slots=True)
class WireOptions:
    """Limits of one wire. Times in seconds, sizes in bytes. Raises ``ValueError`` for a limit that is not positive."""

    connect_seconds: float = 10.0
    """For a connection: waiting for a free one, name lookup, TCP and TLS together."""
    answer_seconds: float = 60.0
    """For a whole request and its answer, beyond the time that a large body takes to upload."""
    upload_bytes_per_second: int = 128 * 1024
    """The slowest uplink to wait for: a body of N bytes adds N divided by this to ``answer_seconds``."""
    stall_seconds: float = 30.0
    """For the next piece of a download."""
    download_seconds: float = 1800.0
    """For one download as a whole."""
    max_answer_bytes: int = 32 * MIB
    """For an answer's body after decompression."""
    downloads: int = 8
    """Downloads at once; further ones wait."""
    connections: int = 256
    """Open connections for each kind of use (questions, paid requests, redirected downloads)."""
    paid_idle_seconds: float = 0.0
    """How long a connection may have idled and still carry a paid request. 0: every paid request gets a new connection,
    so that a server closing an idle one in the same moment can never leave us not knowing."""
    use_proxies: bool = True
    """Follow HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY. This machine itself is never reached through a proxy."""
    ca_file: Path | None = None
    """Further certificate authorities (PEM) to trust, beside the system's."""

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be greater than 0")
        if not self.paid_idle_seconds >= 0:
            raise ValueError("paid_idle_seconds must not be negative")


_POSITIVE = (
    "connect_seconds",
    "answer_seconds",
    "upload_bytes_per_second",
    "stall_seconds",
    "download_seconds",
    "max_answer_bytes",
    "downloads",
    "connections",
)


@dataclass(frozen=True, slots=True)
class WireStatistics:
    """What a wire has done so far. ``requests`` counts downloads' hops too; bytes are those of bodies."""

    requests: int
    not_sent: int
    maybe_sent: int
    bytes_sent: int
    bytes_received: int
    downloads: int
    downloads_running: int
    open_connections: int
    """Sockets open now; 0 when the transport was given from outside."""


@dataclass(slots=True)
class Counters:
    """The running totals behind ``WireStatistics``."""

    requests: int = 0
    not_sent: int = 0
    maybe_sent: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    downloads: int = 0
    downloads_running: int = 0
