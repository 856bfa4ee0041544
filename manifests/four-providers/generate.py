#!/usr/bin/env python3
"""Makes this campaign's pictures and voice tracks anew.

Run it from anywhere: ``python manifests/four-providers/generate.py``. Your own campaign has its own photographs and
recordings; these only have to be real files that every provider would take.
"""

from __future__ import annotations

import csv
from pathlib import Path

from runner.simulator.assets import product_picture, voice_track

HERE = Path(__file__).parent
SEED = 4


def main() -> None:
    """Write pictures/ and voice/ for every row of products.csv."""
    pictures, voices = HERE / "pictures", HERE / "voice"
    pictures.mkdir(exist_ok=True)
    voices.mkdir(exist_ok=True)
    with (HERE / "products.csv").open(encoding="utf-8", newline="") as opened:
        for number, row in enumerate(csv.DictReader(opened)):
            (pictures / f"{row['sku']}.jpg").write_bytes(product_picture(row["title"], SEED))
            track = voice_track(row["benefit"], 5.0 + number, SEED)
            (voices / f"{row['sku']}.{track.format}").write_bytes(track.data)


if __name__ == "__main__":
    main()
