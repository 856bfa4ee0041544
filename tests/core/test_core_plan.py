"""What a plan says: which jobs, why, and that nothing is made again, or run, without a reason that a person can read."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from stage import CHAIN, CLIP, START, STILL, Stage, Wishes, manifest, products, virtual

from runner.errors import ManifestError, UsageError
from runner.ledger import Ledger
from runner.plan import Plan, PlanOptions, Verdict, make_plan
from runner.planfile import plan_file, read_plan_file, require_same_plan, require_unmoved, write_plan_file
from runner.selection import parse

WORDS = {verdict.word for verdict in Verdict} | {"succeeded", "failed", "ready"}


def stage(tmp_path: Path, targets: dict[str, Any] | None = None, count: int = 4, **more: object) -> Stage:
    """A campaign of a few products."""
    return Stage(tmp_path / "c", manifest(products(count), targets or {"still": STILL}, **more))


def todo(plan: Plan) -> dict[str, str]:
    """Job -> verdict, for the jobs to do."""
    with closing(plan.campaign):
        return {spec.key: verdict.word for spec, verdict in plan.to_do()}


def planned(one: Stage, options: PlanOptions | None = None) -> tuple[Plan, dict[str, str]]:
    """The plan, and its jobs to do."""
    with closing(one.campaign()) as campaign:
        ledger = Ledger.read(one.path)
        try:
            plan = make_plan(campaign, ledger, options or PlanOptions())
            return plan, {spec.key: verdict.word for spec, verdict in plan.to_do()}
        finally:
            if ledger:
                ledger.close()


def after(
    one: Stage, change: Callable[[dict[str, Any]], None], options: PlanOptions | None = None
) -> tuple[Plan, dict[str, str]]:
    """Run everything, change the manifest, plan."""

    async def main() -> None:
        done = await one.run()
        assert set(done.counts) <= {"succeeded"}

    virtual(main)
    change(one.document)
    return planned(one, options)


# --------------------------------------------------------------------------------------------------------- what changed


def test_nothing_changed_nothing_to_do(tmp_path: Path) -> None:
    """After a good run nothing is to do, and cosmetic edits do not change that: order of keys, limits, the path, other prompts."""
    one = stage(tmp_path, CHAIN)

    def cosmetics(document: dict[str, Any]) -> None:
        document["providers"] = {"one": {"concurrency": 2, "rate": "1/s", "budget": 1000}}
        document["artifacts"] = {"path": "other/{{ product.key }}/{{ target }}"}
        document["prompts"] = {"unused": "Something else"}
        document["catalogue"]["products"] = [dict(reversed(row.items())) for row in document["catalogue"]["products"]]
        document["targets"] = dict(reversed(document["targets"].items()))

    _, jobs = after(one, cosmetics)
    assert jobs == {}


def test_products_may_change_places(tmp_path: Path) -> None:
    """Identity is the key, not the position: reordered, added and removed products touch no other product's jobs."""
    one = stage(tmp_path, CHAIN)

    def shuffle(document: dict[str, Any]) -> None:
        rows = document["catalogue"]["products"]
        document["catalogue"]["products"] = [{"sku": "NEW", "title": "New"}, *reversed(rows[1:])]

    _, jobs = after(one, shuffle)
    assert jobs == {"still/NEW": "new", "clip/NEW": "new"}


def test_a_changed_prompt_changes_only_its_jobs_and_names_the_field(tmp_path: Path) -> None:
    """The jobs of that target are changed with the field's name, those that need them by the need; all others stay."""
    targets = {**CHAIN, "other": {"uses": "one/still", "with": {"prompt": "Same"}}}
    one = stage(tmp_path, targets)
    plan, jobs = after(
        one, lambda d: d["targets"]["still"].update(**{"with": {"prompt": "New {{ product.title }}", "size": "a"}})
    )
    assert set(jobs) == {f"{t}/P{n:03}" for t in ("still", "clip") for n in range(4)}
    assert set(jobs.values()) == {"changed"}
    assert plan.targets["still"].changed_fields == {"prompt": 4, "size": 4}
    assert plan.targets["clip"].changed_fields == {"needs.still": 4}
    key, why = plan.targets["still"].examples[Verdict.CHANGED][0]
    assert key == "still/P000"
    assert "prompt" in why


def test_a_changed_cell_changes_only_that_product(tmp_path: Path) -> None:
    """One product's title is in its prompt: its jobs alone are to do; a column that nothing uses changes nothing."""
    one = stage(tmp_path, CHAIN)

    def edit(document: dict[str, Any]) -> None:
        document["catalogue"]["products"][2]["title"] = "Renamed"
        document["catalogue"]["products"][1]["unused"] = "x"

    _, jobs = after(one, edit)
    assert set(jobs) == {"still/P002", "clip/P002"}


def test_another_operation_is_a_change(tmp_path: Path) -> None:
    """The same parameters for another operation make another result."""
    one = stage(tmp_path)
    plan, jobs = after(one, lambda d: d["targets"]["still"].update(uses="two/still"))
    assert len(jobs) == 4
    assert plan.targets["still"].changed_fields == {"uses": 4}


def test_more_takes_keep_those_there_are(tmp_path: Path) -> None:
    """``takes: 3`` after ``takes: 2`` makes one more of each, with a fingerprint of its own."""
    one = stage(tmp_path, {"still": {**STILL, "takes": 2}})
    _, jobs = after(one, lambda d: d["targets"]["still"].update(takes=3))
    assert jobs == {f"still/P{n:03}/take=3": "new" for n in range(4)}


def test_a_new_axis_value_makes_only_its_jobs(tmp_path: Path) -> None:
    """Other variants stay; a dependant that pins one variant sees that one alone."""
    targets = {
        "still": {"uses": "one/still", "with": {"prompt": "x", "size": "{{ matrix.size }}"}, "matrix": {"size": ["a", "b"]}},
        "all": CLIP,
        "one": {**CLIP, "needs": {"still": {"size": "a"}}},
    }
    one = stage(tmp_path, targets, 1)
    assert set(planned(one)[1]) == {"still/P000/size=a", "still/P000/size=b", "all/P000/size=a", "all/P000/size=b", "one/P000"}
    _, jobs = after(one, lambda d: d["targets"]["still"]["matrix"].update(size=["b", "c", "a"]))
    assert jobs == {"still/P000/size=c": "new", "all/P000/size=c": "new"}


# ------------------------------------------------------------------------------------------------------------- made again


def test_a_result_made_again_makes_its_dependants_changed(tmp_path: Path) -> None:
    """The inputs as written are the same, yet the clip shows the old still: it is changed, and says which need."""
    one = stage(tmp_path, CHAIN, 2)
    one.servers["one"].ending = lambda _key, _params, nth: "failed" if nth == 1 else "succeeded"

    async def main() -> None:
        await one.run()
        one.document["targets"]["still"]["with"] = {"prompt": "Other {{ product.title }}"}
        await one.run(PlanOptions(selection=select("target:still,product:P000")))
        one.document["targets"]["still"] = STILL
        await one.run(PlanOptions(selection=select("target:still,product:P000"), retry=frozenset({"failed"})))

    virtual(main)
    plan, jobs = planned(one)
    assert all(word == "changed" for word in jobs.values())
    assert set(jobs) <= {"clip/P000", "clip/P001"}
    assert "clip/P000" in jobs
    assert "needs.still" in plan.targets["clip"].changed_fields


def test_a_moved_asset_is_the_same_and_an_edited_one_is_not(tmp_path: Path) -> None:
    """Files count by content: renaming changes nothing, another picture under the old name does."""
    one = stage(tmp_path, {"clip": {"uses": "one/clip", "with": {"image": "a.png"}}}, 2)
    Image.new("RGB", (8, 8), (1, 2, 3)).save(one.folder / "a.png")

    def move(document: dict[str, Any]) -> None:
        (one.folder / "a.png").rename(one.folder / "moved.png")
        document["targets"]["clip"]["with"]["image"] = "moved.png"

    _, jobs = after(one, move)
    assert jobs == {}
    Image.new("RGB", (8, 8), (3, 2, 1)).save(one.folder / "moved.png")
    plan, jobs = planned(one)
    assert set(jobs.values()) == {"changed"}
    assert plan.targets["clip"].changed_fields == {"image": 2}


def test_a_superseded_result_is_followed_by_its_dependants_in_one_run(tmp_path: Path) -> None:
    """A changed upstream and all below it are made in one run, and then nothing is left to do."""
    one = stage(tmp_path, CHAIN, 3)

    async def main() -> None:
        await one.run()
        one.document["targets"]["still"]["with"] = {"prompt": "Other"}
        done = await one.run()
        assert done.counts == {"succeeded": 6}
        assert one.paid() == 12
        assert (await one.run()).plan.submissions == 0

    virtual(main)


# --------------------------------------------------------------------------------------------------------------- selecting


def select(*texts: str) -> Any:  # noqa: ANN401  # a Selection
    """Parsed against the usual names."""
    return parse(texts, targets=("still", "clip"), axes=("size", "take"), states=sorted(WORDS))


@pytest.mark.parametrize(
    ("text", "jobs"),
    [
        ("target:still", {"still/P000/size=a", "still/P000/size=b", "still/P001/size=a", "still/P001/size=b"}),
        ("still,product:P001", {"still/P001/size=a", "still/P001/size=b"}),
        ("product:P001,size:a", {"still/P001/size=a"}),
        ("product:P000,size:b product:P001,size:b", {"still/P000/size=b", "still/P001/size=b"}),
        ("operation:one/*,size:?,product:*1", {"still/P001/size=a", "still/P001/size=b"}),
        ("provider:two", set()),
        ("state:new,product:P000", {"still/P000/size=a", "still/P000/size=b", "clip/P000/size=a", "clip/P000/size=b"}),
        ("state:succeeded", set()),
        (",", {f"{t}/P00{n}/size={s}" for t in ("still", "clip") for n in (0, 1) for s in "ab"}),
    ],
)
def test_selecting(tmp_path: Path, text: str, jobs: set[str]) -> None:
    """Space is union, comma intersection; what needs an unselected job that is not there is blocked, not run."""
    one = stage(tmp_path, {"still": {**STILL, "matrix": {"size": ["a", "b"]}}, "clip": CLIP}, 2)
    plan, found = planned(one, PlanOptions(selection=select(text)))
    if text.startswith("product:P001,size:a"):
        jobs = jobs | {"clip/P001/size=a"}
    elif text.startswith("product:P000,size:b "):
        jobs = jobs | {"clip/P000/size=b", "clip/P001/size=b"}
    assert set(found) == jobs
    assert plan.jobs == 8


@pytest.mark.parametrize("text", ["target:stil", "stil", "colour:red", "state:gone", "target:"])
def test_a_selector_that_means_nothing_is_refused(text: str) -> None:
    """Names that do not exist are an error with a hint, never an empty selection that looks like success."""
    with pytest.raises(UsageError) as caught:
        select(text)
    assert caught.value.hint


def test_the_limit_counts_submissions_and_never_leaves_a_hole_below(tmp_path: Path) -> None:
    """No job is planned whose upstream is beyond the limit."""
    one = stage(tmp_path, CHAIN, 5)
    for limit in range(12):
        plan, jobs = planned(one, PlanOptions(limit=limit))
        assert len(jobs) == plan.submissions == min(limit, 10)
        assert all(f"still/{key.partition('/')[2]}" in jobs for key in jobs if key.startswith("clip/"))


# ------------------------------------------------------------------------------------------------------------- plan files


def saved(one: Stage, options: PlanOptions | None = None) -> Path:
    """A plan file of what is to do now."""
    path = one.folder / "plan.json"
    with closing(one.campaign()) as campaign:
        ledger = Ledger.read(one.path)
        write_plan_file(
            path, plan_file(make_plan(campaign, ledger, options or PlanOptions()), ledger, rehearsal=False, now=START)
        )
        if ledger:
            ledger.close()
    return path


def checked(one: Stage, path: Path, *, rehearsal: bool = False) -> Plan:
    """What ``run --plan`` does before it runs."""
    file = read_plan_file(path)
    with closing(one.campaign()) as campaign:
        ledger = Ledger.read(one.path)
        try:
            require_unmoved(file, campaign, ledger, rehearsal=rehearsal)
            plan = make_plan(campaign, ledger, PlanOptions(only=file.jobs))
            require_same_plan(file, plan)
            return plan
        finally:
            if ledger:
                ledger.close()


def test_a_plan_file_runs_as_it_was_reviewed(tmp_path: Path) -> None:
    """Nothing moved: the same jobs, also when the plan was made for a selection or under a limit."""
    one = stage(tmp_path, CHAIN, 5)
    for options in (PlanOptions(), PlanOptions(limit=3), PlanOptions(selection=select("product:P002"))):
        path = saved(one, options)
        assert checked(one, path).submissions == read_plan_file(path).submissions
        path.unlink()


def test_a_plan_file_refuses_when_anything_moved(tmp_path: Path) -> None:
    """Manifest, prompt file, catalogue, asset, kind of run and ledger: each is noticed and named."""
    clip = {"uses": "one/clip", "with": {"image": "a.png", "prompt": "{{ prompts.p }}"}}
    one = stage(tmp_path, {"clip": clip}, 2, prompts={"p": {"file": "p.j2"}})
    one.document["catalogue"] = {"source": "products.csv", "key": "sku"}
    (one.folder / "products.csv").write_text("sku,title\nA,x\nB,y\n")
    (one.folder / "p.j2").write_text("Hello")
    Image.new("RGB", (8, 8), (1, 2, 3)).save(one.folder / "a.png")
    path = saved(one)
    checked(one, path)
    with pytest.raises(UsageError, match="real run"):
        checked(one, path, rehearsal=True)
    for name, content, words in (
        ("p.j2", "Hello!", "p.j2"),
        ("products.csv", "sku,title\nA,x\nB,z\n", "catalogue"),
        ("a.png", None, "clip/A"),
    ):
        before = (one.folder / name).read_bytes()
        if content is None:
            Image.new("RGB", (8, 8), (9, 9, 9)).save(one.folder / name)
        else:
            (one.folder / name).write_text(content)
        with pytest.raises(UsageError, match=re.escape(words)):
            checked(one, path)
        (one.folder / name).write_bytes(before)
    checked(one, path)
    one.document["vars"] = {"new": 1}
    with pytest.raises(UsageError, match=r"campaign\.yaml"):
        checked(one, path)
    del one.document["vars"]
    with one.ledger():
        pass
    with pytest.raises(UsageError, match="ledger"):
        checked(one, path)


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", '{"callsheet_plan": 1}', "\x00", '{"callsheet_plan": 2}'])
def test_what_is_no_plan_file_is_refused_in_words(tmp_path: Path, content: str) -> None:
    """Any other file is a usage error with a hint."""
    path = tmp_path / "plan.json"
    path.write_text(content)
    with pytest.raises(UsageError) as caught:
        read_plan_file(path)
    assert caught.value.hint
    with pytest.raises(UsageError):
        read_plan_file(tmp_path / "missing.json")


# ------------------------------------------------------------------------------------------------------------------ paths


@pytest.mark.parametrize(
    "document",
    [
        manifest(products(1), {"a": STILL, "b": STILL}, artifacts={"path": "{{ product.key }}"}),
        manifest(products(2), {"a": STILL}, artifacts={"path": "same"}),
        manifest(products(1), {"a": {**STILL, "matrix": {"size": ["x", "X"]}}}, artifacts={"path": "{{ matrix.size }}"}),
    ],
    ids=["targets", "products", "case"],
)
def test_two_jobs_never_write_one_file(tmp_path: Path, document: dict[str, Any]) -> None:
    """Paths that are the same file on some system are refused before anything is paid, naming both jobs."""
    one = Stage(tmp_path / "c", document)
    with closing(one.campaign()) as campaign, pytest.raises(ManifestError) as caught:
        campaign.require_distinct_paths()
    assert "would both be written" in caught.value.problems[0].message


@pytest.mark.parametrize(
    "targets",
    [
        {"a": {**STILL, "matrix": {"x": ["p-q", "p"], "y": ["r", "q-r"]}}},
        {"clip": {**STILL, "matrix": {"x": ["wide-1"]}}, "clip-wide": {**STILL, "matrix": {"y": ["1"]}}},
        {"a": {**STILL, "matrix": {"size": ["x", "X"]}}},
        {"a": STILL, "A": STILL},
        {"a": {**STILL, "matrix": {"size": ["x y", "x/y", "x_y", "x%y"]}}},
    ],
    ids=["axes", "targets", "case", "target-case", "signs"],
)
def test_default_paths_are_different_for_every_job(tmp_path: Path, targets: dict[str, Any]) -> None:
    """Who names no path gets one that no other job has, whatever the axis values hold."""
    one = Stage(tmp_path / "c", manifest(products(2), targets))
    with closing(one.campaign()) as campaign:
        campaign.require_distinct_paths()
        paths = [spec.path for number in range(len(campaign)) for spec in campaign.bundle(number)]
    assert len({path.casefold() for path in paths}) == len(paths)


def test_products_that_differ_in_case_alone_get_files_of_their_own(tmp_path: Path) -> None:
    """Default paths stay apart on systems that ignore case, and whatever a key holds they stay below the folder."""
    rows = [{"sku": key, "title": key} for key in ("Tea", "tea", "a/b", "a b", "ÄÖ", "con", "x" * 300, "日本")]
    one = Stage(
        tmp_path / "c", manifest(rows, {"still": {**STILL, "matrix": {"size": ["a" * 70, "b" * 70], "take2": ["c" * 70]}}})
    )
    with closing(one.campaign()) as campaign:
        campaign.require_distinct_paths()
        paths = [spec.path for number in range(len(campaign)) for spec in campaign.bundle(number)]
    assert len({path.casefold() for path in paths}) == len(paths) == 16
    for path in paths:
        assert not path.startswith(("/", "."))
        assert all(len(part.encode()) <= 200 and part not in {"", ".", ".."} for part in path.split("/"))


def test_long_names_are_paid_for_and_stored(tmp_path: Path) -> None:
    """However many long axes a job has, its result finds a place: nobody pays for a file that cannot be stored."""
    axes = {f"axis{n}": ["v" * 75] for n in range(4)}
    one = Stage(
        tmp_path / "c", manifest([{"sku": "k" * 300}], {"still": {"uses": "one/still", "with": {"prompt": "x"}, "matrix": axes}})
    )
    with closing(one.campaign()) as campaign:
        (spec,) = campaign.bundle(0)
    assert all(len(part.encode()) <= 200 for part in spec.path.split("/"))


# ------------------------------------------------------------------------------------------------------------ data is data


def test_data_that_looks_like_a_template_stays_data(tmp_path: Path) -> None:
    """Braces, tags and stand-ins in the catalogue reach the provider as they are, also through prompts and derived fields."""
    evil = "{{ vars.secret }} {% for x in range(9) %} {{ needs.still.remote_id }} {# c #} {{ 7 * 7 }}"
    rows = [{"sku": "A", "title": evil, "needs.still.remote_id": "x", "clue": "needs.still.remote_id"}]
    targets = {
        "still": {"uses": "one/still", "with": {"prompt": "{{ prompts.p }}", "size": "{{ product.derived }}"}},
        "clip": {
            "uses": "two/clip",
            "needs": "still",
            "with": {"record": "{{ needs.still.remote_id }}", "prompt": "{{ product.title }}|{{ product.clue }}"},
        },
    }
    document = manifest(rows, targets, prompts={"p": "Say {{ product.title }}"}, vars={"secret": "hush"})
    document["catalogue"]["fields"] = {"derived": "<{{ product.title }}>"}
    one = Stage(tmp_path / "c", document)

    async def main() -> None:
        done = await one.run()
        assert done.counts == {"succeeded": 2}

    virtual(main)
    (still,) = one.servers["one"].tasks.values()
    (clip,) = one.servers["two"].tasks.values()
    assert still.params == {"prompt": f"Say {evil}", "size": f"<{evil}>"}
    assert clip.params == {"record": still.id, "prompt": f"{evil}|needs.still.remote_id"}
    assert planned(one)[1] == {}


def test_a_gate_counts_for_the_results_that_were_seen(tmp_path: Path) -> None:
    """Held jobs are to do until approved; after the approval nothing is held, and the approval pays for each once."""
    one = stage(tmp_path, {"still": {**STILL, "gate": "approve"}, "clip": CLIP}, 3)

    async def main() -> None:
        await one.run()
        assert set(planned(one)[1]) == {f"clip/P{n:03}" for n in range(3)}
        await one.run(wishes=Wishes(approved=("still",)))
        assert planned(one)[1] == {}
        assert one.paid() == 6

    virtual(main)


def test_cancelled_jobs_stay_cancelled_until_asked(tmp_path: Path) -> None:
    """A person's no holds for later runs; ``--retry cancelled`` takes it back."""
    from runner import events as ev

    one = stage(tmp_path, count=2)

    async def main() -> None:
        await one.run(wishes=Wishes(budgets={"one": 0.0}))
        with one.ledger() as ledger:
            ledger.plan([ev.Cancelled(job="still/P000", at=START)])
        done = await one.run()
        assert done.states["still/P000"] == "cancelled"
        assert one.paid() == 1
        done = await one.run(PlanOptions(retry=frozenset({"cancelled"})))
        assert done.counts == {"succeeded": 2}

    virtual(main)
