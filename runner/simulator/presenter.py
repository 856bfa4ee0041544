"""Draws the person who presents: a flat illustration with a mouth that speaks, eyes that blink and an arm that points.

Owns the look of the person. Drawn once in parts, so that a frame only puts parts together. Shapes stand in units of 1/100
of the picture's width, in a picture 1.4 times as high as wide; the person is cut off by its lower edge.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from PIL import Image

from runner.simulator.drawing import DOWN, SOFT, Easel, oval, rounded, smooth
from runner.simulator.palette import Colour, Palette, dice, lit, mix

TALL = 1.4
_SKINS: tuple[Colour, ...] = ((244, 205, 178), (226, 172, 136), (193, 134, 98), (141, 92, 64), (98, 62, 44))
_HAIRS: tuple[Colour, ...] = ((40, 28, 26), (84, 50, 32), (150, 96, 48), (196, 150, 88), (120, 44, 30), (62, 62, 72))
_CLOTHS: tuple[Colour, ...] = ((240, 236, 228), (52, 66, 92), (196, 92, 70), (92, 122, 108), (228, 180, 92), (96, 76, 122))


@dataclass(frozen=True, slots=True)
class Person:
    """Who presents."""

    skin: Colour
    hair: Colour
    cloth: Colour
    under: Colour
    style: int
    """Hair and cut of clothes, 0 to 3."""
    glasses: bool


def person_for(title: str, seed: int, palette: Palette) -> Person:
    """The presenter of a product: chosen by seed, dressed apart from the wall."""
    throw = dice("person", title, seed)
    cloths = sorted(_CLOTHS, key=lambda cloth: -_apart(cloth, palette.wall))[:3]
    cloth = throw.choice(cloths)
    tone = throw.randrange(len(_SKINS))
    skin, hair = _SKINS[tone], throw.choice(_HAIRS[: (6, 6, 6, 2, 1)[tone]])
    under = mix(palette.label, palette.body, 0.15) if _apart(palette.label, cloth) > 60 else palette.body
    return Person(skin, hair, cloth, under, throw.randrange(4), glasses=throw.random() < 0.25)


def _apart(first: Colour, second: Colour) -> int:
    return sum(abs(a - b) for a, b in zip(first, second, strict=True))


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of the person, cut to what is drawn, and where its upper left corner belongs (even pixels)."""

    image: Image.Image
    at: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Parts:
    """The person in pieces, to be laid in this order: body, eyes, mouth, arm."""

    body: Part
    eyes: tuple[Part, Part]
    """Open, closed."""
    mouths: tuple[Part, ...]
    """From a closed smile (0) to wide open (3)."""
    arms: tuple[Part, ...]
    """From resting low (0) to raised towards the product (3)."""


def draw(person: Person, width: int) -> Parts:
    """The person, ``width`` pixels wide and ``TALL`` times as high."""
    body = Easel(width, TALL)
    if person.style in {0, 2}:
        _long_hair(body, person)
    _body(body, person)
    _head(body, person)
    _fringe(body, person)
    return Parts(
        Part(*body.piece()),
        (_part(width, partial(_eyes, person=person, closed=False)), _part(width, partial(_eyes, person=person, closed=True))),
        tuple(_part(width, partial(_mouth, person=person, shape=shape)) for shape in range(4)),
        tuple(_part(width, partial(_arm, person=person, arm=arm)) for arm in range(4)),
    )


def _part(width: int, paint: Callable[[Easel], None]) -> Part:
    easel = Easel(width, TALL)
    paint(easel)
    return Part(*easel.piece())


def _long_hair(easel: Easel, person: Person) -> None:
    outline = [
        (45, 8),
        (60, 14),
        (66, 30),
        (66, 52),
        (69, 68),
        (60, 74),
        (45, 70),
        (30, 74),
        (21, 68),
        (24, 52),
        (24, 30),
        (30, 14),
    ]
    easel.paint(smooth(outline), lit(person.hair, 0.8), SOFT)


def _body(easel: Easel, person: Person) -> None:
    torso = [
        (45, 66),
        (58, 69),
        (73, 75),
        (81, 88),
        (84, 112),
        (86, 150),
        (45, 152),
        (4, 150),
        (6, 112),
        (9, 88),
        (17, 75),
        (32, 69),
    ]
    easel.paint(smooth(torso), person.cloth, SOFT)
    if person.style in {1, 2}:
        easel.paint([(36, 68), (54, 68), (53, 100), (45, 141), (37, 100)], person.under, SOFT)
        for side in (-1, 1):
            lapel = [(45 + side * 9, 67), (45 + side * 17, 72), (45 + side * 15, 88), (45 + side * 1.5, 122), (45 + side * 7, 90)]
            easel.paint(lapel, lit(person.cloth, 0.82))
    else:
        easel.paint(smooth([(34, 67), (45, 72), (56, 67), (55, 74), (45, 79), (35, 74)]), lit(person.cloth, 0.82))
    easel.paint(
        smooth([(37, 50), (53, 50), (53, 64), (55, 69), (45, 76), (35, 69), (37, 64)]), lit(person.skin, 0.9), DOWN, down=True
    )
    easel.paint(smooth([(38, 58), (52, 58), (51, 63), (45, 66), (39, 63)]), lit(person.skin, 0.78), alpha=150)


def _head(easel: Easel, person: Person) -> None:
    for x in (28.5, 61.5):
        easel.paint(oval(x, 40, 2.8, 4.6), lit(person.skin, 0.88))
    head = smooth(
        [
            (45, 16),
            (56, 19),
            (61.5, 30),
            (61, 42),
            (57, 53),
            (50, 60),
            (45, 61),
            (40, 60),
            (33, 53),
            (29, 42),
            (28.5, 30),
            (34, 19),
        ]
    )
    easel.paint(head, person.skin, SOFT)
    _features(easel, person)


def _features(easel: Easel, person: Person) -> None:
    """Brows, cheeks and nose."""
    dark = mix(person.hair, (20, 14, 14), 0.5)
    for side in (-1, 1):
        x = 45 + side * 7.4
        easel.stroke([(x - 3.3, 33.5), (x - 1.2, 32.6), (x + 1.2, 32.6), (x + 3.3, 33.5)], dark, 1.1)
        easel.paint(oval(45 + side * 10, 47, 3.6, 2.6), mix(person.skin, (214, 92, 84), 0.5), alpha=70)
    easel.stroke([(45.6, 40.5), (47, 45.6), (44.6, 46.6)], lit(person.skin, 0.76), 0.9)


def _eyes(easel: Easel, person: Person, *, closed: bool) -> None:
    dark = mix(person.hair, (20, 14, 14), 0.5)
    for side in (-1, 1):
        x = 45 + side * 7.4
        if closed:
            easel.stroke([(x - 2.4, 38.8), (x, 39.7), (x + 2.4, 38.8)], dark, 0.8)
            continue
        easel.paint(oval(x, 39, 2.7, 2.1), (252, 250, 247))
        easel.paint(oval(x + 0.5, 39, 1.6, 1.75), (46, 32, 28))
        easel.paint(oval(x + 1.0, 38.3, 0.5, 0.5), (255, 255, 255))
        easel.stroke([(x - 2.9, 38.6), (x - 1.2, 37.1), (x + 1.4, 37.0), (x + 2.9, 38.3)], dark, 0.7)
    if person.glasses:
        _glasses(easel)


def _mouth(easel: Easel, person: Person, shape: int) -> None:
    lip = mix(person.skin, (168, 52, 52), 0.6)
    if shape == 0:
        easel.stroke([(40.4, 51.6), (42.5, 52.9), (45, 53.3), (47.5, 52.9), (49.6, 51.6)], lip, 1.1)
        return
    wide, deep = ((4.4, 1.3), (4.9, 2.1), (4.4, 2.9))[shape - 1]
    easel.paint(oval(45, 52.6, wide + 0.8, deep + 0.8), lip)
    easel.paint(oval(45, 52.6, wide, deep), (92, 26, 32))
    easel.paint(rounded(45 - wide * 0.72, 52.6 - deep * 0.92, 45 + wide * 0.72, 52.6 - deep * 0.3, 0.6), (250, 247, 242))
    if shape > 1:
        easel.paint(oval(45, 52.6 + deep * 0.62, wide * 0.56, deep * 0.34), (206, 92, 96))


def _fringe(easel: Easel, person: Person) -> None:
    tops = (
        [
            (45, 10),
            (57, 13),
            (63.5, 25),
            (63, 38),
            (59.5, 32),
            (55, 25),
            (45, 22),
            (36, 26),
            (31, 33),
            (27, 38),
            (26.5, 25),
            (33, 13),
        ],
        [
            (44, 9),
            (56, 10),
            (63, 19),
            (62.5, 32),
            (59.5, 27),
            (52, 24),
            (42, 25),
            (33, 24),
            (30, 30),
            (27.6, 32),
            (27, 20),
            (33, 11),
        ],
        [(47, 8), (59, 13), (64, 26), (63, 44), (60, 34), (50, 22), (42, 27), (31, 31), (28, 42), (26, 28), (31, 14)],
        [
            (45, 4),
            (56, 6),
            (65, 15),
            (66, 28),
            (62, 33),
            (58, 25),
            (48, 21),
            (38, 22),
            (31, 26),
            (28, 33),
            (24, 28),
            (25, 15),
            (34, 6),
        ],
    )
    easel.paint(smooth(tops[person.style]), person.hair, SOFT)


def _glasses(easel: Easel) -> None:
    for side in (-1, 1):
        ring = [*oval(45 + side * 7.4, 39, 5.2, 4.4), (45 + side * 7.4 + 5.2, 39)]
        easel.stroke(ring[::3], (42, 38, 44), 0.7)
    easel.stroke([(42.8, 38.4), (47.2, 38.4)], (42, 38, 44), 0.7)


def _arm(easel: Easel, person: Person, arm: int) -> None:
    """The arm on the product's side: shoulder, elbow, then the open hand."""
    elbow = (83.0, 112.0)
    hand = ((72.0, 122.0), (84.0, 92.0), (90.5, 86.0), (92.0, 79.0))[arm]
    sleeve, shade = lit(person.cloth, 0.93), lit(person.cloth, 0.78)
    wrist = (elbow[0] + (hand[0] - elbow[0]) * 0.78, elbow[1] + (hand[1] - elbow[1]) * 0.78)
    easel.stroke([(75, 84), elbow, wrist], shade, 14.5)
    easel.stroke([(74.6, 83.6), (elbow[0] - 0.4, elbow[1] - 0.4), (wrist[0] - 0.4, wrist[1] - 0.4)], sleeve, 13.2)
    dx, dy = hand[0] - wrist[0], hand[1] - wrist[1]
    length = max(1.0, (dx * dx + dy * dy) ** 0.5)
    dx, dy = dx / length, dy / length
    easel.stroke([wrist, hand], lit(person.skin, 0.96), 6.6)
    easel.paint(oval(hand[0], hand[1], 5.2, 5.2), person.skin, SOFT)
    for spread in (-0.5, -0.17, 0.17, 0.5):
        tip = (hand[0] + (dx - dy * spread) * 9.2, hand[1] + (dy + dx * spread) * 9.2)
        easel.stroke([hand, tip], lit(person.skin, 0.98), 2.5)
    easel.stroke([hand, (hand[0] + (dx * 0.35 + dy * 0.9) * 7, hand[1] + (dy * 0.35 - dx * 0.9) * 7)], person.skin, 2.6)
