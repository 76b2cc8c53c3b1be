"""The first frame of a video, made of an image as people have them: turned, of another size, with metadata.

A camera's rotation (EXIF) is applied, and no metadata is ever sent: where an image came from, when and with
which device is nobody's business. An image that needs none of this is sent byte for byte. One that was
changed is a PNG, which loses nothing, in sRGB and without transparency (black shows through).

==========  ========================================================================================
fit         what becomes of an image of another shape
==========  ========================================================================================
cover       scaled until it fills the frame; what stands out is cut off, equally on both sides
contain     scaled until all of it is inside; the rest is filled with the image itself, blurred
pad         scaled until all of it is inside; the rest is black
==========  ========================================================================================
"""

import hashlib
import io
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from decision.request.request import ReferenceImage
from render_service.assets.inputs import Original
from render_service.assets.probe import opened_image, read_image
from render_service.runtime.errors import BadInput

if TYPE_CHECKING:
    from PIL.Image import Image
from importlib.util import find_spec
from typing import TYPE_CHECKING

from decision.request.attachments import Faces

if TYPE_CHECKING:
    from PIL.Image import Image


LARGEST = 1_280
"""Pixels of the longer side; a larger picture is looked at in this size."""

SMALLEST_PERCENT = 4
"""Of the shorter side; a smaller face is not looked for."""

_SCALE_STEP = 1.1
_NEIGHBOURS = 5
_FRONT = "haarcascade_frontalface_alt2.xml"
_SIDE = "haarcascade_profileface.xml"


def look_for_faces(content: bytes) -> Faces:
    """Return what is found in an image that Pillow can read."""
    if find_spec("cv2") is None:
        return Faces.NOT_CHECKED
    from PIL import ImageOps  # only where an image is given

    with opened_image(io.BytesIO(content)) as image:
        grey = image.convert("L")
    grey.thumbnail((LARGEST, LARGEST))
    sides = (grey, ImageOps.mirror(grey))  # the cascade knows profiles that look to one side
    found = _shows(grey, _FRONT) or any(_shows(side, _SIDE) for side in sides)
    return Faces.FOUND if found else Faces.NONE


def _shows(grey: "Image", cascade: str) -> bool:
    import cv2  # an extra, and slow to load
    import numpy as np  # comes with it

    smallest = max(24, min(grey.size) * SMALLEST_PERCENT // 100)
    classifier = cv2.CascadeClassifier(str(Path(cv2.__file__).parent / "data" / cascade))
    faces = classifier.detectMultiScale(
        np.asarray(grey), _SCALE_STEP, _NEIGHBOURS, minSize=(smallest, smallest)
    )
    return len(faces) > 0


PNG = "image/png"
BLUR_RADIUS = 24
_HARMLESS = frozenset(
    "jfif jfif_version jfif_unit jfif_density dpi adobe adobe_transform progressive progression gamma srgb "
    "chromaticity transparency interlace aspect background loop timestamp duration default_image".split()
)
"""What Pillow reads of an image besides its pixels and says nothing about where it comes from."""
_HARMLESS_SEGMENTS = frozenset({"APP0", "APP14"})  # JFIF and Adobe: how to read the pixels


class Fit(StrEnum):
    """How an image is made to fit a frame."""

    COVER = "cover"
    CONTAIN = "contain"
    PAD = "pad"


@dataclass(frozen=True)
class Frame:
    """An image as it is sent; `original` is the file it was made of, where that is another one."""

    image: ReferenceImage
    content: bytes
    original: Original | None = None


def first_frame(path: Path, size: str | None = None, fit: Fit | None = None) -> Frame:
    """Return the image at `path` as it is sent, with `fit` in exactly `size`; `BadInput` if it is none."""
    content, media_type, width, height = read_image(path)
    changed = _changed(content, size if fit else None, fit)
    if changed is None:
        image = _described(path, content, media_type, (width, height))
        return Frame(image.model_copy(update={"faces": look_for_faces(content)}), content)
    sent = _as_png(changed)
    image = _described(path, sent, PNG, changed.size)
    original = hashlib.sha256(content).hexdigest()
    more = {"original_sha256": original, "faces": look_for_faces(sent)}
    return Frame(image.model_copy(update=more), sent, Original(content, media_type))


def as_found(path: Path) -> Frame:
    """Return the image at `path` as it is, to be recorded and not sent; `BadInput` if it is none."""
    content, media_type, width, height = read_image(path)
    return Frame(_described(path, content, media_type, (width, height)), content)


def _described(path: Path, content: bytes, media_type: str, pixels: tuple[int, int]) -> ReferenceImage:
    return ReferenceImage(
        name=path.name,
        sha256=hashlib.sha256(content).hexdigest(),
        media_type=media_type,
        width=pixels[0],
        height=pixels[1],
        bytes=len(content),
    )


def _changed(content: bytes, size: str | None, fit: Fit | None) -> "Image | None":
    """Return the image upright, without metadata and fitted; None if it may be sent as it is."""
    from PIL import ImageOps  # only who gives an image pays for it

    with opened_image(io.BytesIO(content)) as opened:
        opened.load()
        upright = ImageOps.exif_transpose(opened)
        has_metadata = _has_metadata(opened)
        pixels = _pixels(size) if size else upright.size
        if not has_metadata and upright.size == pixels:
            return None
        plain = _plain(upright)
    return plain if fit is None or plain.size == pixels else _fitted(plain, pixels, fit)


def _pixels(size: str) -> tuple[int, int]:
    width, _, height = size.partition("x")
    return int(width), int(height)


def _has_metadata(image: "Image") -> bool:
    """Say whether the file holds anything but pixels and how to read them."""
    segments = {name for name, _ in getattr(image, "applist", [])}
    chunks = getattr(image, "private_chunks", [])
    return bool(set(image.info) - _HARMLESS or segments - _HARMLESS_SEGMENTS or chunks)


def _plain(image: "Image") -> "Image":
    """Return the pixels alone: in sRGB, nothing transparent, nothing beside them."""
    from PIL import Image, ImageCms

    profile = image.info.get("icc_profile")
    if profile and image.mode in {"RGB", "CMYK", "L"}:
        try:
            inside = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(
                image, inside, ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
        except (ImageCms.PyCMSError, OSError):  # a broken profile: the pixels are what there is
            converted = None
        image = converted or image
    if image.has_transparency_data:
        above = image.convert("RGBA")
        below = Image.new("RGBA", above.size, "black")
        image = Image.alpha_composite(below, above)
    bare = Image.new("RGB", image.size)
    bare.paste(image.convert("RGB"))
    return bare


def _fitted(image: "Image", pixels: tuple[int, int], fit: Fit) -> "Image":
    from PIL import ImageFilter, ImageOps

    if fit is Fit.COVER:
        return ImageOps.fit(image, pixels)
    if fit is Fit.PAD:
        return ImageOps.pad(image, pixels, color="black")
    behind = ImageOps.fit(image, pixels).filter(ImageFilter.GaussianBlur(BLUR_RADIUS))
    inside = ImageOps.contain(image, pixels)
    behind.paste(inside, ((pixels[0] - inside.width) // 2, (pixels[1] - inside.height) // 2))
    return behind


def _as_png(image: "Image") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def read_fit(word: str | None) -> Fit | None:
    """Return the fit called `word`; `BadInput` lists them."""
    if word is None:
        return None
    if word not in set(Fit):
        raise BadInput(f"fit {word}: expected one of {', '.join(Fit)}")
    return Fit(word)
