"""What Creatify documents: answers, prices and the parameters of its product pictures and videos.

Owns literal facts and their sources, no behaviour. Sources: seed-000 (gen_image), C-DOCS (the provider's API reference), C-BILL and
help (prices), EV (a third party's reading of the billing page), TSAVO (a client: error bodies follow Django REST framework).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import Field

from runner.model import ErrorClass, MediaKind
from runner.providers.parameters import PLACE, SHORT_LINK, ParameterModel
from runner.seams import CodeRow, MediaRule, OperationFacts, OutputSpec, ProviderFacts, Upstream

URL_CHARS: Final = 200
"""Longest ``product_url`` and ``webhook_url`` (seed-000)."""
BULK: Final = 100
"""Most ids in one list call (C-DOCS)."""

_D, _R, _H, _U = ErrorClass.DEFERRED, ErrorClass.REFUSED, ErrorClass.HALTED, ErrorClass.UNCERTAIN

CODES: Final = (
    CodeRow("HTTP 400", "the request was refused", _R, "bad_input", "fails this job", "C-DOCS, TSAVO"),
    CodeRow("HTTP 401", "the credentials were not accepted", _H, "auth", "stops the account", "TSAVO"),
    CodeRow("HTTP 402", "the account has not enough credits", _H, "credit", "stops the account", "TSAVO"),
    CodeRow("HTTP 403", "the account may not use this API", _H, "permission", "stops the account", "C-QUICK"),
    CodeRow("HTTP 404", "not found", _R, "not_found", "fails this job", "TSAVO"),
    CodeRow("HTTP 429", "too many requests", _D, "rate_limit", "slows down and tries again", "TSAVO"),
    CodeRow("HTTP 500", "internal error", _U, "server", "looks for the record", "TSAVO"),
    CodeRow("HTTP 502", "bad gateway", _U, "server", "looks for the record", "TSAVO"),
    CodeRow("HTTP 503", "unavailable", _U, "server", "looks for the record", "TSAVO"),
    CodeRow("HTTP 504", "gateway timeout", _U, "server", "looks for the record", "TSAVO"),
)
"""Creatify has no codes of its own; its answers follow Django REST framework."""

NO_CREDIT: Final = CodeRow("HTTP 402", "the account has not enough credits", _H, "credit", "stops the account", "TSAVO")
"""The status for an empty account is not documented (400 or 402), so the words of a refusal are looked at as well."""
NO_CREDIT_WORDS: Final = re.compile(
    r"(insufficient|not enough|no (?:more|remaining)|out of|run out|lack\w*|need more)\W+(?:\w+\W+){0,4}credits?\b"
    r"|\bcredits?\W+(?:\w+\W+){0,4}(insufficient|exhausted|not enough|exceeded|used up|run out|too low)",
    re.IGNORECASE,
)

FACTS: Final = ProviderFacts(
    name="creatify",
    title="Creatify",
    base_url="https://api.creatify.ai",
    credit_name="credit",
    codes=CODES,
    default_concurrency=10,
    default_rate=2.0,
    source="seed-000",
    callback_chars=URL_CHARS,
    notes=(
        "There is no envelope: a good answer is the record itself, a list is a bare array.",
        "No limits and no lifetime of results are published; results are downloaded as soon as they are seen.",
        "A submission is recognised by its key in the record's webhook_url, which the provider gives back unchanged.",
    ),
)


@dataclass(frozen=True, slots=True)
class CreatifyPrices:
    """Credits per picture and per video. Two sources disagree: 1 and 3 (help, for the web application), about 2 and about 10 per
    30 s of video (the billing page as EV reads it). The higher ones stand here, because an estimate guards a budget.
    """

    image: float = 2.0
    video: float = 10.0


class ProductImageParameters(ParameterModel):
    """Parameters of ``POST /api/product_to_videos/gen_image/`` (seed-000)."""

    product_url: Annotated[
        str,
        PLACE,
        SHORT_LINK,
        MediaRule(MediaKind.IMAGE, sends="url", formats=("png", "jpeg", "webp"), max_url_chars=URL_CHARS),
    ] = Field(description="Direct link to the product picture (png, jpg, webp), not a shop page; at most 200 characters.")
    type: Literal["product_anyshot", "product_avatar"] = Field(
        default="product_anyshot", description="product_anyshot: the product in a scene; product_avatar: a person presents it."
    )
    image_prompt: str | None = Field(default=None, description="What the picture should show.")
    aspect_ratio: Literal["9x16", "16x9", "1x1"] | None = Field(
        default=None, description="Shape of the picture and of a video made from it: 9x16, 16x9 or 1x1, with the letter x."
    )
    override_avatar: str | None = Field(
        default=None,
        min_length=1,
        description="Id of the avatar for type product_avatar; one is chosen when absent. product_anyshot ignores it.",
    )
    product_showcase_url: Annotated[str | None, PLACE, MediaRule(MediaKind.IMAGE, sends="url")] = Field(
        default=None, description="Link to an example picture: your own avatar (product_avatar) or a scene (product_anyshot)."
    )


class ProductVideoParameters(ParameterModel):
    """Parameters of ``POST /api/product_to_videos/{id}/gen_video/`` (C-DOCS)."""

    image: Annotated[str, Upstream(("creatify/product-image",), once=True)] = Field(
        min_length=1,
        description="The record of a finished product image: {{ needs.<target>.remote_id }}. One record makes one video.",
    )
    motion_style: Literal["talking", "display"] | None = Field(
        default=None, description="How the avatar moves: talking or display; only has a meaning when the picture shows an avatar."
    )
    video_prompt: str | None = Field(default=None, description="What happens in the video.")


PRODUCT_IMAGE: Final = OperationFacts(
    name="creatify/product-image",
    title="Product picture: in a scene or with a presenter",
    parameters=ProductImageParameters,
    outputs=(OutputSpec("image", MediaKind.IMAGE),),
    source="seed-000",
    typical_seconds=60.0,
    bulk=BULK,
    reconcile="by the submission's key in the webhook_url that the account's list of records gives back",
)
PRODUCT_VIDEO: Final = OperationFacts(
    name="creatify/product-video",
    title="Video made from a product picture",
    parameters=ProductVideoParameters,
    outputs=(OutputSpec("video", MediaKind.VIDEO),),
    source="C-DOCS",
    typical_seconds=180.0,
    bulk=BULK,
    reconcile="by reading the record again: its status, its webhook_url and its prompt show whether the second stage began",
)
OPERATIONS: Final = (PRODUCT_IMAGE, PRODUCT_VIDEO)
