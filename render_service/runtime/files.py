"""Files named by a person: read completely within a limit, written completely or not at all; and names."""

import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ledger.private_files import OPEN, NewFile
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


def check_folder_of(path: Path, what: str, param: str) -> None:
    """Raise `BadInput` unless the parent folder of `path` exists; `what` describes the file."""
    if not path.parent.is_dir():
        raise BadInput(
            f"{what} {path}: the folder {path.parent} does not exist; create it first",
            param=param,
            expected="a folder that exists",
            found="no such folder",
        )


def write_file(path: Path, data: bytes) -> None:
    """Write `data` to `path`, completely or not at all; durable on return."""
    if path.is_dir():
        raise BadInput(
            f"{path}: it is a folder; name a file in it", param="out", expected="a file", found="a folder"
        )
    check_folder_of(path, "output file", "out")
    with _writing(path, "output file", "out"), NewFile(path, mode=OPEN) as file:
        file.write(data)
        file.replace()


def write_secret(path: Path, data: bytes, what: str, param: str) -> None:
    """Write `data` to the new file `path`, which only its owner can read; nothing is ever replaced.

    The file is complete and durable on return. A crash before that leaves at most a hidden ``.part`` file.
    """
    check_folder_of(path, what, param)
    with _writing(path, what, param), NewFile(path) as file:
        file.write(data)
        try:
            file.link()
        except FileExistsError:
            raise BadInput(
                f"{what} {path}: it already exists and is never replaced; name another",
                param=param,
                expected="a new name",
                found="a file of this name",
            ) from None


@contextmanager
def _writing(path: Path, what: str, param: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageFailed(
            f"{what} {path}: cannot be written ({error.strerror}); nothing half-written is left",
            param=param,
            expected="a place that can be written",
            found=error.strerror,
        ) from error


def slug(prompt: str) -> str:
    """Return the words of `prompt` as a file name: letters and digits of any script, joined by hyphens."""
    words = _NOT_A_WORD.sub("-", unicodedata.normalize("NFKC", prompt).casefold()).strip("-_")
    cut = words.encode()[: SLUG_CHARACTERS * 2].decode(errors="ignore")[:SLUG_CHARACTERS].strip("-_")
    return cut or "prompt"
