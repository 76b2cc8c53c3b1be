"""Whether a picture shows a human face, as far as OpenCV's cascades can tell: servers refuse such images.

They know faces from the front and from the side, upright, and err both ways; so this warns, unless a policy
says more (`decision.policy`). Without the extra ``faces`` nothing is looked at, and that is what is said.
"""

import io
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from decision.parts import Faces
from render_service.material.media import opened_image

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
    from PIL import ImageOps  # noqa: PLC0415  # only where an image is given

    with opened_image(io.BytesIO(content)) as image:
        grey = image.convert("L")
    grey.thumbnail((LARGEST, LARGEST))
    sides = (grey, ImageOps.mirror(grey))  # the cascade knows profiles that look to one side
    found = _shows(grey, _FRONT) or any(_shows(side, _SIDE) for side in sides)
    return Faces.FOUND if found else Faces.NONE


def _shows(grey: "Image", cascade: str) -> bool:
    import cv2  # noqa: PLC0415  # an extra, and slow to load
    import numpy as np  # noqa: PLC0415  # comes with it

    smallest = max(24, min(grey.size) * SMALLEST_PERCENT // 100)
    classifier = cv2.CascadeClassifier(str(Path(cv2.__file__).parent / "data" / cascade))
    faces = classifier.detectMultiScale(
        np.asarray(grey), _SCALE_STEP, _NEIGHBOURS, minSize=(smallest, smallest)
    )
    return len(faces) > 0
