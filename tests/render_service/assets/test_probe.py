"""What a file really is."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from ledger.events import Probe
from render_service.assets.probe import MOST_BYTES, mismatches, probe, read_image
from render_service.runtime.errors import AssetUnusable, BadInput


@pytest.fixture
def film(media: Path) -> Path:
    return media / "cached-1280x720-4s.mp4"


@pytest.mark.parametrize(
    ("kind", "media_type"), [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp")]
)
def test_an_image_is_what_its_bytes_say_whatever_its_name(
    tmp_path: Path, picture: Callable[..., bytes], kind: str, media_type: str
) -> None:
    path = tmp_path / "image.txt"
    path.write_bytes(picture((64, 48), kind))
    assert read_image(path)[1:] == (media_type, 64, 48)


def test_text_called_png_is_refused_with_what_is_expected(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_text("this is text")
    with pytest.raises(BadInput, match=r"picture\.png: expected a JPEG, PNG or WebP image.*convert it first"):
        read_image(path)


@pytest.mark.parametrize("side", [10_000, 20_000], ids=["suspicious", "certain"])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path: Path, side: int) -> None:
    path = tmp_path / "bomb.png"
    Image.new("1", (side, side)).save(path)
    with pytest.raises(BadInput, match="89 million pixels, like a decompression bomb; scale it down"):
        read_image(path)


def test_half_an_image_is_refused(tmp_path: Path, picture: Callable[..., bytes]) -> None:
    path = tmp_path / "half.jpg"
    content = picture((640, 480), "JPEG")
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(BadInput, match=r"it is damaged and does not decode \(.*truncated.*\); export"):
        read_image(path)


def test_another_format_is_refused(tmp_path: Path, picture: Callable[..., bytes]) -> None:
    path = tmp_path / "image.gif"
    path.write_bytes(picture((8, 8), "GIF"))
    with pytest.raises(BadInput, match="expected a JPEG, PNG or WebP"):
        read_image(path)


def test_a_missing_image_says_to_check_the_path(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"cannot be read \(No such file or directory\); check the path"):
        read_image(tmp_path / "nowhere.png")


def test_an_address_says_where_addresses_are_given() -> None:
    with pytest.raises(BadInput, match="save it as a file, or give --input-reference-url"):
        read_image(Path("https://example.com/fox.png"))


def test_a_video_is_probed_for_size_length_and_codecs(film: Path) -> None:
    assert probe(film, "video/mp4") == Probe(
        width=1280, height=720, duration_ms=4_000, video_codec="h264", audio_codec="aac"
    )


def test_an_image_is_probed_for_its_size(tmp_path: Path, picture: Callable[..., bytes]) -> None:
    path = tmp_path / "image.webp"
    path.write_bytes(picture((64, 48), "WEBP"))
    found = probe(path, "image/webp")
    assert (found.width, found.height, found.video_codec) == (64, 48, "webp")


@pytest.mark.parametrize("media_type", ["video/mp4", "image/webp"])
@pytest.mark.parametrize("content", [b"", b"not at all", b"\0" * 4_096])
def test_bytes_that_do_not_decode_are_unusable(tmp_path: Path, media_type: str, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    why = r"(it is not a JPEG, PNG or WebP image|Invalid data [\w ]+)"
    said = rf"the server sent {media_type} that does not decode \({why}\);"
    with pytest.raises(AssetUnusable, match=said):
        probe(path, media_type)


def test_half_a_video_is_unusable(tmp_path: Path, film: Path) -> None:
    path = tmp_path / "half.mp4"
    path.write_bytes(film.read_bytes()[:20_000])
    with pytest.raises(AssetUnusable):
        probe(path, "video/mp4")


FOUND = Probe(width=1280, height=720, duration_ms=4_040)


@pytest.mark.parametrize(
    ("size", "seconds", "fields"),
    [
        ("1280x720", 4, []),
        ("720x1280", 4, ["size"]),
        ("1280x720", 8, ["duration_ms"]),
        ("720x1280", 8, ["size", "duration_ms"]),
        (None, None, []),
    ],
)
def test_what_differs_from_the_request_is_named(
    size: str | None, seconds: int | None, fields: list[str]
) -> None:
    assert [mismatch.field for mismatch in mismatches(FOUND, size, seconds)] == fields


@pytest.mark.parametrize(("duration_ms", "differs"), [(3_900, False), (3_899, True), (4_101, True)])
def test_a_tenth_of_a_second_is_no_mismatch(duration_ms: int, differs: bool) -> None:  # noqa: FBT001  # a table
    found = Probe(width=1280, height=720, duration_ms=duration_ms)
    assert bool(mismatches(found, "1280x720", 4)) is differs


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(BadInput, match="expected a regular file, but it is a device or a pipe"):
        read_image(path)


def test_a_device_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="/dev/zero: expected a regular file"):
        read_image(Path("/dev/zero"))


def test_an_image_file_too_large_to_be_held_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    with path.open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(
        BadInput, match=f"expected at most {MOST_BYTES:,} bytes, but it has {MOST_BYTES + 1:,}"
    ):
        read_image(path)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\nshowpage\n%%EOF\n"


def test_no_program_is_run_for_an_image_that_a_server_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = tmp_path / "started"
    ghostscript = tmp_path / "gs"
    ghostscript.write_text(f"#!/bin/sh\ntouch {started}\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    path = tmp_path / "thumbnail.webp"
    path.write_bytes(EPS)
    with pytest.raises(AssetUnusable, match="it is not a JPEG, PNG or WebP image"):
        probe(path, "image/webp")
    assert not started.exists()


@pytest.mark.parametrize("side", [10_000, 20_000], ids=["suspicious", "certain"])
def test_an_image_of_a_server_that_would_fill_the_memory_is_unusable(tmp_path: Path, side: int) -> None:
    path = tmp_path / "thumbnail.webp"
    Image.new("1", (side, side)).save(path, "PNG")
    with pytest.raises(AssetUnusable, match="it would exhaust memory"):
        probe(path, "image/webp")
