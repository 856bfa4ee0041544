"""What a rehearsal hands out is real media: right size, right length, playable, and never undone by its input."""

from __future__ import annotations

import math
import threading
import wave
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from struct import pack
from typing import Any
from zlib import crc32

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageStat

from runner.simulator import drawing, pictures, tones, typeface
from runner.simulator.assets import product_picture, voice_track
from runner.simulator.media import MAX_SIDE, MediaMaker, MediaOrder
from runner.simulator.motion import LOOP_SECONDS, RATE
from runner.simulator.palette import PALETTES, palette_for


def order(
    kind: str = "video",
    title: str = "Amber Body Oil",
    size: tuple[int, int] = (180, 320),
    seconds: float = 1.0,
    picture: bytes | None = None,
    label: str = "",
) -> MediaOrder:
    """An order that is quick to make."""
    return MediaOrder(kind, "creatify", title, "Slow push-in, soft light.", *size, seconds, 3, picture, label)


def opened(data: bytes) -> Image.Image:
    """The picture, decoded to its last row."""
    image = Image.open(BytesIO(data))
    image.load()
    return image


def frames(data: bytes) -> list[Image.Image]:
    """Every frame of a clip."""
    with av.open(BytesIO(data), "r") as container:
        decoded: Iterator[Any] = container.decode(video=0)
        return [frame.to_image() for frame in decoded]


def loudness(data: bytes) -> float:
    """The mean sample of a clip's or track's sound, without its sign."""
    with av.open(BytesIO(data), "r") as container:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=8000)
        samples = b"".join(
            bytes(part.planes[0])[: 2 * part.samples] for frame in container.decode(audio=0) for part in resampler.resample(frame)
        )
    values = memoryview(samples).cast("h")
    return sum(map(abs, values)) / len(values)


def apart(first: Image.Image, second: Image.Image) -> float:
    """How much two pictures differ, as the mean over all pixels and colours (0 to 255)."""
    return sum(ImageStat.Stat(ImageChops.difference(first.convert("RGB"), second.convert("RGB"))).mean) / 3


@pytest.mark.parametrize("size", [(540, 960), (960, 540), (720, 720), (64, 1280), (1280, 64), (90, 160)])
@pytest.mark.parametrize("label", ["creatify/product-image", "kling/avatar"])
def test_a_still_is_a_picture_of_the_ordered_size(size: tuple[int, int], label: str) -> None:
    """Whatever the format, the still opens and has exactly the size that was ordered."""
    image = opened(MediaMaker(1).still(order("image", size=size, label=label)))
    assert image.size == size
    assert image.format == "JPEG"


@pytest.mark.parametrize("label", ["topview/image-to-video", "kling/avatar"])
@pytest.mark.parametrize(("size", "seconds"), [((180, 320), 1.0), ((320, 180), 2.04), ((240, 240), 5.0), ((108, 192), 12.04)])
def test_a_clip_has_the_ordered_size_and_length(label: str, size: tuple[int, int], seconds: float) -> None:
    """Clips are H.264 and AAC in an MP4; picture, sound and container all last as ordered, within a tenth of a second."""
    data = MediaMaker(1).clip(order(size=size, seconds=seconds, label=label))
    with av.open(BytesIO(data), "r") as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        lengths = [(container.duration or 0) / 1e6, *(float((s.duration or 0) * (s.time_base or 0)) for s in (video, audio))]
        assert (video.codec.name, video.pix_fmt, audio.codec.name) == ("h264", "yuv420p", "aac")
        assert (video.width, video.height) == size
    assert all(math.isclose(length, seconds, abs_tol=0.1) for length in lengths), lengths
    decoded = frames(data)
    assert len(decoded) == round(seconds * RATE)
    assert decoded[-1].size == size


def test_a_clip_can_be_played_while_it_downloads() -> None:
    """The index stands before the media."""
    data = MediaMaker(1).clip(order())
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_a_five_second_clip_is_small() -> None:
    """A full-size clip of five seconds stays below 300 kB, so that thousands fit on a laptop."""
    assert len(MediaMaker(1).clip(order(size=(540, 960), seconds=5))) < 300_000


def test_a_long_clip_repeats_its_beginning() -> None:
    """Only the first seconds are drawn; the rest repeats them frame by frame, with sound to the end."""
    data = MediaMaker(1).clip(order(size=(90, 160), seconds=30, label="kling/avatar"))
    decoded = frames(data)
    loop = LOOP_SECONDS * RATE
    assert len(decoded) == 30 * RATE
    for number in (0, 5, loop - 1):
        assert apart(decoded[number], decoded[number + 2 * loop]) == 0


@pytest.mark.parametrize("label", ["topview/image-to-video", "kling/avatar"])
def test_a_clip_moves_and_sounds(label: str) -> None:
    """A clip is no slide: frames differ, and the track is not silence."""
    data = MediaMaker(1).clip(order(seconds=2, label=label))
    decoded = frames(data)
    assert apart(decoded[0], decoded[len(decoded) // 2]) > 0.3
    assert loudness(data) > 100


def test_nothing_drawn_is_a_grey_placeholder() -> None:
    """Every kind of product has colour and contrast in its still."""
    for kind in drawing.KINDS:
        image = opened(MediaMaker(2).still(order("image", title=f"Plain {kind}")))
        assert min(ImageStat.Stat(image).stddev) > 12, kind


def test_the_same_order_gives_the_same_bytes() -> None:
    """Two makers with one seed agree on every byte; another seed or another order gives something else."""
    for label in ("topview/image-to-video", "kling/avatar"):
        wanted = order(label=label)
        assert MediaMaker(5).clip(wanted) == MediaMaker(5).clip(wanted)
        assert MediaMaker(5).still(wanted) == MediaMaker(5).still(wanted)
        assert MediaMaker(5).speech(wanted) == MediaMaker(5).speech(wanted)
    assert len({MediaMaker(seed).still(order(title=title)) for seed in (1, 2) for title in ("Tea Tin", "Tea Jar")}) == 4


def test_a_product_keeps_its_looks() -> None:
    """Colours follow name and seed, never size, length or operation; so do the kinds that a title names."""
    assert palette_for("Amber Body Oil", 4) == palette_for("Amber Body Oil", 4)
    assert [drawing.kind_of(title, 1) for title in ("Ridge Trail Shoes", "Green Tea Mug", "MUG for tea", "Кофе")][:3] == [
        "shoe",
        "mug",
        "tin",
    ]
    assert drawing.kind_of("Кофе", 1) == drawing.kind_of("Кофе", 1)


def png(width: int, height: int) -> bytes:
    """A PNG that claims a size and has no pixels."""
    header = b"IHDR" + pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + pack(">I", 13) + header + pack(">I", crc32(header)) + b"\0\0\0\0IDAT" + pack(">I", crc32(b"IDAT"))
    )


def saved(image: Image.Image, form: str) -> bytes:
    """The picture as a file."""
    out = BytesIO()
    image.save(out, form)
    return out.getvalue()


GOOD = product_picture("Ridge Trail Shoe", 1, 320)
BROKEN = {
    "empty": b"",
    "text": b"this is no picture",
    "html": b"<html><body>404</body></html>",
    "torn jpeg": GOOD[: len(GOOD) // 3],
    "jpeg head only": b"\xff\xd8\xff\xe0",
    "jpeg with noise": GOOD[:100] + bytes(range(256)) * 20,
    "png without pixels": png(300, 300),
    "bomb with a warning": png(11_000, 11_000),
    "bomb": png(60_000, 60_000),
    "nothing wide": png(0, 0),
    "one pixel": saved(Image.new("RGB", (1, 1)), "PNG"),
    "a line": saved(Image.new("RGB", (2000, 8)), "PNG"),
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"/>',
    "tiff": saved(Image.new("RGB", (300, 300)), "TIFF"),
    "packshot that lies": b"\xff\xd8\xff\xfe\0\x20" + pictures.PACKSHOT_COMMENT + b"castle 3\xff\xd9",
    "packshot beyond the palettes": b"\xff\xd8\xff\xfe\0\x20" + pictures.PACKSHOT_COMMENT + b"shoe 99999999999999\xff\xd9",
    "still that is none": b"\xff\xd8\xff\xfe\0\x20" + pictures.STILL_COMMENT,
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_picture_gives_a_drawn_product(name: str) -> None:
    """Whatever the picture's bytes are, the still and the clip are made, and look as if there had been no picture."""
    maker = MediaMaker(1, cache_items=0)
    bare, broken = order("image", title="Tea Tin"), order("image", title="Tea Tin", picture=BROKEN[name])
    assert apart(opened(maker.still(bare)), opened(maker.still(broken))) == 0
    assert len(frames(maker.clip(order(picture=BROKEN[name], size=(90, 160), seconds=0.5)))) == 6


@settings(max_examples=150, deadline=None)
@given(data=st.one_of(st.binary(max_size=400), st.tuples(st.integers(0, len(GOOD)), st.binary(max_size=40)).map(
    lambda cut: GOOD[: cut[0]] + cut[1] + GOOD[cut[0] + len(cut[1]) :]
)))  # fmt: skip
def test_no_bytes_make_opening_a_picture_fail(data: bytes) -> None:
    """Opening answers with a picture of bounded size or with None, whatever the bytes."""
    image = pictures.open_picture(data, 100)
    assert image is None or (image.mode == "RGBA" and max(image.size) <= 100)
    pictures.packshot_of(data)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "CMYK", "I;16", "LA", "RGBA"])
def test_every_common_kind_of_picture_is_shown(mode: str) -> None:
    """Grey, palette, bilevel, print colours, 16 bits and transparency all open and change the still."""
    photo = Image.effect_mandelbrot((320, 320), (-2, -1.5, 1, 1.5), 20).point(lambda value: 255 - value)
    image = Image.new("I;16", photo.size, 40_000) if mode == "I;16" else photo.convert(mode)
    data = saved(image, "JPEG" if mode == "CMYK" else "PNG")
    maker = MediaMaker(1)
    shown = opened(maker.still(order("image", title="Tea Tin", picture=data)))
    assert apart(shown, opened(maker.still(order("image", title="Tea Tin")))) > 2


def test_a_cut_out_stands_in_the_scene_without_a_frame() -> None:
    """A picture with a transparent background keeps it: the wall shows around the product."""
    cut = saved(drawing.product("mug", PALETTES[0], 300), "PNG")
    maker = MediaMaker(1)
    bare = opened(maker.still(order("image", title="Tea Tin")))
    shown = opened(maker.still(order("image", title="Tea Tin", picture=cut)))
    assert shown.getpixel((18, 150)) == bare.getpixel((18, 150))
    assert apart(bare, shown) > 1


def test_a_still_becomes_a_clip_without_a_second_mark() -> None:
    """A clip made from a rehearsal's own still fills the frame with it, from below the still's corner mark."""
    maker = MediaMaker(1)
    still = maker.still(order("image", size=(360, 640)))
    assert pictures.is_still(still)
    assert not pictures.is_presented(still)
    clip = frames(maker.clip(order(picture=still, size=(360, 640), seconds=1)))
    assert apart(clip[0], opened(still)) < 25
    assert pictures.is_presented(maker.still(order("image", label="kling/avatar")))


TITLES = [
    "",
    " ",
    "مرحبا بالعالم",
    "שלום עולם",
    "咖啡 コーヒー 커피",
    "🎉👩‍👩‍👧‍👦🇩🇪",
    "Кофе без спешки",
    "Ελληνικός καφές",
    "Crème brûlée Łódź",
    "Z" + "\u0301" * 3000,
    "A" * 100_000,
    "word " * 5_000,
    "lone \ud800 surrogate",
    "null \0 and \x1b[31m escape",
    "two\nlines\tand\r\nmore",
    "\u202eright to left\u202c\u2066\u200b\ufeff",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 \U0010ffff \ue000",
    "﷽" * 30,
    "<b>&amp;{{ product.title }}%s{0}",
]


@pytest.mark.parametrize("title", TITLES)
def test_any_text_can_be_a_title(title: str) -> None:
    """No title or prompt, in any script and of any length, stops a still or a clip from being made."""
    maker = MediaMaker(1)
    for label in ("", "kling/avatar"):
        wanted = MediaOrder("video", title, title, title, 90, 160, 0.5, 1, None, label or title)
        assert opened(maker.still(wanted)).size == (90, 160)
        assert len(frames(maker.clip(wanted))) == 6
    assert voice_track(title, 1.0, 1).data


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=120), size=st.integers(6, 40), width=st.integers(1, 500), lines=st.integers(1, 4))
def test_text_keeps_to_its_room(text: str, size: int, width: int, lines: int) -> None:
    """Set text has no more lines than allowed, and no line is wider than the room unless not even one letter fits."""
    setting = typeface.set_text(text, size, width, lines)
    if setting is not None:
        assert 1 <= len(setting.lines) <= lines
        assert setting.width <= max(width, 4 * size) + 1
        assert setting.height == setting.pitch * len(setting.lines)


@pytest.mark.parametrize("seconds", [0, -5, math.nan, math.inf, -math.inf, 1e-9])
def test_a_senseless_length_becomes_a_short_clip(seconds: float) -> None:
    """Lengths that are none still give a playable clip."""
    assert 6 <= len(frames(MediaMaker(1).clip(order(seconds=seconds, size=(90, 160))))) <= 60


@pytest.mark.parametrize("size", [(0, 0), (-4, 20), (1, 1), (361, 639), (100_000, 100_000), (3, 100_000)])
def test_a_senseless_size_is_brought_into_bounds(size: tuple[int, int]) -> None:
    """Sizes come out even, positive and bounded; odd ones differ by a pixel at most."""
    image = opened(MediaMaker(1).still(order("image", size=size)))
    assert image.width % 2 == image.height % 2 == 0
    assert 64 <= min(image.size) <= max(image.size) <= MAX_SIDE
    if size == (361, 639):
        assert abs(image.width - 361) <= 1
        assert abs(image.height - 639) <= 1


def test_an_operation_word_gives_way_to_the_prompt() -> None:
    """Where the title is only the operation's word, the product is named as the prompt begins."""
    maker = MediaMaker(1)
    word = MediaOrder("image", "creatify", "product_anyshot", "Tea Tin. On a table.", 180, 320, 0, 1)
    name = MediaOrder("image", "creatify", "Tea Tin", "Tea Tin. On a table.", 180, 320, 0, 1)
    assert maker.still(word) == maker.still(name)


def test_speech_is_a_wave_file_of_the_ordered_length() -> None:
    """Speech opens as WAV, lasts exactly as ordered, is no silence and never clips."""
    data = MediaMaker(1).speech(order("audio", seconds=3.25))
    with wave.open(BytesIO(data)) as reader:
        assert reader.getnframes() / reader.getframerate() == 3.25
    track = tones.samples(tones.plan("some words", 20, 1))
    assert 3000 < max(map(abs, track)) < 20_000
    assert loudness(data) > 100


def test_the_mouth_follows_the_sound() -> None:
    """The mouth is open where a syllable sounds and closed in the pauses."""
    speech = tones.plan("a longer sentence", 8, 2)
    track = tones.samples(speech)
    for step in range(8 * 20):
        spot = step * tones.RATE // 20
        if speech.mouth(spot / tones.RATE) == 0:
            assert track[spot] == 0
    assert {speech.mouth(step / 20) for step in range(160)} == {0, 1, 2, 3}


@pytest.mark.parametrize("seconds", [2.0, 6.0, 10.0])
def test_a_voice_track_is_a_short_file(seconds: float) -> None:
    """Voice tracks are MP3 of the asked length and below 60 kB."""
    track = voice_track("Keeps coffee hot", seconds, 1)
    assert track.format == "mp3"
    assert len(track.data) < 60_000
    with av.open(BytesIO(track.data), "r") as container:
        assert math.isclose((container.duration or 0) / 1e6, seconds, abs_tol=0.1)
    assert loudness(track.data) > 100


class CountingMaker(MediaMaker):
    """Counts what is really drawn, and lets the first drawing wait until others have asked."""

    def __init__(self, cache_items: int = 256) -> None:
        super().__init__(1, cache_items=cache_items)
        self.drawn: list[str] = []
        self.go = threading.Event()
        self.go.set()
        self.fails = False

    def _still(self, order: MediaOrder) -> bytes:
        self.go.wait(10)
        self.drawn.append(order.title)
        if self.fails:
            raise RuntimeError("the pencil broke")
        return order.title.encode()


def test_many_threads_share_one_drawing() -> None:
    """While one thread draws, others that want the same wait for it instead of drawing again."""
    maker = CountingMaker()
    maker.go.clear()
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(maker.still, order("image", title="Tea Tin")) for _ in range(8)]
        maker.go.set()
        assert {made.result(10) for made in waiting} == {b"Tea Tin"}
    assert maker.drawn == ["Tea Tin"]


def test_the_cache_keeps_what_was_wanted_last() -> None:
    """The cache holds so many results and forgets the one that was not wanted for longest; none when told so."""
    maker = CountingMaker(cache_items=2)
    for title in ("One", "Two", "One", "Three", "One", "Two"):
        maker.still(order("image", title=title))
    assert maker.drawn == ["One", "Two", "Three", "Two"]
    forgetful = CountingMaker(cache_items=0)
    for _ in range(2):
        forgetful.still(order("image", title="One"))
    assert forgetful.drawn == ["One", "One"]


def test_a_failed_drawing_is_not_remembered() -> None:
    """An error reaches who asked, and the next one who asks gets a new try."""
    maker = CountingMaker()
    maker.fails = True
    with pytest.raises(RuntimeError, match="pencil"):
        maker.still(order("image", title="One"))
    maker.fails = False
    assert maker.still(order("image", title="One")) == b"One"


def test_clips_from_many_threads_are_the_same_as_from_one() -> None:
    """Drawing and encoding at the same time in several threads changes no byte."""
    orders = [order(title=title, label=label) for title in ("Tea Tin", "Lamp", "Café") for label in ("", "kling/avatar")]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(MediaMaker(1).clip, orders))
    alone = MediaMaker(1)
    assert together == [alone.clip(wanted) for wanted in orders]


@given(title=st.text(max_size=30), seed=st.integers(-5, 5))
@settings(max_examples=10, deadline=None)
def test_a_packshot_meets_every_providers_rules(title: str, seed: int) -> None:
    """A generated packshot is a JPEG of the asked size, below 60 kB, and says what it shows."""
    data = product_picture(title, seed)
    image = opened(data)
    assert (image.format, image.size) == ("JPEG", (600, 600))
    assert len(data) < 60_000
    found = pictures.packshot_of(data)
    assert found is not None
    assert found[0] in drawing.KINDS
    assert 0 <= found[1] < len(PALETTES)


def test_a_chain_of_orders_shows_one_product() -> None:
    """What is drawn from a rehearsal's still is the still's product, whatever the later prompt says."""
    maker = MediaMaker(1)
    packshot = product_picture("Harbour Coffee Mug", 9)
    still = maker.still(order("image", title="Something Else", picture=packshot))
    presented = maker.still(order("image", title="Something Else", picture=still, label="kling/avatar"))
    found = {pictures.packshot_of(data) for data in (packshot, still, presented)}
    assert len(found) == 1
    assert found != {None}
    assert pictures.packshot_of(maker.still(order(picture=saved(Image.new("RGB", (300, 300), "red"), "JPEG")))) is None
