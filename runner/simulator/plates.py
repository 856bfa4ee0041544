"""Pictures in the colours of video: planes of light and colour that frames are cut from without converting each one.

Owns the conversion to YUV 4:2:0 (limited range, BT.601) and pasting there. Pillow converts to full range; here once per
layer, so that a frame costs only its own crop and its moving parts.
"""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

_LIGHT = [16 + round(value * 219 / 255) for value in range(256)]
_TINT = [128 + round((value - 128) * 224 / 255) for value in range(256)]
_SMOOTH = Image.Resampling.BILINEAR


@dataclass(frozen=True, slots=True)
class Plate:
    """One opaque picture as three planes; the colour planes have half the size (rounded up)."""

    light: Image.Image
    blue: Image.Image
    red: Image.Image

    def planes(self) -> tuple[Image.Image, Image.Image, Image.Image]:
        """In the order of YUV."""
        return self.light, self.blue, self.red

    def copy(self) -> Plate:
        """An own copy to paste on."""
        return Plate(self.light.copy(), self.blue.copy(), self.red.copy())

    def zoomed(self, box: tuple[float, float, float, float], width: int, height: int) -> Plate:
        """The part ``box`` (pixels of the light plane, fractions allowed) brought to ``width`` x ``height``."""
        half = (box[0] / 2, box[1] / 2, box[2] / 2, box[3] / 2)
        small = (width // 2, height // 2)
        return Plate(
            self.light.resize((width, height), _SMOOTH, box=box),
            self.blue.resize(small, _SMOOTH, box=half),
            self.red.resize(small, _SMOOTH, box=half),
        )


@dataclass(frozen=True, slots=True)
class Sprite:
    """One picture with transparency as planes and masks."""

    plate: Plate
    mask: Image.Image
    half_mask: Image.Image


def plate(image: Image.Image) -> Plate:
    """Convert an RGB picture; its sides should be even."""
    light, blue, red = image.convert("YCbCr").split()
    small = ((image.width + 1) // 2, (image.height + 1) // 2)
    halves = (part.resize(small, Image.Resampling.BOX).point(_TINT) for part in (blue, red))
    return Plate(light.point(_LIGHT), *halves)


def sprite(image: Image.Image) -> Sprite:
    """Convert an RGBA picture, cut or padded to even sides."""
    even = image.crop((0, 0, image.width + image.width % 2, image.height + image.height % 2))
    mask = even.getchannel("A")
    return Sprite(plate(even.convert("RGB")), mask, mask.reduce(2))


def paste(under: Plate, over: Sprite, at: tuple[int, int]) -> None:
    """Paste with transparency, in place; ``at`` is moved to even pixels and may lie partly outside."""
    x, y = at[0] // 2 * 2, at[1] // 2 * 2
    under.light.paste(over.plate.light, (x, y), over.mask)
    under.blue.paste(over.plate.blue, (x // 2, y // 2), over.half_mask)
    under.red.paste(over.plate.red, (x // 2, y // 2), over.half_mask)


def brighten(under: Plate, mask: Image.Image, at: tuple[int, int]) -> None:
    """Let white light fall through ``mask``, in place."""
    under.light.paste(235, at, mask)
