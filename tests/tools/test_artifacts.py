"""Finished files: only what was ordered gets in, nothing paid for gets lost, nothing leaves the folder."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio
import av
import pytest
from av.video.stream import VideoStream
from PIL import Image

from runner.artifacts import ArtifactStore
from runner.errors import ArtifactError, VerificationFailed
from runner.model import JSON, MediaKind, RemoteOutput, StoredArtifact
from runner.seams import Expected, Fetched

T = TypeVar("T")

IMAGE = RemoteOutput("image", MediaKind.IMAGE, "https://cdn.example.com/a.png?sig=s3cret")
VIDEO = RemoteOutput("video", MediaKind.VIDEO, "https://cdn.example.com/a.mp4")
ANY = Expected()


class FullDisk(ArtifactStore):
    """A store on a disk that is full when the sidecar is written."""

    def _write(self, target: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))


class DiesBeforePlacing(ArtifactStore):
    """A store whose process is killed after the sidecar, before the file."""

    def _write(self, target: Path, content: bytes) -> None:
        super()._write(target, content)
        if target.name == "a.png.json" and "superseded" not in target.parts:
            raise KeyboardInterrupt


def png(colour: str = "red", size: tuple[int, int] = (36, 64)) -> Image.Image:
    """A small picture."""
    return Image.new("RGB", size, colour)


def clip(path: Path, frames: int = 48, size: tuple[int, int] = (36, 64)) -> None:
    """A small playable video at 24 frames a second."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=24)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for _ in range(frames):
            container.mux(stream.encode(av.VideoFrame(*size, "yuv420p")))
        container.mux(stream.encode())


def fetched(path: Path, *, content_type: str = "image/png", declared: int | None = None) -> Fetched:
    """What the wire would say of this download."""
    content = path.read_bytes()
    return Fetched(path, len(content), hashlib.sha256(content).hexdigest(), content_type, declared)


def download(store: ArtifactStore, colour: str = "red", kind: str = "PNG") -> Fetched:
    """A finished download of a picture."""
    path = store.partial("still/sku", "image")
    png(colour).save(path, kind)
    return fetched(path)


def put(
    store: ArtifactStore,
    got: Fetched,
    path: str = "sku/a",
    *,
    output: RemoteOutput = IMAGE,
    expected: Expected = ANY,
    provenance: Mapping[str, JSON] | None = None,
) -> StoredArtifact:
    """Store a download."""
    return anyio.run(partial(store.store, got, output=output, expected=expected, path=path, provenance=provenance or {}))


def refusal(store: ArtifactStore, got: Fetched, *, output: RemoteOutput = IMAGE, expected: Expected = ANY) -> VerificationFailed:
    """The error for a download that is not what was ordered; the file is kept aside."""
    content = got.path.read_bytes()
    with pytest.raises(VerificationFailed) as caught:
        put(store, got, output=output, expected=expected)
    assert not got.path.exists()
    kept = got.path.with_name(got.path.name + ".rejected")
    assert kept.read_bytes() == content
    assert str(kept) in caught.value.hint
    assert files(store.root) == []
    return caught.value


def files(root: Path) -> list[str]:
    """All files below the root, partial ones aside."""
    found = (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    return sorted(path for path in found if not path.startswith(".partial/"))


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    """An empty store."""
    return ArtifactStore(tmp_path / "artifacts", rehearsal=True)


# --------------------------------------------------------------------------------------------------------- storing


def test_a_good_file_is_put_in_place_with_its_sidecar(store: ArtifactStore) -> None:
    """The path gets the real format's extension, and the sidecar tells everything."""
    got = download(store, kind="JPEG")
    stored = put(store, got, "sku-1/still-9x16", provenance={"job": "still/sku-1", "credits": 1.5, "prompt": "ü"})
    assert (stored.path, stored.name, stored.sha256) == ("sku-1/still-9x16.jpg", "image", got.sha256)
    assert files(store.root) == ["sku-1/still-9x16.jpg", "sku-1/still-9x16.jpg.json"]
    assert not got.path.exists()
    assert hashlib.sha256((store.root / stored.path).read_bytes()).hexdigest() == stored.sha256
    sidecar = json.loads((store.root / "sku-1/still-9x16.jpg.json").read_text("utf-8"))
    assert sidecar["media"] == {"kind": "image", "format": "jpeg", "bytes": got.bytes, "width": 36, "height": 64}
    facts = {"callsheet": 1, "rehearsal": True, "output": "image", "file": stored.path, "sha256": stored.sha256}
    assert facts.items() <= sidecar.items()
    assert (sidecar["job"], sidecar["credits"], sidecar["prompt"]) == ("still/sku-1", 1.5, "ü")


def test_links_lose_their_secrets(store: ArtifactStore) -> None:
    """Signatures and passwords in links do not reach the sidecar, however deep they stand."""
    provenance: dict[str, JSON] = {
        "url": "https://cdn.example.com/a.png?X-Amz-Signature=s3cret#s3cret",
        "params": {"list": ["see HTTPS://user:s3cret@h/p?s3cret, ok", {"x": "http://h?s3cret"}]},
        "prompt": "Why? Because #1 @home costs 5 < 6",
    }
    put(store, download(store), provenance=provenance)
    text = (store.root / "sku/a.png.json").read_text()
    assert "s3cret" not in text
    sidecar = json.loads(text)
    assert sidecar["url"] == "https://cdn.example.com/a.png"
    assert sidecar["prompt"] == provenance["prompt"]
    assert sidecar["params"]["list"][0] == "see HTTPS://h/p ok"


def test_provenance_cannot_lie_about_the_file(store: ArtifactStore) -> None:
    """What the store knows itself wins."""
    stored = put(store, download(store), provenance={"rehearsal": False, "sha256": "0", "file": "x"})
    sidecar = json.loads((store.root / "sku/a.png.json").read_text())
    assert (sidecar["rehearsal"], sidecar["sha256"], sidecar["file"]) == (True, stored.sha256, stored.path)


def test_the_same_file_again_changes_nothing(store: ArtifactStore) -> None:
    """A collected result that is collected again stays as it is, sidecar included."""
    first = put(store, download(store), provenance={"at": 1})
    before = {name: (store.root / name).stat().st_mtime_ns for name in files(store.root)}
    again = download(store)
    assert put(store, again, provenance={"at": 2}) == first
    assert {name: (store.root / name).stat().st_mtime_ns for name in files(store.root)} == before
    assert not again.path.exists()


def test_a_lost_sidecar_is_written_again(store: ArtifactStore) -> None:
    """A file without its sidecar is completed."""
    put(store, download(store))
    (store.root / "sku/a.png.json").unlink()
    put(store, download(store), provenance={"at": 2})
    assert json.loads((store.root / "sku/a.png.json").read_text())["at"] == 2


def test_a_paid_file_is_never_overwritten(store: ArtifactStore) -> None:
    """Another file at the same path is kept under its digest with its own sidecar, also when it comes back."""
    colours = ["red", "green", "red", "green", "blue"]
    digests = []
    for number, colour in enumerate(colours):
        digests.append(put(store, download(store, colour), provenance={"number": number}).sha256)
    kept = {digests[0][:16]: [0, 2], digests[1][:16]: [1, 3]}
    for short, numbers in kept.items():
        folder = store.root / "superseded" / short / "sku"
        assert hashlib.sha256((folder / "a.png").read_bytes()).hexdigest().startswith(short)
        assert sorted(json.loads(path.read_text())["number"] for path in folder.glob("*.json")) == numbers
    assert json.loads((store.root / "sku/a.png.json").read_text())["number"] == 4
    assert len(files(store.root)) == 2 + 2 * 3


def test_another_format_takes_the_place_too(store: ArtifactStore) -> None:
    """When the result comes back as another format, the old one does not stay beside it; other outputs do."""
    put(store, download(store), "sku/a")
    clip(path := store.partial("still/sku", "video"))
    put(store, fetched(path, content_type="video/mp4"), "sku/a", output=VIDEO)
    old = put(store, download(store, "green"), "sku/a")
    put(store, download(store, "green", "WEBP"), "sku/a")
    assert [name for name in files(store.root) if name.startswith("sku")] == [
        "sku/a.mp4",
        "sku/a.mp4.json",
        "sku/a.webp",
        "sku/a.webp.json",
    ]
    assert (store.root / "superseded" / old.sha256[:16] / "sku/a.png").is_file()


def test_killed_between_sidecar_and_file(tmp_path: Path) -> None:
    """Nothing paid for is lost, and the next run ends as if nothing had happened."""
    store = ArtifactStore(tmp_path, rehearsal=False)
    old = put(store, download(store, "red"))
    with pytest.raises(KeyboardInterrupt):
        put(DiesBeforePlacing(tmp_path, rehearsal=False), download(store, "green"))
    assert (tmp_path / "superseded" / old.sha256[:16] / "sku/a.png").is_file()
    assert not (tmp_path / "sku/a.png").exists()
    again = ArtifactStore(tmp_path, rehearsal=False)
    assert again.sweep() == 1
    new = put(again, download(again, "green"))
    assert json.loads((tmp_path / "sku/a.png.json").read_text())["sha256"] == new.sha256


def test_many_at_once(store: ArtifactStore) -> None:
    """Results that finish together do not get into each other's way."""
    got = [download(store, colour) for colour in ("red", "green", "blue") * 5]

    async def store_all() -> None:
        async with anyio.create_task_group() as group:
            for number, one in enumerate(got):
                group.start_soon(
                    partial(store.store, one, output=IMAGE, expected=ANY, path=f"sku-{number % 4}/{number}", provenance={})
                )

    anyio.run(store_all)
    assert len(files(store.root)) == 30


def test_blocking_work_goes_through_the_given_door(tmp_path: Path) -> None:
    """A test in virtual time runs it inline."""
    calls = []

    class Inline:
        """Runs the call at once."""

        def __call__(self, call: Callable[[], T], /) -> Awaitable[T]:
            async def run() -> T:
                calls.append(call)
                return call()

            return run()

    store = ArtifactStore(tmp_path, rehearsal=True, offload=Inline())
    put(store, download(store))
    assert len(calls) == 1


# -------------------------------------------------------------------------------------------------------- verifying


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>Link expired", "an HTML page"),
        (b'{"code": 1102}', "a JSON document"),
        (b"<Error><Code>AccessDenied</Code></Error>", "an XML document"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (os.urandom(3) + b"\0" * 100, "unknown kind"),
    ],
)
def test_what_is_no_media_is_rejected(store: ArtifactStore, content: bytes, words: str) -> None:
    """Pages and scraps never count as results, whatever the headers say."""
    path = store.partial("clip/sku", "video")
    path.write_bytes(content)
    assert words in refusal(store, fetched(path, content_type="video/mp4"), output=VIDEO).got


@pytest.mark.parametrize("kind", ["text/html", "text/html; charset=utf-8", "TEXT/plain", "application/json", " application/xml "])
def test_an_answer_that_calls_itself_text_is_rejected(store: ArtifactStore, kind: str) -> None:
    """The content type may not contradict the order."""
    got = download(store)
    assert "type" in refusal(store, fetched(got.path, content_type=kind)).got


@pytest.mark.parametrize("kind", ["", "application/octet-stream", "binary/octet-stream", "image/jpeg", "video/mp4"])
def test_other_content_types_do_not_decide(store: ArtifactStore, kind: str) -> None:
    """Storage servers call files many things; the content decides."""
    got = download(store)
    assert put(store, fetched(got.path, content_type=kind)).path == "sku/a.png"


def test_a_download_of_the_wrong_length_is_rejected(store: ArtifactStore) -> None:
    """Fewer or more bytes than announced, and a file that is not what was received."""
    for off in (-1, 1):
        got = download(store)
        error = refusal(store, fetched(got.path, declared=got.bytes + off))
        assert (error.expected, error.got) == (f"{got.bytes + off} bytes", f"{got.bytes} bytes")
    got = download(store)
    png("green").save(got.path, "PNG")
    refusal(store, got)


def test_a_truncated_video_is_rejected(store: ArtifactStore) -> None:
    """Even when the server announced the short length."""
    clip(path := store.partial("clip/sku", "video"))
    path.write_bytes(path.read_bytes()[:-20])
    assert "cut off" in refusal(store, fetched(path, declared=path.stat().st_size), output=VIDEO).got


def test_the_wrong_kind_is_rejected(store: ArtifactStore) -> None:
    """A picture is no video."""
    error = refusal(store, download(store), output=VIDEO)
    assert (error.expected, error.got) == ("a video file", "image (png)")


@pytest.mark.parametrize(
    ("expected", "good"),
    [
        (Expected(seconds=2.0), True),
        (Expected(seconds=2.74), True),
        (Expected(seconds=2.76), False),
        (Expected(seconds=1.26), True),
        (Expected(seconds=1.24), False),
        (Expected(seconds=10.0), False),
        (Expected(aspect=36 / 64), True),
        (Expected(aspect=36 / 64 * 1.03), True),
        (Expected(aspect=36 / 64 * 1.04), False),
        (Expected(aspect=64 / 36), False),
        (Expected(aspect=9 / 16, seconds=2), True),
    ],
)
def test_length_and_shape_as_ordered(store: ArtifactStore, expected: Expected, good: bool) -> None:
    """0.75 s or 15 % of play time, 3 % of shape, from both sides; the clip is 2 s of 36 x 64 pixels."""
    clip(path := store.partial("clip/sku", "video"))
    got = fetched(path, content_type="video/mp4")
    if good:
        assert put(store, got, output=VIDEO, expected=expected).info.seconds == pytest.approx(2.0)
    else:
        assert refusal(store, got, output=VIDEO, expected=expected).expected


# ------------------------------------------------------------------------------------------------------------ paths


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "..",
        "../a",
        "a/../../b",
        "/etc/a",
        "a//b",
        "a/",
        "a/.",
        "a\\..\\b",
        "C:/a",
        "a\0b",
        "a\nb",
        ".partial/a",
        "superseded/a",
        "a/" + "x" * 300,
        " a",
        "a/ ",
    ],
)
def test_paths_that_leave_the_folder(store: ArtifactStore, path: str) -> None:
    """They are refused, and the download stays where it is."""
    got = download(store)
    with pytest.raises(ArtifactError) as caught:
        put(store, got, path)
    assert caught.value.hint
    assert got.path.exists()
    assert files(store.root) == []


@pytest.mark.parametrize("path", ["a", "a/b/c/d", "v1.2/a.b", "ü/日本", "a b/c", "..a/b..", "ab:c", "-rf"])
def test_ordinary_paths(store: ArtifactStore, path: str) -> None:
    """Names that only look odd are fine."""
    assert (store.root / put(store, download(store), path).path).is_file()


def test_links_are_not_followed(store: ArtifactStore, tmp_path: Path) -> None:
    """A link in the folder cannot take a result anywhere else, nor be overwritten."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "b.png").write_bytes(b"mine")
    store.partial("x", "y")
    (store.root / "sku").symlink_to(outside)
    (store.root / "file").mkdir()
    (store.root / "file/a.png").symlink_to(outside / "b.png")
    (store.root / "side").mkdir()
    (store.root / "side/a.png.json").symlink_to(outside / "b.png")
    for path in ("sku/a", "sku/deep/a", "file/a", "side/a"):
        with pytest.raises(ArtifactError, match="link"):
            put(store, download(store), path)
    assert [path.name for path in outside.iterdir()] == ["b.png"]
    assert (outside / "b.png").read_bytes() == b"mine"


def test_a_linked_partial_folder_is_refused(tmp_path: Path) -> None:
    """Downloads do not go through a link either."""
    (tmp_path / "root").mkdir()
    (tmp_path / "root/.partial").symlink_to(tmp_path)
    store = ArtifactStore(tmp_path / "root", rehearsal=True)
    for call in (lambda: store.partial("a", "b"), store.sweep):
        with pytest.raises(ArtifactError, match="link"):
            call()


def test_a_folder_in_the_way(store: ArtifactStore) -> None:
    """It is an error with a hint, no traceback."""
    store.partial("x", "y")
    (store.root / "sku/a.png").mkdir(parents=True)
    (store.root / "plain").write_bytes(b"")
    for path in ("sku/a", "plain/a"):
        with pytest.raises(ArtifactError) as caught:
            put(store, download(store), path)
        assert caught.value.hint


# --------------------------------------------------------------------------------------------------- partial files


@pytest.mark.parametrize("key", ["still/sku/ratio=9x16", "../../etc/passwd", "a\0b", "", "ü" * 500, ".", "x/" * 300])
def test_partial_paths(store: ArtifactStore, key: str) -> None:
    """Any job key gives a new path directly below ``.partial``."""
    paths = {store.partial(key, "image") for _ in range(50)}
    assert len(paths) == 50
    assert {path.parent for path in paths} == {store.root / ".partial"}
    for path in paths:
        path.write_bytes(b"")


def test_sweep(store: ArtifactStore, tmp_path: Path) -> None:
    """What a killed run left is removed; rejected files stay, and links are removed, not followed."""
    assert store.sweep() == 0
    refusal(store, download(store), output=VIDEO)
    (tmp_path / "mine").write_bytes(b"")
    store.partial("a", "b").write_bytes(b"half")
    store.partial("a", "b").symlink_to(tmp_path / "mine")
    assert store.sweep() == 2
    assert [path.suffix for path in (store.root / ".partial").iterdir()] == [".rejected"]
    assert (tmp_path / "mine").exists()


def test_a_full_disk(tmp_path: Path) -> None:
    """It is said in plain words with a way out, and the download does not take up the space any longer."""
    store = FullDisk(tmp_path, rehearsal=True)
    got = download(store)
    with pytest.raises(ArtifactError, match="No space left") as caught:
        put(store, got)
    assert "space" in caught.value.hint
    assert not got.path.exists()
    assert files(tmp_path) == []


def test_a_download_that_has_gone(store: ArtifactStore) -> None:
    """It is the store's error, not the provider's."""
    got = download(store)
    got.path.unlink()
    with pytest.raises(ArtifactError) as caught:
        put(store, got)
    assert not isinstance(caught.value, VerificationFailed)
