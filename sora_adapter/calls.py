"""What is asked of a server, and how it is put on the wire: one call, one POST. Pure.

The shapes are those of the SDK (``resources/videos.py`` of openai 3.52.0): `create` is multipart even without
a file, `remix` is JSON.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, assert_never
from urllib.parse import quote

from ledger.events import Operation
from sora_adapter.errors import VideoNotFound
from sora_adapter.profiles import Profile


@dataclass(frozen=True)
class ReferenceFile:
    """The image a video starts from; as a path it is read when it is sent."""

    name: str
    media_type: str
    content: bytes | Path


@dataclass(frozen=True, kw_only=True)
class SubmitCall:
    """What to ask a server for; `model` is ours, `seconds` whole seconds, `size` ``<width>x<height>``.

    A remix takes only `prompt` and `source_video_id`: the server keeps the rest as it was.
    """

    operation: Literal[Operation.CREATE, Operation.REMIX]
    prompt: str
    model: str
    size: str
    seconds: int
    input_reference: ReferenceFile | None = None
    source_video_id: str | None = None


@dataclass(frozen=True)
class Post:
    """The arguments of one POST, in the SDK's terms."""

    path: str
    body: dict[str, str]
    files: dict[str, tuple[str, bytes, str]] | None = None
    multipart: bool = False


def post_of(call: SubmitCall, profile: Profile, reference: bytes | None = None) -> Post:
    """Return the POST that asks for `call`; `reference` are the bytes of its input reference."""
    match call.operation:
        case Operation.CREATE:
            return _create(call, profile, reference)
        case Operation.REMIX:
            if call.source_video_id is None:
                raise ValueError("a remix needs source_video_id")
            return Post(f"{video_path(call.source_video_id)}/remix", {"prompt": call.prompt})
        case _:
            assert_never(call.operation)


def _create(call: SubmitCall, profile: Profile, reference: bytes | None) -> Post:
    body = {
        "prompt": call.prompt,
        "model": profile.server_model(call.model),
        "size": call.size,
        "seconds": str(call.seconds),
    }
    file = call.input_reference
    if file is None or reference is None:
        return Post("/videos", body, multipart=True)
    return Post("/videos", body, {"input_reference": (file.name, reference, file.media_type)}, multipart=True)


def video_path(video_id: str) -> str:
    """Return the path of a video; an id that would leave ``/videos/`` raises `VideoNotFound`."""
    if video_id in {"", ".", ".."}:
        raise VideoNotFound(f"{video_id!r} cannot be the id of a video; ids look like video_…")
    return f"/videos/{quote(video_id, safe='')}"
