"""A video file that is given: hashed and looked into before anything is asked of a server."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from decision.request import SourceFile
from render_service.errors import BadInput
from render_service.material.media import DURATION_TOLERANCE_MS, MICROSECONDS_PER_MS

if TYPE_CHECKING:
    from av.container import InputContainer

MS_PER_SECOND = 1_000
QUICKTIME = "qt"  # the major brand of a .mov; everything else of its family is an MP4


def read_source_file(path: Path) -> SourceFile:
    """Return what the video at `path` is, `BadInput` if it is none; its seconds are rounded up."""
    import av  # noqa: PLC0415  # only who gives a video pays for it

    try:
        if not path.is_file() and not path.is_dir() and path.exists():
            raise BadInput(f"video {path}: it is no regular file, and is read more than once; save it first")
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        with av.open(str(path)) as container:
            next(container.decode(video=0))
            return SourceFile(
                name=path.name,
                sha256=sha256,
                media_type=_media_type(container),
                bytes=path.stat().st_size,
                size=f"{container.streams.video[0].width}x{container.streams.video[0].height}",
                seconds=_whole_seconds(container.duration or 0),
            )
    except (av.FFmpegError, IndexError, StopIteration) as error:  # first: FFmpeg's may be OSErrors as well
        raise BadInput(
            f"video {path}: expected an MP4 file with a picture, but it does not decode as a video; "
            "convert it first"
        ) from error
    except OSError as error:
        raise BadInput(f"video {path}: cannot be read ({error.strerror}); check the path") from error


def _media_type(container: "InputContainer") -> str:
    names = container.format.name.split(",")
    if "mp4" in names:
        is_quicktime = container.metadata.get("major_brand", "").strip() == QUICKTIME
        return "video/quicktime" if is_quicktime else "video/mp4"
    return "video/webm" if "webm" in names else f"video/x-{names[0]}"


def _whole_seconds(duration_us: int) -> int:
    """Round up, but for the tenth of a second that sound may end later than the picture."""
    beyond_ms = duration_us // MICROSECONDS_PER_MS - DURATION_TOLERANCE_MS
    return max(1, -(-beyond_ms // MS_PER_SECOND))
