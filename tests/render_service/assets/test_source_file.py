"""A video file that is given: what is found in it before anything is asked."""

from pathlib import Path

import av
import pytest

from decision.request.request import SourceFile
from ledger.canonical import sha256_hex
from render_service.assets.inputs import read_source_file
from render_service.runtime.errors import BadInput


def film(path: Path, seconds: float, container: str) -> Path:
    """Write a grey film of 64x48, ten pictures a second."""
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream("libvpx" if container == "webm" else "libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(round(seconds * 10)):
            out.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        out.mux(stream.encode())
    return path


def test_a_film_is_described_by_its_bytes_and_pictures(tmp_path: Path, clip: bytes) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(clip)
    assert read_source_file(path) == SourceFile(
        name="clip.mp4",
        sha256=sha256_hex(clip),
        media_type="video/mp4",
        bytes=len(clip),
        size="1280x720",
        seconds=4,
    )


@pytest.mark.parametrize(("lasts", "seconds"), [(0.5, 1), (2.0, 2), (2.1, 2), (2.2, 3), (3.9, 4)])
def test_seconds_are_rounded_up_but_for_a_tenth(tmp_path: Path, lasts: float, seconds: int) -> None:
    assert read_source_file(film(tmp_path / "film.mp4", lasts, "mp4")).seconds == seconds


@pytest.mark.parametrize(
    ("container", "media_type"), [("mp4", "video/mp4"), ("mov", "video/quicktime"), ("webm", "video/webm")]
)
def test_the_kind_of_file_is_recognised_from_its_bytes(
    tmp_path: Path, container: str, media_type: str
) -> None:
    assert read_source_file(film(tmp_path / "film.bin", 1, container)).media_type == media_type


def test_a_picture_is_no_film(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 100)
    with pytest.raises(
        BadInput, match=r"film\.mp4: expected an MP4 file with a video track.*convert it first"
    ):
        read_source_file(path)
