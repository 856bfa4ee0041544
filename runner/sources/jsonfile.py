"""A JSON document that holds a list of products.

Owns where the list is: the document itself, where ``records`` points (``data.products``), or the only value of the top object
that is a list (a shop's ``{"products": [...]}``). The bytes are held whole; the objects are made one by one. Row numbers are
the lines on which the products begin.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from runner.errors import CatalogueError
from runner.model import JSON
from runner.sources.opening import Options, read_whole


@dataclass(frozen=True, slots=True)
class JsonSource:
    """Rows of a ``.json`` file."""

    path: Path
    options: Options = field(default_factory=Options)

    def rows(self) -> Iterator[tuple[int, Mapping[str, JSON]]]:
        """(line, fields), lazily. Raises ``CatalogueError``."""
        data = read_whole(self.path, self.options, limit="catalogue_file_bytes")
        if not data.strip():
            raise self._error("the file is empty", hint="write a JSON list of products")
        self._check(data)
        line, at = 1, 0
        for raw in self._list(data):
            text = bytes(raw)
            # Records stand in order with only white space and commas between them, so the next match is this one.
            begin = max(data.find(text, at), at)
            line += data.count(b"\n", at, begin)
            yield line, self._record(text, line)
            line += text.count(b"\n")
            at = begin + len(text)

    def _check(self, data: bytes) -> None:
        """Refuse what is no JSON, with its line, before anything is built."""
        try:
            msgspec.json.decode(data, type=msgspec.Raw)
        except msgspec.DecodeError as error:
            hint = "check the file with a JSON editor; for one object a line set the format to jsonl"
            raise self._error(f"this is not JSON: {error}", row=_line_of(data, str(error)), hint=hint) from error
        except RecursionError as error:
            raise self._error("the document is nested too deeply", hint="write a flat list of products") from error

    def _list(self, data: bytes) -> list[msgspec.Raw]:
        where = ""
        if self.options.records is not None:
            data = self._at(data, self.options.records)
            where = f" at {self.options.records!r}"
        elif data.lstrip()[:1] == b"{":
            data = self._only_list(data)
        if data.lstrip()[:1] != b"[":
            raise self._error(f"there is no list{where}", hint="the products must be a JSON list of objects")
        return msgspec.json.decode(data, type=list[msgspec.Raw])

    def _at(self, data: bytes, path: str) -> bytes:
        """The JSON text of the value at ``path``: a plain key first, then its dotted parts."""
        value = _members(data)
        if path in value:
            return bytes(value[path])
        *folders, last = path.split(".")
        for name in folders:
            value = _members(bytes(value[name])) if name in value else {}
        if last not in value:
            hint = _did_you_mean(last, value) or "records: names the list inside the document, like data.products"
            raise self._error(f"there is nothing at {path!r}", hint=hint)
        return bytes(value[last])

    def _only_list(self, data: bytes) -> bytes:
        """The one list of objects in the top object (or the one list at all)."""
        lists = {name: bytes(raw) for name, raw in _members(data).items() if bytes(raw)[:1] == b"["}
        products = {name: raw for name, raw in lists.items() if raw[1:].lstrip()[:1] == b"{"} or lists
        if len(products) == 1:
            return next(iter(products.values()))
        if not products:
            raise self._error(
                "the document is one object without a list of products", hint="name the list: records: data.products"
            )
        names = ", ".join(products)
        raise self._error(f"the document has several lists: {names}", hint=f"say which: records: {next(iter(products))}")

    def _record(self, text: bytes, line: int) -> Mapping[str, JSON]:
        try:
            record = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError) as error:
            raise self._error(f"this product cannot be read: {error}", row=line, hint="export the file again") from error
        if not isinstance(record, dict):
            raise self._error("this entry of the list is not an object", row=line, hint='write products as {"sku": "A1", ...}')
        return record

    def _error(self, message: str, *, row: int = 0, hint: str) -> CatalogueError:
        return CatalogueError(message, file=str(self.path), row=row, hint=hint)


def _members(data: bytes) -> dict[str, msgspec.Raw]:
    return msgspec.json.decode(data, type=dict[str, msgspec.Raw]) if data.lstrip()[:1] == b"{" else {}


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else ""


def _line_of(data: bytes, message: str) -> int:
    """The line of the byte that the parser names; the last line when it ran off the end."""
    found = re.search(r"\(byte (\d+)\)", message)
    return data.count(b"\n", 0, int(found[1]) if found else len(data.rstrip())) + 1
