"""What Topview documents: codes, prices and the parameters of its image-to-video call (v1).

Owns literal facts and their sources, no behaviour. Sources: seed-002 (submit), T-22 (result), T-ERR (the provider's table of codes,
with the advice of its own client, SKILL), T-CONC (limits and lifetimes), T-BILL (prices).
"""
# ruff: noqa: N815 -- parameters bear the API's own names

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationInfo, field_validator

from runner.model import ErrorClass, MediaKind
from runner.providers.parameters import LOCAL, WHOLE, ParameterModel, Whole
from runner.seams import CodeRow, MediaRule, OperationFacts, OutputSpec, ProviderFacts

UPLOAD_FORMATS: Final[Mapping[str, str]] = {"png": "png", "jpeg": "jpg", "bmp": "bmp", "webp": "webp"}
"""Our name of a picture format -> the upload call's word for it (it knows jpg and jpeg; jpg is used)."""
PRICES: Final[Mapping[str, float]] = {"lite": 0.10, "pro": 0.20, "plus": 0.54, "best": 1.55}
"""Credits per second and video (T-BILL)."""

_DAY: Final = 86400.0
_D, _R, _H, _U = ErrorClass.DEFERRED, ErrorClass.REFUSED, ErrorClass.HALTED, ErrorClass.UNCERTAIN
_ASK: Final = "asks a person; it may have been taken"

CODES: Final = (
    CodeRow("401", "unauthorised", _H, "auth", "stops the account", "SKILL"),
    CodeRow("4000", "parameter error", _R, "bad_input", "fails this job", "T-ERR"),
    CodeRow("4001", "data format mismatch", _R, "bad_input", "fails this job", "T-ERR"),
    CodeRow("4002", "the digital signature does not match", _H, "auth", "stops the account", "T-ERR"),
    CodeRow("4003", "a required parameter is missing", _R, "bad_input", "fails this job", "T-ERR"),
    CodeRow("4004", "the resource does not exist", _R, "not_found", "fails this job", "T-ERR"),
    CodeRow("4005", "the name is taken", _R, "bad_input", "fails this job", "T-ERR"),
    CodeRow("4006", "the request is not allowed", _H, "permission", "stops the account", "T-ERR"),
    CodeRow("4007", "an unfinished task has to end first", _D, "concurrency", "waits for a free slot", "T-ERR"),
    CodeRow("4012", "refused by the music product", _R, "bad_input", "fails this job", "T-ERR"),
    CodeRow("4013", "refused by the music product", _R, "bad_input", "fails this job", "T-ERR"),
    CodeRow("4014", "refused by the music product", _R, "bad_input", "fails this job", "T-ERR"),
    CodeRow("4015", "refused by the music product", _R, "bad_input", "fails this job", "T-ERR"),
    CodeRow("4016", "refused by the music product", _R, "bad_input", "fails this job", "T-ERR"),
    CodeRow("4017", "refused by the music product", _R, "bad_input", "fails this job", "T-ERR"),
    CodeRow("4018", "refused by the music product", _R, "bad_input", "fails this job", "T-ERR"),
    CodeRow("4019", "refused by the music product", _R, "bad_input", "fails this job", "T-ERR"),
    CodeRow("4020", "refused by the music product", _R, "bad_input", "fails this job", "T-ERR"),
    CodeRow("4021", "refused by the music product", _R, "bad_input", "fails this job", "T-ERR"),
    CodeRow("4022", "refused by the music product", _R, "bad_input", "fails this job", "T-ERR"),
    CodeRow("4100", "not enough credit", _H, "credit", "stops the account", "T-ERR"),
    CodeRow("5000", "internal error", _U, "server", _ASK, "T-ERR"),
    CodeRow("5001", "internal call failed", _U, "server", _ASK, "T-ERR"),
    # The provider's own client waits 10 to 30 s and submits again on this one alone: it is a refusal at the door.
    CodeRow("5003", "the server is busy", _D, "server", "waits and tries again", "T-ERR, SKILL"),
    CodeRow("5004", "input/output error", _U, "server", _ASK, "T-ERR"),
    CodeRow("5005", "unknown error", _U, "server", _ASK, "T-ERR"),
    CodeRow("6001", "a security problem was found in the content", _R, "content_policy", "fails this job", "T-ERR"),
)

FACTS: Final = ProviderFacts(
    name="topview",
    title="Topview",
    base_url="https://api.topview.ai",
    credit_name="credit",
    codes=CODES,
    default_concurrency=5,
    default_rate=2.0,
    source="seed-002",
    notes=(
        "Errors come inside HTTP 200; only the code in the answer counts.",
        "Work above the account's limit is taken and waits in the provider's queue (T-CONC).",
        "A lost submission cannot be found again with certainty: a person decides, helped by the account's credit log.",
    ),
)


class ImageToVideoParameters(ParameterModel):
    """Parameters of ``POST /v1/common_task/image2video/submit`` (seed-002). ``image`` is ours: the file is uploaded and its id
    sent as ``imageFileId``.
    """

    image: Annotated[
        str | None,
        LOCAL,
        MediaRule(MediaKind.IMAGE, sends="upload", accepts_url=False, formats=tuple(UPLOAD_FORMATS)),
    ] = Field(default=None, description="Local picture file (png, jpg, bmp, webp); it is uploaded. Either this or imageFileId.")
    imageFileId: str | None = Field(
        default=None,
        min_length=1,
        validate_default=True,
        description="Id of a picture that was uploaded before. Either this or image.",
    )
    prompt: str | None = Field(default=None, description="What happens in the video.")
    negativePrompt: str | None = Field(default=None, description="What must not be in the video.")
    duration: Annotated[Literal[5, 10], WHOLE] = Field(description="Length in seconds: 5 or 10.")
    mode: Literal["lite", "pro", "plus", "best"] = Field(
        description="Quality: lite (0.10 credits per second), pro (0.20), plus (0.54) or best (1.55)."
    )
    generatingCount: Whole = Field(default=1, ge=1, le=4, description="How many videos to make, 1 to 4; each costs.")

    @field_validator("imageFileId")
    @classmethod
    def _one_picture(cls, value: str | None, info: ValidationInfo) -> str | None:
        if "image" not in info.data:  # it is wrong itself: one complaint is enough
            return value
        if (value is None) == (info.data["image"] is None):
            raise ValueError("give either image or imageFileId, exactly one of the two")
        return value


IMAGE_TO_VIDEO: Final = OperationFacts(
    name="topview/image-to-video",
    title="Video from a picture",
    parameters=ImageToVideoParameters,
    outputs=(OutputSpec("video", MediaKind.VIDEO, count_parameter="generatingCount"),),
    source="seed-002",
    result_lifetime=7 * _DAY,
    typical_seconds=180.0,
    bulk=1,
    reconcile="",
)
OPERATIONS: Final = (IMAGE_TO_VIDEO,)
