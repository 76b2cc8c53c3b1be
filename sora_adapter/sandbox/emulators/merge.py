"""Merge Gateway (docs/servers.md 1.7): JSON only, 202, ids `vid_`, the cost in the completed job."""

from typing import ClassVar

from starlette.requests import Request

from sora_adapter.sandbox.emulators.base import Asked, Imitation, Refused, keep_fields
from sora_adapter.sandbox.wire.relay import Json, JsonAnswer
from sora_adapter.serving.bodies import Fields, read_fields

_OURS, _THEIRS = "video_", "vid_"
_ACCEPTED = 202


class Merge(Imitation):
    """docs/servers.md 1.7 and its row in 1.9."""

    absent: ClassVar[frozenset[str]] = frozenset(
        {"list", "delete", "remix", "edit", "extend", "character", "get-character"}
    )

    async def read(self, request: Request) -> Fields:
        """1.7: "JSON only", "integer or string seconds"."""
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            raise Refused(
                400, {"error": {"message": "The body must be JSON.", "type": "invalid_request_error"}}
            )
        fields = await read_fields(request)
        return {**fields, "seconds": str(fields.get("seconds", "4"))}

    def id_in(self, video_id: str) -> str:
        """Translate an id; 1.7: "id `vid_`"."""
        return _OURS + video_id.removeprefix(_THEIRS)

    def id_out(self, video_id: str) -> str:
        """Translate an id; 1.7."""
        return _THEIRS + video_id.removeprefix(_OURS)

    def ask(self, asked: Asked) -> None:
        """1.9: no variants."""
        asked.query.pop("variant", None)
        keep_fields(asked)

    def video(self, video: Json) -> Json:
        """1.7: "`progress` nullable, `cost` in the completed job"."""
        is_done = video["status"] == "completed"
        progress = {"progress": None} if video["status"] == "queued" else {}
        return {**video, **progress, **({"cost": 0.1 * float(video["seconds"])} if is_done else {})}

    def tell(self, answer: JsonAnswer, asked: Asked) -> JsonAnswer:
        """1.7: "202 Accepted"."""
        is_new = asked.operation == "create" and answer.is_success
        return JsonAnswer(_ACCEPTED, answer.body, answer.headers) if is_new else answer
