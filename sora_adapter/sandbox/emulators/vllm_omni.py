"""vLLM-Omni (docs/servers.md 1.2): multipart only, failed jobs as HTTP errors, jobs in memory."""

import json
from typing import ClassVar

from starlette.datastructures import UploadFile
from starlette.requests import Request

from sora_adapter.sandbox.emulators.base import Asked, Imitation, Refused, keep_fields
from sora_adapter.sandbox.wire.relay import Json, JsonAnswer
from sora_adapter.serving.bodies import Fields, Upload

_OURS, _THEIRS = "video_", "video_gen_"
_BLOCKED = "moderation_blocked"
_NO_CONTENT_OF_FAILED = 422


class VLLMOmni(Imitation):
    """docs/servers.md 1.2."""

    absent: ClassVar[frozenset[str]] = frozenset({"remix", "edit", "extend", "character", "get-character"})
    is_open: ClassVar[bool] = True
    forgets: ClassVar[bool] = True  # 1.2, quirks: "a restart forgets all jobs -> 404"

    async def read(self, request: Request) -> Fields:
        """Read a form; 1.2, request: "multipart only", with FastAPI's answer to anything else."""
        if not request.headers.get("content-type", "").startswith("multipart/form-data"):
            missing = {"type": "missing", "loc": ["body", "prompt"], "msg": "Field required", "input": None}
            raise Refused(422, {"detail": [missing]})
        fields: Fields = {}
        async with request.form(max_part_size=32 * 1024 * 1024) as form:
            for name, value in form.multi_items():
                if isinstance(value, UploadFile):
                    media_type = value.content_type or "application/octet-stream"
                    upload = Upload(value.filename or "", media_type, await value.read())
                    fields.setdefault(name, upload)
                else:
                    fields[name] = value
        return fields

    def id_in(self, video_id: str) -> str:
        """Translate an id; 1.2, response: `video_gen_<hex>`."""
        return _OURS + video_id.removeprefix(_THEIRS)

    def id_out(self, video_id: str) -> str:
        """Translate an id; 1.2, response."""
        return _THEIRS + video_id.removeprefix(_OURS)

    def ask(self, asked: Asked) -> None:
        """Accept its own fields for images, and apply its own rules for lists."""
        asked.query.pop("variant", None)  # 1.2, quirks: "no variant parameter (ignored)"
        if asked.operation == "list":
            self._ask_for_page(asked)
        if asked.operation == "create":
            asked.fields = _with_image(asked.fields)
            keep_fields(asked)

    def _ask_for_page(self, asked: Asked) -> None:
        """1.2, quirks: "no default limit", "unknown `after` -> empty page"."""
        asked.query.setdefault("limit", "100")
        if "after" in asked.query:
            asked.query["after"] = self.id_in(asked.query["after"])
            if asked.query["after"] not in self._made:
                raise Refused(200, {"object": "list", "data": [], "has_more": False})

    def video(self, video: Json) -> Json:
        """1.2, response: progress 0 then 100, no expires_at, extras."""
        shown = {
            name: value
            for name, value in video.items()
            if name not in {"expires_at", "remixed_from_video_id"}
        }
        progress = 100 if video["status"] == "completed" else 0
        return {**shown, "progress": progress, "quality": "default", "inference_time_s": None, "fps": None}

    def tell(self, answer: JsonAnswer, asked: Asked) -> JsonAnswer:
        """Answer failed jobs as errors, and allow deleting running ones; 1.2, quirks."""
        body = answer.body
        if asked.operation == "retrieve" and body.get("status") == "failed":
            status = 400 if body["error"]["code"] == _BLOCKED else 500
            return JsonAnswer(status, body, answer.headers)
        code = body["error"]["code"] if isinstance(body.get("error"), dict) else None
        if asked.operation == "content" and code == "video_failed":
            return JsonAnswer(_NO_CONTENT_OF_FAILED, body, answer.headers)
        if asked.operation == "delete" and code == "video_not_finished" and asked.video_id:
            self.forget(asked.video_id)
            deleted = {"id": self.id_out(asked.video_id), "deleted": True, "object": "video.deleted"}
            return JsonAnswer(200, deleted, answer.headers)
        return answer


def _with_image(fields: Fields) -> Fields:
    """Name the image as the protocol does; 1.2, request: image_reference, input_references."""
    if "image_reference" in fields:
        try:
            return {**fields, "input_reference": json.loads(fields["image_reference"])}
        except ValueError:
            raise Refused(422, {"detail": "image_reference must be a JSON object"}) from None
    if "input_references" in fields:
        return {**fields, "input_reference": fields["input_references"]}
    return fields
