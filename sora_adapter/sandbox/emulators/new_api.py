"""new-api and its re-sellers (docs/servers.md 1.6): task ids, milliseconds, no empty fields."""

from typing import ClassVar

from sora_adapter.sandbox.emulators.base import Asked, Imitation, Refused
from sora_adapter.sandbox.wire.relay import Json
from sora_adapter.serving.errors import ApiError

_OURS, _THEIRS = "video_", "task_"
_TIMES = ("created_at", "completed_at", "expires_at")


class NewApi(Imitation):
    """docs/servers.md 1.6."""

    absent: ClassVar[frozenset[str]] = frozenset(
        {"list", "delete", "edit", "extend", "character", "get-character"}
    )

    def no_route(self, operation: str) -> Refused:
        """Answer as OpenAI does; 1.6: "No list, no DELETE, no edits/extensions/characters"."""
        error = ApiError.not_found(f"Invalid URL ({operation})", code="unknown_url")
        return Refused(404, error.envelope)

    def id_in(self, video_id: str) -> str:
        """Translate an id; 1.6: "public `task_xxx`"."""
        return _OURS + video_id.removeprefix(_THEIRS)

    def id_out(self, video_id: str) -> str:
        """Translate an id; 1.6."""
        return _THEIRS + video_id.removeprefix(_OURS)

    def ask(self, asked: Asked) -> None:
        """1.9: no variants."""
        asked.query.pop("variant", None)

    def video(self, video: Json) -> Json:
        """1.6: `task_id`, times in milliseconds, empty fields omitted, `usage` and `metadata`."""
        times = {name: video[name] * 1000 for name in _TIMES if video[name] is not None}
        extras = {"task_id": video["id"], "usage": {"completion_tokens": 1, "total_tokens": 1}}
        return {name: value for name, value in {**video, **times, **extras}.items() if value is not None}
