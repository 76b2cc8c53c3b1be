"""Publishing a few bytes where others fetch them: a file, or an object in S3, GCS or Azure."""

from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

from render_service.errors import BadInput, StorageFailed
from render_service.evidence.files import write_file

RETRIES = 3
RETRY_FOR = timedelta(seconds=30)
OBJECT_STORES = ("s3", "gs", "az")


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
    if parts.scheme not in OBJECT_STORES or not parts.netloc or not parts.path.strip("/"):
        raise BadInput(
            f"--publish {target}: expected a path, file:///path, s3://bucket/key, gs://bucket/key "
            "or az://container/key"
        )
    return _to_store(target, f"{parts.scheme}://{parts.netloc}", parts.path.strip("/"), data)


def _to_file(path: Path, data: bytes) -> str:
    write_file(path.expanduser(), data)
    return path.expanduser().absolute().as_uri()


def _to_store(target: str, bucket: str, key: str, data: bytes) -> str:
    import obstore  # noqa: PLC0415  # only who publishes to one
    from obstore.exceptions import BaseError  # noqa: PLC0415
    from obstore.store import from_url  # noqa: PLC0415

    try:
        store = from_url(bucket, retry_config={"max_retries": RETRIES, "retry_timeout": RETRY_FOR})
        obstore.put(store, key, data)
    except (BaseError, OSError, ValueError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise StorageFailed(
            f"--publish {target}: {first[:300]}; check bucket, rights and credentials"
        ) from error
    return target
