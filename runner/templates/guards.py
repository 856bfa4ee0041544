"""What some operations would make, reckoned before they make it.

Owns the arithmetic for those filters, methods and operators whose result can be far bigger than what goes in. Each guard takes
the meter and the operation's own arguments and raises ``TooMuch``; wrong types are left to the operation itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from runner.templates.meter import Meter, TooMuch
from runner.templates.record import Record

_MAX_WIDTH: Final = 10_000
_MAX_BITS: Final = 8_192
_PERCENT: Final = re.compile(r"%[^a-zA-Z%]*")
_BRACES: Final = re.compile(r"\{[^{}]*\{|\{")
_NUMBERS: Final = re.compile(r"[0-9]+")


def _width(_meter: Meter, _value: object, width: object = 0, *_: object, **__: object) -> None:
    if isinstance(width, int) and abs(width) > _MAX_WIDTH:
        raise TooMuch(f"a width of {width:,} is too big; {_MAX_WIDTH:,} is the most")


def _rounding(_meter: Meter, _value: object, precision: object = 0, *_: object, **__: object) -> None:
    if isinstance(precision, int) and abs(precision) > 100:
        raise TooMuch("`round` takes a precision of at most 100")


def _counted(_meter: Meter, _value: object, *args: object, **kwargs: object) -> None:
    for count in (*args[:1], kwargs.get("slices"), kwargs.get("linecount")):
        if isinstance(count, int) and not 0 < count <= _MAX_WIDTH:
            raise TooMuch(f"the number of parts must be from 1 to {_MAX_WIDTH:,}")


def _indent(meter: Meter, value: object, width: object = 4, *_: object, **__: object) -> None:
    each = len(width) if isinstance(width, str) else abs(width) if isinstance(width, int) else 0
    if isinstance(value, str):
        meter.predict(len(value) + each * (1 + len(value.splitlines())))


def _replace(meter: Meter, value: object, old: object = "", new: object = "", *_: object, **__: object) -> None:
    text, old_text, new_text = str(value), str(old), str(new)
    meter.predict(len(text) + text.count(old_text) * len(new_text))


def _slug(meter: Meter, value: object, separator: object = "-") -> None:
    meter.predict(len(str(value)) * len(str(separator)))


def _join(meter: Meter, value: object, d: object = "", *_: object, **__: object) -> None:
    if isinstance(value, (list, tuple, str, range, Mapping)):
        meter.predict(len(value) * len(str(d)))
        for item in value if isinstance(value, (list, tuple)) else ():
            if item is None or isinstance(item, (list, tuple, Mapping, Record)):
                raise TypeError("`join` takes a list of texts or numbers; name a field with attribute='...'")


def _join_attribute(meter: Meter, value: object, d: object = "", attribute: object = None) -> None:
    if attribute is None:
        _join(meter, value, d)
    elif isinstance(value, (list, tuple)):
        meter.predict(len(value) * len(str(d)))


def _sum(_meter: Meter, _value: object, *args: object, **kwargs: object) -> None:
    start = kwargs.get("start", args[1] if len(args) > 1 else 0)
    if not isinstance(start, (int, float)):
        raise TypeError("`sum` adds numbers; its start must be a number")


def _printf(meter: Meter, text: object, *args: object, **kwargs: object) -> None:
    fields = _PERCENT.findall(str(text))
    _formatted(meter, len(str(text)), fields, [*args, *kwargs.values()])


def _format(meter: Meter, text: str, *args: object, **kwargs: object) -> None:
    fields = _BRACES.findall(text)
    if any(len(field) > 1 for field in fields):
        raise TooMuch("a format may not take its width from another value")
    specs = [piece.split("}", 1)[0] for piece in text.split("{")[1:]]
    _formatted(meter, len(text), specs, [*args, *kwargs.values()])


def _formatted(meter: Meter, length: int, fields: list[str], args: list[Any]) -> None:
    """``fields`` are the formatting directions; every one could print all of ``args``."""
    for value in args:
        if not isinstance(value, (str, int, float)):
            raise TypeError("a format takes texts and numbers; name a field, or join a list first")
    widths = 0
    for field in fields:
        if "*" in field:
            raise TooMuch("a format may not take its width from another value")
        for number in _NUMBERS.findall(field):
            if len(number) > 4:
                raise TooMuch(f"a width of {number[:12]} is too big for a format")
            widths += int(number)
    meter.predict(length + widths + len(fields) * meter.weigh(args, strict=True))


Guard = Callable[..., None]

FILTER_GUARDS: Final[dict[str, Guard]] = {
    "batch": _counted,
    "center": _width,
    "format": _printf,
    "indent": _indent,
    "join": _join_attribute,
    "replace": _replace,
    "round": _rounding,
    "slice": _counted,
    "slug": _slug,
    "sum": _sum,
}

METHOD_GUARDS: Final[dict[str, Guard]] = {
    "center": _width,
    "format": _format,
    "join": lambda meter, separator, items=(): _join(meter, items, separator),
    "ljust": _width,
    "replace": _replace,
    "rjust": _width,
    "zfill": _width,
}


def guard_binary(meter: Meter, operator: str, left: object, right: object) -> None:
    """Charge ``left operator right``, or raise ``TooMuch`` when its result would be too big."""
    numbers = isinstance(left, (int, float)) and isinstance(right, (int, float))
    if numbers:
        if operator in "**" and isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * abs(right) if operator == "**" else left.bit_length() + right.bit_length()
            if bits > _MAX_BITS:
                raise TooMuch("the number is too big")
        meter.charge(1)
        return
    if operator == "%" and isinstance(left, str):
        if isinstance(right, dict) and any(not field.startswith("%(") for field in _PERCENT.findall(left.replace("%%", ""))):
            raise TypeError("a format that takes a mapping names its keys, as in '%(title)s'")
        _printf(meter, left, *(right.values() if isinstance(right, dict) else right if isinstance(right, tuple) else (right,)))
    elif operator == "*":
        sequence, times = (right, left) if isinstance(left, int) else (left, right)
        meter.predict(meter.weigh(sequence, strict=True) * (times if isinstance(times, int) else 1))
        meter.charge(
            len(sequence) * max(0, times) // 8 if isinstance(sequence, (str, list, tuple)) and isinstance(times, int) else 1
        )
    elif operator == "+":
        meter.predict(meter.weigh(left, strict=True) + meter.weigh(right, strict=True))
