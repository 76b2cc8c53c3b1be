"""A first frame: upright, without metadata, and of the size that was asked for."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageCms, PngImagePlugin

from decision.request.request import RenderRequest
from ledger.canonical import sha256_hex
from ledger.events import RenderRequested
from render_service.assets.fit import Fit, Frame, as_found, first_frame, read_fit
from render_service.assets.inputs import Material
from render_service.assets.probe import read_image
from render_service.runtime.errors import BadInput
from render_service.session.session import Session
from render_service.submission.submit import place
from tests.render_service.conftest import LastEvent

ORIENTATION, MAKE = 0x0112, 0x010F
TURNED = 6  # as a telephone held upright writes it
RED, GREEN = (220, 30, 30), (30, 200, 30)


@pytest.fixture
def picture_file(tmp_path: Path) -> Callable[..., Path]:
    """Write an image: red on the left, green on the right."""

    def write(kind: str = "JPEG", size: tuple[int, int] = (400, 200), **saved: Any) -> Path:
        image = Image.new("RGB", size, RED)
        image.paste(GREEN, (size[0] // 2, 0, *size))
        path = tmp_path / f"picture.{kind.lower()}"
        image.save(path, kind, **saved)
        return path

    return write


def exif(**tags: Any) -> Image.Exif:
    made = Image.Exif()
    for name, value in tags.items():
        made[{"orientation": ORIENTATION, "make": MAKE}[name]] = value
    return made


def opened(frame: Frame) -> Image.Image:
    return Image.open(io.BytesIO(frame.content))


def is_near(found: Any, colour: tuple[int, int, int]) -> bool:
    return all(abs(one - other) < 20 for one, other in zip(found, colour, strict=True))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_an_image_that_needs_nothing_is_sent_byte_for_byte(
    picture_file: Callable[..., Path], kind: str
) -> None:
    path = picture_file(kind)
    frame = first_frame(path)
    assert (frame.content, frame.original, frame.image.original_sha256) == (path.read_bytes(), None, None)


def test_a_rotation_is_applied(picture_file: Callable[..., Path]) -> None:
    frame = first_frame(picture_file(exif=exif(orientation=TURNED)))
    assert (frame.image.width, frame.image.height) == (200, 400)
    assert is_near(opened(frame).getpixel((100, 50)), RED)
    assert is_near(opened(frame).getpixel((100, 350)), GREEN)


TEXT = PngImagePlugin.PngInfo()
TEXT.add_text("Author", "ana")
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize(
    ("kind", "saved"),
    [
        ("JPEG", {"exif": exif(make="a camera")}),
        ("JPEG", {"comment": "where it was"}),
        ("JPEG", {"xmp": XMP}),
        ("JPEG", {"icc_profile": PROFILE}),
        ("PNG", {"exif": exif(make="a camera")}),
        ("PNG", {"pnginfo": TEXT}),
        ("WEBP", {"exif": exif(make="a camera")}),
        ("WEBP", {"xmp": XMP}),
    ],
)
def test_metadata_is_not_sent(picture_file: Callable[..., Path], kind: str, saved: dict[str, Any]) -> None:
    frame = first_frame(picture_file(kind, **saved))
    sent = opened(frame)
    sent.load()
    assert (sent.format, sent.size, dict(sent.getexif()), sent.info) == ("PNG", (400, 200), {}, {})
    assert is_near(sent.getpixel((100, 100)), RED)


def test_a_changed_image_names_both_digests(picture_file: Callable[..., Path]) -> None:
    path = picture_file(comment="where it was")
    frame = first_frame(path)
    assert frame.image.original_sha256 == sha256_hex(path.read_bytes())
    assert frame.image.sha256 == sha256_hex(frame.content)
    assert frame.original
    assert frame.original.content == path.read_bytes()


@pytest.mark.parametrize("fit", list(Fit))
@pytest.mark.parametrize("size", ["1280x720", "720x1280"])
def test_a_fitted_image_has_exactly_the_size(picture_file: Callable[..., Path], fit: Fit, size: str) -> None:
    frame = first_frame(picture_file(), size, fit)
    assert f"{frame.image.width}x{frame.image.height}" == size
    assert "{}x{}".format(*opened(frame).size) == size


def test_without_fit_the_size_stays(picture_file: Callable[..., Path]) -> None:
    assert first_frame(picture_file(), "1280x720").image.width == 400


def test_an_image_of_the_size_is_not_made_again_by_fit(picture_file: Callable[..., Path]) -> None:
    path = picture_file(size=(1280, 720))
    assert first_frame(path, "1280x720", Fit.COVER).content == path.read_bytes()


def test_cover_cuts_off_what_stands_out(picture_file: Callable[..., Path]) -> None:
    sent = opened(first_frame(picture_file(), "720x1280", Fit.COVER))
    assert is_near(sent.getpixel((10, 10)), RED)
    assert is_near(sent.getpixel((710, 1270)), GREEN)


def test_pad_leaves_black(picture_file: Callable[..., Path]) -> None:
    sent = opened(first_frame(picture_file(), "720x1280", Fit.PAD))
    assert (sent.getpixel((10, 10)), is_near(sent.getpixel((10, 640)), RED)) == ((0, 0, 0), True)


def test_contain_fills_with_the_image_itself(picture_file: Callable[..., Path]) -> None:
    sent = opened(first_frame(picture_file(), "720x1280", Fit.CONTAIN))
    assert is_near(sent.getpixel((10, 10)), RED)
    assert is_near(sent.getpixel((10, 640)), RED)


def test_what_is_transparent_becomes_black(tmp_path: Path) -> None:
    path = tmp_path / "glass.png"
    Image.new("RGBA", (10, 10), (255, 255, 255, 0)).save(path)
    sent = opened(first_frame(path, "1280x720", Fit.COVER))
    assert (sent.mode, sent.getpixel((5, 5))) == ("RGB", (0, 0, 0))


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "CMYK", "I;16"])
def test_every_kind_of_pixel_can_be_fitted(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "image"
    Image.new(mode, (64, 64)).save(path, "JPEG" if mode == "CMYK" else "PNG")
    assert opened(first_frame(path, "1280x720", Fit.PAD)).size == (1280, 720)


def test_a_broken_colour_profile_costs_only_itself(picture_file: Callable[..., Path]) -> None:
    assert opened(first_frame(picture_file(icc_profile=b"no profile"))).info == {}


def test_a_telephones_two_pictures_in_one_file_are_its_first(tmp_path: Path) -> None:
    path = tmp_path / "telephone.jpg"
    first, second = Image.new("RGB", (64, 48), RED), Image.new("RGB", (64, 48), GREEN)
    first.save(path, "MPO", save_all=True, append_images=[second])
    assert read_image(path)[1:] == ("image/jpeg", 64, 48)
    assert is_near(opened(first_frame(path)).getpixel((5, 5)), RED)


def test_an_image_that_is_only_recorded_stays_as_it_is(picture_file: Callable[..., Path]) -> None:
    path = picture_file(exif=exif(make="a camera", orientation=TURNED))
    assert as_found(path).content == path.read_bytes()


def test_a_fit_that_does_not_exist_lists_those_that_do() -> None:
    with pytest.raises(BadInput, match="fit stretch: expected one of cover, contain, pad"):
        read_fit("stretch")


@pytest.mark.anyio
async def test_original_and_derived_image_are_both_kept(
    session: Session,
    request_for: Callable[..., RenderRequest],
    picture_file: Callable[..., Path],
    event: LastEvent,
) -> None:
    path = picture_file()
    frame = first_frame(path, "1280x720", Fit.COVER)
    material = Material(reference=frame.content, original=frame.original)
    placed = await place(session, request_for(input_reference=frame.image), material)
    kept = event(placed.job, RenderRequested).input_reference
    assert session.assets.path(kept.storage_uri).read_bytes() == frame.content
    original = session.assets.folder / "sha256" / kept.original_sha256[:2] / f"{kept.original_sha256}.jpg"
    assert original.read_bytes() == path.read_bytes()
