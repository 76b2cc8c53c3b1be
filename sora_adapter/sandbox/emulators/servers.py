"""Imitations of servers, each documented in its section of docs/servers.md: engines first, then gateways.

`OwnServer` is not a released server: it accepts everything that the profile `custom` allows for a self-made
server.

vLLM-Omni (1.2): multipart only, failed jobs as HTTP errors, jobs in memory. SGLang diffusion (1.3): integer
seconds, a variant as an index, jobs in memory. TensorRT-LLM's trtllm-serve (1.4): two extra statuses for a
running job.

LiteLLM proxy (1.1): rewrites ids, errors and headers. new-api and its re-sellers (1.6): task ids,
milliseconds, no empty fields. Merge Gateway (1.7): JSON only, 202, ids `vid_`, the cost in the completed job.
"""

import base64
import json
from typing import Any, ClassVar

from starlette.datastructures import MutableHeaders, UploadFile
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from sora_adapter.sandbox.emulators.base import Call, Imitation, Refusal, keep_fields
from sora_adapter.sandbox.wire.relay import Json, JsonAnswer, operation_of
from sora_adapter.serving.bodies import Fields, Upload, read_fields
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
        self._last_shown: dict[str, Json] = {}

    async def read(self, request: Request) -> Fields:
        """Read a form or JSON; 1.3, request: "seconds int", which a form can only express as text."""
        fields = await super().read(request)
        seconds = fields.get("seconds", 4)
        is_form = request.headers.get("content-type", "").startswith("multipart/form-data")
        if not is_form and type(seconds) is not int:
            wrong = {"type": "int_type", "loc": ["body", "seconds"], "msg": "Input should be a valid integer"}
            raise Refusal(422, {"detail": [{**wrong, "input": seconds}]})
        return {**fields, "seconds": str(seconds)}

    def ask(self, call: Call) -> None:
        """Accept its own fields, and apply its own rules for lists and downloads."""
        if call.operation == "list" and call.query.get("limit") == "0":  # 1.3, quirks: "limit 1..100"
            raise Refusal(422, {"detail": "limit must be at least 1"})
        variant = call.query.pop("variant", "0")
        if call.operation == "content" and variant != "0":  # 1.3, quirks: "an output index"
            raise Refusal(404, {"detail": f"Video variant {variant} not found"})
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
        self._last_shown[video["id"]] = shown
        return {**shown, **extras, "expires_at": None, "error": error}

    def error(self, answer: JsonAnswer) -> JsonAnswer:
        """1.3, quirks: "Errors are FastAPI `{"detail":..}`"."""
        return JsonAnswer(answer.status, {"detail": answer.body["error"]["message"]}, answer.headers)

    def tell(self, answer: JsonAnswer, call: Call) -> JsonAnswer:
        """1.3, quirks: DELETE "answers the video object with `status:"deleted"`", also of a running job."""
        if call.operation != "delete" or call.video_id not in self._made or not _is_gone(answer):
            return answer
        self.forget(call.video_id)
        video = self._last_shown.pop(call.video_id)
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
            raise Refusal(422, {"detail": [missing]})
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
                raise Refusal(200, {"object": "list", "data": [], "has_more": False})

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
            raise Refusal(422, {"detail": "image_reference must be a JSON object"}) from None
    if "input_references" in fields:
        return {**fields, "input_reference": fields["input_references"]}
    return fields


_WORDS = {"true": True, "false": False}


class OwnServer(Imitation):
    """The protocol with the fields of the profile `custom`, which a video shows as received."""

    def __init__(self, app: Any) -> None:
        super().__init__(app)
        self._taken: dict[str, Json] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; an uploaded video is passed on unchanged."""
        operation, _ = operation_of(scope)
        answer = self._app if operation in {"edit", "character"} else super().__call__
        await answer(scope, receive, send)

    def ask(self, call: Call) -> None:
        """Read the fields, and refuse a value of another type; a form has text for numbers and flags."""
        if call.operation == "create":
            call.extras = {name: _read(name, call.fields[name]) for name in _READ if name in call.fields}
            keep_fields(call)

    def video(self, video: Json) -> Json:
        """Show the fields that were accepted for a video."""
        return {**video, **self._taken.get(video["id"], {})}

    def tell(self, answer: JsonAnswer, call: Call) -> JsonAnswer:
        """Remember the accepted fields of a new video, and show them."""
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
        raise Refusal(400, ApiError.wrong_type(name, expected, type(value).__name__).envelope)
    return taken


_BEHIND = "litellm:custom_llm_provider:openai;model_id:{};video_id:{};deployment_id:9f31c2"
_DROPPED = ("x-client-request-id", "traceparent")
_UPSTREAM_HEADERS = ("x-request-id", "retry-after", "openai-processing-ms", "openai-poll-after-ms")
_SHOWN = (
    "id", "object", "model", "status", "progress", "created_at", "completed_at", "expires_at", "size",
    "seconds", "remixed_from_video_id", "error",
)  # fmt: skip
_TYPES = {401: "authentication_error", 429: "throttling_error"}
_USD_PER_SECOND = {"sora-2": 0.10, "sora-2-pro": 0.30}
_COST = "x-litellm-response-cost"
_REFUSAL = 400
_FAILURE = 500
_WRONG_KEY = 401


class LiteLLM(Imitation):
    """docs/servers.md 1.1; the deployment behind it is the sandbox."""

    absent: ClassVar[frozenset[str]] = frozenset({"delete"})  # 1.1: "No DELETE -> 405"

    def id_in(self, video_id: str) -> str:
        """Decode an id; 1.1: a raw one is requested from api.openai.com, which ends in a 500."""
        try:
            decoded = base64.b64decode(video_id.removeprefix("video_"), validate=True).decode()
            return decoded.split(";video_id:")[1].split(";")[0]
        except (ValueError, IndexError):
            raise _refuse_unsent() from None

    def id_out(self, video_id: str) -> str:
        """Encode an id; 1.1, create. All other answers omit the model from it (seen with 1.106.2)."""
        return _encode_id(video_id, "")

    def ask(self, call: Call) -> None:
        """Forward the requests that can be forwarded."""
        if call.operation == "list":  # 1.1, list
            raise Refusal(_REFUSAL, _envelope(_REFUSAL, "LLM Provider NOT provided."))
        if call.operation in {"character", "get-character"}:  # 1.1, edit with uploaded file, …
            raise _refuse_unsent()
        if isinstance(call.fields.get("input_reference"), dict):  # 1.1, JSON input_reference
            raise Refusal(_REFUSAL, _envelope(_REFUSAL, "Invalid request format"))
        match call.fields.get("video"):
            case Upload():  # the same row
                raise _refuse_unsent()
            case {"id": str(video_id)}:  # 1.1, edit/extend by id: "JSON with the upstream id"
                call.fields["video"] = {"id": self.id_in(video_id)}
            case _:
                pass
        keep_fields(call)  # 1.1, create: extra_body fields pass through to a server that takes them
        call.query.pop("variant", None)  # 1.1, content: "without variant"
        for name in _DROPPED:  # 1.1, create: "client headers dropped"
            call.headers.pop(name, None)

    def video(self, video: Json) -> Json:
        """Show a video without its prompt and with `usage`; 1.1, create."""
        shown = {name: video[name] for name in _SHOWN}
        if shown["remixed_from_video_id"]:  # 1.1, retrieve: "the RAW upstream id"
            shown["remixed_from_video_id"] = self.id_in(shown["remixed_from_video_id"])
        return {**shown, "usage": {"duration_seconds": float(video["seconds"])}}

    def error(self, answer: JsonAnswer) -> JsonAnswer:
        """Put the original error into the message; 1.1, errors. Without a database, a wrong key is a 400."""
        status = _REFUSAL if answer.status == _WRONG_KEY else answer.status
        message = f"litellm.APIError: OpenAIException - {json.dumps(answer.body)}"
        return JsonAnswer(status, _envelope(status, message), answer.headers)

    def tell(self, answer: JsonAnswer, call: Call) -> JsonAnswer:
        """Rename or drop headers of the server behind it, and add the cost of a call; 1.1, create, errors."""
        headers = {name: value for name, value in answer.headers.items() if name not in _UPSTREAM_HEADERS}
        if not answer.is_success:
            headers |= {
                f"llm_provider-{name}": value
                for name, value in answer.headers.items()
                if name in _UPSTREAM_HEADERS
            }
        headers["x-litellm-call-id"] = "00000000-0000-4000-8000-000000000000"
        if not answer.is_success:
            return JsonAnswer(answer.status, answer.body, {**headers, _COST: "0"})  # seen with 1.106.2
        if call.operation in {"create", "remix"}:
            per_second = _USD_PER_SECOND.get(answer.body["model"], 0.1)
            headers[_COST] = str(per_second * float(answer.body["seconds"]))
        if call.operation == "create":
            named = _encode_id(self.id_in(answer.body["id"]), answer.body["model"])
            return JsonAnswer(answer.status, {**answer.body, "id": named}, headers)
        return JsonAnswer(answer.status, answer.body, headers)

    def head(self, headers: MutableHeaders) -> None:
        """Drop the headers of the server behind it; 1.1, create."""
        for name in _UPSTREAM_HEADERS:
            del headers[name]


def _encode_id(video_id: str, model: str) -> str:
    return "video_" + base64.b64encode(_BEHIND.format(model, video_id).encode()).decode()


def _envelope(status: int, message: str) -> Json:
    """Build an error; 1.1, errors: "`code` = the HTTP status as a string"."""
    usual = "internal_server_error" if status >= _FAILURE else "invalid_request_error"
    error = {"message": message, "type": _TYPES.get(status, usual), "param": None, "code": str(status)}
    return {"error": error}


def _refuse_unsent() -> Refusal:
    message = "litellm.InternalServerError: OpenAIException - Connection error: api.openai.com"
    return Refusal(_FAILURE, _envelope(_FAILURE, message))


_NEW_API_ID = "task_"
_TIMES = ("created_at", "completed_at", "expires_at")


class NewApi(Imitation):
    """docs/servers.md 1.6."""

    absent: ClassVar[frozenset[str]] = frozenset(
        {"list", "delete", "edit", "extend", "character", "get-character"}
    )

    def no_route(self, operation: str) -> Refusal:
        """Answer as OpenAI does; 1.6: "No list, no DELETE, no edits/extensions/characters"."""
        error = ApiError.not_found(f"Invalid URL ({operation})", code="unknown_url")
        return Refusal(404, error.envelope)

    def id_in(self, video_id: str) -> str:
        """Translate an id; 1.6: "public `task_xxx`"."""
        return _OURS + video_id.removeprefix(_NEW_API_ID)

    def id_out(self, video_id: str) -> str:
        """Translate an id; 1.6."""
        return _NEW_API_ID + video_id.removeprefix(_OURS)

    def ask(self, call: Call) -> None:
        """1.9: no variants."""
        call.query.pop("variant", None)

    def video(self, video: Json) -> Json:
        """1.6: `task_id`, times in milliseconds, empty fields omitted, `usage` and `metadata`."""
        times = {name: video[name] * 1000 for name in _TIMES if video[name] is not None}
        extras = {"task_id": video["id"], "usage": {"completion_tokens": 1, "total_tokens": 1}}
        return {name: value for name, value in {**video, **times, **extras}.items() if value is not None}


_MERGE_ID = "vid_"
_ACCEPTED = 202


class Merge(Imitation):
    """docs/servers.md 1.7 and its row in 1.9."""

    absent: ClassVar[frozenset[str]] = frozenset(
        {"list", "delete", "remix", "edit", "extend", "character", "get-character"}
    )

    async def read(self, request: Request) -> Fields:
        """1.7: "JSON only", "integer or string seconds"."""
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            raise Refusal(
                400, {"error": {"message": "The body must be JSON.", "type": "invalid_request_error"}}
            )
        fields = await read_fields(request)
        return {**fields, "seconds": str(fields.get("seconds", "4"))}

    def id_in(self, video_id: str) -> str:
        """Translate an id; 1.7: "id `vid_`"."""
        return _OURS + video_id.removeprefix(_MERGE_ID)

    def id_out(self, video_id: str) -> str:
        """Translate an id; 1.7."""
        return _MERGE_ID + video_id.removeprefix(_OURS)

    def ask(self, call: Call) -> None:
        """1.9: no variants."""
        call.query.pop("variant", None)
        keep_fields(call)

    def video(self, video: Json) -> Json:
        """1.7: "`progress` nullable, `cost` in the completed job"."""
        is_done = video["status"] == "completed"
        progress = {"progress": None} if video["status"] == "queued" else {}
        return {**video, **progress, **({"cost": 0.1 * float(video["seconds"])} if is_done else {})}

    def tell(self, answer: JsonAnswer, call: Call) -> JsonAnswer:
        """1.7: "202 Accepted"."""
        is_new = call.operation == "create" and answer.is_success
        return JsonAnswer(_ACCEPTED, answer.body, answer.headers) if is_new else answer
