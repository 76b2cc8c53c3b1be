"""The shared code of the imitations: parse a request, change or refuse it, and change its answer.

The sandbox behind it is unchanged: it receives JSON with its own ids, and counts the requests that reach it.
Ids are translated by two functions, so nothing needs to be stored. Only for a server that keeps its jobs in
process memory does the layer remember the jobs it created, until it ends.
"""

import base64
import json
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sora_adapter.sandbox.wire.relay import Json, JsonAnswer, Relay, operation_of, path_of
from sora_adapter.serving.bodies import Fields, Upload, read_fields
from sora_adapter.serving.errors import ApiError

CREATORS = ("create", "remix", "edit", "extend")
PROTOCOL_FIELDS = ("prompt", "model", "size", "seconds", "input_reference", "characters", "video")


class Refusal(Exception):
    """An answer of the imitated server itself; the sandbox behind it is not called."""

    def __init__(self, status: int, body: Json) -> None:
        super().__init__(status)
        self.answer = JsonAnswer(status, body, {})


@dataclass
class Call:
    """A request, in the sandbox's terms after `Imitation.ask`."""

    operation: str
    video_id: str | None
    query: dict[str, str]
    fields: Fields
    headers: dict[str, str]
    extras: Json = field(default_factory=dict)
    """Fields beyond the protocol that the imitated server accepted."""


class Imitation:
    """The behaviour of one server; a subclass defines the differences.

    `absent` are the operations without a route; `is_open` is True if it needs no key, `forgets` if a restart
    loses its jobs.
    """

    absent: ClassVar[frozenset[str]] = frozenset()
    is_open: ClassVar[bool] = False
    forgets: ClassVar[bool] = False

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._made: set[str] = set()

    # --- to be overridden in subclasses ---

    def no_route(self, operation: str) -> Refusal:
        """Return the answer for a missing route; by default FastAPI's."""
        is_other_method = operation in {"list", "delete", "edit", "extend", "character"}
        status, detail = (405, "Method Not Allowed") if is_other_method else (404, "Not Found")
        return Refusal(status, {"detail": detail})

    def no_video(self, video_id: str) -> Refusal:
        """Return the answer for an unknown video."""
        return Refusal(404, self.error(JsonAnswer(404, ApiError.no_such_video(video_id).envelope, {})).body)

    async def read(self, request: Request) -> Fields:
        """Read the body of a request."""
        return await read_fields(request)

    def ask(self, call: Call) -> None:
        """Translate a request for the sandbox, or raise `Refusal`."""

    def id_in(self, video_id: str) -> str:
        """Return the sandbox's id of a video."""
        return video_id

    def id_out(self, video_id: str) -> str:
        """Return the imitated server's id of a video."""
        return video_id

    def video(self, video: Json) -> Json:
        """Return a video in the server's format; its ids are already translated."""
        return video

    def error(self, answer: JsonAnswer) -> JsonAnswer:
        """Return a refusal in the server's format."""
        return answer

    def tell(self, answer: JsonAnswer, call: Call) -> JsonAnswer:  # noqa: ARG002 - for subclasses
        """Return an answer as the server sends it; its content is already in the server's format."""
        return answer

    def head(self, headers: MutableHeaders) -> None:
        """Change the headers of a download."""

    # --- the request and its answer ---

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        operation, video_id = operation_of(scope)
        if operation is None:
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            call = await self._parse(request, operation, video_id)
        except Refusal as refused:
            await self.tell(refused.answer, _make_empty_call(operation)).response(scope, receive, send)
            return
        except ApiError as refusal:
            answer = self.error(JsonAnswer(refusal.status, refusal.envelope, {}))
            await answer.response(scope, receive, send)
            return
        relay = Relay(self._app, lambda answer: self._show(answer, call), self.head)
        await relay(*_put(call, scope, receive), send)

    async def _parse(self, request: Request, operation: str, video_id: str | None) -> Call:
        if operation in self.absent:
            raise self.no_route(operation)
        fields = await self.read(request) if request.method == "POST" else {}
        headers = dict(request.headers)
        if self.is_open:
            headers.setdefault("authorization", "Bearer nobody")
        call = Call(operation, video_id, dict(request.query_params), fields, headers)
        if video_id is not None:
            call.video_id = self.id_in(video_id)
            if self.forgets and call.video_id not in self._made:
                raise self.no_video(video_id)
        self.ask(call)
        return call

    def _show(self, answer: JsonAnswer, call: Call) -> JsonAnswer:
        if not answer.is_success:
            return self.tell(self.error(answer), call)
        body = answer.body
        if body.get("object") == "video":
            body = self._video(body, call)
        elif body.get("object") == "list":
            body = self._page(body, call)
        elif call.operation == "delete":
            body = {**body, "id": self.id_out(body["id"])}
        return self.tell(JsonAnswer(answer.status, body, answer.headers), call)

    def _video(self, video: Json, call: Call) -> Json:
        if call.operation in CREATORS:
            self._made.add(video["id"])
        source = video["remixed_from_video_id"]
        shown = {
            "id": self.id_out(video["id"]),
            "remixed_from_video_id": source and self.id_out(source),
        }
        return self.video({**video, **shown})

    def _page(self, page: Json, call: Call) -> Json:
        videos = [video for video in page["data"] if not self.forgets or video["id"] in self._made]
        data = [self._video(video, call) for video in videos]
        first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
        return {**page, "data": data, "first_id": first, "last_id": last}

    def forget(self, video_id: str) -> None:
        """Forget a video that the sandbox itself keeps rendering."""
        self._made.discard(video_id)


def _make_empty_call(operation: str) -> Call:
    return Call(operation, None, {}, {}, {})


def _put(call: Call, scope: Scope, receive: Receive) -> tuple[Scope, Receive]:
    """Return the request that replaces the original one for the sandbox."""
    headers = {name: value for name, value in call.headers.items() if name != "content-length"}
    body = b""
    if scope["method"] == "POST":
        body = json.dumps(call.fields, default=_data_url).encode()
        headers |= {"content-type": "application/json", "content-length": str(len(body))}
    path = path_of(call.operation, call.video_id)
    put = {
        "path": path,
        "raw_path": path.encode(),
        "query_string": urlencode(call.query).encode(),
        "headers": Headers(headers).raw,
    }
    is_replayed = False

    async def replayed() -> Message:
        nonlocal is_replayed
        if is_replayed:
            return await receive()
        is_replayed = True
        return {"type": "http.request", "body": body, "more_body": False}

    return {**scope, **put}, replayed


def _data_url(value: Any) -> Json:
    """Return an upload as JSON."""
    assert isinstance(value, Upload)  # all other values came from JSON
    return {"image_url": f"data:{value.media_type};base64,{base64.b64encode(value.body).decode()}"}


def keep_fields(call: Call) -> None:
    """Drop fields beyond the protocol: the sandbox refuses unknown ones."""
    call.fields = {name: value for name, value in call.fields.items() if name in PROTOCOL_FIELDS}
