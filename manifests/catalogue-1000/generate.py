#!/usr/bin/env python3
"""Makes this campaign's catalogue and its packshots anew.

Run it from anywhere: ``python manifests/catalogue-1000/generate.py [products]``. The first 1,000 products are always the same.
"""

from __future__ import annotations

import csv
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

from runner.simulator.assets import product_picture

HERE = Path(__file__).parent
SEED = 12
COLUMNS = ("sku", "title", "category", "finish", "surface", "price", "image_url")

GOODS = (
    ("bottle", "BTL", "Body Oil", "smoked glass", 18),
    ("tin", "TIN", "Tea Tin", "brushed steel", 12),
    ("jar", "JAR", "Candle", "frosted glass", 24),
    ("box", "BOX", "Soap Set", "uncoated card", 16),
    ("pouch", "PCH", "Coffee", "matt foil", 14),
    ("tube", "TUB", "Hand Cream", "soft-touch plastic", 9),
    ("mug", "MUG", "Mug", "reactive glaze", 15),
    ("shoe", "SHO", "Sneaker", "waxed canvas", 89),
    ("lamp", "LMP", "Desk Lamp", "linen and brass", 69),
    ("bag", "BAG", "Backpack", "recycled nylon", 99),
)
NAMES = ("Harbour", "Meadow", "Ember", "Quarry", "Lantern", "Juniper", "Tide", "Orchard", "Alder", "Saffron", "Cobalt", "Willow")
EDITIONS = ("Classic", "Light", "Morning", "Evening", "Winter", "Summer", "Travel", "Studio", "Garden", "Limited")
SURFACES = ("a pale oak table", "wet slate", "a linen cloth", "a stone shelf", "white plaster", "a walnut sideboard")


def rows() -> Iterator[tuple[str, ...]]:
    """Products without end: every name, edition and good, then the same again with a number."""
    count = itertools.count()
    for series in itertools.count(1):
        for edition, name, (category, code, noun, finish, price) in itertools.product(EDITIONS, NAMES, GOODS):
            number = next(count)
            title = f"{name} {edition} {noun}" + (f" No. {series}" if series > 1 else "")
            sku = f"{code}-{number:05d}"
            cost = f"{price + number % 7}.90"
            image = f"https://cdn.example.com/catalogue/{sku.lower()}.png"
            yield sku, title, category, finish, SURFACES[number % len(SURFACES)], cost, image


def main(count: int) -> None:
    """Write products.csv with ``count`` rows, and pictures/ with one packshot for each category."""
    with (HERE / "products.csv").open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(itertools.islice(rows(), count))
    pictures = HERE / "pictures"
    pictures.mkdir(exist_ok=True)
    for category, _, noun, _, _ in GOODS:
        (pictures / f"{category}.jpg").write_bytes(product_picture(f"{noun} {category}", SEED))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
