"""A target's ``with:``, compiled once and rendered for each job.

Owns the way from YAML nodes to the parameters that a provider's model accepts, and the check of media files against documented
rules. What an upstream job will make is not known while planning: such parameters are *deferred*, stand in as ``needs.still.files.image``,
and are checked for good right before the submission. Submits nothing, reads only local media files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from pydantic import BaseModel, ValidationError

from runner.bounds import USUAL, InputLimits
from runner.errors import CallsheetError, Mark
from runner.fingerprint import AssetDigests
from runner.manifest.model import TargetSpec
from runner.media import check, check_url, probe
from runner.model import JSON, Asset, MediaInfo
from runner.seams import MediaRule, OperationFacts, Upstream
from runner.templates import Template, Templates
from runner.yamltree import Node

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Context: TypeAlias = Mapping[str, object]
Render: TypeAlias = Callable[[Context], JSON]


@dataclass(frozen=True, slots=True)
class Wrong:
    """Something is wrong with one parameter of one job. ``parameter`` is empty when it concerns several."""

    parameter: str
    message: str
    hint: str = ""
    unknown: bool = False
    """The parameter itself is wrong here, not its value."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One entry of ``with:``."""

    name: str
    mark: Mark
    render: Render
    templates: tuple[tuple[Template, Mark], ...]


@dataclass(frozen=True, slots=True)
class Media:
    """A media parameter of an operation: its rule and what the API wants to be told."""

    name: str
    rule: MediaRule


def compile_parameters(target: TargetSpec, templates: Templates) -> tuple[Parameter, ...]:
    """Compile every entry of ``with:``. Raises ``TemplateError`` for the first template that does not parse."""
    return tuple(compile_parameter(name, node, templates) for name, node in target.params.items())


def compile_parameter(name: str, node: Node, templates: Templates) -> Parameter:
    """Compile one entry of ``with:``. Raises ``TemplateError``."""
    found: list[tuple[Template, Mark]] = []
    return Parameter(name, node.key_mark or node.mark, _compile(node, templates, found), tuple(found))


def _compile(node: Node, templates: Templates, found: list[tuple[Template, Mark]]) -> Render:
    value = node.value
    if isinstance(value, str):
        return _compile_text(node, value, templates, found)
    if isinstance(value, tuple):
        items = [_compile(item, templates, found) for item in value]
        return lambda context: [item(context) for item in items]
    if isinstance(value, Mapping):
        entries = {key: _compile(item, templates, found) for key, item in value.items()}
        return lambda context: {key: item(context) for key, item in entries.items()}
    return lambda _context: value


def _compile_text(node: Node, text: str, templates: Templates, found: list[tuple[Template, Mark]]) -> Render:
    mark = node.content or node.mark
    template = templates.compile(text, mark=mark)
    constant = template.constant
    if constant is not None:
        return lambda _context: constant
    found.append((template, mark))
    return template.value


def media_parameters(model: type[BaseModel]) -> tuple[Media, ...]:
    """The model's media parameters, from the metadata of its fields."""
    return tuple(
        Media(name, rule) for name, field in model.model_fields.items() for rule in field.metadata if isinstance(rule, MediaRule)
    )


def upstream_parameters(model: type[BaseModel]) -> Mapping[str, Upstream]:
    """The model's parameters that take another job's remote id."""
    return {name: rule for name, field in model.model_fields.items() for rule in field.metadata if isinstance(rule, Upstream)}


def validated(facts: OperationFacts, values: Mapping[str, JSON], deferred: frozenset[str]) -> tuple[dict[str, JSON], list[Wrong]]:
    """The values as the operation's model reads them, and what is wrong with them; problems of deferred ones are left for later."""
    try:
        model = facts.parameters.model_validate(values)
    except ValidationError as error:
        wrong = [
            _in_words(facts, problem)
            for problem in error.errors(include_url=False, include_context=True)
            if not (problem["loc"] and problem["loc"][0] in deferred)
        ]
        return dict(values), wrong
    return model.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True), []


def _in_words(facts: OperationFacts, problem: ErrorDetails) -> Wrong:
    where = ".".join(str(part) for part in problem["loc"])
    names = list(facts.parameters.model_fields)
    explained = f"callsheet providers {facts.name} explains it"
    match problem["type"]:
        case "extra_forbidden":
            close = get_close_matches(where, names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"it has: {', '.join(names)}"
            return Wrong(where, f"{facts.name} has no parameter {where!r}", hint, unknown=True)
        case "missing":
            return Wrong("", f"{facts.name} needs the parameter {where!r}", "callsheet providers " + facts.name + " lists them")
        case "literal_error":
            return Wrong(where, f"{_shown(problem['input'])} is not one of {problem['ctx']['expected']}", explained)
        case "value_error":
            said = str(problem["ctx"]["error"])
            return Wrong(where, f"{where} {said}" if said.startswith(("is ", "must ")) else said, explained)
        case _:
            return Wrong(where, f"{problem['msg'][:1].lower()}{problem['msg'][1:]}: {_shown(problem['input'])}", explained)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def is_link(value: str) -> bool:
    """Whether a media value is a link rather than a local path."""
    return value[:8].lower().startswith(("http://", "https://"))


class MediaFiles:
    """Local media files: opened once, checked against each rule once, however many jobs use them."""

    def __init__(self, root: Path, digests: AssetDigests, limits: InputLimits = USUAL) -> None:
        self._root = root
        self._limits = limits
        self._digests = digests
        self._opened: dict[Path, MediaInfo | Wrong] = {}

    def path(self, value: str) -> Path:
        """The file that a manifest's text means: relative to the manifest's folder."""
        return self._root / Path(value).expanduser()

    def asset(self, media: Media, value: str) -> tuple[Asset | None, MediaInfo | None, list[Wrong]]:
        """Open the file ``value`` for the parameter and hold it against its rule."""
        path = self.path(value)
        opened = self._open(media, path, value)
        if isinstance(opened, Wrong):
            return None, None, [opened]
        wrong = [Wrong(media.name, f"{value}: {sentence}") for sentence in check(media.rule, opened)]
        if media.rule.sends == "url":
            hint = "put the file on a public web server and write its link (publishing from here is not supported yet)"
            wrong.append(
                Wrong(media.name, f"{value} is a local file, but the provider fetches {media.name} from a public link", hint)
            )
        return Asset(path, self._digests.sha256(path), opened.bytes, opened.format), opened, wrong

    def _open(self, media: Media, path: Path, value: str) -> MediaInfo | Wrong:
        try:
            known = self._opened.get(path)
            if known is None:
                known = self._opened[path] = probe(path, limits=self._limits)
        except FileNotFoundError:
            hint = f"paths are relative to {self._root.name}/; {_nearby(path)}"
            return Wrong(media.name, f"there is no file {value}", hint.rstrip("; "))
        except (OSError, ValueError) as error:
            return Wrong(media.name, f"{value} cannot be read: {error}")
        except CallsheetError as error:
            known = self._opened[path] = Wrong(media.name, f"{value}: {error.message}", error.hint)
        return known

    def forget(self) -> None:
        """Look at the files again: they may have changed since."""
        self._opened.clear()


def _nearby(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return "that folder does not exist"
    close = get_close_matches(path.name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else ""


def link_problems(media: Media, value: str) -> list[Wrong]:
    """What a documented rule has against this link."""
    if not media.rule.accepts_url:
        return [Wrong(media.name, f"{media.name} takes a local file, not a link", "download it first and give its path")]
    return [Wrong(media.name, sentence) for sentence in check_url(media.rule, value)]


def stands_for_file(value: str, needs: Iterable[str]) -> tuple[str, str] | None:
    """(need, output) when a deferred value is exactly one upstream file, such as ``needs.still.files.image``."""
    parts = value.split(".")
    if len(parts) == 4 and parts[0] == "needs" and parts[2] == "files" and parts[1] in set(needs):
        return parts[1], parts[3]
    return None
