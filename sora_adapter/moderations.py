"""Moderations: ask a server whether a text breaks its rules, before a render is paid for."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from sora_adapter.profiles import require

if TYPE_CHECKING:
    from sora_adapter.client import VideosClient


class _Moderation(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")
    results: tuple[dict[str, Any], ...]


async def moderate(client: "VideosClient", body: Mapping[str, Any]) -> dict[str, Any]:
    """Send `body` to the server's moderations and return its answer; raises `AnswerError`."""
    require(client.profile, "moderations")
    answer = await client.post_document("/moderations", body, _Moderation, "a moderation")
    return answer.model_dump(mode="json")
