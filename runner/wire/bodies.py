"""Bodies: what is sent, and what comes back within a size limit.

Owns JSON with files in it, file streams, and decompression that can be stopped. Holds no connection.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import anyio.to_thread
import httpx
import msgspec

from runner.errors import NotSent
from runner.seams import FileBase64, Request
from runner.wire.verdict import AnswerTooLarge, TornAnswer

BLOCK = 256 * 1024
"""Bytes moved at a time. Files no larger than this are read and written in place: a worker thread would cost more."""


class Pieces(httpx.AsyncByteStream):
    """A body in memory, sent in blocks so that a large one does not hold up everybody else."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._data), BLOCK):
            yield self._data[start : start + BLOCK]


class FilePieces(httpx.AsyncByteStream):
    """A file as a body: exactly ``size`` bytes, once. Raises ``OSError`` when the file has become shorter."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._left = size
        self._in_place = size <= BLOCK
        self._file: BinaryIO | None = None

    def __aiter__(self) -> FilePieces:
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        piece = self._read() if self._in_place else await anyio.to_thread.run_sync(self._read)
        if not piece:
            raise OSError("the file became shorter while it was being sent")
        self._left -= len(piece)
        return piece

    async def aclose(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _read(self) -> bytes:
        if self._file is None:
            self._file = self._path.open("rb")
        return self._file.read(min(BLOCK, self._left))


@dataclass(frozen=True, slots=True)
class Body:
    """A request's body, ready to send."""

    stream: httpx.AsyncByteStream
    length: int | None
    """None: the request has no body."""
    content_type: str | None = None


async def encode(request: Request) -> Body:
    """The body that ``request`` asks for. Raises ``NotSent`` when it cannot be made."""
    if request.json is not None and request.file is not None:
        raise NotSent("a request cannot have both JSON and a file", hint="This is a fault of the adapter: report it.")
    if request.file is not None:
        size = _size(request.file)
        return Body(FilePieces(request.file, size), size)
    if request.json is None:
        return Body(httpx.ByteStream(b""), None)
    data = await _encode_json(request.json)
    stream = httpx.ByteStream(data) if len(data) <= BLOCK else Pieces(data)
    return Body(stream, len(data), "application/json")


def _size(path: Path) -> int:
    try:
        with path.open("rb"):  # a missing right to read shows here, before a connection is made
            return path.stat().st_size
    except OSError as error:
        raise NotSent(f"cannot read the file {path.name}", hint="Put the file back and run again.") from error


async def _encode_json(document: object) -> bytes:
    files: list[FileBase64] = []
    try:
        files.extend(_files(document))
        small = sum(file.path.stat().st_size for file in files) <= BLOCK
        if small:
            return _dump(document)
        return await anyio.to_thread.run_sync(_dump, document)
    except OSError as error:
        raise NotSent(
            f"cannot read {', '.join(sorted({file.path.name for file in files}))}", hint="Put the file back and run again."
        ) from error
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise NotSent("the request cannot be written as JSON", hint="Check the parameters for odd characters.") from error


def _files(document: object) -> Iterator[FileBase64]:
    if isinstance(document, FileBase64):
        yield document
    elif isinstance(document, Mapping):
        for value in document.values():
            yield from _files(value)
    elif isinstance(document, Sequence) and not isinstance(document, str | bytes):
        for value in document:
            yield from _files(value)


def _dump(document: object) -> bytes:
    return msgspec.json.encode(_filled(document))


def _filled(document: object) -> object:
    """The document with each file's bare base64 text in its place."""
    if isinstance(document, FileBase64):
        return msgspec.Raw(b'"' + base64.b64encode(document.path.read_bytes()) + b'"')
    if isinstance(document, Mapping):
        return {key: _filled(value) for key, value in document.items()}
    if isinstance(document, Sequence) and not isinstance(document, str | bytes):
        return [_filled(value) for value in document]
    return document


class Decoder:
    """Undoes ``Content-Encoding`` (gzip or deflate, once) in bounded pieces, so that a bomb can be stopped in time.

    Encodings that were not asked for are left as they are. Raises ``TornAnswer`` for damaged data.
    """

    def __init__(self, content_encoding: str) -> None:
        codings = [c for c in (part.strip().lower() for part in content_encoding.split(",")) if c not in {"", "identity"}]
        if len(codings) > 1:
            raise TornAnswer("its answer is compressed more than once, which nobody asked for")
        self.active = bool(codings) and codings[0] in {"gzip", "x-gzip", "deflate"}
        self._raw_allowed = codings == ["deflate"]
        self._inflater = zlib.decompressobj(wbits=47)
        self._started = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decoded pieces of at most ``BLOCK`` bytes each."""
        if not self.active:
            yield data
            return
        full = False
        while data or full:
            piece = self._inflate(data)
            self._started = True
            full = len(piece) == BLOCK
            if piece:
                yield piece
            data = self._inflater.unconsumed_tail
            if self._inflater.eof:
                data = self._inflater.unused_data.lstrip(b"\0")
                full = False
                if data:
                    self._inflater = zlib.decompressobj(wbits=47)

    def finish(self) -> None:
        """Raises ``TornAnswer`` when the compressed data has no end."""
        if self.active and self._started and not self._inflater.eof:
            raise TornAnswer("its answer ends in the middle of compressed data")

    def _inflate(self, data: bytes) -> bytes:
        try:
            return self._inflater.decompress(data, BLOCK)
        except zlib.error as error:
            if not self._raw_allowed or self._started:
                raise TornAnswer("its answer's compressed data is damaged") from error
        self._inflater = zlib.decompressobj(wbits=-15)  # some servers send 'deflate' without the zlib header
        try:
            return self._inflater.decompress(data, BLOCK)
        except zlib.error as error:
            raise TornAnswer("its answer's compressed data is damaged") from error


def declared_length(response: httpx.Response) -> int | None:
    """Content-Length as a number, or None when it is absent or nonsense."""
    text = response.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


async def decoded(response: httpx.Response, limit: int, *, method: str = "GET") -> AsyncGenerator[bytes, None]:
    """The answer's body in pieces. Raises ``AnswerTooLarge`` above ``limit`` bytes (decoded), ``TornAnswer`` for a
    damaged or short one.
    """
    bodiless = method == "HEAD" or response.status_code in {204, 304}  # then a length speaks of a body that does not come
    declared = None if bodiless else declared_length(response)
    if declared is not None and declared > limit:
        raise AnswerTooLarge(f"its answer announces {declared} bytes, more than the {limit} allowed")
    decoder = Decoder(response.headers.get("content-encoding", ""))
    raw = total = 0
    stream = response.stream
    if not isinstance(stream, httpx.AsyncByteStream):
        raise TornAnswer("its answer cannot be streamed")
    source = aiter(stream)
    try:
        async for chunk in source:
            raw += len(chunk)
            for piece in decoder.feed(chunk):
                total += len(piece)
                if total > limit:
                    raise AnswerTooLarge(f"its answer is larger than the {limit} bytes allowed")
                yield piece
    finally:
        if isinstance(source, AsyncGenerator):
            await source.aclose()
    if declared is not None and raw < declared:
        raise TornAnswer(f"its answer ended after {raw} of {declared} bytes")
    decoder.finish()
