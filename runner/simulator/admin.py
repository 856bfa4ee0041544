"""The simulator's own pages under ``/_simulator/``: books, faults, health. No provider has anything like it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from runner.simulator.accounts import Lane
from runner.simulator.faults import FaultRuleError, rules_from
from runner.simulator.options import PROVIDERS
from runner.simulator.tasks import Task
from runner.simulator.web import NotJson, Reply, Request, json_reply
from runner.simulator.world import World

PREFIX = "/_simulator/"


class Admin:
    """Answers the admin pages from the world's state."""

    def __init__(self, world: World) -> None:
        self._world = world

    def answer(self, request: Request) -> Reply:
        """The page, or 404 and 405 as plain JSON."""
        match request.path[len(PREFIX) :].rstrip("/"), request.method:
            case "health", "GET":
                now = self._world.now()
                return json_reply({"ok": True, "now": now, "real": self._world.clock.real(), "speed": self._world.options.speed})
            case "books", "GET":
                return json_reply(self.books(tasks=request.query.get("tasks", "") in ("1", "true")))
            case "faults", "GET":
                return json_reply({"rules": [asdict(rule) for rule in self._world.faults.rules]})
            case "faults", "POST" | "PUT":
                return self._set_faults(request)
            case "health" | "books" | "faults", _:
                return json_reply({"error": "method not allowed"}, 405)
            case _:
                return json_reply({"error": "not found; there are books, faults and health"}, 404)

    def books(self, *, tasks: bool = False) -> dict[str, Any]:
        """Everything that was counted; with ``tasks`` each accepted task besides."""
        world = self._world
        providers = {name: self._provider(name) for name in PROVIDERS}
        if tasks:
            for name in PROVIDERS:
                providers[name]["tasks"] = []
            for task in world.tasks.values():
                providers[task.provider]["tasks"].append(self._task(task))
        return {"now": world.now(), "providers": providers, "charged_more_than_once": world.books.charged_more_than_once()}

    def _provider(self, name: str) -> dict[str, Any]:
        world = self._world
        accounts = [world.account(name, account.name) for account in list(world.accounts.values()) if account.provider == name]
        lanes = [(account.name, lane_name, lane) for account in accounts for lane_name, lane in account.lanes.items()]
        return {
            **world.books[name].as_json(),
            "credits_left": {account.name: round(account.credit, 6) for account in accounts},
            "in_flight": sum(lane.in_flight() for _account, _name, lane in lanes),
            "peak_in_flight": max((lane.peak for _account, _name, lane in lanes), default=0),
            "outstanding": sum(lane.outstanding() for _account, _name, lane in lanes),
            "peak_outstanding": max((lane.peak_outstanding for _account, _name, lane in lanes), default=0),
            "lanes": [{"account": account, "lane": lane_name, **_lane(lane)} for account, lane_name, lane in lanes],
        }

    def _task(self, task: Task) -> dict[str, Any]:
        wall = self._world.clock.wall
        return {
            "id": task.id,
            "family": task.family,
            "account": task.account,
            "handle": task.handle,
            "phase": task.phase(self._world.now()).value,
            "charge": task.charge,
            "accepted": wall(task.made),
            "starts": wall(task.start),
            "ends": wall(task.end),
            "trouble": task.trouble,
        }

    def _set_faults(self, request: Request) -> Reply:
        try:
            rules = rules_from(request.json())
        except (NotJson, FaultRuleError) as error:
            return json_reply({"error": str(error)}, 400)
        self._world.set_faults(rules)
        return json_reply({"rules": [asdict(rule) for rule in rules]})


def _lane(lane: Lane) -> dict[str, int]:
    return {
        "limit": lane.limit,
        "in_flight": lane.in_flight(),
        "peak_in_flight": lane.peak,
        "outstanding": lane.outstanding(),
        "peak_outstanding": lane.peak_outstanding,
    }
