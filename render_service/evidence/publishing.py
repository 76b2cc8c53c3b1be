"""Publishing a few bytes where others fetch them: a file, or an object in S3, GCS or Azure."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ledger.tree.checkpoint import MAX_NOTE_BYTES
from render_service.assets.bucket import SCHEMES, store_and_key
from render_service.runtime.errors import BadInput, StorageFailed
from render_service.runtime.files import read_file, write_file


def publish(target: str, data: bytes, replacing: Callable[[bytes], bytes]) -> tuple[str, bytes]:
    """Put `data` at `target`, whole or not at all; return where that is as a URI, and what was put there.

    `target` is a path, ``file:///path``, ``s3://bucket/key``, ``gs://bucket/key`` or
    ``az://container/key``; credentials come from where the provider's own tools find them. Where something
    is there already, `replacing` gets it and returns what to put in its place, or raises why not.
    """
    if "://" not in target:
        return _to_file(Path(target), data, replacing)
    parts = urlsplit(target)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return _to_file(Path(unquote(parts.path)), data, replacing)
    if parts.scheme not in SCHEMES or not parts.netloc or not parts.path.strip("/"):
        raise BadInput(
            f"--publish {target}: expected a path, file:///path, s3://bucket/key, gs://bucket/key "
            "or az://container/key"
        )
    return _to_store(target, data, replacing)


def _to_file(path: Path, data: bytes, replacing: Callable[[bytes], bytes]) -> tuple[str, bytes]:
    place = path.expanduser()
    if place.is_file():
        data = replacing(read_file(place, "--publish", MAX_NOTE_BYTES))
    write_file(place, data)
    return place.absolute().as_uri(), data


def _to_store(target: str, data: bytes, replacing: Callable[[bytes], bytes]) -> tuple[str, bytes]:
    import obstore  # noqa: PLC0415  # only who publishes to one
    from obstore.exceptions import BaseError  # noqa: PLC0415

    store, key = store_and_key(target)
    try:
        with suppress(FileNotFoundError):  # nothing is there yet
            data = replacing(bytes(obstore.get_range(store, key, start=0, length=MAX_NOTE_BYTES)))
        obstore.put(store, key, data)
    except (BaseError, OSError, ValueError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise StorageFailed(f"--publish {target}: {first}; check bucket, rights and credentials") from error
    return target, data
