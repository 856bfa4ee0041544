"""What the parameter models of all operations share.

Owns the base model, the readings of values that come from templates (always text) and of media values (a local path or a
link), and the marker that makes a submission recognisable. Knows no single provider.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Final, TypeAlias
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict
from pydantic_core import PydanticCustomError

from runner.model import JSON

MARKER: Final = "callsheet"
"""Query parameter that carries a submission's key inside a callback address."""


class ParameterModel(BaseModel):
    """Base of all parameter models: unknown names are errors, numbers may stand where the API wants text."""

    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)


def _whole(value: object) -> object:
    """Templates give text: ``"5"`` is 5. Everything else is left for the field's own check; true is not 1."""
    if isinstance(value, bool):
        raise PydanticCustomError("whole_number", "write a whole number")
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit() and len(value) < 10:
        return int(value)
    return value


def _worded(value: object) -> object:
    """``720`` without quotes is a number in YAML where the API wants the text."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _is_link(value: str) -> bool:
    return "://" in value or value[:5].lower() == "data:"


def _place(value: str | None) -> str | None:
    """A local path, or an http(s) link."""
    if value is None:
        return None
    if not value.strip():
        raise ValueError("is empty: write a local path or an http(s) link")
    if value[:5].lower() == "data:":
        raise ValueError("data: links are not taken; write a local path or an http(s) link")
    if _is_link(value):
        _check_link(value)
    return value


def _check_link(value: str) -> None:
    try:
        parts = urlsplit(value)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme.lower() not in {"http", "https"} or not parts.netloc or any(c.isspace() for c in value):
        raise ValueError("is no http(s) link; write a local path or a link such as https://host/file")


def _local(value: str | None) -> str | None:
    """A local path only."""
    if value is not None and _is_link(value):
        raise ValueError("must be a local file, this API takes no links: download it first and write its path")
    return _place(value)


def _short_link(value: str) -> str:
    """A link of at most 200 characters (a local path is published first; its link is measured then)."""
    if _is_link(value) and len(value) > 200:
        raise ValueError(f"the link has {len(value)} characters, the API takes 200: use a shorter, unsigned link")
    return value


Whole: TypeAlias = Annotated[int, BeforeValidator(_whole)]
WHOLE: Final = BeforeValidator(_whole)
"""Reads ``"5"`` as 5, for fields with a list of allowed numbers."""
WORDED: Final = BeforeValidator(_worded)
"""Reads ``720`` as ``"720"``, for fields with a list of allowed texts."""
PLACE: Final = AfterValidator(_place)
"""A local path or an http(s) link."""
LOCAL: Final = AfterValidator(_local)
"""A local path."""
SHORT_LINK: Final = AfterValidator(_short_link)
"""A link of at most 200 characters, or a local path."""


def given(params: Mapping[str, JSON], names: Iterable[str]) -> dict[str, object]:
    """Those of ``names`` that have a value, in the order of ``names``: a request body holds nothing else."""
    return {name: params[name] for name in names if params.get(name) is not None}


def wanted_text(params: Mapping[str, JSON], name: str) -> str:
    """The text parameter ``name``; empty when it was not given."""
    value = params.get(name)
    return value if isinstance(value, str) else ""


def marked(url: str, key: str) -> str:
    """``url`` with the submission's key in its query, whatever it held before."""
    parts = urlsplit(url)
    query = "&".join(part for part in (parts.query, urlencode({MARKER: key})) if part)
    return urlunsplit((parts.scheme, parts.netloc, parts.path or "/", query, ""))


def marker_in(url: str) -> str:
    """The key that ``marked`` put into ``url``; empty when it bears none."""
    try:
        pairs = parse_qsl(urlsplit(url).query)
    except ValueError:
        return ""
    keys = [value for name, value in pairs if name == MARKER]
    return keys[-1] if keys else ""
