"""Events with every field filled in, one maker per kind: what a hostile caller could put into a ledger in any order."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from runner import events as ev
from runner.events import Event

LANE = "pretend"

MAKERS: Mapping[str, Callable[[str, int], Event]] = {
    "Planned": lambda job, n: ev.Planned(
        job=job,
        at=float(n),
        target="still",
        product=job,
        operation="pretend/still",
        lane=LANE,
        fingerprint=f"f{n}",
        credits=float(n % 5),
        title="a\u2028title",
        path=f"{job}/still",
    ),
    "DependenciesMet": lambda job, n: ev.DependenciesMet(job=job, at=float(n)),
    "GateClosed": lambda job, n: ev.GateClosed(job=job, at=float(n)),
    "GateOpened": lambda job, n: ev.GateOpened(job=job, at=float(n), by="me"),
    "GateRefused": lambda job, n: ev.GateRefused(job=job, at=float(n), by="me"),
    "DependencyFailed": lambda job, n: ev.DependencyFailed(job=job, at=float(n), upstream="x"),
    "Unchanged": lambda job, n: ev.Unchanged(job=job, at=float(n)),
    "SubmitStarted": lambda job, n: ev.SubmitStarted(
        job=job, at=float(n), attempt=1 + n % 3, key=f"k{n}", params={"prompt": "a\nb"}, upstream={"a": "1"}
    ),
    "Accepted": lambda job, n: ev.Accepted(job=job, at=float(n), remote_id=f"r{n}", credits=None if n % 2 else float(n % 7)),
    "SubmitDeferred": lambda job, n: ev.SubmitDeferred(job=job, at=float(n), code="1303"),
    "SubmitRefused": lambda job, n: ev.SubmitRefused(job=job, at=float(n), code="1301", cause="bad_input"),
    "SubmitUncertain": lambda job, n: ev.SubmitUncertain(job=job, at=float(n), message="?"),
    "NotFoundRemotely": lambda job, n: ev.NotFoundRemotely(job=job, at=float(n)),
    "GivenUp": lambda job, n: ev.GivenUp(job=job, at=float(n), by="me"),
    "Observed": lambda job, n: ev.Observed(job=job, at=float(n), phase="running", word="processing"),
    "RemoteSucceeded": lambda job, n: ev.RemoteSucceeded(
        job=job, at=float(n), credits=None if n % 3 else float(n % 11), outputs=1, values={"id": f"v{n}"}
    ),
    "RemoteFailed": lambda job, n: ev.RemoteFailed(job=job, at=float(n), cause="server", credits=None if n % 2 else 1.5),
    "DeadlinePassed": lambda job, n: ev.DeadlinePassed(job=job, at=float(n), seconds=9.0),
    "RemoteLost": lambda job, n: ev.RemoteLost(job=job, at=float(n)),
    "CancelRequested": lambda job, n: ev.CancelRequested(job=job, at=float(n)),
    "RemoteCancelled": lambda job, n: ev.RemoteCancelled(job=job, at=float(n)),
    "Cancelled": lambda job, n: ev.Cancelled(job=job, at=float(n)),
    "ArtifactStored": lambda job, n: ev.ArtifactStored(
        job=job, at=float(n), name="image", path=f"{job}.png", sha256="0" * 64, kind="image", format="png", bytes=n
    ),
    "CollectDeferred": lambda job, n: ev.CollectDeferred(job=job, at=float(n), message="late"),
    "ArtifactRejected": lambda job, n: ev.ArtifactRejected(job=job, at=float(n), message="torn"),
    "AllStored": lambda job, n: ev.AllStored(job=job, at=float(n)),
    "RetryScheduled": lambda job, n: ev.RetryScheduled(job=job, at=float(n), why="asked"),
}
"""Event name -> maker; the number makes every event's fields its own."""

TO_REACH: Mapping[str, tuple[str, ...]] = {
    "pending": ("Planned",),
    "held": ("Planned", "GateClosed"),
    "ready": ("Planned", "DependenciesMet"),
    "submitting": ("Planned", "DependenciesMet", "SubmitStarted"),
    "uncertain": ("Planned", "DependenciesMet", "SubmitStarted", "SubmitUncertain"),
    "running": ("Planned", "DependenciesMet", "SubmitStarted", "Accepted"),
    "cancelling": ("Planned", "DependenciesMet", "SubmitStarted", "Accepted", "CancelRequested"),
    "collecting": ("Planned", "DependenciesMet", "SubmitStarted", "Accepted", "RemoteSucceeded"),
    "succeeded": ("Planned", "DependenciesMet", "SubmitStarted", "Accepted", "RemoteSucceeded", "ArtifactStored", "AllStored"),
    "failed": ("Planned", "DependenciesMet", "SubmitStarted", "SubmitRefused"),
    "skipped": ("Planned", "Unchanged"),
    "cancelled": ("Planned", "Cancelled"),
}
"""State -> events that lead there from nothing."""


def road(job: str, state: str, start: int = 0) -> list[Event]:
    """Events that bring ``job`` from nothing to ``state``."""
    return [MAKERS[name](job, start + n) for n, name in enumerate(TO_REACH[state])]
