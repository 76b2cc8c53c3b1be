"""LiteLLM proxy (docs/servers.md 1.1): a gateway that rewrites ids, errors and headers."""

import base64
import json
from typing import ClassVar

from starlette.datastructures import MutableHeaders

from sora_adapter.sandbox.emulators.base import Asked, Imitation, Refused, keep_fields
from sora_adapter.sandbox.wire.relay import Json, JsonAnswer
from sora_adapter.serving.bodies import Upload

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

    def ask(self, asked: Asked) -> None:
        """Forward what can be forwarded."""
        if asked.operation == "list":  # 1.1, list
            raise Refused(_REFUSAL, _envelope(_REFUSAL, "LLM Provider NOT provided."))
        if asked.operation in {"character", "get-character"}:  # 1.1, edit with uploaded file, …
            raise _sent_to_openai()
        if isinstance(asked.fields.get("input_reference"), dict):  # 1.1, JSON input_reference
            raise Refused(_REFUSAL, _envelope(_REFUSAL, "Invalid request format"))
        match asked.fields.get("video"):
            case Upload():  # the same row
                raise _sent_to_openai()
            case {"id": str(video_id)}:  # 1.1, edit/extend by id: "JSON with the upstream id"
                asked.fields["video"] = {"id": self.id_in(video_id)}
            case _:
                pass
        keep_fields(asked)  # 1.1, create: extra_body fields pass through to a server that takes them
        asked.query.pop("variant", None)  # 1.1, content: "without variant"
        for name in _DROPPED:  # 1.1, create: "client headers dropped"
            asked.headers.pop(name, None)

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

    def tell(self, answer: JsonAnswer, asked: Asked) -> JsonAnswer:
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
        if asked.operation in {"create", "remix"}:
            per_second = _USD_PER_SECOND.get(answer.body["model"], 0.1)
            headers[_COST] = str(per_second * float(answer.body["seconds"]))
        if asked.operation == "create":
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
