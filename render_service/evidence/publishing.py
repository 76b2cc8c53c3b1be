"""Publishing a few bytes where others fetch them: a file, or an object in S3, GCS or Azure."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from render_service.errors import BadInput, StorageFailed
from render_service.evidence.files import write_file
from render_service.storage.objects import SCHEMES, store_and_key


def publish(target: str, data: bytes) -> str:
    """Put `data` at `target`, whole or not at all, over what was there; return where that is as a URI.

    `target` is a path, ``file:///path``, ``s3://bucket/key``, ``gs://bucket/key`` or
    ``az://container/key``; credentials come from where the provider's own tools find them.
    """
    if "://" not in target:
        return _to_file(Path(target), data)
    parts = urlsplit(target)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return _to_file(Path(unquote(parts.path)), data)
    if parts.scheme not in SCHEMES or not parts.netloc or not parts.path.strip("/"):
        raise BadInput(
            f"--publish {target}: expected a path, file:///path, s3://bucket/key, gs://bucket/key "
            "or az://container/key"
        )
    return _to_store(target, data)


def _to_file(path: Path, data: bytes) -> str:
    write_file(path.expanduser(), data)
    return path.expanduser().absolute().as_uri()


def _to_store(target: str, data: bytes) -> str:
    import obstore  # noqa: PLC0415  # only who publishes to one
    from obstore.exceptions import BaseError  # noqa: PLC0415

    try:
        obstore.put(*store_and_key(target), data)
    except (BaseError, OSError, ValueError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise StorageFailed(f"--publish {target}: {first}; check bucket, rights and credentials") from error
    return target
