"""Catalogue files: which readers exist, and which one a file needs.

Owns the registry and the guess. Every reader yields ``(row, fields)`` lazily and raises ``CatalogueError``; none knows what a
product key is, none follows a link in its file.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path

from runner.bounds import USUAL, InputLimits
from runner.errors import CatalogueError
from runner.seams import Source
from runner.sources.delimited import DelimitedSource
from runner.sources.google_merchant import GoogleMerchantSource
from runner.sources.jsonfile import JsonSource
from runner.sources.jsonlines import JsonLinesSource
from runner.sources.opening import Options, read_head
from runner.sources.shopify import ShopifySource, is_shopify_header


def _tsv(path: Path, options: Options) -> Source:
    return DelimitedSource(path, options, "\t")


def _yaml(path: Path, options: Options) -> Source:
    from runner.sources.yamlfile import YamlSource

    return YamlSource(path, options)


SOURCES: Mapping[str, Callable[[Path, Options], Source]] = {
    "csv": DelimitedSource,
    "tsv": _tsv,
    "jsonl": JsonLinesSource,
    "json": JsonSource,
    "yaml": _yaml,
    "shopify": ShopifySource,
    "google-merchant": GoogleMerchantSource,
}
"""Format name, as ``catalogue.format`` has it, to reader."""

_EXTENSIONS: Mapping[str, str] = {
    ".csv": "csv",
    ".txt": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".xml": "google-merchant",
    ".rss": "google-merchant",
    ".atom": "google-merchant",
}

_WITH_RECORDS = ("json", "yaml")


def open_source(
    path: Path,
    format: str | None,  # noqa: A002 - the manifest's own word
    *,
    records: str | None = None,
    encoding: str | None = None,
    limits: InputLimits = USUAL,
) -> Source:
    """The reader for ``path``. ``format`` None: guessed from the name and, for delimited files, from the header.

    ``records`` is the dotted path to the list inside a JSON or YAML document; ``encoding`` names a text encoding that the file
    does not announce itself. Raises ``CatalogueError`` for a missing file, an unknown format, or ``records`` where there are none.
    """
    file = str(path)
    read_head(path)
    options = Options(records, encoding, limits)
    if format is None:
        name = _guessed(path, options)
    else:
        name = format.strip().lower().replace("_", "-")
        if name not in SOURCES:
            close = difflib.get_close_matches(name, SOURCES, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"the formats are {', '.join(SOURCES)}"
            raise CatalogueError(f"there is no catalogue format {format!r}", file=file, hint=hint)
    if records is not None and name not in _WITH_RECORDS:
        raise CatalogueError(
            f"records does not apply to a {name} file", file=file, hint="remove records; it is for json and yaml"
        )
    return SOURCES[name](path, options)


def _guessed(path: Path, options: Options) -> str:
    name = _EXTENSIONS.get(path.suffix.lower())
    if name is None:
        raise CatalogueError(
            f"the name {path.name!r} does not say what kind of catalogue it is",
            file=str(path),
            hint=f"set the format to one of {', '.join(SOURCES)}",
        )
    if name in ("csv", "tsv") and is_shopify_header(DelimitedSource(path, options).columns()):
        return "shopify"
    return name
