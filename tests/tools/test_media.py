"""Media: files are what they contain, damage is found, and rules hold on both sides of every bound."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import wave
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest
from av.audio.stream import AudioStream
from av.video.stream import VideoStream
from PIL import Image

from runner.media import MediaError, check, check_url, probe
from runner.model import MediaInfo, MediaKind
from runner.seams import MediaRule

# ---------------------------------------------------------------------------------------------------- real files


def picture(path: Path, kind: str = "PNG", size: tuple[int, int] = (40, 30), **options: object) -> Path:
    """A picture that does not compress to nothing."""
    image = Image.frombytes("RGB", size, bytes(os.urandom(size[0] * size[1] * 3)))
    image.save(path, kind, **options)
    return path


def padded(image: Image.Image, line: int) -> bytes:
    """The picture's lines at FFmpeg's spacing."""
    content, width = image.tobytes(), image.width * 3
    return b"".join(content[start : start + width].ljust(line, b"\0") for start in range(0, len(content), width))


def video(path: Path, frames: int = 24, size: tuple[int, int] = (64, 112), codec: str = "libx264", **movflags: str) -> Path:
    """A playable video at 24 frames a second, every picture different."""
    noise = [Image.effect_noise(size, 90).convert("RGB") for _ in range(4)]
    with av.open(str(path), "w", container_options=movflags) as container:
        stream = container.add_stream(codec, rate=24)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(frames):
            frame = av.VideoFrame(*size, "rgb24")
            frame.planes[0].update(padded(noise[number % 4], frame.planes[0].line_size))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def sound(path: Path, seconds: float = 1.0) -> Path:
    """Stereo silence in the format of the name."""
    codecs = {".mp3": "libmp3lame", ".m4a": "aac", ".aac": "aac", ".flac": "flac", ".ogg": "libopus", ".wav": "pcm_s16le"}
    rate = 48_000
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codecs[path.suffix], rate=rate)
        assert isinstance(stream, AudioStream)
        resampler = av.AudioResampler(format=stream.format.name, layout="stereo", rate=rate)
        frame = av.AudioFrame(format="s16", layout="stereo", samples=int(rate * seconds))
        frame.sample_rate = rate
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        fifo = av.AudioFifo()
        for piece in resampler.resample(frame):
            fifo.write(piece)
        size = stream.codec_context.frame_size or 1024
        while (chunk := fifo.read(size, partial=True)) is not None:
            container.mux(stream.encode(chunk))
        container.mux(stream.encode())
    return path


def cut(path: Path, share: float) -> Path:
    """The same file without its end."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def failure(path: Path, *, decode: bool = True) -> str:
    """What is said of a file that cannot be used."""
    with pytest.raises(MediaError) as caught:
        probe(path, decode=decode)
    assert caught.value.hint
    assert path.name in caught.value.message
    return caught.value.message


def png_header(width: int, height: int) -> bytes:
    """The beginning of a PNG that promises this size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


# ---------------------------------------------------------------------------------------------------------- probe


def test_libraries_are_loaded_only_when_needed() -> None:
    """Importing the module loads neither Pillow nor PyAV."""
    code = "import sys, runner.media; assert not {'av', 'PIL'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})


@pytest.mark.parametrize("decode", [False, True])
@pytest.mark.parametrize(
    ("kind", "name"),
    [("PNG", "png"), ("JPEG", "jpeg"), ("WEBP", "webp"), ("GIF", "gif"), ("BMP", "bmp"), ("AVIF", "avif")],
)
def test_images(tmp_path: Path, kind: str, name: str, decode: bool) -> None:
    """Every kind of picture is known by its content, whatever its name says."""
    path = picture(tmp_path / "wrong.mp4", kind)
    assert probe(path, decode=decode) == MediaInfo(MediaKind.IMAGE, name, path.stat().st_size, 40, 30)


@pytest.mark.parametrize("decode", [False, True])
@pytest.mark.parametrize(
    ("suffix", "codec", "name"),
    [
        (".mp4", "libx264", "mp4"),
        (".mov", "libx264", "mov"),
        (".webm", "libvpx-vp9", "webm"),
        (".mkv", "libx264", "mkv"),
        (".avi", "mpeg4", "avi"),
    ],
)
def test_videos(tmp_path: Path, suffix: str, codec: str, name: str, decode: bool) -> None:
    """Every kind of video tells its size, length and codec."""
    path = video(tmp_path / f"a{suffix}", codec=codec)
    path = path.rename(tmp_path / "wrong.png")
    info = probe(path, decode=decode)
    assert (info.kind, info.format, info.width, info.height) == (MediaKind.VIDEO, name, 64, 112)
    assert info.seconds == pytest.approx(1.0, abs=0.05)
    assert info.codec == {"libx264": "h264", "libvpx-vp9": "vp9"}.get(codec, codec)


@pytest.mark.parametrize("decode", [False, True])
@pytest.mark.parametrize("suffix", [".mp3", ".m4a", ".aac", ".flac", ".ogg", ".wav"])
def test_sounds(tmp_path: Path, suffix: str, decode: bool) -> None:
    """Every kind of sound tells its length, also where its header does not."""
    path = sound(tmp_path / f"a{suffix}", 2.5).rename(tmp_path / "wrong.mp4")
    info = probe(path, decode=decode)
    assert (info.kind, info.format, info.width) == (MediaKind.AUDIO, suffix[1:], None)
    assert info.seconds == pytest.approx(2.5, abs=0.1)


def test_a_cover_picture_does_not_make_a_video(tmp_path: Path) -> None:
    """A song with its cover inside is sound."""
    song, cover = sound(tmp_path / "a.mp3"), picture(tmp_path / "c.jpg", "JPEG").read_bytes()
    body = b"\0image/jpeg\0\x03\0" + cover
    frame = b"APIC" + struct.pack(">I", len(body)) + b"\0\0" + body
    size = bytes((len(frame) >> shift) & 0x7F for shift in (21, 14, 7, 0))
    (tmp_path / "b.mp3").write_bytes(b"ID3\x03\0\0" + size + frame + song.read_bytes())
    assert probe(tmp_path / "b.mp3", decode=True).kind is MediaKind.AUDIO


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html><body>Link expired", "an HTML page, beginning '<!DOCTYPE html>"),
        (b"\n\n  <html>\n<head>", "an HTML page"),
        (b"\xef\xbb\xbf<html>", "an HTML page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code>", "an XML document"),
        (b'{"code": 1102, "message": "expired"}', "a JSON document"),
        (b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", "a text"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "a text"),
        (b"<svg xmlns='x'></svg>", "SVG"),
        (b"%PDF-1.7\n", "PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", "a text"),
        (b"II*\0\x08\0\0\0", "TIFF"),
        (b"PK\x03\x04aaaa", "ZIP"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (bytes(range(256)), "unknown kind"),
        (b"\xff", "unknown kind"),
        (b"G", "text"),
        (b"\x89PNG\r\n\x1a\n", "cannot be read"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 50, "JPEG"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "WEBP"),
        (b"RIFF\x10\0\0\0WAVEfmt ", "wav"),
        (b"GIF89a", "GIF"),
        (b"\0\0\0\x18ftypisom" + b"\0" * 12, "mp4"),
        (b"\0\0\0\x01moov" + b"\xff" * 8, "mp4"),
        (b"\x1a\x45\xdf\xa3" + b"\0" * 100, "matroska"),
        (b"OggS" + b"\0" * 100, "ogg"),
        (b"fLaC" + b"\0" * 100, "flac"),
        (b"ID3\x03\0\0\x7f\x7f\x7f\x7f", "mp3"),
    ],
)
@pytest.mark.parametrize("decode", [False, True])
def test_what_is_not_media(tmp_path: Path, content: bytes, words: str, decode: bool) -> None:
    """Pages, documents, scripts and scraps are named for what they are."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    assert words in failure(path, decode=decode)


def test_what_is_not_a_file(tmp_path: Path) -> None:
    """Folders, pipes and missing files are errors, and none is waited for."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder", "missing"):
        failure(tmp_path / name)
    with pytest.raises(MediaError):
        probe(tmp_path / "a\0b")


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.99])
@pytest.mark.parametrize(
    "make",
    [
        lambda path: video(path / "a.mp4"),
        lambda path: video(path / "b.mp4", movflags="+faststart"),
        lambda path: video(path / "c.mp4", movflags="+frag_keyframe+empty_moov"),
        lambda path: video(path / "a.mov"),
        lambda path: sound(path / "a.wav"),
        lambda path: sound(path / "a.m4a"),
        lambda path: picture(path / "a.png"),
        lambda path: picture(path / "a.jpg", "JPEG"),
        lambda path: picture(path / "a.webp", "WEBP", lossless=True),
        lambda path: picture(path / "a.bmp", "BMP"),
    ],
)
def test_cut_off_files_are_found(tmp_path: Path, make: Callable[[Path], Path], share: float) -> None:
    """Wherever the download stopped, reading the file to its end shows it."""
    failure(cut(make(tmp_path), share))


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_a_cut_off_webm_is_found(tmp_path: Path, share: float) -> None:
    """Formats without a table of their parts give it away by their play time."""
    failure(cut(video(tmp_path / "a.webm", frames=96, codec="libvpx-vp9"), share))


def test_damage_in_the_middle_is_found(tmp_path: Path) -> None:
    """A file of the right length with its content blanked out cannot be decoded."""
    path = video(tmp_path / "a.mp4", movflags="+faststart")
    content = path.read_bytes()
    start = content.index(b"mdat") + 4
    path.write_bytes(content[:start] + bytes(len(content) - start))
    failure(path)


def test_long_videos_are_read_in_part(tmp_path: Path) -> None:
    """Past the budget only the end is decoded, and a cut is found nevertheless."""
    path = video(tmp_path / "a.mp4", frames=2400, size=(16, 16), movflags="+frag_keyframe+empty_moov")
    assert probe(path, decode=True).seconds == pytest.approx(100, abs=0.1)


@pytest.mark.parametrize(
    ("width", "height"), [(60_000, 60_000), (20_000, 10_000), (10_001, 10_000), (2**31 - 1, 2**31 - 1), (10**8 + 1, 1)]
)
@pytest.mark.parametrize("decode", [False, True])
def test_decompression_bombs(tmp_path: Path, width: int, height: int, decode: bool) -> None:
    """A small file that promises a huge picture is refused unread, and no warning leaks."""
    path = tmp_path / "a.png"
    path.write_bytes(png_header(width, height))
    failure(path, decode=decode)


def test_a_wav_that_was_streamed_is_fine(tmp_path: Path) -> None:
    """Programs that write into a pipe cannot know the length and write the greatest."""
    path = tmp_path / "a.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16_000))
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert probe(path, decode=True).seconds == pytest.approx(1.0, abs=0.01)


def test_nothing_is_written_to_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """FFmpeg's own complaints stay inside."""
    failure(cut(video(tmp_path / "a.webm", codec="libvpx-vp9"), 0.3))
    (tmp_path / "b.mp4").write_bytes(b"\0\0\0\x18ftypisom" + os.urandom(5000))
    failure(tmp_path / "b.mp4")
    assert capfd.readouterr() == ("", "")


# ---------------------------------------------------------------------------------------------------------- rules


def rule(kind: MediaKind = MediaKind.IMAGE, **bounds: Any) -> MediaRule:  # noqa: ANN401  # the fields have types of their own
    """A rule with these bounds."""
    return MediaRule(kind, "base64", **bounds)


def image(width: int, height: int, size: int = 10) -> MediaInfo:
    """A picture's facts."""
    return MediaInfo(MediaKind.IMAGE, "png", size, width, height)


def audio(seconds: float | None) -> MediaInfo:
    """A sound's facts."""
    return MediaInfo(MediaKind.AUDIO, "mp3", 10, seconds=seconds)


@pytest.mark.parametrize(
    ("bounds", "info", "broken"),
    [
        ({"min_side": 300}, image(300, 300), None),
        ({"min_side": 300}, image(299, 400), "the image is 299 x 400 pixels; at least 300 x 300 are needed"),
        ({"min_side": 300}, image(400, 299), "the image is 400 x 299 pixels; at least 300 x 300 are needed"),
        ({"min_ratio": 0.4}, image(400, 1000), None),
        ({"min_ratio": 0.4}, image(399, 1000), "0.399 times as wide as high; at least 0.4 is needed"),
        ({"max_ratio": 2.5}, image(1000, 400), None),
        ({"max_ratio": 2.5}, image(1001, 400), "at most 2.5 is allowed"),
        ({"min_ratio": 1 / 2.5, "max_ratio": 2.5}, image(360, 900), None),
        ({"max_bytes": 10}, image(1, 1, 10), None),
        ({"max_bytes": 10}, image(1, 1, 11), "the image has 11 bytes; at most 10 are allowed"),
        ({"formats": ("jpeg", "png")}, image(1, 1), None),
        ({"formats": ("jpeg", "webp")}, image(1, 1), "the image is png; jpeg or webp is needed"),
        ({}, image(1, 1), None),
        ({}, audio(1), "the file is an audio file (mp3); an image is needed"),
    ],
)
def test_rules_for_images(bounds: dict[str, Any], info: MediaInfo, broken: str | None) -> None:
    """The bound itself is allowed; beyond it the sentence has both figures."""
    found = check(rule(**bounds), info)
    assert found == [] if broken is None else len(found) == 1 and broken in found[0]


@pytest.mark.parametrize(
    ("bounds", "seconds", "broken"),
    [
        ({"min_seconds": 2}, 2.0, None),
        ({"min_seconds": 2}, 1.999, "the audio is 1.999 s long; at least 2 s are needed"),
        ({"max_seconds": 60}, 60.0, None),
        ({"max_seconds": 60}, 60.001, "the audio is 60.001 s long; at most 60 s are allowed"),
        ({"max_seconds": 60}, None, "the length of the audio cannot be told"),
        ({}, None, None),
    ],
)
def test_rules_for_sound(bounds: dict[str, Any], seconds: float | None, broken: str | None) -> None:
    """Lengths, from both sides of the bound."""
    assert check(rule(MediaKind.AUDIO, **bounds), audio(seconds)) == ([] if broken is None else [broken])


def test_every_broken_rule_is_said() -> None:
    """One look is enough to put a file right."""
    assert len(check(rule(min_side=300, min_ratio=1.0, max_bytes=5, formats=("jpeg",)), image(100, 200))) == 4


@pytest.mark.parametrize(
    ("bounds", "url", "count"),
    [
        ({}, "https://example.com/a.png?x=1", 0),
        ({}, "HTTP://example.com", 0),
        ({}, "ftp://example.com/a", 1),
        ({}, "https:///a.png", 1),
        ({}, "https://exa mple.com/a", 1),
        ({}, "https://[::1/a", 1),
        ({}, "https://example.com/\n", 1),
        ({}, "file:///etc/passwd", 1),
        ({}, "", 1),
        ({"accepts_url": False}, "https://example.com/a", 1),
        ({"max_url_chars": 21}, "https://example.com/a", 0),
        ({"max_url_chars": 20}, "https://example.com/a", 1),
    ],
)
def test_rules_for_urls(bounds: dict[str, Any], url: str, count: int) -> None:
    """A URL is checked without being opened."""
    assert len(check_url(rule(**bounds), url)) == count
