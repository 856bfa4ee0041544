"""Every operation that there is, with what it is called and what its results must be. A row here gets the whole contract.

``READINGS`` are the two ways in which the documents can be read where they leave something open.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from runner.model import JSON, Phase

PICTURE_LINK = "https://cdn.example.test/sku-17.png"
SOUND_LINK = "https://cdn.example.test/pitch.mp3"

READINGS: Mapping[str, Mapping[str, object]] = {
    "usual": {},
    "other": {
        "duplicate_id": "replay",
        "external_lookup": "list",
        "list_order": "oldest",
        "http_errors": True,
        "result_as_text": True,
        "create_status": 201,
        "out_of_credit_status": 400,
        "webhook_echo": "first",
    },
}


@dataclass(frozen=True, slots=True)
class Row:
    """One way to call one operation. ``media``: parameter -> format of a local file. A parameter that takes an upstream record
    is filled by the operation that makes it.
    """

    operation: str
    submit: str
    """The simulator's name of the paid request, for faults."""
    asks: tuple[str, ...]
    """The simulator's names of the requests that observe."""
    params: Mapping[str, JSON]
    media: Mapping[str, str] = field(default_factory=dict)
    label: str = ""
    outputs: tuple[str, ...] = ("video",)
    aspect: float | None = None
    """Width / height that the result has."""
    seconds: float | None = None
    """Play time that the result has; None when it is not determined."""
    absent: frozenset[str] = frozenset()
    """Codes that mean, when one task is asked for, that there is no such task."""
    walk: tuple[Phase, ...] = (Phase.QUEUED, Phase.RUNNING, Phase.SUCCEEDED)
    """What it is seen as, from the order to the end."""

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.operation}:{self.label}" if self.label else self.operation

    @property
    def provider(self) -> str:
        """The part before the slash."""
        return self.operation.partition("/")[0]


_avatar = partial(
    Row,
    operation="kling/avatar",
    submit="avatar.submit",
    asks=("avatar.get", "avatar.list"),
    absent=frozenset({"1200", "1201", "1203"}),
)
_image = partial(
    Row,
    operation="creatify/product-image",
    submit="image.submit",
    asks=("product.get", "product.list"),
    outputs=("image",),
    absent=frozenset({"HTTP 400", "HTTP 404"}),
)
_clip = partial(
    Row,
    operation="creatify/product-video",
    submit="video.submit",
    walk=(Phase.RUNNING, Phase.SUCCEEDED),
    asks=("product.get", "product.list"),
    absent=frozenset({"HTTP 400", "HTTP 404"}),
)
_topview = partial(
    Row,
    operation="topview/image-to-video",
    submit="image2video.submit",
    asks=("image2video.get",),
    absent=frozenset({"4004"}),
)
_talking = partial(
    Row,
    operation="akool/talking-photo",
    submit="talking_photo.submit",
    asks=("talking_photo.get",),
    absent=frozenset({"1008"}),
)

ROWS: tuple[Row, ...] = (
    _avatar(
        params={"mode": "pro", "prompt": "smiles, points at the bottle", "watermark_info": {"enabled": True}},
        media={"image": "jpeg", "sound_file": "wav"},
        aspect=360 / 640,
        seconds=3.0,
    ),
    _avatar(label="links", params={"image": PICTURE_LINK, "sound_file": SOUND_LINK}),
    _image(
        params={
            "product_url": PICTURE_LINK,
            "type": "product_avatar",
            "aspect_ratio": "16x9",
            "image_prompt": "kitchen, morning light",
            "override_avatar": "4f3d2a9e-0b1c-4d58-9d0f-3b0a6a5f7c11",
            "product_showcase_url": "https://cdn.example.test/" + "scene/" * 60 + "x.png",
        },
        aspect=16 / 9,
    ),
    _image(label="plain", params={"product_url": PICTURE_LINK}),
    _clip(params={"motion_style": "talking", "video_prompt": "she lifts the bottle and smiles"}),
    _clip(label="plain", params={}),
    _topview(
        params={"duration": 5, "mode": "pro", "prompt": "slow turn", "negativePrompt": "text"},
        media={"image": "png"},
        seconds=5.0,
    ),
    _topview(
        label="three",
        params={"duration": 10, "mode": "best", "generatingCount": 3},
        media={"image": "webp"},
        outputs=("video", "video_2", "video_3"),
        seconds=10.0,
    ),
    _talking(
        params={"talking_photo_url": PICTURE_LINK, "audio_url": SOUND_LINK, "prompt": "nods", "resolution": "1080"},
    ),
    _talking(label="plain", params={"talking_photo_url": PICTURE_LINK, "audio_url": SOUND_LINK}),
)
