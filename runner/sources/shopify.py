"""A Shopify product export: one product over several records.

Owns how the records of a product become one. Both generations of column names are read (``Handle``, ``Image Src``, ``Variant
SKU`` ...; and ``URL handle``, ``Product image URL``, ``SKU`` ...), without regard to case.

- Records that follow one another with the same handle are one product: the first gives the product's own columns, under the
  names they have in the file; every record may add a variant, an image, or both. A record without handle and title belongs to
  the product above it.
- Only one product is held at a time, so its records must stand together, as Shopify writes them. A handle that comes again
  after other products is an error; nothing is merged silently and nothing is lost silently.

Friendly fields are added: ``handle title body_html body_text vendor type tags images image variants sku price compare_at_price
published status``. Prices stay text as in the file. The row number is the line of the first record.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runner.errors import CatalogueError
from runner.model import JSON
from runner.sources.delimited import DelimitedSource
from runner.sources.opening import Options
from runner.sources.plaintext import plain_text

# Our name -> the column's names, lower case, older generation first.
_PRODUCT = {
    "handle": ("handle", "url handle"),
    "title": ("title",),
    "body_html": ("body (html)", "body html", "description"),
    "vendor": ("vendor",),
    "type": ("type", "custom product type"),
    "tags": ("tags",),
    "published": ("published", "published on online store"),
    "status": ("status",),
}
_VARIANT = {
    "sku": ("variant sku", "sku"),
    "price": ("variant price", "price"),
    "compare_at_price": ("variant compare at price", "compare-at price", "compare at price"),
    "barcode": ("variant barcode", "barcode", "barcodes"),
    "image": ("variant image", "variant image url"),
    "grams": ("variant grams", "weight value (grams)"),
    "weight_unit": ("variant weight unit", "weight unit for display"),
    "inventory_quantity": ("variant inventory qty", "inventory quantity"),
    "requires_shipping": ("variant requires shipping", "requires shipping"),
    "taxable": ("variant taxable", "charge tax"),
    "cost_per_item": ("cost per item",),
}
_IMAGE = {"src": ("image src", "product image url"), "position": ("image position",)}
_OPTIONS = (1, 2, 3)
_MAKES_A_VARIANT = ("sku", "price", "barcode")


@dataclass(slots=True)
class _Group:
    """The records of one product, so far."""

    line: int
    handle: str
    first: dict[str, str]
    option_names: dict[int, str] = field(default_factory=dict)
    variants: list[dict[str, JSON]] = field(default_factory=list)
    images: list[tuple[float, str]] = field(default_factory=list)


def is_shopify_header(columns: list[str]) -> bool:
    """Whether these are the columns of a Shopify product export, of either generation."""
    names = {column.lower() for column in columns}
    older = {"image src", "variant sku", "variant price", "option1 value"}
    newer = {"product image url", "sku", "price", "option1 value"}
    return "title" in names and (("handle" in names and bool(names & older)) or ("url handle" in names and bool(names & newer)))


@dataclass(frozen=True, slots=True)
class ShopifySource:
    """Products of a Shopify export (CSV)."""

    path: Path
    options: Options = field(default_factory=Options)

    def rows(self) -> Iterator[tuple[int, Mapping[str, JSON]]]:
        """(line of the first record, fields), lazily. Raises ``CatalogueError``."""
        records = DelimitedSource(self.path, self.options)
        columns = _Columns(records.columns(), str(self.path))
        seen: set[bytes] = set()
        group: _Group | None = None
        for line, record in records.text_rows():
            handle, title = columns.get(record, "handle").strip(), columns.get(record, "title").strip()
            if group is None or not _continues(group, handle, title):
                if group is not None:
                    yield group.line, columns.product(group)
                self._begin(handle, title, line, seen)
                group = _Group(line, handle, record)
            columns.add(group, record)
        if group is not None:
            yield group.line, columns.product(group)

    def _begin(self, handle: str, title: str, line: int, seen: set[bytes]) -> None:
        """Refuse a record that cannot begin a product."""
        if not handle:
            if not title:
                raise CatalogueError(
                    "this record has neither a handle nor a title, and no product stands above it",
                    file=str(self.path),
                    row=line,
                    hint="the first record of a product must have its handle and title",
                )
            return
        # Eight bytes a product instead of the handle: a false alarm needs billions of products.
        mark = hashlib.blake2b(handle.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        if mark in seen:
            raise CatalogueError(
                f"the handle {handle!r} comes again here, after records of other products",
                file=str(self.path),
                row=line,
                hint="keep all records of a product together; sort the file by its handle column",
            )
        seen.add(mark)


def _continues(group: _Group, handle: str, title: str) -> bool:
    return handle == group.handle if handle else not title


class _Columns:
    """Finds our fields in the file's columns. Raises ``CatalogueError`` when the file has no handles or titles."""

    def __init__(self, columns: list[str], file: str) -> None:
        by_name = {column.lower(): column for column in columns}
        table = _PRODUCT | _VARIANT | _IMAGE
        for number in _OPTIONS:
            table[f"option{number}_name"] = (f"option{number} name",)
            table[f"option{number}_value"] = (f"option{number} value",)
        self._names = {ours: next((by_name[name] for name in names if name in by_name), "") for ours, names in table.items()}
        missing = [
            shown for shown, ours in (("'Handle' (or 'URL handle')", "handle"), ("'Title'", "title")) if not self._names[ours]
        ]
        if missing:
            raise CatalogueError(
                f"a Shopify export has the column {' and '.join(missing)}; this file has not",
                file=file,
                row=1,
                hint="export the products from Shopify again, or set the format to csv",
            )

    def get(self, record: Mapping[str, str], ours: str) -> str:
        """The record's value of our field; ``""`` when the file has no such column."""
        return record.get(self._names[ours], "")

    def add(self, group: _Group, record: Mapping[str, str]) -> None:
        """Take a record's variant and image into its product."""
        for number in _OPTIONS:
            if name := self.get(record, f"option{number}_name").strip():
                group.option_names.setdefault(number, name)
        values = {number: self.get(record, f"option{number}_value").strip() for number in _OPTIONS}
        if any(values.values()) or any(self.get(record, name).strip() for name in _MAKES_A_VARIANT):
            group.variants.append(self._variant(group, record, values))
        if image := self.get(record, "src").strip():
            group.images.append((_position(self.get(record, "position")), image))

    def _variant(self, group: _Group, record: Mapping[str, str], values: Mapping[int, str]) -> dict[str, JSON]:
        options: dict[str, JSON] = {
            group.option_names.get(number, f"Option{number}"): value for number, value in values.items() if value
        }
        if options == {"Title": "Default Title"}:
            # Shopify's spelling of "this product has no options".
            options = {}
        return {**{name: self.get(record, name) for name in _VARIANT}, "options": options}

    def product(self, group: _Group) -> dict[str, JSON]:
        """The product's fields: the first record's columns, then the friendly ones."""
        first = group.first
        fields: dict[str, JSON] = dict(first)
        fields.update({name: self.get(first, name) for name in _PRODUCT})
        images = list(dict.fromkeys(url for _, url in sorted(group.images, key=lambda image: image[0])))
        variant = group.variants[0] if group.variants else {}
        fields["body_text"] = plain_text(self.get(first, "body_html"))
        fields["tags"] = [tag for part in self.get(first, "tags").split(",") if (tag := part.strip())]
        fields["published"] = _truth(self.get(first, "published"))
        fields["images"] = images
        fields["image"] = images[0] if images else ""
        fields["variants"] = group.variants
        for name in ("sku", "price", "compare_at_price"):
            fields[name] = variant.get(name, "")
        return fields


def _position(text: str) -> float:
    """An image's place; images without one keep the file's order behind the others."""
    return float(text) if text.strip().isdecimal() and len(text) < 10 else float("inf")


def _truth(text: str) -> bool | None:
    """``published`` as a truth value; None when the file does not say."""
    return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(text.strip().lower())
