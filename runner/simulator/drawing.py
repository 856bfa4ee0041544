"""Draws products: bottle, tin, jar, box, pouch, tube, mug, shoe, lamp, headphones, bag.

Owns the easel (filled, shaded shapes at three times the size, then reduced) and the shapes of goods. Shapes stand in a square of
100 x 100 units, x to the right, y down, on the line y = 95. Knows nothing of scenes, text or video.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

from PIL import Image, ImageDraw

from runner.simulator.palette import Colour, Palette, dice, lit, mix

Point: TypeAlias = tuple[float, float]
Outline: TypeAlias = list[Point]
Stops: TypeAlias = tuple[tuple[float, float], ...]
"""Light across a shape: (place from 0 to 1, factor), 1.0 being the plain colour."""

FLAT: Stops = ((0, 1.0), (1, 1.0))
ROUND: Stops = ((0, 0.58), (0.1, 0.8), (0.24, 1.16), (0.36, 1.22), (0.5, 1.0), (0.8, 0.78), (0.94, 0.64), (1, 0.72))
GLOSS: Stops = ((0, 0.55), (0.08, 0.9), (0.16, 1.5), (0.22, 1.12), (0.5, 0.98), (0.82, 0.7), (0.93, 0.6), (1, 0.95))
SOFT: Stops = ((0, 0.84), (0.3, 1.1), (0.7, 0.97), (1, 0.76))
DOWN: Stops = ((0, 1.14), (0.5, 1.0), (1, 0.78))

_SCALE = 3


def rounded(left: float, top: float, right: float, bottom: float, radius: float = 0) -> Outline:
    """A rectangle with round corners."""
    radius = min(radius, (right - left) / 2, (bottom - top) / 2)
    corners = (
        (right - radius, top + radius, -90),
        (right - radius, bottom - radius, 0),
        (left + radius, bottom - radius, 90),
        (left + radius, top + radius, 180),
    )
    return [
        (x + radius * math.cos(math.radians(start + step)), y + radius * math.sin(math.radians(start + step)))
        for x, y, start in corners
        for step in ((0, 15, 30, 45, 60, 75, 90) if radius else (0,))
    ]


def oval(x: float, y: float, across: float, down: float) -> Outline:
    """An ellipse around (x, y) with the two half axes."""
    steps = [math.tau * step / 72 for step in range(72)]
    return [(x + across * math.cos(angle), y + down * math.sin(angle)) for angle in steps]


def arch(x: float, y: float, across: float, down: float, width: float) -> Outline:
    """The upper half of a ring around (x, y): half axes at the middle of its ``width``."""
    turns = [math.pi * step / 36 for step in range(37)]
    outer = [(x - (across + width / 2) * math.cos(t), y - (down + width / 2) * math.sin(t)) for t in turns]
    inner = [(x - (across - width / 2) * math.cos(t), y - (down - width / 2) * math.sin(t)) for t in turns]
    return outer + inner[::-1]


def smooth(points: Sequence[Point]) -> Outline:
    """A closed soft curve through the points (Catmull-Rom)."""
    count, outline = len(points), []
    for index in range(count):
        a, b, c, d = (points[(index + offset) % count] for offset in (-1, 0, 1, 2))
        outline += [_between(a, b, c, d, step / 12) for step in range(12)]
    return outline


def _between(a: Point, b: Point, c: Point, d: Point, t: float) -> Point:
    def one(w: float, x: float, y: float, z: float) -> float:
        return 0.5 * (2 * x + (y - w) * t + (2 * w - 5 * x + 4 * y - z) * t * t + (3 * x - w - 3 * y + z) * t**3)

    return one(a[0], b[0], c[0], d[0]), one(a[1], b[1], c[1], d[1])


class Easel:
    """A transparent square (or a part ``tall`` times as high) that shapes are painted on, in units of 1/100 of its width."""

    def __init__(self, side: int, tall: float = 1.0) -> None:
        self._size = (max(8, side), max(8, round(side * tall)))
        self._unit = self._size[0] * _SCALE / 100
        self.image = Image.new("RGBA", (self._size[0] * _SCALE, self._size[1] * _SCALE))

    def paint(
        self, outline: Sequence[Point], colour: Colour, light: Stops = FLAT, *, alpha: int = 255, down: bool = False
    ) -> None:
        """Fill a shape; ``light`` runs from left to right, or from the top ``down``."""
        points = [(x * self._unit, y * self._unit) for x, y in outline]
        left, top = math.floor(min(p[0] for p in points)), math.floor(min(p[1] for p in points))
        size = (math.ceil(max(p[0] for p in points)) - left + 1, math.ceil(max(p[1] for p in points)) - top + 1)
        mask = Image.new("L", size)
        ImageDraw.Draw(mask).polygon([(x - left, y - top) for x, y in points], fill=alpha)
        fill = _gradient(colour, light, size, down=down)
        layer = Image.merge("RGBA", (*fill.split(), mask))
        self._lay(layer, left, top)

    def _lay(self, layer: Image.Image, left: int, top: int) -> None:
        """Composite at a place that may lie partly outside."""
        inside = layer.crop((max(0, -left), max(0, -top), layer.width, layer.height))
        if left < self.image.width and top < self.image.height and inside.width > 0 and inside.height > 0:
            self.image.alpha_composite(inside, (max(0, left), max(0, top)))

    def stroke(self, points: Sequence[Point], colour: Colour, width: float) -> None:
        """A line with round joints and ends."""
        pen = ImageDraw.Draw(self.image)
        spots = [(x * self._unit, y * self._unit) for x, y in points]
        pen.line(spots, fill=(*colour, 255), width=max(1, round(width * self._unit)), joint="curve")
        radius = width * self._unit / 2
        for x, y in spots:
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(*colour, 255))

    def piece(self) -> tuple[Image.Image, tuple[int, int]]:
        """Only what is painted, at its real size, and where its upper left corner belongs (even pixels)."""
        step = _SCALE * 2
        left, top, right, bottom = self.image.getbbox() or (0, 0, step, step)
        corner = (left // step * step, top // step * step)
        cut = self.image.crop((*corner, -(-right // step) * step, -(-bottom // step) * step))
        return cut.reduce(_SCALE), (corner[0] // _SCALE, corner[1] // _SCALE)

    def finished(self) -> Image.Image:
        """The picture at its real size, with transparency."""
        return self.image.reduce(_SCALE)


def _gradient(colour: Colour, light: Stops, size: tuple[int, int], *, down: bool) -> Image.Image:
    if light is FLAT:
        return Image.new("RGB", size, colour)
    strip = Image.new("RGB", (64, 1))
    strip.putdata([lit(colour, _light_at(light, step / 63)) for step in range(64)])
    if down:
        strip = strip.transpose(Image.Transpose.ROTATE_270)
    return strip.resize(size, Image.Resampling.BILINEAR)


def _light_at(light: Stops, place: float) -> float:
    for (start, first), (end, second) in itertools.pairwise(light):
        if place <= end:
            return first + (second - first) * (place - start) / (end - start)
    return light[-1][1]


def _writing(easel: Easel, x: float, y: float, width: float, colour: Colour) -> None:
    """The idea of a printed label: a mark, a bold line and two fine ones."""
    easel.paint(oval(x, y, width * 0.13, width * 0.13), colour)
    easel.paint(rounded(x - width * 0.36, y + width * 0.24, x + width * 0.36, y + width * 0.33, 1), colour)
    for offset, share in ((0.43, 0.26), (0.53, 0.18)):
        line = rounded(x - width * share, y + width * offset, x + width * share, y + width * (offset + 0.035), 0.5)
        easel.paint(line, colour, alpha=170)


def _bottle(easel: Easel, p: Palette) -> None:
    slope = [(8 * t * t * (3 - 2 * t), 31 + 21 * t) for t in (step / 12 for step in range(13))]
    neck = [(41, 25), *((41 - dx, y) for dx, y in slope), *((59 + dx, y) for dx, y in reversed(slope)), (59, 25)]
    easel.paint(rounded(33, 46, 67, 95, 4), p.body, GLOSS)
    easel.paint(neck, p.body, GLOSS)
    easel.paint(rounded(33, 52, 67, 84), p.label, ROUND)
    easel.paint(rounded(33, 80.5, 67, 82), p.trim, ROUND)
    _writing(easel, 50, 60, 26, p.body)
    easel.paint(rounded(40, 10, 60, 27, 2), p.trim, ROUND)
    easel.paint(rounded(40, 24, 60, 25), lit(p.trim, 0.6))
    easel.paint(smooth([(37.5, 47), (39, 46), (39, 90), (37.5, 90)]), (255, 255, 255), alpha=70)


def _tin(easel: Easel, p: Palette) -> None:
    easel.paint(rounded(28, 30, 72, 95, 3), p.body, ROUND)
    easel.paint(oval(50, 92, 22, 4), p.body, ROUND)
    easel.paint(rounded(28, 46, 72, 80), p.label, ROUND)
    easel.paint(rounded(28, 46, 72, 48), p.trim, ROUND)
    easel.paint(rounded(28, 78, 72, 80), p.trim, ROUND)
    _writing(easel, 50, 56, 30, p.body)
    easel.paint(rounded(26.5, 24, 73.5, 34, 2), lit(p.trim, 0.94), ROUND)
    easel.paint(oval(50, 24, 23.5, 4.2), lit(p.trim, 1.18), SOFT)
    easel.paint(oval(50, 23.6, 19.5, 3), lit(p.trim, 1.05), SOFT)


def _jar(easel: Easel, p: Palette) -> None:
    easel.paint(rounded(27, 40, 73, 95, 7), mix(p.label, p.body, 0.25), GLOSS)
    easel.paint(rounded(29, 52, 71, 93, 6), p.body, ROUND, alpha=235)
    easel.paint(rounded(27, 56, 73, 82), p.label, ROUND)
    _writing(easel, 50, 63, 26, p.ink if p.ink[0] < 128 else p.body)
    easel.paint(rounded(29, 26, 71, 42, 2.5), p.trim, ROUND)
    easel.paint(oval(50, 27, 21, 3.4), lit(p.trim, 1.16), SOFT)
    easel.paint(rounded(31.5, 47, 33.5, 90, 1), (255, 255, 255), alpha=80)


def _box(easel: Easel, p: Palette) -> None:
    easel.paint([(20, 34), (62, 38), (62, 96), (20, 90)], p.body, SOFT)
    easel.paint([(62, 38), (82, 32), (82, 87), (62, 96)], lit(p.body, 0.66), DOWN, down=True)
    easel.paint([(20, 34), (40, 29), (82, 32), (62, 38)], lit(p.body, 1.25), SOFT)
    easel.paint([(20, 46), (62, 50.5), (62, 80), (20, 75.5)], p.label, SOFT)
    easel.paint([(62, 50.5), (82, 44), (82, 72.5), (62, 80)], lit(p.label, 0.78))
    _writing(easel, 41, 57, 26, p.body)
    easel.paint([(37, 29.8), (44, 29.3), (66.5, 37), (59, 37.7)], p.trim, SOFT)


def _pouch(easel: Easel, p: Palette) -> None:
    bag = smooth([(27, 22), (50, 20), (73, 22), (75, 50), (77, 88), (70, 95), (50, 96), (30, 95), (23, 88), (25, 50)])
    easel.paint(bag, p.body, ROUND)
    easel.paint(rounded(26, 16, 74, 25, 1), lit(p.body, 0.85), SOFT)
    easel.paint(rounded(26, 27, 74, 28.4), lit(p.body, 0.7), SOFT)
    easel.paint(rounded(32, 41, 68, 80, 3), p.label, SOFT)
    _writing(easel, 50, 52, 27, p.body)
    easel.paint(oval(50, 33.5, 3.2, 3.2), p.trim)
    easel.paint(smooth([(29, 36), (31, 35), (29, 84), (26.5, 84)]), (255, 255, 255), alpha=60)


def _tube(easel: Easel, p: Palette) -> None:
    easel.paint([(33, 9), (67, 9), (64, 80), (36, 80)], p.body, ROUND)
    easel.paint(rounded(32, 6, 68, 13, 1), lit(p.body, 0.85), SOFT)
    easel.paint([(34.3, 32), (65.7, 32), (64.4, 66), (35.6, 66)], p.label, ROUND)
    _writing(easel, 50, 41, 25, p.body)
    easel.paint(rounded(37, 80, 63, 95, 2), p.trim, ROUND)
    for x in range(40, 62, 3):
        easel.paint(rounded(x, 82, x + 0.7, 94), (0, 0, 0), alpha=40)


def _mug(easel: Easel, p: Palette) -> None:
    easel.paint(oval(71, 63, 16, 17), lit(p.body, 0.82), SOFT)
    hole = Easel(easel.image.width // _SCALE)
    hole.paint(oval(71, 63, 9.5, 10.5), (255, 255, 255))
    easel.image.paste((0, 0, 0, 0), (0, 0), hole.image.getchannel("A"))
    easel.paint([(22, 36), (72, 36), (68, 91), *oval(47, 91, 21, 4)[1:36], (26, 91)], p.body, ROUND)
    easel.paint(oval(47, 36, 25, 5.4), lit(p.body, 1.3), SOFT)
    easel.paint(oval(47, 36.8, 22.4, 4.3), lit(p.trim, 0.8), SOFT)
    _writing(easel, 47, 57, 24, p.label)


def _shoe(easel: Easel, p: Palette) -> None:
    sole = smooth([(8, 84), (30, 84), (60, 85), (90, 83), (96, 87), (92, 94), (60, 95), (28, 95), (10, 94), (6, 89)])
    upper = smooth(
        [(10, 62), (13, 50), (24, 46), (34, 52), (44, 58), (62, 67), (84, 72), (94, 80), (92, 87), (50, 88), (9, 87), (8, 75)]
    )
    easel.paint(upper, p.body, SOFT)
    easel.paint(smooth([(72, 70), (84, 72), (94, 80), (92, 87), (74, 87), (70, 78)]), lit(p.body, 1.22), SOFT)
    easel.paint(smooth([(9, 60), (14, 52), (22, 60), (25, 76), (22, 87), (9, 87), (8, 74)]), p.trim, SOFT)
    easel.paint(smooth([(12, 50), (22, 44), (36, 52), (34, 57), (24, 53), (14, 56)]), lit(p.body, 0.66))
    easel.paint(smooth([(30, 66), (46, 73), (66, 77), (66, 80), (42, 80), (30, 74)]), p.label)
    for step in range(5):
        x, y = 37 + step * 6, 53.5 + step * 3.1
        easel.stroke([(x - 2, y + 5.4), (x + 3.2, y + 2)], p.label, 1.7)
    easel.paint(sole, p.label, DOWN, down=True)
    easel.paint(rounded(10, 90, 92, 91.2), p.trim, alpha=150)


def _lamp(easel: Easel, p: Palette) -> None:
    easel.paint(rounded(48.4, 44, 51.6, 92), p.trim, ROUND)
    easel.paint(oval(50, 92, 17, 3.6), lit(p.trim, 0.8), ROUND)
    easel.paint(oval(50, 90.6, 17, 3.6), p.trim, ROUND)
    easel.paint([(36, 12), (64, 12), (77, 50), (23, 50)], p.body, ROUND)
    easel.paint(oval(50, 50, 27, 4.2), lit((255, 226, 150), 1.2))
    easel.paint(oval(50, 12, 14, 2.2), lit(p.body, 0.7))
    easel.stroke([(58, 52), (58, 64)], p.trim, 0.8)
    easel.paint(oval(58, 65.5, 1.7, 1.7), p.body)


def _headphones(easel: Easel, p: Palette) -> None:
    easel.paint(arch(50, 54, 31, 36, 7.5), lit(p.trim, 0.8), SOFT)
    easel.paint(arch(50, 54, 32, 37, 4), lit(p.trim, 1.12), SOFT)
    for x, light in ((19, 1.0), (81, 0.82)):
        easel.paint(rounded(x - 4, 46, x + 4, 64, 3), lit(p.trim, light), ROUND)
        inner = x + (8 if x < 50 else -8)
        easel.paint(rounded(inner - 6, 52, inner + 6, 92, 6), lit(p.label, light * 0.9), ROUND)
        easel.paint(rounded(x - 8, 50, x + 8, 94, 8), lit(p.body, light), GLOSS)
        easel.paint(oval(x, 72, 3.6, 8), lit(p.body, 1.3 * light), SOFT)


def _bag(easel: Easel, p: Palette) -> None:
    easel.paint(arch(50, 33, 15, 21, 3.6), lit(p.trim, 0.9), SOFT)
    body = smooth([(24, 34), (50, 30), (76, 34), (82, 62), (84, 88), (76, 95), (50, 96), (24, 95), (16, 88), (18, 62)])
    easel.paint(body, p.body, ROUND)
    easel.paint(smooth([(22, 36), (50, 31), (78, 36), (79, 54), (66, 62), (50, 64), (34, 62), (21, 54)]), lit(p.body, 0.86), SOFT)
    easel.paint(rounded(45, 56, 55, 70, 2.4), p.trim, SOFT)
    easel.paint(oval(50, 65.5, 1.8, 1.8), p.label)
    easel.paint(rounded(29, 73, 71, 90, 4), lit(p.body, 1.1), SOFT)
    easel.stroke([(31, 76), (69, 76)], p.trim, 0.9)


_GOODS: dict[str, tuple[Callable[[Easel, Palette], None], str]] = {
    "bottle": (_bottle, "bottle oil shampoo serum syrup wine water juice vinegar lotion spray perfume sauce flasche"),
    "tin": (_tin, "tin can tea matcha cocoa paint powder dose"),
    "jar": (_jar, "jar candle honey jam balm butter glass spread marmalade pickle"),
    "box": (_box, "box soap set kit game puzzle chocolate book gift case biscuits"),
    "pouch": (_pouch, "pouch coffee beans granola snack nuts rice pasta crisps refill seeds kaffee"),
    "tube": (_tube, "tube cream toothpaste gel sunscreen sun moisturiser moisturizer hand"),
    "mug": (_mug, "mug cup bowl teapot pot tumbler becher"),
    "shoe": (_shoe, "shoe shoes sneaker sneakers trainer trainers boot boots runner trail schuh"),
    "lamp": (_lamp, "lamp light lantern shade desk lampe"),
    "headphones": (_headphones, "headphone headphones headset earphones speaker audio"),
    "bag": (_bag, "bag backpack rucksack tote satchel pack weekender purse"),
}


KINDS = tuple(sorted(_GOODS))
"""Everything that can be drawn."""


def kind_of(title: str, seed: int) -> str:
    """Which of the goods a title names (the last one named counts: a *tea mug* is a mug); else one chosen by the seed."""
    for word in reversed("".join(c if c.isalnum() else " " for c in title.lower()).split()):
        for kind, (_, words) in _GOODS.items():
            if word in words.split() or word.removesuffix("s") in words.split():
                return kind
    return dice("kind", title, seed).choice(KINDS)


def product(kind: str, palette: Palette, side: int) -> Image.Image:
    """The product as an RGBA square of ``side`` pixels, standing on the line at 95 % of its height."""
    easel = Easel(side)
    _GOODS[kind][0](easel, palette)
    return easel.finished()
