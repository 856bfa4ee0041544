"""The campaign that ``callsheet init`` writes: a manifest, four products, prompts, drawn packshots and synthesised voices.

Owns the content of that folder and nothing of how it is written. ``campaign.yaml`` and ``prompts/`` beside this file are the originals; the
rest is made here, so that the product ships no media. The same name always gives the same files.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import PurePosixPath

SEED = 11
PROVIDERS = ("creatify", "kling", "topview")
"""Whose operations the manifest uses."""
SCHEMA_FILE = "manifest.schema.json"
GITIGNORE = "# Where campaigns run; results are not definitions.\nruns/\nrehearsals/\n# Keys. Never commit them.\n.env\n"
_LINKS = "https://cdn.example.com/starter"


@dataclass(frozen=True, slots=True)
class StarterProduct:
    """One row of the starter catalogue, and how long its voice track is (seconds)."""

    sku: str
    title: str
    benefit: str
    surface: str
    price: str
    picture: str
    seconds: float

    def row(self) -> tuple[str, ...]:
        """The catalogue's columns."""
        return (self.sku, self.title, self.benefit, self.surface, self.price, f"{_LINKS}/{self.picture}.png")


COLUMNS = ("sku", "title", "benefit", "surface", "price", "image_url")
PRODUCTS = (
    StarterProduct(
        "MUG-01", "Tide Coffee Mug", "Keeps coffee hot through a long call", "a pale oak desk", "24.00", "tide-mug", 4.0
    ),
    StarterProduct(
        "OIL-02", "Fig Body Oil", "Leaves skin soft and never greasy", "a stone bathroom shelf", "38.00", "fig-oil", 5.0
    ),
    StarterProduct(
        "SHO-03", "Fell Trail Shoe", "Grips wet rock and dries overnight", "a mossy boulder", "129.00", "fell-shoe", 4.5
    ),
    StarterProduct(
        "LMP-04", "Dusk Table Lamp", "Dims to the warmth of a candle", "a walnut sideboard", "89.00", "dusk-lamp", 5.5
    ),
)


def starter_files(name: str, schema_link: str) -> Mapping[PurePosixPath, bytes]:
    """Every file of the campaign ``name`` by its path; the manifest names ``schema_link`` as its schema for editors.

    Takes about a second: it draws four pictures and makes four voice tracks. The schema itself is not among them.
    """
    from runner.simulator.assets import product_picture, voice_track

    tracks = {product.sku: voice_track(product.benefit, product.seconds, SEED) for product in PRODUCTS}
    sound = next(iter(tracks.values())).format
    texts = {
        "campaign.yaml": manifest(name, schema_link, sound),
        "products.csv": catalogue(),
        "prompts/still.j2": _original("prompts/still.j2"),
        "prompts/presenter.j2": _original("prompts/presenter.j2"),
        ".gitignore": GITIGNORE,
        ".env.example": env_example(),
    }
    files = {PurePosixPath(path): text.encode() for path, text in texts.items()}
    for product in PRODUCTS:
        files[PurePosixPath(f"pictures/{product.sku}.jpg")] = product_picture(product.title, SEED)
        files[PurePosixPath(f"voice/{product.sku}.{sound}")] = tracks[product.sku].data
    return files


def manifest(name: str, schema_link: str, sound: str) -> str:
    """The manifest for a campaign of this name; ``sound`` is the voice tracks' format."""
    text = _original("campaign.yaml")
    text = text.replace(f"$schema={SCHEMA_FILE}", f"$schema={schema_link}", 1)
    return text.replace("\nname: starter\n", f"\nname: {name}\n", 1).replace("}}.mp3", f"}}}}.{sound}", 1)


def catalogue() -> str:
    """The products as CSV."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(product.row() for product in PRODUCTS)
    return text.getvalue()


def env_example() -> str:
    """The variables that a paid run of this campaign needs, with nothing in them."""
    from runner.settings import REQUIRED, variable

    lines = ["# Copy to .env and fill in. Rehearsals need none of this. Check with: callsheet doctor"]
    for provider in PROVIDERS:
        ways = REQUIRED[provider]
        lines += ["", f"# {provider}" + (": either the first or the rest" if len(ways) > 1 else "")]
        lines += [f"{variable(provider, field)}=" for way in ways for field in way]
    return "\n".join(lines) + "\n"


def _original(path: str) -> str:
    return (resources.files(__package__) / path).read_text(encoding="utf-8")
