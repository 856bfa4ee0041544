"""The products of a campaign at rest: parsed once, checked, numbered, and read back by number.

Owns the rules of product keys (present, usable, unique) and the order of things: row, key, derived fields, filter. Products
lie in a temporary file, so that a catalogue of any size takes a few dozen bytes of memory a product. Knows no file format and
no template: rows and callables are handed in. All problems are found in one pass and raised together.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import msgspec

from runner.errors import CatalogueError, ManifestError, Mark, Problem, TemplateError
from runner.model import JSON, Product
from runner.naming import fold, key_problem

MAX_PROBLEMS = 200
"""More than that are counted, not listed."""

_IN_MEMORY_BYTES = 4 * 1_048_576
_SHOWN_CHARS = 80

Keep = Callable[[Product], bool]
Derive = Callable[[Product], JSON]


class Catalogue:
    """Numbered products. Made by ``read``; ``close`` it (or use ``with``) to give the temporary file back. Not for threads."""

    def __init__(self, shelf: _Shelf, file: str, clashing: frozenset[str], dropped: int) -> None:
        self._shelf = shelf
        self._file = file
        self.clashing = clashing
        """Folds (``naming.fold``) that two different keys share: their file names need a suffix."""
        self.dropped = dropped
        """How many rows the filter left out."""
        self.digest = shelf.digest()
        """SHA-256 (hex) over keys and fields of all products in order. Row numbers and the order of columns do not count."""

    @classmethod
    def read(
        cls,
        rows: Iterable[tuple[int, Mapping[str, JSON]]],
        *,
        file: str,
        key: str,
        keep: Keep | None = None,
        derive: Mapping[str, Derive] | None = None,
    ) -> Catalogue:
        """Check and store all rows.

        ``key`` is a column, or a dotted path into nested values (``variants.0.sku``). ``derive`` makes further fields in the
        order given, each seeing those before it; then ``keep`` decides. Rows that it leaves out need no usable key. Raises
        ``ManifestError`` with all problems, each marked with its row; a ``CatalogueError`` from ``rows`` is one of them.
        """
        reading = _Reading(file, key)
        try:
            reading.take_all(rows, keep, derive or {})
        except BaseException:
            reading.shelf.close()
            raise
        problems = reading.problems()
        if problems:
            reading.shelf.close()
            raise ManifestError(problems)
        return cls(reading.shelf, file, frozenset(reading.clashing), reading.dropped)

    def __len__(self) -> int:
        return len(self._shelf)

    def __getitem__(self, number: int) -> Product:
        """The product with this number, from 0; negative numbers count from the end. Raises ``IndexError``."""
        key, row, fields = self._shelf[number]
        return Product(key, fields, self._file, row)

    def __iter__(self) -> Iterator[Product]:
        for number in range(len(self)):
            yield self[number]

    def close(self) -> None:
        """Give the temporary file back. Closing twice is fine."""
        self._shelf.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class _Shelf:
    """Products packed one behind the other in a temporary file (in memory while small), with the offset of each."""

    def __init__(self) -> None:
        # Lives as long as the catalogue, which closes it.
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115 - as said above
        self._offsets = array("Q", [0])
        self._at_end = True
        self._encode = msgspec.msgpack.Encoder().encode
        self._canonical = msgspec.msgpack.Encoder(order="sorted").encode
        self._decode: Callable[[bytes], tuple[str, int, dict[str, Any]]] = msgspec.msgpack.Decoder(
            tuple[str, int, dict[str, Any]]
        ).decode
        self._hash = hashlib.sha256()

    def add(self, key: str, row: int, fields: Mapping[str, JSON]) -> None:
        """Store one product. Raises what msgspec raises for values that cannot be written, and then stores nothing."""
        data = self._encode((key, row, fields))
        # Every packed value says where it ends, so that products cannot run into one another.
        canonical = self._canonical((key, fields))
        if not self._at_end:
            self._file.seek(self._offsets[-1])
            self._at_end = True
        self._file.write(data)
        self._offsets.append(self._offsets[-1] + len(data))
        self._hash.update(canonical)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, number: int) -> tuple[str, int, dict[str, Any]]:
        number = range(len(self))[number]
        begin, end = self._offsets[number], self._offsets[number + 1]
        self._at_end = False
        self._file.seek(begin)
        return self._decode(self._file.read(end - begin))

    def digest(self) -> str:
        return self._hash.hexdigest()

    def close(self) -> None:
        self._file.close()


class _KeyTrouble(Exception):
    """Why a row has no usable key."""

    def __init__(self, code: str, message: str, *, hint: str, text: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.text = text


class _Reading:
    """One pass over the rows."""

    def __init__(self, file: str, key: str) -> None:
        self.shelf = _Shelf()
        self.clashing: set[str] = set()
        self.dropped = 0
        self._file = file
        self._key = key
        self._rows = 0
        self._problems: list[Problem] = []
        self._unlisted = 0
        self._without_key = 0
        # Digest of a key's fold -> the first product that has it. A second one is compared with the stored key itself.
        self._by_fold: dict[bytes, int] = {}
        # Fold -> all its keys, only for folds that several keys share.
        self._shared: dict[str, dict[str, int]] = {}

    def take_all(self, rows: Iterable[tuple[int, Mapping[str, JSON]]], keep: Keep | None, derive: Mapping[str, Derive]) -> None:
        """Check and store every row; what goes wrong becomes problems."""
        try:
            for row, fields in rows:
                self._rows += 1
                self._take(row, dict(fields), keep, derive)
        except CatalogueError as error:
            # Never only counted: from here on nothing was read.
            mark = Mark(self._file or error.file, max(error.row, 1), 1)
            self._problems.append(Problem(mark, error.message, error.hint, "catalogue"))

    def problems(self) -> list[Problem]:
        """Everything found, at most ``MAX_PROBLEMS`` of them and a count of the others."""
        if self._without_key > 1 and self._without_key == self._rows - self.dropped:
            # No row has the column: that is one mistake, in the manifest's word for it.
            first = next(problem for problem in self._problems if problem.code == "key-missing")
            others = [problem for problem in self._problems if problem.code != "key-missing"]
            return [
                Problem(first.mark, first.message.replace("this row has no", "no row has a"), first.hint, first.code),
                *others,
            ]
        if self._unlisted:
            last = self._problems[-1].mark
            hint = "correct these first, then look again"
            return [
                *self._problems,
                Problem(Mark(last.file, last.line, 1), f"and {self._unlisted:,} more problems", hint, "more"),
            ]
        return self._problems

    def _take(self, row: int, fields: dict[str, JSON], keep: Keep | None, derive: Mapping[str, Derive]) -> None:
        trouble: _KeyTrouble | None = None
        try:
            key = _key_of(fields, self._key)
        except _KeyTrouble as error:
            key, trouble = error.text, error
        product = Product(key, fields, self._file, row)
        try:
            for name, make in derive.items():
                # The product sees its fields through this very mapping.
                fields[name] = make(product)
            kept = keep is None or keep(product)
        except TemplateError as error:
            kept = True
            trouble = trouble or _template_trouble(error, key)
        if not kept:
            self.dropped += 1
            return
        try:
            if trouble is not None:
                raise trouble
            self._store(key, row, fields)
        except _KeyTrouble as error:
            self._without_key += error.code == "key-missing"
            self._add(Problem(Mark(self._file, row, 1, _shown(error.text)), error.message, error.hint, error.code))

    def _add(self, problem: Problem) -> None:
        if len(self._problems) < MAX_PROBLEMS:
            self._problems.append(problem)
        else:
            self._unlisted += 1

    def _store(self, key: str, row: int, fields: dict[str, JSON]) -> None:
        folded = fold(key)
        mark = hashlib.blake2b(folded.encode(), digest_size=16).digest()
        first = self._by_fold.get(mark)
        if first is not None:
            self._check_unique(key, folded, first)
        self._write(key, row, fields)
        number = len(self.shelf) - 1
        if first is None:
            self._by_fold[mark] = number
        else:
            self._shared[folded][key] = number
            self.clashing.add(folded)

    def _check_unique(self, key: str, folded: str, first: int) -> None:
        """Refuse a key that is already there; keys that are only alike are remembered."""
        known = self._shared.get(folded) or {self.shelf[first][0]: first}
        if key in known:
            hint = "every product needs a key of its own; choose another key column or remove the row"
            raise _KeyTrouble(
                "duplicate-key", f"the key {_quoted(key)} is already that of row {self.shelf[known[key]][1]}", hint=hint, text=key
            )
        self._shared[folded] = known

    def _write(self, key: str, row: int, fields: dict[str, JSON]) -> None:
        try:
            self.shelf.add(key, row, fields)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            name = next((name for name, value in fields.items() if not _can_be_written({name: value})), "")
            raise _KeyTrouble("value", f"the value of {_quoted(name)} {_why(error)}", hint=_WHY_HINT, text=key) from error


_WHY_HINT = "correct the value in the catalogue, or leave the column out"


def _why(error: Exception) -> str:
    if isinstance(error, UnicodeError):
        return "holds half of a surrogate pair, which is no character"
    if isinstance(error, OverflowError):
        return "is a number of more than 64 bits; write it as text, in quotes"
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    return "is not text, a number, a truth value, a list or a mapping"


def _can_be_written(fields: Mapping[str, JSON]) -> bool:
    try:
        msgspec.msgpack.encode(fields)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return False
    return True


def _template_trouble(error: TemplateError, key: str) -> _KeyTrouble:
    where = f" (template at {error.mark})" if error.mark is not None else ""
    return _KeyTrouble("template", f"{error.message}{where}", hint=error.hint, text=key)


def _key_of(fields: Mapping[str, JSON], column: str) -> str:
    """The product's key as text. Raises ``_KeyTrouble``."""
    value = fields[column] if column in fields else _nested(fields, column)
    if value is None or value == "":
        raise _KeyTrouble("key-empty", f"the key is empty: {_quoted(column)} has no value here", hint=_EMPTY_HINT)
    if isinstance(value, bool | float | Sequence | Mapping) and not isinstance(value, str):
        kind = "a number with a fraction" if isinstance(value, float) else "not text"
        raise _KeyTrouble(
            "key-type",
            f"the key {_quoted(column)} is {kind}",
            hint="keys are text or whole numbers; put quotes around it",
            text=str(value),
        )
    key = str(value)
    reason = key_problem(key)
    if reason is not None:
        message = f"the key {_quoted(key)} {reason}"
        raise _KeyTrouble("key-unusable", message, hint=_EMPTY_HINT if reason == "is empty" else _UNUSABLE_HINT, text=key)
    return key


_EMPTY_HINT = "give every product a key, or leave such rows out with where:"
_UNUSABLE_HINT = "correct the key in the catalogue, or choose another key column"


def _nested(fields: Mapping[str, JSON], path: str) -> JSON:
    """The value at a dotted path. Raises ``_KeyTrouble`` when there is none."""
    value: JSON = fields
    for name in path.split("."):
        if isinstance(value, Mapping) and name in value:
            value = value[name]
        elif isinstance(value, list | tuple) and name.isdecimal() and len(name) < 10 and int(name) < len(value):
            value = value[int(name)]
        else:
            raise _KeyTrouble(
                "key-missing", f"this row has no column {_quoted(path)} to take the key from", hint=_columns(path, tuple(fields))
            )
    return value


@functools.lru_cache(maxsize=32)
def _columns(wanted: str, names: tuple[str, ...]) -> str:
    """What the user may have meant, and what there is. Kept, because most rows of a file have the same columns."""
    by_lower = {name.lower(): name for name in reversed(names)}
    close = difflib.get_close_matches(wanted.lower(), by_lower, n=1)
    listed = _shown(", ".join(names[:20]), 300) + (", ..." if len(names) > 20 else "")
    meant = f"did you mean {_quoted(by_lower[close[0]])}? " if close else ""
    return f"{meant}the columns are: {listed}" if names else "this row is empty"


def _shown(text: str, limit: int = _SHOWN_CHARS) -> str:
    return text if len(text) <= limit else text[:limit] + "…"


def _quoted(text: str) -> str:
    return repr(_shown(text))
