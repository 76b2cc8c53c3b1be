"""The reference image of a clip: an uploaded file, or an object with a data URL.

Rule: an accepted image is a jpeg, png or webp that decodes completely and has exactly the requested size. It
may be uploaded before (`POST /v1/files`) and named by its id. The sandbox fetches nothing, so http URLs are
refused with a message that says so.
"""

import base64
import binascii
import io
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_to_bytes

from PIL import Image

from sora_adapter.serving.bodies import Upload, type_name
from sora_adapter.serving.errors import ApiError

_PARAM = "input_reference"
_FORMATS = ("JPEG", "PNG", "WEBP")
_MAX_URL = 20_971_520

Files = Callable[[str], bytes | None]
"""Returns the bytes of an uploaded file by its id."""


def read_reference(value: Any, size: str, file: Files) -> bytes:
    """Return the bytes of the image, from `file` if it is named by id; raises ApiError."""
    if isinstance(value, Upload):
        image = value.body
    elif isinstance(value, dict):
        image = _from_object(value, file)
    else:
        raise ApiError.wrong_type(_PARAM, "an object", type_name(value))
    _check_size(_measured(image), size)
    return image


def _from_object(value: dict[str, Any], file: Files) -> bytes:
    unknown = sorted(value.keys() - {"image_url", "file_id"})
    if unknown:
        raise ApiError.unknown_parameter(f"{_PARAM}.{unknown[0]}")
    if len(value) != 1:
        message = f"Provide exactly one of 'image_url' or 'file_id' in '{_PARAM}'."
        raise ApiError.invalid(message, code="invalid_value", param=_PARAM)
    ((key, text),) = value.items()
    if not isinstance(text, str):
        raise ApiError.wrong_type(f"{_PARAM}.{key}", "a string", type_name(text))
    return _from_file(text, file) if key == "file_id" else _from_url(text)


def _from_file(file_id: str, file: Files) -> bytes:
    body = file(file_id)
    if body is None:
        message = (
            f"No file with id '{file_id}'. Upload it with POST /v1/files, or send the image or a data: URL."
        )
        raise ApiError.invalid(message, code="file_not_found", param=f"{_PARAM}.file_id")
    return body


def _from_url(url: str) -> bytes:
    """Decode a data URL, base64 or percent-encoded."""
    if len(url) > _MAX_URL:
        message = f"Invalid 'image_url': expected at most {_MAX_URL} characters, but got {len(url)}."
        raise ApiError.invalid(message, code="string_above_max_length", param=f"{_PARAM}.image_url")
    header, comma, data = url.partition(",")
    if not header.lower().startswith("data:") or not comma:
        message = "Invalid 'image_url': the sandbox fetches nothing. Send a data: URL, or upload the image."
        raise ApiError.invalid(message, code="invalid_image_url", param=f"{_PARAM}.image_url")
    if not header.lower().endswith(";base64"):
        return unquote_to_bytes(data)
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        message = f"Invalid 'image_url': not valid base64 ({error})."
        raise ApiError.invalid(message, code="invalid_image_url", param=f"{_PARAM}.image_url") from error


def _measured(body: bytes) -> tuple[int, int]:
    """Decode the image completely and return its width and height; this detects a damaged one."""
    try:
        with Image.open(io.BytesIO(body), formats=_FORMATS) as image:
            image.load()
            return image.size
    except (
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        message = (
            f"Invalid image in '{_PARAM}': expected a jpeg, png or webp file, but it does not decode as one."
        )
        raise ApiError.invalid(message, code="invalid_image_file", param=_PARAM) from error


def _check_size(measured: tuple[int, int], size: str) -> None:
    if "{}x{}".format(*measured) != size:
        message = "Inpaint image must match the requested width and height"
        raise ApiError.invalid(message, code="image_size_mismatch", param=_PARAM)
