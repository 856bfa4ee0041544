"""The ASGI app: finds the provider and the route, lets faults happen before and after, serves media, keeps the postman running."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio

from runner.simulator.admin import PREFIX, Admin
from runner.simulator.akool import Akool
from runner.simulator.books import Books
from runner.simulator.callbacks import Postman
from runner.simulator.creatify import Creatify
from runner.simulator.faults import REFUSALS, FaultRule, Occasion
from runner.simulator.kling import Kling
from runner.simulator.links import MARK, DeadLink, MediaRef, parse_media_path
from runner.simulator.options import SimulatorOptions
from runner.simulator.provider import PretendProvider
from runner.simulator.spoiling import spoil
from runner.simulator.studio import MediaSource, Shot, Studio, serve_bytes
from runner.simulator.tasks import Phase
from runner.simulator.topview import Topview, storage_error
from runner.simulator.web import (
    Receive,
    Refusal,
    Reply,
    Request,
    Route,
    Router,
    Scope,
    Send,
    TooLarge,
    html_reply,
    json_reply,
    read_request,
    send_reply,
)
from runner.simulator.world import World

Hold = Callable[[float], Awaitable[bool]]
"""Waits so many real seconds; true when the client went away meanwhile."""
GONE = Reply(499, b"", cut="whole")


class Simulator:
    """Four pretend providers in one process. ``app`` is the ASGI app, ``books`` what they counted.

    ``source`` is the real clock (Unix seconds), replaceable for virtual time; ``maker`` draws the media. Callbacks are delivered
    while :meth:`running` is entered or the ASGI life span runs. Raises ValueError for a damaged state file.
    """

    def __init__(
        self,
        options: SimulatorOptions | None = None,
        *,
        source: Callable[[], float] = time.time,
        maker: MediaSource | None = None,
    ) -> None:
        self.options = options or SimulatorOptions()
        self.world = World(self.options, source)
        self._topview = Topview(self.world)
        everybody: list[PretendProvider] = [Kling(self.world), Creatify(self.world), self._topview, Akool(self.world)]
        self._providers = {provider.name: provider for provider in everybody}
        self._routers = {name: Router(provider.routes()) for name, provider in self._providers.items()}
        self._postman = Postman(self.world, self._providers)
        self.world.replay()
        self.world.on_accepted = self._postman.expect
        for task in self.world.tasks.values():
            self._postman.expect(task)
        self._admin = Admin(self.world)
        self._studio = Studio(maker or _media_maker(self.options.seed), self.world.blobs, self._shot, bench=self.options.bench)

    @property
    def books(self) -> Books:
        """The counts."""
        return self.world.books

    @property
    def app(self) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
        """The ASGI app: this very object."""
        return self

    def page(self, *, tasks: bool = False) -> dict[str, Any]:
        """What ``GET /_simulator/books`` shows."""
        return self._admin.books(tasks=tasks)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Simulator]:
        """Deliver callbacks for as long as the block lasts."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._postman.run)
            try:
                yield self
            finally:
                group.cancel_scope.cancel()

    def close(self) -> None:
        """Close the state file; nothing can be accepted afterwards."""
        self.world.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI call: a request, or the life span."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["type"] != "http":
            return
        try:
            request = await read_request(scope, receive)
        except TooLarge:
            await send_reply(scope, receive, send, html_reply(413, "Request Entity Too Large"))
            return
        if request is None:
            return

        async def hold(seconds: float) -> bool:
            with anyio.move_on_after(seconds):
                while (await receive())["type"] != "http.disconnect":
                    pass
                return True
            return False

        reply = await self._answer(request, hold)
        if reply is not GONE:
            await send_reply(scope, receive, send, reply)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        async with self.running():
            await send({"type": "lifespan.startup.complete"})
            await receive()
        self.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, request: Request, hold: Hold) -> Reply:
        path = request.path
        if path.startswith(PREFIX):
            return self._admin.answer(request)
        first, _, rest = path[1:].partition("/")
        mounted = self._providers.get(first)
        if mounted is not None:
            request.mount, request.path = f"/{first}", f"/{rest}"
        if request.path.startswith(MARK):
            return await self._media(request, hold)
        if not self.world.base:
            self.world.base = request.base
        for provider in [mounted] if mounted is not None else self._providers.values():
            found = self._routers[provider.name].find(request.path)
            if found is not None:
                return await self._routed(provider, request, found, hold)
        if mounted is None:
            mounted = self._owner(request.path)
        return self._counted(mounted, mounted.no_route(request)) if mounted else json_reply({"error": "no such path"}, 404)

    def _owner(self, path: str) -> PretendProvider | None:
        """Whose unknown path this is, for clients that use the root."""
        owners = (
            ("/api/open/", "akool"),
            ("/api/", "creatify"),
            ("/v1/videos", "kling"),
            ("/v1/images", "kling"),
            ("/v", "topview"),
        )
        return next((self._providers[name] for prefix, name in owners if path.startswith(prefix)), None)

    async def _routed(
        self, provider: PretendProvider, request: Request, found: tuple[dict[str, Route], tuple[str, ...]], hold: Hold
    ) -> Reply:
        methods, request.params = found
        route = methods.get(request.method)
        if route is None:
            return self._counted(provider, provider.no_method(request))
        self.books[provider.name].requests[f"{route.method} {route.pattern}"] += 1
        rule = self._fault(provider, route, request)
        reply = None
        if rule is not None and rule.when() == "before":
            reply = await self._before(rule, provider, hold)
        if reply is None:
            reply = await self._handled(provider, route, request)
            if rule is not None and rule.when() == "after":
                reply = await self._after(rule, provider, reply, hold)
        return self._counted(provider, reply)

    def _fault(self, provider: PretendProvider, route: Route, request: Request) -> FaultRule | None:
        if not self.world.faults.rules:
            return None
        occasion = Occasion(provider.name, route.operation, request.path, request.method, request.text())
        return self.world.fault(occasion)

    def _counted(self, provider: PretendProvider, reply: Reply) -> Reply:
        if reply.refusal:
            self.world.refused(provider.name, reply.refusal)
        return reply

    async def _handled(self, provider: PretendProvider, route: Route, request: Request) -> Reply:
        try:
            return await route.handler(request)
        except Refusal as refusal:
            return provider.refuse(refusal)

    async def _before(self, rule: FaultRule, provider: PretendProvider, hold: Hold) -> Reply | None:
        """What the client gets without anything having been accepted; None to go on as if nothing had been."""
        if rule.kind == "hang":
            return GONE if await hold(rule.seconds) else None
        if rule.kind == "closed_before":
            return Reply(0, b"", cut="whole")
        if rule.kind in REFUSALS:
            if rule.kind == "error" and not rule.code:
                return provider.server_error(rule)
            return provider.refuse(provider.fault_refusal(rule))
        if rule.kind == "server_error_before":
            return provider.server_error(rule)
        return spoil(json_reply({"message": "the upstream service did not answer"}, rule.status or 200), rule, provider.words)

    async def _after(self, rule: FaultRule, provider: PretendProvider, reply: Reply, hold: Hold) -> Reply:
        if rule.kind == "hang":
            return GONE if await hold(rule.seconds) else reply
        if rule.kind == "lost_reply":
            return Reply(0, b"", cut="whole")
        if rule.kind == "server_error_after":
            return provider.server_error(rule)
        return spoil(reply, rule, provider.words)

    async def _media(self, request: Request, hold: Hold) -> Reply:
        pieces = request.path[len(MARK) :].split("/")
        provider = self._providers.get(pieces[0])
        if provider is None or len(pieces) > 3:
            return storage_error(404, "NoSuchKey", "The specified key does not exist.")
        is_upload = "upload" in pieces[1:2]
        rule = self._media_fault(provider, request, "upload" if is_upload else "media")
        if rule is not None:
            broken = await self._broken_media(rule, hold)
            if broken is not None:
                return self._counted(provider, broken)
        reply = self._upload(request) if is_upload else await self._file(request)
        if rule is not None and rule.kind == "truncated_media" and reply.status < 300:
            reply = Reply(200, reply.body[: len(reply.body) // 2], reply.media_type, head=reply.head)
        elif rule is not None and rule.when() == "after":
            reply = await self._after(rule, provider, reply, hold)
        self.books[provider.name].media[f"{request.method} {reply.status}"] += 1
        return reply

    def _media_fault(self, provider: PretendProvider, request: Request, operation: str) -> FaultRule | None:
        if not self.world.faults.rules:
            return None
        ref = parse_media_path(request.path)
        task = self.world.tasks.get(ref.task) if ref is not None else None
        text = f"{request.path}?{request.query_string}\n{task.handle if task else ''}"
        return self.world.fault(Occasion(provider.name, operation, request.path, request.method, text, "media"))

    async def _broken_media(self, rule: FaultRule, hold: Hold) -> Reply | None:
        if rule.when() == "after" or rule.kind == "truncated_media":
            return None
        if rule.kind == "hang":
            return GONE if await hold(rule.seconds) else None
        if rule.kind == "closed_before":
            return Reply(0, b"", cut="whole")
        if rule.kind == "expired_link":
            return storage_error(403, "AccessDenied", "Request has expired")
        if rule.kind == "html_media":
            return html_reply(200, "One moment please")
        status = rule.status or 503
        return storage_error(status, "SlowDown" if status == 503 else "InternalError", "Please reduce your request rate.")

    def _upload(self, request: Request) -> Reply:
        try:
            self.world.links.check(request.path, request.query_string)
        except DeadLink as error:
            return storage_error(403, error.code, str(error))
        if request.method != "PUT":
            return storage_error(405, "MethodNotAllowed", "The specified method is not allowed against this resource.")
        return self._topview.upload_arrived(request.path.rpartition("/")[2], request.body, request)

    async def _file(self, request: Request) -> Reply:
        if request.method not in ("GET", "HEAD"):
            return storage_error(405, "MethodNotAllowed", "The specified method is not allowed against this resource.")
        try:
            self.world.links.check(request.path, request.query_string)
        except DeadLink as error:
            return storage_error(403, error.code, str(error))
        ref = parse_media_path(request.path)
        shot = self._shot(ref) if ref is not None else None
        task = self.world.tasks.get(ref.task) if ref is not None else None
        if shot is None or task is None or self.world.now() > task.end + self.options.result_life(task.provider):
            return storage_error(404, "NoSuchKey", "The specified key does not exist.")
        data = await self._studio.draw(shot)
        return serve_bytes(request, data, request.path.rpartition(".")[2], self.world.clock.wall(task.end))

    def _shot(self, ref: MediaRef) -> Shot | None:
        task = self.world.tasks.get(ref.task)
        if task is None or task.provider != ref.provider or task.phase(self.world.now()) is not Phase.DONE:
            return None
        return self._providers[ref.provider].shot(task, ref.what, ref.index)


def _media_maker(seed: int) -> MediaSource:
    from runner.simulator.media import MediaMaker

    return MediaMaker(seed)
