"""Determine the real format of a file: read images before they are sent, and probe downloads.

Pillow and PyAV are imported where they are used, so that commands that only read the ledger start fast.
"""

import io
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ledger.events import Mismatch, Probe
from render_service.runtime.errors import AssetUnusable, BadInput

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("JPEG", "PNG", "WEBP")
IMAGE_TYPES = {"JPEG": "image/jpeg", "MPO": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
"""MPO is Pillow's name for a phone's JPEG that contains a second picture."""

MOST_BYTES = 100_000_000
"""Size limit of a reference image, which is read into memory. Servers accept far less."""

DURATION_TOLERANCE_MS = 100
MICROSECONDS_PER_MS = 1_000


def read_image(path: Path) -> tuple[bytes, str, int, int]:
    """Return content, media type, width and height of a reference image; `BadInput` if it is not an image."""
    from PIL import Image, UnidentifiedImageError

    try:
        content = _content(path)
    except OSError as error:
        is_address = str(path).startswith(("http:/", "https:/"))  # Path collapses the two slashes
        fix = "save it as a file, or give --input-reference-url" if is_address else "check the path"
        raise BadInput(
            f"input reference {path}: cannot be read ({error.strerror}); {fix}",
            param="input_reference",
            expected="a file that can be read",
            found=error.strerror,
        ) from error
    try:
        with open_image(io.BytesIO(content)) as image:
            image.load()
            return content, IMAGE_TYPES[image.format or ""], image.width, image.height
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        most = (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        raise BadInput(
            f"input reference {path}: it has more than {most} million pixels, like a decompression bomb; "
            "scale it down first",
            param="input_reference",
            expected=f"at most {most} million pixels",
            found="more",
        ) from error
    except UnidentifiedImageError as error:
        raise BadInput(
            f"input reference {path}: expected a JPEG, PNG or WebP image, but it is something else; "
            "convert it first",
            param="input_reference",
            expected="a JPEG, PNG or WebP image",
            found="another kind of file",
        ) from error
    except (OSError, SyntaxError, ValueError) as error:
        raise BadInput(
            f"input reference {path}: it is damaged and does not decode ({error}); export or copy it again",
            param="input_reference",
            expected="an image that decodes",
            found=error,
        ) from error


def _content(path: Path) -> bytes:
    """Read a regular file of limited size; a device or a pipe is refused, because it may never end."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        status = os.fstat(file.fileno())
        if stat.S_ISDIR(status.st_mode):
            raise BadInput(
                f"input reference {path}: expected an image file, but it is a folder",
                param="input_reference",
                expected="an image file",
                found="a folder",
            )
        if not stat.S_ISREG(status.st_mode):
            raise BadInput(
                f"input reference {path}: expected a regular file, but it is a device or a pipe; "
                "save the image as a file first",
                param="input_reference",
                expected="a regular file",
                found="a device or a pipe",
            )
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise BadInput(
            f"input reference {path}: expected at most {MOST_BYTES:,} bytes, but it has "
            f"{max(status.st_size, len(content)):,}; scale the image down first",
            param="input_reference",
            expected=f"at most {MOST_BYTES:,} bytes",
            found=f"{max(status.st_size, len(content)):,} bytes",
        )
    return content


@contextmanager
def open_image(source: "Path | io.BytesIO") -> "Iterator[Image]":
    """Open an image, only in one of `FORMATS`: Pillow passes others to programs such as Ghostscript.

    A picture that would exhaust memory raises `DecompressionBombWarning` or `DecompressionBombError`.
    """
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(source, formats=FORMATS) as image:
            yield image


def probe(path: Path, media_type: str) -> Probe:
    """Return the properties of the file at `path`; `AssetUnusable` if it does not decode as `media_type`."""
    try:
        return _probe_image(path) if media_type.startswith("image/") else _probe_video(path)
    except (OSError, ValueError, SyntaxError) as error:
        raise AssetUnusable(
            f"the server sent {media_type} that does not decode ({error}); "
            "the server still has the video: `sora-ledger poll` downloads it again",
            expected=f"a file of the type {media_type}",
            found=error,
        ) from error


def _probe_image(path: Path) -> Probe:
    from PIL import Image, UnidentifiedImageError

    try:
        with open_image(path) as image:
            image.load()
            kind = (image.format or "").lower() or None
            return Probe(width=image.width, height=image.height, video_codec=kind)
    except UnidentifiedImageError as error:
        raise ValueError("it is not a JPEG, PNG or WebP image") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ValueError("it would exhaust memory, like a decompression bomb") from error


_AT_ONCE = {"analyzeduration": "1", "probesize": "32"}
"""The header of an MP4 says everything needed: FFmpeg need not decode frames of every track to guess."""
_MOST_BOXES = 16


def _probe_video(path: Path) -> Probe:
    probed = _decode_first_frame(path, _AT_ONCE) if _is_whole_mp4(path) else None
    return probed if probed is not None and probed.duration_ms else _decode_first_frame(path, {})


def _is_whole_mp4(path: Path) -> bool:
    """Return whether this is an MP4 with one header; a fragmented one's does not state its length."""
    kinds: list[bytes] = []
    at, end = 0, path.stat().st_size
    with path.open("rb") as file:
        while at < end and len(kinds) < _MOST_BOXES:
            file.seek(at)
            header = file.read(16)
            size = int.from_bytes(header[:4], "big")
            size = int.from_bytes(header[8:], "big") if size == 1 else size
            kinds.append(header[4:8])
            at += max(size, 8) if size else end  # the last box may reach to the end of the file
    return len(kinds) < _MOST_BOXES and kinds[:1] == [b"ftyp"] and b"moof" not in kinds


def _decode_first_frame(path: Path, options: dict[str, str]) -> Probe:
    """Decode the first frame, and return what FFmpeg then knows of the file."""
    import av

    try:
        with av.open(str(path), options=options) as container:
            video = container.streams.video[0]
            video.codec_context.thread_count = 1  # starting threads takes longer than one frame
            next(container.decode(video))
            audio = container.streams.audio[0] if container.streams.audio else None
            return Probe(
                width=video.width,
                height=video.height,
                duration_ms=round((container.duration or 0) / MICROSECONDS_PER_MS),
                video_codec=video.codec_context.name,
                audio_codec=audio.codec_context.name if audio else None,
            )
    except av.FFmpegError as error:
        raise ValueError(error.strerror or "it is not a video") from error
    except (IndexError, StopIteration) as error:
        raise ValueError("it has no video track") from error


def mismatches(found: Probe, size: str | None, seconds: int | None) -> tuple[Mismatch, ...]:
    """Return the differences between a probed video and the request."""
    differences = []
    found_size = f"{found.width}x{found.height}"
    if size is not None and found_size != size:
        differences.append(Mismatch(field="size", expected=size, found=found_size))
    if seconds is not None and found.duration_ms is not None:
        expected_ms = seconds * 1_000
        if abs(found.duration_ms - expected_ms) > DURATION_TOLERANCE_MS:
            found_ms = str(found.duration_ms)
            differences.append(Mismatch(field="duration_ms", expected=str(expected_ms), found=found_ms))
    return tuple(differences)
