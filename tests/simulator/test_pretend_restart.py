"""What a killed simulator goes on with: tasks, charges, uploads, faults, time. And the process itself."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from base64 import b64decode
from pathlib import Path

import httpx
import pytest
from pretending import CREATIFY, KLING, START, TOPVIEW, ManualTime, png, pretending

from runner.simulator.clock import SimulatedClock

pytestmark = pytest.mark.anyio
AVATAR = "/v1/videos/avatar/image2video"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def anyio_backend() -> str:
    """These run on asyncio, as the server does."""
    return "asyncio"


async def test_everything_goes_on_after_a_kill(tmp_path: Path) -> None:
    """Same tasks, ids, times, slots, charges, boards, uploads and media; a torn last line is cut off."""
    state, time = tmp_path / "state.jsonl", ManualTime()
    common = {"state": state, "concurrency": {"kling": 1, "topview": 1}, "speed": 10.0}
    async with pretending(time, **common) as rig:
        body = {"image": png(), "sound_file": "https://a.test/a.mp3", "external_task_id": "k"}
        assert (await rig.client.post(AVATAR, headers=KLING, json=body)).status_code == 200
        record = (
            await rig.client.post("/api/product_to_videos/gen_image/", headers=CREATIFY, json={"product_url": "https://a.test/p"})
        ).json()["id"]
        time.now += 3
        assert (
            await rig.client.post(f"/api/product_to_videos/{record}/gen_video/", headers=CREATIFY, json={})
        ).status_code == 200
        credential = (await rig.client.get("/v1/upload/credential?format=png", headers=TOPVIEW)).json()["result"]
        assert (await rig.client.put(credential["uploadUrl"], content=b64decode(png()))).status_code == 200
        board = (await rig.client.post("/boards/create", headers=TOPVIEW, json={})).json()["result"]["boardId"]
        sent = {"model": "m", "firstFrameFileId": credential["fileId"], "boardId": board}
        for _ in range(2):
            await rig.client.post("/v2/common_task/image2video/task/submit", headers=TOPVIEW, json=sent)
        await rig.client.post("/_simulator/faults", json=[{"kind": "error", "code": "5001", "operation": "list", "nth": 2}])
        await rig.client.get(AVATAR, headers=KLING)
        await rig.client.get(AVATAR, headers=KLING)
        before = rig.simulator.page(tasks=True)
    with state.open("ab") as file:
        file.write(b'{"k":"task","id":"torn')
    time.now += 1
    async with pretending(time, **common) as rig:
        after = rig.simulator.page(tasks=True)
        for provider in ("kling", "creatify", "topview"):
            then, now = before["providers"][provider], after["providers"][provider]
            for key in (
                "submissions",
                "charged_credits",
                "charged_by_key",
                "refusals",
                "faults",
                "credits_left",
                "peak_in_flight",
            ):
                assert now[key] == then[key], (provider, key)
            assert [task["id"] for task in now["tasks"]] == [task["id"] for task in then["tasks"]]
        assert after["now"] == pytest.approx(before["now"] + 10)
        refused = await rig.client.post(AVATAR, headers=KLING, json={**body, "external_task_id": "other"})
        assert refused.json()["code"] == 1303
        twice = await rig.client.post(AVATAR, headers=KLING, json=body)
        assert twice.json()["code"] == 1201
        time.now += 60
        task = (await rig.client.get(f"{AVATAR}/k", headers=KLING)).json()["data"]
        await rig.client.get(task["task_result"]["videos"][0]["url"])
        assert rig.maker.orders[-1].picture == b64decode(png())
        filmed = (await rig.client.get(f"/api/product_to_videos/{record}/", headers=CREATIFY)).json()
        assert filmed["status"] == "video_generated"
        listed = (await rig.client.get(f"/boards/tasks/list?boardId={board}", headers=TOPVIEW)).json()["result"]["list"]
        assert len(listed) == 2
        new = await rig.client.post(AVATAR, headers=KLING, json={**body, "external_task_id": "new"})
        assert new.json()["data"]["task_id"] not in {entry["id"] for entry in after["providers"]["kling"]["tasks"]}
        assert (await rig.client.get(AVATAR, headers=KLING)).json()["code"] == 0


@pytest.mark.parametrize("line", ["nonsense", "[]", '{"other":1}', '{"k":"task","id":"x"}', '{"k":"uploaded","file":"x"}'])
async def test_a_damaged_state_file_is_named(tmp_path: Path, line: str) -> None:
    """A whole line that is no state stops the start with its place and what to do."""
    state = tmp_path / "state.jsonl"
    state.write_text('{"k":"clock","real":1,"simulated":1,"speed":1}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"state\.jsonl:2 .*remove the file"):
        async with pretending(state=state):
            pass


def test_time_never_jumps_back_or_changes_its_past() -> None:
    """With another speed after a restart simulated time goes on where it was, and old moments keep their place on the wall."""
    time = ManualTime()
    first = SimulatedClock(10, time)
    time.now += 5
    assert first.now() == START + 50
    second = SimulatedClock(2, time, (first.current,))
    time.now += 5
    assert second.now() == START + 60
    assert (second.wall(START + 20), second.wall(START + 54)) == (START + 2, START + 7)
    time.now = START - 100
    assert second.now() == START + 50


def start(*arguments: str) -> subprocess.Popen[str]:
    """The simulator as its own process, with pipes."""
    command = [sys.executable, "-m", "runner.simulator", "--port", "0", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def address(process: subprocess.Popen[str]) -> str:
    """What it says it listens on."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("callsheet simulator listening on http://127.0.0.1:")
    return line.split()[-1]


def test_the_process_survives_a_kill_by_its_state(tmp_path: Path) -> None:
    """Killed without warning and started again it knows the task; it ends by itself, with 0, when its parent's pipe closes."""
    state = tmp_path / "state.jsonl"
    with start("--state", str(state), "--speed", "1000", "--exit-with-stdin") as process:
        body = {"image": png(), "sound_file": "https://a.test/a.mp3", "external_task_id": "k"}
        made = httpx.post(address(process) + AVATAR, headers=KLING, json=body)
        process.kill()
    assert json.loads(state.read_text(encoding="utf-8").splitlines()[-1])["id"] == made.json()["data"]["task_id"]
    with start("--state", str(state), "--speed", "1000", "--exit-with-stdin") as process:
        found = httpx.get(f"{address(process)}{AVATAR}/k", headers=KLING)
        assert found.json()["data"]["task_id"] == made.json()["data"]["task_id"]
        output, errors = process.communicate("", timeout=10)
        assert (process.returncode, output, errors) == (0, "", "")


def test_the_process_ends_on_sigterm_and_refuses_bad_usage(tmp_path: Path) -> None:
    """SIGTERM ends it with 0 and without a word; wrong arguments end it with 2 and one clear line."""
    faults = tmp_path / "faults.json"
    faults.write_text('[{"kind": "banned", "provider": "kling"}]', encoding="utf-8")
    with start("--faults", str(faults), "--concurrency", "kling=3") as process:
        answer = httpx.get(address(process) + AVATAR, headers=KLING)
        assert answer.json()["code"] == 1100
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""
    for wrong in (["--speed", "0"], ["--concurrency", "other=3"], ["--faults", str(tmp_path / "none")], ["--fail-rate", "2"]):
        with start(*wrong) as process:
            _output, errors = process.communicate(timeout=10)
            assert process.returncode == 2
            assert "Traceback" not in errors
