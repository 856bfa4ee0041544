"""A manifest and the files that it includes, merged into one.

Owns the merge: entries of ``shape.MERGED`` one by one, everything else whole; a later include wins over an earlier one, the including file
over both. Two targets of the same name in different files are an error. Each file is read once. Nodes keep the marks of their own file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from runner.bounds import raised_by
from runner.errors import Mark
from runner.manifest import files
from runner.manifest.reader import Reader, kind_of, show
from runner.manifest.shape import FREE_KEY, MANIFEST, MERGED, VERSION, Kind
from runner.yamltree import Node, parse

MAX_CHAIN = 32
"""Each link is a call within a call."""


@dataclass(slots=True)
class Gathered:
    """The merged top level, and every file that was read (absolute, manifest first)."""

    entries: dict[str, Node] = field(default_factory=dict)
    present: set[str] = field(default_factory=set)
    """Keys that stand somewhere, well-typed or not."""
    files: list[Path] = field(default_factory=list)
    complete: bool = True
    """False when a file could not be read at all, so that missing entries say nothing."""


def gather(reader: Reader, path: Path) -> Gathered:
    """Read a manifest and all it includes; problems go to ``reader``."""
    gathered = Gathered()
    start = Mark(str(path), 1, 1)
    gathered.entries = _Walk(reader, gathered).file(path, start, "the manifest")
    return gathered


class _Walk:
    """Depth first through the includes."""

    def __init__(self, reader: Reader, gathered: Gathered) -> None:
        self.reader = reader
        self.gathered = gathered
        self.chain: list[Path] = []
        self.seen: set[Path] = set()

    def file(self, path: Path, mark: Mark, what: str) -> dict[str, Node]:
        """The merged entries of one file and its includes; empty when it was read before or cannot be read."""
        identity = _identity(path)
        if identity in self.chain:
            story = " -> ".join(one.name for one in [*self.chain[self.chain.index(identity) :], identity])
            self.reader.note(mark, f"files include each other: {story}", "remove one of these includes", "include")
            return {}
        if identity in self.seen:
            return {}
        most = self.reader.limits.manifest_files
        if len(self.chain) >= MAX_CHAIN or len(self.gathered.files) >= most:
            more = f"; {raised_by('manifest_files')}" if len(self.gathered.files) >= most else ""
            self.reader.note(mark, "too many includes", f"at most {most:,} files, {MAX_CHAIN} deep{more}", "include")
            return {}
        root = self._root(path, mark, what)
        if root is None:
            self.gathered.complete = False
            return {}
        self.seen.add(identity)
        self.gathered.files.append(path.absolute())
        self.chain.append(identity)
        merged = self._with_includes(root)
        self.chain.pop()
        return merged

    def _root(self, path: Path, mark: Mark, what: str) -> Node | None:
        data = files.read(self.reader, path, mark, what, self.reader.limits.manifest_bytes)
        if data is None:
            return None
        parsed = parse(data, file=str(path), limits=self.reader.limits)
        self.reader.spoil(parsed.problems)
        if parsed.root is not None and not isinstance(parsed.root.value, Mapping):
            self.reader.wrong(parsed.root, (Kind.MAPPING,), what)
            return None
        return parsed.root

    def _with_includes(self, root: Node) -> dict[str, Node]:
        entries = {name: node for name, node in files.entries_of(root).items() if not name.startswith(FREE_KEY)}
        self._version(entries.get("callsheet"))
        self.gathered.present |= entries.keys()
        own = self.reader.section(replace(root, value=entries), MANIFEST, "", required=False)
        merged: dict[str, Node] = {}
        include = own.pop("include", None)
        for node in self._names(include) if include is not None else ():
            if files.usable(self.reader, node, "the included file"):
                self._merge(merged, self.file(files.beside(node), node.mark, "the included file"))
        self._merge(merged, own)
        return merged

    def _version(self, node: Node | None) -> None:
        """Another version has an error of its own, instead of the one about the key's values."""
        if node is not None and kind_of(node) is Kind.WHOLE and node.value != VERSION:
            message = f"version {node.value} of the manifest language is not known here"
            self.reader.note(node.mark, message, f"write `callsheet: {VERSION}`, or use a newer Callsheet", "version")
            self.reader.mute(node.mark)

    def _names(self, include: Node) -> tuple[Node, ...]:
        if not isinstance(include.value, tuple):
            return (include,)
        names = []
        for node in include.value:
            if isinstance(node.value, str):
                names.append(node)
            else:
                self.reader.wrong(node, (Kind.TEXT,), "include")
        return tuple(names)

    def _merge(self, merged: dict[str, Node], later: dict[str, Node]) -> None:
        for name, node in later.items():
            before = merged.get(name)
            if before is None or name not in MERGED:
                merged[name] = node
                continue
            if name == "targets":
                self._twice(files.entries_of(before), files.entries_of(node))
            both = {**files.entries_of(before), **files.entries_of(node)}
            merged[name] = replace(node, value=both)

    def _twice(self, before: Mapping[str, Node], later: Mapping[str, Node]) -> None:
        for target in before.keys() & later.keys():
            first = before[target].key_mark or before[target].mark
            mark = later[target].key_mark or later[target].mark
            message = f"target {show(target)} is already defined at {first}"
            self.reader.note(mark, message, "rename or remove one of them", "duplicate-target")


def _identity(path: Path) -> Path:
    """The same file has one identity, whatever its name."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):
        return path.absolute()
