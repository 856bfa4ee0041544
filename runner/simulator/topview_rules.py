"""What Topview checks in a request body (topview.md 3, 5): 4003 for what is missing, 4001 for a wrong type, 4000 for a wrong value."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from runner.simulator.provider import SHAPES, is_web_address
from runner.simulator.web import Refusal

UPLOAD_FORMATS = ("mp4", "mov", "png", "jpg", "jpeg", "bmp", "webp", "mp3", "wav", "m4a", "avi")
PICTURE_FORMATS = ("png", "jpg", "jpeg", "bmp", "webp")
MODES = {"lite": 0.10, "pro": 0.20, "plus": 0.54, "best": 1.55}
"""Credits per second and video (topview.md 8)."""
MODEL_RATE = 0.5
DISPLAY_SHAPES = {name: shape for name, shape in SHAPES.items() if name != "21:9"}


def missing(key: str) -> Refusal:
    """4003."""
    return Refusal("4003", f"required parameter {key} is null")


def text(body: dict[str, Any], key: str, *, required: bool = False) -> str:
    """A string field; null, absent and empty are the same."""
    value = body.get(key)
    if value is None or value == "":
        if required:
            raise missing(key)
        return ""
    if not isinstance(value, str):
        raise Refusal("4001", f"{key} must be a string")
    return value


def whole(body: dict[str, Any], key: str, allowed: Collection[int], default: int | None = None) -> int:
    """An integer field; without a default it is required."""
    value = body.get(key)
    if value is None:
        if default is None:
            raise missing(key)
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        raise Refusal("4001", f"{key} must be an integer")
    if value not in allowed:
        raise Refusal("4000", f"{key} value {value} is not allowed")
    return value


def choice(body: dict[str, Any], key: str, allowed: Collection[str], default: str | None = None) -> str:
    """A string field with a fixed set of values; without a default it is required."""
    value = text(body, key, required=default is None) or default or ""
    if value not in allowed:
        raise Refusal("4000", f"{key} must be one of {', '.join(allowed)}")
    return value


def notice(body: dict[str, Any]) -> str:
    """The callback address."""
    value = text(body, "noticeUrl")
    if value and not is_web_address(value):
        raise Refusal("4000", "noticeUrl is not a valid url")
    return value


def clip_v1(body: dict[str, Any], picture: Callable[[str], str]) -> tuple[dict[str, Any], float]:
    """Image to video v1 (seed-002): what to keep, and the price."""
    file = text(body, "imageFileId", required=True)
    text(body, "negativePrompt")
    seconds = whole(body, "duration", (5, 10))
    mode = choice(body, "mode", MODES)
    amount = whole(body, "generatingCount", range(1, 5))
    data = {"prompt": text(body, "prompt"), "seconds": seconds, "count": amount, "notice": notice(body), "picture": picture(file)}
    return data, round(MODES[mode] * seconds * amount, 4)


def clip_v2(body: dict[str, Any], picture: Callable[[str], str]) -> tuple[dict[str, Any], float]:
    """Image to video v2: models by display name, boards."""
    text(body, "model", required=True)
    references = body.get("referenceImageFileIds") or []
    if not isinstance(references, list) or not all(isinstance(file, str) and file for file in references):
        raise Refusal("4001", "referenceImageFileIds must be a list of strings")
    files = [text(body, "firstFrameFileId"), *references, text(body, "endFrameFileId")]
    pictures = [picture(file) for file in files if file]
    if not pictures:
        raise missing("firstFrameFileId")
    ratio = choice(body, "aspectRatio", (*DISPLAY_SHAPES, "auto"), "9:16")
    choice(body, "sound", ("on", "off"), "off")
    whole(body, "resolution", (480, 540, 720, 1080, 2160), 720)
    seconds = whole(body, "duration", range(1, 61), 5)
    amount = whole(body, "generatingCount", range(1, 5), 1)
    data = {"prompt": text(body, "prompt"), "seconds": seconds, "count": amount, "notice": notice(body), "picture": pictures[0]}
    data |= {"board": text(body, "boardId"), "shape": DISPLAY_SHAPES.get(ratio, (9, 16)), "parts": amount > 1}
    return data, round(MODEL_RATE * seconds * amount, 4)


def words_only(body: dict[str, Any], _picture: Callable[[str], str]) -> tuple[dict[str, Any], float]:
    """Text to video."""
    prompt = text(body, "prompt", required=True)
    ratio = choice(body, "aspectRatio", tuple(DISPLAY_SHAPES), "9:16")
    seconds = whole(body, "duration", range(1, 61), 5)
    amount = whole(body, "generatingCount", range(1, 5), 1)
    data = {"prompt": prompt, "seconds": seconds, "count": amount, "notice": notice(body), "picture": ""}
    data |= {"board": text(body, "boardId"), "shape": DISPLAY_SHAPES[ratio], "parts": amount > 1}
    return data, round(MODEL_RATE * seconds * amount, 4)


def background(body: dict[str, Any], picture: Callable[[str], str]) -> tuple[dict[str, Any], float]:
    """Remove background: a picture from a picture. No price is documented for it."""
    source = picture(text(body, "productImageFileId", required=True))
    return {"prompt": "", "seconds": 0, "count": 1, "notice": notice(body), "picture": source}, 0.0
