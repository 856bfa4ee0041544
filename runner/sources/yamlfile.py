"""A YAML file that holds a list of products.

Owns the reading of YAML 1.2 as plain JSON values: no tags that make objects, dates stay the text that was written, and so does
a number that is not in its plain form (``0123`` is a code). Anchors and merge keys work but may not blow the document up. The
list is the document, where ``records`` points, or the only list in the top mapping. Held whole, so only for catalogues that
people write by hand. Row numbers are lines.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from runner.bounds import raised_by
from runner.errors import CatalogueError
from runner.model import JSON
from runner.sources.opening import Options, read_whole

MAX_DEPTH = 64
"""Of one product: what is built from it is walked by functions that call themselves."""


class _Constructor(SafeConstructor):
    """Makes plain values of YAML scalars; what would lose its spelling stays text."""

    def construct_code(self, node: ScalarNode) -> int | str:
        """A whole number, or its text where the number would be written differently."""
        text = str(node.value)
        try:
            number = int(self.construct_yaml_int(node))
        except ValueError:
            # Thousands of digits: more than Python turns into a number.
            return text
        return number if str(number) == text else text

    def construct_written(self, node: ScalarNode) -> str:
        """The text as it stands."""
        return str(node.value)


_Constructor.add_constructor("tag:yaml.org,2002:int", _Constructor.construct_code)
_Constructor.add_constructor("tag:yaml.org,2002:timestamp", _Constructor.construct_written)


@dataclass(frozen=True, slots=True)
class YamlSource:
    """Rows of a ``.yaml`` file."""

    path: Path
    options: Options = field(default_factory=Options)

    def rows(self) -> Iterator[tuple[int, Mapping[str, JSON]]]:
        """(line, fields). Raises ``CatalogueError``."""
        text = read_whole(self.path, self.options, limit="catalogue_yaml_bytes").decode()
        yaml = YAML(typ="safe", pure=True)
        yaml.Constructor = _Constructor
        for node in self._list(self._composed(yaml, text)):
            line = int(node.start_mark.line) + 1
            yield line, self._record(yaml, node, line)

    def _composed(self, yaml: YAML, text: str) -> Node:
        try:
            node: Node | None = yaml.compose(text)
        except YAMLError as error:
            raise self._yaml_error(error) from error
        except RecursionError as error:
            raise self._error("the document is nested too deeply", hint="write a flat list of products") from error
        if node is None:
            raise self._error("the file is empty", hint="write a list of products, each beginning with - ")
        return node

    def _list(self, root: Node) -> list[Node]:
        node, where = root, "in the document"
        if self.options.records is not None:
            node, where = self._at(root, self.options.records), f"at {self.options.records!r}"
        elif isinstance(root, MappingNode):
            lists = [value for _, value in root.value if isinstance(value, SequenceNode)]
            if len(lists) != 1:
                raise self._error(
                    f"the document is a mapping with {len(lists) or 'no'} lists",
                    row=int(root.start_mark.line) + 1,
                    hint="name the list of products: records: data.products",
                )
            node = lists[0]
        if not isinstance(node, SequenceNode):
            line = int(node.start_mark.line) + 1
            raise self._error(f"there is no list {where}", row=line, hint="the products must be a list, each beginning with - ")
        return list(node.value)

    def _at(self, root: Node, path: str) -> Node:
        """The node at ``path``: a plain key first, then its dotted parts."""
        found = _member(root, path)
        if found is None:
            found = root
            for name in path.split("."):
                found = _member(found, name)
                if found is None:
                    hint = "records: names the list inside the document, like data.products"
                    raise self._error(f"there is nothing at {path!r}", hint=hint)
        return found

    def _record(self, yaml: YAML, node: Node, line: int) -> Mapping[str, JSON]:
        if not isinstance(node, MappingNode):
            raise self._error("this entry of the list is not a mapping", row=line, hint="write products as `- sku: A1`")
        try:
            self._check_size(node, line)
            record = _plain(yaml.constructor.construct_object(node, deep=True))
        except YAMLError as error:
            raise self._yaml_error(error) from error
        except RecursionError as error:
            raise self._error("this product is nested too deeply", row=line, hint="write flat products") from error
        except ValueError as error:
            raise self._error(f"this product cannot be read: {error}", row=line, hint="put quotes around the value") from error
        if not isinstance(record, dict):
            raise self._error("this entry of the list is not a mapping", row=line, hint="write products as `- sku: A1`")
        return record

    def _check_size(self, product: Node, line: int) -> None:
        """Refuse a product that its aliases make huge or endless, before anything is built from it."""
        count, most = 0, self.options.limits.catalogue_yaml_nodes
        waiting: list[tuple[Node, int]] = [(product, 0)]
        while waiting:
            node, depth = waiting.pop()
            count += 1
            if depth > MAX_DEPTH:
                hint = "flatten it; an alias must not hold itself"
                raise self._error(f"this product is nested deeper than {MAX_DEPTH} levels, aliases followed", row=line, hint=hint)
            if count > most:
                hint = f"write less into it; {raised_by('catalogue_yaml_nodes')}"
                raise self._error(f"this product has more than {most:,} values, aliases counted", row=line, hint=hint)
            if isinstance(node, SequenceNode):
                waiting.extend((inner, depth + 1) for inner in node.value)
            elif isinstance(node, MappingNode):
                waiting.extend((inner, depth + 1) for pair in node.value for inner in pair)

    def _yaml_error(self, error: YAMLError) -> CatalogueError:
        row, words = 0, str(error).splitlines()[0] if str(error) else "it cannot be parsed"
        if isinstance(error, MarkedYAMLError):
            mark = error.problem_mark or error.context_mark
            row = int(mark.line) + 1 if mark is not None else 0
            words = error.problem or words
        return self._error(
            f"this is not plain YAML: {words}", row=row, hint="check indentation, quotes and anchors near this line"
        )

    def _error(self, message: str, *, row: int = 0, hint: str) -> CatalogueError:
        return CatalogueError(message, file=str(self.path), row=row, hint=hint)


def _member(node: Node | None, name: str) -> Node | None:
    if not isinstance(node, MappingNode):
        return None
    for key, value in node.value:
        if isinstance(key, ScalarNode) and key.value == name:
            found: Node = value
            return found
    return None


def _plain(value: object) -> JSON:
    """A constructed value as JSON values. Raises ``ValueError`` for what JSON cannot say."""
    if isinstance(value, dict):
        return {_column(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is no number that can be written down")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"it holds a value of the kind {type(value).__name__}")


def _column(name: object) -> str:
    if isinstance(name, str):
        return name
    if isinstance(name, int) and not isinstance(name, bool):
        return str(name)
    raise ValueError(f"the column name {name!r} is not text")
