"""Reads what a provider answered, without trusting any of it.

Owns the getters that adapters read JSON with. Each takes a document and a path of keys and positions and gives the value
in the wanted type, or a plain "nothing" when it is absent or of another type; none of them raises. What "nothing" means at
a given place (nobody knows, ask again, not there) is the adapter's decision, never made here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

from runner.errors import MaybeSent
from runner.model import JSON
from runner.seams import Response

WORDS_LIMIT: Final = 300
"""Most characters of a provider's text that are kept."""

_ID_LIMIT: Final = 200
_URL_LIMIT: Final = 8192
_LONGEST_WAIT: Final = 3600.0
_SPEAKING_KEYS: Final = ("detail", "message", "msg", "errorMsg", "error", "errors", "failed_reason")


def document(response: Response) -> JSON:
    """The body as JSON; None when it is not JSON (or nested deeper than any honest answer)."""
    try:
        return response.json()
    except (MaybeSent, ValueError, RecursionError):
        return None


def at(node: JSON, *path: str | int) -> JSON:
    """What stands at ``path``; None when the way there does not exist."""
    for step in path:
        if isinstance(step, str):
            node = node.get(step) if isinstance(node, Mapping) else None
        else:
            inside = isinstance(node, Sequence) and not isinstance(node, str) and 0 <= step < len(node)
            node = node[step] if inside and isinstance(node, Sequence) else None
    return node


def text_at(node: JSON, *path: str | int) -> str:
    """The text at ``path``; empty when there is none."""
    value = at(node, *path)
    return value if isinstance(value, str) else ""


def words_at(node: JSON, *path: str | int) -> str:
    """The text at ``path``, cleaned for people: one line of printable characters, at most ``WORDS_LIMIT``."""
    return cleaned(text_at(node, *path))


def code_at(node: JSON, *path: str | int) -> str:
    """An answer code as text, whether it came as a number or as text; empty when there is none."""
    value = at(node, *path)
    if isinstance(value, str):
        return cleaned(value)[:40]
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def id_at(node: JSON, *path: str | int) -> str:
    """A remote id that can safely be kept and put into a URL: printable ASCII without blanks; empty when there is none."""
    value = at(node, *path)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or len(value) > _ID_LIMIT or not value.isascii() or not value.isprintable():
        return ""
    return value if value.strip(".") and " " not in value else ""


def number_at(node: JSON, *path: str | int) -> float | None:
    """A finite number of at least zero, also when it came as text (``"4.8"``); None when there is none."""
    value = at(node, *path)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number >= 0 else None


def pixels_at(node: JSON, *path: str | int) -> int | None:
    """A length in whole pixels; None when there is none."""
    number = number_at(node, *path)
    return int(number) if number is not None and number >= 1 else None


def rows_at(node: JSON, *path: str | int) -> Sequence[JSON] | None:
    """The array at ``path``; None when there is none."""
    value = at(node, *path)
    return value if isinstance(value, Sequence) and not isinstance(value, str) else None


def url_at(node: JSON, *path: str | int) -> str:
    """A link that a download can be tried on (http or https, no blanks or control characters); empty when there is none."""
    value = text_at(node, *path)
    if len(value) > _URL_LIMIT or not value.isprintable() or " " in value:
        return ""
    try:
        parts = urlsplit(value)
    except ValueError:
        return ""
    return value if parts.scheme in {"http", "https"} and parts.netloc else ""


def moment_at(node: JSON, *path: str | int) -> float | None:
    """An ISO 8601 time as Unix seconds (without a zone it is taken as UTC); None when there is none."""
    try:
        moment = datetime.fromisoformat(text_at(node, *path))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def cleaned(text: str, limit: int = WORDS_LIMIT) -> str:
    """``text`` as one line: control and invisible characters become blanks, runs of blanks one, the rest is cut at ``limit``."""
    start = text[: limit * 4]
    line = " ".join("".join(c if c.isprintable() else " " for c in start).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def words_of(response: Response) -> str:
    """What an answer without the provider's envelope says, for people. A gateway's HTML page says nothing."""
    spoken = _spoken(document(response), depth=3)
    if spoken:
        return cleaned(spoken)
    start = response.body[: WORDS_LIMIT * 4].decode("utf-8", "replace").strip()
    return "" if start[:1] in {"<", "{", "["} else cleaned(start)


def _spoken(node: JSON, depth: int) -> str:
    """The first telling text inside a JSON answer; field errors come as ``field: text``."""
    if isinstance(node, str) or depth == 0:
        return node if isinstance(node, str) else ""
    if isinstance(node, Mapping):
        for key in _SPEAKING_KEYS:
            if found := _spoken(node.get(key), depth - 1):
                return found
        fields = ((key, _spoken(value, depth - 1)) for key, value in list(node.items())[:8] if not isinstance(value, str))
        return "; ".join(f"{key}: {said}" for key, said in fields if said)
    if isinstance(node, Sequence):
        return "; ".join(said for item in node[:8] if (said := _spoken(item, depth - 1)))
    return ""


def retry_after(response: Response) -> float | None:
    """Seconds from ``Retry-After``, at most an hour. A date there is measured against the answer's own ``Date``."""
    value = response.headers.get("retry-after", "").strip()
    seconds = number_at(value)
    if seconds is None:
        seconds = _until(value, response.headers.get("date", ""))
    return None if seconds is None else min(seconds, _LONGEST_WAIT)


def _until(then: str, now: str) -> float | None:
    try:
        return max(0.0, (parsedate_to_datetime(then) - parsedate_to_datetime(now)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None
