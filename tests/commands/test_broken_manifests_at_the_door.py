"""Forty broken manifests through the real command line: what a person sees, where, and what he is told to do."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from runner.commands import invoke

GOOD = """\
callsheet: 1
name: shop
catalogue:
  products:
    - { sku: A-1, title: Amber Oil, link: "https://cdn.example.com/a.png", price: 12 }
    - { sku: B-2, title: Blue Tea, link: "https://cdn.example.com/b.png", price: 30 }
  key: sku
vars: { mood: calm }
prompts:
  still: "{{ product.title }}, {{ vars.mood }}."
providers:
  creatify: { concurrency: 4 }
targets:
  still:
    uses: creatify/product-image
    matrix: { aspect_ratio: [9x16, 1x1] }
    with:
      product_url: "{{ product.link }}"
      aspect_ratio: "{{ matrix.aspect_ratio }}"
      image_prompt: "{{ prompts.still }}"
  clip:
    uses: creatify/product-video
    needs: { still: { aspect_ratio: 9x16 } }
    with:
      image: "{{ needs.still.remote_id }}"
"""

HERE = "«"
"""Stands where the error must point; it is taken out before the manifest is written."""

BROKEN: tuple[tuple[str, str, str], ...] = (
    # (what stands in the good manifest, what stands there instead, a word of the message)
    ("callsheet: 1", "callsheet: «2", "2"),
    ("callsheet: 1", "callsheet: «one", "one"),
    ("name: shop", "name: «my shop", "my shop"),
    ("name: shop", "name: «7", "7"),
    ("name: shop", "name: shop\n«nmae: x", "nmae"),
    ("name: shop", "name: shop\n«name: again", "name"),
    ("  key: sku", "  «kee: sku\n  key: sku", "kee"),
    ("  key: sku", "  key: skuu", "skuu"),
    ("sku: B-2", "sku: A-1", "A-1"),
    ("  key: sku", "  source: «nowhere.csv\n  key: sku", ""),
    ("  key: sku", "  key: sku\n  where: «product.price >", "where"),
    ("  key: sku", '  key: sku\n  where: "product.prize > 3"', "prize"),
    ("vars: { mood: calm }", "vars: «[calm]", "vars"),
    ("{{ vars.mood }}", "{{ vars.moood }}", "moood"),
    ("{{ product.title }},", "{{ product.titel }},", "titel"),
    ('still: "{{ product.title }}, {{ vars.mood }}."', 'still: "«{{ product.title "', ""),
    ('still: "{{ product.title }}, {{ vars.mood }}."', "still: { file: «nowhere.j2 }", "nowhere.j2"),
    ("{{ prompts.still }}", "{{ prompts.stil }}", "stil"),
    ("creatify: { concurrency: 4 }", "«creatfy: { concurrency: 4 }", "creatfy"),
    ("concurrency: 4", "concurrency: «0", "0"),
    ("concurrency: 4", "concurrency: «many", "many"),
    ("concurrency: 4", "concurrency: 4, rate: «fast", "fast"),
    ("concurrency: 4", "concurrency: 4, «api_key: abcdef0123456789", "api_key"),
    ("uses: creatify/product-image", "uses: «creatify/product-imag", "product-imag"),
    ("uses: creatify/product-image", "uses: «product-image", "product-image"),
    ("matrix: { aspect_ratio: [9x16, 1x1] }", "matrix: { aspect_ratio: «[] }", "aspect_ratio"),
    ("matrix: { aspect_ratio: [9x16, 1x1] }", "matrix: { aspect_ratio: [9x16, «9x16] }", "9x16"),
    ("matrix: { aspect_ratio: [9x16, 1x1] }", "matrix: { aspect_ratio: [9x16, 4x3] }", "4x3"),
    ("{{ matrix.aspect_ratio }}", "{{ matrix.aspect }}", "aspect"),
    ('      product_url: "{{ product.link }}"\n', "", "product_url"),
    ('product_url: "{{ product.link }}"', '«product_uri: "{{ product.link }}"', "product_uri"),
    ("uses: creatify/product-video", "uses: creatify/product-video\n    «need: still", "need"),
    ("needs: { still: { aspect_ratio: 9x16 } }", "needs: «stil", "stil"),
    ("needs: { still: { aspect_ratio: 9x16 } }", "needs: { still: { aspect_ratio: «16x9 } }", "16x9"),
    ("needs: { still: { aspect_ratio: 9x16 } }", "needs: { still: { aspect: «9x16 } }", "aspect"),
    ("needs: { still: { aspect_ratio: 9x16 } }", "needs: «clip", "clip"),
    ("{{ needs.still.remote_id }}", "{{ needs.other.remote_id }}", "other"),
    ("  clip:\n", "  clip:\n    deadline: «soon\n", "soon"),
    ("  clip:\n", "  clip:\n    gate: «maybe\n", "gate"),
    ("targets:\n", "targets:\n bad\n", ""),
    ("vars: { mood: calm }", "vars: { mood: calm", ""),
    ("vars: { mood: calm }", "\tvars: 1", ""),
)


def broken(tmp_path: Path, old: str, new: str) -> tuple[Path, tuple[int, int] | None]:
    """The manifest on disk, and the place that the error must name (None: not fixed by this case)."""
    assert GOOD.count(old) >= 1, f"the good manifest has no {old!r}"
    text = GOOD.replace(old, new, 1)
    place = None
    if HERE in text:
        before = text[: text.index(HERE)]
        place = (before.count("\n") + 1, len(before) - before.rfind("\n"))
    path = tmp_path / "campaign.yaml"
    path.write_text(text.replace(HERE, ""), encoding="utf-8")
    return path, place


def test_the_good_manifest_is_good(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the broken ones are made from passes."""
    path = tmp_path / "campaign.yaml"
    path.write_text(GOOD, encoding="utf-8")
    assert invoke(["validate", str(path)]) == 0
    assert "2 products" in capsys.readouterr().out


def test_there_are_forty() -> None:
    """The list is as long as it says."""
    assert len(BROKEN) >= 40


@pytest.mark.parametrize(("old", "new", "word"), BROKEN, ids=lambda text: re.sub(r"\W+", "-", str(text))[:40])
def test_a_broken_manifest_is_told_in_full(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, word: str
) -> None:
    """Exit code 2, the place as file:line:column, the offending word, a hint, and never a traceback."""
    path, place = broken(tmp_path, old, new)
    assert invoke(["validate", str(path)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    assert word in said.err
    assert "hint: " in said.err
    assert re.search(r"campaign\.yaml:\d+:\d+: ", said.err), said.err
    if place is not None:
        assert f"campaign.yaml:{place[0]}:{place[1]}: " in said.err, said.err


@pytest.mark.parametrize(("old", "new", "word"), BROKEN[::4], ids=lambda text: re.sub(r"\W+", "-", str(text))[:40])
def test_the_same_problems_are_told_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, word: str
) -> None:
    """With --json the problems come on standard output, each with file, line, column, message and hint."""
    path, place = broken(tmp_path, old, new)
    assert invoke(["plan", str(path), "--json"]) == 2
    said = capsys.readouterr()
    assert said.err == ""
    document = json.loads(said.out)
    assert document["exit_code"] == 2
    assert document["problems"]
    assert all(problem["message"] and problem["line"] >= 1 and problem["column"] >= 1 for problem in document["problems"])
    if place is not None:
        assert place in {(problem["line"], problem["column"]) for problem in document["problems"]}
