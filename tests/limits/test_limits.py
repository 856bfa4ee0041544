"""Every limit against hostile input can be lowered and raised by its variable, and its error names that variable."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from runner.bounds import DEEPEST, USUAL, InputLimits
from runner.media import MediaError, probe
from runner.model import MediaKind
from runner.receiver import Bounds
from runner.settings import LimitSettings, Settings

ROOT = Path(__file__).parents[2]
PREFIX = "CALLSHEET_LIMITS__"
MANIFEST = """callsheet: 1
name: spring
catalogue: {CATALOGUE}
prompts: {motion: PROMPT}
targets:
  clip:
    uses: kling/avatar
    MATRIX
    with:
      image: "https://example.com/{{ product.sku }}.png"
      sound_file: "https://example.com/a.mp3"
      prompt: "{{ prompts.motion }}"
"""
INLINE = "products: [{sku: A1}], key: sku"


@dataclass(frozen=True, slots=True)
class Case:
    """An input that meets a limit: its variable, a value that is too low and one that is enough, and the files."""

    name: str
    low: str
    enough: str
    prompt: str = "'hello'"
    catalogue: str = INLINE
    matrix: str = ""
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)
    also: str = ""
    """Further lines of the manifest."""


def feed(items: str) -> str:
    """A Google Merchant feed with this inside its one item."""
    return f'<rss xmlns:g="http://base.google.com/ns/1.0"><channel><item><g:sku>A1</g:sku>{items}</item></channel></rss>'


BUSY = '"{% for i in range(30000) %}{% for j in range(9) %}{% endfor %}{% endfor %}x"'
CASES = [
    Case("TEMPLATE_CHARS", "1000", "5000", "\"{{ 'ab' * 1000 }}\""),
    Case("TEMPLATE_SECONDS", "0.001", "60", BUSY),
    Case("TEMPLATE_TEXT_CHARS", "2000", "4000", '"{{ 1 }}' + "x" * 2000 + '"'),
    Case("MANIFEST_BYTES", "200", "3000"),
    Case("MANIFEST_NODES", "10", "1000"),
    Case("MANIFEST_DEPTH", "3", "9"),
    Case("MANIFEST_DEPTH", "64", str(DEEPEST), also="x-deep: " + "[" * 150 + "]" * 150 + "\n"),
    Case("MANIFEST_FILES", "1", "2", files={"other.yaml": "vars: {a: b}\n"}, also="include: other.yaml\n"),
    Case("MATRIX_CELLS", "3", "4", matrix="matrix: {a: [1, 2], b: [1, 2]}"),
    Case("PROMPT_BYTES", "3", "30", "{file: p.j2}", files={"p.j2": "hello"}),
    Case("CATALOGUE_VALUE_CHARS", "100", "300", catalogue="source: p.csv, key: sku", files={"p.csv": f"sku,t\nA1,{'x' * 200}\n"}),
    Case(
        "CATALOGUE_VALUE_CHARS", "100", "300", catalogue="source: p.xml, key: sku", files={"p.xml": feed(f"<t>{'x' * 200}</t>")}
    ),
    Case("CATALOGUE_LINE_CHARS", "100", "300", catalogue="source: p.csv, key: sku", files={"p.csv": f"sku,t\nA1,{'x' * 200}\n"}),
    Case(
        "CATALOGUE_LINE_CHARS", "9", "300", catalogue="source: p.jsonl, key: sku", files={"p.jsonl": '{"sku": "A1", "t": "x"}\n'}
    ),
    Case("CATALOGUE_FILE_BYTES", "9", "300", catalogue="source: p.json, key: sku", files={"p.json": '[{"sku": "A1"}]'}),
    Case("CATALOGUE_YAML_BYTES", "9", "300", catalogue="source: p.yaml, key: sku", files={"p.yaml": "- sku: A1\n"}),
    Case(
        "CATALOGUE_YAML_NODES", "5", "30", catalogue="source: p.yaml, key: sku", files={"p.yaml": "- {sku: A1, t: [1, 2, 3]}\n"}
    ),
    Case("CATALOGUE_XML_ELEMENTS", "5", "30", catalogue="source: p.xml, key: sku", files={"p.xml": feed("<t>x</t>" * 6)}),
]


def write(case: Case, folder: Path) -> Path:
    """The case's campaign."""
    text = (
        MANIFEST.replace("CATALOGUE", case.catalogue)
        .replace("PROMPT", case.prompt)
        .replace("    MATRIX\n", f"    {case.matrix}\n")
    )
    (folder / "campaign.yaml").write_text(text + case.also, encoding="utf-8")
    for name, content in case.files.items():
        (folder / name).write_text(content, encoding="utf-8")
    return folder


def callsheet(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The real command, in ``folder``, with no settings but these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CALLSHEET_")}
    return subprocess.run(
        [sys.executable, "-m", "runner", *arguments],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def invoked(folder: Path, capsys: pytest.CaptureFixture[str], command: str = "validate") -> tuple[int, str]:
    """Exit code and output of a command in this process; settings come from the folder's ``.env``."""
    from runner.commands import invoke

    code = invoke([command, str(folder)])
    said = capsys.readouterr()
    return code, said.out + said.err


@pytest.mark.parametrize("case", CASES, ids=[f"{case.name}-{number}" for number, case in enumerate(CASES)])
def test_a_limit_lowered_refuses_and_raised_takes_the_same_input(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error has exit code 2 and names the variable; with the variable raised the very same input is good."""
    folder = write(case, tmp_path)
    (folder / ".env").write_text(f"{PREFIX}{case.name}={case.low}\n", encoding="utf-8")
    code, said = invoked(folder, capsys)
    assert (code, f"{PREFIX}{case.name}" in said, "Traceback" in said) == (2, True, False), said
    (folder / ".env").write_text(f"{PREFIX}{case.name}={case.enough}\n", encoding="utf-8")
    code, said = invoked(folder, capsys)
    assert code == 0, said


def test_every_limit_on_manifests_templates_and_catalogues_has_a_case() -> None:
    """No limit that ``validate`` can meet goes untested here."""
    met = {name.upper() for name in limit_names() if not name.startswith(("media", "callback"))}
    assert {case.name for case in CASES} == met


@pytest.mark.parametrize("command", ["validate", "plan"])
def test_the_environment_counts_for_the_real_command(command: str, tmp_path: Path) -> None:
    """A limit set in the environment ends the command with exit code 2 and no traceback; no credentials are asked for."""
    folder = write(CASES[0], tmp_path)
    refused = callsheet(folder, command, ".", CALLSHEET_LIMITS__TEMPLATE_CHARS="1000")
    assert (refused.returncode, "CALLSHEET_LIMITS__TEMPLATE_CHARS" in refused.stderr) == (2, True), refused.stderr
    assert "Traceback" not in refused.stderr
    assert callsheet(folder, command, ".", CALLSHEET_KLING__API_KEY="k" * 20).returncode == 0


@pytest.mark.parametrize("command", ["validate", "plan"])
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("CALLSHEET_LIMITS__TEMPLATE_CHAR=5", "did you mean CALLSHEET_LIMITS__TEMPLATE_CHARS"),
        ("CALLSHEET_LIMIT__TEMPLATE_CHARS=5", "is no setting"),
        ("CALLSHEET_KLING__API_KEYS=abc", "did you mean CALLSHEET_KLING__API_KEY"),
        ("CALLSHEET_LIMITS__TEMPLATE_CHARS=many", "CALLSHEET_LIMITS__TEMPLATE_CHARS"),
        ("CALLSHEET_LIMITS__TEMPLATE_SECONDS=nan", "CALLSHEET_LIMITS__TEMPLATE_SECONDS"),
        ("CALLSHEET_LIMITS__MANIFEST_NODES=0", "CALLSHEET_LIMITS__MANIFEST_NODES"),
        ("CALLSHEET_LIMITS__CALLBACK_BYTES=-1", "CALLSHEET_LIMITS__CALLBACK_BYTES"),
        (f"CALLSHEET_LIMITS__MANIFEST_DEPTH={DEEPEST + 1}", "CALLSHEET_LIMITS__MANIFEST_DEPTH"),
        ('CALLSHEET_LIMITS={"template_chars": 5}', "is no setting"),
        ("callsheet_network__downloads=x", "CALLSHEET_NETWORK__DOWNLOADS"),
    ],
)
def test_wrong_settings_are_errors_of_usage(
    command: str, line: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unknown variable or a wrong value ends ``validate`` and ``plan`` with exit code 2, in words."""
    folder = write(Case("", "", ""), tmp_path)
    (folder / ".env").write_text(line + "\n", encoding="utf-8")
    code, output = invoked(folder, capsys, command)
    assert (code, said in output, "Traceback" in output) == (2, True, False), output


def test_a_file_of_settings_in_another_encoding_is_said_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An ``.env`` in UTF-16 is not silently without limits."""
    folder = write(Case("", "", ""), tmp_path)
    (folder / ".env").write_text("CALLSHEET_LIMITS__MANIFEST_NODES=5\n", encoding="utf-16")
    code, output = invoked(folder, capsys)
    assert (code, "UTF-8" in output) == (2, True), output


def test_a_limit_is_no_secret(tmp_path: Path) -> None:
    """In the secrets folder a limit would count for half of a command only: it is refused there."""
    folder, secrets = write(Case("", "", ""), tmp_path), tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "CALLSHEET_LIMITS__CALLBACK_BYTES").write_text("5", encoding="utf-8")
    ended = callsheet(folder, "validate", ".", CALLSHEET_SECRETS_DIR=str(secrets))
    assert (ended.returncode, "is a limit, not a secret" in ended.stderr) == (2, True), ended.stderr


def test_without_settings_nothing_is_loaded_for_them(tmp_path: Path) -> None:
    """The usual ``validate`` does not load the settings' libraries at all."""
    code = "import sys; from pathlib import Path; from runner.workspace import check_settings, input_limits; "
    code += "p = Path('.'); check_settings(p); input_limits(p); sys.exit('pydantic_settings' in sys.modules)"
    folder = write(Case("", "", ""), tmp_path)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CALLSHEET_")}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env={**kept, "PYTHONPATH": str(ROOT)}, check=False)
    assert done.returncode == 0


def limit_names() -> list[str]:
    """The fields of the limits, in order."""
    return [one.name for one in dataclasses.fields(InputLimits)]


def test_settings_and_limits_are_the_same() -> None:
    """Each limit has a setting of its name with its default, and no setting is without a limit."""
    assert LimitSettings().model_dump() == dataclasses.asdict(USUAL)


def test_the_documented_table_is_complete() -> None:
    """``docs/reliability.md`` lists every limit with its default, in order, and nothing else."""
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    section = text.partition("\n## Limits\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([A-Z_]+)` \| ([\d.]+) \| \S.*\|$", section, re.MULTILINE)
    assert rows == [(name.upper(), str(getattr(USUAL, name))) for name in limit_names()]
    assert str(Settings().max_download_bytes) in section
    assert str(Settings().network.max_answer_bytes) in section


def picture(folder: Path) -> Path:
    """A picture of 300 pixels."""
    Image.new("RGB", (20, 15)).save(folder / "a.png")
    return folder / "a.png"


def test_a_picture_of_more_pixels_than_allowed(tmp_path: Path) -> None:
    """The limit itself is allowed, one pixel less is not; the error names the variable."""
    path = picture(tmp_path)
    assert probe(path, limits=InputLimits(media_pixels=300)).width == 20
    for pixels in (299, 100):
        with pytest.raises(MediaError, match=r"300 pixels; .* are allowed \(CALLSHEET_LIMITS__MEDIA_PIXELS\)"):
            probe(path, decode=True, limits=InputLimits(media_pixels=pixels))
    assert probe(path, decode=True).kind is MediaKind.IMAGE


def test_the_bounds_of_callers_are_the_limits() -> None:
    """What a run sets is what its receiver keeps to."""
    assert Bounds.of(USUAL) == Bounds()
    assert Bounds.of(InputLimits(callback_bytes=1, callback_seconds=2, callback_connections=3)) == Bounds(1, 2, 3)


def test_a_result_larger_than_allowed_is_refused_and_collected_once_it_is_allowed(tmp_path: Path) -> None:
    """A run names the variable and ends waiting; with it raised the same command collects what was paid for."""
    assert callsheet(tmp_path, "init", "c").returncode == 0
    run = ("run", "c", "--rehearse", "--limit", "1", "--speed", "600", "--quiet")
    ended = callsheet(tmp_path, *run, CALLSHEET_MAX_DOWNLOAD_BYTES="1000")
    assert (ended.returncode, "CALLSHEET_MAX_DOWNLOAD_BYTES" in ended.stdout) == (6, True), ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
    ended = callsheet(tmp_path, *run)
    assert (": 0 done" in ended.stdout, "MAX_DOWNLOAD" in ended.stdout) == (False, False), ended.stdout
    stored = [path for path in (tmp_path / "c" / "rehearsals").rglob("artifacts/**/*.*") if path.is_file()]
    assert any(path.stat().st_size > 1000 for path in stored)
