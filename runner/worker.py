"""Drives an adapter's flow through the wire for one account.

Owns the credentials in force, the moment between "about to pay" and "paid", and the translation of what happened on the wire into what it
means for a paid request. It never repeats a paid request, with one exception that proves nothing was accepted: an answer that
says the credentials were not valid (any more), once, with new ones.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import anyio

from runner.clock import Clock
from runner.errors import CallsheetError, MaybeSent, NotSent, ProviderError, Transient, Uncertain
from runner.model import Accepted, Submission
from runner.seams import Authorisation, Flow, Operation, Provider, Request, Wire

T = TypeVar("T")
Intent = Callable[[], Awaitable[None]]
"""Writes the intent to the ledger; returns once it is on disk."""


@dataclass(slots=True)
class _Payment:
    """Whether the one paid request of a submission may have left."""

    intent: Intent
    announced: bool = False
    """The intent is on disk: from here on the outcome can be uncertain."""

    async def leave(self) -> None:
        if not self.announced:
            await self.intent()
            self.announced = True


class Worker:
    """One account at work. Raises ``ProviderError`` for answers and ``WireError`` where there was none."""

    def __init__(self, provider: Provider, *, base_url: str, wire: Wire, clock: Clock) -> None:
        self.provider = provider
        self.wire = wire
        self._base_url = base_url
        self._clock = clock
        self._authorisation: Authorisation | None = None
        self._authorising = anyio.Lock()  # a hundred jobs that begin together ask for one token, not a hundred

    async def ask(self, flow: Callable[[], Flow[T]]) -> T:
        """Run a free flow. ``flow`` makes a fresh generator, because new credentials may need a second go."""
        return await self._twice(flow, None)

    async def submit(self, operation: Operation, submission: Submission, intent: Intent) -> Accepted:
        """Run a paid flow; ``intent`` is awaited right before the paid request leaves.

        Raises ``Deferred``, ``Transient``, ``Refused`` or ``Halted`` when nothing was accepted, ``Uncertain`` when nobody knows. Before
        the intent was written nothing is ever uncertain.
        """
        payment = _Payment(intent)
        try:
            return await self._twice(lambda: operation.submit(submission), payment)
        except NotSent as error:
            raise Transient(error.message, cause="network", hint=error.hint) from error
        except MaybeSent as error:
            kind = Uncertain if payment.announced else Transient
            raise kind(error.message, cause="network", hint=error.hint) from error
        except Uncertain as error:
            if payment.announced:
                raise
            raise Transient(error.message, code=error.code, cause=error.cause) from error
        except CallsheetError:
            raise
        except Exception as error:
            if payment.announced:
                raise Uncertain(f"the answer could not be understood: {error!r}", cause="bug") from error
            raise

    async def _twice(self, flow: Callable[[], Flow[T]], payment: _Payment | None) -> T:
        used = await self._authorised() if self._authorisation else None
        try:
            return await self._run(flow(), payment)
        except ProviderError as error:
            if not self.provider.renewable(error):
                raise
            if self._authorisation is used or used is None:
                self._authorisation = None  # another job may have renewed it meanwhile
        return await self._run(flow(), payment)

    async def _run(self, flow: Flow[T], payment: _Payment | None) -> T:
        try:
            return await self._through(flow, payment, signing=True)
        finally:
            flow.close()

    async def _through(self, flow: Flow[T], payment: _Payment | None, *, signing: bool) -> T:
        """Exchange requests for answers until the flow returns."""
        step = _advance(next, flow)
        while isinstance(step, Request):
            headers = (await self._authorised()).headers if signing and step.signed else {}
            if step.paid:
                if payment is None:
                    raise AssertionError("a paid request outside of a submission")
                await payment.leave()
            try:
                response = await self.wire.send(step, base_url=self._base_url, headers=headers)
            except (NotSent, MaybeSent) as error:
                step = _advance(flow.throw, error)
            else:
                step = _advance(flow.send, response)
        result: T = step.value
        return result

    async def _authorised(self) -> Authorisation:
        now = self._clock.now()
        held = self._authorisation
        if held is None or (held.expires_at is not None and held.expires_at <= now):
            async with self._authorising:
                held = self._authorisation
                if held is None or (held.expires_at is not None and held.expires_at <= now):
                    held = await self._authorise(now)
                    self._authorisation = held
        return held

    async def _authorise(self, now: float) -> Authorisation:
        flow = self.provider.authorise(now)
        try:
            return await self._through(flow, None, signing=False)
        finally:
            flow.close()


@dataclass(frozen=True, slots=True)
class _Done(Generic[T]):
    """The flow returned."""

    value: T


def _advance(go_on: Callable[..., Request], *args: object) -> Request | _Done[Any]:
    """The flow's next request, or what it returned. (A coroutine may not let StopIteration pass, hence the wrapping.)"""
    try:
        return go_on(*args)
    except StopIteration as stop:
        return _Done(stop.value)
