"""What the documentation says is true: generated pages are current, examples fit, names exist."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import jsonschema  # type: ignore[import-untyped]  # it ships no types
import pytest

from runner import errors, generated
from runner.commands import COMMANDS
from runner.manifest import shape
from runner.manifest.schema import manifest_schema
from runner.simulator.faults import KINDS, rules_from
from runner.templates import FILTERS
from runner.workspace import operations
from runner.yamltree import parse

ROOT = generated.ROOT
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "manifests").glob("*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def text_of(page: Path) -> str:
    """The page's text."""
    return page.read_text(encoding="utf-8")


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """(where it stands, text) of every fenced block in this language, over all pages."""
    for page in PAGES:
        text = text_of(page)
        for found in FENCE.finditer(text):
            if found[1] == language:
                line = text.count("\n", 0, found.start()) + 1
                yield f"{page.relative_to(ROOT)}:{line}", found[2]


YAML_BLOCKS = list(blocks("yaml"))
VALIDATOR = jsonschema.Draft7Validator(manifest_schema({name: op.facts for name, op in operations().items()}))


@pytest.mark.parametrize("block", [text for _, text in YAML_BLOCKS], ids=[where for where, _ in YAML_BLOCKS])
def test_every_manifest_in_the_documents_fits_the_schema(block: str, tmp_path: Path) -> None:
    """Each YAML block is a manifest or a part of one, as our own reader reads it."""
    page = parse(block.encode(), file=str(tmp_path / "block.yaml"))
    assert page.problems == ()
    assert page.root is not None
    found = [f"{'.'.join(map(str, error.path))}: {error.message}" for error in VALIDATOR.iter_errors(page.root.plain())]
    assert found == []


def test_there_are_manifests_to_check() -> None:
    """The check above looks at something."""
    assert len(YAML_BLOCKS) > 10


def test_every_key_of_the_language_is_explained() -> None:
    """No key of the manifest is missing from docs/manifest.md."""
    page = text_of(ROOT / "docs" / "manifest.md")
    keys = {*shape.MANIFEST, *shape.CATALOGUE, *shape.PROMPT, *shape.LIMITS, *shape.TARGET, *shape.GATE, *shape.ARTIFACTS}
    assert [key for key in sorted(keys) if not re.search(rf"\b{key}\b", page)] == []
    assert [name for name in FILTERS if f"`{name}" not in page] == []
    assert [name for name in shape.FORMATS if name.replace("-", " ").lower() not in page.lower()] == []


def test_every_operation_says_how_it_is_found_again() -> None:
    """docs/reliability.md has a line for each operation, and each exit code."""
    page = text_of(ROOT / "docs" / "reliability.md")
    assert [name for name in operations() if f"| `{name}` |" not in page] == []
    codes = [value for name, value in vars(errors).items() if name.startswith("EXIT_")]
    assert [code for code in codes if f"\n| {code} | " not in page] == []


def test_fault_rules_in_the_documents_are_understood() -> None:
    """docs/simulator.md shows rules that the simulator takes, and names every kind of fault."""
    page = text_of(ROOT / "docs" / "simulator.md")
    examples = [text for where, text in blocks("json") if "simulator.md" in where]
    assert [rules_from(json.loads(text)) for text in examples]
    assert [kind for kind in KINDS if f"`{kind}`" not in page] == []


def test_every_command_and_option_in_the_documents_exists() -> None:
    """Whoever copies a command line from a page does not meet 'no such command' or 'no such option'."""
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "runner").rglob("*.py")]
    wrong: list[str] = []
    for page in PAGES:
        text = text_of(page)
        wrong += [f"{page.name}: callsheet {name}" for name in re.findall(r"`callsheet ([a-z]+)", text) if name not in COMMANDS]
        for name in re.findall(r"^(?:\.venv/bin/)?callsheet ([a-z]+)", text, re.MULTILINE):
            wrong += [] if name in COMMANDS else [f"{page.name}: callsheet {name}"]
        lines = re.findall(r"callsheet [a-z]+ [^`\n]*|`--[^`\n]+`", text)
        options = {option for line in lines for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", line)}
        wrong += [
            f"{page.name}: {o}"
            for o in sorted(options)
            if not any(f'"{o}"' in s for s in sources) and o not in {"--help", "--version"}
        ]
    assert wrong == []


def test_every_command_is_named_in_the_readme() -> None:
    """The README's list of commands is whole."""
    page = text_of(ROOT / "README.md")
    assert [name for name in COMMANDS if f"`{name}`" not in page] == []


def test_links_between_pages_lead_somewhere() -> None:
    """Every relative link names a file that exists, and every anchor a heading."""
    broken: list[str] = []
    for page in PAGES:
        for link in re.findall(r"\]\(([^)\s]+)\)|<img[^>]*src=\"([^\"]+)\"", FENCE.sub("", text_of(page))):
            address = unquote(link[0] or link[1])
            if "://" in address or address.startswith("mailto:"):
                continue
            path, _, anchor = address.partition("#")
            target = (page.parent / path) if path else page
            if not target.exists() or (anchor and anchor not in anchors(target)):
                broken.append(f"{page.name}: {address}")
    assert broken == []


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings make."""
    headings = re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_generated_files_are_current() -> None:
    """Schema, provider reference and life-cycle diagram say what the code says."""
    assert generated.stale() == []


def test_generated_files_can_be_checked_without_being_written(tmp_path: Path) -> None:
    """``stale`` names what is missing or different, and leaves it as it is."""
    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs" / "architecture.md"
    page.write_text(f"before {generated.BEGIN} old {generated.END} after", encoding="utf-8")
    assert [path.name for path in generated.stale(tmp_path)] == ["manifest.schema.json", "providers.md", "architecture.md"]
    assert page.read_text(encoding="utf-8") == f"before {generated.BEGIN} old {generated.END} after"
    page.write_text("no markers", encoding="utf-8")
    with pytest.raises(ValueError, match="lost its markers"):
        generated.stale(tmp_path)


def test_the_generator_refuses_what_it_does_not_know() -> None:
    """A mistyped option must not overwrite files."""
    ran = subprocess.run(
        [sys.executable, "-m", "runner.generated", "--chek"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert (ran.returncode, "usage" in ran.stderr) == (2, True)


def test_the_pages_speak_of_the_project_alone() -> None:
    """No page names a machine's path, an index of packages, or an editor's leftovers."""
    leftovers = re.compile(r"/home/|/root/|/work/|/tmp/|file:///|TODO|FIXME|XXX", re.IGNORECASE)
    assert [f"{page.name}: {found[0]}" for page in PAGES for found in leftovers.finditer(text_of(page))] == []


def test_pictures_are_small() -> None:
    """Pictures of the documentation load quickly: below 300 kB each."""
    assert [path.name for path in (ROOT / "docs" / "images").iterdir() if path.stat().st_size > 300_000] == []


def test_every_make_target_in_the_documents_exists() -> None:
    """``make X`` on a page, in CI or in the list of help is a target of the Makefile."""
    makefile = text_of(ROOT / "Makefile")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    pages = [*PAGES, ROOT / ".ci" / "run"]
    named = {name for page in pages for name in re.findall(r"(?:^|`)make ([a-z][a-z-]+)", text_of(page), re.MULTILINE)}
    assert named - targets == set()
    assert {"setup", "demo", "test", "check"} <= named


def test_the_map_of_the_floors_is_whole() -> None:
    """docs/architecture.md shows every module that import-linter has a floor for."""
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers = next(contract["layers"] for contract in linter["contracts"] if contract["type"] == "layers")
    names = {name for layer in layers for name in re.findall(r"\w+", layer)}
    shown = next(text for where, text in blocks("") if "architecture.md" in where)
    assert sorted(names - set(re.findall(r"\w+", shown))) == []


def test_the_tested_set_is_plain_and_whole() -> None:
    """constraints.txt pins every dependency by version alone: no addresses, no paths, sorted."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert [line for line in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", line)] == []
    assert pins == sorted(pins, key=str.lower)
    pinned = {normal(line.partition("==")[0]) for line in pins}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    assert [name for name in wanted if normal(re.split(r"[<>=!~\[; ]", name)[0]) not in pinned] == []


def normal(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()
