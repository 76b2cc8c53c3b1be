"""SGLang diffusion (docs/servers.md 1.3): integer seconds, a variant as an index, jobs in memory."""

from typing import Any, ClassVar

from starlette.requests import Request

from sora_adapter.sandbox.emulators.base import Asked, Imitation, Refused, keep_fields
from sora_adapter.sandbox.wire.relay import Json, JsonAnswer
from sora_adapter.serving.bodies import Fields

_NOT_SHOWN = {"prompt", "remixed_from_video_id"}


class SGLang(Imitation):
    """docs/servers.md 1.3."""

    absent: ClassVar[frozenset[str]] = frozenset({"remix", "edit", "extend", "character", "get-character"})
    is_open: ClassVar[bool] = True  # 1.3: "no auth"
    forgets: ClassVar[bool] = True  # 1.3, quirks: "In-memory store"

    def __init__(self, app: Any) -> None:
        super().__init__(app)
        self._last_seen: dict[str, Json] = {}

    async def read(self, request: Request) -> Fields:
        """Read a form or JSON; 1.3, request: "seconds int", which a form can only express as text."""
        fields = await super().read(request)
        seconds = fields.get("seconds", 4)
        is_form = request.headers.get("content-type", "").startswith("multipart/form-data")
        if not is_form and type(seconds) is not int:
            wrong = {"type": "int_type", "loc": ["body", "seconds"], "msg": "Input should be a valid integer"}
            raise Refused(422, {"detail": [{**wrong, "input": seconds}]})
        return {**fields, "seconds": str(seconds)}

    def ask(self, asked: Asked) -> None:
        """Accept its own fields, and apply its own rules for lists and downloads."""
        if asked.operation == "list" and asked.query.get("limit") == "0":  # 1.3, quirks: "limit 1..100"
            raise Refused(422, {"detail": "limit must be at least 1"})
        variant = asked.query.pop("variant", "0")
        if asked.operation == "content" and variant != "0":  # 1.3, quirks: "an output index"
            raise Refused(404, {"detail": f"Video variant {variant} not found"})
        if asked.operation == "create":
            if "reference_url" in asked.fields:  # 1.3, request
                asked.fields["input_reference"] = {"image_url": asked.fields["reference_url"]}
            keep_fields(asked)

    def video(self, video: Json) -> Json:
        """1.3, response: no prompt, `expires_at` always null, an error without code, extras."""
        shown = {name: value for name, value in video.items() if name not in _NOT_SHOWN}
        error = video["error"] and {"message": video["error"]["message"]}
        extras = {
            "quality": "standard",
            "url": None,
            "file_path": f"outputs/{video['id']}.mp4",
            "num_outputs": 1,
        }
        self._last_seen[video["id"]] = shown
        return {**shown, **extras, "expires_at": None, "error": error}

    def error(self, answer: JsonAnswer) -> JsonAnswer:
        """1.3, quirks: "Errors are FastAPI `{"detail":..}`"."""
        return JsonAnswer(answer.status, {"detail": answer.body["error"]["message"]}, answer.headers)

    def tell(self, answer: JsonAnswer, asked: Asked) -> JsonAnswer:
        """1.3, quirks: DELETE "answers the video object with `status:"deleted"`", also of a running job."""
        if asked.operation != "delete" or asked.video_id not in self._made or not _is_gone(answer):
            return answer
        self.forget(asked.video_id)
        video = self._last_seen.pop(asked.video_id)
        return JsonAnswer(200, {**video, "status": "deleted"}, answer.headers)


def _is_gone(answer: JsonAnswer) -> bool:
    """Whether the sandbox deleted the video, or refused only because it is not finished."""
    return answer.is_success or answer.status == 400
