"""From a file's bytes to text: encodings, and files that are not what their name says.

Owns the rule of which encodings are taken: UTF-8, and UTF-16 or UTF-32 that say so with a byte order mark (UTF-16 also by its
pattern of zero bytes). Anything else must be named. Never guesses an eight-bit encoding: every guess "works", and a wrong one
would be spoken in a paid video.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from runner.bounds import USUAL, InputLimits, raised_by
from runner.errors import CatalogueError

_HEAD_BYTES = 4096

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

_STRANGERS = (
    (b"PK\x03\x04", "a spreadsheet or a zip file", "open it and export the sheet as CSV (UTF-8)"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", "open it and export the sheet as CSV (UTF-8)"),
    (b"\x1f\x8b", "compressed with gzip", "unpack it first"),
    (b"%PDF", "a PDF", "export the products as CSV, JSON or a Google Merchant feed"),
    (b"SQLite format 3\0", "a SQLite database", "export the table as CSV"),
    (b"PAR1", "a Parquet file", "export it as JSON lines or CSV"),
)


@dataclass(frozen=True, slots=True)
class Options:
    """What the manifest says about reading a catalogue file, beside its format."""

    records: str | None = None
    """Dotted path to the list of products inside a JSON or YAML document."""
    encoding: str | None = None
    """The text encoding; None: found out as this module says."""
    limits: InputLimits = USUAL


def read_head(path: Path) -> bytes:
    """The first bytes of the file. Raises ``CatalogueError`` when it cannot be opened or is of a known other kind."""
    file = str(path)
    try:
        if not path.exists():
            raise CatalogueError(
                "there is no such file", file=file, hint="check the path; it is relative to the manifest's folder"
            )
        if not path.is_file():
            raise CatalogueError("this is not a file", file=file, hint="name the catalogue file itself")
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
    except OSError as error:
        raise CatalogueError(f"cannot be read: {error.strerror}", file=file, hint="check the file's permissions") from error
    for magic, what, hint in _STRANGERS:
        if head.startswith(magic):
            raise CatalogueError(f"this is {what}, not text", file=file, hint=hint)
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<html", b"<!doctype html")):
        raise CatalogueError(
            "this is a web page, not a catalogue",
            file=file,
            hint="download the file again; the link may have led to a login page",
        )
    return head


def encoding_of(path: Path, options: Options) -> str:
    """The codec to read the file with. Raises ``CatalogueError`` for an unknown name."""
    head = read_head(path)
    found = _detected(head)
    if options.encoding is None:
        return found
    try:
        name = codecs.lookup(options.encoding).name
    except (LookupError, ValueError) as error:
        raise CatalogueError(
            f"there is no encoding {options.encoding!r}", file=str(path), hint="write for example utf-8, cp1252 or utf-16"
        ) from error
    # A byte order mark knows better than a manifest that was written for last month's file.
    return found if found != "utf-8" else name


def _detected(head: bytes) -> str:
    for mark, name in _BOMS:
        if head.startswith(mark):
            return name
    evens, odds = head[0:64:2], head[1:64:2]
    if len(odds) > 1 and 0 not in evens and odds.count(0) * 2 > len(odds):
        return "utf-16-le"
    if len(odds) > 1 and 0 not in odds and evens.count(0) * 2 > len(evens):
        return "utf-16-be"
    return "utf-8"


def read_lines(path: Path, options: Options, *, newline: str = "") -> Iterator[str]:
    """The lines of the file, each with its line end, lazily.

    ``newline`` as for ``open``. Raises ``CatalogueError`` with the line for bytes that are not in the encoding, for a zero
    byte, and for a line beyond the limit.
    """
    encoding = encoding_of(path, options)
    try:
        stream = path.open(encoding=encoding, errors="surrogateescape", newline=newline)
    except LookupError as error:
        raise CatalogueError(f"{encoding} is not an encoding of text", file=str(path), hint="write for example utf-8") from error
    most = options.limits.catalogue_line_chars
    with stream:
        number = 0
        while line := _next_line(stream, path, number + 1, most):
            number += 1
            if "\0" in line or not line.isascii() or len(line) > most:
                _check_length(line, most, str(path), number)
                check_text(line, file=str(path), row=number, encoding=encoding)
            yield line


def _next_line(stream: TextIO, path: Path, row: int, most: int) -> str:
    try:
        return stream.readline(most + 1)
    except UnicodeDecodeError as error:
        # Surrogates stand in for bytes from 0x80 on only; the file is read in blocks, so the row is the earliest it can be.
        raise CatalogueError(
            f"from about this line on the file is not {error.encoding.upper()}", file=str(path), row=row, hint=_ENCODING_HINT
        ) from error


def _check_length(line: str, most: int, file: str, row: int) -> None:
    if len(line) > most:
        hint = f"check that this is the catalogue file; {raised_by('catalogue_line_chars')}"
        raise CatalogueError(f"this line is longer than {most:,} characters", file=file, row=row, hint=hint)


def check_text(line: str, *, file: str, row: int, encoding: str) -> None:
    """Refuse a line that holds a zero character, or has bytes that the encoding could not read."""
    if "\0" in line:
        raise CatalogueError(
            "this line holds a zero character, so the file is damaged or not text",
            file=file,
            row=row,
            hint="export the file again",
        )
    try:
        line.encode("utf-8")
    except UnicodeEncodeError as error:
        raise CatalogueError(_undecodable(line[error.start], encoding), file=file, row=row, hint=_ENCODING_HINT) from error


_ENCODING_HINT = "save the file as UTF-8 (in Excel: Save As, CSV UTF-8), or name its encoding, for example cp1252"


def _undecodable(char: str, encoding: str) -> str:
    code = ord(char)
    if not 0xDC80 <= code <= 0xDCFF:
        return "this line holds half of a surrogate pair, which is no character"
    byte = code - 0xDC00
    other = bytes([byte]).decode("cp1252", "replace")
    guess = f" (it would be {other!r} in Windows-1252)" if other.isprintable() and encoding.startswith("utf") else ""
    return f"this line is not {encoding.removesuffix('-sig').upper()}: byte 0x{byte:02X} does not fit{guess}"


def read_whole(path: Path, options: Options, *, limit: str) -> bytes:
    """The whole file as UTF-8 without a byte order mark. Raises ``CatalogueError`` as ``read_lines`` does, and beyond ``limit``,
    the field of ``InputLimits`` that counts its bytes.
    """
    most: int = getattr(options.limits, limit)
    encoding = encoding_of(path, options)
    size = path.stat().st_size
    if size > most:
        raise CatalogueError(
            f"the file has {size:,} bytes; a document that must be read in one piece may have {most:,}",
            file=str(path),
            hint=f"write the products as JSON lines (.jsonl) or CSV, which are read row by row; or {raised_by(limit)}",
        )
    data = path.read_bytes()
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        bad = data[error.start]
        message = _undecodable(chr(0xDC00 + bad), encoding) if bad >= 0x80 else f"this line is not {encoding.upper()}"
        raise CatalogueError(message, file=str(path), row=line, hint=_ENCODING_HINT) from error
    except LookupError as error:
        raise CatalogueError(f"{encoding} is not an encoding of text", file=str(path), hint="write for example utf-8") from error
    return text.encode()
