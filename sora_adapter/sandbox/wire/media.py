"""The images and videos that a request brings, checked before they are used.

A reference image is a jpeg, png or webp that decodes completely and has exactly the requested size. It may be
uploaded first (`POST /v1/files`) and referred to by its id. The sandbox fetches nothing, so http URLs are
refused with a message that says so.

A video for a character must be an MP4 of 2 to 4 seconds, 16:9 or 9:16, 720p to 1080p. A video to be edited or
extended must be an MP4 of a size that the model produces, at most as long as the longest clip it produces.
"""

import base64
import binascii
import io
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote_to_bytes

import av
from PIL import Image

from sora_adapter.serving.bodies import Upload, type_name
from sora_adapter.serving.errors import ApiError

Variant = Literal["video", "thumbnail", "spritesheet"]
"""A file of a finished job."""

_IMAGE = "input_reference"
_FORMATS = ("JPEG", "PNG", "WEBP")
_MAX_URL = 20_971_520

Files = Callable[[str], bytes | None]
"""Returns the bytes of an uploaded file by its id."""


def read_reference(value: Any, size: str, file: Files) -> bytes:
    """Return the bytes of the image, from `file` if given by id; raises ApiError."""
    if isinstance(value, Upload):
        image = value.body
    elif isinstance(value, dict):
        image = _from_object(value, file)
    else:
        raise ApiError.wrong_type(_IMAGE, "an object", type_name(value))
    _check_size(_image_size(image), size)
    return image


def _from_object(value: dict[str, Any], file: Files) -> bytes:
    unknown = sorted(value.keys() - {"image_url", "file_id"})
    if unknown:
        raise ApiError.unknown_parameter(f"{_IMAGE}.{unknown[0]}")
    if len(value) != 1:
        message = f"Provide exactly one of 'image_url' or 'file_id' in '{_IMAGE}'."
        raise ApiError.invalid(message, code="invalid_value", param=_IMAGE)
    ((key, text),) = value.items()
    if not isinstance(text, str):
        raise ApiError.wrong_type(f"{_IMAGE}.{key}", "a string", type_name(text))
    return _from_file(text, file) if key == "file_id" else _from_url(text)


def _from_file(file_id: str, file: Files) -> bytes:
    body = file(file_id)
    if body is None:
        message = (
            f"No file with id '{file_id}'. Upload it with POST /v1/files, or send the image or a data: URL."
        )
        raise ApiError.invalid(message, code="file_not_found", param=f"{_IMAGE}.file_id")
    return body


def _from_url(url: str) -> bytes:
    """Decode a data URL, base64 or percent-encoded."""
    if len(url) > _MAX_URL:
        message = f"Invalid 'image_url': expected at most {_MAX_URL} characters, but got {len(url)}."
        raise ApiError.invalid(message, code="string_above_max_length", param=f"{_IMAGE}.image_url")
    header, comma, data = url.partition(",")
    if not header.lower().startswith("data:") or not comma:
        message = "Invalid 'image_url': the sandbox fetches nothing. Send a data: URL, or upload the image."
        raise ApiError.invalid(message, code="invalid_image_url", param=f"{_IMAGE}.image_url")
    if not header.lower().endswith(";base64"):
        return unquote_to_bytes(data)
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        message = f"Invalid 'image_url': not valid base64 ({error})."
        raise ApiError.invalid(message, code="invalid_image_url", param=f"{_IMAGE}.image_url") from error


def _image_size(body: bytes) -> tuple[int, int]:
    """Decode the image completely and return its width and height; this detects a damaged one."""
    try:
        with Image.open(io.BytesIO(body), formats=_FORMATS) as image:
            image.load()
            return image.size
    except (
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        message = (
            f"Invalid image in '{_IMAGE}': expected a jpeg, png or webp file, but it does not decode as one."
        )
        raise ApiError.invalid(message, code="invalid_image_file", param=_IMAGE) from error


def _check_size(measured: tuple[int, int], size: str) -> None:
    if "{}x{}".format(*measured) != size:
        message = "Inpaint image must match the requested width and height"
        raise ApiError.invalid(message, code="image_size_mismatch", param=_IMAGE)


MAX_FILM_S = 20
_VIDEO = "video"
_STEP_S = 4  # every length on offer is a multiple of it
_MP4 = "mp4"
_CHARACTER_S = (2, 4)
_CHARACTER_LINES = (720, 1080)
_WIDE = (16, 9)
_SLACK_S = 0.1  # for the last frame, or sound that ends one packet late


@dataclass(frozen=True)
class Film:
    """An uploaded video that decodes."""

    body: bytes
    width: int
    height: int
    duration_s: float

    @property
    def size(self) -> str:
        """Width and height in the API's format."""
        return f"{self.width}x{self.height}"

    @property
    def whole_seconds(self) -> int:
        """The length of a clip made from it, rounded up to one that the model produces."""
        return max(_STEP_S, math.ceil((self.duration_s - _SLACK_S) / _STEP_S) * _STEP_S)


BLANK = Film(b"", 720, 1280, float(_STEP_S))  # replaces an upload that is not a video, in permissive mode


def read_film(value: Any) -> Film:
    """Measure an uploaded video; raises ApiError."""
    if not isinstance(value, Upload):
        raise ApiError.wrong_type(_VIDEO, "a file", type_name(value))
    try:
        return _measure_film(value.body)
    except (av.FFmpegError, IndexError, StopIteration) as error:
        raise _make_refusal("expected an MP4 file with a picture, but it does not decode as one") from error


def check_source(film: Film, sizes: Iterable[str]) -> None:
    """Refuse a video that cannot be edited or extended; raises ApiError."""
    if film.size not in sizes:
        raise _make_refusal(f"expected {' or '.join(sizes)} pixels, but got {film.size}")
    if film.duration_s > MAX_FILM_S + _SLACK_S:
        raise _make_refusal(f"expected at most {MAX_FILM_S} seconds, but got {film.duration_s:.1f}")


def check_character(film: Film) -> None:
    """Refuse a video that is unsuitable for a character; raises ApiError."""
    shortest, longest = _CHARACTER_S
    if not shortest - _SLACK_S <= film.duration_s <= longest + _SLACK_S:
        raise _make_refusal(f"expected {shortest} to {longest} seconds, but got {film.duration_s:.1f}")
    short, long = sorted((film.width, film.height))
    if short * _WIDE[0] != long * _WIDE[1]:
        raise _make_refusal(f"expected an aspect ratio of 16:9 or 9:16, but got {film.size}")
    if not _CHARACTER_LINES[0] <= short <= _CHARACTER_LINES[1]:
        raise _make_refusal(f"expected 720p to 1080p, but got {film.size}")


def _measure_film(body: bytes) -> Film:
    with av.open(io.BytesIO(body), "r") as container:
        if _MP4 not in container.format.name.split(","):
            raise _make_refusal(f"expected an MP4 file, but got {container.format.long_name}")
        stream = container.streams.video[0]
        frame = next(container.decode(stream))
        return Film(body, frame.width, frame.height, (container.duration or 0) / av.time_base)


def _make_refusal(reason: str) -> ApiError:
    return ApiError.invalid(
        f"Invalid video in '{_VIDEO}': {reason}.", code="invalid_video_file", param=_VIDEO
    )
