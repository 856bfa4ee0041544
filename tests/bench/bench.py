"""Measures, each in a process of its own: ``python tests/bench/bench.py [NAME...] [--jobs N] [--json FILE]``.

Owns the figures that say what the runner itself costs, each beside a bare baseline on the same machine, so that the ratio can be compared
between machines. Never asserts a time.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import anyio

from runner import events as ev
from runner.ledger import Ledger
from runner.plan import PlanOptions, make_plan
from runner.seams import Tenure
from runner.workspace import folder_of, load_manifest, open_campaign

Figures: TypeAlias = dict[str, float]
PROMPT = "Slow push-in on {{ product.title }}, {{ vars.mood }}, {{ product.line }}."
MANIFEST = f"""\
callsheet: 1
name: bench
catalogue: {{ source: products.csv, key: sku }}
vars: {{ mood: warm morning light }}
prompts: {{ motion: "{PROMPT}" }}
providers: {{ creatify: {{ concurrency: 40, rate: 100/s }} }}
targets:
  still:
    uses: creatify/product-image
    with: {{ product_url: "{{{{ product.image }}}}", image_prompt: "{PROMPT}" }}
  clip:
    uses: creatify/product-video
    needs: still
    with: {{ image: "{{{{ needs.still.remote_id }}}}", video_prompt: "{{{{ prompts.motion }}}}" }}
"""


def campaign(folder: Path, products: int) -> Path:
    """A campaign of two jobs a product, written into ``folder``."""
    with (folder / "products.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["sku", "title", "line", "image"])
        for number in range(products):
            link = f"https://cdn.example.com/{number}.png"
            writer.writerow([f"SKU-{number:07}", f"Product {number}", f"a line about number {number}", link])
    (folder / "campaign.yaml").write_text(MANIFEST, encoding="utf-8")
    return folder


def cpu() -> float:
    """Seconds of CPU that this process used."""
    return time.process_time()


def peak_megabytes() -> float:
    """The most memory that this process held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


# ------------------------------------------------------------------------------------------------------- measures


def start(folder: Path, jobs: int) -> Figures:
    """``callsheet --version`` against a Python that does nothing."""
    del folder, jobs

    def median(command: list[str]) -> float:
        times = []
        for _ in range(9):
            begun = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            times.append(time.perf_counter() - begun)
        return statistics.median(times)

    bare = median([sys.executable, "-c", "pass"])
    ours = median([sys.executable, "-m", "runner", "--version"])
    return {"version_ms": ours * 1000, "bare_python_ms": bare * 1000, "ratio": ours / bare}


def plan(folder: Path, jobs: int) -> Figures:
    """A first plan of generated jobs, against rendering the same prompts with bare Jinja2."""
    manifest = load_manifest(campaign(folder, jobs // 2), {})
    before = peak_megabytes()
    begun, used = time.perf_counter(), cpu()
    with open_campaign(manifest, folder_of(manifest, rehearsal=True)) as opened:
        made = make_plan(opened, None, PlanOptions())
    seconds, used = time.perf_counter() - begun, cpu() - used
    bare = _bare_rendering(folder / "products.csv")
    return {
        "jobs": made.jobs,
        "jobs_per_s": made.jobs / seconds,
        "cpu_us_per_job": used / made.jobs * 1e6,
        "peak_mb": peak_megabytes(),
        "grown_mb": peak_megabytes() - before,
        "bare_jinja2_us_per_job": bare * 1e6,
        "ratio": used / made.jobs / bare,
    }


def _bare_rendering(products: Path) -> float:
    """Seconds of CPU for one prompt, without sandbox, rules and digests."""
    from jinja2 import Environment

    template = Environment(autoescape=False).from_string(PROMPT)  # noqa: S701 -- text, no page
    with products.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[:5000]
    used = cpu()
    for row in rows:
        template.render(product=row, vars={"mood": "warm morning light"})
    return (cpu() - used) / len(rows)


def ledger(folder: Path, jobs: int) -> Figures:
    """64 writers whose appends share fsyncs, against one fsync an append; then opening what they wrote, against parsing its lines."""
    jobs = max(64, jobs // 10)
    path = folder / "ledger.jsonl"
    with Ledger.open(path, campaign="bench", rehearsal=True, now=0.0) as opened:
        begun, used = time.perf_counter(), cpu()
        appends = anyio.run(_write_all, opened, jobs)
        seconds, used = time.perf_counter() - begun, cpu() - used
    begun = time.perf_counter()
    again = Ledger.read(path)
    opening = time.perf_counter() - begun
    if again is None or len(again.jobs) != jobs:
        raise AssertionError("the ledger lost jobs")
    again.close()
    lines = path.read_bytes().splitlines()
    begun = time.perf_counter()
    for line in lines:
        json.loads(line)
    parsing = time.perf_counter() - begun
    alone = _lonely_fsyncs(folder / "alone", lines)
    return {
        "durable_appends_per_s": appends / seconds,
        "cpu_us_per_append": used / appends * 1e6,
        "lonely_appends_per_s": 1 / alone,
        "ratio": appends / seconds * alone,
        "events": len(lines) - 1,
        "opened_events_per_s": (len(lines) - 1) / opening,
        "opening_to_json_loads": opening / parsing,
    }


async def _write_all(opened: Ledger, jobs: int) -> int:
    tenure = await opened.take("lane")
    numbers = iter(range(jobs))
    appends = 0

    async def writer() -> None:
        nonlocal appends
        for number in numbers:
            for event in _life(number):
                if isinstance(event, ev.Planned | ev.DependenciesMet):
                    opened.plan([event])
                else:
                    await _append(opened, tenure, event)
                    appends += 1

    async with anyio.create_task_group() as group:
        for _ in range(64):
            group.start_soon(writer)
    return appends


async def _append(opened: Ledger, tenure: Tenure, event: ev.Event) -> None:
    await opened.append(tenure, [event])


def _life(number: int) -> list[ev.Event]:
    key = f"still/SKU-{number}"
    digest = hashlib.sha256(key.encode()).hexdigest()
    params = {"image_prompt": "Slow push-in on a product, warm morning light. " * 4}
    return [
        ev.Planned(
            job=key, at=1.0, target="still", product=key, operation="x/y", lane="lane", fingerprint=digest[:32], credits=2.0
        ),
        ev.DependenciesMet(job=key, at=1.0),
        ev.SubmitStarted(job=key, at=2.0, attempt=1, key=digest[:24], params=params, account="lane"),
        ev.Accepted(job=key, at=3.0, remote_id=digest[:16]),
        ev.RemoteSucceeded(job=key, at=4.0, credits=2.0, outputs=1),
        ev.ArtifactStored(job=key, at=5.0, name="image", path=key, sha256=digest, kind="image", format="png", bytes=1000),
        ev.AllStored(job=key, at=5.0),
    ]


def _lonely_fsyncs(path: Path, lines: list[bytes]) -> float:
    """Seconds for one line written and fsynced by itself."""
    with path.open("ab", buffering=0) as file:
        begun = time.perf_counter()
        for line in lines[:300]:
            file.write(line + b"\n")
            os.fsync(file.fileno())
        return (time.perf_counter() - begun) / min(300, len(lines))


def rehearse(folder: Path, jobs: int) -> Figures:
    """A rehearsal of up to 200 products on a real socket, against the time that its slots need anyway. The simulator, a process of its own,
    hands out small files: drawing them would cost more than all the rest.
    """
    products = max(1, min(200, jobs // 2))
    speed, slots = 200, 40
    simulator = [sys.executable, "-m", "runner.simulator", "--bench", "--spread", "0", "--exit-with-stdin"]
    simulator += ["--speed", str(speed), "--concurrency", f"creatify={slots}"]
    with subprocess.Popen(simulator, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        address = process.stdout.readline().split()[-1] if process.stdout else ""
        command = [sys.executable, "-m", "runner", "run", str(campaign(folder, products)), "--rehearse", "--speed", str(speed)]
        begun = time.perf_counter()
        ran = subprocess.run([*command, "--simulator", address, "--json"], capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - begun
        used = resource.getrusage(resource.RUSAGE_CHILDREN)  # the simulator is still running: this is the run alone
    if ran.returncode:
        raise AssertionError(f"the rehearsal ended with {ran.returncode}: {ran.stdout[-500:]}{ran.stderr[-500:]}")
    told = json.loads(ran.stdout)
    ideal = products * (20.0 + 60.0) / slots / speed  # the simulator's seconds for both stages
    return {
        "jobs": told["done"],
        "wall_s": seconds,
        "engine_s": told["seconds"],
        "slots_need_s": ideal,
        "ratio": told["seconds"] / ideal,
        "jobs_per_s": told["done"] / seconds,
        "cpu_ms_per_job": (used.ru_utime + used.ru_stime) / told["done"] * 1000,
    }


MEASURES: Mapping[str, Callable[[Path, int], Figures]] = {"start": start, "plan": plan, "ledger": ledger, "rehearse": rehearse}


# -------------------------------------------------------------------------------------------------------- running


def measured(name: str, jobs: int) -> Figures:
    """The figures of one measure, taken in a fresh process."""
    command = [sys.executable, __file__, "--here", name, "--jobs", str(jobs)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        sys.stderr.write(ran.stderr)
        raise SystemExit(f"{name} could not be measured")
    figures: Figures = json.loads(ran.stdout)
    return figures


def table(results: Mapping[str, Figures]) -> str:
    """The figures for people: one line each."""
    lines = [f"{'measure':10}{'figure':26}{'value':>14}"]
    for name, figures in results.items():
        lines += [f"{name:10}{figure:26}{value:>14,.{0 if abs(value) >= 1000 else 2}f}" for figure, value in figures.items()]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure what was asked for, or everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(MEASURES)}")
    parser.add_argument("--jobs", type=int, default=20_000, help="jobs of the generated campaign (default 20000)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--here", action="store_true", help="measure in this process and print JSON")
    told = parser.parse_args()
    unknown = sorted(set(told.names) - set(MEASURES))
    if unknown:
        parser.error(f"there is no measure {unknown[0]!r}; there are {', '.join(MEASURES)}")
    if told.here:
        with tempfile.TemporaryDirectory(prefix="callsheet-bench-") as folder:
            sys.stdout.write(json.dumps({k: float(v) for k, v in MEASURES[told.names[0]](Path(folder), told.jobs).items()}))
        return 0
    results = {name: measured(name, told.jobs) for name in told.names or MEASURES}
    sys.stdout.write(table(results))
    document = json.dumps(results, indent=2)
    if told.json:
        told.json.write_text(document + "\n", encoding="utf-8")
    sys.stdout.write("\n" + document + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
