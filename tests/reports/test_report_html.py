"""The HTML folder: safe whatever stands in the catalogue, complete, and made again without work."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from report_samples import HOSTILE, Row, again, failed, hostile_rows, info_of, still, stored, video

from runner.model import JobRow, MediaKind, State, StoredArtifact
from runner.reports import posters, write_reports
from runner.reports.links import inner_url, inside, relative_url
from runner.reports.posters import Posters, frame_of, small_copy
from runner.reports.site_data import DETAILS_PER_FILE, JOBS_PER_FILE, script_json


class Tags(HTMLParser):
    """Collects every tag and attribute of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """One opened tag."""
        self.tags.append((tag, dict(attrs)))


def report(folder: Path, rows: list[JobRow], *, rehearsal: bool = False, campaign: str = "spring") -> Path:
    """Write the HTML report and say where its folder is."""
    info = info_of(folder, rehearsal=rehearsal, campaign=campaign, halted={"kling": HOSTILE[0]} if rehearsal else None)
    return write_reports(info, again(rows), folder, formats=("html",))["html"].parent


def calls(folder: Path, kind: str) -> list[list[Any]]:
    """The arguments of every call in this kind of data file, in order."""
    found = []
    for path in sorted((folder / "data").glob(f"{kind}-*.js")):
        text = path.read_text(encoding="utf-8")
        inner = re.fullmatch(rf"callsheetReport\.{kind}\((.*)\);\n", text, re.DOTALL)
        assert inner is not None
        found.append(json.loads(f"[{inner[1]}]"))
    return found


def media_of(folder: Path) -> list[list[Any]]:
    """What the data says of every artifact."""
    return [media for call in calls(folder, "jobs") for job in call[3] for media in job[10]]


# -------------------------------------------------------------------------------------------------------- safety


def test_the_page_holds_no_script_style_or_address_of_others(tmp_path: Path) -> None:
    """With hostile text everywhere the page still has only our tags: no inline script, handler, style or foreign address."""
    folder = report(tmp_path, [*hostile_rows(), *(failed(text) for text in HOSTILE)], rehearsal=True, campaign=HOSTILE[0])
    page = (folder / "index.html").read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(page)
    for tag, attributes in tags.tags:
        assert tag not in ("img", "iframe", "object", "style", "base")
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        for name in ("href", "src"):
            value = attributes.get(name) or ""
            assert re.fullmatch(r"(data:,|#[a-z]+|(assets|data)/[a-z0-9.-]+)?", value), value
    assert sum(tag == "script" for tag, _ in tags.tags) == 2
    assert "<script>document" not in page


def test_the_policy_allows_own_files_only(tmp_path: Path) -> None:
    """Nothing by default, no inline script or style, no form target, no base."""
    page = (report(tmp_path, []) / "index.html").read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'")
    assert "unsafe" not in policy[1]
    assert "http" not in policy[1]
    assert "*" not in policy[1]
    assert "base-uri 'none'" in policy[1]
    assert "form-action 'none'" in policy[1]


@pytest.mark.parametrize("text", HOSTILE)
def test_data_files_cannot_end_a_script(text: str) -> None:
    """JSON in a script holds no angle bracket, ampersand or line separator, and says what was put in."""
    found = script_json({"a": text})
    assert not set(found) & set("<>&\u2028\u2029")
    assert json.loads(found)["a"] == text.replace("\ud83d", "\ufffd")


def test_hostile_rows_make_readable_data(tmp_path: Path) -> None:
    """Every data file is one call with JSON arguments, free of dangerous characters."""
    folder = report(tmp_path, hostile_rows())
    for path in (folder / "data").iterdir():
        assert not set(path.read_text(encoding="utf-8")) & set("<>&\u2028\u2029")
    (jobs,) = calls(folder, "jobs")
    (details,) = calls(folder, "details")
    assert len(jobs[3]) == len(details[1]) == len(HOSTILE)


def test_the_scripts_never_parse_text_as_html() -> None:
    """The page's script has no way to turn text into markup or code."""
    source = (Path(posters.__file__).parent / "page" / "report.js").read_text(encoding="utf-8")
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "DOMParser", "fetch("):
        assert word not in source


@pytest.mark.parametrize("path", ["../x.png", "/etc/passwd", "a/../../x", "", ".", "a//b", "a/./b", "a\x00b", "a/.."])
def test_paths_that_lead_out_are_never_followed(tmp_path: Path, path: str) -> None:
    """A stored path is a name below the artifacts folder or nothing."""
    assert inner_url(path) == ""
    assert inside(tmp_path, path) is None


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("a b/ü?.png", "a%20b/%C3%BC%3F.png"),
        ("javascript:alert(1)", "javascript%3Aalert%281%29"),
        ('x"><b>#.mp4', "x%22%3E%3Cb%3E%23.mp4"),
        ("50%/a\\b", "50%25/a%5Cb"),
        ("bad\udcff.png", "bad%FF.png"),
        ("lone\ud83d", ""),
    ],
)
def test_every_part_of_a_path_is_encoded(path: str, url: str) -> None:
    """No character of a file name has a meaning in the address."""
    assert inner_url(path) == url


def test_links_on_disk_that_lead_out_are_not_followed(tmp_path: Path) -> None:
    """A link within the artifacts folder to a file outside is treated as outside."""
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "secret.png").write_bytes(b"x")
    (tmp_path / "artifacts" / "a.png").symlink_to(tmp_path / "secret.png")
    folder = report(tmp_path, [Row(artifacts=(stored(tmp_path, "a.png", MediaKind.IMAGE),)).made()])
    assert media_of(folder)[0][6] == posters.OUTSIDE


def test_relative_addresses_lead_back_to_the_artifacts(tmp_path: Path) -> None:
    """From the report's folder, percent-encoded, also when they lie elsewhere."""
    assert relative_url(tmp_path / "artifacts", tmp_path / "report") == "../artifacts"
    assert relative_url(tmp_path / "a b?" / "c", tmp_path / "report") == "../a%20b%3F/c"


# ------------------------------------------------------------------------------------------------------- posters


def test_a_poster_shows_the_first_third(tmp_path: Path) -> None:
    """The frame a third into the video, 320 pixels wide: past the first colour, before the last."""
    clip = video(tmp_path, "a/clip.mp4")
    image = frame_of(tmp_path / "artifacts" / clip.path)
    assert image.size == (320, 213)
    red, green, blue = image.convert("RGB").resize((1, 1)).tobytes()
    assert green > 200
    assert red < 80
    assert blue < 80


def test_a_second_report_decodes_nothing(tmp_path: Path) -> None:
    """Posters are found again by digest; the same file in two places is drawn once."""
    first = video(tmp_path, "a/clip.mp4")
    second = replace(first, path="b/clip.mp4")
    (tmp_path / "artifacts" / "b").mkdir()
    (tmp_path / "artifacts" / "b" / "clip.mp4").write_bytes((tmp_path / "artifacts" / "a" / "clip.mp4").read_bytes())
    drawn = []
    for _ in range(2):
        pictures = Posters(tmp_path / "posters", tmp_path / "artifacts")
        pictures.prepare([first, second, first])
        assert pictures.of(first).poster == pictures.of(second).poster == f"{first.sha256}.jpg"
        drawn.append(pictures.drawn)
    assert drawn == [1, 0]
    with Image.open(tmp_path / "posters" / f"{first.sha256}.jpg") as poster:
        assert (poster.format, poster.width) == ("JPEG", 320)


def test_heavy_stills_get_a_small_copy(tmp_path: Path) -> None:
    """A still that would make the page slow is shown small; transparency lies on white."""
    file = tmp_path / "big.png"
    Image.new("RGBA", (900, 1600), (0, 0, 0, 0)).save(file)
    small = small_copy(file)
    assert small.size == (320, 569)
    assert small.getpixel((5, 5)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, posters.MISSING), (b"", posters.EMPTY), (b"not a video at all" * 99, posters.UNDECODABLE)],
)
def test_what_cannot_be_shown_says_why(tmp_path: Path, content: bytes | None, problem: str) -> None:
    """A missing, empty or broken file is a reason on the card, never an error."""
    if content is not None:
        (tmp_path / "artifacts").mkdir()
        (tmp_path / "artifacts" / "x.mp4").write_bytes(content)
    folder = report(tmp_path, [Row(artifacts=(stored(tmp_path, "x.mp4", MediaKind.VIDEO),)).made()])
    ((_, url, poster, *_, said, _name),) = media_of(folder)
    assert (url, poster, said) == ("x.mp4", "", problem)


def test_a_playlist_in_a_videos_clothes_is_not_opened(tmp_path: Path) -> None:
    """A file that refers to other files is not decoded, whatever its name says."""
    clip = video(tmp_path, "clip.mp4")
    artifacts = tmp_path / "artifacts"
    (artifacts / "list.mp4").write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{artifacts / clip.path}\n#EXT-X-ENDLIST\n"
    )
    (artifacts / "concat.mp4").write_text(f"ffconcat version 1.0\nfile {artifacts / clip.path}\n")
    for name in ("list.mp4", "concat.mp4"):
        with pytest.raises(posters.Undrawable):
            frame_of(artifacts / name)


def test_a_truncated_video_gives_what_is_there_or_a_reason(tmp_path: Path) -> None:
    """Cut anywhere, decoding ends in a picture or in words."""
    clip = video(tmp_path, "clip.mp4")
    data = (tmp_path / "artifacts" / clip.path).read_bytes()
    for share in (0.1, 0.5, 0.9, 0.99):
        name = f"cut-{share}.mp4"
        (tmp_path / "artifacts" / name).write_bytes(data[: int(len(data) * share)])
        picture = Posters(tmp_path / "posters", tmp_path / "artifacts").of(stored(tmp_path, name, MediaKind.VIDEO))
        assert bool(picture.poster) != bool(picture.problem)


def test_a_hostile_digest_is_no_file_name(tmp_path: Path) -> None:
    """A poster's name is always a digest, whatever the ledger's text says."""
    clip = replace(video(tmp_path, "clip.mp4"), sha256="../../evil")
    folder = report(tmp_path, [Row(artifacts=(clip,)).made()])
    (poster,) = (folder / "posters").iterdir()
    assert re.fullmatch(r"[0-9a-f]{64}\.jpg", poster.name)


# ------------------------------------------------------------------------------------------------------- content


def test_the_numbers_are_readable_without_scripts(tmp_path: Path) -> None:
    """Rehearsal, halted lanes, totals, failures and tables stand in the page itself."""
    rows = [Row(actual=12).made(), failed("too small")]
    page = (report(tmp_path, rows, rehearsal=True) / "index.html").read_text(encoding="utf-8")
    assert "<strong>REHEARSAL</strong>" in page
    assert "<title>REHEARSAL: spring" in page
    assert "is halted" in page
    assert "too small" in page
    assert "Estimate against actual" in page
    assert "<noscript>" in page
    real = (report(tmp_path, rows) / "index.html").read_text(encoding="utf-8")
    assert "REHEARSAL" not in real


def test_an_empty_campaign_says_how_to_begin(tmp_path: Path) -> None:
    """No jobs: no filters, but the next command."""
    page = (report(tmp_path, []) / "index.html").read_text(encoding="utf-8")
    assert "There are no jobs yet" in page
    assert "filters" not in page


def test_details_hold_what_a_person_asks_for(tmp_path: Path) -> None:
    """Prompt and parameters, remote id, digest, path, times and credits; long text is cut."""
    picture = still(tmp_path, "MUG-1/still.png")
    row = Row(
        artifacts=(picture,), params={"prompt": "p" * 30_000, "cfg": {"a": 1}}, remote_id="r-1", actual=3, times=(0, 5, 65, 66)
    )
    ((_, ((key, title, message, advice, sections),)),) = calls(report(tmp_path, [row.made()]), "details")
    facts = {label: text for _, fields in sections for label, text in fields}
    assert (key, title, message, advice) == ("clip/MUG-1", "Stoneware mug", "", "")
    assert len(facts["prompt"]) <= 20_001
    assert facts["cfg"] == '{"a": 1}'
    assert facts["Remote id"] == "r-1"
    assert facts["Processing"] == "1 min 00 s"
    assert facts["Charged"] == "3"
    assert picture.sha256 in facts["image"]
    assert "MUG-1/still.png" in facts["image"]


def test_failed_jobs_point_to_their_cause(tmp_path: Path) -> None:
    """A job's number of cause is its group's place in the page, so that one click shows its jobs."""
    rows = [failed("rare"), *(failed(f"often {n}", product=f"P{n}") for n in range(3)), Row().made()]
    ((_, _, _, jobs),) = calls(report(tmp_path, rows), "jobs")
    assert [job[8] for job in jobs] == [1, 0, 0, 0, -1]


def test_ten_thousand_jobs_come_in_chunks(tmp_path: Path) -> None:
    """Data is split so that the page starts with the first part and details load when asked for."""
    states = (State.SUCCEEDED, State.FAILED, State.RUNNING)
    artifact = StoredArtifact("video", "missing.mp4", "a" * 64, stored(tmp_path, "x", MediaKind.VIDEO).info)
    rows = [
        Row(product=f"P{n // 4}", cell=(("take", str(n % 4)),), state=states[n % 3], artifacts=(artifact,) * (n % 3 == 0)).made()
        for n in range(10_000)
    ]
    folder = report(tmp_path, rows)
    (run,) = calls(folder, "run")
    data = run[1]
    assert isinstance(data, dict)
    assert data["jobs"] == 10_000
    assert len(data["jobFiles"]) == 10_000 // JOBS_PER_FILE
    assert len(data["detailFiles"]) == 10_000 // DETAILS_PER_FILE
    chunks = calls(folder, "jobs")
    assert [chunk[1] for chunk in chunks] == [place * JOBS_PER_FILE // 4 for place in range(5)]
    assert sum(len(chunk[3]) for chunk in chunks) == 10_000


def test_an_older_reports_files_go_away(tmp_path: Path) -> None:
    """A new report leaves only what it names, and keeps posters."""
    clip = video(tmp_path, "clip.mp4")
    folder = report(tmp_path, [Row(artifacts=(clip,)).made()])
    before = {path.name for path in (folder / "data").iterdir()}
    report(tmp_path, [Row(artifacts=(clip,), title="Other").made()])
    after = {path.name for path in (folder / "data").iterdir()}
    assert len(after) == len(before) == 3
    assert not {name for name in before & after if name.startswith(("jobs", "details"))}
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert all(f"assets/{path.name}" in page for path in (folder / "assets").iterdir())
    assert len(list((folder / "posters").iterdir())) == 1


# --------------------------------------------------------------------------------------------------------- looks


def _luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_every_text_colour_passes_contrast_in_light_and_dark() -> None:
    """Ink, muted text, links and all status colours have at least 4.5 : 1 on every ground they stand on (WCAG AA)."""
    style = (Path(posters.__file__).parent / "page" / "report.css").read_text(encoding="utf-8")
    light, dark = re.findall(r":root \{(.*?)\n *\}", style, re.DOTALL)[:2]
    texts = ("ink", "muted", "accent", "succeeded", "failed", "uncertain", "held", "running", "idle")
    for theme in (light, dark):
        colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", theme))
        for text in texts:
            for ground in ("ground", "surface", "raised"):
                assert _contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
        for text, ground in (("muted", "well"), ("ink", "well"), ("on-accent", "accent"), ("rehearsal-dark", "rehearsal")):
            assert _contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
