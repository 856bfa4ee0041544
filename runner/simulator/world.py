"""The state that the pretend providers share, and the one place where work is accepted: slot, credit, record, disk, books.

No ``await`` stands between looking at the limits and writing the record, so two requests cannot take the same slot.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from statistics import NormalDist
from typing import Any

from runner.simulator.accounts import Account, Lane, NoCredit
from runner.simulator.blobs import Blobs
from runner.simulator.books import Books
from runner.simulator.clock import SimulatedClock, Stretch
from runner.simulator.faults import FaultRule, Faults, Occasion, rules_from
from runner.simulator.links import DeadLink, Links
from runner.simulator.options import PROVIDERS, SimulatorOptions
from runner.simulator.statefile import StateFile
from runner.simulator.tasks import Task

_NORMAL = NormalDist()


@dataclass(slots=True)
class Draft:
    """Work that somebody asks for. ``work`` names its duration (``creatify/video``), ``lane`` its limit (``kling/image``)."""

    provider: str
    family: str
    account: str
    handle: str
    work: str
    lane: str
    charge: float
    slots: int = 1
    make_id: Callable[[bytes, int], str] = lambda digest, _serial: digest.hex()
    data: dict[str, Any] = field(default_factory=dict)
    instant: bool = False
    """Done at once and without a slot."""
    refunds: bool = True
    """Whether a failed task gives its credits back."""
    troubles: tuple[str, ...] = ("internal error",)


class World:
    """Everything that four providers have in common."""

    def __init__(self, options: SimulatorOptions, source: Callable[[], float]) -> None:
        self.options = options
        self._state = StateFile(options.state)
        lines = self._state.open()
        history = tuple(Stretch(line["real"], line["simulated"], line["speed"]) for line in lines if line.get("k") == "clock")
        self.clock = SimulatedClock(options.speed, source, history)
        self.books = Books(PROVIDERS)
        self.faults = Faults((), options.seed)
        self.links = Links(options, self.clock)
        self.blobs = Blobs(self._state.blobs)
        self.tasks: dict[str, Task] = {}
        self.accounts: dict[tuple[str, str], Account] = {}
        self.base = ""
        self.serial = 0
        self.adopters: dict[str, Callable[[Task], None]] = {}
        self.recallers: dict[str, Callable[[dict[str, Any]], None]] = {}
        self.on_accepted: Callable[[Task], None] = lambda _task: None
        self.delivered: set[tuple[str, str]] = set()
        self._lines = lines

    def replay(self) -> None:
        """Take up what the state file holds; to be called once, after the providers have signed in their adopters."""
        for number, line in enumerate(self._lines, 1):
            try:
                self._replay_line(line)
            except (KeyError, TypeError, ValueError) as error:
                self.close()
                place = f"{self.options.state}:{number}"
                raise ValueError(f"{place} is not a line of simulator state ({error}); remove the file to start afresh") from None
        self._lines = []
        self.write("clock", **asdict(self.clock.current))
        if self.options.faults and self.options.faults != self.faults.rules:
            self.set_faults(self.options.faults)

    def _replay_line(self, line: dict[str, Any]) -> None:
        kind = line["k"]
        self.serial = max(self.serial, int(line.get("serial", 0)))
        if kind == "task":
            refund = line.pop("refund")
            line.pop("k")
            self._take(Task(**line), refund)
        elif kind == "refusal":
            self.books[line["provider"]].refusals[line["code"]] += 1
        elif kind == "fault":
            self.books[line["provider"]].faults[line["fault"]] += 1
            self.faults.restore(line["place"], line["matches"])
        elif kind == "faults":
            self.faults.replace(rules_from(line["rules"]))
        elif kind == "called":
            self.delivered.add((line["task"], line["event"]))
            self.books[line["provider"]].callbacks[line["outcome"]] += 1
        elif kind in self.recallers:
            self.recallers[kind](line)

    def write(self, kind: str, /, **values: object) -> None:
        """Put a fact into the state file."""
        self._state.write(kind, **values)

    def close(self) -> None:
        """Close the state file."""
        self._state.close()

    def now(self) -> float:
        """Simulated seconds."""
        return self.clock.now()

    def draw(self, provider: str) -> tuple[bytes, int]:
        """32 seeded bytes and a number that nothing else in this world has; what ids and luck are made from."""
        self.serial += 1
        return self.digest(f"{provider}/{self.serial}"), self.serial

    def digest(self, text: str) -> bytes:
        """32 bytes that depend on the seed and ``text`` alone."""
        return hashlib.blake2b(f"{self.options.seed}/{text}".encode(), digest_size=32).digest()

    def account(self, provider: str, name: str) -> Account:
        """The account of that name, opened with its starting credit when new, and settled up to now."""
        account = self._open(provider, name)
        self._settle(account, self.now())
        return account

    def _open(self, provider: str, name: str) -> Account:
        account = self.accounts.get((provider, name))
        if account is None:
            account = self.accounts[provider, name] = Account(provider, name, self.options.credit(provider))
        return account

    def _lane(self, account: Account, name: str) -> Lane:
        lane = account.lanes.get(name)
        if lane is None:
            lane = account.lanes[name] = Lane(self.options.slots(name), self.options.queues(account.provider))
        return lane

    def accept(self, draft: Draft) -> Task:
        """Accept and charge. Raises NoCredit or NoSlot, and then nothing has happened."""
        now = self.now()
        account = self.account(draft.provider, draft.account)
        if account.credit < draft.charge:
            raise NoCredit
        start = now if draft.instant else self._lane(account, draft.lane).start(now, draft.slots)
        luck, serial = self.draw(draft.provider)
        trouble = "" if draft.instant else self._trouble(luck, draft.troubles)
        task = Task(
            id=draft.make_id(luck, serial),
            provider=draft.provider,
            family=draft.family,
            account=draft.account,
            handle=draft.handle,
            serial=serial,
            made=now,
            start=start,
            end=now if draft.instant else start + self._seconds(draft.work, luck),
            charge=draft.charge,
            slots=0 if draft.instant else draft.slots,
            trouble=trouble,
            lane="" if draft.instant else draft.lane,
            data=draft.data,
        )
        refund = draft.charge if trouble and draft.refunds else 0.0
        self.write("task", **asdict(task), refund=refund)
        self._take(task, refund)
        self.on_accepted(task)
        return task

    def _take(self, task: Task, refund: float) -> None:
        account = self._open(task.provider, task.account)
        self._settle(account, task.made)
        account.credit -= task.charge
        if task.lane:
            self._lane(account, task.lane).admit(task, refund)
        account.tasks.setdefault(task.family, []).append(task)
        self.tasks[task.id] = task
        if task.lane or task.charge:
            books = self.books[task.provider]
            books.submissions += 1
            books.charged_credits += task.charge
            books.charged_by_key[task.handle] += 1
        self.adopters[task.provider](task)

    def _settle(self, account: Account, now: float) -> None:
        self.books[account.provider].refunded_credits += account.settle(now)

    def _seconds(self, work: str, luck: bytes) -> float:
        share = (int.from_bytes(luck[24:28], "big") + 0.5) / 2**32
        return self.options.median(work) * math.exp(self.options.spread * _NORMAL.inv_cdf(share))

    def _trouble(self, luck: bytes, troubles: tuple[str, ...]) -> str:
        if int.from_bytes(luck[28:31], "big") / 2**24 >= self.options.fail_rate:
            return ""
        return troubles[luck[31] % len(troubles)]

    def refused(self, provider: str, code: str) -> None:
        """Count a refusal."""
        self.books[provider].refusals[code] += 1
        self.write("refusal", provider=provider, code=code)

    def set_faults(self, rules: tuple[FaultRule, ...]) -> None:
        """Put other fault rules in force; they outlive a restart that names none."""
        self.faults.replace(rules)
        self.write("faults", rules=[asdict(rule) for rule in rules])

    def fault(self, occasion: Occasion) -> FaultRule | None:
        """The fault rule that fires here, counted; None when all goes well."""
        picked = self.faults.pick(occasion)
        if picked is None:
            return None
        rule, place, matches = picked
        self.books[occasion.provider].faults[rule.kind] += 1
        self.write("fault", provider=occasion.provider, fault=rule.kind, place=place, matches=matches)
        return rule

    def picture_source(self, url: str) -> str:
        """``media:...`` for a link of ours, nothing for foreign ones. Raises ValueError for ours that does not work."""
        try:
            ref = self.links.own(url)
        except DeadLink as error:
            raise ValueError(f"cannot be fetched ({error})") from None
        if ref is None:
            return ""
        if ref.task not in self.tasks or self.tasks[ref.task].provider != ref.provider:
            raise ValueError("cannot be fetched (no such file)")
        return f"media:{ref}"
