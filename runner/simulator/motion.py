"""Directs clips: a camera that drifts over a scene, or a person who presents.

Owns what moves and when. Layers are drawn once; a frame is a crop or a few pasted parts. All movement is a function of
the frame number, and comes back to its beginning in clips that repeat.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from runner.simulator import pictures, plates, presenter, scenery
from runner.simulator.encoding import Reel
from runner.simulator.palette import Palette, dice, lit, mix
from runner.simulator.plates import Plate, Sprite
from runner.simulator.tones import Speech
from runner.simulator.typeface import clean, draw_text, set_text

RATE = 12
"""Frames a second: enough for a rehearsal, and a third of the work of real footage."""

LOOP_SECONDS = 8
"""What is drawn; longer clips repeat it."""

_REACH = 1.14
"""How much larger than the frame the scene is that the camera drifts over."""


_CUT = 1.3
"""A picture whose format differs more from the frame's would lose its product at the edges."""


@dataclass(frozen=True, slots=True)
class Script:
    """What a clip shows."""

    title: str
    prompt: str
    kicker: str
    width: int
    height: int
    seconds: float
    seed: int
    picture: bytes | None
    palette: Palette


def frames_of(seconds: float) -> tuple[int, int]:
    """(frames of the clip, frames that are drawn)."""
    frames = max(1, round(seconds * RATE))
    return frames, min(frames, LOOP_SECONDS * RATE)


def drift(script: Script) -> Reel:
    """A slow push-in over the product's scene, or over its picture where that fills the frame, in moving light."""
    frames, loop = frames_of(script.seconds)
    camera = _camera(script)
    light, overlays = _sunbeam(script), _overlays(script, own=pictures.is_still(script.picture))

    def frame(number: int) -> Plate:
        share = _progress(number, loop, frames)
        picture = camera(share)
        travel = number / loop
        plates.brighten(picture, light, (round((travel * 1.9 - 0.7) * script.width), 0))
        for overlay, at in overlays:
            plates.paste(picture, overlay, at)
        _line(picture, (number + 1) / frames if frames == loop else 0)
        return picture

    return Reel(script.width, script.height, RATE, frames, loop, frame)


def _progress(number: int, loop: int, frames: int) -> float:
    """0 at the beginning, 1 at the end, gently; there and back in clips that repeat."""
    turn = math.pi if frames == loop else math.tau
    return 0.5 - 0.5 * math.cos(turn * number / loop)


def _camera(script: Script) -> Callable[[float], Plate]:
    """How far in (0 to 1) -> the picture. A rehearsal's own still is shown from below its corner mark."""
    width, height = script.width, script.height
    full = _full_picture(script)
    own = full is not None and pictures.is_still(script.picture)
    base = plates.plate(full or _scene(script))
    side = dice("camera", script.title, script.seed).uniform(0.3, 0.7)
    start = 1 / (1 - scenery.mark_share(width, height)) if own else 1.0
    at_y = 1.0 if own else 0.62

    def look(share: float) -> Plate:
        zoom = start + (_REACH - 1 if not own else 0.05) * share
        across, down = base.light.width / zoom, base.light.height / zoom
        left, top = (base.light.width - across) * (0.5 if own else side), (base.light.height - down) * at_y
        return base.zoomed((left, top, left + across, top + down), width, height)

    return look


def _full_picture(script: Script) -> Image.Image | None:
    """The picture, cut to the clip's format, when it has a background and nearly that format already."""
    if pictures.packshot_of(script.picture) is not None and not pictures.is_still(script.picture):
        return None
    opened = pictures.open_picture(script.picture, round(max(script.width, script.height) * _REACH))
    if opened is None or pictures.cut_out(opened):
        return None
    change = (opened.width / opened.height) / (script.width / script.height)
    if not 1 / _CUT <= change <= _CUT:
        return None
    return pictures.covering(opened, _even(script.width * _REACH), _even(script.height * _REACH))


def _even(value: float) -> int:
    return max(2, round(value / 2) * 2)


def _scene(script: Script) -> Image.Image:
    place = scenery.stage(_even(script.width * _REACH), _even(script.height * _REACH))
    item = scenery.goods(script.title, script.picture, script.palette, place.side, script.seed)
    throw = dice("scene", script.title, script.width > script.height)
    scene = scenery.backdrop(place, script.palette, throw)
    scenery.put_goods(scene, place, item, script.palette)
    return scene


def _sunbeam(script: Script) -> Image.Image:
    """A soft slanted beam as high as the frame."""
    small = Image.new("L", (64, 64))
    small.putdata([round(40 * math.exp(-(((x - 40 + y * 0.28) / 7.5) ** 2))) for y in range(64) for x in range(64)])
    return small.resize((max(2, script.width * 7 // 10), script.height), Image.Resampling.BICUBIC)


def _overlays(script: Script, *, own: bool) -> list[tuple[Sprite, tuple[int, int]]]:
    """What stands still before the moving picture: the corner mark, and the title unless the picture has its own."""
    size = (script.width, script.height)
    place = scenery.stage(*size)
    mark = Image.new("RGBA", size)
    scenery.put_mark(mark, place.unit)
    layers = [mark]
    if not own:
        layers.append(Image.new("RGBA", size))
        _name(layers[1], script, place)
    return [_trimmed(layer) for layer in layers]


def _trimmed(layer: Image.Image) -> tuple[Sprite, tuple[int, int]]:
    """Only what is painted: pasting costs by the pixel, and is done for every frame."""
    left, top, right, bottom = layer.getbbox() or (0, 0, 2, 2)
    at = (left // 2 * 2, top // 2 * 2)
    return plates.sprite(layer.crop((*at, right, bottom))), at


def _name(layer: Image.Image, script: Script, place: scenery.Stage) -> None:
    """The product's name in the lower left corner over a soft dark ground."""
    unit = place.unit
    setting = set_text(script.title, round(unit * 4.4), script.width - 9 * unit, lines=2)
    small = set_text(script.kicker.upper(), round(unit * 1.8), script.width - 9 * unit)
    deep = 10 * unit + (setting.height if setting else 0)
    ground = Image.linear_gradient("L").resize((script.width, deep)).point([value * 150 // 255 for value in range(256)])
    dark = Image.new("RGBA", ground.size, lit(script.palette.ink, 0.5) if max(script.palette.ink) < 140 else (18, 18, 24))
    dark.putalpha(ground)
    layer.alpha_composite(dark, (0, script.height - deep))
    y = script.height - 4 * unit
    if setting is not None:
        y -= setting.height
        draw_text(layer, setting, (round(4.5 * unit), y), scenery.WHITE)
    if small is not None:
        draw_text(layer, small, (round(4.5 * unit), y - 3 * unit), (236, 232, 226))


def _line(picture: Plate, share: float) -> None:
    """The fine line along the lower edge that shows how far the clip is."""
    width, height = picture.light.size
    high = max(2, height // 240 // 2 * 2)
    right = round(width * share) // 2 * 2
    if right:
        picture.light.paste(225, (0, height - high, right, height))
        for part in (picture.blue, picture.red):
            part.paste(128, (0, part.height - high // 2, right // 2, part.height))


def present(script: Script, speech: Speech) -> Reel:
    """A person beside the product who says what ``speech`` sounds like, with the prompt as caption."""
    frames, loop = frames_of(script.seconds)
    base, cast = plates.plate(_studio(script)[0]), _cast(script)
    caption = plates.sprite(_caption(script))
    blinks = _blinks(script, loop)

    def frame(number: int) -> Plate:
        picture = base.copy()
        turn = math.tau * number / loop
        beats = max(1, round(loop / RATE / 2.2))
        rise = 2 * round(script.height / 420 * math.sin(turn * beats))
        arm = round(1.5 - 1.5 * math.cos(turn * max(1, round(loop / RATE / 3.6))))
        for part in cast.parts(speech.mouth((number + 0.5) / RATE), arm, closed=number in blinks):
            plates.paste(picture, part[0], (cast.at[0] + part[1][0], cast.at[1] + part[1][1] + rise))
        plates.paste(picture, caption, (0, script.height - caption.mask.height))
        _line(picture, (number + 1) / frames if frames == loop else 0)
        return picture

    return Reel(script.width, script.height, RATE, frames, loop, frame)


@dataclass(frozen=True, slots=True)
class Cast:
    """The person's parts as sprites with their places, and where the person stands."""

    body: tuple[Sprite, tuple[int, int]]
    eyes: list[tuple[Sprite, tuple[int, int]]]
    mouths: list[tuple[Sprite, tuple[int, int]]]
    arms: list[tuple[Sprite, tuple[int, int]]]
    at: tuple[int, int]

    def parts(self, mouth: int, arm: int, *, closed: bool) -> list[tuple[Sprite, tuple[int, int]]]:
        """What to lay for one pose, in order."""
        return [self.body, self.eyes[int(closed)], self.mouths[mouth], self.arms[arm]]


def standing(width: int, height: int) -> tuple[int, tuple[int, int]]:
    """(the person's width, where the upper left corner stands): the left of the frame, cut off by its lower edge."""
    wide, tall = width > height * 1.2, height > width * 1.2
    across = round(min(width * (0.42 if wide else 0.94 if tall else 0.68), height * 0.62))
    margin = round(height / 420) * 2
    left = round(width * 0.05) if wide else round(across * (-0.14 if tall else -0.05))
    return across, (left, round(height - across * presenter.TALL) + margin)


def _cast(script: Script) -> Cast:
    across, at = standing(script.width, script.height)
    parts = presenter.draw(presenter.person_for(script.title, script.seed, script.palette), across)

    def cast(part: presenter.Part) -> tuple[Sprite, tuple[int, int]]:
        return plates.sprite(part.image), part.at

    return Cast(cast(parts.body), [*map(cast, parts.eyes)], [*map(cast, parts.mouths)], [*map(cast, parts.arms)], at)


def _studio(script: Script) -> tuple[Image.Image, bytes]:
    """The scene without the person, and the mark of the product in it."""
    place = scenery.stage(script.width, script.height, presented=True)
    item = scenery.goods(script.title, script.picture, script.palette, place.side, script.seed)
    scene = scenery.backdrop(place, script.palette, dice("studio", script.title, script.seed))
    scenery.put_goods(scene, place, item, script.palette)
    scenery.put_mark(scene, place.unit)
    return scene, item.mark


def _blinks(script: Script, loop: int) -> frozenset[int]:
    throw, spot, found = dice("blinks", script.title, script.seed), 0, set[int]()
    while (spot := spot + throw.randint(RATE * 3 // 2, RATE * 3)) < loop - 1:
        found |= {spot, spot + 1}
    return frozenset(found)


def _caption(script: Script) -> Image.Image:
    """The strip along the lower edge: a dark card with the title and what is said."""
    unit = scenery.stage(script.width, script.height).unit
    inner = script.width - 10 * unit
    small = set_text(script.title.upper(), round(unit * 1.8), inner)
    wide = script.width > script.height * 1.2
    said = clean(script.prompt).removeprefix(clean(script.title)).lstrip(" .,:;!?–—") or script.title
    words = set_text(said, round(unit * (2.5 if wide else 2.9)), inner, lines=1 if wide else 2)
    high = 4 * unit + (3 * unit if small else 0) + (words.height if words else 0)
    strip = Image.new("RGBA", (script.width, _even(high + 3 * unit)))
    card = Image.new("RGBA", (script.width - 4 * unit, high), (20, 20, 26, 0))
    card.putalpha(scenery.round_mask(card.size, 2 * unit).point([value * 232 // 255 for value in range(256)]))
    strip.alpha_composite(card, (2 * unit, 0))
    y = 2 * unit
    if small is not None:
        draw_text(strip, small, (5 * unit, y), mix(script.palette.glow, scenery.WHITE, 0.6))
        y += 3 * unit
    if words is not None:
        draw_text(strip, words, (5 * unit, y), scenery.WHITE)
    return strip


def presented_still(script: Script) -> tuple[Image.Image, bytes]:
    """One picture of the person with the product, smiling, RGB, and the mark of the product in it."""
    scene, mark = _studio(script)
    across, at = standing(script.width, script.height)
    parts = presenter.draw(presenter.person_for(script.title, script.seed, script.palette), across)
    for part in (parts.body, parts.eyes[0], parts.mouths[0], parts.arms[3]):
        scene.paste(part.image, (at[0] + part.at[0], at[1] + part.at[1]), part.image)
    return scene, mark
