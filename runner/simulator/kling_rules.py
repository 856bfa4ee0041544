"""What Kling checks in a request body before it accepts anything (kling.md 2.1 to 2.5; seed-001). Refuses with 1200 and 1201."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from runner.simulator.blobs import Blobs
from runner.simulator.hearing import picture_size, sound_kind, sound_seconds
from runner.simulator.provider import SHAPES, is_web_address
from runner.simulator.web import Refusal

LARGEST_PICTURE = 10 * 1024 * 1024
LARGEST_SOUND = 5 * 1024 * 1024
SMALLEST_SIDE = 300
WIDEST = 2.5
LONGEST_TEXT = 2500
SOUND_SECONDS = (2.0, 300.0)
COMMON = frozenset({"callback_url", "external_task_id", "watermark_info"})
AVATAR_KEYS = COMMON | {"image", "audio_id", "sound_file", "prompt", "mode"}
VIDEO_KEYS = COMMON | {"model_name", "prompt", "negative_prompt", "cfg_scale", "mode", "duration", "sound", "voice_list"}
IMAGE_VIDEO_KEYS = VIDEO_KEYS | {"image", "image_tail", "static_mask", "dynamic_masks", "camera_control"}
TEXT_VIDEO_KEYS = VIDEO_KEYS | {"aspect_ratio", "camera_control"}
IMAGE_KEYS = COMMON | {
    "model_name",
    "prompt",
    "negative_prompt",
    "image",
    "image_reference",
    "image_fidelity",
    "human_fidelity",
    "resolution",
    "n",
    "aspect_ratio",
}
SPEECH_KEYS = frozenset({"text", "voice_id", "voice_language", "voice_speed"})
VIDEO_MODELS = (
    "kling-v1",
    "kling-v1-5",
    "kling-v1-6",
    "kling-v2-master",
    "kling-v2-1",
    "kling-v2-1-master",
    "kling-v2-5-turbo",
    "kling-v2-6",
    "kling-v3",
)
IMAGE_MODELS = ("kling-v1", "kling-v1-5", "kling-v2", "kling-v2-new", "kling-v2-1")
CAMERAS = ("simple", "down_back", "forward_up", "right_turn_forward", "left_turn_forward")


def wrong(message: str) -> Refusal:
    """1201 with its reason."""
    return Refusal("1201", message)


@dataclass(slots=True)
class Wanted:
    """A request that keeps the rules. ``seconds`` is None when the length cannot be known here."""

    seconds: float | None = None
    shape: tuple[int, int] | None = None
    picture: str = ""
    data: dict[str, Any] = field(default_factory=dict)


def text(body: dict[str, Any], key: str, *, limit: int = LONGEST_TEXT, required: bool = False) -> str:
    """A string field; absent, null and empty are the same."""
    value = body.get(key)
    if value is None or value == "":
        if required:
            raise wrong(f"{key} is required")
        return ""
    if not isinstance(value, str):
        raise wrong(f"{key} must be a string")
    if len(value) > limit:
        raise wrong(f"{key} cannot exceed {limit} characters")
    return value


def choice(body: dict[str, Any], key: str, allowed: Collection[str], default: str) -> str:
    """A string field with a fixed set of values."""
    value = text(body, key) or default
    if value not in allowed:
        raise wrong(f"{key} value '{value}' is invalid, must be one of: {', '.join(allowed)}")
    return value


def number(body: dict[str, Any], key: str, low: float, high: float, default: float) -> float:
    """A number between bounds."""
    value = body.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise wrong(f"{key} must be a number between {low:g} and {high:g}")
    return float(value)


class KlingRules:
    """The checks that need to look into pictures and sounds."""

    def __init__(self, blobs: Blobs, own: Callable[[str], str], sound_of: Callable[[str], float | None], *, strict: bool) -> None:
        self._blobs = blobs
        self._own = own
        self._sound_of = sound_of
        self._strict = strict

    def common(self, body: dict[str, Any], known: Collection[str]) -> None:
        """Fields that every create call has."""
        if self._strict and (unknown := sorted(set(body) - set(known))):
            raise wrong(f"unknown key {unknown[0]}")
        address = text(body, "callback_url")
        if address and not is_web_address(address):
            raise wrong("callback_url is not a valid URL")
        text(body, "external_task_id", limit=512)
        mark = body.get("watermark_info")
        if mark is not None and not (isinstance(mark, dict) and isinstance(mark.get("enabled", False), bool)):
            raise wrong("watermark_info must be an object with a boolean 'enabled'")

    def avatar(self, body: dict[str, Any], audio: Callable[[str], float | None]) -> Wanted:
        """A talking person: one picture, and exactly one of audio_id and sound_file."""
        self.common(body, AVATAR_KEYS)
        picture, size = self.picture(body, "image", required=True)
        audio_id, sound_file = text(body, "audio_id"), text(body, "sound_file", limit=LARGEST_SOUND * 2)
        if bool(audio_id) == bool(sound_file):
            raise wrong("exactly one of audio_id and sound_file must be provided")
        seconds = audio(audio_id) if audio_id else self.sound(sound_file)
        if seconds is not None and not SOUND_SECONDS[0] <= seconds <= SOUND_SECONDS[1]:
            raise wrong("the audio must last between 2 and 300 seconds")
        mode = choice(body, "mode", ("std", "pro"), "std")
        return Wanted(seconds, size, picture, {"prompt": text(body, "prompt"), "mode": mode})

    def image_video(self, body: dict[str, Any]) -> Wanted:
        """A picture that moves; tail frame, motion brush and camera control exclude each other."""
        self.common(body, IMAGE_VIDEO_KEYS)
        first, size = self.picture(body, "image")
        last, tail_size = self.picture(body, "image_tail")
        if not first and not last and not (text_like(body.get("image")) or text_like(body.get("image_tail"))):
            raise wrong("at least one of image and image_tail is required")
        groups = [body.get("image_tail"), body.get("static_mask") or body.get("dynamic_masks"), body.get("camera_control")]
        if sum(1 for group in groups if group) > 1:
            raise wrong("image_tail, dynamic_masks/static_mask and camera_control are mutually exclusive")
        wanted = self._video(body)
        return Wanted(wanted.seconds, size or tail_size, first or last, wanted.data)

    def text_video(self, body: dict[str, Any]) -> Wanted:
        """A video from words alone."""
        self.common(body, TEXT_VIDEO_KEYS)
        text(body, "prompt", required=True)
        wanted = self._video(body)
        wanted.shape = SHAPES[choice(body, "aspect_ratio", ("16:9", "9:16", "1:1"), "16:9")]
        return wanted

    def _video(self, body: dict[str, Any]) -> Wanted:
        model = choice(body, "model_name", VIDEO_MODELS, "kling-v1")
        mode = choice(body, "mode", ("std", "pro"), "std")
        seconds = choice(body, "duration", ("5", "10"), "5")
        number(body, "cfg_scale", 0, 1, 0.5)
        sound = choice(body, "sound", ("on", "off"), "off")
        if body.get("voice_list") and sound != "on":
            raise wrong("voice_list requires sound to be on")
        text(body, "negative_prompt")
        camera = body.get("camera_control")
        if camera is not None and not (isinstance(camera, dict) and camera.get("type", "simple") in CAMERAS):
            raise wrong("camera_control.type is invalid")
        data = {"prompt": text(body, "prompt"), "mode": mode, "model": model}
        return Wanted(float(seconds), None, "", data)

    def image(self, body: dict[str, Any]) -> Wanted:
        """Pictures from words, maybe after a picture."""
        self.common(body, IMAGE_KEYS)
        prompt = text(body, "prompt", required=True)
        choice(body, "model_name", IMAGE_MODELS, "kling-v1")
        picture, _size = self.picture(body, "image")
        if body.get("image") and text(body, "negative_prompt"):
            raise wrong("negative_prompt is not supported with a reference image")
        choice(body, "image_reference", ("subject", "face", ""), "")
        choice(body, "resolution", ("1k", "2k"), "1k")
        number(body, "image_fidelity", 0, 1, 0.5)
        number(body, "human_fidelity", 0, 1, 0.45)
        amount = number(body, "n", 1, 9, 1)
        if amount != int(amount):
            raise wrong("n must be an integer between 1 and 9")
        shape = SHAPES[choice(body, "aspect_ratio", tuple(SHAPES), "16:9")]
        return Wanted(None, shape, picture, {"prompt": prompt, "n": int(amount)})

    def picture(self, body: dict[str, Any], key: str, *, required: bool = False) -> tuple[str, tuple[int, int] | None]:
        """Where the picture is to be had for drawing, and its size where that can be known."""
        value = text(body, key, limit=LARGEST_PICTURE * 2, required=required)
        if not value:
            return "", None
        if "://" in value[:16] or is_web_address(value):
            return self._address(key, value), None
        data = _unpacked(key, value)
        if len(data) > LARGEST_PICTURE:
            raise wrong(f"{key} cannot exceed 10MB")
        known = picture_size(data)
        if known is None:
            raise wrong(f"{key} format is invalid, supported formats: .jpg / .jpeg / .png")
        _kind, width, height = known
        if min(width, height) < SMALLEST_SIDE:
            raise wrong(f"{key} width and height must not be less than 300px")
        if max(width, height) > WIDEST * min(width, height):
            raise wrong(f"{key} aspect ratio must be between 1:2.5 and 2.5:1")
        return f"blob:{self._blobs.put(data)}", (width, height)

    def sound(self, value: str) -> float | None:
        """Seconds of a sound; None for a foreign URL, which is never fetched."""
        if "://" in value[:16] or is_web_address(value):
            source = self._address("sound_file", value)
            return self._sound_of(source) if source else None
        data = _unpacked("sound_file", value)
        if len(data) > LARGEST_SOUND:
            raise wrong("sound_file cannot exceed 5MB")
        seconds = sound_seconds(data) if sound_kind(data) else None
        if seconds is None:
            raise wrong("Audio format is invalid")
        return seconds

    def _address(self, key: str, value: str) -> str:
        if not is_web_address(value):
            raise wrong(f"{key} is not a valid URL")
        try:
            return self._own(value)
        except ValueError as error:
            raise wrong(f"{key} {error}") from None


def text_like(value: object) -> bool:
    """Whether a field was given at all."""
    return isinstance(value, str) and bool(value)


def _unpacked(key: str, value: str) -> bytes:
    if value.lstrip().lower().startswith("data:"):
        raise wrong(f"{key} must be bare Base64 without a data: prefix")
    try:
        data = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise wrong(f"{key} is neither a URL nor valid Base64") from None
    if not data:
        raise wrong(f"{key} is empty")
    return data
