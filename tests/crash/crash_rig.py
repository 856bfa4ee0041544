"""What the crash and chaos tests work with: a small campaign through all four providers, the simulator and runs as real processes, and the
accounts afterwards.

The simulator's own record of what it took is the truth that the ledger is held against: every product key is a word that occurs nowhere
else, and every request of a job carries it, so that each paid task can be given to its job without believing anything the runner says.
"""

from __future__ import annotations

import functools
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from runner import events as ev
from runner.errors import EXIT_OK, EXIT_WAITING
from runner.ledger import Ledger
from runner.media import probe
from runner.model import State
from runner.simulator.assets import product_picture, voice_track

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SPEED = 600.0
KILLED = 137
HANGING = 60
"""Real seconds after which a run counts as hanging."""
TARGETS: Mapping[str, tuple[str, str]] = {
    "still": ("creatify", "image"),
    "clip": ("creatify", "video"),
    "presenter": ("kling", "avatar"),
    "turn": ("topview", ""),
    "greeting": ("akool", ""),
}
"""Target -> provider, and what the simulator calls that kind of task."""
WITHOUT_HANDLE = frozenset({"turn", "greeting"})
"""Their APIs give back nothing of ours: a lost submission can never be looked up."""

MANIFEST = """\
callsheet: 1
name: {name}
catalogue: {{ source: products.csv, key: sku }}
providers:
{limits}
targets:
  still:
    uses: creatify/product-image
    with:
      product_url: "https://shop.example/{{{{ product.key }}}}.jpg"
      type: product_anyshot
      aspect_ratio: 1x1
      image_prompt: "{{{{ product.key }}}} on a table"
  clip:
    uses: creatify/product-video
    needs: still
    with: {{ image: "{{{{ needs.still.remote_id }}}}", video_prompt: "{{{{ product.key }}}} turns" }}
  presenter:
    uses: kling/avatar
    needs: still
    with: {{ image: "{{{{ needs.still.files.image }}}}", sound_file: voice.mp3, prompt: "{{{{ product.key }}}} speaks" }}
  turn:
    uses: topview/image-to-video
    with: {{ image: picture.jpg, prompt: "{{{{ product.key }}}} in daylight", duration: 5, mode: lite }}
  greeting:
    uses: akool/talking-photo
    with:
      talking_photo_url: "https://shop.example/hosts/{{{{ product.key }}}}.jpg"
      audio_url: "https://shop.example/voice/{{{{ product.key }}}}.mp3"
      prompt: "{{{{ product.key }}}} greets"
"""
LIMITS: Mapping[str, Mapping[str, object]] = {
    "creatify": {"concurrency": 4},
    "kling": {"concurrency": 3},
    "topview": {"concurrency": 4},
    "akool": {"concurrency": 2},
}


@functools.cache
def _assets() -> tuple[bytes, bytes]:
    return product_picture("Cedar Bottle", 3, 320), voice_track("a short line", 2.2, 3).data


@dataclass(frozen=True, slots=True)
class Campaign:
    """A campaign on disk. ``products`` are its product keys."""

    folder: Path
    name: str
    products: tuple[str, ...]

    @classmethod
    def write(cls, folder: Path, name: str, products: int, limits: Mapping[str, Mapping[str, object]] | None = None) -> Campaign:
        """Write manifest, catalogue and input files."""
        folder.mkdir(parents=True)
        keys = tuple(f"{name}x{number}z" for number in range(products))
        rows = "\n".join(f"  {lane}: {json.dumps({**LIMITS[lane], **(limits or {}).get(lane, {})})}" for lane in LIMITS)
        (folder / "campaign.yaml").write_text(MANIFEST.format(name=name, limits=rows), encoding="utf-8")
        (folder / "products.csv").write_text("sku,title\n" + "".join(f"{key},Bottle {key}\n" for key in keys), encoding="utf-8")
        picture, voice = _assets()
        (folder / "picture.jpg").write_bytes(picture)
        (folder / "voice.mp3").write_bytes(voice)
        return cls(folder, name, keys)

    @property
    def home(self) -> Path:
        """Where its rehearsal lives."""
        return self.folder / "rehearsals" / self.name

    @property
    def journal(self) -> Path:
        """The ledger's file."""
        return self.home / "ledger.jsonl"

    def lines(self) -> int:
        """How many lines the journal has; 0 when there is none yet."""
        return self.journal.read_bytes().count(b"\n") if self.journal.exists() else 0

    def reaches(self, line: int) -> Callable[[], bool]:
        """A question: has the journal that many lines?"""
        return lambda: self.lines() >= line

    def jobs(self) -> tuple[str, ...]:
        """The key of every job there must be."""
        return tuple(f"{target}/{product}" for target in TARGETS for product in self.products)

    @contextmanager
    def ledger(self) -> Iterator[Ledger]:
        """The ledger as any reader sees it."""
        ledger = Ledger.read(self.journal)
        assert ledger is not None
        try:
            yield ledger
        finally:
            ledger.close()

    def states(self) -> dict[str, State]:
        """Job -> state."""
        with self.ledger() as ledger:
            return {key: job.state for key, job in ledger.jobs.items()}

    def doubtful(self) -> frozenset[str]:
        """Jobs whose submission was under way when the last run stopped, or is uncertain: nobody here knows what became of it."""
        if not self.lines():
            return frozenset()
        return frozenset(key for key, state in self.states().items() if state in {State.SUBMITTING, State.UNCERTAIN})


class Pretend:
    """The simulator in a process of its own, with a record of all that it took."""

    def __init__(self, state: Path, **options: object) -> None:
        told = {"speed": SPEED, "spread": 0.2, "short_side": 320, "state": str(state), **options}
        self.state = state
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "pretend_server.py"), json.dumps(told)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment(),
        )  # fmt: skip
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().strip()
        assert self.address, "the simulator did not start"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(20)
        finally:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()

    def record(self) -> list[dict[str, Any]]:
        """Every fact that it wrote down, in order."""
        raw = self.state.read_bytes()
        return [json.loads(line) for line in raw[: raw.rfind(b"\n") + 1].splitlines()]

    def paid(self, campaign: Campaign) -> Mapping[str, list[str]]:
        """Job key -> ids under which its work was taken and charged; an id per paid submission."""
        paid: dict[str, list[str]] = defaultdict(list)
        for fact in self.record():
            if fact["k"] != "task" or not fact["lane"]:
                continue
            owner = re.search(rf"\b{campaign.name}x\d+z\b", json.dumps(fact))
            if owner:
                paid[f"{_target_of(fact)}/{owner[0]}"].append(fact["data"].get("record") or fact["id"])
        return paid

    def misbehave(self, faults: Sequence[Mapping[str, object]]) -> None:
        """Put other faults in force."""
        body = json.dumps(faults).encode()
        server = http.client.HTTPConnection(self.address.removeprefix("http://"), timeout=20)
        server.request("POST", "/_simulator/faults", body, {"content-type": "application/json"})
        assert server.getresponse().status == 200
        server.close()

    def faults(self) -> Counter[str]:
        """How often each fault was injected."""
        return Counter(fact["fault"] for fact in self.record() if fact["k"] == "fault")


def _target_of(fact: Mapping[str, Any]) -> str:
    named = [
        name for name, (provider, family) in TARGETS.items() if fact["provider"] == provider and family in ("", fact["family"])
    ]
    assert len(named) == 1, f"a task that no target asked for: {fact}"
    return named[0]


def environment() -> dict[str, str]:
    """This process's environment without any setting of ours, with the product on the path."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CALLSHEET_")}
    return {**clean, "PYTHONPATH": str(ROOT)}


class Stage:
    """Runs campaigns quickly, one after the other, each in a forked process that can end at a line of its journal."""

    def __init__(
        self, pretend: Pretend, *, settings: Mapping[str, str] | None = None, callbacks: bool = False, hanging: int = HANGING
    ) -> None:
        heard = None if callbacks else "off"
        self._request = {"simulator": pretend.address, "speed": SPEED, "deadline": hanging, "callbacks": heard}
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "stopping_run.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**environment(), **(settings or {})},
        )  # fmt: skip
        self._answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(HANGING + 5)
        self._process.stdout.close()

    def run(self, campaign: Campaign, *, line: int = 0, how: str = "whole") -> int:
        """The exit code of a run that stops hard at ``line`` (0: runs to its end)."""
        assert self._process.stdin is not None
        error = campaign.folder / "error.txt"
        request = {**self._request, "campaign": str(campaign.folder), "error": str(error), "line": line, "how": how}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        code = int(self._answer())
        assert code >= 0, f"the run of {campaign.folder} did not end by itself (it hung, or was killed): {code}"
        assert not error.exists(), error.read_text(encoding="utf-8")
        return code

    def _answer(self) -> str:
        assert self._process.stdout is not None
        answer = self._process.stdout.readline().strip()
        assert answer, "the stage broke down"
        return answer


@dataclass(slots=True)
class Accounts:
    """What came of a campaign, held against the simulator's record."""

    succeeded: int = 0
    uncertain: int = 0
    twice: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    uncertain_jobs: list[str] = field(default_factory=list)

    def must_be_right(self, doubtful: frozenset[str] = frozenset()) -> None:
        """Nothing was paid twice, nothing is lost, and whatever is uncertain could not be known.

        ``doubtful``: jobs whose submission was cut short. Only these, and only where the API gives back nothing of ours, may be uncertain.
        """
        assert not self.twice, f"paid twice: {self.twice}"
        assert not self.wrong, "\n".join(self.wrong)
        unfounded = [key for key in self.uncertain_jobs if key not in doubtful or key.partition("/")[0] not in WITHOUT_HANDLE]
        assert not unfounded, f"uncertain although it could be known: {unfounded}"


def audit(campaign: Campaign, pretend: Pretend) -> Accounts:
    """Hold the ledger and the files of ``campaign`` against what the simulator took."""
    accounts = Accounts()
    paid = pretend.paid(campaign)
    with campaign.ledger() as ledger:
        for key, ids in paid.items():
            if len(ids) > 1:
                accounts.twice.append(f"{key}: {ids}")
            if key not in ledger.jobs or ledger.attempt(key) is None:
                accounts.wrong.append(f"{key} was taken as {ids}, the ledger knows of no submission")
        for key in campaign.jobs():
            trouble = _trouble(campaign, ledger, key, paid.get(key, []))
            state = ledger.jobs[key].state if key in ledger.jobs else None
            if trouble:
                story = "\n    ".join(str(event) for event in ledger.story(key))
                accounts.wrong.append(f"{key}: {trouble}\n    {story}")
            elif state is State.UNCERTAIN:
                accounts.uncertain += 1
                accounts.uncertain_jobs.append(key)
            else:
                accounts.succeeded += 1
    return accounts


def _trouble(campaign: Campaign, ledger: Ledger, key: str, ids: Sequence[str]) -> str:
    """What is wrong with a job; empty when it succeeded with its one result here, or is openly uncertain."""
    job = ledger.jobs.get(key)
    if job is None:
        return "the ledger does not know it"
    if job.state is State.UNCERTAIN:
        return ""
    if job.state is not State.SUCCEEDED:
        return f"it ended {job.state}"
    if list(ids) != [job.remote_id]:
        return f"the ledger has it as {job.remote_id}, the simulator took {list(ids)}"
    stored = ledger.result(key).artifacts
    if len(stored) != 1:
        return f"it has {len(stored)} files"
    for artifact in stored.values():
        path = campaign.home / "artifacts" / artifact.path
        label = f"{key.partition('/')[2]} ".encode()
        if not path.is_file():
            return f"{path} is missing"
        if label not in path.read_bytes():
            return f"{path} shows another job's result"
        probe(path, decode=True)
        if json.loads(path.with_name(f"{path.name}.json").read_bytes())["remote_id"] != job.remote_id:
            return f"the sidecar of {path} is another job's"
    return ""


def told(campaign: Campaign, accounts: Accounts, code: int) -> None:
    """The exit code says how it ended: 0 all good, 6 when something is uncertain."""
    expected = EXIT_WAITING if accounts.uncertain else EXIT_OK
    assert code == expected, f"{campaign.name}: exit code {code}, expected {expected}"


def started(campaign: Campaign, pretend: Pretend, settings: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """``python -m runner run`` as a process of its own."""
    words = ["run", str(campaign.folder), "--rehearse", "--simulator", pretend.address, "--speed", str(SPEED), "--quiet"]
    return subprocess.Popen(
        [sys.executable, "-m", "runner", *words],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=campaign.folder, env={**environment(), **(settings or {})},
    )  # fmt: skip


def killed_when(process: subprocess.Popen[str], ready: Callable[[], bool], wait: float) -> bool:
    """SIGKILL a run ``wait`` seconds after ``ready``. False when it had ended by itself."""
    deadline = time.monotonic() + HANGING
    try:
        while process.poll() is None and not ready():
            assert time.monotonic() < deadline, "the run hangs"
            pause(process, 0.002)
        pause(process, wait)
    finally:
        process.kill()
        output, _ = process.communicate()
    assert process.returncode >= 0 or process.returncode == -signal.SIGKILL, output
    assert "Traceback" not in output, output
    return process.returncode == -signal.SIGKILL


def pause(process: subprocess.Popen[str], seconds: float) -> None:
    """Wait for the process to end, at most so long."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return


def command(campaign: Campaign, pretend: Pretend) -> int:
    """The exit code of ``python -m runner run``, run to its end."""
    with started(campaign, pretend) as process:
        try:
            output, _ = process.communicate(timeout=HANGING)
        finally:
            process.kill()
    assert "Traceback" not in output, output
    return process.returncode


def figures(**found: object) -> None:
    """Put figures on record in the file that ``CALLSHEET_CRASH_FIGURES`` names, if it does."""
    name = os.environ.get("CALLSHEET_CRASH_FIGURES")
    if name:
        with Path(name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(found) + "\n")


def submissions(campaign: Campaign) -> Counter[str]:
    """Job -> how many times its submission was begun, from the ledger."""
    with campaign.ledger() as ledger:
        return Counter({key: sum(isinstance(event, ev.SubmitStarted) for event in ledger.story(key)) for key in ledger.jobs})
