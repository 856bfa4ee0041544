"""A Google Merchant feed: RSS 2.0, RSS 1.0 or Atom with the ``g:`` namespace, read as it streams by.

Owns how a feed's item becomes a product:

- Attributes lose their prefix (``id``, ``title``, ``image_link``, ``price``), whatever the feed calls it. The item's own
  elements (``title``, ``link``, ``description``) fill in where the ``g:`` one is missing.
- Attributes that may stand more than once (``additional_image_link``, ``shipping``, ``product_detail`` ...) are always lists;
  others become one when they are repeated. An element with elements inside is a mapping.
- Added: ``price_value`` and ``price_currency`` (also for ``sale_price``), ``description_text`` without HTML, ``images`` and
  ``image``.

A document type, entities and references to other files are refused. Only one item is held at a time. The row number is the
line on which the item begins.
"""

from __future__ import annotations

import codecs
import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from xml.etree.ElementTree import ParseError

from runner.bounds import raised_by
from runner.errors import CatalogueError
from runner.model import JSON
from runner.sources.opening import Options, read_head
from runner.sources.plaintext import plain_text

_CHUNK_BYTES = 65_536
_MAX_DEPTH = 32
_HINT_CLOSED = "check that every <item> is closed"
_ROOTS = frozenset(("rss", "feed", "RDF"))
_ITEMS = frozenset(("item", "entry"))
_MERCHANT = frozenset(("base.google.com/ns/1.0", "base.google.com/cns/1.0"))
_OWN = frozenset(("", "www.w3.org/2005/atom", "purl.org/rss/1.0", "purl.org/atom/ns#"))
_SAME = {"summary": "description", "content": "description"}

REPEATABLE = frozenset(
    (
        "additional_image_link",
        "certification",
        "excluded_destination",
        "free_shipping_threshold",
        "included_destination",
        "lifestyle_image_link",
        "loyalty_program",
        "product_detail",
        "product_highlight",
        "promotion_id",
        "shipping",
        "shopping_ads_excluded_country",
        "tax",
    )
)
"""Attributes that Google's product specification allows more than once."""

_PRICES = ("price", "sale_price")
_MAX_PRICE_CHARS = 40
_PRICE = re.compile(r"([A-Za-z]{3}|[$€£¥])?\s*(\d[\d., '\u00a0\u202f]*)\s*([A-Za-z]{3}|[$€£¥])?")
_SIGNS = {"$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY"}


@dataclass(frozen=True, slots=True)
class GoogleMerchantSource:
    """Products of a Google Merchant XML feed."""

    path: Path
    options: Options = field(default_factory=Options)

    def rows(self) -> Iterator[tuple[int, Mapping[str, JSON]]]:
        """(line of the item, fields), lazily. Raises ``CatalogueError``."""
        head = read_head(self.path)
        if not head.strip():
            raise CatalogueError("the file is empty", file=str(self.path), hint="download the feed again")
        reading = _Reading(str(self.path), self.options)
        with self.path.open("rb") as stream:
            for chunk in reading.without_leading_space(stream):
                trouble = reading.feed(chunk)
                while reading.items:
                    yield reading.items.popleft()
                if trouble is not None:
                    raise trouble


class _Element:
    """One element inside an item."""

    __slots__ = ("children", "href", "kind", "name", "text")

    def __init__(self, kind: str, name: str, href: str) -> None:
        self.kind = kind
        self.name = name
        self.href = href
        self.text: list[str] = []
        self.children: list[_Element] = []


class _Reading:
    """The parser and what it reports to: builds one item at a time and queues the finished ones."""

    def __init__(self, file: str, options: Options) -> None:
        from defusedxml.ElementTree import DefusedXMLParser

        self.items: deque[tuple[int, dict[str, JSON]]] = deque()
        self._file = file
        self._limits = options.limits
        self._offset = 0
        self._depth = 0
        self._open: list[_Element] = []
        self._begun = 0
        self._elements = 0
        self._chars = 0
        self._kinds: dict[str, tuple[str, str]] = {}
        self._parser = DefusedXMLParser(target=self, encoding=options.encoding, forbid_dtd=True)

    def without_leading_space(self, stream: BinaryIO) -> Iterator[bytes | None]:
        """The file in pieces, then None. Space before the XML declaration, a common fault of feed plug-ins, is left out."""
        first = stream.read(_CHUNK_BYTES)
        bare = first.removeprefix(codecs.BOM_UTF8).lstrip(b" \t\r\n")
        if bare.startswith(b"<"):
            self._offset = first[: len(first) - len(bare)].count(b"\n")
            first = bare
        while first:
            yield first
            first = stream.read(_CHUNK_BYTES)
        yield None

    def feed(self, chunk: bytes | None) -> CatalogueError | None:
        """Parse a piece (None: the end). What went wrong is returned, so that the items before it are not lost."""
        from defusedxml import DefusedXmlException

        try:
            if chunk is None:
                self._parser.close()
            else:
                self._parser.feed(chunk)
        except CatalogueError as error:
            return error
        except DefusedXmlException:
            hint = "remove the <!DOCTYPE ...> from the feed; a product feed needs none"
            return self._error("the feed declares a document type or entities, which are not read from feeds", hint=hint)
        except ParseError as error:
            return self._parse_error(error)
        except (ValueError, LookupError) as error:
            return self._error(f"the feed's encoding cannot be read: {error}", hint="save the feed as UTF-8")
        return None

    def _parse_error(self, error: ParseError) -> CatalogueError:
        words = re.sub(r": line \d+, column \d+$", "", str(error))
        hint = "check the feed with an XML editor near this line"
        if "unbound prefix" in words:
            hint = 'declare the namespace: <rss xmlns:g="http://base.google.com/ns/1.0" version="2.0">'
        elif "undefined entity" in words:
            hint = "XML knows no HTML entities: write the character itself, or put the text into <![CDATA[ ]]>"
        elif "encoding" in words:
            hint = "save the feed as UTF-8"
        return CatalogueError(
            f"this is not well-formed XML: {words}", file=self._file, row=error.position[0] + self._offset, hint=hint
        )

    def _error(self, message: str, *, hint: str) -> CatalogueError:
        return CatalogueError(message, file=self._file, row=self._line(), hint=hint)

    def _line(self) -> int:
        return int(self._parser.parser.CurrentLineNumber) + self._offset

    # What the parser calls.

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """An element begins."""
        if tag not in self._kinds:
            self._kinds[tag] = _kind_and_name(tag)
        kind, name = self._kinds[tag]
        self._depth += 1
        if self._depth == 1 and name not in _ROOTS:
            hint = "a Google Merchant feed is RSS (<rss>) or Atom (<feed>); export the products as such, or as CSV or JSON"
            raise self._error(f"the document's root is <{name[:80]}>, so it is no Google Merchant feed", hint=hint)
        if not self._open:
            if name not in _ITEMS or self._depth == 1:
                return
            self._begun, self._elements, self._chars = self._line(), 0, 0
        self._elements += 1
        if len(self._open) > _MAX_DEPTH:
            raise self._error(f"this item has too many elements within each other: more than {_MAX_DEPTH}", hint=_HINT_CLOSED)
        if self._elements > (most := self._limits.catalogue_xml_elements):
            hint = f"{_HINT_CLOSED}; {raised_by('catalogue_xml_elements')}"
            raise self._error(f"this item has too many elements: more than {most:,}", hint=hint)
        rel = attributes.get("rel", "alternate")
        element = _Element(kind, name, attributes.get("href", "") if rel == "alternate" else "")
        if self._open:
            self._open[-1].children.append(element)
        self._open.append(element)

    def data(self, text: str) -> None:
        """Text stands in the current element."""
        if self._open:
            self._chars += len(text)
            if self._chars > (most := self._limits.catalogue_value_chars):
                hint = f"{_HINT_CLOSED}; {raised_by('catalogue_value_chars')}"
                raise self._error(f"this item holds more than {most:,} characters", hint=hint)
            self._open[-1].text.append(text)

    def end(self, _tag: str) -> None:
        """An element ends; with the outermost one an item is complete."""
        self._depth -= 1
        if self._open:
            element = self._open.pop()
            if not self._open:
                self.items.append((self._begun, _product(element)))

    def close(self) -> None:
        """The document ends."""


def _kind_and_name(tag: str) -> tuple[str, str]:
    """``g`` for Google's attributes, ``own`` for RSS's and Atom's elements, else ``other``; and the name without a prefix."""
    uri, _, name = tag[1:].rpartition("}") if tag.startswith("{") else ("", "", tag)
    place = re.sub(r"^https?://", "", uri.strip().lower()).rstrip("/")
    kind = "g" if place in _MERCHANT else "own" if place in _OWN else "other"
    return kind, name


def _product(item: _Element) -> dict[str, JSON]:
    fields: dict[str, JSON] = {}
    for element in item.children:
        if element.kind == "g":
            _add(fields, element.name, _value(element))
    own: dict[str, JSON] = {}
    for element in item.children:
        name = _SAME.get(element.name, element.name)
        if element.kind == "own" and not fields.get(name) and (text := _flat(element)):
            _add(own, name, text)
    fields.update(own)
    _add_friendly(fields)
    return fields


def _add(fields: dict[str, JSON], name: str, value: JSON) -> None:
    known = fields.get(name)
    if isinstance(known, list):
        known.append(value)
    elif name in fields:
        fields[name] = [known, value]
    else:
        fields[name] = [value] if name in REPEATABLE else value


def _value(element: _Element) -> JSON:
    """The text of a leaf, a mapping of what is inside otherwise."""
    if not element.children:
        return "".join(element.text).strip()
    inside: dict[str, JSON] = {}
    for child in element.children:
        _add(inside, child.name, _value(child))
    return inside


def _flat(element: _Element) -> str:
    """All text in an element of RSS or Atom; an Atom link's address."""
    pieces = list(element.text)
    pieces.extend(_flat(child) for child in element.children)
    return "".join(pieces).strip() or element.href.strip()


def _add_friendly(fields: dict[str, JSON]) -> None:
    description = fields.get("description")
    fields["description_text"] = plain_text(description) if isinstance(description, str) else ""
    links = [*_texts(fields.get("image_link")), *_texts(fields.get("additional_image_link"))]
    images = list(dict.fromkeys(links))
    fields["images"] = images
    fields["image"] = images[0] if images else ""
    for name in _PRICES:
        fields[f"{name}_value"], fields[f"{name}_currency"] = _price(fields.get(name))


def _texts(value: JSON) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [text for text in values if isinstance(text, str) and text]


def _price(value: JSON) -> tuple[float | None, str]:
    """Amount and currency of ``19.99 USD``; (None, "") for what is no price."""
    found = _PRICE.fullmatch(value.strip()) if isinstance(value, str) and len(value) <= _MAX_PRICE_CHARS else None
    if found is None:
        return None, ""
    currency = found[1] or found[3] or ""
    return _amount(found[2]), _SIGNS.get(currency, currency.upper())


def _amount(text: str) -> float | None:
    """Google writes a point before decimals; feeds also write ``1,299.00``, ``1.299,00`` and ``19,99``."""
    text = re.sub("[ '\u00a0\u202f]", "", text)
    point, comma = text.rfind("."), text.rfind(",")
    decimals_after_comma = comma > point if point >= 0 and comma >= 0 else len(text) - comma - 1 != 3
    if comma >= 0 and decimals_after_comma and text.count(",") == 1:
        text = text.replace(".", "").replace(",", ".")
    else:
        text = text.replace(",", "")
    try:
        return float(text)
    except ValueError:
        return None
