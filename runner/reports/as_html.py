"""``report/``: the page that shows what the campaign made. Opens from disk, offline, without a server.

Owns the folder: ``index.html`` (numbers, tables and failures, readable without scripts), ``assets/`` (style and script),
``data/`` (the jobs), ``posters/``. The page may load its own files and nothing else; its Content-Security-Policy says so too.
``index.html`` is replaced last, so that whoever opens it finds everything that it names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from runner.model import State
from runner.reports.cleaning import one_line
from runner.reports.links import relative_url
from runner.reports.material import FILES, Material
from runner.reports.posters import Posters
from runner.reports.site_data import STATES, SiteData
from runner.reports.summary import Group, Summary
from runner.reports.wording import NOTHING, STATE_WORDS, charged, deviation, duration, estimated, moment, number, percent, size
from runner.reports.writing import replace_text

if TYPE_CHECKING:
    from jinja2 import Environment

MAX_FAILURES = 20
MAX_GROUPS = 100
BAR_WIDTH = 1000
"""Units of the drawn bars."""

_PAGE = "page"
_DOWNLOADS = {"markdown": "Markdown", "json": "JSON", "csv": "CSV", "junit": "JUnit"}


@dataclass(frozen=True, slots=True)
class Tile:
    """One number at the head of the page. ``tone`` is a state's name for its colour, or empty."""

    label: str
    value: str
    note: str = ""
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Segment:
    """One state's share of the bar, in ``BAR_WIDTH`` units."""

    state: str
    place: int
    word: str
    count: int
    x: float
    width: float


def write_html(material: Material) -> Path:
    """Write the folder and say where ``index.html`` is. Raises OSError."""
    index = material.path("html")
    folder = index.parent
    folder.mkdir(parents=True, exist_ok=True)
    data = SiteData(material, folder, Posters(folder / "posters", material.info.artifacts))
    run_file = data.write()
    assets = {name: _write_asset(folder, name) for name in ("report.css", "report.js")}
    replace_text(index, _render(material, run_file, assets))
    data.remove_stale(run_file)
    _remove_stale_assets(folder, assets.values())
    return index


def tiles(summary: Summary) -> list[Tile]:
    """The numbers at the head of the page, the most important first."""
    shown = [
        Tile("Jobs", number(summary.jobs), f"{number(summary.products)} {'product' if summary.products == 1 else 'products'}"),
        Tile("Succeeded", number(summary.succeeded), percent(summary.succeeded, summary.jobs), "succeeded"),
        Tile("Failed", number(summary.failed), _kinds(len(summary.failures)), "failed" if summary.failed else ""),
        Tile("Open", number(summary.open), f"{number(summary.running)} at the provider", "running" if summary.open else ""),
    ]
    shown += [_credits_tile(group, alone=len(summary.providers) == 1) for group in _priced(summary.providers)[:4]]
    if summary.run_seconds is not None:
        pace = f"{number(round(summary.per_hour, 1))} jobs an hour" if summary.per_hour else ""
        shown.append(Tile("Last run", duration(summary.run_seconds), pace))
    if summary.files:
        footage = f"{duration(summary.video_seconds)} of video" if summary.video_seconds else ""
        shown.append(
            Tile("Files", number(summary.files), " · ".join(part for part in (size(summary.file_bytes), footage) if part))
        )
    return shown


def segments(states: Mapping[State, int]) -> list[Segment]:
    """The states' shares, in the order in which reports list states."""
    total = sum(states.values())
    found: list[Segment] = []
    x = 0.0
    for place, state in enumerate(STATES):
        count = states.get(state, 0)
        if count:
            width = BAR_WIDTH * count / total
            found.append(Segment(state.value, place, STATE_WORDS[state], count, round(x, 2), round(width, 2)))
            x += width
    return found


def _kinds(count: int) -> str:
    return f"{number(count)} {'cause' if count == 1 else 'causes'}" if count else "nothing failed"


def _credits_tile(group: Group, *, alone: bool) -> Tile:
    label = "Credits" if alone else f"Credits, {one_line(group.name, 30)}"
    return Tile(label, charged(group.credits), estimated(group.credits))


def _priced(groups: Sequence[Group]) -> list[Group]:
    return [group for group in groups if group.credits.estimated or group.credits.actual]


def _render(material: Material, run_file: str, assets: Mapping[str, str]) -> str:
    info, summary = material.info, material.summary
    folder = material.path("html").parent
    downloads = {word: relative_url(material.folder / FILES[name], folder) for name, word in _DOWNLOADS.items()}
    written = {_DOWNLOADS[name] for name in material.formats if name in _DOWNLOADS}
    template = _environment().get_template("index.html.j2")
    return template.render(
        info=info,
        campaign=one_line(info.campaign, 200) or "Campaign",
        summary=summary,
        tiles=tiles(summary),
        segments=segments(summary.states),
        priced=_priced(summary.providers),
        failures=summary.failures[:MAX_FAILURES],
        more_failures=len(summary.failures) - MAX_FAILURES,
        targets=summary.targets[:MAX_GROUPS],
        lanes=summary.lanes[:MAX_GROUPS],
        downloads={word: url for word, url in downloads.items() if word in written},
        run_file=run_file,
        assets=assets,
    )


def _environment() -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(_page_file), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(number=number, duration=duration, moment=moment, line=one_line)
    environment.globals.update(NOTHING=NOTHING, BAR_WIDTH=BAR_WIDTH, charged=charged, deviation=deviation, estimated=estimated)
    return environment


def _page_file(name: str) -> str:
    return files(__package__).joinpath(_PAGE, name).read_text(encoding="utf-8")


def _write_asset(folder: Path, name: str) -> str:
    """Copy one of the page's own files; its name carries its digest, so that a browser never mixes versions."""
    text = _page_file(name)
    stem, _, suffix = name.partition(".")
    written = f"{stem}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.{suffix}"
    path = folder / "assets" / written
    replace_text(path, text)
    return written


def _remove_stale_assets(folder: Path, current: Iterable[str]) -> None:
    keep = set(current)
    for path in (folder / "assets").glob("report-*"):
        if path.name not in keep:
            path.unlink(missing_ok=True)
