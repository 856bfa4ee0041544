"""``report.json``: everything the reports know, for other programs.

The document (``schema`` is raised only when something is removed or changes its meaning; keys may be added)::

    schema      1
    campaign    {name, rehearsal, created_at, runs, last_run_started_at, last_run_ended_at, as_of,
                 halted: {lane: message}, limits: {lane: slots}}
    summary     {jobs, products, states: {state: count}, succeeded, failed, running, open, attempts, run_seconds,
                 campaign_seconds, per_hour, files, file_bytes, video_seconds,
                 targets | lanes | providers: [group], failures: [failure], attention: [{kind, count, subject, message, advice}]}
      group     {name, provider, jobs, succeeded, failed, running, waiting, open, attempts, slots, states: {state: count},
                 credits: {estimated, actual, matched, matched_estimated, matched_actual, unpriced, unreported},
                 queue | processing: {count, median, p90}}
      failure   {error_class, cause, message, sample, count, examples: [job key], advice, credits, targets: [name]}
    jobs        [{key, target, product, title, cell: {axis: value}, operation, lane, state, fingerprint, reason, attempts,
                 remote_id, params, values, credits_estimated, credits_actual,
                 error: {class, cause, message, hint} or null,
                 planned_at, submitted_at, started_at, ready_at, finished_at, queue_seconds, processing_seconds,
                 artifacts: [{name, path, sha256, kind, format, bytes, width, height, seconds, codec}]}]

Times are Unix seconds, durations seconds, sizes bytes and pixels, credits those of the job's provider; null where nothing is
known. ``path`` is relative to the run's ``artifacts/``. One job per line, so that the file can be compared and searched.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from runner.model import JobRow, RunInfo, StoredArtifact
from runner.reports.cleaning import finite, plain
from runner.reports.material import Material, Rows
from runner.reports.summary import Group, Summary, processing_seconds, queue_seconds
from runner.reports.writing import replacing

SCHEMA = 1


def write_json(material: Material) -> Path:
    """Write the file, one job at a time, and say where. Raises OSError."""
    path = material.path("json")
    with replacing(path) as stream:
        stream.write(f'{{\n"schema": {SCHEMA},\n')
        stream.write(f'"campaign": {_encoded(_campaign(material.info, material.summary))},\n')
        stream.write(f'"summary": {_encoded(summary_fields(material.summary))},\n"jobs": [')
        _write_jobs(stream, material.rows)
        stream.write("\n]}\n")
    return path


def summary_fields(summary: Summary) -> dict[str, object]:
    """The ``summary`` part of the document, as plain values (also what ``status --json`` shows)."""
    return {
        "jobs": summary.jobs,
        "products": summary.products,
        "states": dict(summary.states),
        "succeeded": summary.succeeded,
        "failed": summary.failed,
        "running": summary.running,
        "open": summary.open,
        "attempts": summary.attempts,
        "run_seconds": summary.run_seconds,
        "campaign_seconds": summary.campaign_seconds,
        "per_hour": summary.per_hour,
        "files": summary.files,
        "file_bytes": summary.file_bytes,
        "video_seconds": summary.video_seconds,
        "targets": _groups(summary.targets),
        "lanes": _groups(summary.lanes),
        "providers": _groups(summary.providers),
        "failures": [asdict(failure) for failure in summary.failures],
        "attention": [asdict(item) for item in summary.attention],
    }


def _write_jobs(stream: TextIO, rows: Rows) -> None:
    separator = "\n"
    for row in rows():
        stream.write(separator + _encoded(_job(row)))
        separator = ",\n"


def _encoded(value: object) -> str:
    return json.dumps(plain(value), ensure_ascii=False, allow_nan=False)


def _groups(groups: Iterable[Group]) -> list[dict[str, object]]:
    return [{**asdict(group), "open": group.open} for group in groups]


def _campaign(info: RunInfo, summary: Summary) -> dict[str, object]:
    return {
        "name": info.campaign,
        "rehearsal": info.rehearsal,
        "created_at": info.created_at,
        "runs": info.runs,
        "last_run_started_at": info.last_run_started_at,
        "last_run_ended_at": info.last_run_ended_at,
        "as_of": summary.as_of,
        "halted": dict(info.halted),
        "limits": dict(info.limits),
    }


def _job(row: JobRow) -> dict[str, object]:
    return {
        "key": row.key,
        "target": row.target,
        "product": row.product,
        "title": row.title,
        "cell": dict(row.cell),
        "operation": row.operation,
        "lane": row.lane,
        "state": row.state,
        "fingerprint": row.fingerprint,
        "reason": row.reason,
        "attempts": row.attempts,
        "remote_id": row.remote_id,
        "params": row.params,
        "values": row.values,
        "credits_estimated": finite(row.credits_estimated),
        "credits_actual": finite(row.credits_actual),
        "error": _error(row),
        "planned_at": row.planned_at,
        "submitted_at": row.submitted_at,
        "started_at": row.started_at,
        "ready_at": row.ready_at,
        "finished_at": row.finished_at,
        "queue_seconds": queue_seconds(row),
        "processing_seconds": processing_seconds(row),
        "artifacts": [_artifact(artifact) for artifact in row.artifacts],
    }


def _error(row: JobRow) -> dict[str, str] | None:
    if not (row.error_class or row.error_cause or row.error_message):
        return None
    return {"class": row.error_class, "cause": row.error_cause, "message": row.error_message, "hint": row.error_hint}


def _artifact(artifact: StoredArtifact) -> dict[str, object]:
    return {"name": artifact.name, "path": artifact.path, "sha256": artifact.sha256, **asdict(artifact.info)}
