"""Imitations of gateways to other servers, each documented in its section of docs/servers.md.

LiteLLM proxy (1.1): rewrites ids, errors and headers. new-api and its re-sellers (1.6): task ids,
milliseconds, no empty fields. Merge Gateway (1.7): JSON only, 202, ids `vid_`, the cost in the completed job.
"""

import base64
import json
from typing import ClassVar

from starlette.datastructures import MutableHeaders
from starlette.requests import Request

from sora_adapter.sandbox.emulators.base import Call, Imitation, Refused, keep_fields
from sora_adapter.sandbox.wire.relay import Json, JsonAnswer
from sora_adapter.serving.bodies import Fields, Upload, read_fields
from sora_adapter.serving.errors import ApiError

_OURS = "video_"

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
            raise _sent_to_openai() from None

    def id_out(self, video_id: str) -> str:
        """Encode an id; 1.1, create. All other answers omit the model from it (seen with 1.106.2)."""
        return _encoded(video_id, "")

    def ask(self, call: Call) -> None:
        """Forward what can be forwarded."""
        if call.operation == "list":  # 1.1, list
            raise Refused(_REFUSAL, _envelope(_REFUSAL, "LLM Provider NOT provided."))
        if call.operation in {"character", "get-character"}:  # 1.1, edit with uploaded file, …
            raise _sent_to_openai()
        if isinstance(call.fields.get("input_reference"), dict):  # 1.1, JSON input_reference
            raise Refused(_REFUSAL, _envelope(_REFUSAL, "Invalid request format"))
        match call.fields.get("video"):
            case Upload():  # the same row
                raise _sent_to_openai()
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
            named = _encoded(self.id_in(answer.body["id"]), answer.body["model"])
            return JsonAnswer(answer.status, {**answer.body, "id": named}, headers)
        return JsonAnswer(answer.status, answer.body, headers)

    def head(self, headers: MutableHeaders) -> None:
        """Drop the headers of the server behind it; 1.1, create."""
        for name in _UPSTREAM_HEADERS:
            del headers[name]


def _encoded(video_id: str, model: str) -> str:
    return "video_" + base64.b64encode(_BEHIND.format(model, video_id).encode()).decode()


def _envelope(status: int, message: str) -> Json:
    """Build an error; 1.1, errors: "`code` = the HTTP status as a string"."""
    usual = "internal_server_error" if status >= _FAILURE else "invalid_request_error"
    error = {"message": message, "type": _TYPES.get(status, usual), "param": None, "code": str(status)}
    return {"error": error}


def _sent_to_openai() -> Refused:
    message = "litellm.InternalServerError: OpenAIException - Connection error: api.openai.com"
    return Refused(_FAILURE, _envelope(_FAILURE, message))


_NEW_API_ID = "task_"
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
            raise Refused(
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
