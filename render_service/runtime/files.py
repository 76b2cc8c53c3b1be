"""Files named by a person: read completely within a limit, written completely or not at all; and names."""

import os
import re
import tempfile
import unicodedata
from contextlib import suppress
from pathlib import Path

from render_service.runtime.errors import BadInput, StorageFailed

SLUG_CHARACTERS = 40
_NOT_A_WORD = re.compile(r"[^\w]+")


def read_file(path: Path, what: str, limit: int) -> bytes:
    """Return the bytes of the file at `path`, described as `what`; `BadInput` says why it cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise BadInput(
            f"{what} {path}: cannot be read ({error.strerror}); name another file",
            param=what,
            expected="a file that can be read",
            found=error.strerror,
        ) from error
    if len(data) > limit:
        raise BadInput(
            f"{what} {path}: expected at most {limit} bytes; name another file",
            param=what,
            expected=f"at most {limit} bytes",
            found="more",
        )
    return data


def write_file(path: Path, data: bytes) -> None:
    """Write `data` to `path`, completely or not at all; durable on return."""
    if path.is_dir():
        raise BadInput(
            f"{path}: it is a folder; name a file in it", param="out", expected="a file", found="a folder"
        )
    if not path.parent.is_dir():
        raise BadInput(
            f"{path}: the folder {path.parent} does not exist; create it first",
            param="out",
            expected="a folder that exists",
            found="no such folder",
        )
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), 0o644)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except OSError as error:
        if temporary:
            with suppress(OSError):
                Path(temporary).unlink()
        raise StorageFailed(
            f"{path}: cannot be written ({error.strerror}); nothing half-written is left",
            param="out",
            expected="a place that can be written",
            found=error.strerror,
        ) from error


def slug(prompt: str) -> str:
    """Return the words of `prompt` as a file name: letters and digits of any script, joined by hyphens."""
    words = _NOT_A_WORD.sub("-", unicodedata.normalize("NFKC", prompt).casefold()).strip("-_")
    cut = words.encode()[: SLUG_CHARACTERS * 2].decode(errors="ignore")[:SLUG_CHARACTERS].strip("-_")
    return cut or "prompt"
