"""What Kling documents: error codes, limits, prices and the parameters of its avatar.

Owns literal facts and their sources, no behaviour. Sources: seed-001 (avatar), K-INFO (codes), K-RATE (limits), R-AVATAR (newer
avatar page), GRID (prices, copied from the provider's price page), KDEMO (a third party's client).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from runner.model import ErrorClass, MediaKind
from runner.providers.parameters import PLACE, ParameterModel
from runner.seams import CodeRow, MediaRule, OperationFacts, OutputSpec, ProviderFacts

PAGE: Final = 500
"""Most tasks on one page of the list (seed-001)."""

_DAY: Final = 86400.0
_MEGABYTE: Final = 1024 * 1024

_D, _R, _H, _U = ErrorClass.DEFERRED, ErrorClass.REFUSED, ErrorClass.HALTED, ErrorClass.UNCERTAIN

CODES: Final = (
    CodeRow("1000", "authentication failed", _H, "auth", "stops the account", "K-INFO"),
    CodeRow("1001", "Authorization header is empty", _H, "auth", "stops the account", "K-INFO"),
    CodeRow("1002", "Authorization is invalid", _H, "auth", "stops the account", "K-INFO"),
    CodeRow("1003", "the token is not valid yet", _H, "auth", "makes one new token, then stops the account", "K-INFO"),
    CodeRow("1004", "the token has expired", _H, "auth", "makes one new token, then stops the account", "K-INFO"),
    CodeRow("1100", "the account is abnormal", _H, "account", "stops the account", "K-INFO"),
    CodeRow("1101", "the account is in arrears", _H, "credit", "stops the account", "K-INFO"),
    CodeRow("1102", "the resource pack is used up or expired", _H, "credit", "stops the account", "K-INFO"),
    CodeRow("1103", "no permission for this API or model", _H, "permission", "stops the account", "K-INFO"),
    CodeRow("1200", "invalid request parameters", _R, "bad_input", "fails this job", "K-INFO"),
    CodeRow("1201", "a parameter has an illegal value", _R, "bad_input", "fails this job", "K-INFO"),
    CodeRow("1202", "the method is invalid", _R, "bad_input", "fails this job", "K-INFO"),
    CodeRow("1203", "the resource does not exist", _R, "not_found", "fails this job", "K-INFO"),
    CodeRow("1300", "the platform's policy was triggered", _R, "content_policy", "fails this job", "K-INFO"),
    CodeRow("1301", "the content-security policy was triggered", _R, "content_policy", "fails this job", "K-INFO"),
    CodeRow("1302", "requests come too fast", _D, "rate_limit", "slows down and tries again", "K-INFO"),
    CodeRow(
        "1303", "more tasks at once than the resource pack allows", _D, "concurrency", "waits for a free slot", "K-INFO, K-RATE"
    ),
    CodeRow("1304", "this IP address is not on the white-list", _H, "permission", "stops the account", "K-INFO"),
    CodeRow("5000", "internal error", _U, "server", "looks the task up by its external id", "K-INFO"),
    # 'Temporarily unavailable' suggests that nothing was taken, but no document says so. A look-up by external id costs
    # nothing and settles it, a wrong guess costs a second video: so it is treated like its two neighbours.
    CodeRow("5001", "temporarily unavailable", _U, "server", "looks the task up by its external id", "K-INFO"),
    CodeRow("5002", "internal timeout", _U, "server", "looks the task up by its external id", "K-INFO"),
)

FACTS: Final = ProviderFacts(
    name="kling",
    title="Kling",
    base_url="https://api-singapore.klingai.com",
    credit_name="unit",
    codes=CODES,
    default_concurrency=5,
    default_rate=2.0,
    source="seed-001",
    notes=(
        "HTTP 429 carries five codes; only 1302 and 1303 are tried again.",
        "The limit counts tasks of the whole account, whatever key made them (K-RATE).",
        "A task is found again at the list path followed by its external id (R-AVATAR).",
        "One third-party client puts the external id into a query parameter instead (KDEMO); no document does, so we do not.",
    ),
)

PRICES: Final[Mapping[str, float]] = {"std": 0.4, "pro": 0.8}
"""Units per second of audio (GRID). No tiers are documented, so the estimate counts begun seconds."""


class WatermarkInfo(BaseModel):
    """Whether Kling also makes a watermarked copy (R-AVATAR)."""

    model_config = ConfigDict(extra="forbid")

    enabled: bool = Field(description="Also make a watermarked copy of the video.")


class AvatarParameters(ParameterModel):
    """Parameters of ``POST /v1/videos/avatar/image2video`` (seed-001; ``watermark_info``: R-AVATAR)."""

    image: Annotated[
        str,
        PLACE,
        MediaRule(
            MediaKind.IMAGE,
            sends="base64",
            formats=("jpeg", "png"),
            max_bytes=10 * _MEGABYTE,
            min_side=300,
            min_ratio=0.4,
            max_ratio=2.5,
        ),
    ] = Field(description="Picture of the person: jpg or png, at most 10 MB, each side at least 300 px, aspect 1:2.5 to 2.5:1.")
    sound_file: Annotated[
        str | None,
        PLACE,
        MediaRule(
            MediaKind.AUDIO,
            sends="base64",
            formats=("mp3", "wav", "m4a", "aac"),
            max_bytes=5 * _MEGABYTE,
            min_seconds=2,
            max_seconds=300,
        ),
    ] = Field(
        default=None,
        description="What the person says: mp3, wav, m4a or aac, at most 5 MB, 2 to 300 s. Prefer mp3 or wav: valid m4a and "
        "aac files have been reported as refused. Either this or audio_id.",
    )
    audio_id: str | None = Field(
        default=None,
        min_length=1,
        validate_default=True,
        description="Id of audio made by Kling's speech API in the last 30 days, 2 to 300 s long. Either this or sound_file.",
    )
    prompt: str | None = Field(
        default=None, max_length=2500, description="Gestures, emotions and camera moves; at most 2500 characters."
    )
    mode: Literal["std", "pro"] = Field(default="std", description="Quality: std (0.4 units per second) or pro (0.8).")
    watermark_info: WatermarkInfo | None = Field(default=None, description="{enabled: true} also makes a watermarked copy.")

    @field_validator("audio_id")
    @classmethod
    def _one_voice(cls, value: str | None, info: ValidationInfo) -> str | None:
        if "sound_file" not in info.data:  # it is wrong itself: one complaint is enough
            return value
        if (value is None) == (info.data["sound_file"] is None):
            raise ValueError("give either sound_file or audio_id, exactly one of the two")
        return value


AVATAR: Final = OperationFacts(
    name="kling/avatar",
    title="Talking avatar from a picture and a voice",
    parameters=AvatarParameters,
    outputs=(OutputSpec("video", MediaKind.VIDEO),),
    source="seed-001",
    result_lifetime=30 * _DAY,
    typical_seconds=240.0,
    bulk=PAGE,
    reconcile="by external_task_id, which is the submission's key: asked for by path, then searched in the list",
)
OPERATIONS: Final = (AVATAR,)
