"""The HTML report's data: script files that hand the jobs to the page, a chunk at a time.

Owns their shape (``page/report.js`` reads it) and their safety: what stands in them is JSON in which no character can end a script.
Pages opened from disk cannot fetch, but they can load scripts of their own folder. Three kinds, each named after its content, so
that an open page never mixes two reports::

    data/run-*.js       {jobs, artifacts, targets, lanes, states, jobsPerFile, jobFiles, detailsPerFile, detailFiles}
    data/jobs-*.js      (file, first product, [[product key, title]], [job]): what a card shows
    data/details-*.js   (file, [detail]): the rest, loaded when a job is opened

    job     [product, target, state, lane, cell, credits, estimate, seconds, failure, note, media]   (the first four and failure
            are places in tables)
    media   [kind, url below artifacts, poster, width, height, seconds, problem, name]
    detail  as ``job_details.detail_of`` makes it
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from runner.model import JobRow, MediaKind, State, StoredArtifact
from runner.reports.cleaning import encodable, finite, one_line
from runner.reports.failures import FailureKey, failure_key
from runner.reports.job_details import detail_of
from runner.reports.links import inner_url, relative_url
from runner.reports.material import Material
from runner.reports.posters import Posters
from runner.reports.summary import processing_seconds
from runner.reports.wording import STATE_WORDS
from runner.reports.writing import replace_text

JOBS_PER_FILE = 2_000
DETAILS_PER_FILE = 200
MAX_TITLE = 200
MAX_NOTE = 160
STATES = tuple(STATE_WORDS)

_KINDS = {MediaKind.IMAGE: 0, MediaKind.VIDEO: 1, MediaKind.AUDIO: 2}
_UNSAFE = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}
_NOTES = {
    State.PENDING: "Waits for earlier jobs.",
    State.HELD: "Waits for approval.",
    State.READY: "Ready to be submitted.",
    State.SUBMITTING: "Being submitted.",
    State.UNCERTAIN: "It is not known whether the provider took it.",
    State.RUNNING: "The provider is at work.",
    State.CANCELLING: "Being cancelled.",
    State.COLLECTING: "Done; being downloaded.",
    State.SUCCEEDED: "No file was made.",
    State.FAILED: "Failed without a message.",
    State.SKIPPED: "Skipped.",
    State.CANCELLED: "Cancelled.",
}


def script_json(value: object) -> str:
    """The value as JSON that may stand inside any script: no ``<``, ``>``, ``&`` nor line separator is left as it is."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return encodable(text).translate(_UNSAFE)


@dataclass(slots=True)
class SiteData:
    """Writes the data files of one report below ``folder`` (the one that holds ``index.html``)."""

    material: Material
    folder: Path
    posters: Posters
    _products: dict[str, int] = field(default_factory=dict)
    _failures: dict[FailureKey, int] = field(default_factory=dict)
    _targets: dict[str, int] = field(default_factory=dict)
    _lanes: dict[str, int] = field(default_factory=dict)

    def write(self) -> str:
        """Write all data files; the answer is the name of the one that ``index.html`` loads. Raises OSError."""
        summary = self.material.summary
        self._targets = {group.name: place for place, group in enumerate(summary.targets)}
        self._lanes = {group.name: place for place, group in enumerate(summary.lanes)}
        self._failures = {failure.key: place for place, failure in enumerate(summary.failures)}
        job_files: list[str] = []
        detail_files: list[str] = []
        rows = self.material.rows()
        while chunk := list(islice(rows, JOBS_PER_FILE)):
            self.posters.prepare(artifact for row in chunk for artifact in row.artifacts)
            job_files.append(self._write_jobs(len(job_files), chunk))
            for start in range(0, len(chunk), DETAILS_PER_FILE):
                details = [detail_of(row) for row in chunk[start : start + DETAILS_PER_FILE]]
                detail_files.append(self._write("details", len(detail_files), [details]))
        return self._write("run", 0, [self._run(job_files, detail_files)])

    def remove_stale(self, current: str) -> None:
        """Remove the data files that ``current`` (the run file's name) does not name: an older report's."""
        folder = self.folder / "data"
        text = (folder / current).read_text(encoding="utf-8")
        for path in folder.glob("*.js"):
            if path.name != current and f'"{path.name}"' not in text:
                path.unlink(missing_ok=True)

    def _run(self, job_files: Sequence[str], detail_files: Sequence[str]) -> dict[str, object]:
        summary = self.material.summary
        return {
            "jobs": summary.jobs,
            "artifacts": relative_url(self.material.info.artifacts, self.folder),
            "targets": [one_line(group.name, MAX_TITLE) for group in summary.targets],
            "lanes": [one_line(group.name, MAX_TITLE) for group in summary.lanes],
            "states": [[state.value, STATE_WORDS[state]] for state in STATES],
            "jobsPerFile": JOBS_PER_FILE,
            "jobFiles": job_files,
            "detailsPerFile": DETAILS_PER_FILE,
            "detailFiles": detail_files,
        }

    def _write_jobs(self, place: int, chunk: Sequence[JobRow]) -> str:
        first = len(self._products)
        fresh: list[list[str]] = []
        for row in chunk:
            if row.product not in self._products:
                self._products[row.product] = len(self._products)
                fresh.append([one_line(row.product, MAX_TITLE), one_line(row.title, MAX_TITLE)])
        return self._write("jobs", place, [first, fresh, [self._job(row) for row in chunk]])

    def _write(self, kind: str, place: int, arguments: Sequence[object]) -> str:
        text = f"callsheetReport.{kind}({','.join(script_json(item) for item in (place, *arguments))});\n"
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        name = f"{kind}-{place:04d}-{digest}.js"
        path = self.folder / "data" / name
        replace_text(path, text)
        return name

    def _job(self, row: JobRow) -> list[object]:
        seconds = processing_seconds(row)
        return [
            self._products[row.product],
            self._targets.get(row.target, -1),
            STATES.index(row.state),
            self._lanes.get(row.lane, -1),
            one_line(" · ".join(value for _, value in row.cell), MAX_TITLE),
            finite(row.credits_actual),
            finite(row.credits_estimated),
            None if seconds is None else round(seconds, 1),
            self._failure(row),
            "" if row.artifacts else _note(row),
            [self._media(artifact) for artifact in row.artifacts],
        ]

    def _failure(self, row: JobRow) -> int:
        """The place of the job's failure group in the summary; -1 when it did not fail."""
        if row.state is not State.FAILED:
            return -1
        return self._failures.get(failure_key(row), -1)

    def _media(self, artifact: StoredArtifact) -> list[object]:
        picture, info = self.posters.of(artifact), artifact.info
        url = inner_url(artifact.path)
        seconds = finite(info.seconds)
        name = one_line(artifact.name, 60)
        return [_KINDS[info.kind], url, picture.poster, info.width, info.height, seconds, picture.problem, name]


def _note(row: JobRow) -> str:
    """Why there is nothing to see, in the job's own words where it has some."""
    own = row.error_message if row.state in (State.FAILED, State.UNCERTAIN) else ""
    return one_line(own, MAX_NOTE) or _NOTES[row.state]
