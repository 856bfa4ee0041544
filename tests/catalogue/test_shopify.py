"""Shopify exports of both generations, as shops really write them."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import cast

import pytest

from runner.errors import CatalogueError
from runner.model import JSON
from runner.sources import open_source
from runner.sources.shopify import ShopifySource

OLDER = (
    "Handle,Title,Body (HTML),Vendor,Product Category,Type,Tags,Published,Option1 Name,Option1 Value,Option2 Name,Option2 Value,"
    "Option3 Name,Option3 Value,Variant SKU,Variant Grams,Variant Inventory Tracker,Variant Inventory Qty,Variant Price,"
    "Variant Compare At Price,Variant Requires Shipping,Variant Taxable,Variant Barcode,Image Src,Image Position,Image Alt Text,"
    "Gift Card,SEO Title,Variant Image,Variant Weight Unit,Cost per item,Status"
)
NEWER = (
    "Title,URL handle,Description,Vendor,Product category,Type,Tags,Published on online store,Status,SKU,Barcode,Option1 name,"
    "Option1 value,Option2 name,Option2 value,Price,Compare-at price,Cost per item,Charge tax,Inventory quantity,"
    "Weight value (grams),Weight unit for display,Requires shipping,Product image URL,Image position,Image alt text,"
    "Variant image URL,Gift card,SEO title"
)
CDN = "https://cdn.shop.example/"
BODY = '<p>Soft, "warm" &amp; light.</p>\n<ul>\n<li>100 % wool, 3" hem</li>\n<li>Größe fällt klein aus</li></ul>'


def export(header: str, *records: dict[str, str], bom: bool = True) -> bytes:
    """The bytes of an export with these records, written as Shopify does."""
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, header.split(","), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return (("\ufeff" if bom else "") + out.getvalue()).encode()


def read(tmp_path: Path, content: bytes, name: str = "products_export.csv") -> list[tuple[int, dict[str, JSON]]]:
    """All products of an export, the format found out."""
    path = tmp_path / name
    path.write_bytes(content)
    source = open_source(path, None)
    assert isinstance(source, ShopifySource)
    return [(row, dict(fields)) for row, fields in source.rows()]


def variants(product: dict[str, JSON]) -> list[dict[str, JSON]]:
    """The product's variants, typed for the test."""
    return cast("list[dict[str, JSON]]", product["variants"])


SCARF = (
    {
        "Handle": "woll-schal",
        "Title": "Wöll-Schal, “Größe 1”",
        "Body (HTML)": BODY,
        "Vendor": "Acme & Co",
        "Type": "Schals",
        "Tags": "winter, wool , , sale",
        "Published": "true",
        "Option1 Name": "Farbe",
        "Option1 Value": "Rot",
        "Option2 Name": "Größe",
        "Option2 Value": "S",
        "Variant SKU": "SCH-R-S",
        "Variant Grams": "120",
        "Variant Price": "29.90",
        "Variant Compare At Price": "39.90",
        "Variant Barcode": "04012345",
        "Image Src": CDN + "2.jpg",
        "Image Position": "2",
        "Image Alt Text": "Schal, rot",
        "Status": "active",
    },
    {
        "Handle": "woll-schal",
        "Option1 Value": "Blau",
        "Option2 Value": "M",
        "Variant SKU": "SCH-B-M",
        "Variant Price": "31.90",
        "Image Src": CDN + "1.jpg",
        "Image Position": "1",
        "Variant Image": CDN + "b.jpg",
    },
    {"Handle": "woll-schal", "Image Src": CDN + "10.jpg", "Image Position": "10"},
    {"Handle": "woll-schal", "Image Src": CDN + "2.jpg", "Image Position": "11"},
)
MUG = {
    "Handle": "mug",
    "Title": "Mug",
    "Published": "FALSE",
    "Option1 Name": "Title",
    "Option1 Value": "Default Title",
    "Variant SKU": "MUG",
    "Variant Price": "5",
    "Status": "draft",
}


def test_older_export(tmp_path: Path) -> None:
    """Records of one handle become one product; its own columns and the friendly fields stand side by side."""
    (row, scarf), (mug_row, mug) = read(tmp_path, export(OLDER, *SCARF, MUG))
    assert (row, mug_row) == (2, 9)
    assert scarf["Image Src"] == CDN + "2.jpg"
    assert scarf["Body (HTML)"] == scarf["body_html"] == BODY
    assert scarf["body_text"] == 'Soft, "warm" & light.\n100 % wool, 3" hem\nGröße fällt klein aus'
    assert scarf["title"] == "Wöll-Schal, “Größe 1”"
    assert (scarf["handle"], scarf["vendor"], scarf["type"], scarf["status"]) == ("woll-schal", "Acme & Co", "Schals", "active")
    assert scarf["tags"] == ["winter", "wool", "sale"]
    assert scarf["images"] == [CDN + "1.jpg", CDN + "2.jpg", CDN + "10.jpg"]
    assert scarf["image"] == CDN + "1.jpg"
    assert (scarf["sku"], scarf["price"], scarf["compare_at_price"], scarf["published"]) == ("SCH-R-S", "29.90", "39.90", True)
    assert (mug["published"], mug["images"], mug["image"], mug["tags"], mug["body_text"]) == (False, [], "", [], "")


def test_variants(tmp_path: Path) -> None:
    """Every record with an option, SKU or price is a variant; option names come from the first record."""
    products = dict(read(tmp_path, export(OLDER, *SCARF, MUG)))
    first, second = variants(products[2])
    assert first["options"] == {"Farbe": "Rot", "Größe": "S"}
    assert (first["sku"], first["grams"], first["barcode"], first["image"]) == ("SCH-R-S", "120", "04012345", "")
    assert second["options"] == {"Farbe": "Blau", "Größe": "M"}
    assert (second["sku"], second["price"], second["compare_at_price"], second["image"]) == (
        "SCH-B-M",
        "31.90",
        "",
        CDN + "b.jpg",
    )
    assert [variant["options"] for variant in variants(products[9])] == [{}]


def test_newer_export(tmp_path: Path) -> None:
    """The renamed columns give the same friendly fields."""
    content = export(
        NEWER,
        {
            "Title": "Tee",
            "URL handle": "tee",
            "Description": "<p>Good&nbsp;tee</p>",
            "Tags": "a",
            "Published on online store": "TRUE",
            "Status": "Active",
            "SKU": "T-S",
            "Option1 name": "Size",
            "Option1 value": "S",
            "Price": "10.00",
            "Compare-at price": "12.00",
            "Weight value (grams)": "200",
            "Product image URL": CDN + "t.jpg",
            "Image position": "1",
        },
        {"URL handle": "tee", "SKU": "T-M", "Option1 value": "M", "Price": "11.00", "Variant image URL": CDN + "m.jpg"},
        {"Title": "", "URL handle": "", "Product image URL": CDN + "t2.jpg", "Image position": "2"},
        {"Title": "Cap", "URL handle": "cap", "Price": "7"},
        bom=False,
    )
    (_, tee), (row, cap) = read(tmp_path, content)
    assert (tee["handle"], tee["body_text"], tee["price"], tee["compare_at_price"]) == ("tee", "Good tee", "10.00", "12.00")
    assert [(v["sku"], v["options"], v["image"]) for v in variants(tee)] == [
        ("T-S", {"Size": "S"}, ""),
        ("T-M", {"Size": "M"}, CDN + "m.jpg"),
    ]
    assert variants(tee)[0]["grams"] == "200"
    assert tee["images"] == [CDN + "t.jpg", CDN + "t2.jpg"]
    assert (row, cap["title"], cap["published"]) == (5, "Cap", None)


def test_titles_repeated_on_every_record(tmp_path: Path) -> None:
    """Tools that repeat the title on each record of a handle still mean one product."""
    rows = [{"Handle": "tee", "Title": "Tee", "Option1 Value": size, "Variant SKU": size} for size in ("S", "M", "L")]
    ((_, tee),) = read(tmp_path, export(OLDER, *rows))
    assert [variant["sku"] for variant in variants(tee)] == ["S", "M", "L"]


def test_scattered_records_are_refused(tmp_path: Path) -> None:
    """A handle that comes again after other products is an error at its line: nothing is merged or dropped silently."""
    path = tmp_path / "a.csv"
    path.write_bytes(export(OLDER, {"Handle": "tee", "Title": "Tee"}, MUG, {"Handle": "tee", "Variant SKU": "T-M"}))
    rows = open_source(path, None).rows()
    assert [next(rows)[1]["handle"], next(rows)[1]["handle"]] == ["tee", "mug"]
    with pytest.raises(CatalogueError, match="'tee' comes again") as caught:
        next(rows)
    assert (caught.value.row, "sort" in caught.value.hint) == (4, True)


def test_records_without_a_product(tmp_path: Path) -> None:
    """A first record without handle and title has nothing to belong to."""
    with pytest.raises(CatalogueError, match="neither a handle nor a title"):
        read(tmp_path, export(OLDER, {"Variant SKU": "x"}))


def test_titles_without_handles_stay_apart(tmp_path: Path) -> None:
    """Products that have no handle yet are told apart by their titles."""
    products = read(tmp_path, export(NEWER, {"Title": "A", "SKU": "1"}, {"SKU": "2"}, {"Title": "B", "SKU": "3"}))
    assert [(row, product["title"], len(variants(product))) for row, product in products] == [(2, "A", 2), (4, "B", 1)]


def test_plain_csv_is_not_taken_for_an_export(tmp_path: Path) -> None:
    """A catalogue of one's own with a title and a handle stays a plain one, and can be called an export only if it is one."""
    path = tmp_path / "a.csv"
    path.write_text("handle,title,colour\ntee,Tee,red\n")
    assert dict(next(open_source(path, None).rows())[1]) == {"handle": "tee", "title": "Tee", "colour": "red"}
    path.write_text("sku,title\nA,Tee\n")
    with pytest.raises(CatalogueError, match="'Handle'"):
        next(open_source(path, "shopify").rows())


def test_semicolons_and_utf16(tmp_path: Path) -> None:
    """An export that went through a spreadsheet is still an export."""
    content = "Handle;Title;Variant SKU;Image Src\ntee;Tée;T;https://x/1.jpg\n".encode("utf-16")
    assert read(tmp_path, content, "a.txt")[0][1]["sku"] == "T"


def test_image_positions_that_are_none(tmp_path: Path) -> None:
    """Images without a usable position keep their order, behind those that have one."""
    rows = [
        {"Handle": "t", "Title": "T" if not n else "", "Image Src": CDN + str(n), "Image Position": p}
        for n, p in enumerate(["", "x", "²", "1", "9" * 400])
    ]
    ((_, product),) = read(tmp_path, export(OLDER, *rows))
    assert product["images"] == [CDN + str(n) for n in (3, 0, 1, 2, 4)]
