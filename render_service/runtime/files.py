"""Files that a person names: read whole within a limit, written whole or not at all."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from render_service.runtime.errors import BadInput, StorageFailed


def read_file(path: Path, what: str, limit: int) -> bytes:
    """Return the bytes of the file at `path`, which is to be `what`; `BadInput` says why not."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise BadInput(f"{what} {path}: cannot be read ({error.strerror}); name another file") from error
    if len(data) > limit:
        raise BadInput(f"{what} {path}: it has more than {limit} bytes, so it is none; name another file")
    return data


def write_file(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all, durable on return."""
    if path.is_dir():
        raise BadInput(f"{path}: it is a folder; name a file in it")
    if not path.parent.is_dir():
        raise BadInput(f"{path}: the folder {path.parent} does not exist; make it first")
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
            f"{path}: cannot be written ({error.strerror}); nothing half-written is left"
        ) from error
