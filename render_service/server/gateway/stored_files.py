"""Stored files as answers: opened, checked against their digests, sent whole or in part.

A file is served only if its bytes are the recorded ones. It is hashed before its first byte is sent, and
again whenever the operating system reports a change since (`Signature`); if its bytes change while they are
sent, the connection is cut. The tag of a file is its SHA-256, which never changes.

One range is answered with 206. Several ranges are answered with the whole file, which HTTP permits
(RFC 9110, 14.2), as is a range that cannot be read.
"""

import asyncio
import base64
import hashlib
import os
import re
import stat
import time
from concurrent.futures import Executor
from contextlib import suppress
from http import HTTPStatus
from pathlib import PurePosixPath
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ledger.job import Asset
from render_service.assets.folder import open_stored
from render_service.assets.store import AssetStore
from render_service.runtime.errors import NotAsStored, StorageFailed
from render_service.server.gateway.refusals import Refusal

CHUNK_BYTES = 256 * 1024
MOST_REMEMBERED = 10_000
TRIES = 3
"""How often a file that keeps changing is rehashed."""

TICK_S = 0.02
"""Two changes within this time may get the same timestamp: some kernels take it from their timer."""

READERS = 8
"""Threads that read files, apart from those for the ledger: a slow disk must not hold up other answers."""

_RANGE = re.compile(r"\s*bytes\s*=\s*(?P<first>[0-9]{0,19})-(?P<last>[0-9]{0,19})\s*", re.ASCII)


class Signature(NamedTuple):
    """Properties that differ once a file was changed: the system sets `changed_ns`, and no program can."""

    device: int
    inode: int
    bytes: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, descriptor: int) -> "Signature":
        """Return the signature of an open file; `NotAsStored` for anything but a regular file."""
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise NotAsStored(
                "the stored file is not a regular file", expected="a regular file", found="another one"
            )
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class OpenFile:
    """An open file with the recorded bytes; rehashed if the system reports a change.

    That also happens without tampering: another process that stores the same bytes replaces the name.
    """

    def __init__(self, descriptor: int, asset: Asset, signature: Signature | None) -> None:
        self.descriptor = descriptor
        self._asset = asset
        self.signature = Signature.of(descriptor)
        if self.signature != signature:
            self.signature = _checked(descriptor, asset)

    def read(self, start: int, length: int) -> bytes:
        """Return bytes of the file; `StorageFailed` if they are no longer the recorded ones."""
        for _ in range(TRIES):
            chunk = os.pread(self.descriptor, length, start)
            if Signature.of(self.descriptor) == self.signature:
                return chunk
            self.signature = _checked(self.descriptor, self._asset)
        raise StorageFailed(
            f"{self._asset.storage_uri}: the stored file keeps changing",
            expected="a stored file that stays as it is",
            found="one that changes",
        )


class StoredFiles:
    """Opens stored files, and remembers which ones were found intact."""

    def __init__(self, assets: AssetStore) -> None:
        self._assets = assets
        self._intact: dict[str, tuple[os.PathLike[str], Signature]] = {}

    def open(self, asset: Asset) -> OpenFile | None:
        """Open the file of `asset`; None if it is missing, `NotAsStored` if it is another file.

        A known copy of a file in a bucket is opened without being touched, which would change its signature.
        """
        if not self._assets.has(asset.storage_uri):
            return None
        path, intact = self._intact.get(asset.sha256, (None, None))
        descriptor = open_stored(path) if path is not None else None
        if descriptor is None:
            path = self._assets.path(asset.storage_uri)
            descriptor = open_stored(path)
        if descriptor is None or path is None:
            return None
        try:
            file = OpenFile(descriptor, asset, intact)
        except BaseException:
            os.close(descriptor)
            raise
        self._remember(asset.sha256, path, file.signature)
        return file

    def _remember(self, sha256: str, path: os.PathLike[str], signature: Signature) -> None:
        self._intact.pop(sha256, None)
        self._intact[sha256] = (path, signature)
        if len(self._intact) > MOST_REMEMBERED:
            with suppress(KeyError, StopIteration, RuntimeError):  # another thread was first
                del self._intact[next(iter(self._intact))]


def _checked(descriptor: int, asset: Asset) -> Signature:
    """Hash an open file and return its signature; `NotAsStored` if it is not the recorded file."""
    for _ in range(TRIES):
        before = Signature.of(descriptor)
        if time.time() - before.changed_ns / 1e9 < TICK_S:
            time.sleep(TICK_S)  # any later change of the file changes its signature, too
        with os.fdopen(os.dup(descriptor), "rb") as file:
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != asset.sha256:
            raise NotAsStored(
                f"{asset.storage_uri}: the stored file is not the recorded one, so it is not served: "
                "`sora-ledger verify --with-assets` reports it; restore it from a backup",
                expected="the recorded file",
                found="another one",
            )
        if Signature.of(descriptor) == before:
            return before
    raise StorageFailed(
        f"{asset.storage_uri}: the stored file keeps changing",
        expected="a stored file that stays as it is",
        found="one that changes",
    )


class FileAnswer(Response):
    """An open file as the answer to a GET or HEAD; it is always closed."""

    def __init__(
        self,
        file: OpenFile,
        asset: Asset,
        name: str,
        request: Request,
        headers: dict[str, str],
        *,
        readers: Executor,
    ) -> None:
        self._file, self._readers = file, readers
        self._range = range(asset.bytes)
        tag = f'"{asset.sha256}"'
        suffix = PurePosixPath(asset.storage_uri).suffix
        headers |= {
            "accept-ranges": "bytes",
            "etag": tag,
            "repr-digest": f"sha-256=:{base64.b64encode(bytes.fromhex(asset.sha256)).decode()}:",
            "content-disposition": f'attachment; filename="{name}{suffix}"',
            "cache-control": "private",
        }
        self.status_code: int = HTTPStatus.OK
        sent = request.headers
        if _names_tag(sent.get("if-none-match"), tag):
            self.status_code, self._range = HTTPStatus.NOT_MODIFIED, range(0)
        elif request.method == "GET" and sent.get("if-range", tag) == tag:
            self._choose_range(sent.get("range"), asset.bytes, headers)
        if self.status_code != HTTPStatus.NOT_MODIFIED:
            headers["content-length"] = str(len(self._range))
        self.media_type = asset.media_type
        self.background = None
        self.init_headers(headers)

    def _choose_range(self, text: str | None, size: int, headers: dict[str, str]) -> None:
        chosen = requested_range(text, size)
        if chosen is None:
            return
        if not chosen:
            os.close(self._file.descriptor)
            raise Refusal(
                416,
                "range_not_satisfiable",
                f"The file has {size} bytes, and the range begins after its end.",
                param="range",
                expected=f"a range within {size} bytes",
                found=text,
            ).about({"content-range": f"bytes */{size}"})
        headers["content-range"] = f"bytes {chosen.start}-{chosen.stop - 1}/{size}"
        self.status_code, self._range = HTTPStatus.PARTIAL_CONTENT, chosen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the bytes, one chunk in memory at a time, until they are sent or the client has gone."""
        loop, gone = asyncio.get_running_loop(), asyncio.ensure_future(_disconnected(receive))
        try:
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            if scope["method"] != "HEAD":
                for start in range(self._range.start, self._range.stop, CHUNK_BYTES):
                    length = min(CHUNK_BYTES, self._range.stop - start)
                    body = await loop.run_in_executor(self._readers, self._file.read, start, length)
                    if gone.done():
                        return
                    await send({"type": "http.response.body", "body": body, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            gone.cancel()
            os.close(self._file.descriptor)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def requested_range(text: str | None, size: int) -> range | None:
    """Return the range in the header ``Range``: None means the whole file, an empty range none of it."""
    match = _RANGE.fullmatch(text or "")
    if match is None or (match["first"], match["last"]) == ("", ""):
        return None
    if not match["first"]:
        return range(max(0, size - int(match["last"])), size)
    first = int(match["first"])
    last = int(match["last"]) if match["last"] else max(first, size)
    if last < first:
        return None
    return range(first, min(last + 1, size)) if first < size else range(0)


def _names_tag(text: str | None, tag: str) -> bool:
    """Return whether ``If-None-Match`` names the file; every client that has the file knows this tag."""
    if text is None:
        return False
    return any(quoted.strip().removeprefix("W/") in {tag, "*"} for quoted in text.split(","))
