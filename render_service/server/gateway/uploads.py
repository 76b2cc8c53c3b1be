"""Client uploads: written to a temporary folder of the request while they arrive, then checked."""

import base64
import binascii
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar
from urllib.parse import unquote_to_bytes

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from decision.request.request import SourceFile
from render_service.assets.fit import Frame, first_frame
from render_service.assets.inputs import read_source_file
from render_service.runtime.errors import BadInput
from sora_adapter.serving.bodies import FilePart, media_type_of
from sora_adapter.serving.errors import ApiError

MAX_JSON_BYTES = 32 * 1024 * 1024
MAX_FORM_BYTES = 512 * 1024 * 1024
"""Maximum body sizes: a form may contain a video to edit."""

_NAME_CHARACTERS = 200

T = TypeVar("T")


@dataclass(frozen=True)
class Uploaded(FilePart):
    """A file of a request, in its folder."""

    path: Path


class Uploads:
    """The files of one request; the folder is made for the first file and deleted by `close`."""

    def __init__(self) -> None:
        self._folder: TemporaryDirectory[str] | None = None
        self._count = 0

    async def keep(self, file: UploadFile) -> Uploaded:
        """Keep an upload until `close`."""
        return await run_in_threadpool(self._keep, file)

    def _keep(self, file: UploadFile) -> Uploaded:
        path = self._next_path()
        with path.open("wb") as target:
            shutil.copyfileobj(file.file, target)
        return Uploaded(_printable(file.filename or "upload"), media_type_of(file), path)

    def keep_data_url(self, url: str, param: str) -> Uploaded:
        """Keep the content of a ``data:`` URL; raises `ApiError` if it is not one."""
        head, comma, data = url[len("data:") :].partition(",")
        media_type = head.partition(";")[0].lower()
        try:
            is_base64 = head.lower().endswith(";base64")
            content = base64.b64decode(data, validate=True) if is_base64 else unquote_to_bytes(data)
        except (binascii.Error, ValueError) as error:
            message = f"Invalid '{param}': the data URL is not valid base64 ({error})."
            raise ApiError.invalid(
                message, code="invalid_image_url", param=param, expected="valid base64", found=error
            ) from error
        if not comma:
            message = f"Invalid '{param}': expected data:image/png;base64, and the image behind it."
            raise ApiError.invalid(
                message,
                code="invalid_image_url",
                param=param,
                expected="data:image/png;base64, and the image behind it",
                found="no image",
            )
        path = self._next_path()
        path.write_bytes(content)
        return Uploaded("image", media_type, path)

    def _next_path(self) -> Path:
        if self._folder is None:
            self._folder = TemporaryDirectory(prefix="sora-ledger-upload-")
        self._count += 1
        return Path(self._folder.name) / f"file-{self._count}"

    async def close(self) -> None:
        """Delete the files."""
        if self._folder is not None:
            await run_in_threadpool(self._folder.cleanup)


def _printable(name: str) -> str:
    """Return a client's file name in a form that can be recorded and sent on."""
    printable = "".join(letter for letter in name if letter.isprintable())
    return printable.encode(errors="ignore").decode()[-_NAME_CHARACTERS:] or "upload"


def read_frame(file: Uploaded, param: str = "input_reference") -> Frame:
    """Return an uploaded image as sent; raises `ApiError` if it is not an image."""
    frame = _checked(file, first_frame, param, "invalid_image_file")
    named = frame.image.model_copy(update={"name": file.name})
    return Frame(named, frame.content, frame.original)


def read_film(file: Uploaded) -> SourceFile:
    """Return the properties of an uploaded video; raises `ApiError` if it is not a video."""
    film = _checked(file, read_source_file, "video", "invalid_video_file")
    return film.model_copy(update={"name": file.name})


def _checked(file: Uploaded, read: Callable[[Path], T], param: str, code: str) -> T:
    try:
        return read(file.path)
    except BadInput as refused:
        message = str(refused).replace(str(file.path), repr(file.name))
        raise ApiError.invalid(
            message, code=code, param=param, expected=refused.expected, found=refused.found
        ) from refused
