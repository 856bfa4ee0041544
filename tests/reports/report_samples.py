"""Jobs and media files for the report tests: small, real, made by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import av
from PIL import Image

from runner.model import JSON, Cell, JobRow, MediaInfo, MediaKind, RunInfo, State, StoredArtifact
from runner.reports.summary import Summary, summarise

START = 1_760_000_000.0

HOSTILE = (
    "</script><script>document.title='pwned'</script>",
    "<img src=x onerror=\"document.title='pwned'\">",
    "javascript:alert(1)",
    "{{ 7 * 7 }} {% raw %}",
    '=HYPERLINK("http://x","y")',
    "\u202egnp.exe\u202c قميص قطني",
    "👩‍👩‍👧‍👦 \U0001f9fc",
    "a\x00b\x07c\x1b[31m\x85\u2028d\u2029e",
    "lone \ud83d surrogate",
    "]]> --> &amp; ' \" `|` \\",
    "[text](javascript:alert(1)) @someone https://evil.example www.evil.example #12",
    "line\r\nbreak\ttab",
    "x" * 10_000,
    "",
    "   ",
)


def info_of(
    folder: Path, *, rehearsal: bool = False, campaign: str = "spring", halted: Mapping[str, str] | None = None
) -> RunInfo:
    """A campaign whose artifacts lie in ``folder/artifacts``."""
    return RunInfo(
        campaign=campaign,
        rehearsal=rehearsal,
        ledger=folder / "ledger.jsonl",
        artifacts=folder / "artifacts",
        created_at=START - 100,
        runs=1,
        last_run_started_at=START,
        last_run_ended_at=START + 3600,
        halted=halted or {},
        limits={"kling": 5},
    )


@dataclass(slots=True)
class Row:
    """A job to be: sensible values, any of which a test may change."""

    target: str = "clip"
    product: str = "MUG-1"
    title: str = "Stoneware mug"
    state: State = State.SUCCEEDED
    cell: Cell = ()
    artifacts: tuple[StoredArtifact, ...] = ()
    params: Mapping[str, JSON] = field(default_factory=dict)
    operation: str = "kling/avatar"
    lane: str = "kling"
    key: str = ""
    estimated: float | None = 10.0
    actual: float | None = None
    error: tuple[str, str, str, str] = ("", "", "", "")
    remote_id: str = ""
    times: tuple[float | None, float | None, float | None, float | None] = (None, None, None, None)
    """Submitted, started, ready, finished, in seconds after ``START``."""

    def made(self) -> JobRow:
        """The job row."""
        submitted, started, ready, finished = (None if at is None else START + at for at in self.times)
        return JobRow(
            key=self.key or "/".join((self.target, self.product, *(f"{axis}={value}" for axis, value in self.cell))),
            target=self.target,
            product=self.product,
            title=self.title,
            cell=self.cell,
            operation=self.operation,
            lane=self.lane,
            state=self.state,
            fingerprint="f" * 64,
            reason="new",
            attempts=1,
            remote_id=self.remote_id,
            params=self.params,
            artifacts=self.artifacts,
            credits_estimated=self.estimated,
            credits_actual=self.actual,
            error_class=self.error[0],
            error_cause=self.error[1],
            error_message=self.error[2],
            error_hint=self.error[3],
            planned_at=START,
            submitted_at=submitted,
            started_at=started,
            ready_at=ready,
            finished_at=finished,
        )


def failed(
    message: str, *, cause: str = "bad_input", error_class: str = "refused", hint: str = "", product: str = "MUG-1"
) -> JobRow:
    """A failed job."""
    return Row(state=State.FAILED, product=product, error=(error_class, cause, message, hint)).made()


def hostile_rows() -> list[JobRow]:
    """Every hostile text in every place that a text can have, in every state."""
    states = list(State)
    return [
        Row(
            target=text,
            product=text,
            title=text,
            key=f"{place} {text}",
            state=states[place % len(states)],
            cell=((text, text),),
            params={text: text, "nested": {"list": [text, float("nan"), None]}},
            operation=text,
            lane=text,
            error=(text, text, text, text),
            remote_id=text,
        ).made()
        for place, text in enumerate(HOSTILE)
    ]


def again(rows: list[JobRow]) -> Callable[[], Iterator[JobRow]]:
    """A new pass over ``rows`` at every call."""
    return lambda: iter(rows)


def summary_of(info: RunInfo, *rows: JobRow) -> Summary:
    """The numbers of these jobs."""
    return summarise(info, rows)


def still(folder: Path, path: str, *, size: tuple[int, int] = (64, 64), colour: str = "teal") -> StoredArtifact:
    """A PNG below ``folder/artifacts``."""
    file = folder / "artifacts" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(file, format="PNG")
    return stored(folder, path, MediaKind.IMAGE, size)


def video(folder: Path, path: str, *, size: tuple[int, int] = (96, 64), frames: int = 30) -> StoredArtifact:
    """An MP4 at 10 frames a second: the first third red, the second green, the last blue."""
    file = folder / "artifacts" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    colours = ("red", "lime", "blue")
    with av.open(str(file), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = (*size, "yuv420p")
        for place in range(frames):
            picture = Image.new("RGB", size, colours[min(2, place * 3 // frames)])
            plane_frame = av.VideoFrame(size[0], size[1], "rgb24")
            plane = plane_frame.planes[0]
            width = size[0] * 3
            data = picture.tobytes()
            lines = (data[line * width : (line + 1) * width].ljust(plane.line_size, b"\0") for line in range(size[1]))
            plane.update(b"".join(lines))
            container.mux(stream.encode(plane_frame))
        container.mux(stream.encode(None))
    return stored(folder, path, MediaKind.VIDEO, size, seconds=frames / 10)


def stored(
    folder: Path, path: str, kind: MediaKind, size: tuple[int, int] = (64, 64), *, seconds: float | None = None
) -> StoredArtifact:
    """What the ledger would say of the file at ``path`` (which may be missing)."""
    file = folder / "artifacts" / path
    data = file.read_bytes() if file.is_file() else b""
    media_format = {MediaKind.IMAGE: "png", MediaKind.VIDEO: "mp4", MediaKind.AUDIO: "wav"}[kind]
    return StoredArtifact(
        name=kind.value,
        path=path,
        sha256=hashlib.sha256(data or path.encode("utf-8", "replace")).hexdigest(),
        info=MediaInfo(kind, media_format, len(data), size[0], size[1], seconds),
    )
