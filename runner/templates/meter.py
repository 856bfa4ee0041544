"""What one rendering may use up, counted as it goes: no signals, no threads, nothing to interrupt.

Owns the budget (units of work, seconds) and the weighing of values. A unit is about one character, one list element, or one
tenth of a call. Every operation whose cost can grow is charged by the size of what goes in and comes out, and no single value
may pass ``max_value``; so the longest stretch between two charges is one linear pass over a bounded value.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from runner.templates.record import Record, mapping_of

CALL_UNITS: Final = 10
STEP_UNITS: Final = 4
WORK_PER_CHAR: Final = 4
_CLOCK_EVERY: Final = 5_000


class TooMuch(Exception):
    """The template wants more than it may have. The text says of what; ``limit`` is the ``InputLimits`` field that allows more, if one does."""

    def __init__(self, message: str, *, limit: str = "") -> None:
        super().__init__(message)
        self.limit = limit


class Meter(threading.local):
    """The budget of the rendering that is under way in this thread; nested ones (prompts in prompts) share it."""

    def __init__(self, max_chars: int, max_seconds: float) -> None:
        self.max_value = max_chars
        self._max_work = max_chars * WORK_PER_CHAR
        self._max_seconds = max_seconds
        self._depth = 0
        self._left = 0
        self._check_below = 0
        self._deadline = 0.0

    def __enter__(self) -> None:
        self._depth += 1
        if self._depth == 1:
            self._left = self._max_work
            self._check_below = self._left - _CLOCK_EVERY
            self._deadline = time.monotonic() + self._max_seconds

    def __exit__(self, *_: object) -> None:
        self._depth -= 1

    def charge(self, units: int) -> None:
        """Take ``units`` off the budget. Raises ``TooMuch``."""
        left = self._left = self._left - units
        if left < self._check_below:
            if left < 0:
                raise TooMuch(f"it takes more than {self._max_work:,} units of work", limit="template_chars")
            if time.monotonic() > self._deadline:
                raise TooMuch(f"it takes longer than {self._max_seconds:g} s", limit="template_seconds")
            self._check_below = left - _CLOCK_EVERY

    def predict(self, size: int) -> None:
        """Refuse a value before it is made. Raises ``TooMuch``."""
        if size > self.max_value:
            message = f"it makes a value of about {size:,} characters or elements; {self.max_value:,} are allowed"
            raise TooMuch(message, limit="template_chars")

    def weigh(self, value: object, *, strict: bool = False) -> int:
        """Characters and elements in ``value``, counted as often as printing would meet them, and charged.

        With ``strict``, objects that are no plain data raise ``TypeError``. Raises ``TooMuch``.
        """
        kind = type(value)
        if kind is str:
            size = len(value)  # type: ignore[arg-type]  # `type() is str` is the fast path; mypy narrows isinstance only
        elif kind is int:
            size = 1 + value.bit_length() // 8  # type: ignore[attr-defined]  # as above
        elif kind is float or kind is bool or value is None:
            size = 1
        else:
            size = self._weigh_nested(value, strict=strict)
        if size > self.max_value:
            self.predict(size)
        self.charge(1 + size // 8)
        return size

    def _weigh_nested(self, value: object, *, strict: bool) -> int:
        size, stack = 0, [value]
        while stack:
            item = stack.pop()
            if isinstance(item, str):
                size += 1 + len(item)
            elif isinstance(item, int):
                size += 1 + item.bit_length() // 8
            else:
                size += 1
                parts = _parts(item, strict=strict)
                self.predict(size + len(stack) + len(parts))
                stack.extend(parts)
            if size > self.max_value:
                self.predict(size)
        self.charge(size // 2)
        return size

    def walk(self, items: Iterable[object], units: int = STEP_UNITS) -> Iterator[object]:
        """The same items, each one charged."""
        for item in items:
            self.charge(units)
            yield item


def _parts(item: object, *, strict: bool) -> list[object]:
    if isinstance(item, range):
        return [None] * len(item)
    if isinstance(item, (list, tuple, set, frozenset)):
        return list(item)
    if isinstance(item, Record):
        item = mapping_of(item) if strict else {}
    if isinstance(item, Mapping):
        return [*item.keys(), *item.values()]
    if strict and item is not None and not isinstance(item, float):
        raise TypeError(f"a {type(item).__name__} cannot be used here; use its text or one of its fields")
    return []
