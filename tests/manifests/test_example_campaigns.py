"""The example campaigns are what they say: small, complete, and within the rules of the providers they call."""

from __future__ import annotations

import csv
import itertools
import re
import runpy
from pathlib import Path

import av
import pytest
from PIL import Image

from runner.manifest.load import load

ROOT = Path(__file__).parents[2] / "manifests"
CAMPAIGNS = sorted(path.parent for path in ROOT.glob("*/campaign.yaml"))
HEADER = "# yaml-language-server: $schema=../../schemas/manifest.schema.json"


def rows(folder: Path) -> list[dict[str, str]]:
    """The campaign's catalogue."""
    with (folder / "products.csv").open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened, strict=True))


@pytest.fixture(params=CAMPAIGNS, ids=lambda folder: folder.name)
def folder(request: pytest.FixtureRequest) -> Path:
    """Each campaign's folder."""
    path: Path = request.param
    return path


def test_there_are_three_campaigns() -> None:
    """The README names every campaign there is."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [folder.name for folder in CAMPAIGNS] == ["catalogue-1000", "four-providers", "tutorial"]
    assert all(f"]({folder.name}/campaign.yaml)" in text for folder in CAMPAIGNS)


def test_a_campaign_is_a_sound_manifest(folder: Path) -> None:
    """It loads without a problem, names its schema for editors in the first line, and is named like its folder."""
    assert (folder / "campaign.yaml").read_text(encoding="utf-8").splitlines()[0] == HEADER
    assert load(folder / "campaign.yaml").name == folder.name


def test_a_campaign_is_small(folder: Path) -> None:
    """A folder takes less than a megabyte, a picture or voice track less than 60 kB; what a run or a rehearsal left there does not count."""
    made = {"__pycache__", "rehearsals", "runs"}
    files = [path for path in folder.rglob("*") if path.is_file() and made.isdisjoint(path.relative_to(folder).parts)]
    assert sum(path.stat().st_size for path in files) < 1_000_000
    assert all(path.stat().st_size < 60_000 for path in files if path.suffix in {".jpg", ".mp3"})


def test_catalogue_keys_and_names_are_unique(folder: Path) -> None:
    """No two products share a key, not even in another case, or a name; no cell is empty or has stray spaces."""
    found = rows(folder)
    assert len({row["sku"].casefold() for row in found}) == len(found) > 0
    assert len({row["title"].casefold() for row in found}) == len(found)
    assert all(cell and cell == cell.strip() for row in found for cell in row.values())


def test_links_are_short_and_lead_nowhere_real(folder: Path) -> None:
    """Links are direct, at most 200 characters (seed-000), and on a reserved domain."""
    links = [cell for row in rows(folder) for name, cell in row.items() if name.endswith("_url")]
    assert links
    assert all(len(link) <= 200 for link in links)
    assert all(re.fullmatch(r"https://cdn\.example\.com/[a-z0-9/-]+\.(png|jpg|mp3)", link) for link in links)


def test_prompts_begin_with_the_product(folder: Path) -> None:
    """Every prompt file opens with the product's name, which is what models weigh first."""
    for path in (folder / "prompts").glob("*.j2"):
        text = re.sub(r"^\{#-.*?-#\}\s*", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert text.startswith("{{ product.title }}."), path.name


def test_pictures_are_what_the_providers_take() -> None:
    """Pictures are real JPEGs of at least 300 px a side and no extreme format (seed-001)."""
    pictures = list(ROOT.glob("*/pictures/*"))
    assert pictures
    for path in pictures:
        with Image.open(path) as image:
            image.load()
            assert image.format == "JPEG"
            assert min(image.size) >= 300
            assert 1 / 2.5 <= image.width / image.height <= 2.5


def test_voice_tracks_are_what_kling_takes() -> None:
    """Voice tracks are MP3, 2 to 300 seconds, at most 5 MB (seed-001)."""
    tracks = list(ROOT.glob("*/voice/*"))
    assert tracks
    for path in tracks:
        assert path.stat().st_size <= 5_000_000
        with av.open(str(path), "r") as container:
            assert container.streams.audio[0].codec_context.codec.name.startswith("mp3")
            assert 2 <= (container.duration or 0) / 1e6 <= 300


def test_every_product_has_its_files() -> None:
    """Each product of the two campaigns with local files has the picture and the voice track that its jobs send."""
    for row in rows(ROOT / "four-providers"):
        assert (ROOT / "four-providers" / "pictures" / f"{row['sku']}.jpg").is_file()
        assert (ROOT / "four-providers" / "voice" / f"{row['sku']}.mp3").is_file()
    for row in rows(ROOT / "catalogue-1000"):
        assert (ROOT / "catalogue-1000" / "pictures" / f"{row['category']}.jpg").is_file()


def test_the_large_catalogue_is_the_one_that_its_script_makes() -> None:
    """The committed catalogue has a thousand products, exactly those that generate.py writes."""
    script = runpy.run_path(str(ROOT / "catalogue-1000" / "generate.py"))
    made = [dict(zip(script["COLUMNS"], row, strict=True)) for row in itertools.islice(script["rows"](), 1000)]
    assert rows(ROOT / "catalogue-1000") == made
    keys = {row[0] for row in itertools.islice(script["rows"](), 3000)}
    assert len(keys) == 3000
