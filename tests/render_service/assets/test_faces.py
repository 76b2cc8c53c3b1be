"""Faces in reference images: drawn ones, since nobody's photograph belongs into a repository."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFilter

from decision.request.attachments import Faces
from decision.request.request import RenderRequest
from render_service.assets.fit import detect_faces, first_frame

SIZE = (1280, 720)
GREY, SKIN, SOCKET, WHITE, DARK, LIPS = (
    (150, 160, 170),
    (224, 190, 165),
    (170, 130, 110),
    245,
    45,
    (150, 70, 70),
)


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def drawn_face(scale: float = 1.5, at: tuple[int, int] = (640, 360)) -> Image.Image:
    """Draw a head from the front: hair, brows, eyes, nose, mouth."""
    image = Image.new("RGB", SIZE, GREY)
    draw = ImageDraw.Draw(image)

    def box(x: float, y: float, wide: float, high: float) -> tuple[float, float, float, float]:
        left, top = at[0] + (x - wide) * scale, at[1] + (y - high) * scale
        return left, top, left + 2 * wide * scale, top + 2 * high * scale

    draw.ellipse(box(0, -20, 92, 125), fill=(DARK,) * 3)
    draw.ellipse(box(0, 10, 80, 105), fill=SKIN)
    draw.rectangle(box(0, -88, 75, 32), fill=(DARK,) * 3)
    for side in (-33, 33):
        draw.ellipse(box(side, -12, 22, 12), fill=SOCKET)
        draw.ellipse(box(side, -10, 17, 8), fill=(WHITE,) * 3)
        draw.ellipse(box(side, -10, 8, 8), fill=(DARK,) * 3)
        draw.rectangle(box(side, -30, 22, 4), fill=(DARK,) * 3)
    draw.ellipse(box(-8, 32, 5, 3), fill=SOCKET)
    draw.ellipse(box(8, 32, 5, 3), fill=SOCKET)
    draw.ellipse(box(0, 62, 30, 9), fill=LIPS)
    return image.filter(ImageFilter.GaussianBlur(2.5 * scale))


def a_house() -> Image.Image:
    image = Image.new("RGB", SIZE, GREY)
    draw = ImageDraw.Draw(image)
    draw.rectangle((400, 300, 880, 640), fill=(180, 60, 50))
    draw.polygon([(380, 300), (640, 120), (900, 300)], fill=(70, 50, 40))
    draw.rectangle((600, 460, 680, 640), fill=(60, 40, 30))
    return image


@pytest.mark.parametrize("image", [drawn_face(), drawn_face(0.6, (300, 250))], ids=["large", "small"])
def test_a_face_is_found(image: Image.Image) -> None:
    assert detect_faces(png(image)) is Faces.FOUND


@pytest.mark.parametrize("image", [a_house(), Image.new("L", SIZE, 9)], ids=["house", "plain"])
def test_a_picture_without_a_face_has_none(image: Image.Image) -> None:
    assert detect_faces(png(image)) is Faces.NONE


def test_a_picture_of_telephone_size_is_looked_at(tmp_path: Path) -> None:
    assert detect_faces(png(drawn_face().resize((5120, 2880)))) is Faces.FOUND


def test_without_the_extra_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("render_service.assets.fit.find_spec", lambda _: None)
    assert detect_faces(png(drawn_face())) is Faces.NOT_CHECKED


def test_a_first_frame_says_what_was_found(tmp_path: Path) -> None:
    path = tmp_path / "portrait.png"
    path.write_bytes(png(drawn_face()))
    assert first_frame(path).image.faces is Faces.FOUND


def test_what_was_found_is_recorded_with_the_decision(
    tmp_path: Path, request_for: Callable[..., RenderRequest]
) -> None:
    path = tmp_path / "house.png"
    path.write_bytes(png(a_house()))
    request = request_for(input_reference=json.loads(first_frame(path).image.model_dump_json()))
    assert request.input_reference.faces is Faces.NONE
