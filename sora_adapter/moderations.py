"""Moderations: ask a server whether a text breaks its rules, before a render is paid for."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from sora_adapter.profiles import require

if TYPE_CHECKING:
    from sora_adapter.client import VideosClient

UNNAMED = "unnamed"
"""The category of what a server flags without naming a category that can be recorded."""
PPM = 1_000_000
_CATEGORY = re.compile(r"[a-z][a-z0-9_/-]{0,63}")
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")
_MOST_CATEGORIES = 64


class _Moderation(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")
    results: tuple[dict[str, Any], ...]


_Score = Annotated[float, Field(allow_inf_nan=False)]


class _Result(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")
    flagged: bool
    categories: dict[str, bool | None] = Field(default_factory=dict)
    category_scores: dict[str, _Score | None] = Field(default_factory=dict)


class _TextModeration(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")
    model: str | None = None
    results: Annotated[tuple[_Result, ...], Field(min_length=1)]


class Moderated(NamedTuple):
    """How a server moderated a text: the categories it flagged, and scores in parts per million."""

    model: str | None
    flagged: tuple[str, ...]
    ppm: Mapping[str, int]


async def moderate(client: "VideosClient", body: Mapping[str, Any]) -> dict[str, Any]:
    """Send `body` to the server's moderations and return its answer; raises `AnswerError`."""
    require(client.profile, "moderations")
    answer = await client.post_document("/moderations", body, _Moderation, "a moderation")
    return answer.model_dump(mode="json")


async def moderate_text(client: "VideosClient", text: str, model: str | None = None) -> Moderated:
    """Return how the server moderates `text`; raises `OperationUnsupported` or `AnswerError`."""
    require(client.profile, "moderations")
    body = {"input": text} | ({"model": model} if model else {})
    answer = await client.post_document("/moderations", body, _TextModeration, "a moderation")
    return _moderated(answer)


def _moderated(answer: _TextModeration) -> Moderated:
    """Return what several results say together; what is not a plain name or number is not taken over."""
    flagged: set[str] = set()
    ppm: dict[str, int] = {}
    for result in answer.results:
        named = {name for name, is_flagged in result.categories.items() if is_flagged}
        flagged |= {name for name in named if _CATEGORY.fullmatch(name)}
        if result.flagged and not any(map(_CATEGORY.fullmatch, named)):
            flagged.add(UNNAMED)
        for name, score in result.category_scores.items():
            if score is not None and _CATEGORY.fullmatch(name):
                ppm[name] = max(ppm.get(name, 0), min(PPM, max(0, round(score * PPM))))
    model = answer.model if answer.model and _MODEL.fullmatch(answer.model) else None
    highest = sorted(ppm, key=lambda name: (-ppm[name], name))[:_MOST_CATEGORIES]
    return Moderated(model, tuple(sorted(flagged))[:_MOST_CATEGORIES], {name: ppm[name] for name in highest})
