"""Prepare an image as the first frame of a video: upright, at the video's size, without metadata.

The EXIF rotation of a camera is applied, and no metadata is ever sent, because place, time and device of an
image are private. An image that needs no change is sent unmodified. A changed image is sent as a PNG, which
is lossless, in sRGB and without transparency (on black).

==========  ========================================================================================
fit         effect on an image with another aspect ratio
==========  ========================================================================================
cover       scaled to fill the frame; the excess is cropped, equally on both sides
contain     scaled to fit inside the frame; the rest is filled with a blurred copy of the image
pad         scaled to fit inside the frame; the rest is black
==========  ========================================================================================
"""

import hashlib
import io
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from decision.request.request import ReferenceImage
from render_service.assets.inputs import OriginalFile
from render_service.assets.probe import open_image, read_image
from render_service.runtime.errors import BadInput

if TYPE_CHECKING:
    from PIL.Image import Image
from importlib.util import find_spec
from typing import TYPE_CHECKING

from decision.request.attachments import Faces

if TYPE_CHECKING:
    from PIL.Image import Image


LARGEST = 1_280
"""Longer side in pixels; larger images are scaled down to this for face detection."""

SMALLEST_PERCENT = 4
"""Size of the smallest face to detect, in percent of the shorter side."""

_SCALE_STEP = 1.1
_NEIGHBOURS = 5
_FRONT = "haarcascade_frontalface_alt2.xml"
_SIDE = "haarcascade_profileface.xml"


def detect_faces(content: bytes) -> Faces:
    """Return whether an image that Pillow can read shows a face."""
    if find_spec("cv2") is None:
        return Faces.NOT_CHECKED
    from PIL import ImageOps  # slow to load, needed only for images

    with open_image(io.BytesIO(content)) as image:
        grey = image.convert("L")
    darkest, lightest = grey.getextrema()
    if darkest == lightest:  # a plain colour: nothing to look for, and cv2 need not be loaded
        return Faces.NONE
    grey.thumbnail((LARGEST, LARGEST))
    sides = (grey, ImageOps.mirror(grey))  # the cascade detects profiles facing one side only
    has_faces = _detects(grey, _FRONT) or any(_detects(side, _SIDE) for side in sides)
    return Faces.FOUND if has_faces else Faces.NONE


def _detects(grey: "Image", cascade: str) -> bool:
    import cv2  # an extra, and slow to load
    import numpy as np  # installed with cv2

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
"""Image properties that Pillow reports in addition to the pixels and that reveal nothing about the origin."""
_HARMLESS_SEGMENTS = frozenset({"APP0", "APP14"})  # JFIF and Adobe: how to decode the pixels


class Fit(StrEnum):
    """The way an image is fitted to a frame."""

    COVER = "cover"
    CONTAIN = "contain"
    PAD = "pad"


@dataclass(frozen=True)
class Frame:
    """An image as sent; `original` is the file it was made from, if it was changed."""

    image: ReferenceImage
    content: bytes
    original: OriginalFile | None = None


def first_frame(path: Path, size: str | None = None, fit: Fit | None = None) -> Frame:
    """Return the image at `path` as sent, with `fit` at exactly `size`; `BadInput` if it is not an image."""
    content, media_type, width, height = read_image(path)
    changed = _transform(content, size if fit else None, fit)
    if changed is None:
        image = _describe(path, content, media_type, (width, height))
        return Frame(image.model_copy(update={"faces": detect_faces(content)}), content)
    sent = _as_png(changed)
    image = _describe(path, sent, PNG, changed.size)
    original = hashlib.sha256(content).hexdigest()
    more = {"original_sha256": original, "faces": detect_faces(sent)}
    return Frame(image.model_copy(update=more), sent, OriginalFile(content, media_type))


def as_found(path: Path) -> Frame:
    """Return the unchanged image at `path`, to be recorded but not sent; `BadInput` if it is not an image."""
    content, media_type, width, height = read_image(path)
    return Frame(_describe(path, content, media_type, (width, height)), content)


def _describe(path: Path, content: bytes, media_type: str, pixels: tuple[int, int]) -> ReferenceImage:
    return ReferenceImage(
        name=path.name,
        sha256=hashlib.sha256(content).hexdigest(),
        media_type=media_type,
        width=pixels[0],
        height=pixels[1],
        bytes=len(content),
    )


def _transform(content: bytes, size: str | None, fit: Fit | None) -> "Image | None":
    """Return the image upright, without metadata and fitted; None if it can be sent unchanged."""
    from PIL import ImageOps  # slow to load, needed only for images

    with open_image(io.BytesIO(content)) as opened:
        opened.load()
        upright = ImageOps.exif_transpose(opened)
        has_metadata = _has_metadata(opened)
        pixels = _pixels(size) if size else upright.size
        if not has_metadata and upright.size == pixels:
            return None
        plain = _strip_metadata(upright)
    return plain if fit is None or plain.size == pixels else _fit_to(plain, pixels, fit)


def _pixels(size: str) -> tuple[int, int]:
    width, _, height = size.partition("x")
    return int(width), int(height)


def _has_metadata(image: "Image") -> bool:
    """Return whether the file contains anything besides the pixels and how to decode them."""
    segments = {name for name, _ in getattr(image, "applist", [])}
    chunks = getattr(image, "private_chunks", [])
    return bool(set(image.info) - _HARMLESS or segments - _HARMLESS_SEGMENTS or chunks)


def _strip_metadata(image: "Image") -> "Image":
    """Return only the pixels: in sRGB, opaque, without metadata."""
    from PIL import Image, ImageCms

    profile = image.info.get("icc_profile")
    if profile and image.mode in {"RGB", "CMYK", "L"}:
        try:
            inside = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(
                image, inside, ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
        except (ImageCms.PyCMSError, OSError):  # a broken profile: use the pixels unconverted
            converted = None
        image = converted or image
    if image.has_transparency_data:
        above = image.convert("RGBA")
        below = Image.new("RGBA", above.size, "black")
        image = Image.alpha_composite(below, above)
    bare = Image.new("RGB", image.size)
    bare.paste(image.convert("RGB"))
    return bare


def _fit_to(image: "Image", pixels: tuple[int, int], fit: Fit) -> "Image":
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
    """Return the fit called `word`; `BadInput` lists the valid ones."""
    if word is None:
        return None
    if word not in set(Fit):
        raise BadInput(
            f"fit {word}: expected one of {', '.join(Fit)}",
            param="fit",
            expected=f"one of {', '.join(Fit)}",
            found=word,
        )
    return Fit(word)
