"""The JSON Schema describes the language that the loader reads."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import jsonschema  # type: ignore[import-untyped]  # it ships no types
import pytest
from pydantic import BaseModel, ConfigDict, Field

from runner.errors import ManifestError
from runner.manifest import shape
from runner.manifest.load import load
from runner.manifest.schema import manifest_schema
from runner.model import MediaKind
from runner.seams import MediaRule, OperationFacts, OutputSpec, Upstream
from runner.yamltree import parse

IMAGE = MediaRule(
    MediaKind.IMAGE, "base64", formats=("png", "jpeg"), max_bytes=10 * 1024 * 1024, min_side=300, min_ratio=0.4, max_ratio=2.5
)
VOICE = MediaRule(MediaKind.AUDIO, "url", min_seconds=2, max_seconds=60)


class Mode(StrEnum):
    """Quality."""

    STANDARD = "std"
    PRO = "pro"


class Camera(BaseModel):
    """How the camera moves."""

    zoom: float = Field(ge=-10, le=10)
    kind: Literal["simple", "down"] = "simple"


class Photo(BaseModel):
    """A scene from a picture."""

    kind: Literal["photo"]
    url: str


class Colour(BaseModel):
    """A scene of one colour."""

    kind: Literal["colour"]
    rgb: tuple[int, int, int]


class Avatar(BaseModel):
    """Invented parameters."""

    model_config = ConfigDict(extra="forbid")
    image: Annotated[str, IMAGE] = Field(description="The face.")
    sound_file: Annotated[str, VOICE] | None = None
    prompt: str = Field(max_length=2500)
    mode: Mode = Mode.STANDARD
    seconds: Literal[5, 10] = Field(5, alias="duration", description="Length.")
    camera: Camera | None = None
    scenes: list[Annotated[Photo | Colour, Field(discriminator="kind")]] = []
    weights: list[float] = []


class Second(BaseModel):
    """Invented parameters, none required."""

    record: Annotated[str, Upstream(("toy/avatar",), once=True)] = ""
    anything: object = None


def facts(name: str, model: type[BaseModel]) -> OperationFacts:
    """An invented operation."""
    return OperationFacts(name, f"The {name} operation", model, (OutputSpec("video", MediaKind.VIDEO),), source="toy-001")


OPERATIONS = {"toy/second": facts("toy/second", Second), "toy/avatar": facts("toy/avatar", Avatar)}
SCHEMA = manifest_schema(OPERATIONS)
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)
CALL = "with: {image: a.png, prompt: hi}"
HEAD = "callsheet: 1\nname: spring\ncatalogue: {source: products.csv}\n"


def valid(text: str) -> bool:
    """Whether the schema accepts the document."""
    return bool(VALIDATOR.is_valid(parse(text.encode(), file="m.yaml").require().plain()))


def avatar(call: str) -> str:
    """A manifest whose only target calls the invented operation."""
    return HEAD + f"targets:\n  a:\n    uses: toy/avatar\n    with: {{{call}}}\n"


def test_it_is_a_schema() -> None:
    """The document is valid draft-07, is JSON, and every reference leads somewhere."""
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    text = json.dumps(SCHEMA)
    definitions = SCHEMA["definitions"]
    assert isinstance(definitions, dict)
    for piece in text.split('"$ref": "#/definitions/')[1:]:
        assert piece.split('"')[0] in definitions
    assert "$defs" not in text
    assert "prefixItems" not in text


def test_it_is_deterministic() -> None:
    """The order in which operations are given does not matter."""
    turned = dict(reversed(OPERATIONS.items()))
    assert json.dumps(manifest_schema(turned)) == json.dumps(SCHEMA)


def test_without_operations() -> None:
    """With no operation known, ``uses`` is checked by its form alone."""
    schema = manifest_schema({})
    jsonschema.Draft7Validator.check_schema(schema)
    document = {"callsheet": 1, "name": "x", "catalogue": {"source": "p.csv"}, "targets": {"a": {"uses": "k/x"}}}
    assert jsonschema.Draft7Validator(schema).is_valid(document)


WHOLE = """\
callsheet: 1
name: spring-launch
x-shared: &wide { aspect_ratio: [16x9, 9x16], include: [{aspect_ratio: 1x1, n: 1}], exclude: [{aspect_ratio: 9x16}] }
catalogue:
  source: products.csv
  format: csv
  key: sku
  records: a.b
  where: "product.price | float > 20"
  fields: { image: "{{ product['Image Src'] }}" }
vars: { voice: warm, count: 2, list: [1, {a: b}], nothing: }
prompts: { still: { file: prompts/still.j2 }, motion: "{{ vars.voice }}" }
providers: { kling: { concurrency: 5, rate: 30/min, budget: 300 }, akool: { rate: 0.5 }, empty: }
targets:
  presenter:
    uses: toy/avatar
    needs: { still: { aspect_ratio: 16x9 }, base: }
    with: { image: a.png, prompt: "{{ prompts.motion }}", duration: "{{ vars.count }}", camera: {zoom: "{{ x }}"} }
    deadline: 1h30m
    priority: 5
    takes: 3
    gate: { approve: true, sample: 5 }
  still: { uses: toy/second, needs: base, matrix: *wide, gate: approve }
  base: { uses: toy/second, deadline: 90, with: }
artifacts: { path: "{{ product.key }}/{{ target }}" }
runs: out
"""


def test_a_whole_manifest_is_valid(tmp_path: Path) -> None:
    """A manifest that uses everything passes the schema and the loader."""
    (tmp_path / "products.csv").write_text("sku\n1\n")
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "still.j2").write_text("x")
    (tmp_path / "m.yaml").write_text(WHOLE)
    assert load(tmp_path / "m.yaml").name == "spring-launch"
    VALIDATOR.validate(parse(WHOLE.encode(), file="m.yaml").require().plain())


GOOD = [
    "image: a.png, prompt: hi",
    "image: '{{ product.image }}', prompt: hi, duration: 10",
    "image: a.png, prompt: hi, duration: '{{ vars.n }}'",
    "image: a.png, prompt: hi, mode: pro",
    "image: a.png, prompt: hi, mode: '{% if x %}pro{% endif %}'",
    "image: a.png, prompt: hi, camera: {zoom: '{{ x }}', kind: '{{ y }}'}",
    "image: a.png, prompt: hi, camera: '{{ x }}'",
    "image: a.png, prompt: hi, weights: [1, '{{ x }}']",
    "image: a.png, prompt: hi, scenes: [{kind: photo, url: x}, {kind: colour, rgb: [1, '{{ g }}', 3]}]",
    "image: a.png, prompt: hi, sound_file: voice.mp3",
]
BAD = [
    "prompt: hi",
    "image: a.png",
    "image: a.png, prompt: 3",
    "image: a.png, prompt: hi, mode: fast",
    "image: a.png, prompt: hi, duration: 7",
    "image: a.png, prompt: hi, duration: '10'",
    "image: a.png, prompt: hi, seconds: 5",
    "image: a.png, prompt: hi, colour: red",
    "image: a.png, prompt: hi, camera: {zoom: 11}",
    "image: a.png, prompt: hi, camera: {}",
    "image: a.png, prompt: hi, camera: {zoom: 1, kind: up}",
    "image: a.png, prompt: hi, weights: [x]",
    "image: a.png, prompt: hi, scenes: [{kind: photo}]",
    "image: a.png, prompt: hi, scenes: [{kind: colour, rgb: [1, 2]}]",
    f"image: a.png, prompt: {'x' * 2501}",
]


@pytest.mark.parametrize("call", GOOD)
def test_good_parameters(call: str) -> None:
    """What the parameter model takes, and templates in place of any of it."""
    assert valid(avatar(call))


@pytest.mark.parametrize("call", BAD)
def test_bad_parameters(call: str) -> None:
    """Missing, unknown and ill-typed parameters are refused for the operation that is used."""
    assert not valid(avatar(call))


def test_required_parameters_require_with() -> None:
    """A target that leaves ``with`` out is refused if the operation needs parameters, and fine if it does not."""
    assert not valid(HEAD + "targets: {a: {uses: toy/avatar}}\n")
    assert valid(HEAD + "targets: {a: {uses: toy/second}}\n")
    assert not valid(HEAD + "targets: {a: {uses: toy/third}}\n")


def test_descriptions() -> None:
    """Every key is explained; media parameters with the rules that the provider documents."""
    text = json.dumps(SCHEMA)
    assert "The face. Image: a local file or a URL; png or jpeg; at most 10 MB; each side at least 300 pixels" in text
    assert "width / height 0.4 to 2.5" in text
    assert "2 to 60 seconds; a local file must be published first" in text
    assert "Takes `{{ needs.X.remote_id }}` of toy/avatar; one result can be used once." in text
    assert "The toy/avatar operation. Source: toy-001." in text
    properties = SCHEMA["properties"]
    assert isinstance(properties, dict)
    assert all(one["description"] for one in properties.values())


PARTS = [
    ("vars: {a: 1}\n", True),
    ("providers: {k: {rate: 1/s}}\n", True),
    ("targets: {a: {uses: toy/second}}\n", True),
    ("callsheet: 1\nname: x\ninclude: shared.yaml\n", True),
    ("callsheet: 1\nname: x\ninclude: [a.yaml, b.yaml]\ncatalogue: {where: 'x'}\n", True),
    ("callsheet: 1\nname: x\n", False),
    ("name: x\ncatalogue: {source: a}\ntargets: {a: {uses: toy/second}}\n", False),
    ("vars: [1]\n", False),
]


@pytest.mark.parametrize(("text", "fine"), PARTS)
def test_partial_files(text: str, fine: bool) -> None:
    """Files made to be included may hold any part; a file that says ``callsheet`` and includes nothing must be whole."""
    assert valid(text) is fine


def rest(text: str) -> str:
    """A manifest with one good target and something more."""
    return HEAD + "targets: {a: {uses: toy/second}}\n" + text


def target(text: str) -> str:
    """A manifest with one target that says something more, and one to need."""
    return HEAD + f"targets: {{b: {{uses: toy/second, matrix: {{r: [1, 2]}}}}, a: {{uses: toy/second, {text}}}}}\n"


AGREED = [
    (rest(""), True),
    (rest("vars:\nprompts:\nproviders:\nartifacts:\n"), True),
    (rest("x-free: {any: [thing]}\n"), True),
    (rest("quux: 1\n"), False),
    (rest("vars: {a b: 1}\n"), False),
    (rest("prompts: {a: 3}\n"), False),
    (rest("prompts: {a: {}}\n"), False),
    (rest("prompts: {a: ''}\n"), False),
    (rest("providers: {k: {rate: 2/s}}\n"), True),
    (rest("providers: {k: {rate: 2 / hour}}\n"), True),
    (rest("providers: {k: {rate: 2/w}}\n"), False),
    (rest("providers: {k: {rate: 0}}\n"), False),
    (rest("providers: {k: {rate: 1001}}\n"), False),
    (rest("providers: {k: {concurrency: 0}}\n"), False),
    (rest("providers: {k: {concurrency: 1.5}}\n"), False),
    (rest("providers: {k: {budget: 1.5}}\n"), True),
    (rest("providers: {k: {key: x}}\n"), False),
    (rest("artifacts: {path: ''}\n"), False),
    (rest("runs: ''\n"), False),
    (rest("runs:\n"), False),
    (target("needs: b"), True),
    (target("needs: [b]"), True),
    (target("needs: [b, b]"), False),
    (target("needs: {b: {r: 1}}"), True),
    (target("needs: {b: }"), True),
    (target("needs: {b: {r: [1]}}"), False),
    (target("needs: 3"), False),
    (target("needs: "), True),
    (target("takes: 0"), False),
    (target("takes: 20"), True),
    (target("takes: 21"), False),
    (target("takes: "), False),
    (target("gate: approve"), True),
    (target("gate: "), True),
    (target("gate: no"), False),
    (target("gate: {}"), False),
    (target("gate: {sample: 3}"), True),
    (target("gate: {sample: 0}"), False),
    (target("deadline: 30m"), True),
    (target("deadline: 1h 30m"), True),
    (target("deadline: 0.5"), False),
    (target("deadline: soon"), False),
    (target("priority: 1001"), False),
    (target("matrix: {}"), False),
    (target("matrix: {r: []}"), False),
    (target("matrix: {r: [1, 1]}"), False),
    (target("matrix: {r: [[1]]}"), False),
    (target("matrix: {r: 1}"), False),
    (target("matrix: {take: [1]}"), False),
    (target("matrix: {r: [1], include: [{s: 1}], exclude: }"), True),
    (target("matrix: {include: [{s: 1}]}"), True),
    (target("matrix: {include: [{}]}"), False),
    (target("with: [1]"), False),
    (target("uses2: x"), False),
    (HEAD.replace("source: products.csv", "products: [{a: 1}]") + "targets: {a: {uses: toy/second}}\n", True),
    (HEAD.replace("source: products.csv", "products: []") + "targets: {a: {uses: toy/second}}\n", False),
    (HEAD.replace("source: products.csv", "products: [{}]") + "targets: {a: {uses: toy/second}}\n", False),
    (HEAD.replace("source: products.csv", "key: a") + "targets: {a: {uses: toy/second}}\n", False),
    (HEAD.replace("products.csv", "products.csv, products: [{a: 1}]") + "targets: {a: {uses: toy/second}}\n", False),
    (HEAD.replace("products.csv", "products.csv, format: xml") + "targets: {a: {uses: toy/second}}\n", False),
    (HEAD.replace("products.csv", "products.csv, fields: {a: 1}") + "targets: {a: {uses: toy/second}}\n", False),
    (HEAD.replace("products.csv", "products.csv, fields: ") + "targets: {a: {uses: toy/second}}\n", True),
    (HEAD.replace("spring", "a b") + "targets: {a: {uses: toy/second}}\n", False),
    (HEAD.replace("callsheet: 1", "callsheet: 2") + "targets: {a: {uses: toy/second}}\n", False),
    (HEAD + "targets: {}\n", False),
    (HEAD + "targets:\n", False),
    (HEAD + "targets: {a: }\n", False),
    (HEAD + "targets: {a b: {uses: toy/second}}\n", False),
    (HEAD, False),
]


@pytest.mark.parametrize(("text", "fine"), AGREED)
def test_loader_and_schema_agree(tmp_path: Path, text: str, fine: bool) -> None:
    """What one accepts the other accepts, what one refuses the other refuses."""
    (tmp_path / "products.csv").write_text("key\n1\n")
    (tmp_path / "m.yaml").write_text(text)
    try:
        load(tmp_path / "m.yaml")
        loaded = True
    except ManifestError:
        loaded = False
    assert (loaded, valid(text)) == (fine, fine)


def test_every_key_is_in_the_schema() -> None:
    """The schema knows exactly the keys that the loader knows."""
    definitions, properties = SCHEMA["definitions"], SCHEMA["properties"]
    assert isinstance(definitions, dict)
    assert isinstance(properties, dict)
    assert list(properties) == list(shape.MANIFEST)
    assert list(definitions["target"]["properties"]) == list(shape.TARGET)
    assert list(properties["catalogue"]["properties"]) == list(shape.CATALOGUE)
