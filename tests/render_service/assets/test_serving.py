"""A stored file is served from a bucket as from a folder: fetched once, checked, gone when it is removed."""

import hashlib
import os
from pathlib import Path

import pytest

from ledger.job import Asset
from render_service.assets.store import AssetStore
from render_service.runtime.errors import StorageFailed
from render_service.server.gateway.stored_files import OpenFile, StoredFiles
from tests.render_service.assets.conftest import Bucket

BODY = os.urandom(300_000)


@pytest.fixture
def store(bucket: Bucket, tmp_path: Path) -> AssetStore:
    return AssetStore(tmp_path / "assets", bucket.url)


def contents(file: OpenFile | None) -> bytes:
    assert file is not None
    try:
        return file.read(0, file.signature.bytes)
    finally:
        os.close(file.descriptor)


def test_a_file_in_a_bucket_is_fetched_and_hashed_once(
    store: AssetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, digest = store.put(BODY, "video/mp4"), hashlib.sha256(BODY).hexdigest()
    asset = Asset(storage_uri=uri, sha256=digest, bytes=len(BODY), media_type="video/mp4")
    files = StoredFiles(store)
    assert contents(files.open(asset)) == BODY
    with monkeypatch.context() as later:
        later.setattr(store.place, "fetch", None)
        later.setattr(hashlib, "file_digest", None)
        assert contents(files.open(asset)) == BODY
    [copy] = (store.folder / "cache").iterdir()
    copy.write_bytes(BODY[:-1] + b"x")
    with pytest.raises(StorageFailed):
        files.open(asset)
    copy.unlink()
    assert contents(files.open(asset)) == BODY
    store.place.remove(uri.removeprefix("asset:"))
    assert files.open(asset) is None, "another machine erased it"
