"""Deadlines in virtual time: late work is paid for, so it is left to a later run, never failed and never submitted again unasked."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crash_rig import Pretend
from people_rig import GREETING, SLOW, paid_once, run, states, story, submitted, write_campaign
from pretend_provider import PretendOperation, PretendProvider, Server, StillParameters, Task
from stage import STILL, Stage, manifest, products, virtual

from runner import events as ev
from runner.errors import EXIT_OK, EXIT_WAITING
from runner.model import Observation, Phase, State
from runner.seams import Flow


class QueueingTask(Task):
    """Waits in the provider's own queue for the first 1000 seconds."""

    def phase(self, now: float) -> str:
        """What the server says of it."""
        return "queued" if now < self.began + 1000 else super().phase(now)


class QueueingServer(Server):
    """Says of each task how long it is queued, at work, done."""

    def _submit(self, document: Mapping[str, Any], now: float) -> dict[str, Any]:
        answer = super()._submit(document, now)
        task = self.tasks[answer["id"]]
        self.tasks[task.id] = QueueingTask(task.id, task.key, task.operation, task.params, now, 1000 + self.seconds)
        return answer


class QueueingOperation(PretendOperation):
    """Understands the word ``queued``."""

    def observe(self, remote_ids: Sequence[str]) -> Flow[Mapping[str, Observation]]:
        """One question for all."""
        seen = yield from super().observe(remote_ids)
        return {id_: Observation(id_, Phase.QUEUED, word="queued") if one.word == "queued" else one for id_, one in seen.items()}


def queueing() -> PretendProvider:
    """A provider that tells queued from running."""
    provider = PretendProvider("one")
    provider.operations = {"still": QueueingOperation("one/still", StillParameters)}
    return provider


def stage(folder: Path, seconds: float, **deadlines: object) -> Stage:
    """Two jobs that take so long."""
    made = Stage(folder, manifest(products(2), {"still": {**copy.deepcopy(STILL), **deadlines}}))
    made.servers["one"].seconds = seconds
    return made


def test_late_work_stays_running_and_is_collected_by_a_later_run(tmp_path: Path) -> None:
    """Past its deadline a job is left at the provider; a run after it is done collects it without paying."""

    async def main() -> None:
        one = stage(tmp_path / "c", 5000, deadline="10m")
        first = await one.run()
        assert first.error is None
        assert set(first.states.values()) == {"running"}
        assert 600 <= first.seconds < 900
        one.servers["one"].seconds = 0
        for task in one.servers["one"].tasks.values():
            task.ending, task.seconds = "succeeded", 0
        second = await one.run()
        assert set(second.states.values()) == {"succeeded"}
        assert one.paid() == 2
        with one.ledger() as ledger:
            passed = [event for event in ledger.story("still/P000") if isinstance(event, ev.DeadlinePassed)]
        assert len(passed) == 1
        assert passed[0].seconds > 600

    virtual(main)


def test_a_job_within_its_deadline_is_not_late(tmp_path: Path) -> None:
    """The same work with a longer deadline is waited for."""

    async def main() -> None:
        done = await stage(tmp_path / "c", 5000, deadline="2h").run()
        assert set(done.states.values()) == {"succeeded"}

    virtual(main)


def test_waiting_in_the_providers_queue_is_no_work(tmp_path: Path) -> None:
    """1000 seconds in the queue do not count against a deadline of 300 seconds of work."""

    async def main() -> None:
        one = stage(tmp_path / "c", 100, deadline="5m")
        one.servers["one"], one.providers["one"] = QueueingServer(seconds=100), queueing()
        one.wire.servers = one.servers
        done = await one.run()
        assert set(done.states.values()) == {"succeeded"}
        assert done.seconds > 1000

    virtual(main)


def test_the_queue_has_a_deadline_of_its_own(tmp_path: Path) -> None:
    """Where a person does not want to wait for the queue, the run leaves the job there and a later run collects it."""

    async def main() -> None:
        one = stage(tmp_path / "c", 100, deadline="2h", queue_deadline="5m")
        one.servers["one"], one.providers["one"] = QueueingServer(seconds=100), queueing()
        one.wire.servers = one.servers
        done = await one.run()
        assert set(done.states.values()) == {"running"}
        assert done.seconds < 600
        assert one.paid() == 2

    virtual(main)


def late(folder: Path, name: str, slow: Pretend) -> Any:  # noqa: ANN401 -- a Campaign
    """A campaign whose work is past its deadline at the provider."""
    campaign = write_campaign(folder, name, 1, GREETING + "    deadline: 1s\n")
    first = run(campaign, slow, speed=SLOW)
    assert first.code == EXIT_WAITING, first
    assert "still with the provider" in first.out
    assert states(campaign) == {State.RUNNING}
    return campaign


def test_the_command_waits_with_exit_code_6(folder: Path, slow: Pretend) -> None:
    """A run that leaves late work says so and exits 6; the same command, later, collects it."""
    campaign = late(folder, "late", slow)
    text = (folder / "campaign.yaml").read_text().replace("deadline: 1s", "deadline: 1h")
    (folder / "campaign.yaml").write_text(text)
    assert run(campaign, slow, speed=SLOW).code == EXIT_OK
    paid_once(campaign, slow, "greeting")


def test_retry_deadline_pays_again_knowingly(folder: Path, slow: Pretend) -> None:
    """Only --retry deadline submits late work again, as a second attempt; who asked for it stands in the ledger."""
    campaign = late(folder, "again", slow)
    text = (campaign.folder / "campaign.yaml").read_text().replace("deadline: 1s", "deadline: 1h")
    (campaign.folder / "campaign.yaml").write_text(text)
    assert run(campaign, slow, "--retry", "deadline", speed=SLOW).code == EXIT_OK
    assert submitted(campaign, slow) == 2
    events = story(campaign, f"greeting/{campaign.products[0]}")
    assert [event.note for event in events if isinstance(event, ev.GivenUp)] == ["--retry deadline"]
    assert len({event.key for event in events if isinstance(event, ev.SubmitStarted)}) == 2
