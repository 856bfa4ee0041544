"""JSON lines: one JSON object a line.

Owns nothing but the reading; values keep their JSON types. Blank lines are skipped. Never holds more than one line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from runner.errors import CatalogueError
from runner.model import JSON
from runner.sources.opening import Options, read_lines


@dataclass(frozen=True, slots=True)
class JsonLinesSource:
    """Rows of a ``.jsonl`` or ``.ndjson`` file."""

    path: Path
    options: Options = field(default_factory=Options)

    def rows(self) -> Iterator[tuple[int, Mapping[str, JSON]]]:
        """(line, fields), lazily. Raises ``CatalogueError``."""
        for number, line in enumerate(read_lines(self.path, self.options, newline="\n"), start=1):
            if line.strip():
                yield number, self._record(line, number)

    def _record(self, line: str, number: int) -> Mapping[str, JSON]:
        try:
            record = msgspec.json.decode(line)
        except msgspec.DecodeError as error:
            hint = "each line must be one whole JSON object"
            if number == 1 and line.strip()[0] in "[{":
                hint += "; if the file is one JSON document, set the format to json"
            raise CatalogueError(f"this line is not JSON: {error}", file=str(self.path), row=number, hint=hint) from error
        except RecursionError as error:
            raise CatalogueError(
                "this line is nested too deeply", file=str(self.path), row=number, hint="write flat products"
            ) from error
        if not isinstance(record, dict):
            raise CatalogueError(
                "this line is JSON, but not an object",
                file=str(self.path),
                row=number,
                hint='write one object a line, like {"sku": "A1"}; for one list of objects set the format to json',
            )
        return record
