"""A storage place in a bucket, through obstore: ``s3://bucket/prefix``, ``gs://…``, ``az://container/…``.

Credentials, region and endpoint come from the usual environment of each cloud (``AWS_*``, ``GOOGLE_*``,
``AZURE_*``, or the identity of the machine). Large files are uploaded in parts, a few at a time, to bound
memory use. An object appears under its name only when its last part has arrived, and a failed upload is
aborted. Each object is read back and hashed after the upload, and removed if its digest does not match its
name.

An existing object is not uploaded again unless it is old: the removal of old unreferenced objects
(`render_service.assets.maintenance`) must not delete one that is about to be referenced.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from render_service.assets.folder import writing
from render_service.assets.interface import MOST_NOTE_BYTES, NOTE, Digested, FileInPlace
from render_service.assets.names import CONTENT, is_name
from render_service.runtime.errors import BadInput, StorageFailed

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore

SCHEMES = ("s3", "gs", "az")
PART_BYTES = 8 << 20
PARTS_AT_ONCE = 3
SENT_AGAIN_AFTER = timedelta(hours=12)
_RETRY: Any = {"max_retries": 4, "retry_timeout": timedelta(seconds=30)}
_TIMEOUTS: Any = {  # per request: a large object may take long as long as data keeps arriving
    "timeout": timedelta(hours=2),
    "read_timeout": timedelta(minutes=2),
}
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AZURE_ENDPOINT", "GOOGLE_BASE_URL")


def local_path(target: str) -> Path | None:
    """Return the local path of `target`, a path or a URI; None if it is a bucket's."""
    if "://" not in target:
        return Path(target).expanduser()
    parts = urlsplit(target)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(unquote(parts.path))
    if parts.scheme not in SCHEMES or not parts.netloc or not parts.path.strip("/"):
        raise BadInput(
            f"--to {target}: expected a path, file:///path, s3://bucket/key, gs://bucket/key or "
            "az://container/key",
            param="to",
            expected="a path, file:///path, s3://bucket/key, gs://bucket/key or az://container/key",
            found=target,
        )
    return None


class ObjectPlace:
    """The objects under `url`; no request is sent before the first file is needed."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in SCHEMES or not parts.netloc or parts.query or parts.fragment:
            raise BadInput(
                f"SORA_LEDGER_ASSETS {url!r}: expected a folder, or s3://bucket/prefix, "
                "gs://bucket/prefix or az://container/prefix",
                param="SORA_LEDGER_ASSETS",
                expected="a folder, or s3://bucket/prefix, gs://bucket/prefix or az://container/prefix",
                found=url,
            )
        self.url = url.rstrip("/")

    def keep(self, file: Digested) -> None:
        """Upload a file unless it exists, and verify the upload."""
        import obstore  # only if a bucket is configured

        store, key = self._locate(file.name)
        with self._translate_errors():
            there = _head(store, key)
            if there and there["size"] == file.bytes and _age(there) < SENT_AGAIN_AFTER:
                return
            obstore.put(
                store,
                key,
                file.path,
                attributes={"Content-Type": file.media_type},
                use_multipart=file.bytes > PART_BYTES,
                chunk_size=PART_BYTES,
                max_concurrency=PARTS_AT_ONCE,
            )
            if _digest(store, key) == file.sha256:
                return
            obstore.delete(store, key)
        raise StorageFailed(
            f"{self.url}/{file.name}: the uploaded bytes differ from those that were sent, so the object was "
            "removed: `sora-ledger poll` uploads it again",
            expected="the bytes that were sent",
            found="others",
        )

    def size(self, name: str) -> int | None:
        """Return the size of an object; None if it does not exist."""
        store, key = self._locate(name)
        with self._translate_errors():
            there = _head(store, key)
        return there["size"] if there else None

    def fetch(self, name: str, target: Path) -> str | None:
        """Copy an object to a local file and return its digest; None if it does not exist."""
        store, key = self._locate(name)
        digest = hashlib.sha256()
        with self._translate_errors(), writing(target.parent), target.open("wb") as copy:
            try:
                for chunk in _chunks(store, key):
                    digest.update(chunk)
                    copy.write(chunk)
            except FileNotFoundError:
                return None
        return digest.hexdigest()

    def digest(self, name: str) -> str | None:
        """Return the digest of an object's bytes; None if it does not exist."""
        store, key = self._locate(name)
        with self._translate_errors():
            return _digest(store, key) if _head(store, key) else None

    def files(self) -> Iterator[FileInPlace]:
        """Yield the stored files under the URL, ordered by path."""
        import obstore

        store, prefix = store_and_key(f"{self.url}/{CONTENT}")
        bucket = _bucket_of(self.url)
        with self._translate_errors():
            objects = [meta for page in obstore.list(store, prefix=prefix) for meta in page]
        for meta in sorted(objects, key=lambda meta: meta["path"]):
            uri = f"{bucket}/{meta['path']}"
            name = uri.removeprefix(f"{self.url}/")
            if is_name(name):
                digest = PurePosixPath(name).stem
                yield FileInPlace(name, uri, digest, meta["size"], meta["last_modified"])

    def remove(self, name: str) -> None:
        """Delete an object."""
        import obstore

        store, key = self._locate(name)
        with self._translate_errors():
            obstore.delete(store, key)

    def note(self) -> bytes | None:
        """Read the note."""
        store, key = self._locate(NOTE)
        with self._translate_errors():
            there = _head(store, key)
            return next(_chunks(store, key), b"")[:MOST_NOTE_BYTES] if there else None

    def put_note(self, content: bytes, *, replace: bool) -> None:
        """Write the note; a store without conditional writes overwrites it, so callers read it again."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        store, key = self._locate(NOTE)
        with self._translate_errors(), suppress(AlreadyExistsError):
            obstore.put(store, key, content, mode="overwrite" if replace else "create", use_multipart=False)

    def _locate(self, name: str) -> "tuple[ObjectStore, str]":
        return store_and_key(f"{self.url}/{name}")

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, FileNotFoundError) as error:  # FileNotFoundError: no such bucket
            missing = isinstance(error, FileNotFoundError)
            reason = f"does {_bucket_of(self.url)} exist?" if missing else str(error).splitlines()[0]
            raise StorageFailed(
                f"{self.url}: the bucket cannot be used ({reason}); nothing half-written is left: check "
                "name, credentials and network; `sora-ledger poll` then stores what the server still has",
                param="SORA_LEDGER_ASSETS",
                expected="a bucket that can be used",
                found=reason,
            ) from error


def _bucket_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def store_and_key(uri: str) -> "tuple[ObjectStore, str]":
    """Return the opened bucket of a URI, and the key of the object in it."""
    return open_bucket(_bucket_of(uri)), urlsplit(uri).path.lstrip("/")


@cache
def open_bucket(bucket: str) -> "ObjectStore":
    """Return the opened bucket, cached for the process."""
    from obstore.store import from_url

    options = _TIMEOUTS | {"allow_http": _is_plain()}
    return from_url(bucket, client_options=options, retry_config=_RETRY)


def _is_plain() -> bool:
    """Return whether the environment names a server without TLS, such as an emulator."""
    addresses = [os.environ.get(name, "") for name in _ENDPOINTS]
    with suppress(OSError, ValueError, AttributeError):
        text = os.environ.get("GOOGLE_SERVICE_ACCOUNT_KEY") or _google_account().read_text()
        addresses.append(str(json.loads(text).get("gcs_base_url", "")))
    return any(address.startswith("http://") for address in addresses)


def _google_account() -> Path:
    names = ("GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH", "GOOGLE_APPLICATION_CREDENTIALS")
    return Path(next(filter(None, map(os.environ.get, names)), os.devnull))


def _head(store: "ObjectStore", key: str) -> "ObjectMeta | None":
    import obstore

    try:
        return obstore.head(store, key)
    except FileNotFoundError:
        return None


def _age(there: "ObjectMeta") -> timedelta:
    return datetime.now(UTC) - there["last_modified"]


def _chunks(store: "ObjectStore", key: str) -> Iterator[bytes]:
    import obstore

    for chunk in obstore.get(store, key).stream(min_chunk_size=PART_BYTES):
        yield bytes(chunk)


def _digest(store: "ObjectStore", key: str) -> str:
    digest = hashlib.sha256()
    for chunk in _chunks(store, key):
        digest.update(chunk)
    return digest.hexdigest()
