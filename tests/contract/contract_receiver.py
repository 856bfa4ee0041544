"""A web hook receiver as a stranger would run one: a plain HTTP server in a thread that keeps what it is sent."""

from __future__ import annotations

import json
import queue
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True, slots=True)
class Letter:
    """One delivery."""

    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body as a JSON object."""
        document: dict[str, Any] = json.loads(self.body)
        return document


class Receiver:
    """Answers with ``statuses`` in turn, then 200 for ever; use as a context manager."""

    def __init__(self, *statuses: int, reply: bytes = b"ok") -> None:
        letters: queue.Queue[Letter] = queue.Queue()
        waiting = list(statuses)

        class Handler(BaseHTTPRequestHandler):
            """Keeps a POST."""

            def do_POST(self) -> None:
                """Any path."""
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                headers = {name.lower(): value for name, value in self.headers.items()}
                letters.put(Letter(parse_qs(urlsplit(self.path).query), headers, body))
                self.send_response(waiting.pop(0) if waiting else 200)
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- http.server's own signature
                """Quiet."""

        self._letters = letters
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        """Where to send to."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/hook"

    def next(self) -> Letter:
        """The next delivery; a failed test when none comes."""
        return self._letters.get(timeout=10)

    def empty(self) -> bool:
        """Nothing more has come."""
        return self._letters.empty()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
