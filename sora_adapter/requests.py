"""Requests to a server: a call, and the POST it becomes. Pure.

The shapes follow the SDK (``resources/videos.py`` of openai 3.52.0) and the guide: `create` is multipart even
without a file, and JSON if a field is an object; other calls are JSON unless they upload a file. A profile
says where its server differs.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, assert_never
from urllib.parse import quote

from ledger.terms import Operation
from sora_adapter.errors import VideoNotFound
from sora_adapter.profiles import ExtraField, Profile, Quirk, ReferenceForm, Wanted, require
from sora_adapter.wire import FilePart, Post

_BARE_URL = "reference_url"  # SGLang's field is not an object


@dataclass(frozen=True)
class ReferenceFile:
    """A file to upload: a reference image, or a video; a path is read when it is sent."""

    name: str
    media_type: str
    content: bytes | Path


@dataclass(frozen=True)
class ReferenceUrl:
    """A reference image that the server fetches; may be a data URL."""

    url: str
    form: ClassVar[ReferenceForm] = "url"


@dataclass(frozen=True)
class ReferenceId:
    """A reference image that the server already has as a file."""

    file_id: str
    form: ClassVar[ReferenceForm] = "file_id"


@dataclass(frozen=True)
class ResumePoint:
    """Where an interrupted download resumes: the number of bytes present, and its `Content.tag`."""

    bytes: int
    tag: str

    @property
    def headers(self) -> dict[str, str]:
        """Request the rest of this exact file; if it has changed, the whole file is sent."""
        return {"Range": f"bytes={self.bytes}-", "If-Range": self.tag}


@dataclass(frozen=True, kw_only=True)
class SubmitCall:
    """A submission: `model` is our name for it, `seconds` whole seconds, `size` ``<width>x<height>``.

    A remix and an edit use only `prompt` and a source, an extension also `seconds`; the server keeps the rest
    unchanged. The source is `source_video_id`, or for an edit `source_file`. `options` are beyond the
    protocol; `more_references` are sent along with an `input_reference` that is a file.
    """

    operation: Operation
    prompt: str
    model: str
    size: str
    seconds: int
    input_reference: ReferenceFile | ReferenceUrl | ReferenceId | None = None
    more_references: tuple[ReferenceFile, ...] = ()
    character_ids: tuple[str, ...] = ()
    options: Mapping[ExtraField, str | int | bool] = field(default_factory=dict)
    source_video_id: str | None = None
    source_file: ReferenceFile | None = None

    @property
    def wants(self) -> tuple[Wanted, ...]:
        """The capabilities that the server needs for this call."""
        uploads = self.operation is Operation.EDIT and self.source_file is not None
        wanted: list[Wanted] = ["edit_upload" if uploads else self.operation.value, *self.options]
        if self.more_references:
            wanted.append("input_references")
        if self.character_ids:
            wanted.append("character")
        if isinstance(self.input_reference, ReferenceUrl | ReferenceId):
            wanted.append(self.input_reference.form)
        return tuple(wanted)

    @property
    def upload(self) -> ReferenceFile | None:
        """The file to upload with this call, if any."""
        if self.source_file is not None:
            return self.source_file
        return self.input_reference if isinstance(self.input_reference, ReferenceFile) else None


@dataclass(frozen=True)
class PreparedPost:
    """A POST ready to send, and the digest of its content on the wire (`sora_adapter.wire`)."""

    post: Post
    sent_sha256: str


def post_of(
    call: SubmitCall, profile: Profile, upload: bytes | None = None, more_uploads: Sequence[bytes] = ()
) -> Post:
    """Return the POST of `call`; `upload` has the bytes of its file, `more_uploads` those of the others.

    Raises `OperationUnsupported` for anything the profile does not offer.
    """
    require(profile, *call.wants)
    match call.operation:
        case Operation.CREATE:
            return _create(call, profile, upload, more_uploads)
        case Operation.REMIX:
            return Post(f"{video_path(_source_of(call))}/remix", {"prompt": call.prompt})
        case Operation.EDIT:
            return _edit(call, profile, upload)
        case Operation.EXTEND:
            source, seconds = {"id": _source_of(call)}, _seconds(call, profile)
            return Post("/videos/extensions", {"prompt": call.prompt, "seconds": seconds, "video": source})
        case _:
            assert_never(call.operation)


def character_post(name: str, file: ReferenceFile, upload: bytes, profile: Profile) -> Post:
    """Return the POST that creates a character from a video; raises `OperationUnsupported`."""
    require(profile, "character")
    return Post("/videos/characters", {"name": name}, {"video": _part(file, upload)}, multipart=True)


def _create(call: SubmitCall, profile: Profile, upload: bytes | None, more_uploads: Sequence[bytes]) -> Post:
    body: dict[str, Any] = {
        "prompt": call.prompt,
        "model": profile.server_model(call.model),
        "size": call.size,
        "seconds": _seconds(call, profile),
        **dict[str, Any](call.options.items()),
    }
    file = call.upload if upload is not None else None
    if call.character_ids:
        body["characters"] = [{"id": character} for character in call.character_ids]
    if isinstance(call.input_reference, ReferenceUrl | ReferenceId):
        body.update(_reference(call.input_reference, profile))
    elif file is not None and upload is not None:
        if profile.create_as != "json_only" and not call.character_ids:
            return _upload(body, file, upload, list(zip(call.more_references, more_uploads, strict=True)))
        body["input_reference"] = {"image_url": _data_url(file, upload)}  # JSON has no place for a file
    is_json = profile.create_as in {"json", "json_only"}
    if is_json or (profile.create_as == "multipart" and _holds_objects(body)):
        return Post("/videos", body)
    return Post("/videos", _form(body), multipart=True)


def _edit(call: SubmitCall, profile: Profile, upload: bytes | None) -> Post:
    """Edit a video the server has, whose model it knows, or an uploaded one together with a model."""
    if call.source_file is None or upload is None:
        return Post("/videos/edits", {"prompt": call.prompt, "video": {"id": _source_of(call)}})
    body = {"prompt": call.prompt, "model": profile.server_model(call.model)}
    return Post("/videos/edits", body, {"video": _part(call.source_file, upload)}, multipart=True)


def _upload(
    body: dict[str, Any], file: ReferenceFile, upload: bytes, more: list[tuple[ReferenceFile, bytes]]
) -> Post:
    if not more:
        return Post("/videos", _form(body), {"input_reference": _part(file, upload)}, multipart=True)
    several = tuple(("input_references", _part(item, content)) for item, content in [(file, upload), *more])
    return Post("/videos", _form(body), multipart=True, more_files=several)


def _reference(reference: ReferenceUrl | ReferenceId, profile: Profile) -> dict[str, Any]:
    name = profile.reference_by[reference.form]
    if isinstance(reference, ReferenceId):
        return {name: {"file_id": reference.file_id}}
    return {name: reference.url if name == _BARE_URL else {"image_url": reference.url}}


def _seconds(call: SubmitCall, profile: Profile) -> str | int:
    return call.seconds if Quirk.INTEGER_SECONDS in profile.quirks else str(call.seconds)


def _source_of(call: SubmitCall) -> str:
    if call.source_video_id is None:
        raise ValueError(f"the operation {call.operation} needs source_video_id")
    return call.source_video_id


def _part(file: ReferenceFile, content: bytes) -> FilePart:
    return file.name, content, file.media_type


def _data_url(file: ReferenceFile, content: bytes) -> str:
    return f"data:{file.media_type};base64,{base64.b64encode(content).decode()}"


def _holds_objects(body: dict[str, Any]) -> bool:
    return any(isinstance(value, dict | list) for value in body.values())


def _form(body: dict[str, Any]) -> dict[str, str]:
    """Return the fields of a form: text unchanged, everything else as JSON."""
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in body.items()}


def video_path(video_id: str) -> str:
    """Return the path of a video; an id that would leave ``/videos/`` raises `VideoNotFound`."""
    if video_id in {"", ".", ".."}:
        raise VideoNotFound(f"{video_id!r} cannot be the id of a video; ids look like video_…")
    return f"/videos/{quote(video_id, safe='')}"


def character_path(character_id: str) -> str:
    """Return the path of a character; a malformed id raises `VideoNotFound`."""
    if character_id in {"", ".", ".."}:
        raise VideoNotFound(f"{character_id!r} cannot be the id of a character; ids look like char_…")
    return f"/videos/characters/{quote(character_id, safe='')}"


_NO_IDS = frozenset(
    "characters content edits extensions moderations remix rotate_secret test videos webhook_endpoints "
    "webhook_event_types".split()
)


def route_of(path: str) -> str:
    """Return `path` with ``{id}`` for every part outside the API; ``{url}`` for a full URL."""
    if "://" in path:
        return "{url}"
    return "/".join(part if not part or part in _NO_IDS else "{id}" for part in path.split("/"))
