"""Imitations of engines that render themselves, each documented in its section of docs/servers.md.

`OwnServer` is no released one: it takes what the profile `custom` says that a server of your own may take.

vLLM-Omni (1.2): multipart only, failed jobs as HTTP errors, jobs in memory. SGLang diffusion (1.3): integer
seconds, a variant as an index, jobs in memory. TensorRT-LLM's trtllm-serve (1.4): two statuses of its own for
a running job.
"""

import json
from typing import Any, ClassVar

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from sora_adapter.sandbox.emulators.base import Call, Imitation, Refused, keep_fields
from sora_adapter.sandbox.wire.relay import Json, JsonAnswer, operation_of
from sora_adapter.serving.bodies import Fields, Upload
from sora_adapter.serving.errors import ApiError

_ENCODING_FROM = 90


class TensorRTLLM(Imitation):
    """docs/servers.md 1.4."""

    absent: ClassVar[frozenset[str]] = frozenset({"remix", "edit", "extend", "character", "get-character"})
    is_open: ClassVar[bool] = True  # 1.4: "no auth"

    def video(self, video: Json) -> Json:
        """1.4: "queued -> generating -> encoding -> completed"."""
        if video["status"] != "in_progress":
            return video
        return {**video, "status": "encoding" if video["progress"] >= _ENCODING_FROM else "generating"}


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

    def ask(self, call: Call) -> None:
        """Accept its own fields, and apply its own rules for lists and downloads."""
        if call.operation == "list" and call.query.get("limit") == "0":  # 1.3, quirks: "limit 1..100"
            raise Refused(422, {"detail": "limit must be at least 1"})
        variant = call.query.pop("variant", "0")
        if call.operation == "content" and variant != "0":  # 1.3, quirks: "an output index"
            raise Refused(404, {"detail": f"Video variant {variant} not found"})
        if call.operation == "create":
            if "reference_url" in call.fields:  # 1.3, request
                call.fields["input_reference"] = {"image_url": call.fields["reference_url"]}
            keep_fields(call)

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

    def tell(self, answer: JsonAnswer, call: Call) -> JsonAnswer:
        """1.3, quirks: DELETE "answers the video object with `status:"deleted"`", also of a running job."""
        if call.operation != "delete" or call.video_id not in self._made or not _is_gone(answer):
            return answer
        self.forget(call.video_id)
        video = self._last_seen.pop(call.video_id)
        return JsonAnswer(200, {**video, "status": "deleted"}, answer.headers)


def _is_gone(answer: JsonAnswer) -> bool:
    """Whether the sandbox deleted the video, or refused only because it is not finished."""
    return answer.is_success or answer.status == 400


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

    def ask(self, call: Call) -> None:
        """Accept its own fields for images, and apply its own rules for lists."""
        call.query.pop("variant", None)  # 1.2, quirks: "no variant parameter (ignored)"
        if call.operation == "list":
            self._ask_for_page(call)
        if call.operation == "create":
            call.fields = _with_image(call.fields)
            keep_fields(call)

    def _ask_for_page(self, call: Call) -> None:
        """1.2, quirks: "no default limit", "unknown `after` -> empty page"."""
        call.query.setdefault("limit", "100")
        if "after" in call.query:
            call.query["after"] = self.id_in(call.query["after"])
            if call.query["after"] not in self._made:
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

    def tell(self, answer: JsonAnswer, call: Call) -> JsonAnswer:
        """Answer failed jobs as errors, and allow deleting running ones; 1.2, quirks."""
        body = answer.body
        if call.operation == "retrieve" and body.get("status") == "failed":
            status = 400 if body["error"]["code"] == _BLOCKED else 500
            return JsonAnswer(status, body, answer.headers)
        code = body["error"]["code"] if isinstance(body.get("error"), dict) else None
        if call.operation == "content" and code == "video_failed":
            return JsonAnswer(_NO_CONTENT_OF_FAILED, body, answer.headers)
        if call.operation == "delete" and code == "video_not_finished" and call.video_id:
            self.forget(call.video_id)
            deleted = {"id": self.id_out(call.video_id), "deleted": True, "object": "video.deleted"}
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


_WORDS = {"true": True, "false": False}


class OwnServer(Imitation):
    """The protocol with the fields of the profile `custom`, which a video shows as they were taken."""

    def __init__(self, app: Any) -> None:
        super().__init__(app)
        self._taken: dict[str, Json] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; an uploaded video is passed on as it came."""
        operation, _ = operation_of(scope)
        answer = self._app if operation in {"edit", "character"} else super().__call__
        await answer(scope, receive, send)

    def ask(self, call: Call) -> None:
        """Take the fields, and refuse a value of another type; a form has text for numbers and flags."""
        if call.operation == "create":
            call.extras = {name: _read(name, call.fields[name]) for name in _READ if name in call.fields}
            keep_fields(call)

    def video(self, video: Json) -> Json:
        """Show what was taken for a video."""
        return {**video, **self._taken.get(video["id"], {})}

    def tell(self, answer: JsonAnswer, call: Call) -> JsonAnswer:
        """Remember what was taken for a new video, and show it."""
        if call.operation != "create" or not answer.is_success:
            return answer
        self._taken[answer.body["id"]] = call.extras
        return JsonAnswer(answer.status, {**answer.body, **call.extras}, answer.headers)


def _whole(value: Any) -> int | None:
    text = str(value)
    return int(text) if text.isascii() and text.isdecimal() and not isinstance(value, bool) else None


def _flag(value: Any) -> bool | None:
    return _WORDS.get(str(value).lower())


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


_READ = {
    "seed": (_whole, "an integer"),
    "loop": (_flag, "true or false"),
    "fps": (_whole, "an integer"),
    "negative_prompt": (_text, "text"),
}


def _read(name: str, value: Any) -> Any:
    read, expected = _READ[name]
    if (taken := read(value)) is None:
        raise Refused(400, ApiError.wrong_type(name, expected, type(value).__name__).envelope)
    return taken
