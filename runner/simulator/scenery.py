"""Composes the still scene: wall, light, table, product with its shadow, title, and the corner mark.

Owns where things stand for each aspect ratio. Knows nothing of time: clips move what is composed here.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from runner.simulator import drawing, pictures
from runner.simulator.palette import PALETTES, Colour, Palette, dice, lit, luminance, mix
from runner.simulator.typeface import draw_text, set_text, spaced

WHITE: Colour = (255, 255, 255)
MARK = "Rehearsal"


@dataclass(frozen=True, slots=True)
class Stage:
    """Where things stand, in pixels: the table's edge, the product's square (centre, foot, side), and the title's room."""

    width: int
    height: int
    horizon: int
    centre: int
    foot: int
    side: int
    title_at: tuple[int, int]
    title_width: int
    unit: int
    """About one hundredth of the picture: the measure for type and margins."""


def stage(width: int, height: int, *, presented: bool = False) -> Stage:
    """The arrangement for a size: product above its title, or beside it in wide formats, or beside a presenter."""
    unit = max(3, round((width * height) ** 0.5 / 72))
    margin = 5 * unit
    if presented:
        return _presented(width, height, unit)
    if width > height * 1.2:
        side = round(min(height * 0.74, width * 0.44))
        return Stage(
            width,
            height,
            round(height * 0.7),
            round(width * 0.69),
            round(height * 0.83),
            side,
            (margin, round(height * 0.3)),
            round(width * 0.4),
            unit,
        )
    tall = height > width * 1.2
    side = round(min(width * 0.86, height * 0.58))
    foot = round(height * (0.69 if tall else 0.72))
    title = (margin, foot + round((height - foot) * (0.32 if tall else 0.24)))
    return Stage(width, height, round(foot - side * 0.14), width // 2, foot, side, title, width - 2 * margin, unit)


def packshot(size: int) -> Stage:
    """The arrangement of a square catalogue picture: only the product."""
    side = round(size * 0.84)
    return Stage(size, size, size, size // 2, round(size * 0.93), side, (0, 0), size, max(3, size // 72))


def _presented(width: int, height: int, unit: int) -> Stage:
    margin = 5 * unit
    if width > height * 1.2:
        side, foot, centre = round(height * 0.56), round(height * 0.73), round(width * 0.71)
    elif height > width * 1.2:
        side, foot, centre = round(min(width * 0.54, height * 0.4)), round(height * 0.64), round(width * 0.73)
    else:
        side, foot, centre = round(width * 0.44), round(height * 0.7), round(width * 0.75)
    return Stage(width, height, round(foot - side * 0.16), centre, foot, side, (margin, 0), width - 2 * margin, unit)


@dataclass(frozen=True, slots=True)
class Goods:
    """A product ready to be placed: an RGBA square that stands on the line at 95 % of its height.

    ``mark`` says what was drawn, so that the next picture in a chain draws the same; empty for real pictures.
    """

    image: Image.Image
    mark: bytes = b""


def goods(title: str, picture: bytes | None, palette: Palette, side: int, seed: int) -> Goods:
    """The product, ``side`` pixels wide: its own picture, cut out or as a print with round corners; drawn when it is a drawn
    packshot, or when there is no picture that opens.
    """
    own = pictures.is_still(picture)
    opened = pictures.open_picture(picture, side * 2 if own else side)
    if opened is None:
        return _drawn(drawing.kind_of(title, seed), PALETTES.index(palette), side)
    shown = pictures.packshot_of(picture)
    if shown is not None and shown[0] in drawing.KINDS and shown[1] < len(PALETTES):
        return _drawn(*shown, side)
    if own:
        opened = _closer(opened, presented=pictures.is_presented(picture))
    elif pictures.cut_out(opened):
        return Goods(_seated(opened, side))
    return Goods(_framed(opened, side))


def _drawn(kind: str, number: int, side: int) -> Goods:
    return Goods(drawing.product(kind, PALETTES[number], side), pictures.packshot_comment(kind, number))


def _seated(picture: Image.Image, side: int) -> Image.Image:
    """What is painted of it, on the line in the middle of a square."""
    cut = picture.crop(picture.getchannel("A").getbbox() or (0, 0, picture.width, picture.height))
    cut.thumbnail((round(side * 0.9), round(side * 0.9)), Image.Resampling.BICUBIC)
    square = Image.new("RGBA", (side, side))
    square.paste(cut, ((side - cut.width) // 2, round(side * 0.95) - cut.height))
    return square


def _closer(picture: Image.Image, *, presented: bool) -> Image.Image:
    """The part of a rehearsal's own still that shows the product: without its mark and title."""
    place = stage(picture.width, picture.height, presented=presented)
    half = min(round(place.side * 0.56), place.centre, picture.width - place.centre)
    bottom = place.foot + round(place.side * 0.07)
    return picture.crop((place.centre - half, bottom - 2 * half, place.centre + half, bottom))


def _framed(picture: Image.Image, side: int) -> Image.Image:
    """A picture with a background of its own becomes a print with round corners and a light edge."""
    edge = max(2, side // 48)
    room = round(side * 0.95) - 2 * edge
    inner = picture.copy()
    inner.thumbnail((room, room), Image.Resampling.BICUBIC)
    card = Image.new("RGBA", (inner.width + 2 * edge, inner.height + 2 * edge), (*WHITE, 255))
    card.paste(inner, (edge, edge), inner)
    card.putalpha(round_mask(card.size, side // 24))
    square = Image.new("RGBA", (side, side))
    square.paste(card, ((side - card.width) // 2, round(side * 0.95) - card.height))
    return square


def round_mask(size: tuple[int, int], radius: int) -> Image.Image:
    """A mask with round corners, smooth at the edge."""
    mask = Image.new("L", (size[0] * 2, size[1] * 2))
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, mask.width - 1, mask.height - 1), radius * 2, fill=255)
    return mask.reduce(2)


def backdrop(place: Stage, palette: Palette, rng: Random) -> Image.Image:
    """Wall, shape behind the product, window light and table."""
    size = (place.width, place.height)
    scene = _fade(lit(palette.glow, 0.99), palette.wall, size)
    _glow(scene, place, palette)
    _shape(scene, place, palette, rng)
    _window(scene, place, rng)
    _table(scene, place, palette)
    return scene


def _fade(top: Colour, bottom: Colour, size: tuple[int, int]) -> Image.Image:
    strip = Image.new("RGB", (1, 32))
    strip.putdata([mix(top, bottom, step / 31) for step in range(32)])
    return strip.resize(size, Image.Resampling.BICUBIC)


def _glow(scene: Image.Image, place: Stage, palette: Palette) -> None:
    """Light on the wall around the product."""
    across = round(place.side * 2.3)
    mask = ImageChops.invert(Image.radial_gradient("L")).resize((across, across), Image.Resampling.BICUBIC)
    corner = (place.centre - across // 2, place.foot - round(place.side * 0.55) - across // 2)
    scene.paste(lit(palette.glow, 1.12), corner, mask.point([min(255, value * 4 // 5) for value in range(256)]))


def _shape(scene: Image.Image, place: Stage, palette: Palette, rng: Random) -> None:
    """An arch, a disc or a panel on the wall."""
    kind = rng.choice(("arch", "disc", "panel"))
    half, up = round(place.side * 0.5), round(place.side * 1.12)
    mask = Image.new("L", (half * 4, up * 2))
    pen = ImageDraw.Draw(mask)
    if kind == "disc":
        pen.ellipse((0, 0, half * 4 - 1, half * 4 - 1), fill=255)
    elif kind == "arch":
        pen.rounded_rectangle((0, 0, half * 4 - 1, up * 4), half * 2, fill=255)
    else:
        pen.rounded_rectangle((half // 3, up // 8, half * 4 - half // 3, up * 4), half // 6, fill=255)
    mask = mask.reduce(2)
    tint = mix(palette.wall, palette.body, 0.32) if luminance(palette.wall) > 90 else mix(palette.wall, palette.glow, 0.55)
    fill = _fade(mix(tint, palette.glow, 0.3), tint, mask.size)
    scene.paste(fill, (place.centre - half, place.foot - up), mask.point([value * 4 // 5 for value in range(256)]))


def _window(scene: Image.Image, place: Stage, rng: Random) -> None:
    """Sun through a window, from the left: slanted panes of light, soft at the edge."""
    small = (max(8, place.width // 6), max(8, place.height // 6))
    mask = Image.new("L", small)
    pen = ImageDraw.Draw(mask)
    left, slant = small[0] * rng.uniform(-0.15, 0.15), small[1] * 0.16
    pane = small[0] * 0.3
    for column in (0.0, 1.12):
        for top, bottom in ((0.04, 0.3), (0.325, 0.62)):
            x, y0, y1 = left + column * pane, small[1] * top, small[1] * bottom
            pen.polygon([(x + slant, y0), (x + pane + slant, y0 + 2), (x + pane * 0.9, y1), (x - pane * 0.1, y1 - 2)], fill=70)
    mask = mask.filter(ImageFilter.GaussianBlur(max(1.0, small[0] / 70)))
    scene.paste(WHITE, (0, 0), mask.resize(scene.size, Image.Resampling.BICUBIC))


def _table(scene: Image.Image, place: Stage, palette: Palette) -> None:
    size = (place.width, place.height - place.horizon)
    top = _fade(lit(palette.table, 1.1), lit(palette.table, 0.84), size)
    scene.paste(top, (0, place.horizon))
    line = max(1, place.unit // 5)
    scene.paste(lit(palette.table, 1.3), (0, place.horizon, place.width, place.horizon + line))
    shade = _fade((0, 0, 0), WHITE, (place.width, place.unit * 2)).convert("L").point([(255 - v) // 6 for v in range(256)])
    scene.paste(lit(palette.table, 0.5), (0, place.horizon - place.unit * 2), shade.transpose(Image.Transpose.FLIP_TOP_BOTTOM))


def put_goods(scene: Image.Image, place: Stage, item: Goods, palette: Palette) -> None:
    """Stand the product on the table with the shadow it throws."""
    at = (place.centre - place.side // 2, place.foot - place.side)
    put_shadow(scene, item.image, at, mix(palette.table, (0, 0, 0), 0.72))
    scene.paste(item.image, at, item.image)


def put_shadow(scene: Image.Image, image: Image.Image, at: tuple[int, int], dark: Colour) -> None:
    """A wide soft shadow that falls to the right, and a dark one where the product touches the table."""
    box = image.getchannel("A").getbbox() or (0, 0, image.width, image.height)
    wide, foot = box[2] - box[0], at[1] + box[3]
    for shift, across, down, strength in ((0.14, 1.18, 0.13, 105), (0.03, 0.96, 0.05, 190)):
        half, deep = round(wide * across / 2), max(2, round(wide * down))
        mask = Image.new("L", (max(8, half // 2), max(8, deep)))
        blur = mask.height / 7
        ImageDraw.Draw(mask).ellipse((blur * 2, blur * 2, mask.width - blur * 2, mask.height - blur * 2), fill=strength)
        mask = mask.filter(ImageFilter.GaussianBlur(blur)).resize((half * 2, deep * 2), Image.Resampling.BICUBIC)
        middle = at[0] + (box[0] + box[2]) // 2 + round(wide * shift)
        scene.paste(dark, (middle - half, foot - deep - round(deep * 0.25)), mask)


def put_title(scene: Image.Image, place: Stage, title: str, kicker: str, palette: Palette) -> None:
    """The product's name in large type, over it the small line that says what made the picture."""
    wide = place.width > place.height * 1.2
    ground = palette.glow if wide else lit(palette.table, 0.94)
    ink = (
        palette.ink
        if abs(luminance(palette.ink) - luminance(ground)) > 90
        else (WHITE if luminance(ground) < 128 else (24, 22, 26))
    )
    x, y = place.title_at
    small = set_text(kicker.upper(), round(place.unit * 1.9), place.title_width)
    if small is not None:
        draw_text(scene, small, (x if wide else (place.width - small.width) // 2, y), mix(ink, ground, 0.3))
        y += round(place.unit * 3.2)
    size = round(place.unit * (5.6 if wide else 4.9))
    room = (place.height - y - 2 * place.unit) // round(size * 1.24)
    setting = set_text(title, size, place.title_width, lines=max(1, min(4 if wide else 2, room)))
    if setting is None:
        return
    for line in setting.lines:
        left = x if wide else (place.width - round(setting.font.getlength(line))) // 2
        ImageDraw.Draw(scene).text((left, y), line, font=setting.font, fill=ink)
        y += setting.pitch


def mark_share(width: int, height: int) -> float:
    """The share of a picture's height, from the top, that the corner mark takes with its margins."""
    return stage(width, height).unit * 6 / height


def put_mark(scene: Image.Image, unit: int) -> None:
    """The corner mark that keeps a rehearsal from being taken for the real thing."""
    setting = set_text(spaced(MARK), round(unit * 1.7), unit * 40)
    if setting is None:
        return
    pad, height = round(unit * 1.1), round(unit * 3.1)
    size = (setting.width + 2 * pad, height)
    left, top = scene.width - size[0] - unit * 2, unit * 2
    scene.paste((20, 20, 24), (left, top), round_mask(size, height // 2).point([value * 9 // 20 for value in range(256)]))
    draw_text(scene, setting, (left + pad, top + round((height - unit * 1.7) / 2 - unit * 0.15)), (255, 255, 255))


def still(title: str, kicker: str, item: Goods, palette: Palette, place: Stage) -> Image.Image:
    """A whole still, RGB."""
    scene = backdrop(place, palette, dice("scene", title, place.width > place.height))
    put_goods(scene, place, item, palette)
    put_title(scene, place, title, kicker, palette)
    put_mark(scene, place.unit)
    return scene
