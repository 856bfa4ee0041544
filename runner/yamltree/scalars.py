"""What an unquoted YAML scalar means.

Owns the core schema's rules, strict where YAML would silently lose something: leading zeros, numbers out of range.
"""

from __future__ import annotations

import re
from typing import TypeAlias

Scalar: TypeAlias = str | int | float | bool | None

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_WHOLE = re.compile(r"[-+]?(?:0|[1-9][0-9]*)\Z")
_BASED = re.compile(r"0x[0-9a-fA-F]+\Z|0o[0-7]+\Z")
_DECIMAL = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z")
_LARGEST = 2**63 - 1


def scalar(text: str) -> Scalar:
    """What an unquoted YAML scalar means. Raises ``ValueError`` (for people) for numbers that no JSON can carry."""
    if text in _NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    # The first character decides cheaply: nearly every scalar is text.
    if text[0] not in "+-.0123456789":
        return text
    if _NOT_FINITE.match(text):
        raise ValueError(f"{text} is not a usable number")
    if _BASED.match(text):
        return _within(text, 16 if text[1] == "x" else 8)
    if _WHOLE.match(text):
        return _within(text, 10)
    if _DECIMAL.match(text):
        number = float(text)
        if number in {float("inf"), float("-inf")}:
            raise ValueError(f"the number {text[:20]} is too large")
        return number
    return text


def _within(text: str, base: int) -> int:
    # Length first: Python refuses to convert thousands of digits.
    if len(text) > 24:
        raise ValueError(f"the number {text[:20]}... is too large")
    number = int(text.removeprefix("0o") if base == 8 else text, base)
    if not -_LARGEST - 1 <= number <= _LARGEST:
        raise ValueError(f"the number {text} is too large")
    return number
