"""What ``callsheet init`` writes is a campaign: it validates, rehearses to the end, and its reports say so."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import av
import pytest
from command_line import Ended, callsheet
from PIL import Image

from runner.commands import invoke
from runner.settings import variables

JOBS = 16


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign as init writes it, in a folder whose name has a blank and an accent."""
    folder = tmp_path_factory.mktemp("home") / "spring é launch"
    done = callsheet("init", folder, cwd=folder.parent)
    assert done.code == 0, done.err
    return folder


@pytest.fixture(scope="module")
def rehearsed(campaign: Path) -> tuple[Path, Ended]:
    """The campaign after its rehearsal, and how that ended."""
    return campaign, callsheet("run", campaign, "--rehearse", "--speed", "600", cwd=campaign.parent)


def test_init_prints_three_commands_that_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last three lines are commands to paste, each naming the folder as the shell wants it."""
    folder = tmp_path / "my shop"
    assert invoke(["init", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("#")[0].strip() for line in lines[-3:]] == [
        f"callsheet validate '{folder}'",
        f"callsheet plan '{folder}'",
        f"callsheet run '{folder}' --rehearse",
    ]


def test_the_campaign_is_whole(campaign: Path) -> None:
    """Manifest with its schema line, four products, every picture and voice decodes, nothing secret is tracked by git."""
    first = (campaign / "campaign.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert first == "# yaml-language-server: $schema=manifest.schema.json"
    assert json.loads((campaign / "manifest.schema.json").read_text(encoding="utf-8"))["title"] == "Callsheet manifest"
    with (campaign / "products.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    assert len(rows) == 4
    for row in rows:
        with Image.open(campaign / "pictures" / f"{row['sku']}.jpg") as image:
            image.load()
            assert min(image.size) >= 300
        with av.open(str(campaign / "voice" / f"{row['sku']}.mp3"), "r") as container:
            assert 2 <= (container.duration or 0) / 1e6 <= 300
    assert {"runs/", "rehearsals/", ".env"} <= set((campaign / ".gitignore").read_text(encoding="utf-8").splitlines())


def test_the_example_of_an_env_file_names_known_variables_without_values(campaign: Path) -> None:
    """Every line of .env.example is a comment or a variable that the settings know, empty."""
    lines = (campaign / ".env.example").read_text(encoding="utf-8").split("\n")
    named = [line for line in lines if line and not line.startswith("#")]
    assert named
    assert all(line.endswith("=") and line[:-1] in variables() for line in named)


def test_validate_and_plan_accept_it(campaign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No error is found, and the plan knows a price for every submission."""
    assert invoke(["validate", str(campaign), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["jobs"] == JOBS
    assert invoke(["plan", str(campaign), "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["submissions"] == JOBS
    assert set(plan["credits"]) == {"creatify", "kling", "topview"}
    assert not any(plan["submissions_without_price"].values())


def test_the_rehearsal_makes_every_artifact(rehearsed: tuple[Path, Ended]) -> None:
    """The run ends with 0, and all sixteen files open as what their names say."""
    campaign, ended = rehearsed
    assert ended.code == 0, ended.err
    assert f"{JOBS} done" in ended.out
    artifacts = next((campaign / "rehearsals").glob("*/artifacts"))
    videos, pictures = sorted(artifacts.rglob("*.mp4")), sorted(artifacts.rglob("*.jpg"))
    assert (len(videos), len(pictures)) == (12, 4)
    for video in videos:
        with av.open(str(video), "r") as container:
            assert sum(1 for _ in container.decode(video=0)) > 10
    for picture in pictures:
        with Image.open(picture) as image:
            image.load()


def test_status_says_that_all_is_done(rehearsed: tuple[Path, Ended], capsys: pytest.CaptureFixture[str]) -> None:
    """Both forms of status count every job, by the manifest's folder and by the run's own."""
    campaign, _ = rehearsed
    assert invoke(["status", str(campaign), "--rehearse"]) == 0
    said = capsys.readouterr().out
    assert f"{JOBS} of {JOBS} jobs done" in said
    assert "All done." in said
    assert "\x1b" not in said
    run = next((campaign / "rehearsals").iterdir())
    assert invoke(["status", str(run), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["summary"]["succeeded"], document["next"], document["running_now"]) == (JOBS, [], None)
    assert document["last_run"]["exit_code"] == 0


def test_reports_are_written_again_from_the_ledger_alone(
    rehearsed: tuple[Path, Ended], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With manifest and catalogue gone, the run's folder still gives every format; each file is where it says."""
    campaign, _ = rehearsed
    run = tmp_path / "moved"
    shutil.copytree(next((campaign / "rehearsals").iterdir()), run)
    shutil.rmtree(run / "report")
    assert invoke(["report", str(run), "--json"]) == 0
    reports = json.loads(capsys.readouterr().out)["reports"]
    assert set(reports) == {"html", "markdown", "json", "csv", "junit"}
    assert all(Path(path).is_file() for path in reports.values())
    assert len(json.loads(Path(reports["json"]).read_text(encoding="utf-8"))["jobs"]) == JOBS
    assert invoke(["report", str(run), "--format", "csv", "--out", str(tmp_path / "elsewhere")]) == 0
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["jobs.csv"]


def test_init_never_overwrites(campaign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second init refuses with 2, names what is in the way, and changes no byte."""
    before = {path: path.read_bytes() for path in campaign.rglob("*") if path.is_file()}
    assert invoke(["init", str(campaign)]) == 2
    said = capsys.readouterr().err
    assert "campaign.yaml" in said
    assert "hint:" in said
    assert {path: path.read_bytes() for path in campaign.rglob("*") if path.is_file()} == before


def test_one_file_in_the_way_stops_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing at all is written when a single file would be overwritten, be it a broken link."""
    (tmp_path / "products.csv").symlink_to(tmp_path / "nowhere")
    assert invoke(["init", str(tmp_path)]) == 2
    assert "products.csv" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["products.csv"]


def test_init_respects_what_a_repository_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An existing .gitignore stays as it is, and a schema in the repository is pointed at rather than copied."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "schemas").mkdir()
    assert invoke(["schema", "--out", str(tmp_path / "schemas" / "manifest.schema.json")]) == 0
    folder = tmp_path / "campaigns" / "one"
    folder.mkdir(parents=True)
    (folder / ".gitignore").write_text("mine\n", encoding="utf-8")
    assert invoke(["init", str(folder)]) == 0
    assert "Kept your .gitignore" in capsys.readouterr().out
    assert (folder / ".gitignore").read_text(encoding="utf-8") == "mine\n"
    assert not (folder / "manifest.schema.json").exists()
    first = (folder / "campaign.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert first.endswith("$schema=../../schemas/manifest.schema.json")


@pytest.mark.parametrize("name", ["7 up", "---", "ÄÖ", "x" * 200, "a'b\"c"])
def test_any_folder_name_gives_a_sound_campaign(tmp_path: Path, name: str) -> None:
    """Whatever the folder is called, the campaign's name is one that validate accepts."""
    assert invoke(["init", str(tmp_path / name)]) == 0
    assert invoke(["validate", str(tmp_path / name)]) == 0


def test_init_on_a_file_or_in_a_closed_place_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file where the folder should be, and a name that no folder can have, are errors with a hint."""
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / ("y" * 300)):
        assert invoke(["init", str(path)]) == 2
        assert "hint:" in capsys.readouterr().err
