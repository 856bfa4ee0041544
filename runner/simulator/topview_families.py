"""Topview's submit/query pairs with the paths that belong to each: the names differ by family and version (topview.md 2, trap B)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from runner.simulator import topview_rules as rules

Check = Callable[[dict[str, Any], Callable[[str], str]], tuple[dict[str, Any], float]]


@dataclass(frozen=True, slots=True)
class Family:
    """One submit/query pair; ``boards`` when the submit takes a boardId and answers with the v2 fields."""

    name: str
    submit: str
    query: str
    check: Check
    notice_type: str
    credit_type: str
    boards: bool = False


CLIP_V1 = Family(
    "image2video",
    "/v1/common_task/image2video/submit",
    "/v1/common_task/image2video/result",
    rules.clip_v1,
    "COMMON_TASK_IMAGE2VIDEO",
    "common_task_image2video",
)
CLIP_V2 = Family(
    "image2video_v2",
    "/v2/common_task/image2video/task/submit",
    "/v2/common_task/image2video/task/query",
    rules.clip_v2,
    "COMMON_TASK_IMAGE2VIDEO",
    "common_task_image2video",
    boards=True,
)
WORDS_ONLY = Family(
    "text2video",
    "/v1/common_task/text2video/task/submit",
    "/v1/common_task/text2video/task/query",
    rules.words_only,
    "COMMON_TASK_TEXT2VIDEO",
    "common_task_text2video",
    boards=True,
)
BACKGROUND = Family(
    "remove_background",
    "/v1/common_task/remove_background/submit",
    "/v1/common_task/remove_background/query",
    rules.background,
    "PRODUCT_AVATAR_REPLACE_PRODUCT_IMAGE",
    "remove_background",
)
FAMILIES = (CLIP_V1, CLIP_V2, WORDS_ONLY, BACKGROUND)
BY_NAME = {family.name: family for family in FAMILIES}
