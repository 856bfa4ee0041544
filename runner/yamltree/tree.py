"""From events to nodes: keys, anchors, merge keys, tags and the caps.

Owns ``Node``, ``Parsed`` and ``parse``. Builds with an explicit stack; never recurses while reading.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NoReturn

from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from runner.bounds import USUAL, InputLimits, raised_by, size_shown
from runner.errors import ManifestError, Mark, Problem
from runner.model import JSON
from runner.yamltree.inside import inside
from runner.yamltree.page import CONTROL, SHOWN, Page, decode
from runner.yamltree.scalars import Scalar, scalar
from runner.yamltree.syntax import TEMPLATE_HINT, events


@dataclass(frozen=True, slots=True)
class Node:
    """A value and its place. ``key_mark`` is the place of its key, when it stands in a mapping."""

    value: Scalar | tuple[Node, ...] | Mapping[str, Node]
    mark: Mark
    key_mark: Mark | None = None
    content: Mark | None = None
    """Where a text's own first character stands, when that is not ``mark`` (quotes, ``|`` and ``>`` come before it)."""

    def plain(self) -> JSON:
        """The value without places: what a JSON document would hold."""
        if isinstance(self.value, tuple):
            return [item.plain() for item in self.value]
        if isinstance(self.value, Mapping):
            return {key: item.plain() for key, item in self.value.items()}
        return self.value


@dataclass(frozen=True, slots=True)
class Parsed:
    """What could be read. ``root`` is None when nothing could; it may be there, with gaps, beside problems."""

    root: Node | None
    problems: tuple[Problem, ...] = ()

    def require(self) -> Node:
        """The whole tree. Raises ``ManifestError`` with every problem."""
        if self.problems or self.root is None:
            raise ManifestError(list(self.problems))
        return self.root


def parse(data: bytes, *, file: str, limits: InputLimits = USUAL) -> Parsed:
    """Read one YAML document from UTF-8 bytes; ``file`` is the name that marks carry. Never raises for bad input."""
    if len(data) > limits.manifest_bytes:
        message = f"the file is larger than {size_shown(limits.manifest_bytes)}"
        hint = f"split it, or move data into a catalogue file; {raised_by('manifest_bytes')}"
        return Parsed(None, (Problem(Mark(file, 1, 1), message, hint, "size"),))
    try:
        text = decode(data, file=file)
    except ManifestError as error:
        return Parsed(None, tuple(error.problems))
    return _Builder(Page(text, file), limits).build()


_TAG = "tag:yaml.org,2002:"
_SCALAR_TAGS: Mapping[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (float, int),
    "bool": (bool,),
    "null": (type(None),),
}
_COLON = re.compile(r"\s*:")
_PROPERTIES = re.compile(r"(?:(?:[&!][^\s]*|#[^\r\n]*)\s+)*")
_QUOTE_IT = "put it in quotes if it is text"


class _Stop(Exception):
    """The document cannot be read any further; the problem is already noted."""


@dataclass(slots=True)
class _Key:
    """A key that waits for its value. ``name`` is None for a key that cannot be used."""

    name: str | None
    mark: Mark
    end: int
    """Index behind the key."""
    merge: bool = False


@dataclass(slots=True)
class _Frame:
    """A list or mapping that is still open."""

    mapping: bool
    mark: Mark
    index: int
    anchor: str | None
    key: _Key | None = None
    """The key within this frame whose value comes next."""
    items: list[Node] = field(default_factory=list)
    entries: dict[str, Node] = field(default_factory=dict)
    merges: list[Node] = field(default_factory=list)
    key_marks: dict[str, Mark] = field(default_factory=dict)
    size: int = 1
    height: int = 0
    template: bool = False
    """It is an unquoted ``{{ ... }}``, which YAML reads as a mapping in a mapping."""


@dataclass(frozen=True, slots=True)
class _Built:
    """A finished node, how many nodes it expands to, and how deep it goes."""

    node: Node
    size: int
    height: int


class _Builder:
    """Turns the events of one document into nodes, with an explicit stack."""

    def __init__(self, page: Page, limits: InputLimits) -> None:
        self.page = page
        self.limits = limits
        self.problems: list[Problem] = []
        self.frames: list[_Frame] = []
        self.anchors: dict[str, _Built | None] = {}
        """None while the anchored collection is still open."""
        self.nodes = 0
        self.root: Node | None = None

    def build(self) -> Parsed:
        """Read the document to its end, or to the first fault of syntax."""
        try:
            for event in events(self.page):
                self._take(event)
        except _Stop:
            pass
        except ManifestError as error:
            self.problems += error.problems
        if self.root is None and not self.problems:
            self._note(Mark(self.page.file, 1, 1), "the file is empty", "write something, or remove the file", "empty")
        return Parsed(self.root, tuple(self.problems))

    def _note(self, mark: Mark, message: str, hint: str, code: str) -> None:
        self.problems.append(Problem(mark, message, hint, code))

    def _too_deep(self, mark: Mark) -> NoReturn:
        message = f"values are nested deeper than {self.limits.manifest_depth} levels"
        self._note(mark, message, f"flatten them; {raised_by('manifest_depth')}", "depth")
        raise _Stop

    def _take(self, event: Event) -> None:
        if isinstance(event, ScalarEvent):
            self._scalar(event)
        elif isinstance(event, AliasEvent):
            self._alias(event)
        elif isinstance(event, MappingStartEvent | SequenceStartEvent):
            self._open(event)
        elif isinstance(event, MappingEndEvent | SequenceEndEvent):
            self._close(event.end_mark.index)
        elif isinstance(event, DocumentStartEvent) and self.root is not None:
            mark = self.page.mark(event.start_mark.index)
            self._note(mark, "a second document begins here", "keep one document in a file: remove this ---", "documents")
            raise _Stop

    # ---- scalars and aliases

    def _scalar(self, event: ScalarEvent) -> None:
        index = self._start(event)
        mark = self.page.mark(index, max(index, event.end_mark.index))
        value = self._value(event, mark)
        content = self._content(event, index, mark) if isinstance(value, str) else None
        if isinstance(value, str):
            value = self._clean(value, mark)
        merge = event.style is None and event.value == "<<" and not event.tag
        built = _Built(Node(value, mark, None, content), 1, 0)
        if event.anchor:
            self.anchors[event.anchor] = built
        self._place(built, (index, event.end_mark.index), merge=merge)

    def _start(self, event: ScalarEvent) -> int:
        """Where the value itself begins: behind anchor and tag. Of nothing at all: behind the colon or dash that announces it."""
        index: int = event.start_mark.index
        if event.style is None and not event.value and not event.anchor and not event.tag and self.frames:
            key = self.frames[-1].key
            colon = _COLON.match(self.page.text, key.end, index) if key else None
            if colon or not self.frames[-1].mapping:
                index = colon.end() if colon else len(self.page.text[:index].rstrip())
            return index
        if event.anchor or event.tag:
            found = _PROPERTIES.match(self.page.text, index, event.end_mark.index)
            index = found.end() if found else index
        return index

    def _value(self, event: ScalarEvent, mark: Mark) -> Scalar:
        text: str = event.value
        tag = str(event.tag or "")
        try:
            if not tag:
                return scalar(text) if event.style is None else text
            if tag in {"!", _TAG + "str"}:
                return text
            wanted = _SCALAR_TAGS.get(tag.removeprefix(_TAG)) if tag.startswith(_TAG) else None
            if wanted is None:
                self._bad_tag(tag, self.page.mark(event.start_mark.index, event.end_mark.index))
                return text
            value = scalar(text)
        except ValueError as error:
            self._note(mark, str(error), _QUOTE_IT, "number")
            return text
        if type(value) not in wanted:
            self._note(mark, f"{text[:SHOWN]!r} does not fit the tag !!{tag.removeprefix(_TAG)}", "remove the tag", "tag")
        return value

    def _bad_tag(self, tag: str, mark: Mark) -> None:
        shown = "!!" + tag.removeprefix(_TAG) if tag.startswith(_TAG) else tag
        self._note(mark, f"the tag {shown[:SHOWN]} is not supported", "remove it; plain YAML values are enough", "tag")

    def _clean(self, value: str, mark: Mark) -> str:
        """Escapes may spell halves of a character, or control characters."""
        found = CONTROL.search(value)
        if found is None:
            return value
        try:
            value = value.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self._note(mark, "an escape stands for half a character", "write the character itself", "control-character")
            return value.encode("utf-8", "replace").decode()
        if found := CONTROL.search(value):
            message = f"an escape stands for the control character U+{ord(found.group()):04X}"
            self._note(mark, message, "remove it; text may hold line breaks and tabs only", "control-character")
        return CONTROL.sub("?", value)

    def _content(self, event: ScalarEvent, index: int, mark: Mark) -> Mark | None:
        """Where the text's own characters begin, and how to find each of them; None for a plain text on one line."""
        if event.style in {"|", ">"}:
            content = self._block(event, index)
        else:
            content = self.page.mark(index + 1, event.end_mark.index - 1) if event.style else mark
        end = event.end_mark.index - (event.style in {"'", '"'})
        start = self.page.line_start(content.line - 1) + content.column - 1
        source = self.page.text[start:end]
        if event.style == "|" or (event.value == source and "\n" not in source):
            return content if event.style else None
        return replace(content, inside=inside(self.page, (start, end), event.value, event.style))

    def _block(self, event: ScalarEvent, index: int) -> Mark:
        value: str = event.value
        line = self.page.line_of(index) + 1
        own = next((len(row) - len(row.lstrip(" ")) for row in value.split("\n") if row.strip()), 0)
        number = line
        while (start := self.page.line_start(number)) < len(self.page.text):
            row = self.page.text[start : self.page.line_start(number + 1)]
            if row.strip():
                return self.page.mark(self.page.line_start(line) + self._indent(line, len(row) - len(row.lstrip(" ")) - own))
            number += 1
        return self.page.mark(self.page.line_start(line))

    def _indent(self, line: int, indent: int) -> int:
        """``indent``, unless the line is shorter (blank lines before the text)."""
        length = len(self.page.text[self.page.line_start(line) : self.page.line_start(line + 1)].rstrip("\r\n"))
        return max(0, min(indent, length))

    def _alias(self, event: AliasEvent) -> None:
        mark = self.page.mark(event.start_mark.index, event.end_mark.index)
        built = self.anchors.get(event.anchor)
        if built is None:
            if event.anchor in self.anchors:
                self._note(
                    mark, f"*{event.anchor} stands inside itself", "an alias can only repeat what stands above it", "alias"
                )
            else:
                self._note(mark, f"no anchor &{event.anchor} stands above", f"write &{event.anchor} before its value", "alias")
            built = _Built(Node(None, mark), 1, 0)
        self._place(built, (event.start_mark.index, event.end_mark.index))

    # ---- lists and mappings

    def _open(self, event: MappingStartEvent | SequenceStartEvent) -> None:
        mapping = isinstance(event, MappingStartEvent)
        index = event.start_mark.index
        mark = self.page.mark(index)
        tag = str(event.tag or "!")
        if tag not in {"!", _TAG + ("map" if mapping else "seq")}:
            self._bad_tag(tag, mark)
        if len(self.frames) >= self.limits.manifest_depth:
            self._too_deep(mark)
        if event.anchor:
            self.anchors[event.anchor] = None
        self.frames.append(_Frame(mapping, mark, index, event.anchor))

    def _close(self, end: int) -> None:
        frame = self.frames.pop()
        value: Scalar | tuple[Node, ...] | Mapping[str, Node] = self._merged(frame) if frame.mapping else tuple(frame.items)
        if frame.template:
            value = self.page.text[frame.index : end]
        built = _Built(Node(value, frame.mark), frame.size, frame.height + 1)
        if frame.anchor:
            self.anchors[frame.anchor] = built
        # Its members were counted one by one; only an alias brings in many at once.
        self.nodes -= frame.size - 1
        self._place(built, (frame.index, end))

    def _merged(self, frame: _Frame) -> dict[str, Node]:
        """``<<`` gives what the mapping itself does not say; of several, the first one wins."""
        merged: dict[str, Node] = {}
        for source in frame.merges:
            candidates = source.value if isinstance(source.value, tuple) else (source,)
            for candidate in candidates:
                if isinstance(candidate.value, Mapping):
                    for key, node in candidate.value.items():
                        merged.setdefault(key, node)
                else:
                    self._note(source.mark, "<< takes a mapping or a list of mappings", "write <<: *name", "merge")
        return {**merged, **frame.entries}

    def _place(self, built: _Built, span: tuple[int, int], *, merge: bool = False) -> None:
        """Put a finished node, written at ``span`` of the text, where it belongs: root, list, key or value."""
        self.nodes += built.size
        if self.nodes > self.limits.manifest_nodes:
            message = f"the document has more than {self.limits.manifest_nodes:,} values, aliases counted"
            self._note(self.page.mark(span[0]), message, f"split it; {raised_by('manifest_nodes')}", "size")
            raise _Stop
        if not self.frames:
            self.root = built.node
            return
        frame = self.frames[-1]
        if len(self.frames) + built.height > self.limits.manifest_depth:
            self._too_deep(self.page.mark(span[0]))
        frame.size += built.size
        frame.height = max(frame.height, built.height)
        if not frame.mapping:
            frame.items.append(built.node)
        elif frame.key is None:
            frame.key = self._key(frame, built.node, span, merge=merge)
        else:
            self._entry(frame, frame.key, built.node)
            frame.key = None

    def _key(self, frame: _Frame, node: Node, span: tuple[int, int], *, merge: bool) -> _Key:
        index, end = span
        mark = self.page.mark(index, max(span))
        name = node.value
        if not isinstance(name, str):
            self._bad_key(frame, node, mark, index)
            return _Key(None, mark, end)
        if name in frame.key_marks:
            first = frame.key_marks[name]
            message = f"the key {name[:SHOWN]!r} stands twice; first in line {first.line}, column {first.column}"
            self._note(mark, message, "remove or rename one of them", "duplicate-key")
            return _Key(None, mark, end)
        frame.key_marks[name] = mark
        return _Key(name, mark, end, merge)

    def _bad_key(self, frame: _Frame, node: Node, mark: Mark, index: int) -> None:
        text = self.page.text
        if isinstance(node.value, tuple | Mapping):
            outer = len(text[:index].rstrip(" ")) - 1
            if text.startswith("{", index) and text.startswith("{", max(outer, 0)):
                self._note(
                    self.page.mark(outer), "this is read as a mapping, not as a template", TEMPLATE_HINT, "template-quotes"
                )
                frame.template = True
            else:
                self._note(mark, "a list or mapping cannot be a key", "a key must be text", "key")
        elif node.value is None and not node.mark.text:
            self._note(mark, "a key is missing here", "write `key: value`", "key")
        elif not (shown := mark.text).startswith("*"):
            self._note(mark, f"the key {shown} is not text", f'put it in quotes: "{shown}"', "key")

    def _entry(self, frame: _Frame, key: _Key, node: Node) -> None:
        if key.name is None:
            return
        if key.merge:
            frame.merges.append(node)
            if not isinstance(node.value, tuple | Mapping):
                self._note(node.mark, "<< takes a mapping or a list of mappings", "write <<: *name", "merge")
                frame.merges.pop()
        else:
            frame.entries[key.name] = replace(node, key_mark=key.mark)
