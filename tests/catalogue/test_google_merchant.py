"""Google Merchant feeds, well-formed, careless and hostile."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from runner.errors import CatalogueError
from runner.model import JSON
from runner.sources import open_source

G = 'xmlns:g="http://base.google.com/ns/1.0"'
RSS = f"""<?xml version="1.0" encoding="UTF-8"?>
<rss {G} version="2.0">
<channel>
<title>Shop &amp; Co</title><link>https://shop.example</link><description>All of it</description>
<item>
  <g:id>TV-1</g:id>
  <title><![CDATA[LG 22" <b>LED</b> TV & more]]></title>
  <link>https://shop.example/tv</link>
  <description>&lt;p&gt;Sharp&lt;/p&gt;&lt;ul&gt;&lt;li&gt;Größe 22&lt;/li&gt;&lt;/ul&gt;</description>
  <g:image_link>https://img.example/1.jpg</g:image_link>
  <g:additional_image_link>https://img.example/2.jpg</g:additional_image_link>
  <g:additional_image_link>https://img.example/1.jpg</g:additional_image_link>
  <g:price> 159.00 USD </g:price>
  <g:sale_price>129,50 EUR</g:sale_price>
  <g:shipping><g:country>US</g:country><g:service>Standard</g:service><g:price>14.95 USD</g:price></g:shipping>
  <g:product_detail><g:section_name>General</g:section_name><g:attribute_name>Size</g:attribute_name></g:product_detail>
  <g:product_detail><g:section_name>More</g:section_name></g:product_detail>
  <g:custom_label_0>a</g:custom_label_0><g:custom_label_0>b</g:custom_label_0>
</item>
<item><g:id>TV-2</g:id><g:title>Own</g:title><title>Other</title><g:gtin/></item>
</channel>
</rss>
"""


def read(tmp_path: Path, content: str | bytes, name: str = "feed.xml") -> list[tuple[int, dict[str, JSON]]]:
    """All products of a feed."""
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [(row, dict(fields)) for row, fields in open_source(path, None).rows()]


def refused(tmp_path: Path, content: str | bytes) -> CatalogueError:
    """The error that reading this feed ends with."""
    with pytest.raises(CatalogueError) as caught:
        read(tmp_path, content)
    assert caught.value.hint, "every refusal says what to do next"
    return caught.value


def test_rss(tmp_path: Path) -> None:
    """Attributes lose their prefix, RSS's own elements fill in, repeated and nested ones become lists and mappings."""
    (row, tv), (second_row, other) = read(tmp_path, RSS)
    assert (row, second_row) == (5, 20)
    assert tv["id"] == "TV-1"
    assert tv["title"] == 'LG 22" <b>LED</b> TV & more'
    assert tv["link"] == "https://shop.example/tv"
    assert tv["description_text"] == "Sharp\nGröße 22"
    assert tv["additional_image_link"] == ["https://img.example/2.jpg", "https://img.example/1.jpg"]
    assert tv["images"] == ["https://img.example/1.jpg", "https://img.example/2.jpg"]
    assert tv["image"] == tv["image_link"] == "https://img.example/1.jpg"
    assert (tv["price"], tv["price_value"], tv["price_currency"]) == ("159.00 USD", 159.0, "USD")
    assert (tv["sale_price_value"], tv["sale_price_currency"]) == (129.5, "EUR")
    assert tv["shipping"] == [{"country": "US", "service": "Standard", "price": "14.95 USD"}]
    assert tv["product_detail"] == [{"section_name": "General", "attribute_name": "Size"}, {"section_name": "More"}]
    assert tv["custom_label_0"] == ["a", "b"]
    assert (other["title"], other["gtin"], other["price_value"], other["images"]) == ("Own", "", None, [])


@pytest.mark.parametrize(
    "declaration",
    [
        'xmlns:x="http://base.google.com/ns/1.0"',
        'xmlns:x="http://base.google.com/ns/1.0/"',
        'xmlns:x="https://base.google.com/ns/1.0"',
        'xmlns:x="HTTP://Base.Google.com/ns/1.0"',
    ],
)
def test_the_namespace_counts_not_its_prefix(tmp_path: Path, declaration: str) -> None:
    """Any prefix will do, and the namespace's usual misspellings are known."""
    content = f"<rss {declaration}><channel><item><x:id>1</x:id><x:image_link>u</x:image_link></item></channel></rss>"
    assert read(tmp_path, content)[0][1]["image_link"] == "u"


def test_atom(tmp_path: Path) -> None:
    """Atom entries read alike: links are attributes, content stands in for a description, markup may be inline."""
    content = f"""<feed xmlns="http://www.w3.org/2005/Atom" {G}>
<title>Shop</title><link rel="self" href="https://shop.example"/>
<entry><title type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml">A <b>tee</b></div></title>
<link rel="self" href="https://wrong"/><link href="https://shop.example/tee"/>
<summary>Good &amp;amp; warm</summary><g:id>T</g:id><g:price>$1,299</g:price></entry>
</feed>"""
    ((row, tee),) = read(tmp_path, content, "feed.atom")
    assert row == 3
    assert (tee["id"], tee["title"], tee["description_text"]) == ("T", "A tee", "Good & warm")
    assert tee["link"] == "https://shop.example/tee"
    assert (tee["price_value"], tee["price_currency"]) == (1299.0, "USD")


@pytest.mark.parametrize(
    ("price", "value", "currency"),
    [
        ("19.99 USD", 19.99, "USD"),
        ("USD 19.99", 19.99, "USD"),
        ("1,299.00 eur", 1299.0, "EUR"),
        ("1.299,00 EUR", 1299.0, "EUR"),
        ("1,299,000 JPY", 1299000.0, "JPY"),
        ("1 299,50 SEK", 1299.5, "SEK"),
        ("€5", 5.0, "EUR"),
        ("7", 7.0, ""),
        ("free", None, ""),
        ("", None, ""),
        ("-5 USD", None, ""),
        ("1.2.3 USD", None, "USD"),
        ("9" * 400 + " USD", None, ""),
    ],
)
def test_prices(tmp_path: Path, price: str, value: float | None, currency: str) -> None:
    """Amount and currency are told apart in every usual spelling; what is no price is None."""
    fields = read(tmp_path, f"<rss {G}><item><g:price>{price}</g:price></item></rss>")[0][1]
    assert (fields["price_value"], fields["price_currency"], fields["price"]) == (value, currency, price)


@pytest.mark.parametrize(
    "content",
    [
        "\ufeff<rss><item><id>é</id></item></rss>".encode(),
        "\n  \n<?xml version='1.0'?><rss><item><id>é</id></item></rss>".encode(),
        "\ufeff\n<?xml version='1.0'?><rss><item><id>é</id></item></rss>".encode(),
        "<?xml version='1.0' encoding='windows-1252'?><rss><item><id>é</id></item></rss>".encode("cp1252"),
        "<?xml version='1.0' encoding='ISO-8859-1'?><rss><item><id>é</id></item></rss>".encode("latin-1"),
        "<?xml version='1.0' encoding='utf-16'?><rss><item><id>é</id></item></rss>".encode("utf-16"),
    ],
)
def test_encodings(tmp_path: Path, content: bytes) -> None:
    """The prolog's encoding counts, a byte order mark too, and space before the prolog is forgiven."""
    assert read(tmp_path, content)[0][1]["id"] == "é"


def test_lines_count_leading_space(tmp_path: Path) -> None:
    """Forgiven space still counts as lines, in rows and in errors."""
    assert read(tmp_path, "\n\n<rss>\n<item><id>1</id></item></rss>")[0][0] == 4
    assert refused(tmp_path, "\n\n<rss>\n<item></rss>").row == 4


BOMB = '<!DOCTYPE lolz [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;">]><rss><item><id>&b;</id></item></rss>'
OUTSIDE = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><rss><item><id>&e;</id></item></rss>'
DTD = '<!DOCTYPE rss SYSTEM "http://example.com/rss.dtd"><rss><item><id>1</id></item></rss>'
PARAMETER = '<!DOCTYPE x [<!ENTITY % p SYSTEM "http://example.com/p"> %p;]><rss/>'


@pytest.mark.parametrize("content", [BOMB, OUTSIDE, DTD, PARAMETER])
def test_document_types_are_refused(tmp_path: Path, content: str) -> None:
    """Entity bombs, files from elsewhere and document types end the reading, with words that say so."""
    error = refused(tmp_path, content)
    assert "document type" in error.message
    assert error.row == 1


@pytest.mark.parametrize(
    ("content", "row", "word"),
    [
        ("", 0, "empty"),
        ("<catalog><product/></catalog>", 1, "<catalog>"),
        ("<item><id>1</id></item>", 1, "<item>"),
        ("<rss>\n<item><g:id>1</g:id></item></rss>", 2, "unbound prefix"),
        ("<rss>\n<item><id>&nbsp;</id></item></rss>", 2, "undefined entity"),
        ("<rss>\n<item><id>1</id></item>\n", 3, "no element found"),
        ("<rss>\n<item><id>a & b</id></item></rss>", 2, "not well-formed"),
        ("<rss><item><id>\x01</id></item></rss>", 1, "not well-formed"),
        (b"<rss>\n<item><id>\xe9</id></item></rss>", 2, "not well-formed"),
        ("<?xml version='1.0' encoding='shift_jis'?><rss/>", 1, "encoding"),
        ("<?xml version='1.0' encoding='klingon'?><rss/>", 1, "encoding"),
        ("<rss><item>" + "<a>" * 100, 1, "too many elements"),
        ("<rss><item>" + "<a/>" * 20_000, 1, "too many elements"),
        ("<rss><item>" + "x" * 1_100_000, 1, "1,048,576"),
        ("id,title\n1,x\n", 1, "not well-formed"),
    ],
)
def test_broken_feeds(tmp_path: Path, content: str | bytes, row: int, word: str) -> None:
    """What is no feed, or none any more, is refused with its line."""
    error = refused(tmp_path, content)
    assert (error.row, word in error.message) == (row, True), (error.row, error.message)


def test_items_before_a_fault_are_given(tmp_path: Path) -> None:
    """A fault further down does not hide the items above it."""
    path = tmp_path / "feed.xml"
    path.write_text("<rss><item><id>1</id></item><item><id>2</id></item><oops")
    rows = open_source(path, None).rows()
    assert [next(rows)[1]["id"], next(rows)[1]["id"]] == ["1", "2"]
    with pytest.raises(CatalogueError):
        next(rows)


def test_feeds_are_streamed(tmp_path: Path) -> None:
    """Memory does not grow with the feed."""
    path = tmp_path / "feed.xml"
    item = f"<item><g:id>1</g:id><g:description>{'text ' * 100}</g:description></item>\n"
    path.write_text(f"<rss {G}><channel>" + item * 4000 + "</channel></rss>")
    rows = open_source(path, None).rows()
    next(rows)
    tracemalloc.start()
    try:
        assert sum(1 for _ in rows) == 3999
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
