"""A job's story told as one row.

Owns the fold from a job's events to the ``JobRow`` that reports and ``status`` show. Pure; reads nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from runner import events as ev
from runner.events import Event
from runner.model import JobRow, MediaInfo, MediaKind, State, StoredArtifact
from runner.seams import JobState


def stored_artifact(event: ev.ArtifactStored) -> StoredArtifact:
    """The stored file that the event tells of."""
    info = MediaInfo(
        kind=MediaKind(event.kind),
        format=event.format,
        bytes=event.bytes,
        width=event.width,
        height=event.height,
        seconds=event.seconds,
        codec=event.codec,
    )
    return StoredArtifact(event.name, event.path, event.sha256, info)


class _Row:
    """The row being filled in; one method per kind of event."""

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}
        self.artifacts: dict[str, StoredArtifact] = {}
        self.before = 0.0

    def tell(self, event: Event) -> None:
        match event:
            case ev.Planned():
                self._planned(event)
            case ev.SubmitStarted():
                self._started(event)
            case ev.Accepted(remote_id=remote_id, credits=price):
                self.fields["remote_id"] = remote_id
                self._price(price)
            case ev.Observed(phase="running"):
                self.fields.setdefault("started_at", event.at)
            case ev.RemoteSucceeded(credits=price, values=values):
                self.fields |= {"ready_at": event.at, "values": values}
                # Never seen at work (it was quicker than the polls): count the whole stay as processing, none as queueing.
                self.fields.setdefault("started_at", self.fields.get("submitted_at", event.at))
                self._price(price)
            case ev.ArtifactStored():
                self.artifacts[event.name] = stored_artifact(event)
            case ev.RetryScheduled():
                self._set_aside()
            case ev.AllStored() | ev.Cancelled() | ev.RemoteCancelled() | ev.GateRefused():
                self.fields["finished_at"] = event.at
            case _:
                self._trouble(event)

    def _planned(self, event: ev.Planned) -> None:
        self._set_aside()
        self.artifacts = {}
        self.fields = {
            "target": event.target,
            "product": event.product,
            "title": event.title,
            "cell": tuple(event.cell.items()),
            "operation": event.operation,
            "lane": event.lane,
            "fingerprint": event.fingerprint,
            "reason": event.reason,
            "credits_estimated": event.credits,
            "planned_at": event.at,
            "attempts": 0,
        }

    def _started(self, event: ev.SubmitStarted) -> None:
        for name in ("started_at", "ready_at", "finished_at", "error_class", "error_cause", "error_message", "error_hint"):
            self.fields.pop(name, None)
        self.fields |= {"submitted_at": event.at, "params": event.params, "attempts": self.fields.get("attempts", 0) + 1}

    def _price(self, price: float | None) -> None:
        if price is not None:
            self.fields["credits_actual"] = price

    def _set_aside(self) -> None:
        self.before += self.fields.pop("credits_actual", None) or 0.0

    def _trouble(self, event: Event) -> None:
        match event:
            case ev.SubmitRefused(code=code, message=message, cause=cause, hint=hint):
                self._error(event, "refused", cause or code, message, hint)
            case ev.SubmitDeferred(code=code, message=message, cause=cause):
                self._error(event, "deferred", cause or code, message, "the next run tries again", final=False)
            case ev.SubmitUncertain(message=message) | ev.RemoteLost(message=message):
                hint = "look at the provider's own list before anything is submitted again"
                self._error(event, "uncertain", "", message, hint, final=False)
            case ev.RemoteFailed(message=message, cause=cause, credits=price):
                self._price(price)
                self._error(event, "failed", cause or "provider", message, "change the inputs, or run with --retry failed")
            case ev.ArtifactRejected(message=message):
                self._error(event, "rejected", "artifact", message, "look at the kept file, then run with --retry failed")
            case ev.DependencyFailed(upstream=upstream):
                self._error(event, "skipped", "dependency", f"{upstream} did not succeed", "mend that job first")
            case ev.GivenUp(by=by, note=note):
                self._error(event, "given_up", "person", f"given up by {by or 'a person'} {note}".strip(), "")
            case ev.DeadlinePassed(seconds=seconds):
                message = f"not finished after {seconds:.0f} s; still with the provider"
                self._error(event, "deadline", "deadline", message, "the next run collects it", final=False)
            case _:
                pass

    def _error(self, event: Event, kind: str, cause: str, message: str, hint: str, *, final: bool = True) -> None:
        self.fields |= {"error_class": kind, "error_cause": cause, "error_message": message, "error_hint": hint}
        if final:
            self.fields["finished_at"] = event.at


def row_of(job: JobState, story: Iterable[Event]) -> JobRow:
    """The job as reports see it. ``story`` is every event of the job, oldest first."""
    row = _Row()
    for event in story:
        row.tell(event)
    fields = row.fields
    if job.state in {State.RUNNING, State.COLLECTING, State.SUCCEEDED} and fields.get("error_class") != "deadline":
        for name in ("error_class", "error_cause", "error_message", "error_hint"):
            fields.pop(name, None)
    return JobRow(key=job.key, state=job.state, artifacts=tuple(row.artifacts.values()), credits_before=row.before, **fields)
