"""Measure uploaded videos before they are used.

A video for a character must be an MP4 of 2 to 4 seconds, 16:9 or 9:16, 720p to 1080p. A video to be edited or
extended must be an MP4 of a size that the model produces, at most as long as the longest clip it produces.
"""

import io
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import av

from sora_adapter.serving.bodies import Upload, type_name
from sora_adapter.serving.errors import ApiError

MAX_FILM_S = 20
_PARAM = "video"
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
        """The length of a clip made from it: rounded up to one that the model produces."""
        return max(_STEP_S, math.ceil((self.duration_s - _SLACK_S) / _STEP_S) * _STEP_S)


BLANK = Film(b"", 720, 1280, float(_STEP_S))  # replaces an upload that is not a video, in permissive mode


def read_film(value: Any) -> Film:
    """Measure an uploaded video; raises ApiError."""
    if not isinstance(value, Upload):
        raise ApiError.wrong_type(_PARAM, "a file", type_name(value))
    try:
        return _measured(value.body)
    except (av.FFmpegError, IndexError, StopIteration) as error:
        raise _refused("expected an MP4 file with a picture, but it does not decode as one") from error


def check_source(film: Film, sizes: Iterable[str]) -> None:
    """Refuse a video that cannot be edited or extended; raises ApiError."""
    if film.size not in sizes:
        raise _refused(f"expected {' or '.join(sizes)} pixels, but got {film.size}")
    if film.duration_s > MAX_FILM_S + _SLACK_S:
        raise _refused(f"expected at most {MAX_FILM_S} seconds, but got {film.duration_s:.1f}")


def check_character(film: Film) -> None:
    """Refuse a video that is unsuitable for a character; raises ApiError."""
    shortest, longest = _CHARACTER_S
    if not shortest - _SLACK_S <= film.duration_s <= longest + _SLACK_S:
        raise _refused(f"expected {shortest} to {longest} seconds, but got {film.duration_s:.1f}")
    short, long = sorted((film.width, film.height))
    if short * _WIDE[0] != long * _WIDE[1]:
        raise _refused(f"expected an aspect ratio of 16:9 or 9:16, but got {film.size}")
    if not _CHARACTER_LINES[0] <= short <= _CHARACTER_LINES[1]:
        raise _refused(f"expected 720p to 1080p, but got {film.size}")


def _measured(body: bytes) -> Film:
    with av.open(io.BytesIO(body), "r") as container:
        if _MP4 not in container.format.name.split(","):
            raise _refused(f"expected an MP4 file, but got {container.format.long_name}")
        stream = container.streams.video[0]
        frame = next(container.decode(stream))
        return Film(body, frame.width, frame.height, (container.duration or 0) / av.time_base)


def _refused(reason: str) -> ApiError:
    return ApiError.invalid(
        f"Invalid video in '{_PARAM}': {reason}.", code="invalid_video_file", param=_PARAM
    )
