"""Ranges of a stored file, and which file is a stored one."""

import asyncio
import hashlib
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ledger.job import Asset
from render_service.assets.store import AssetStore
from render_service.runtime.errors import StorageFailed
from render_service.server.gateway.gets import Content
from render_service.server.gateway.stored_files import OpenFile, StoredFiles, requested_range

BODY = bytes(range(256)) * 40


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("bytes=0-", range(100)),
        ("bytes=0-0", range(1)),
        ("bytes=10-19", range(10, 20)),
        ("bytes=10-1000", range(10, 100)),
        ("bytes=-10", range(90, 100)),
        ("bytes=-1000", range(100)),
        ("bytes=99-", range(99, 100)),
        ("BYTES = 1-2", None),
        (" bytes=1-2 ", range(1, 3)),
        ("bytes=100-", range(0)),
        ("bytes=999-", range(0)),
        ("bytes=999-1000", range(0)),
        ("bytes=-0", range(100, 100)),
        ("bytes=20-10", None),
        ("bytes=-", None),
        ("bytes=0-1,5-6", None),
        ("bytes=a-b", None),
        ("items=0-1", None),
        ("bytes=0-99999999999999999999", None),
        ("bytes=\u0661-2", None),
        ("", None),
    ],
)
def test_one_range_is_read_and_anything_else_means_the_whole_file(
    text: str | None, expected: range | None
) -> None:
    chosen = requested_range(text, 100)
    assert (chosen is None, list(chosen or ())) == (expected is None, list(expected or ()))


@pytest.fixture
def store(tmp_path: Path) -> AssetStore:
    return AssetStore(tmp_path / "assets")


def stored(store: AssetStore) -> Asset:
    uri = store.put(BODY, "video/mp4")
    return Asset(
        storage_uri=uri, sha256=hashlib.sha256(BODY).hexdigest(), bytes=len(BODY), media_type="video/mp4"
    )


def contents(file: OpenFile | None) -> bytes:
    assert file is not None
    try:
        return file.read(0, file.signature.bytes)
    finally:
        os.close(file.descriptor)


def test_a_stored_file_is_opened_and_hashed_once(store: AssetStore, monkeypatch: pytest.MonkeyPatch) -> None:
    asset, files = stored(store), StoredFiles(store)
    assert contents(files.open(asset)) == BODY
    monkeypatch.setattr(hashlib, "file_digest", None)
    assert contents(files.open(asset)) == BODY


@pytest.mark.parametrize("is_known", [False, True])
def test_a_file_that_was_changed_is_not_opened_even_with_its_old_size_and_time(
    store: AssetStore, *, is_known: bool
) -> None:
    asset, files = stored(store), StoredFiles(store)
    if is_known:
        contents(files.open(asset))
    path = store.path(asset.storage_uri)
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"x")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(StorageFailed, match="not the recorded one"):
        files.open(asset)


def test_a_file_that_was_replaced_or_touched_and_is_the_same_is_opened(store: AssetStore) -> None:
    asset, files = stored(store), StoredFiles(store)
    contents(files.open(asset))
    path = store.path(asset.storage_uri)
    path.unlink()
    path.write_bytes(BODY)
    assert contents(files.open(asset)) == BODY
    path.touch()
    assert contents(files.open(asset)) == BODY


def test_a_file_that_changes_while_it_is_sent_is_not_sent_on(store: AssetStore) -> None:
    asset = stored(store)
    file = StoredFiles(store).open(asset)
    assert file is not None
    assert file.read(0, 10) == BODY[:10]
    with store.path(asset.storage_uri).open("r+b") as changed:
        changed.seek(100)
        changed.write(b"x")
    with pytest.raises(StorageFailed, match="not the recorded one"):
        file.read(10, 10)
    os.close(file.descriptor)


def test_a_file_that_is_replaced_by_the_same_bytes_while_it_is_sent_is_sent_on(store: AssetStore) -> None:
    asset = stored(store)
    file = StoredFiles(store).open(asset)
    assert file is not None
    assert file.read(0, 10) == BODY[:10]
    store.put(BODY, "video/mp4")  # as a worker that stores the video at the same time
    assert file.read(10, 10) == BODY[10:20]
    os.close(file.descriptor)


def test_a_missing_file_is_none_and_no_link_is_followed(store: AssetStore, tmp_path: Path) -> None:
    asset, files = stored(store), StoredFiles(store)
    contents(files.open(asset))
    path = store.path(asset.storage_uri)
    (tmp_path / "other").write_bytes(BODY)
    path.unlink()
    assert files.open(asset) is None
    path.symlink_to(tmp_path / "other")
    assert files.open(asset) is None


def test_no_descriptor_is_left_open(store: AssetStore) -> None:
    asset, files = stored(store), StoredFiles(store)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        contents(files.open(asset))
    with store.path(asset.storage_uri).open("r+b") as changed:
        changed.write(b"x")
    for _ in range(5):
        with pytest.raises(StorageFailed):
            files.open(asset)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_many_who_ask_at_once_let_a_file_be_hashed_once(
    store: AssetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset, hashed, digest = stored(store), list[Any](), hashlib.file_digest

    def counted(*arguments: Any) -> Any:
        hashed.append(arguments)
        return digest(*arguments)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    session: Any = SimpleNamespace(assets=store)

    async def ask() -> list[OpenFile | None]:
        content = Content(session)
        return list(await asyncio.gather(*(content._open_checked(asset) for _ in range(20))))

    assert [contents(file) for file in asyncio.run(ask())] == [BODY] * 20
    assert len(hashed) == 1
