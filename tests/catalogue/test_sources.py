"""Which reader a file gets, and the readers of JSON, JSON lines and YAML."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.errors import CatalogueError
from runner.model import JSON
from runner.sources import SOURCES, open_source
from runner.sources.plaintext import plain_text

Row = tuple[int, dict[str, JSON]]


def read(path: Path, content: str | bytes, format: str | None = None, records: str | None = None) -> list[Row]:  # noqa: A002 - as in open_source
    """All rows of a file with this content."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [(row, dict(fields)) for row, fields in open_source(path, format, records=records).rows()]


def refused(path: Path, content: str | bytes, format: str | None = None, records: str | None = None) -> CatalogueError:  # noqa: A002 - as in open_source
    """The error that reading this content ends with."""
    with pytest.raises(CatalogueError) as caught:
        read(path, content, format, records)
    assert caught.value.hint, "every refusal says what to do next"
    return caught.value


# ------------------------------------------------------------------------------------------------------------ opening


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.CSV", "sku\n1\n"),
        ("a.txt", "sku\n1\n"),
        ("a.tab", "sku\n1\n"),
        ("a.ndjson", '{"sku": "1"}'),
        ("a.json", '[{"sku": "1"}]'),
        ("a.yml", "- sku: '1'"),
    ],
)
def test_formats_are_guessed_by_name(tmp_path: Path, name: str, content: str) -> None:
    """The extension decides, in any case."""
    assert read(tmp_path / name, content)[0][1] == {"sku": "1"}


def test_a_named_format_beats_the_name(tmp_path: Path) -> None:
    """The manifest's word counts, with dashes or underscores; a wrong one gets a suggestion."""
    assert read(tmp_path / "export", "sku\n1\n", "csv") == [(2, {"sku": "1"})]
    assert read(tmp_path / "feed", "<rss><item><id>1</id></item></rss>", "google_merchant")[0][1]["id"] == "1"
    assert "'shopify'" in refused(tmp_path / "a.csv", "sku\n1\n", "Shopfy").hint
    assert all(name in refused(tmp_path / "a.dat", "x").hint for name in SOURCES)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    """A missing file and a folder are told apart, before any row is asked for."""
    with pytest.raises(CatalogueError, match="no such file"):
        open_source(tmp_path / "a.csv", None)
    with pytest.raises(CatalogueError, match="not a file"):
        open_source(tmp_path, "csv")


def test_records_only_where_it_applies(tmp_path: Path) -> None:
    """A list's place inside a document makes no sense for rows."""
    assert "json and yaml" in refused(tmp_path / "a.csv", "sku\n1\n", records="data").hint


# ------------------------------------------------------------------------------------------------------------ JSON


def test_json_list_keeps_types_and_lines(tmp_path: Path) -> None:
    """JSON values keep their types; rows are the lines on which the objects begin, even where objects are alike."""
    content = '[\n  {"sku": 1, "p": 1.5, "t": true, "n": null, "l": [{"x": "é"}]},\n\n  {"a":\n 1}, {"a":\n 1},\n{"a":\n 1}]'
    assert read(tmp_path / "a.json", content) == [
        (2, {"sku": 1, "p": 1.5, "t": True, "n": None, "l": [{"x": "é"}]}),
        (4, {"a": 1}),
        (5, {"a": 1}),
        (7, {"a": 1}),
    ]


@pytest.mark.parametrize(
    ("content", "records"),
    [
        ('{"products": [{"a": 1}], "count": 1, "next": null}', None),
        ('{"errors": [], "products": [{"a": 1}]}', None),
        ('{"tags": ["x"], "products": [{"a": 1}]}', None),
        ('{"data": {"products": [{"a": 1}]}}', "data.products"),
        ('{"data.products": [{"a": 1}], "data": {"products": []}}', "data.products"),
        ('{"data": [], "more": [{"a": 1}]}', "more"),
        ('\ufeff [{"a": 1}]', None),
        ('[{"a": 1}]'.encode("utf-16"), None),
    ],
)
def test_json_lists_are_found(tmp_path: Path, content: str | bytes, records: str | None) -> None:
    """The list is the document, the one list of objects in it, or where the manifest points."""
    assert [fields for _, fields in read(tmp_path / "a.json", content, records=records)] == [{"a": 1}]


def test_shop_json(tmp_path: Path) -> None:
    """A shop's products.json reads as it is, variants and images inside."""
    content = '{"products": [{"handle": "tee", "variants": [{"sku": "T-S"}], "images": [{"src": "https://x/1.jpg"}]}]}'
    assert read(tmp_path / "products.json", content)[0][1]["variants"] == [{"sku": "T-S"}]


@pytest.mark.parametrize(
    ("content", "row", "word"),
    [
        ("", 0, "empty"),
        ('[\n{"a": 1},\n{"a": }]', 3, "not JSON"),
        ('[\n{"a": 1},\n{"a": NaN}]', 3, "not JSON"),
        ('[\n{"a": 1},\n', 2, "not JSON"),
        ('[\n{"a": 1},\n2]', 3, "not an object"),
        ('{"a": 1}\n{"a": 2}', 2, "not JSON"),
        ('"x"', 0, "no list"),
        ('{"a": 1}', 0, "without a list"),
        ('{"a": [{}], "b": [{}]}', 0, "several lists: a, b"),
        ("[" * 100_000, 0, "nested"),
        ('[{"a": ' + "9" * 5000 + "}]", 1, "cannot be read"),
        ('[{"a": "\\ud800"}]', 1, "not JSON"),
        (b'[\n{"a": "\xff"}]', 2, "0xFF"),
    ],
)
def test_broken_json(tmp_path: Path, content: str | bytes, row: int, word: str) -> None:
    """Broken JSON is refused with its line."""
    error = refused(tmp_path / "a.json", content)
    assert (error.row, word in error.message) == (row, True), error.message


def test_records_that_lead_nowhere(tmp_path: Path) -> None:
    """A wrong path says what it may have meant."""
    assert "'products'" in refused(tmp_path / "a.json", '{"data": {"products": []}}', records="data.product").hint
    assert "no list" in refused(tmp_path / "a.json", '{"data": {}}', records="data").message


def test_json_lines(tmp_path: Path) -> None:
    """One object a line; blank lines count but are no rows, and only a line feed ends a line."""
    content = '\ufeff{"a": 1}\r\n\n{"a": "x\u2028y\x85z"}\n'
    assert read(tmp_path / "a.jsonl", content) == [(1, {"a": 1}), (3, {"a": "x\u2028y\x85z"})]


@pytest.mark.parametrize(
    ("content", "row", "word"),
    [
        ('{"a": 1}\n[1]\n', 2, "not an object"),
        ('{"a": 1}\n{"a": \n', 2, "not JSON"),
        ('{"a": 1}\n' + "[" * 100_000, 2, "nested"),
        (b'{"a": 1}\n{"a": "\xe9"}\n', 2, "0xE9"),
        ('{"a": 1}\n{"a": "\0"}\n', 2, "zero character"),
        ('{\n "a": 1}', 1, "not JSON"),
    ],
)
def test_broken_json_lines(tmp_path: Path, content: str | bytes, row: int, word: str) -> None:
    """A broken line is refused with its number."""
    error = refused(tmp_path / "a.jsonl", content)
    assert (error.row, word in error.message) == (row, True), error.message


# ------------------------------------------------------------------------------------------------------------ YAML


def test_yaml_values(tmp_path: Path) -> None:
    """Numbers and truth values are typed; dates, codes with leading zeros and the word ``no`` stay text."""
    content = "- {sku: 0123, n: 12, f: 1.5, d: 2024-01-01, no: no, t: true, e: , 7: x}\n- &x\n  a: 1\n- <<: *x\n  b: 2\n"
    assert read(tmp_path / "a.yaml", content) == [
        (1, {"sku": "0123", "n": 12, "f": 1.5, "d": "2024-01-01", "no": "no", "t": True, "e": None, "7": "x"}),
        (2, {"a": 1}),
        (4, {"a": 1, "b": 2}),
    ]


def test_yaml_lists_are_found(tmp_path: Path) -> None:
    """As in JSON: the document, the only list in it, or where the manifest points."""
    assert read(tmp_path / "a.yaml", "shop: x\nproducts:\n- a: 1\n") == [(3, {"a": 1})]
    assert read(tmp_path / "a.yaml", "data:\n  p:\n  - a: 1\nq: []\n", records="data.p") == [(3, {"a": 1})]


@pytest.mark.parametrize(
    ("content", "row", "word"),
    [
        ("", 0, "empty"),
        ("- a: 1\n- [b]\n", 2, "not a mapping"),
        ("- a: 1\n  a: 2\n", 2, "duplicate"),
        ("- a: 'x\n", 2, "not plain YAML"),
        ("- a: 1\n- !!python/object/apply:os.system ['true']\n", 2, "not a mapping"),
        ("- a: !!python/object/apply:os.system ['true']\n", 1, "not plain YAML"),
        ("- a: .nan\n", 1, "no number"),
        ("- a: !!set {x, y}\n", 1, "kind set"),
        ("- &a {b: *a}\n", 1, "aliases"),
        ("- {a: &a [*a]}\n", 1, "aliases"),
        ("- a: *nowhere\n", 1, "undefined alias"),
        ("- " + "[" * 1500, 0, "nested"),
        ("a: 1\n---\nb: 2\n", 2, "another document"),
        ("a: 1\n", 1, "no lists"),
        ("- {[a, b]: 1}\n", 1, "not text"),
    ],
)
def test_broken_yaml(tmp_path: Path, content: str, row: int, word: str) -> None:
    """Broken, dangerous and endless YAML is refused with its line."""
    error = refused(tmp_path / "a.yaml", content)
    assert (error.row, word in error.message) == (row, True), (error.row, error.message)


def test_yaml_alias_bomb(tmp_path: Path) -> None:
    """Aliases that would make billions of values are refused before any is made."""
    levels = ["a0: &a0 [lol, lol]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    error = refused(tmp_path / "a.yaml", "\n".join(levels) + "\nproducts:\n- x: *a9\n", records="products")
    assert "aliases" in error.message


# -------------------------------------------------------------------------------------------------------- plain text


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("", ""),
        ("plain  text\nwith line ends", "plain text with line ends"),
        ("<p>Soft &amp; <b>warm</b>&nbsp;cotton.</p>", "Soft & warm cotton."),
        ("<ul>\n<li>One</li>\n<li>Two</li></ul>Three<br/>Four", "One\nTwo\nThree\nFour"),
        ("a<!-- secret --><script>if (a < b) {}</script><style>p{}</style>b", "ab"),
        ("<SCRIPT>x</SCRIPT >b<script>never closed", "b"),
        ('<img alt="a > b" src=x>text', "text"),
        ("<p class=o'neil>it's</p> fine", "it's\nfine"),
        ("price < 20 & > 3, <3", "price < 20 & > 3, <3"),
        ("&lt;b&gt; &#233;&#xE9; &unknown; &#10;x", "<b> éé &unknown; x"),
        ("cut <b", "cut <b"),
        ("<p title='never closed>x</p>y", "x\ny"),
        ("&#" + "9" * 5000 + ";", "&#" + "9" * 5000 + ";"),
        ("<table><tr><td>a</td><td>b</td></tr></table>", "a\nb"),
        ("<custom-tag>x</custom-tag>", "x"),
        ("<?php echo ?>x<!doctype html>y", "xy"),
    ],
)
def test_plain_text(markup: str, text: str) -> None:
    """HTML becomes what a person would read; what is no markup stays."""
    assert plain_text(markup) == text


@pytest.mark.parametrize("piece", ["<", "<a ", "<!--", "<a '>", '<a "', "<script>", "<a b='", "&#", "</", "<a =", "='<a "])
@pytest.mark.timeout(20)
def test_plain_text_is_quick_on_hostile_markup(piece: str) -> None:
    """Time grows with length, not with its square (which would take minutes here)."""
    assert len(plain_text(piece * 200_000)) <= len(piece) * 200_000
