"""The registry: cheap to import, complete, and the parameter models fit for forms and editors."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import fields

import pytest
from provider_hand import ADAPTERS, NOW, SUBMISSIONS, Hand, akool, answer, creatify, kling, topview
from pydantic import BaseModel

from runner.errors import UsageError
from runner.providers import connect, operation_facts, provider_facts, provider_names
from runner.providers.akool import AkoolCredentials
from runner.providers.creatify import CreatifyCredentials
from runner.providers.kling import KlingCredentials
from runner.providers.parameters import marked, marker_in
from runner.providers.topview import TopviewCredentials
from runner.settings import REQUIRED

CREDENTIALS: Mapping[str, AkoolCredentials | CreatifyCredentials | KlingCredentials | TopviewCredentials] = {
    "akool": AkoolCredentials("hidden-1", "id", "hidden-2"),
    "creatify": CreatifyCredentials("id", "hidden-1"),
    "kling": KlingCredentials("id", "hidden-1", "hidden-2"),
    "topview": TopviewCredentials("uid", "hidden-1"),
}
MODELS = [(name, facts.parameters) for name, facts in operation_facts().items()]


def test_importing_the_registry_loads_no_adapter() -> None:
    """Nor anything heavy."""
    script = (
        "import sys, runner.providers as p; p.provider_names(); "
        "bad = [m for m in sys.modules if m.startswith('runner.providers.') or m in {'jwt', 'httpx', 'av', 'PIL', 'cryptography'}]; "
        "print(bad); sys.exit(bool(bad))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_adapters_load_without_the_token_library() -> None:
    """PyJWT is loaded when a token is signed, not before."""
    script = "import sys, runner.providers as p; p.operation_facts(); sys.exit('jwt' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_every_provider_connects_with_its_own_credentials_only() -> None:
    """By name and as the settings name them; none at all still makes an adapter that can check and price."""
    assert provider_names() == tuple(sorted(ADAPTERS))
    for name in provider_names():
        named = {field.name: getattr(CREDENTIALS[name], field.name) for field in fields(CREDENTIALS[name])}
        assert connect(name, named).facts is provider_facts()[name]
        assert connect(name, {}).operations.keys() == connect(name, named).operations.keys()
        with pytest.raises(TypeError):
            connect(name, {"stranger": "x"})
    with pytest.raises(UsageError) as caught:
        connect("klingon", {})
    assert "kling" in caught.value.hint


def test_credentials_bear_the_names_of_the_settings() -> None:
    """What the settings call enough is what the adapter can sign with."""
    for name, sets in REQUIRED.items():
        for wanted in sets:
            adapter = connect(name, dict.fromkeys(wanted, "something-long-enough-for-a-key-0001"))
            granted = Hand(*([answer({"code": 1000, "token": "t"})] if "client_id" in wanted else [])).run(adapter.authorise(NOW))
            assert granted.headers


def test_the_marker_base_reaches_the_adapter_that_needs_it() -> None:
    """Creatify's webhook_url points there."""
    adapter = connect("creatify", {"api_id": "i", "api_key": "k"}, marker_base="https://marker.test")
    hand = Hand(answer({"id": "r"}))
    hand.run(adapter.operations["product-image"].submit(SUBMISSIONS["creatify/product-image"]))
    assert isinstance(hand.paid[0].json, dict)
    assert hand.paid[0].json["webhook_url"].startswith("https://marker.test/?callsheet=")


def test_the_facts_agree_with_the_adapters() -> None:
    """Operations of an adapter are the ones the registry lists, under the same names."""
    listed = {f"{make().facts.name}/{short}": one.facts for make in ADAPTERS.values() for short, one in make().operations.items()}
    assert listed == operation_facts()


@pytest.mark.parametrize(("name", "model"), MODELS)
def test_every_parameter_is_explained(name: str, model: type[BaseModel]) -> None:
    """Editors show these texts; the schema is plain JSON Schema without extra keys allowed."""
    schema = model.model_json_schema()
    assert schema["additionalProperties"] is False
    for parameter, field in model.model_fields.items():
        assert field.description, f"{name}: {parameter}"
        assert schema["properties"][parameter]["description"] == field.description


def test_the_schema_lists_the_documented_values() -> None:
    """Also where text is read as a number."""
    properties = operation_facts()["topview/image-to-video"].parameters.model_json_schema()["properties"]
    assert properties["duration"]["enum"] == [5, 10]
    assert (properties["generatingCount"]["minimum"], properties["generatingCount"]["maximum"]) == (1, 4)


@pytest.mark.parametrize("credentials", CREDENTIALS.values(), ids=str)
def test_no_secret_shows(credentials: object) -> None:
    """Repr goes into logs."""
    assert "hidden" not in repr(credentials)
    assert "hidden" not in str(credentials)


def test_results_expire_as_documented() -> None:
    """In seconds; None where the provider says nothing."""
    days = {name: facts.result_lifetime and facts.result_lifetime / 86400 for name, facts in operation_facts().items()}
    assert days == {
        "akool/talking-photo": 7,
        "creatify/product-image": None,
        "creatify/product-video": None,
        "kling/avatar": 30,
        "topview/image-to-video": 7,
    }
    assert [one().operations.keys() for one in (akool, creatify, kling, topview)]


@pytest.mark.parametrize(
    "url",
    ["https://x.test", "https://x.test/", "https://x.test/cb?a=1&b=%2F", "https://x.test/cb?callsheet=old", "https://x.test/?#f"],
)
def test_a_marker_survives_any_address(url: str) -> None:
    """Ours is the last one."""
    assert marker_in(marked(url, "key-1")) == "key-1"


@pytest.mark.parametrize("url", ["", "https://x.test/?callsheet", "https://x.test/?other=key-1", "http://[", "\x00"])
def test_an_address_without_a_marker_has_none(url: str) -> None:
    """Broken ones too."""
    assert marker_in(url) == ""
