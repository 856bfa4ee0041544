"""Makes a campaign's input files when there are none yet: packshots and voice tracks.

Used for the example campaigns and by ``callsheet init``. Everything is drawn and synthesised here, so that an example
can be shared without anybody's rights. The same arguments give the same file.
"""

from __future__ import annotations

from dataclasses import dataclass

PACKSHOT_GROUND = (247, 245, 241)


@dataclass(frozen=True, slots=True)
class VoiceTrack:
    """A voice track and what it is: ``mp3``, or ``wav`` where no MP3 encoder is installed."""

    data: bytes
    format: str


def product_picture(title: str, seed: int, size: int = 600) -> bytes:
    """A packshot as JPEG: the product that the title names, on a plain light ground, ``size`` x ``size`` pixels (64 to 2048)."""
    from PIL import Image

    from runner.simulator import drawing, encoding, pictures, scenery
    from runner.simulator.palette import PALETTES, mix, palette_for

    size = max(64, min(2048, size))
    palette, kind = palette_for(title, seed), drawing.kind_of(title, seed)
    place = scenery.packshot(size)
    picture = Image.new("RGB", (size, size), PACKSHOT_GROUND)
    item = drawing.product(kind, palette, place.side)
    shadow = mix(PACKSHOT_GROUND, palette.ink, 0.35)
    scenery.put_shadow(picture, item, (place.centre - place.side // 2, place.foot - place.side), shadow)
    picture.paste(item, (place.centre - place.side // 2, place.foot - place.side), item)
    comment = pictures.packshot_comment(kind, PALETTES.index(palette))
    return encoding.jpeg(picture, quality=86, comment=comment)


def voice_track(text: str, seconds: float, seed: int) -> VoiceTrack:
    """A voice without words, as long as asked (0.5 to 600 seconds); the text decides its rhythm."""
    from runner.simulator import encoding, tones

    track = tones.samples(tones.plan(text, max(0.5, min(600.0, seconds)), seed))
    packed = encoding.mp3(track)
    return VoiceTrack(tones.wav(track), "wav") if packed is None else VoiceTrack(packed, "mp3")
