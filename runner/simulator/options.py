"""What a simulator can be told: seed, speed, limits, credit, durations, strictness, faults. Values only, no behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from runner.simulator.faults import FaultRule

PROVIDERS = ("kling", "creatify", "topview", "akool")

SIMULATED_CREDENTIALS: Mapping[str, Mapping[str, str]] = {
    "kling": {
        "access_key": "simulated-access-key",
        "secret_key": "simulated-secret-key-0123456789abcdef",
        "api_key": "simulated-kling-api-key",
    },
    "creatify": {"api_id": "simulated-api-id", "api_key": "simulated-api-key"},
    "topview": {"api_key": "simulated-topview-key", "uid": "simulated-uid"},
    "akool": {"client_id": "simulated-client-0001", "client_secret": "simulated-secret-24bytes"},
}
"""Accounts that every simulator knows. Akool's secret has 24 bytes because its documents' sample uses AES-192."""

CONCURRENCY: Mapping[str, int] = {"kling": 5, "creatify": 10, "topview": 4, "akool": 4}
CREDITS: Mapping[str, float] = dict.fromkeys(PROVIDERS, 1_000_000.0)
OVER_LIMIT: Mapping[str, Literal["refuse", "queue"]] = {
    "kling": "refuse",
    "creatify": "queue",
    "topview": "queue",
    "akool": "queue",
}
JOB_SECONDS: Mapping[str, float] = {
    "kling": 60.0,
    "kling/image": 15.0,
    "creatify/image": 20.0,
    "creatify/video": 60.0,
    "topview": 90.0,
    "akool": 45.0,
}
PRICES: Mapping[str, float] = {"creatify/image": 2.0, "creatify/video": 10.0, "akool/talking": 10.0}
"""Only the prices that the documents leave open; the others stand with their provider."""

DAY = 86_400.0
LINK_TTL: Mapping[str, float] = {
    "kling": 30 * DAY,
    "creatify": 7 * DAY,
    "topview": DAY,
    "topview/cdn": 7 * DAY,
    "topview/upload": 3600.0,
    "akool": 7 * DAY,
}
RESULT_TTL: Mapping[str, float] = {"kling": 30 * DAY, "creatify": 365 * DAY, "topview": 7 * DAY, "akool": 7 * DAY}
SHORTEST_REAL_LIFE = 60.0
"""Documented lifetimes never shrink below this many real seconds, however fast the simulator runs."""


@dataclass(frozen=True, slots=True)
class SimulatorOptions:
    """All settings of one simulator. Partial mappings are completed from the defaults above."""

    seed: int = 7
    speed: float = 1.0
    """Simulated seconds per real second."""
    host: str = "127.0.0.1"
    port: int = 0
    concurrency: Mapping[str, int] = field(default_factory=dict)
    """Slots per account, by provider."""
    credits: Mapping[str, float] = field(default_factory=dict)
    """Credits of each account at the start, by provider, in that provider's own unit."""
    over_limit: Mapping[str, Literal["refuse", "queue"]] = field(default_factory=dict)
    job_seconds: Mapping[str, float] = field(default_factory=dict)
    """Median simulated seconds of a job; keys ``kling`` or, finer, ``creatify/video``."""
    spread: float = 0.35
    """Sigma of the log-normal distribution of durations; 0 makes every job take its median."""
    prices: Mapping[str, float] = field(default_factory=dict)
    link_ttl: float | None = None
    """Simulated seconds a result link works; None: what each provider documents."""
    upload_ttl: float | None = None
    result_ttl: float | None = None
    """Simulated seconds a result file is kept; a fresh link does not help after that."""
    fail_rate: float = 0.0
    """Share of accepted tasks that fail remotely, 0..1."""
    credentials: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    any_credentials: bool = True
    """Accept well-formed credentials of unknown accounts; a known account with a wrong secret is always refused."""
    strict_ids: bool = False
    """Refuse avatar and voice ids that the simulator's own lists do not name."""
    strict_keys: bool = False
    """Kling: refuse unknown body fields with 1201."""
    duplicate_id: Literal["reject", "replay"] = "reject"
    """Kling: what a repeated external_task_id gets."""
    external_lookup: Literal["path", "list"] = "path"
    """Kling: whether a task is also found under its external_task_id in the path, or in the list alone (seed-001 names no other)."""
    list_order: Literal["newest", "oldest"] = "newest"
    """Kling: which end of the list comes first; no order is documented."""
    http_errors: bool = False
    """Topview: send real HTTP statuses with error codes instead of HTTP 200."""
    result_as_text: bool = False
    """Topview: callbacks carry ``result`` as a JSON string."""
    create_status: int = 200
    """Creatify: HTTP status of a successful create, 200 or 201."""
    out_of_credit_status: int = 402
    """Creatify: HTTP status without credit, 402 or 400."""
    repeat_stage: Literal["refuse", "charge"] = "refuse"
    """Creatify: what a second gen_video on a finished or running record gets."""
    webhook_echo: Literal["latest", "first"] = "latest"
    """Creatify: whose webhook_url a record gives back once its video was asked for: the video's or the picture's."""
    callbacks_anywhere: bool = False
    """Deliver callbacks to any host; otherwise to loopback addresses alone."""
    akool_retries: int = 4
    late_ids: float = 0.0
    """Akool: simulated seconds in which a new video's id is still unknown (1008)."""
    state: Path | None = None
    faults: tuple[FaultRule, ...] = ()
    bench: bool = False
    """Serve one small fixed file per kind instead of drawing each result."""
    short_side: int = 360
    """Pixels of the shorter side of drawn media."""

    def slots(self, provider: str) -> int:
        """Slots of one account for ``provider`` or, finer, ``kling/image``."""
        whole = provider.partition("/")[0]
        return self.concurrency.get(provider, self.concurrency.get(whole, CONCURRENCY[whole]))

    def credit(self, provider: str) -> float:
        """Starting credit of one account."""
        return self.credits.get(provider, CREDITS[provider])

    def queues(self, provider: str) -> bool:
        """Whether work over the limit waits instead of being refused."""
        return self.over_limit.get(provider, OVER_LIMIT[provider]) == "queue"

    def median(self, work: str) -> float:
        """Median seconds for ``provider/kind``; the finest setting wins, the caller's before the defaults."""
        provider = work.partition("/")[0]
        for table in (self.job_seconds, JOB_SECONDS):
            for key in (work, provider):
                if key in table:
                    return table[key]
        return 60.0

    def price(self, work: str) -> float:
        """Credits for ``provider/kind`` where the documents leave the price open."""
        return self.prices.get(work, PRICES[work])

    def link_life(self, kind: str) -> float:
        """Simulated seconds that a link of ``kind`` (``topview/cdn``, ``kling``) works."""
        told = self.upload_ttl if kind.endswith("/upload") else self.link_ttl
        return told if told is not None else self._at_least(LINK_TTL[kind])

    def result_life(self, provider: str) -> float:
        """Simulated seconds that a result file is kept."""
        return self.result_ttl if self.result_ttl is not None else self._at_least(RESULT_TTL[provider])

    def account(self, provider: str) -> Mapping[str, str]:
        """The credentials of the account that is known for ``provider``."""
        return {**SIMULATED_CREDENTIALS[provider], **self.credentials.get(provider, {})}

    def _at_least(self, seconds: float) -> float:
        return max(seconds, SHORTEST_REAL_LIFE * self.speed)


def options_from(values: Mapping[str, Any]) -> SimulatorOptions:
    """Options from parsed command-line values; None means the default. Raises ValueError on a value out of range."""
    told = {key: value for key, value in values.items() if value is not None}
    options = SimulatorOptions(**told)
    if options.speed <= 0:
        raise ValueError("speed must be above 0; try --speed 60")
    if not 0 <= options.fail_rate <= 1:
        raise ValueError("the fail rate is a share between 0 and 1; try --fail-rate 0.05")
    return options
