"""Digests: what counts as the same, what as a change, and what is not read twice."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import UsageError
from runner.fingerprint import AssetDigests, changed_fields, digest, field_digests, fingerprint
from runner.model import JSON

DIFFERENT: list[JSON] = [
    *(1, 1.0, "1", True, "true", None, "null", 0, False, 0.0, -0.0, "", " ", [], {}, [[]], [{}], "[]"),
    *([1, 2], [2, 1], ["12"], ["1", "2"], {"a": 1}, {"a": "1"}, {"a": None}, {"A": 1}, {"a": {"b": 1}}, {"a": 1, "b": 1}),
    *("e\u0301", "é", "a\n", "a", 10**30, 10**30 + 1, -(10**30), 1e300, 2**63, 2**64, "\u2028", "\0"),
]


def test_different_values_have_different_digests() -> None:
    """What differs on the wire differs here: type, order of a list, spelling, Unicode form."""
    assert len({digest(value) for value in DIFFERENT}) == len(DIFFERENT)
    assert len({field_digests({"x": value}, {})["x"] for value in DIFFERENT}) == len(DIFFERENT)


def test_what_does_not_count() -> None:
    """The order of keys and the Python type of a container do not decide."""
    assert digest({"a": 1, "b": [1, 2]}) == digest(MappingProxyType({"b": (1, 2), "a": 1}))
    big: JSON = {"b": 10**30, "a": (1,)}
    assert digest(big) == digest(MappingProxyType({"a": [1], "b": 10**30}))


def test_digests_never_change() -> None:
    """These are in ledgers: a new value here makes every job of every user look changed, and be paid again."""
    assert (
        digest({"b": [1, 2.5, None], "a": "ü"})
        == hashlib.blake2b('{"a":"ü","b":[1,2.5,null]}'.encode(), digest_size=16).hexdigest()
    )
    fields = field_digests({"prompt": "x", "image": "still.png"}, {"image": "ab" * 32})
    assert fields == {"image": "1b85d1161d", "prompt": "c3ac8f8d90"}
    assert fingerprint("kling/avatar", fields) == "9e8abd926fe233e566f3364e9ce55b07"
    assert fingerprint("kling/avatar", fields, take=2) == "36d6c646cd0a0c88fbed45911cd32eed"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_a_round_trip_through_json_changes_nothing(value: JSON) -> None:
    """What was written into a file and read again has the same digest."""
    assert digest(json.loads(json.dumps(value))) == digest(value)


@pytest.mark.parametrize(
    "value", [float("nan"), [float("inf")], {"a": {"b": float("-inf")}}, "\ud800", ["x", None, float("nan")]]
)
def test_values_that_no_json_can_hold(value: JSON) -> None:
    """NaN must not pass for null, nor a broken character for another one."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # two kinds, one of them Python's own
        digest(value)
    assert str(caught.value)


def test_an_asset_counts_by_content() -> None:
    """A moved file is unchanged; another content, and a text that looks like its digest, are not."""
    sha, other = "ab" * 32, "cd" * 32
    before = field_digests({"image": "a/still.png", "n": 1}, {"image": sha})
    assert field_digests({"image": "b/moved.png", "n": 1}, {"image": sha}) == before
    assert field_digests({"n": 1}, {"image": sha}) == before
    assert changed_fields(before, field_digests({"image": "a/still.png", "n": 1}, {"image": other})) == ("image",)
    assert changed_fields(before, field_digests({"image": sha, "n": 1}, {})) == ("image",)
    assert all(len(value) == 10 for value in before.values())


def test_fingerprints_tell_everything_apart() -> None:
    """Operation, every field's name and digest, and the take decide; the order of fields does not."""
    one, two = {"a": "1", "b": "2"}, {"a": "2", "b": "1"}
    prints = [
        fingerprint("p/o", one),
        fingerprint("p/x", one),
        fingerprint("p/o", two),
        fingerprint("p/o", one, take=1),
        fingerprint("p/o", {}),
    ]
    assert len(set(prints)) == len(prints)
    assert fingerprint("p/o", {"b": "2", "a": "1"}) == prints[0]


def test_changed_fields_names_added_and_removed_ones() -> None:
    """A reason for a new job can be given in words."""
    assert changed_fields({"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "9", "d": "4"}) == ("b", "c", "d")
    assert changed_fields({"a": "1"}, {"a": "1"}) == ()


# --------------------------------------------------------------------------------------------------------- assets


def test_files_are_digested(tmp_path: Path) -> None:
    """The digest is the content's SHA-256, wherever the file lies."""
    for name, content in (("a", b""), ("b", b"x" * 3_000_000)):
        (tmp_path / name).write_bytes(content)
        assert AssetDigests().sha256(tmp_path / name) == hashlib.sha256(content).hexdigest()


def test_a_file_is_read_once(tmp_path: Path) -> None:
    """As long as nothing changed, what is known is not read again, also in the next process."""
    cache, file = tmp_path / "cache.json", tmp_path / "a"
    file.write_bytes(b"one")
    first = AssetDigests(cache)
    known = first.sha256(file)
    first.save()
    document = json.loads(cache.read_text())
    document["files"][str(file)][4] = "0" * 64
    cache.write_text(json.dumps(document))
    assert AssetDigests(cache).sha256(file) == "0" * 64, "what stands in the cache was believed"
    assert first.sha256(file) == known


def test_changes_are_seen(tmp_path: Path) -> None:
    """Other content of the same length, with the old time put back, and a file swapped for another, are read again."""
    file, other = tmp_path / "a", tmp_path / "b"
    file.write_bytes(b"one")
    digests = AssetDigests()
    digests.sha256(file)
    times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    other.write_bytes(b"two")
    os.utime(other, ns=times)
    other.replace(file)
    assert digests.sha256(file) == hashlib.sha256(b"two").hexdigest()
    file.write_bytes(b"three")
    assert digests.sha256(file) == hashlib.sha256(b"three").hexdigest()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"[]", b'{"version":1}', b'{"version":2,"files":{}}', b'{"version":1,"files":{"/a":[1,2]}}', b"\xff\xfe\0",
     b'{"version":1,"files":{"/a":"x"}}', b"[" * 100_000, b'{"version":1,"files":{"@":[3,1,1,1,"zz"]}}'],
)  # fmt: skip
def test_a_damaged_cache_is_ignored(tmp_path: Path, content: bytes) -> None:
    """It costs reading again, nothing else, and is written anew."""
    cache, file = tmp_path / "cache.json", tmp_path / "a"
    file.write_bytes(b"one")
    cache.write_bytes(content)
    digests = AssetDigests(cache)
    assert digests.sha256(file) == hashlib.sha256(b"one").hexdigest()
    digests.save()
    assert str(file) in json.loads(cache.read_text())["files"]


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    """The cache only saves time."""
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "folder").mkdir()
    for cache in (tmp_path / "folder", tmp_path / "a" / "cache.json"):
        digests = AssetDigests(cache)
        digests.sha256(tmp_path / "a")
        digests.save()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "folder"]


def test_what_is_no_file(tmp_path: Path) -> None:
    """A missing file, a folder and a pipe are errors with a hint, and none of them is waited for."""
    os.mkfifo(tmp_path / "pipe")
    for name in ("missing", ".", "pipe", "a\0b"):
        with pytest.raises(UsageError) as caught:
            AssetDigests().sha256(tmp_path / name)
        assert caught.value.hint
