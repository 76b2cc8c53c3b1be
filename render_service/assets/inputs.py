"""Input files of a request: their properties, and their contents."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from decision.request.request import SourceFile
from render_service.assets.probe import DURATION_TOLERANCE_MS, MICROSECONDS_PER_MS
from render_service.runtime.errors import BadInput

if TYPE_CHECKING:
    from av.container import InputContainer


MS_PER_SECOND = 1_000
QUICKTIME = "qt"  # the major brand of a .mov; every other brand is an MP4


def read_source_file(path: Path) -> SourceFile:
    """Return the properties of the video at `path`, seconds rounded up; `BadInput` if it is not a video."""
    import av  # slow to load, needed only for videos

    try:
        if not path.is_file() and not path.is_dir() and path.exists():
            raise BadInput(
                f"video {path}: expected a regular file, because it is read more than once; save it first",
                param="video",
                expected="a regular file",
                found="a device or a pipe",
            )
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
    except (av.FFmpegError, IndexError, StopIteration) as error:  # before OSError: FFmpegError may be one
        raise BadInput(
            f"video {path}: expected an MP4 file with a video track, but it does not decode as a video; "
            "convert it first",
            param="video",
            expected="an MP4 file with a video track",
            found="a file that does not decode as a video",
        ) from error
    except OSError as error:
        raise BadInput(
            f"video {path}: cannot be read ({error.strerror}); check the path",
            param="video",
            expected="a file that can be read",
            found=error.strerror,
        ) from error


def _media_type(container: "InputContainer") -> str:
    names = container.format.name.split(",")
    if "mp4" in names:
        is_quicktime = container.metadata.get("major_brand", "").strip() == QUICKTIME
        return "video/quicktime" if is_quicktime else "video/mp4"
    return "video/webm" if "webm" in names else f"video/x-{names[0]}"


def _whole_seconds(duration_us: int) -> int:
    """Round up, ignoring the tenth of a second by which audio may exceed the picture."""
    beyond_ms = duration_us // MICROSECONDS_PER_MS - DURATION_TOLERANCE_MS
    return max(1, -(-beyond_ms // MS_PER_SECOND))


class OriginalFile(NamedTuple):
    """The original file that a fitted image was made from."""

    content: bytes
    media_type: str


@dataclass(frozen=True)
class Material:
    """File contents: the first frame, its original, further images, and the path of the video to edit.

    `further_originals` are the originals of further images, None for an unchanged one; empty if all are
    unchanged.
    """

    reference: bytes | None = None
    original: OriginalFile | None = None
    further: tuple[bytes, ...] = ()
    further_originals: tuple[OriginalFile | None, ...] = ()
    video: Path | None = None


NOTHING = Material()
