"""Every rule of every parameter, walked from both sides of its bound; where our check says yes, the provider's simulator must too.

The bounds come from the models' own JSON schema and from the metadata of their media parameters: a new rule is walked without a new test.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from contract_media import PICTURE_NAMES, SOUND_FORMATS, asset, picture, sound
from contract_orders import at, finished, first_row
from contract_stage import Account, Stage
from contract_table import ROWS, Row
from pydantic import ValidationError

from runner.errors import Refused
from runner.media import check, check_url, probe
from runner.model import JSON, Asset, MediaKind
from runner.parameters import Media, media_parameters, upstream_parameters, validated
from runner.providers import operation_facts
from runner.seams import MediaRule

MAIN = [row for row in ROWS if not row.label]
LINKS = {MediaKind.IMAGE: "https://cdn.example.test/a.png", MediaKind.AUDIO: "https://cdn.example.test/a.mp3"}
NOT_TEXT: tuple[JSON, ...] = ([], {}, ["x"], True)


def _values(row: Row) -> dict[str, JSON]:
    """Parameters that the model takes: the row's, a path for each file, a record for what comes from upstream."""
    facts = operation_facts()[row.operation]
    files = {name: f"{name}.{form}" for name, form in row.media.items()}
    records = dict.fromkeys(upstream_parameters(facts.parameters), "rec-1")
    return {**row.params, **files, **records}


def _accepts(row: Row, values: Mapping[str, JSON]) -> bool:
    try:
        operation_facts()[row.operation].parameters.model_validate(values)
    except ValidationError:
        return False
    return True


def _schema(row: Row) -> Mapping[str, Mapping[str, Any]]:
    properties: Mapping[str, Mapping[str, Any]] = operation_facts()[row.operation].parameters.model_json_schema()["properties"]
    return properties


PARAMETERS = pytest.mark.parametrize(
    ("row", "name"), [pytest.param(row, name, id=f"{row.operation}-{name}") for row in MAIN for name in _schema(row)]
)


def _variants(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The types that a parameter may have, without null."""
    return [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]


def _around(one: Mapping[str, Any]) -> Iterator[tuple[JSON, bool]]:
    """Values inside and outside of each bound that one type has, and whether they are allowed."""
    if "enum" in one or "const" in one:
        return _listed(one.get("enum", [one.get("const")]))
    if one.get("type") == "string":
        return _texts(one.get("minLength", 0), one.get("maxLength"))
    if one.get("type") == "integer":
        return _numbers(one["minimum"], one["maximum"])
    if "$ref" in one:
        return iter(
            [
                ({"enabled": True}, True),
                ({"enabled": False}, True),
                ({}, False),
                ({"enabled": True, "x": 1}, False),
                ("on", False),
            ]
        )
    raise AssertionError(f"nobody walks {one}")


def _listed(values: list[JSON]) -> Iterator[tuple[JSON, bool]]:
    for value in values:
        yield value, True
        yield f" {value}-", False
        yield (value.upper() if isinstance(value, str) and value.upper() != value else -1), False


def _texts(shortest: int, longest: int | None) -> Iterator[tuple[JSON, bool]]:
    if longest is not None:
        yield from (("x" * longest, True), ("x" * (longest + 1), False), ("ü" * longest, True))
    if shortest:
        yield from (("x" * shortest, True), ("x" * (shortest - 1), False))
    for value in NOT_TEXT:
        yield value, False


def _numbers(low: int, high: int) -> Iterator[tuple[JSON, bool]]:
    for number in (low, high):
        yield number, True
        yield str(number), True
    outside: tuple[JSON, ...] = (low - 1, high + 1, low + 0.5, True, "two", [], str(high + 1), f"{low}.0x")
    for wrong in outside:
        yield wrong, False


@PARAMETERS
def test_both_sides_of_every_bound(row: Row, name: str) -> None:
    """Just inside is taken, just outside is not; null only where the schema says so."""
    values, schema = _values(row), _schema(row)[name]
    rules = {media.name for media in media_parameters(operation_facts()[row.operation].parameters)}
    for one in _variants(schema):
        for value, allowed in _around(one):
            if name in rules and isinstance(value, str):
                continue  # paths and links have their own walk
            assert _accepts(row, _alone(row, values, name, value)) is allowed, (name, value)
    nullable = any(one.get("type") == "null" for one in schema.get("anyOf", []))
    optional = name not in operation_facts()[row.operation].parameters.model_json_schema().get("required", [])
    if not nullable:
        assert not _accepts(row, {**values, name: None})
    left = {key: value for key, value in values.items() if key != name}
    assert _accepts(row, left) is (optional and not _needed(row, name)), name


def _alone(row: Row, values: Mapping[str, JSON], name: str, value: JSON) -> dict[str, JSON]:
    """``values`` with this one set, and without its rival where exactly one of two may be given."""
    rivals = {"audio_id": "sound_file", "sound_file": "audio_id", "imageFileId": "image", "image": "imageFileId"}
    known = _schema(row)
    rival = rivals.get(name)
    return {key: one for key, one in values.items() if key != rival or rival not in known} | {name: value}


def _needed(row: Row, name: str) -> bool:
    """Whether the row's values need this one of two."""
    return name in row.media and name in {"sound_file", "image"}


@pytest.mark.parametrize("row", MAIN, ids=lambda row: row.name)
def test_unknown_names_are_refused(row: Row) -> None:
    """Misspelt ones too."""
    values = _values(row)
    assert _accepts(row, values)
    for name in (*(f"{known}s" for known in values), "Prompt", "callback_url", "webhook_url", "external_task_id", ""):
        assert not _accepts(row, {**values, name: "x"})


RIVALS = [("kling/avatar", "sound_file", "audio_id"), ("topview/image-to-video", "image", "imageFileId")]


@pytest.mark.parametrize(("operation", "one", "other"), RIVALS)
def test_exactly_one_of_two(operation: str, one: str, other: str) -> None:
    """Neither and both are refused."""
    row = first_row(operation)
    rest = {name: value for name, value in _values(row).items() if name not in {one, other}}
    assert _accepts(row, {**rest, one: "file.x"})
    assert _accepts(row, {**rest, other: "id-1"})
    assert not _accepts(row, rest)
    assert not _accepts(row, {**rest, one: "file.x", other: "id-1"})


# ------------------------------------------------------------------------------------------------------ media


MEDIA = pytest.mark.parametrize(
    ("row", "media"),
    [
        pytest.param(row, media, id=f"{row.operation}-{media.name}")
        for row in MAIN
        for media in media_parameters(operation_facts()[row.operation].parameters)
    ],
)


@MEDIA
def test_links_from_both_sides(row: Row, media: Media) -> None:
    """Length, and whether links are taken at all: the model and the media rule agree."""
    rule = media.rule
    longest = rule.max_url_chars or 500
    link = "https://cdn.example.test/".ljust(longest, "x")
    facts = operation_facts()[row.operation]
    for url, fine in ((link, True), (link + "x", rule.max_url_chars is None), ("ftp://x.test/a.png", False), ("http://", False)):
        allowed = fine and rule.accepts_url
        assert (not check_url(rule, url)) is allowed, url
        _, wrong = validated(facts, _alone(row, _values(row), media.name, url), frozenset())
        assert (not wrong) is allowed, (url, wrong)
    for bad in ("", " ", "data:image/png;base64,AAAA", "https://x.test/a b.png"):
        assert not _accepts(row, _alone(row, _values(row), media.name, bad)), bad


def _files(folder: Path, rule: MediaRule) -> Iterator[tuple[Path, bool, str]]:
    """Files just inside and just outside of every limit of the rule: path, whether it is allowed, what it is about."""
    picturing = rule.kind is MediaKind.IMAGE
    if picturing:
        yield from _shaped(folder, rule)
    else:
        yield from _timed(folder, rule)
    every = PICTURE_NAMES if picturing else SOUND_FORMATS
    for form in every:
        path = folder / f"format.{form}"
        made = picture(path, form=form) if picturing else sound(path, form=form)
        yield made, not rule.formats or form in rule.formats, f"format {form}"
    if rule.max_bytes is not None:
        for size in (rule.max_bytes, rule.max_bytes + 1):
            path = folder / f"size-{size}"
            made = picture(path, size=size) if picturing else sound(path, size=size)
            yield made, size <= rule.max_bytes, f"{size} bytes"
    other = sound(folder / "other.wav") if picturing else picture(folder / "other.png")
    yield other, False, "the other kind"


def _shaped(folder: Path, rule: MediaRule) -> Iterator[tuple[Path, bool, str]]:
    least = rule.min_side or 64
    high = least * 2
    shapes = [(least, least, True)]
    if rule.min_side is not None:
        shapes += [(least - 1, least, False), (least, least - 1, False)]
    if rule.max_ratio is not None:
        widest = math.floor(high * rule.max_ratio)
        shapes += [(widest, high, True), (widest + 1, high, False)]
    if rule.min_ratio is not None:
        narrowest = math.ceil(1000 * rule.min_ratio)
        shapes += [(narrowest, 1000, True), (narrowest - 1, 1000, False)]
    for width, height, allowed in shapes:
        yield picture(folder / f"{width}x{height}.png", width=width, height=height), allowed, f"{width} x {height}"


def _timed(folder: Path, rule: MediaRule) -> Iterator[tuple[Path, bool, str]]:
    lengths = [(rule.min_seconds or 1.0, True), (rule.max_seconds or 20.0, True)]
    if rule.min_seconds is not None:
        lengths.append((rule.min_seconds - 0.01, False))
    if rule.max_seconds is not None:
        lengths.append((rule.max_seconds + 0.01, False))
    for seconds, allowed in lengths:
        yield sound(folder / f"{seconds}.wav", seconds=seconds), allowed, f"{seconds} s"


@MEDIA
def test_files_from_both_sides_and_the_provider_agrees(row: Row, media: Media, plain: Stage, tmp_path: Path) -> None:
    """Our check takes what the rule allows and nothing else; each file that it takes, the provider takes; those that break a
    documented bound the provider refuses as well.
    """
    made = list(_files(tmp_path, media.rule))
    for path, allowed, about in made:
        said = check(media.rule, probe(path))
        assert (not said) is allowed, (about, said)
    if media.rule.sends != "base64":
        return

    async def play(account: Account) -> None:
        for path, allowed, about in made:
            assert await _taken(account, row, media.name, asset(path)) is allowed, about

    at(plain, row).run(play)


async def _taken(account: Account, row: Row, name: str, file: Asset) -> bool:
    """Whether the provider takes this file."""
    rest = {key: value for key, value in row.params.items() if key != name}
    links = {key: LINKS[rule.kind] for key, rule in _rules(row).items() if key in row.media and key != name}
    job = account.submission({**rest, **links}, {name: file})
    try:
        await account.submit(account.operation(row.operation), job)
    except Refused:
        return False
    return True


def _rules(row: Row) -> Mapping[str, MediaRule]:
    return {media.name: media.rule for media in media_parameters(operation_facts()[row.operation].parameters)}


@pytest.mark.parametrize("form", ["png", "jpeg", "webp", "bmp", "gif"])
def test_an_upload_takes_the_documented_formats(form: str, plain: Stage, tmp_path: Path) -> None:
    """Each is announced under the API's own word for it; others are refused before anything is uploaded."""
    row = first_row("topview/image-to-video")
    allowed = form in _rules(row)["image"].formats

    async def play(account: Account) -> None:
        uploads = plain.books("topview")["uploads"]
        file = asset(picture(tmp_path / f"a.{form}", form=form))
        assert await _taken(account, row, "image", file) is allowed
        assert plain.books("topview")["uploads"] - uploads == int(allowed)

    at(plain, row).run(play)


# ------------------------------------------------------------------------------------------- the provider agrees


@PARAMETERS
def test_the_provider_takes_whatever_the_model_takes(row: Row, name: str, plain: Stage) -> None:
    """Each allowed value of each parameter, in the form in which the model hands it on; unknown fields would be refused."""
    rules = _rules(row)

    async def play(account: Account) -> None:
        operation = account.operation(row.operation)
        upstream = upstream_parameters(operation.facts.parameters)
        values: dict[str, JSON] = {**row.params}
        values |= {key: LINKS[rule.kind] for key, rule in rules.items() if key in row.media and rule.accepts_url}
        files = {key: asset(picture(plain.folder / "up.png")) for key, rule in rules.items() if rule.sends == "upload"}
        for value in _allowed(row, name):
            for key, rule in upstream.items():
                values[key] = await finished(account, first_row(rule.operations[0]))
            sent = {**_alone(row, values, name, value), **{key: str(file.path) for key, file in files.items()}}
            params, wrong = validated(operation.facts, sent, frozenset())
            assert not wrong
            job = account.submission({key: one for key, one in params.items() if key not in files}, files)
            await account.submit(operation, replace(job))

    if name not in rules and name not in {"audio_id", "imageFileId", "override_avatar"}:
        at(plain, row).run(play)


def _allowed(row: Row, name: str) -> Iterator[JSON]:
    if name in upstream_parameters(operation_facts()[row.operation].parameters):
        return
    for one in _variants(_schema(row)[name]):
        yield from (value for value, allowed in _around(one) if allowed)
