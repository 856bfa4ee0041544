"""Providers echo what they are sent: no credential may reach any file of a run, any output or a saved log."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from crash_rig import ROOT, environment
from people_rig import GREETING, write_campaign

from runner import events as ev
from runner.ledger import Ledger
from runner.settings import Redactor

SECRET = "topsecretkey-4711-Zq+x/9"
FORMS = (SECRET, "topsecretkey-4711-Zq%2Bx%2F9", "topsecretkey-4711")
TOLD = {
    "refused": (400, {"code": 1003, "msg": f"bad parameter; your key was {SECRET}"}),
    "halted": (401, {"code": 1101, "msg": f"the key {SECRET} is not valid"}),
    "odd": (500, {"code": 9999, "msg": f"internal error at https://x.example/?k=topsecretkey-4711-Zq%2Bx%2F9 for {SECRET}"}),
    "failed": (200, {"code": 1000, "msg": "OK", "data": {"_id": "abc123", "video_status": 1}}),
}
"""What the provider answers to a submission, by the part that it plays."""


@contextmanager
def echoing(part: str) -> Iterator[str]:
    """The address of a provider that says every credential aloud."""

    class Echo(BaseHTTPRequestHandler):
        """Answers every request in the part that it plays."""

        def do_POST(self) -> None:
            """A submission."""
            self.rfile.read(int(self.headers.get("content-length") or 0))
            self._answer(*TOLD[part])

        def do_GET(self) -> None:
            """A question about a task."""
            data = {"_id": "abc123", "video_status": 4, "error_code": 1, "error_reason": f"worker died with {SECRET}"}
            self._answer(200, {"code": 1000, "msg": SECRET, "data": data})

        def _answer(self, status: int, document: object) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("part", ["refused", "halted"])
@pytest.mark.parametrize("place", ["environment", "file"])
def test_no_credential_is_written_or_printed(tmp_path: Path, part: str, place: str) -> None:
    """Whether one job is refused or the account halted: files, outputs and logs of the run hold no form of the secret."""
    campaign = write_campaign(tmp_path / "campaign", "echo", 1, GREETING + "    deadline: 5s\n")
    logs = tmp_path / "logs"
    logs.mkdir()
    with echoing(part) as address:
        told = {"CALLSHEET_AKOOL__API_KEY": SECRET, "CALLSHEET_AKOOL__BASE_URL": address}
        clean = {**environment(), "TMPDIR": str(logs), "NO_PROXY": "*", "PYTHONPATH": str(ROOT)}
        if place == "file":
            secrets = tmp_path / "secrets"
            secrets.mkdir()
            for name, value in told.items():
                (secrets / name).write_text(value)
            clean["CALLSHEET_SECRETS_DIR"] = str(secrets)
        outputs = []
        for command in (["run", "--json"], ["status"], ["reconcile"]):
            done = subprocess.run(
                [sys.executable, "-m", "runner", command[0], str(campaign.folder), *command[1:]],
                env=clean | (told if place == "environment" else {}), cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            outputs.append(done.stdout + done.stderr)
    assert (campaign.folder / "runs" / "echo" / "ledger.jsonl").exists(), outputs
    written = {path: path.read_bytes() for top in (campaign.folder, logs) for path in top.rglob("*") if path.is_file()}
    for form in FORMS:
        assert not [path for path, body in written.items() if form.encode() in body], form
        assert all(form not in output for output in outputs), outputs
    heard = (campaign.folder / "runs" / "echo" / "ledger.jsonl").read_text(encoding="utf-8")
    assert "key" in heard.partition("SubmitStarted")[2].partition("message")[2], (
        "the provider's words are kept, without the secret"
    )
    assert not list(logs.iterdir())


def test_the_ledger_guards_every_line(tmp_path: Path) -> None:
    """Whatever part of an event holds a secret: it is not in the file, and the line can be read again."""
    path = tmp_path / "ledger.jsonl"
    with Ledger.open(path, campaign="c", rehearsal=False, now=1.0, threaded=False) as ledger:
        ledger.guard = Redactor((SECRET,)).values
        ledger.plan(
            [ev.Planned(job="a/b", at=1.0, target="a", product="b", operation="x/y", lane="x", fingerprint="f", title=SECRET)]
        )
        assert SECRET not in ledger.planned("a/b").title
    assert SECRET not in path.read_text(encoding="utf-8")
    again = Ledger.read(path)
    assert again is not None
    assert again.planned("a/b").title == "[redacted]"
    again.close()


def test_a_secret_of_digits_breaks_no_number(tmp_path: Path) -> None:
    """Digits of a secret within a time or within a job's own key leave the line as it must be to be read."""
    path = tmp_path / "ledger.jsonl"
    with Ledger.open(path, campaign="c", rehearsal=False, now=1.0, threaded=False) as ledger:
        ledger.guard = Redactor(("17600000",)).values
        ledger.plan(
            [
                ev.Planned(
                    job="a/17600000", at=1760000012.5, target="a", product="b", operation="x/y", lane="x", fingerprint="f",
                    title="17600000",
                )
            ]
        )  # fmt: skip
    again = Ledger.read(path)
    assert again is not None
    assert (again.planned("a/17600000").at, again.planned("a/17600000").title) == (1760000012.5, "[redacted]")
    again.close()
