"""A good manifest becomes values; a broken one tells everything that is wrong, at its place."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.errors import ManifestError, Problem
from runner.manifest.load import load
from runner.manifest.matrix import cells
from runner.manifest.model import Manifest

HEAD = "callsheet: 1\nname: spring\ncatalogue: {source: products.csv}\n"
"""Three good lines; most cases begin on line 4."""
ONE = "targets: {a: {uses: k/x}}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a catalogue and a prompt file."""
    (tmp_path / "products.csv").write_text("key,title\n1,Lamp\n")
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "still.j2").write_text("A {{ product.title }}\n")
    return tmp_path


def write(folder: Path, text: str, name: str = "m.yaml") -> Path:
    """A file in the folder; folders on the way are made."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="")
    return path


def good(folder: Path, text: str, **overrides: str) -> Manifest:
    """The manifest that the text makes."""
    return load(write(folder, text), overrides=overrides)


def broken(folder: Path, text: str, overrides: Mapping[str, str] | None = None) -> list[Problem]:
    """Everything that is wrong with the text."""
    path = write(folder, text)
    with pytest.raises(ManifestError) as caught:
        load(path, overrides=overrides or {})
    return caught.value.problems


def place(problem: Problem) -> str:
    """File name, line and column."""
    return f"{Path(problem.mark.file).name}:{problem.mark.line}:{problem.mark.column}"


WHOLE = """\
callsheet: 1
name: spring-launch
x-shared: &wide { aspect_ratio: [16x9, 9x16] }
catalogue:
  source: products.csv
  format: csv
  key: sku
  where: "product.price | float > 20"
  fields:
    image: "{{ product['Image Src'] }}"
vars: { voice: warm, count: 2, loud: false, list: [1, {a: b}], nothing: }
prompts:
  still: { file: prompts/still.j2 }
  motion: |
    Slow push-in on {{ product.title }},
    {{ vars.voice }}.
providers:
  kling: { concurrency: 5, rate: 30/min, budget: 300 }
  akool: { rate: 0.5 }
  empty:
targets:
  presenter:
    uses: kling/avatar
    needs: { still: { aspect_ratio: 9x16 }, base: }
    with: { image: "{{ needs.still.files.image }}", n: 3, list: [1, "{{ x }}"] }
    deadline: 1h30m
    priority: 5
  clip: { uses: creatify/product-video, needs: [still, base], takes: 3, gate: { approve: true, sample: 5 } }
  still:
    uses: creatify/product-image
    needs: base
    matrix: *wide
    gate: approve
  base: { uses: creatify/base, deadline: 90 }
artifacts: { path: "{{ product.key }}/{{ target }}" }
"""


def test_a_whole_manifest(folder: Path) -> None:
    """Every part of the language arrives as a typed value."""
    manifest = good(folder, WHOLE)
    assert manifest.name == "spring-launch"
    assert manifest.root == folder
    assert manifest.runs == folder / "runs"
    assert manifest.path == folder / "m.yaml"
    assert manifest.catalogue.path == folder / "products.csv"
    assert (manifest.catalogue.source, manifest.catalogue.format, manifest.catalogue.key) == ("products.csv", "csv", "sku")
    assert manifest.catalogue.where is not None
    assert str(manifest.catalogue.where.mark).endswith("m.yaml:8:11")
    assert manifest.catalogue.fields["image"].value == "{{ product['Image Src'] }}"
    assert manifest.vars == {"voice": "warm", "count": 2, "loud": False, "list": [1, {"a": "b"}], "nothing": None}
    assert manifest.var_marks["count"].column == 29
    assert manifest.artifact_path is not None
    assert manifest.artifact_path.value == "{{ product.key }}/{{ target }}"
    assert manifest.files == (folder / "m.yaml", folder / "prompts" / "still.j2")


def test_prompts(folder: Path) -> None:
    """A prompt's text says where it stands: in its own file, or on the first line below the |."""
    prompts = good(folder, WHOLE).prompts
    assert prompts["still"].text.value == "A {{ product.title }}\n"
    assert prompts["still"].path == folder / "prompts" / "still.j2"
    assert str(prompts["still"].text.mark) == f"{folder}/prompts/still.j2:1:1"
    assert prompts["motion"].text.value == "Slow push-in on {{ product.title }},\n{{ vars.voice }}.\n"
    assert str(prompts["motion"].text.mark) == f"{folder}/m.yaml:15:5"
    assert prompts["motion"].path is None


def test_limits(folder: Path) -> None:
    """Rates become submits per second, whatever their unit."""
    limits = good(folder, WHOLE).limits
    kling = limits["kling"]
    assert (kling.concurrency, kling.rate, kling.budget) == (5, 0.5, 300.0)
    assert (limits["akool"].rate, limits["akool"].concurrency) == (0.5, None)
    assert limits["empty"].rate is None


def test_targets(folder: Path) -> None:
    """Targets come upstream first, and otherwise as they are written; needs, gates and times are typed."""
    targets = good(folder, WHOLE).targets
    assert list(targets) == ["base", "still", "presenter", "clip"]
    presenter, clip = targets["presenter"], targets["clip"]
    assert presenter.needs["still"].pins == {"aspect_ratio": "9x16"}
    assert presenter.needs["base"].pins == {}
    assert presenter.params["n"].value == 3
    assert (presenter.deadline_seconds, presenter.priority) == (5400.0, 5)
    assert targets["base"].deadline_seconds == 90.0
    assert list(clip.needs) == ["still", "base"]
    assert clip.takes == 3
    assert clip.gate is not None
    assert (clip.gate.kind, clip.gate.sample) == ("approve", 5)
    assert targets["still"].matrix is not None
    assert targets["still"].matrix.axes == {"aspect_ratio": ("16x9", "9x16")}
    assert cells(targets["base"].matrix) == ({},)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("90s", 90), ("30m", 1800), ("2h", 7200), ("1d", 86400), ("1h 30m", 5400), ("1.5h", 5400), ("2.5", 2.5)],
)
def test_deadlines(folder: Path, written: str, seconds: float) -> None:
    """Durations are seconds in the end."""
    manifest = good(folder, HEAD + f"targets: {{a: {{uses: k/x, deadline: {written}}}}}\n")
    assert manifest.targets["a"].deadline_seconds == seconds


@pytest.mark.parametrize("written", ["approve", "{approve: true}", "{sample: 2}"])
def test_gates(folder: Path, written: str) -> None:
    """A gate is there as soon as it is written, unless it says false."""
    assert good(folder, HEAD + f"targets: {{a: {{uses: k/x, gate: {written}}}}}\n").targets["a"].gate is not None
    assert good(folder, HEAD + "targets: {a: {uses: k/x, gate: {approve: false}}}\n").targets["a"].gate is None


def test_inline_products(folder: Path) -> None:
    """Products may stand in the manifest; they stay nodes, so that errors in them have places."""
    manifest = good(folder, "callsheet: 1\nname: x\ncatalogue:\n  products:\n    - {key: 1}\n    - {key: 2}\n" + ONE)
    assert manifest.catalogue.products is not None
    assert manifest.catalogue.products.plain() == [{"key": 1}, {"key": 2}]
    assert manifest.catalogue.path is None


@pytest.mark.parametrize("change", [lambda text: "\ufeff" + text, lambda text: text.replace("\n", "\r\n")])
def test_windows_files(folder: Path, change: "type[str]") -> None:
    """A byte order mark and CR LF change nothing, in manifests and in prompt files."""
    plain = good(folder, WHOLE)
    write(folder, change("A {{ product.title }}\n"), "prompts/still.j2")
    assert good(folder, change(WHOLE)) == plain


def test_overrides(folder: Path) -> None:
    """An override keeps the kind of the value it replaces; text stays text even if it looks like a number."""
    text = HEAD + ONE + "vars: {t: a, n: 1, f: 1.5, b: true, z: }\n"
    assert good(folder, text, t="007", n="2.5", f="3", b="false", z="1").vars == {
        "t": "007",
        "n": 2.5,
        "f": 3,
        "b": False,
        "z": "1",
    }


@pytest.mark.parametrize(
    ("overrides", "message", "hint"),
    [
        ({"voise": "x"}, "unknown variable 'voise'", "did you mean 'voice'?"),
        ({"n": "many"}, "expected a number, got text 'many'", "number"),
        ({"n": "true"}, "expected a number", "number"),
        ({"n": ".nan"}, ".nan is not a usable number", ""),
        ({"b": "1"}, "expected true or false", "true or false"),
        ({"list": "x"}, "it is a list in the manifest", "in the manifest"),
    ],
)
def test_wrong_overrides(folder: Path, overrides: dict[str, str], message: str, hint: str) -> None:
    """A wrong override is told like any other problem."""
    (problem,) = broken(folder, HEAD + ONE + "vars: {voice: a, n: 1, b: true, list: []}\n", overrides)
    assert str(problem.mark) == "--var:1:1"
    assert message in problem.message
    assert hint in problem.hint


CASES = [
    ("name: x\ncatalogue: {source: products.csv}\n" + ONE, "1:1", "has no `callsheet`", "add `callsheet:`"),
    ("callsheet: 1\ncatalogue: {source: products.csv}\n" + ONE, "1:1", "has no `name`", "add `name:`"),
    ("callsheet: 1\nname: x\n" + ONE, "1:1", "has no `catalogue`", "add `catalogue:`"),
    (HEAD, "1:1", "has no `targets`", "add `targets:`"),
    (HEAD.replace("callsheet: 1", "callsheet: 2") + ONE, "1:12", "version 2", "callsheet: 1"),
    (HEAD.replace("callsheet: 1", 'callsheet: "1"') + ONE, "1:12", "expected a whole number, got text '1'", "remove the quotes"),
    (HEAD.replace("callsheet: 1", "callsheet: 1.0") + ONE, "1:12", "expected a whole number", "write 1"),
    (HEAD.replace("callsheet: 1", "callsheet: true") + ONE, "1:12", "got true", "whole number"),
    (HEAD.replace("spring", "9lives") + ONE, "2:7", "'9lives' cannot be the name of a campaign", "letters"),
    (HEAD.replace("spring", "a/b") + ONE, "2:7", "'a/b' cannot be the name", "letters"),
    (HEAD.replace("spring", "x" * 65) + ONE, "2:7", "longer than 64", "shorten"),
    (HEAD.replace("spring", "2024") + ONE, "2:7", "expected text, got the number 2024", '"2024"'),
    (HEAD.replace("spring", "") + ONE, "2:6", "expected text, got nothing", "value"),
    (HEAD + "target: {}\n" + ONE, "4:1", "unknown key 'target'", "did you mean 'targets'?"),
    (HEAD + "quux: {}\n" + ONE, "4:1", "unknown key 'quux'", "known keys: callsheet"),
    (HEAD + "Vars: {}\n" + ONE, "4:1", "unknown key 'Vars'", "did you mean 'vars'?"),
    (HEAD + "vars: [a]\n" + ONE, "4:7", "vars: expected a mapping, got a list", "mapping"),
    (HEAD + "vars: {1a: x}\n" + ONE, "4:8", "'1a' cannot be the name of a variable", "vars['x-y']"),
    (HEAD + "targets: {}\n", "4:1", "targets is empty", "uses: provider/operation"),
    (HEAD + "targets:\n", "4:9", "expected a mapping, got nothing", "value"),
    (HEAD + "targets: [a]\n", "4:10", "targets: expected a mapping, got a list", "mapping"),
    (HEAD + "targets:\n  a: k/x\n", "5:6", "targets.a: expected a mapping, got text 'k/x'", "entries"),
    (HEAD + "targets:\n  a:\n", "5:3", "targets.a has no `uses`", "provider/operation"),
    (HEAD + "targets:\n  a: {uses: kling}\n", "5:13", "'kling' is not of the form provider/operation", "kling/avatar"),
    (HEAD + "targets:\n  a: {uses: a/b/c}\n", "5:13", "'a/b/c' is not of the form", "providers"),
    (HEAD + "targets:\n  a: {use: k/x, uses: k/x}\n", "5:7", "unknown key 'use' in targets.a", "did you mean 'uses'?"),
    (HEAD + "targets:\n  a b: {uses: k/x}\n", "5:3", "'a b' cannot be the name of a target", "needs['x-y']"),
    (HEAD + "targets:\n  a: {uses: k/x, with: [1]}\n", "5:24", "targets.a.with: expected a mapping, got a list", "mapping"),
    (HEAD + "targets:\n  a: {uses: k/x, takes: 0}\n", "5:25", "0 is too small", "at least 1"),
    (HEAD + "targets:\n  a: {uses: k/x, takes: 21}\n", "5:25", "21 is too large", "at most 20"),
    (HEAD + "targets:\n  a: {uses: k/x, takes: '3'}\n", "5:25", "expected a whole number, got text '3'", "quotes"),
    (HEAD + "targets:\n  a: {uses: k/x, takes: 2.5}\n", "5:25", "got the number 2.5", "write 2"),
    (HEAD + "targets:\n  a: {uses: k/x, takes: yes}\n", "5:25", "got text 'yes'", "whole number"),
    (HEAD + "targets:\n  a: {uses: k/x, gate: aprove}\n", "5:24", "'aprove' is no gate", "gate: approve"),
    (HEAD + "targets:\n  a: {uses: k/x, gate: {approve: yes}}\n", "5:34", "got text 'yes'", "write true"),
    (HEAD + "targets:\n  a: {uses: k/x, gate: {sample: 0}}\n", "5:33", "0 is too small", "at least 1"),
    (HEAD + "targets:\n  a: {uses: k/x, gate: true}\n", "5:24", "expected text or a mapping, got true", "quotes"),
    (HEAD + "targets:\n  a: {uses: k/x, gate: {}}\n", "5:24", "gate is empty", "gate: approve"),
    (HEAD + "targets:\n  a: {uses: k/x, deadline: soon}\n", "5:28", "'soon' is no duration", "30m"),
    (HEAD + "targets:\n  a: {uses: k/x, deadline: 0}\n", "5:28", "not possible", "1 second"),
    (HEAD + "targets:\n  a: {uses: k/x, deadline: 31d}\n", "5:28", "not possible", "30 days"),
    (HEAD + "targets:\n  a: {uses: k/x, deadline: 10 weeks}\n", "5:28", "no duration", "2h"),
    (HEAD + "targets:\n  a: {uses: k/x, needs: b}\n", "5:25", "unknown target 'b'", "no others"),
    (
        HEAD + "targets:\n  still: {uses: k/x}\n  a: {uses: k/x, needs: stil}\n",
        "6:25",
        "unknown target 'stil'",
        "did you mean 'still'?",
    ),
    (HEAD + "targets:\n  a: {uses: k/x, needs: [b, a]}\n  b: {uses: k/x}\n", "5:29", "needs itself", "remove"),
    (HEAD + "targets:\n  a: {uses: k/x, needs: [b, b]}\n  b: {uses: k/x}\n", "5:29", "'b' twice", "remove"),
    (HEAD + "targets:\n  a: {uses: k/x, needs: [1]}\n", "5:26", "expected text, got the number 1", "quotes"),
    (HEAD + "targets:\n  a: {uses: k/x, needs: 3}\n", "5:25", "expected text or a list or a mapping", "quotes"),
    (
        HEAD + "targets:\n  a: {uses: k/x, needs: b}\n  b: {uses: k/x, needs: c}\n  c: {uses: k/x, needs: a}\n",
        "5:25",
        "targets need each other: a -> b -> c -> a",
        "remove one",
    ),
    (HEAD + "targets:\n  a: {uses: k/x, needs: {b: {r: 1}}}\n  b: {uses: k/x}\n", "5:33", "'r', which is no axis of 'b'", "none"),
    (
        HEAD + "targets:\n  a: {uses: k/x, needs: {b: {ratio: 9x61}}}\n  b: {uses: k/x, matrix: {ratio: [9x16, 1x1]}}\n",
        "5:37",
        "pins ratio to '9x61', which 'b' does not have",
        "did you mean '9x16'? values: 9x16, 1x1",
    ),
    (
        HEAD + "targets:\n  a: {uses: k/x, needs: {b: {r: [1]}}}\n  b: {uses: k/x, matrix: {r: [1]}}\n",
        "5:33",
        "expected one value, got a list",
        "pin one value",
    ),
    (HEAD + "targets:\n  a: {uses: k/x, matrix: {r: []}}\n", "5:30", "matrix.r has no values", "at least one"),
    (HEAD + "targets:\n  a: {uses: k/x, matrix: {}}\n", "5:18", "has no axes", "aspect_ratio"),
    (HEAD + "targets:\n  a: {uses: k/x, matrix: {r: 9x16}}\n", "5:30", "expected a list, got text '9x16'", "write [9x16]"),
    (HEAD + "targets:\n  a: {uses: k/x, matrix: {r: [1, '1']}}\n", "5:34", "'1' stands twice", "as text"),
    (HEAD + "targets:\n  a: {uses: k/x, matrix: {r: [[1]]}}\n", "5:31", "got a list", "text"),
    (HEAD + "targets:\n  a: {uses: k/x, matrix: {r: [~]}}\n", "5:31", "got nothing", "value"),
    (HEAD + "targets:\n  a: {uses: k/x, matrix: {take: [1]}}\n", "5:27", "'take' is reserved", "another name"),
    (HEAD + "targets:\n  a: {uses: k/x, matrix: {r: [1], exclude: [{s: 1}]}}\n", "5:45", "unknown axis 's'", "axes: r"),
    (HEAD + "targets:\n  a: {uses: k/x, matrix: {r: [1], exclude: [{r: 2}]}}\n", "5:45", "has no value '2'", "values: 1"),
    (HEAD + "targets:\n  a: {uses: k/x, matrix: {r: [1], exclude: [{r: 1}]}}\n", "5:26", "no combination", "remove"),
    (HEAD + "targets:\n  a: {uses: k/x, matrix: {include: [{r: 1}, {r: 1}]}}\n", "5:45", "twice", "remove"),
    (HEAD + "targets:\n  a: {uses: k/x, matrix: {r: [1], include: 3}}\n", "5:44", "expected a list, got the number 3", "list"),
    (HEAD + "targets:\n  a: {uses: k/x, matrix: {r: [1], include: [3]}}\n", "5:45", "expected a mapping", "mapping"),
    (HEAD.replace("products.csv", "product.csv") + ONE, "3:21", "does not exist", "did you mean 'products.csv'?"),
    (HEAD.replace("products.csv", "nowhere/p.csv") + ONE, "3:21", "does not exist", "no folder"),
    (HEAD.replace("products.csv", "prompts") + ONE, "3:21", "is a folder", "file in it"),
    (HEAD.replace("products.csv", "https://x.example/p.csv") + ONE, "3:21", "is a URL", "download"),
    (HEAD.replace("products.csv", '""') + ONE, "3:21", "empty", "write"),
    (HEAD.replace("{source: products.csv}", "products.csv") + ONE, "3:12", "expected a mapping, got text", "entries"),
    (HEAD.replace("{source: products.csv}", "{}") + ONE, "3:1", "names no products", "source: products.csv"),
    (
        HEAD.replace("products.csv", "products.csv, products: [{a: 1}]") + ONE,
        "3:35",
        "both `source` and `products`",
        "remove one",
    ),
    (HEAD.replace("source: products.csv", "products: []") + ONE, "3:23", "catalogue.products is empty", "product"),
    (HEAD.replace("source: products.csv", "products: [x]") + ONE, "3:24", "expected a mapping, got text 'x'", "name: value"),
    (HEAD.replace("products.csv", "products.csv, format: cvs") + ONE, "3:43", "'cvs' is not possible", "did you mean 'csv'?"),
    (HEAD.replace("products.csv", "products.csv, format: zzz") + ONE, "3:43", "'zzz' is not possible", "google-merchant"),
    (HEAD.replace("products.csv", "products.csv, where: true") + ONE, "3:42", "expected text, got true", '"true"'),
    (HEAD.replace("products.csv", "products.csv, key: 3") + ONE, "3:40", "expected text, got the number 3", '"3"'),
    (HEAD.replace("products.csv", "products.csv, fields: {a: 1}") + ONE, "3:47", "catalogue.fields.a: expected text", '"1"'),
    (HEAD + ONE + "prompts: {a: {file: prompts/stil.j2}}\n", "5:21", "does not exist", "did you mean 'still.j2'?"),
    (HEAD + ONE + "prompts: {a: {file: prompts}}\n", "5:21", "is a folder", "file in it"),
    (HEAD + ONE + "prompts: {a: {path: x}}\n", "5:11", "prompts.a has no `file`", "add `file:`"),
    (HEAD + ONE + "prompts: {a: ''}\n", "5:14", "prompts.a is empty", "write the prompt"),
    (HEAD + ONE + "prompts: {a: }\n", "5:13", "expected text or a mapping, got nothing", "value"),
    (HEAD + ONE + "prompts: {a: 3}\n", "5:14", "got the number 3", '"3"'),
    (HEAD + ONE + "prompts: {a.b: x}\n", "5:11", "cannot be the name of a prompt", "prompts['x-y']"),
    (HEAD + ONE + "prompts: {a: {{ x }}}\n", "5:14", "not as a template", "quotes"),
    (HEAD + ONE + "providers: {k: {rate: 2/w}}\n", "5:23", "'2/w' is no rate", "30/min"),
    (HEAD + ONE + "providers: {k: {rate: 0}}\n", "5:23", "not possible", "above 0"),
    (HEAD + ONE + "providers: {k: {rate: 0/s}}\n", "5:23", "not possible", "above 0"),
    (HEAD + ONE + "providers: {k: {rate: -1}}\n", "5:23", "not possible", "above 0"),
    (HEAD + ONE + "providers: {k: {concurrency: 0}}\n", "5:30", "0 is too small", "at least 1"),
    (HEAD + ONE + "providers: {k: {budget: -1}}\n", "5:25", "-1 is too small", "at least 0"),
    (HEAD + ONE + "providers: {k: {budget: '3'}}\n", "5:25", "expected a number, got text '3'", "quotes"),
    (HEAD + ONE + "providers: {k: {api_key: s}}\n", "5:17", "unknown key 'api_key'", "credentials never stand in a manifest"),
    (HEAD + ONE + "providers: {k: {concurency: 3}}\n", "5:17", "unknown key 'concurency'", "did you mean 'concurrency'?"),
    (HEAD + ONE + "artifacts: {pth: x}\n", "5:13", "unknown key 'pth' in artifacts", "did you mean 'path'?"),
    (HEAD + ONE + "artifacts: {path: 3}\n", "5:19", "expected text, got the number 3", '"3"'),
    (HEAD + ONE + "artifacts: {path: ''}\n", "5:19", "the text is empty", "write"),
    (HEAD + ONE + "runs: products.csv\n", "5:7", "is not a folder", "folder"),
    (HEAD + ONE + "runs: [x]\n", "5:7", "expected text, got a list", "text"),
    (HEAD + ONE + "include: none.yaml\n", "5:10", "does not exist", "no such file"),
    (HEAD + ONE + "include: [3]\n", "5:11", "expected text, got the number 3", "quotes"),
    (HEAD + ONE + "include: http://x/y.yaml\n", "5:10", "is a URL", "download"),
    (HEAD + ONE + "include: prompts\n", "5:10", "is a folder", "file in it"),
    (HEAD + ONE + "include: products.csv\n", "products.csv:1:1", "expected a mapping, got text", "name: value"),
    (HEAD + ONE + "include: m.yaml\n", "5:10", "include each other: m.yaml -> m.yaml", "remove one"),
    ("- a\n", "1:1", "the manifest: expected a mapping, got a list", "mapping"),
    ("just text\n", "1:1", "the manifest: expected a mapping, got text 'just text'", "name: value"),
    ("", "1:1", "the file is empty", "write"),
    (HEAD + "targets:\n  a: {uses: k/x}\n  a: {uses: k/y}\n", "6:3", "'a' stands twice; first in line 5", "rename"),
]


@pytest.mark.parametrize(("text", "where", "message", "hint"), CASES)
def test_broken_manifests(folder: Path, text: str, where: str, message: str, hint: str) -> None:
    """Each fault is told once, at its exact place, in plain words, with what to do next."""
    problems = broken(folder, text)
    expected = where if where.count(":") == 2 else f"m.yaml:{where}"
    matching = [one for one in problems if place(one) == expected and message in one.message]
    assert len(matching) == 1, [(place(one), one.message) for one in problems]
    assert hint in matching[0].hint
    assert matching[0].code
    # One fault, one problem; the misspelt keys that leave a required one missing are the exception.
    assert len(problems) == 1 or any(one.code in {"unknown-key", "missing-key"} for one in problems)


def test_everything_at_once(folder: Path) -> None:
    """All problems come together, sorted by place, those of other files last."""
    write(folder, "prompts: {p: 3}\n", "a.yaml")
    text = HEAD.replace("spring", "9") + "include: a.yaml\ntargets:\n  a: {uses: k, needs: b, takes: 99}\n  c: {}\nwhat: 1\n"
    problems = broken(folder, text)
    assert [place(one) for one in problems] == [
        "m.yaml:2:7",
        "m.yaml:6:13",
        "m.yaml:6:23",
        "m.yaml:6:33",
        "m.yaml:7:3",
        "m.yaml:8:1",
        "a.yaml:1:14",
    ]


def test_a_bad_first_line_hides_nothing(folder: Path) -> None:
    """What is missing from the whole manifest is told beside a fault in its very first character."""
    problems = broken(folder, "1: x\ncallsheet: 1\n")
    assert [place(one) for one in problems] == ["m.yaml:1:1"] * 4
    assert {one.code for one in problems} == {"key", "missing-key"}


def test_symbolic_links(folder: Path) -> None:
    """Paths stay as the user sees them, though a link to a file already read is recognised."""
    write(folder, ONE, "base.yaml")
    (folder / "link.yaml").symlink_to(folder / "base.yaml")
    (folder / "here").symlink_to(folder)
    path = write(folder, HEAD + "include: [base.yaml, link.yaml]\n")
    manifest = load(folder / "here" / path.name)
    assert manifest.files == (folder / "here" / "m.yaml", folder / "here" / "base.yaml")
    assert manifest.path == manifest.files[0]


def test_no_follow_up_errors(folder: Path) -> None:
    """A broken matrix is told once, not again wherever it is pinned."""
    text = HEAD + "targets:\n  a: {uses: k/x, needs: {b: {r: 1}}}\n  b: {uses: k/x, needs: c}\n  c: {uses: k/x, matrix: {r: 3}}\n"
    assert [place(one) for one in broken(folder, text)] == ["m.yaml:7:30"]


def test_two_cycles_are_two_problems(folder: Path) -> None:
    """Every cycle is told once; what merely hangs below one is not."""
    rows = ["  a: {uses: k/x, needs: b}", "  b: {uses: k/x, needs: a}", "  c: {uses: k/x, needs: [b, d]}"]
    rows += ["  d: {uses: k/x, needs: e}", "  e: {uses: k/x, needs: d}"]
    problems = broken(folder, HEAD + "targets:\n" + "\n".join(rows) + "\n")
    assert [one.message.split(": ")[1] for one in problems] == ["a -> b -> a", "d -> e -> d"]


def test_pins_reach_inherited_axes(folder: Path) -> None:
    """A pin may name an axis that the upstream target inherited, but not one that was pinned away, and may name a take."""
    rows = "  still: {uses: k/x, matrix: {r: [1, 2], lang: [de, en]}, takes: 2}\n  clip: {uses: k/x, needs: {still: {r: 1}}}\n"
    fine = good(folder, HEAD + "targets:\n" + rows + "  end: {uses: k/x, needs: {clip: {lang: de, take: 2}}}\n")
    assert fine.targets["end"].needs["clip"].pins == {"lang": "de", "take": "2"}
    (problem,) = broken(folder, HEAD + "targets:\n" + rows + "  end: {uses: k/x, needs: {clip: {r: 1}}}\n")
    assert "'r', which is no axis of 'clip'" in problem.message


def test_a_long_chain_of_targets(folder: Path) -> None:
    """Thousands of targets in a row, written backwards, are no danger."""
    count = 2000
    rows = [f"  t{n}: {{uses: k/x, needs: t{n + 1}}}" for n in range(count)]
    manifest = good(folder, HEAD + "targets:\n" + "\n".join(rows) + f"\n  t{count}: {{uses: k/x}}\n")
    assert next(iter(manifest.targets)) == f"t{count}"
    problems = broken(folder, HEAD + "targets:\n" + "\n".join(rows) + f"\n  t{count}: {{uses: k/x, needs: t0}}\n")
    assert f"({count + 1} targets)" in problems[0].message
    assert len(problems[0].message) < 200


def test_includes(folder: Path) -> None:
    """Entries are merged one by one; later files win over earlier ones, the manifest over all; paths belong to their own file."""
    write(folder, "p: shared\n", "shared/p.j2")
    write(folder, "vars: {a: 1, b: 1}\nprompts: {p: {file: p.j2}}\ntargets: {base: {uses: k/base}}\n", "shared/one.yaml")
    write(
        folder, "callsheet: 1\nvars: {b: 2, c: 2}\nproviders: {k: {concurrency: 1}}\ninclude: ../deep.yaml\n", "shared/two.yaml"
    )
    write(folder, "vars: {d: 4, c: 4}\n", "deep.yaml")
    text = HEAD + "include: [shared/one.yaml, shared/two.yaml]\nvars: {a: 0}\ntargets: {top: {uses: k/x, needs: base}}\n"
    manifest = good(folder, text)
    assert manifest.vars == {"a": 0, "b": 2, "c": 2, "d": 4}
    assert list(manifest.targets) == ["base", "top"]
    assert manifest.prompts["p"].text.value == "p: shared\n"
    assert manifest.limits["k"].concurrency == 1
    names = ["m.yaml", "one.yaml", "two.yaml", "deep.yaml", "p.j2"]
    assert [path.name for path in manifest.files] == names
    assert all(path.is_absolute() for path in manifest.files)


def test_a_shared_catalogue(folder: Path) -> None:
    """A catalogue may come from an include, and the manifest may refine it."""
    write(folder, "catalogue: {source: ../products.csv, key: key}\n", "shared/c.yaml")
    manifest = good(folder, f"callsheet: 1\nname: x\ninclude: shared/c.yaml\ncatalogue: {{where: 'true'}}\n{ONE}")
    assert manifest.catalogue.path == folder / "products.csv"
    assert manifest.catalogue.where is not None


def test_the_same_target_in_two_files(folder: Path) -> None:
    """Both places are named."""
    write(folder, "targets:\n  a: {uses: k/x}\n", "other.yaml")
    (problem,) = broken(folder, HEAD + "include: other.yaml\n" + ONE)
    assert place(problem) == "m.yaml:5:11"
    assert "other.yaml:2:3" in problem.message


def test_a_file_included_twice_is_read_once(folder: Path) -> None:
    """Two includes may share a third."""
    write(folder, ONE, "base.yaml")
    write(folder, "include: base.yaml\n", "one.yaml")
    write(folder, "include: ./prompts/../base.yaml\n", "two.yaml")
    assert list(good(folder, HEAD + "include: [one.yaml, two.yaml]\n").targets) == ["a"]


def test_include_cycles(folder: Path) -> None:
    """A ring of files is told as a whole."""
    write(folder, "include: two.yaml\n", "one.yaml")
    write(folder, "include: one.yaml\n", "two.yaml")
    (problem,) = broken(folder, HEAD + ONE + "include: one.yaml\n")
    assert "one.yaml -> two.yaml -> one.yaml" in problem.message
    assert place(problem) == "two.yaml:1:10"


def test_another_version_in_an_include(folder: Path) -> None:
    """An included file of another version is told at its own place."""
    write(folder, "callsheet: 7\n", "one.yaml")
    (problem,) = broken(folder, HEAD + ONE + "include: one.yaml\n")
    assert place(problem) == "one.yaml:1:12"


def test_an_unreadable_include_hides_nothing_and_invents_nothing(folder: Path) -> None:
    """When an include is broken, what it may have held is not reported as missing."""
    write(folder, "targets: [\n", "one.yaml")
    problems = broken(folder, "callsheet: 1\nname: 9\ninclude: one.yaml\n")
    assert [place(one) for one in problems] == ["m.yaml:2:7", "one.yaml:2:1"]


def test_missing_manifest(tmp_path: Path) -> None:
    """A manifest that is not there, or is a folder, is a problem like any other."""
    for path in (tmp_path / "m.yaml", tmp_path, tmp_path / ("x" * 300), tmp_path / "a\0b"):
        with pytest.raises(ManifestError) as caught:
            load(path)
        assert caught.value.problems[0].code == "file"


def test_a_pipe_is_not_read(folder: Path) -> None:
    """Something that is no regular file never blocks."""
    os.mkfifo(folder / "pipe")
    (problem,) = broken(folder, HEAD + ONE + "include: pipe\n")
    assert "not a regular file" in problem.message


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"a: \xff", "not UTF-8"), (b"x\x00y", "U+0000"), (b" \n", "is empty"), (b"x" * (1024 * 1024 + 1), "larger than 1 MB")],
)
def test_bad_prompt_files(folder: Path, data: bytes, message: str) -> None:
    """A prompt file is plain UTF-8 text of sensible size."""
    (folder / "prompts" / "bad.j2").write_bytes(data)
    (problem,) = broken(folder, HEAD + ONE + "prompts: {a: {file: prompts/bad.j2}}\n")
    assert message in problem.message


def test_an_absolute_prompt_path(folder: Path) -> None:
    """Prompts may lie anywhere."""
    manifest = good(folder, HEAD + ONE + f"prompts: {{a: {{file: {folder}/prompts/still.j2}}}}\n")
    assert manifest.prompts["a"].path == folder / "prompts" / "still.j2"


def test_a_relative_manifest_path(folder: Path) -> None:
    """Marks repeat the path as it was given; paths in the result are absolute, from wherever the command runs."""
    write(folder, WHOLE)
    code = "from pathlib import Path; from runner.manifest.load import load; m = load(Path('m.yaml')); print(m.name_mark, m.root)"
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["m.yaml:2:7", str(folder)]


def test_importing_is_light() -> None:
    """Reading a manifest loads none of the heavy libraries."""
    code = "import sys; import runner.manifest.load; print(*sys.modules)"
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    heavy = {"pydantic", "jinja2", "httpx", "aiohttp", "anyio", "av", "PIL", "msgspec", "asyncio"}
    assert not heavy & set(done.stdout.split())


def test_hostile_manifests(folder: Path) -> None:
    """Large matrices and floods of errors are refused in bounded time, with every message short."""
    axes = ", ".join(f"a{n}: [{', '.join(map(str, range(50)))}]" for n in range(20))
    (problem,) = broken(folder, HEAD + f"targets: {{a: {{uses: k/x, matrix: {{{axes}}}}}}}\n")
    assert "more than 4096 combinations" in problem.message
    flood = "\n".join(f"  t{n}: {{uses: k/x, needs: [x{n}], y{n}: 1}}" for n in range(3000))
    problems = broken(folder, HEAD + "targets:\n" + flood + "\n")
    assert len(problems) == 6000
    long = "x" * 100_000
    problems = broken(folder, HEAD + f"? {long}\n: 1\ntargets: {{? {long}\n: {{uses: {long}, needs: {long}}}}}\n")
    assert all(len(one.message) < 300 and len(one.hint) < 300 for one in problems)


WORDS = [
    "callsheet",
    "name",
    "catalogue",
    "source",
    "targets",
    "a",
    "b",
    "uses",
    "needs",
    "matrix",
    "include",
    "exclude",
    "with",
    "gate",
    "vars",
]
WORDS += [
    "prompts",
    "file",
    "products",
    "takes",
    "deadline",
    "providers",
    "rate",
    "runs",
    "artifacts",
    "path",
    "k/x",
    "",
    "take",
    "key",
    "fields",
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 30) | st.floats(-2, 2) | st.sampled_from(WORDS) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=5),
    max_leaves=25,
)


@given(st.dictionaries(st.sampled_from(WORDS[:5] + WORDS[13:]), VALUES, max_size=8), st.booleans())
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_manifests_never_surprise(folder: Path, document: dict[str, object], head: bool) -> None:
    """Whatever a manifest holds, it is read or refused with problems that have places."""
    import json

    base = (
        {"callsheet": 1, "name": "x", "catalogue": {"products": [{"key": 1}]}, "targets": {"a": {"uses": "k/x"}}} if head else {}
    )
    path = write(folder, json.dumps({**document, **base}))
    problems: list[Problem] = []
    try:
        load(path)
    except ManifestError as error:
        problems = error.problems
    assert all(one.mark.line >= 1 and one.message for one in problems)


@given(st.binary(max_size=120))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_bytes_are_refused(folder: Path, data: bytes) -> None:
    """Bytes that are no manifest raise ManifestError and nothing else."""
    path = folder / "m.yaml"
    path.write_bytes(data)
    with pytest.raises(ManifestError):
        load(path)
