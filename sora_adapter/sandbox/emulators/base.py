"""What the imitations share: a request is understood, changed or refused, and its answer changed on its way.

The sandbox behind it stays what it is: it is asked in JSON, with its own ids, and counts what reaches it. Ids
are translated by two functions, so nothing needs to be remembered. Only a server that keeps its jobs in the
memory of its process remembers which it has made, and forgets them with the layer.
"""

import base64
import json
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sora_adapter.sandbox.wire.bodies import Fields, Upload, read_fields
from sora_adapter.sandbox.wire.errors import ApiError
from sora_adapter.sandbox.wire.relay import Json, Relay, Told, operation_of, path_of

CREATORS = ("create", "remix", "edit", "extend")
PROTOCOL_FIELDS = ("prompt", "model", "size", "seconds", "input_reference", "characters", "video")


class Refused(Exception):
    """An answer of the imitated server's own; the sandbox behind it is not asked."""

    def __init__(self, status: int, body: Json) -> None:
        super().__init__(status)
        self.told = Told(status, body, {})


@dataclass
class Asked:
    """A request, in the words of the sandbox once `Imitation.ask` is through with it."""

    operation: str
    video_id: str | None
    query: dict[str, str]
    fields: Fields
    headers: dict[str, str]


class Imitation:
    """One server's ways; a subclass says what is different about it.

    `absent` are the operations it has no route for, `is_open` whether it asks for no key, `forgets` whether
    its jobs are gone when it is started again.
    """

    absent: ClassVar[frozenset[str]] = frozenset()
    is_open: ClassVar[bool] = False
    forgets: ClassVar[bool] = False

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._made: set[str] = set()

    # --- what a subclass may say differently ---

    def no_route(self, operation: str) -> Refused:
        """Return what is said where there is no such route; this is FastAPI's answer."""
        is_other_method = operation in {"list", "delete", "edit", "extend", "character"}
        status, detail = (405, "Method Not Allowed") if is_other_method else (404, "Not Found")
        return Refused(status, {"detail": detail})

    def no_video(self, video_id: str) -> Refused:
        """Return what is said about a video that is not there."""
        return Refused(404, self.error(Told(404, ApiError.no_such_video(video_id).envelope, {})).body)

    async def read(self, request: Request) -> Fields:
        """Read the body of a request."""
        return await read_fields(request)

    def ask(self, asked: Asked) -> None:
        """Change a request into what the sandbox is asked, or raise `Refused`."""

    def id_in(self, video_id: str) -> str:
        """Return the sandbox's id of a video."""
        return video_id

    def id_out(self, video_id: str) -> str:
        """Return the imitated server's id of a video."""
        return video_id

    def video(self, video: Json) -> Json:
        """Return a video as the server shows it; its ids are translated already."""
        return video

    def error(self, told: Told) -> Told:
        """Return a refusal as the server words it."""
        return told

    def tell(self, told: Told, asked: Asked) -> Told:  # noqa: ARG002 - for subclasses
        """Return an answer as the server sends it; what is in it is the server's already."""
        return told

    def head(self, headers: MutableHeaders) -> None:
        """Change the headers of a download."""

    # --- the way there and back ---

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        operation, video_id = operation_of(scope)
        if operation is None:
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            asked = await self._understood(request, operation, video_id)
        except Refused as refused:
            await self.tell(refused.told, _nothing(operation)).response(scope, receive, send)
            return
        except ApiError as refusal:
            told = self.error(Told(refusal.status, refusal.envelope, {}))
            await told.response(scope, receive, send)
            return
        relay = Relay(self._app, lambda told: self._shown(told, asked), self.head)
        await relay(*_put(asked, scope, receive), send)

    async def _understood(self, request: Request, operation: str, video_id: str | None) -> Asked:
        if operation in self.absent:
            raise self.no_route(operation)
        fields = await self.read(request) if request.method == "POST" else {}
        headers = dict(request.headers)
        if self.is_open:
            headers.setdefault("authorization", "Bearer nobody")
        asked = Asked(operation, video_id, dict(request.query_params), fields, headers)
        if video_id is not None:
            asked.video_id = self.id_in(video_id)
            if self.forgets and asked.video_id not in self._made:
                raise self.no_video(video_id)
        self.ask(asked)
        return asked

    def _shown(self, told: Told, asked: Asked) -> Told:
        if not told.is_success:
            return self.tell(self.error(told), asked)
        body = told.body
        if body.get("object") == "video":
            body = self._video(body, asked)
        elif body.get("object") == "list":
            body = self._page(body, asked)
        elif asked.operation == "delete":
            body = {**body, "id": self.id_out(body["id"])}
        return self.tell(Told(told.status, body, told.headers), asked)

    def _video(self, video: Json, asked: Asked) -> Json:
        if asked.operation in CREATORS:
            self._made.add(video["id"])
        source = video["remixed_from_video_id"]
        shown = {
            "id": self.id_out(video["id"]),
            "remixed_from_video_id": source and self.id_out(source),
        }
        return self.video({**video, **shown})

    def _page(self, page: Json, asked: Asked) -> Json:
        videos = [video for video in page["data"] if not self.forgets or video["id"] in self._made]
        data = [self._video(video, asked) for video in videos]
        first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
        return {**page, "data": data, "first_id": first, "last_id": last}

    def forget(self, video_id: str) -> None:
        """Forget a video that the sandbox itself continues to render."""
        self._made.discard(video_id)


def _nothing(operation: str) -> Asked:
    return Asked(operation, None, {}, {}, {})


def _put(asked: Asked, scope: Scope, receive: Receive) -> tuple[Scope, Receive]:
    """Return what the sandbox is given in the place of a request."""
    headers = {name: value for name, value in asked.headers.items() if name != "content-length"}
    body = b""
    if scope["method"] == "POST":
        body = json.dumps(asked.fields, default=_data_url).encode()
        headers |= {"content-type": "application/json", "content-length": str(len(body))}
    path = path_of(asked.operation, asked.video_id)
    put = {
        "path": path,
        "raw_path": path.encode(),
        "query_string": urlencode(asked.query).encode(),
        "headers": Headers(headers).raw,
    }
    is_given = False

    async def given() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return {**scope, **put}, given


def _data_url(value: Any) -> Json:
    """Say an upload in JSON."""
    assert isinstance(value, Upload)  # whatever else is in fields came out of JSON
    return {"image_url": f"data:{value.media_type};base64,{base64.b64encode(value.body).decode()}"}


def keep_fields(asked: Asked) -> None:
    """Drop what goes beyond the protocol: the sandbox refuses what it does not know."""
    asked.fields = {name: value for name, value in asked.fields.items() if name in PROTOCOL_FIELDS}
