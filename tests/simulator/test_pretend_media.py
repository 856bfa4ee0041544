"""Result links: they serve as a static server does, expire, cannot be forged, and a fresh query gives a fresh one."""

from __future__ import annotations

import pytest
from pretending import KLING, Rig, pretending

pytestmark = pytest.mark.anyio
AVATAR = "/v1/videos/avatar/image2video"


@pytest.fixture
def anyio_backend() -> str:
    """These run on asyncio, as the server does."""
    return "asyncio"


async def finished(rig: Rig, name: str = "j") -> str:
    """Submit, wait, and return the link."""
    body = {"image": "https://a.test/a.png", "sound_file": "https://a.test/a.mp3", "external_task_id": name}
    assert (await rig.client.post(AVATAR, headers=KLING, json=body)).status_code == 200
    rig.time.now += 600
    return await link(rig, name)


async def link(rig: Rig, name: str) -> str:
    """The link as a query gives it now."""
    task = (await rig.client.get(f"{AVATAR}/{name}", headers=KLING)).json()["data"]
    return str(task["task_result"]["videos"][0]["url"])


async def test_ranges_and_heads() -> None:
    """HEAD has the length and no body; ranges give exactly their bytes; impossible ones are 416; odd ones are ignored."""
    async with pretending() as rig:
        url = await finished(rig)
        whole = await rig.client.get(url)
        size = len(whole.content)
        head = await rig.client.head(url)
        assert (head.headers["content-length"], head.content) == (str(size), b"")
        for given, first, last in (("0-9", 0, 9), ("5-", 5, size - 1), ("-7", size - 7, size - 1), ("10-99999", 10, size - 1)):
            part = await rig.client.get(url, headers={"Range": f"bytes={given}"})
            assert (part.status_code, part.content) == (206, whole.content[first : last + 1])
            assert part.headers["content-range"] == f"bytes {first}-{last}/{size}"
        for given in (f"{size}-", "9-3", "-0"):
            part = await rig.client.get(url, headers={"Range": f"bytes={given}"})
            assert (part.status_code, part.headers["content-range"]) == (416, f"bytes */{size}")
        for given in ("bytes=-", "bytes=a-b", "lines=0-1", "bytes=0-1,3-4"):
            assert (await rig.client.get(url, headers={"Range": given})).status_code == 200
        old = {"Range": "bytes=0-1", "If-Range": '"other"'}
        assert (await rig.client.get(url, headers=old)).status_code == 200


async def test_links_expire_and_a_fresh_query_helps() -> None:
    """After link_ttl simulated seconds the link is 403 with an XML body; the next query hands out one that works."""
    async with pretending(link_ttl=30, speed=10) as rig:
        url = await finished(rig)
        assert (await rig.client.get(url)).status_code == 200
        rig.time.now += 3.1
        dead = await rig.client.get(url)
        assert (dead.status_code, dead.headers["content-type"], "<Error>" in dead.text) == (403, "application/xml", True)
        fresh = await link(rig, "j")
        assert fresh != url
        assert (await rig.client.get(fresh)).status_code == 200


async def test_files_are_removed_in_the_end() -> None:
    """Once the result's lifetime is over even a fresh link is 404."""
    async with pretending(result_ttl=1000) as rig:
        await finished(rig)
        rig.time.now += 1001
        assert (await rig.client.get(await link(rig, "j"))).status_code == 404


async def test_forged_links() -> None:
    """Another file, another time, another signature or none: 403, and what is no file at all 404 or 403."""
    async with pretending() as rig:
        url = await finished(rig)
        for wrong in (
            url.replace("_v0", "_v1"),
            url.replace("sig=", "sig=0"),
            url.partition("?")[0],
            url.replace("expires=1", "expires=9"),
        ):
            assert (await rig.client.get(wrong)).status_code == 403
        for nothing in (
            "/_media/",
            "/_media/kling",
            "/_media/kling/../x",
            "/_media/other/x.mp4",
            "/_media/kling/x.mp4?expires=nan&sig=é",
        ):
            assert (await rig.client.get(nothing)).status_code in (403, 404)
        assert (await rig.client.post(url)).status_code == 405


async def test_a_clip_from_our_own_still_is_drawn_from_it() -> None:
    """A link of the simulator's own given as input is followed; an expired one is refused; a foreign one is never fetched."""
    async with pretending(link_ttl=1000) as rig:
        made = await rig.client.post("/v1/images/generations", headers=KLING, json={"prompt": "still", "external_task_id": "i"})
        assert made.status_code == 200
        rig.time.now += 600
        task = (await rig.client.get("/v1/images/generations/i", headers=KLING)).json()["data"]
        url = task["task_result"]["images"][0]["url"]
        body = {"image": url, "sound_file": "https://a.test/a.mp3", "external_task_id": "c"}
        assert (await rig.client.post(AVATAR, headers=KLING, json=body)).status_code == 200
        rig.time.now += 600
        await rig.client.get(await link(rig, "c"))
        assert (rig.maker.orders[-1].picture or b"").startswith(b"still")
        rig.time.now += 2000
        late = await rig.client.post(AVATAR, headers=KLING, json={**body, "external_task_id": "d"})
        assert (late.status_code, late.json()["code"]) == (400, 1201)


async def test_the_same_seed_draws_the_same() -> None:
    """Two simulators of one seed hand out the same ids, durations and media; another seed does not."""
    found = []
    for seed in (1, 1, 2):
        async with pretending(seed=seed, spread=0.5) as rig:
            url = await finished(rig)
            task = rig.books("kling", tasks=True)["tasks"][0]
            found.append((task["id"], task["ends"], url, (await rig.client.get(url)).content))
    assert found[0] == found[1]
    assert found[0][0] != found[2][0]
    assert found[0][1] != found[2][1]
