"""Collecting: results come home, verified. Never pays again, whatever happens to a download.

A link that does not work is asked for anew; a file that is not what was ordered is believed only when it comes twice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import chain, count

import anyio

from runner import events as ev
from runner.errors import ArtifactError, CallsheetError, DownloadFailed, Halted, ProviderError, VerificationFailed, WireError
from runner.lane import MOST_TRIES, Lane
from runner.model import JSON, Observation, Phase, StoredArtifact
from runner.scheduler import Order
from runner.seams import Expected

DAMAGE_BELIEVED = 24 * 3600.0
"""Seconds of the provider's time after which a file that keeps coming damaged is taken for what was made."""


class Collecting:
    """See the module."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self._rejected: dict[str, str] = {}
        lane.forgetters.append(lambda key: self._rejected.pop(key, None))

    async def collect(self, order: Order) -> None:
        """Store every result of the order's job that is not stored yet."""
        key = order.jobs[0]
        try:
            seen = self.lane.results.pop(key, None) or await self._fresh(key)
            await self._store_all(key, seen)
        except VerificationFailed as error:
            await self._doubted(key, error)
        except Halted as error:
            await self.lane.halt(error)
            self.lane.park(key)
        except (ArtifactError, ProviderError, WireError) as error:
            await self._later(key, error)
        else:
            await self.lane.append(ev.AllStored(job=key, at=self.lane.wall()))
            self.lane.end(key)

    async def _fresh(self, key: str) -> Observation:
        """Ask again for result links. Raises ``DownloadFailed`` while there are none."""
        remote_id = self.lane.tools.ledger.jobs[key].remote_id
        operation = self.lane.operation(key)
        seen = (await self.lane.tools.worker.ask(lambda: operation.observe([remote_id]))).get(remote_id)
        if seen is None or seen.phase is not Phase.SUCCEEDED:
            shown = seen.phase.value if seen else "missing"
            raise DownloadFailed(f"the provider offers no result now (it says: {shown})", hint="the next run asks again")
        return seen

    async def _store_all(self, key: str, seen: Observation) -> None:
        tools = self.lane.tools
        if not seen.outputs and self.lane.operation(key).facts.outputs:
            raise DownloadFailed("the provider calls it done but offers no result", hint="the next run asks again")
        planned = tools.ledger.planned(key)
        attempt = tools.ledger.attempt(key)
        done = tools.ledger.result(key).artifacts
        expected = self._expected(key, attempt)
        paths = _free_paths(planned.path, done.values())
        for output in seen.outputs:
            if output.name in done:
                continue
            partial = tools.artifacts.partial(key, output.name)
            fetched = await tools.wire.fetch(output.url, partial, max_bytes=tools.max_artifact_bytes)
            stored = await tools.artifacts.store(
                fetched,
                output=output,
                expected=expected,
                path=next(paths),
                provenance=self._provenance(key, planned, attempt),
            )
            info = stored.info
            await self.lane.append(
                ev.ArtifactStored(
                    job=key,
                    at=self.lane.wall(),
                    name=stored.name,
                    path=stored.path,
                    sha256=stored.sha256,
                    kind=info.kind.value,
                    format=info.format,
                    bytes=info.bytes,
                    width=info.width,
                    height=info.height,
                    seconds=info.seconds,
                    codec=info.codec,
                )
            )

    def _expected(self, key: str, attempt: ev.SubmitStarted | None) -> Expected:
        params: Mapping[str, JSON] = attempt.params if attempt else {}
        return self.lane.operation(key).expected(params, None)

    def _provenance(self, key: str, planned: ev.Planned, attempt: ev.SubmitStarted | None) -> Mapping[str, JSON]:
        job = self.lane.tools.ledger.jobs[key]
        return {
            **self.lane.tools.provenance,
            "job": key,
            "target": planned.target,
            "product": planned.product,
            "title": planned.title,
            "cell": dict(planned.cell),
            "operation": planned.operation,
            "account": job.lane,
            "parameters": dict(attempt.params) if attempt else {},
            "media": dict(attempt.media) if attempt else {},
            "fingerprint": planned.fingerprint,
            "attempt": job.attempt,
            "submission_key": job.submission_key,
            "remote_id": job.remote_id,
            "credits": job.credits if job.priced else None,
            "credits_estimated": planned.credits,
            "submitted_at": attempt.at if attempt else None,
            "collected_at": self.lane.wall(),
        }

    async def _later(self, key: str, error: CallsheetError) -> None:
        self.lane.tools.ledger.note(self.lane.tenure, [ev.CollectDeferred(job=key, at=self.lane.wall(), message=error.message)])
        if self.lane.tools.scheduler.tries(key) + 1 >= MOST_TRIES:
            self.lane.park(key)
        else:
            self.lane.tools.scheduler.collect_later(key, anyio.current_time())

    def _damaged_long(self, key: str) -> bool:
        """Whether downloads of this result have failed for so long that its own damage has to be believed."""
        story = self.lane.tools.ledger.life(key)
        first = next((event.at for event in story if isinstance(event, ev.CollectDeferred)), None)
        return first is not None and self.lane.wall() - first >= self.lane.tools.pace.seconds(DAMAGE_BELIEVED)

    async def _doubted(self, key: str, error: VerificationFailed) -> None:
        """A wrong file is believed when it comes twice. A damaged one says something of the way it came, not of the result, which is paid
        for: it is believed only when it still comes ``DAMAGE_BELIEVED`` after the first time.
        """
        if self._rejected.get(key) != error.got or (error.damaged and not self._damaged_long(key)):
            self._rejected[key] = error.got
            await self._later(key, error)
            return
        await self.lane.append(
            ev.ArtifactRejected(job=key, at=self.lane.wall(), message=error.message, expected=error.expected, got=error.got)
        )
        self.lane.end(key)


def _free_paths(path: str, stored: Collection[StoredArtifact]) -> Iterator[str]:
    """``path``, ``path-2``, ``path-3`` ... without those that results stored earlier have, whatever order they come in today."""
    taken = {artifact.path.rpartition(".")[0] for artifact in stored}
    names = chain([path], (f"{path}-{number}" for number in count(2)))
    return (name for name in names if name not in taken)
