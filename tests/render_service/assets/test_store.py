"""A file under its final name is whole; what cannot be written leaves nothing behind."""

import hashlib
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ledger.terms import Variant
from render_service.assets.folder import FolderPlace, Owner
from render_service.assets.interface import FileInPlace
from render_service.assets.store import AssetStore, check_target
from render_service.runtime.errors import BadInput, StorageFailed
from render_service.settlement.download import drain
from sora_adapter.client import VideosClient
from sora_adapter.profiles import profile
from tests.conftest import Faults

SMALL_DISK = """
import resource, sys
from pathlib import Path
from render_service.assets.folder import FolderPlace
from render_service.assets.interface import FileInPlace
from render_service.assets.folder import Owner
from render_service.assets.store import AssetStore
from render_service.runtime.errors import StorageFailed
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
store = AssetStore(Path(sys.argv[1]))
try:
    with store.open_incoming() as incoming:
        for _ in range(10):
            incoming.write(b"0" * 50_000)
        store.queue.keep(incoming, "video/mp4")
except StorageFailed as error:
    print(error)
"""


@pytest.fixture
def store(tmp_path: Path) -> AssetStore:
    return AssetStore(tmp_path / "assets")


def files(store: AssetStore) -> list[Path]:
    return [path for path in store.folder.rglob("*") if path.is_file()]


def test_content_is_kept_under_its_digest(store: AssetStore) -> None:
    uri = store.put(b"a picture", "image/png")
    digest = hashlib.sha256(b"a picture").hexdigest()
    assert uri == f"asset:sha256/{digest[:2]}/{digest}.png"
    assert store.path(uri) == store.folder / "sha256" / digest[:2] / f"{digest}.png"


def test_the_same_content_is_kept_once(store: AssetStore) -> None:
    assert store.put(b"a picture", "image/png") == store.put(b"a picture", "image/png")
    assert len(files(store)) == 1


def test_two_who_store_the_same_content_at_once_both_succeed(
    store: AssetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = FolderPlace.path

    def look_and_lose(place: FolderPlace, name: str) -> Path | None:
        found = path(place, name)
        (place.folder / name).write_bytes(b"a clip")  # another process stores it right after the look
        return found

    monkeypatch.setattr(FolderPlace, "path", look_and_lose)
    with store.open_incoming() as incoming:
        incoming.write(b"a clip")
        store.keep(incoming, "video/mp4")
    monkeypatch.undo()
    assert [file.read_bytes() for file in files(store) if file.suffix == ".mp4"] == [b"a clip"]


def test_a_uri_leads_back_to_the_file_whatever_the_folder_is_called(tmp_path: Path) -> None:
    store = AssetStore(tmp_path / "Ünïcode & spaces #1 100%")
    assert store.path(store.put(b"a picture", "image/png")).read_bytes() == b"a picture"


def test_nothing_is_made_before_the_first_write(store: AssetStore) -> None:
    assert not store.folder.exists()


def test_what_is_not_kept_is_gone(store: AssetStore) -> None:
    with store.open_incoming() as incoming:
        incoming.write(b"half a")
    assert files(store) == []


def test_an_error_in_between_leaves_nothing(store: AssetStore) -> None:
    with suppress(KeyboardInterrupt), store.open_incoming() as incoming:
        incoming.write(b"half a")
        raise KeyboardInterrupt
    assert files(store) == []


def test_what_a_crash_left_is_cleared_once_it_is_a_day_old(store: AssetStore) -> None:
    store.put(b"a", "image/png")
    old, young = store.folder / "tmp" / "old", store.folder / "tmp" / "young"
    for path, age in ((old, 90_000), (young, 60)):
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age,) * 2)
    store.put(b"b", "image/png")
    assert old.exists()  # this process has cleared the folder within the hour
    AssetStore(store.folder).put(b"c", "image/png")
    assert (old.exists(), young.exists()) == (False, True)


def test_a_full_disk_says_so_and_leaves_no_half_file(store: AssetStore) -> None:
    command = [sys.executable, "-c", SMALL_DISK, str(store.folder)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "cannot be written (File too large); nothing half-written is left: make room" in text
    assert files(store) == []


def test_a_folder_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageFailed, match=r"cannot be written .*: check its path and permissions"):
        AssetStore(tmp_path / "file" / "assets").put(b"a", "image/png")


def test_a_copy_is_the_stored_file(store: AssetStore, tmp_path: Path) -> None:
    store.copy_out(store.put(b"a picture", "image/png"), tmp_path / "copy.png", force=False)
    assert (tmp_path / "copy.png").read_bytes() == b"a picture"


def test_a_copy_replaces_a_file_only_by_force(store: AssetStore, tmp_path: Path) -> None:
    target = tmp_path / "copy.png"
    target.write_bytes(b"mine")
    with pytest.raises(BadInput, match="add --force"):
        store.copy_out(store.put(b"a", "image/png"), target, force=False)
    store.copy_out(store.put(b"a", "image/png"), target, force=True)
    assert target.read_bytes() == b"a"


def test_a_copy_of_a_file_that_vanished_leaves_nothing(store: AssetStore, tmp_path: Path) -> None:
    uri = store.put(b"a", "image/png")
    store.path(uri).unlink()
    with pytest.raises(StorageFailed):
        store.copy_out(uri, tmp_path / "copy.png", force=False)
    assert [path.name for path in tmp_path.iterdir()] == ["assets"]


def test_a_file_that_was_changed_in_storage_is_handed_to_nobody(store: AssetStore, tmp_path: Path) -> None:
    uri = store.put(b"a picture", "image/png")
    store.path(uri).write_bytes(b"another")
    with pytest.raises(StorageFailed, match="its bytes differ from those that were stored; move it away"):
        store.copy_out(uri, tmp_path / "copy.png", force=False)
    with pytest.raises(StorageFailed, match="its bytes differ from those that were stored"):
        store.read(uri)
    assert [path.name for path in tmp_path.iterdir()] == ["assets"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing/copy.mp4", "the folder .*missing does not exist; create it first"),
        ("folder", "it is a folder; name a file in it"),
        ("taken.mp4", "it exists already; name another"),
    ],
)
def test_a_target_that_cannot_be_written_is_refused_beforehand(
    tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "taken.mp4").touch()
    with pytest.raises(BadInput, match=message):
        check_target(tmp_path / name, force=False)


def test_a_target_in_a_folder_that_may_not_be_written_is_refused_beforehand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(BadInput, match=f"the folder {tmp_path} cannot be written; name another"):
        check_target(tmp_path / "copy.mp4", force=True)


@pytest.mark.anyio
async def test_memory_stays_flat_however_large_the_download(
    store: AssetStore, faults: Faults, video: Callable[..., bytes]
) -> None:
    size = 64 * 1024 * 1024
    faults.then(200, bytes(size), kind="video/mp4")
    tracemalloc.start()
    async with (
        VideosClient(profile("sandbox"), faults.base_url, None) as client,
        client.fetch("video_1", Variant.VIDEO) as content,
    ):
        with store.open_incoming() as incoming:
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            await drain(content, incoming)
            _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert incoming.bytes == size
    assert peak - before < size / 8  # 3 MiB for the buffers; the first download of a process imports more


def test_two_who_store_the_first_files_of_a_ledger_at_once_both_store_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the second looks at the place, a file of the first is there that no record names yet."""
    first, second = (
        AssetStore(tmp_path / "assets", owner=Owner("a" * 32, str(tmp_path / "ledger.db"), set)) for _ in "12"
    )
    listed = FolderPlace.files

    def list_late(place: FolderPlace) -> Iterator[FileInPlace]:
        monkeypatch.undo()
        first.put(b"one", "video/mp4")
        return listed(place)

    monkeypatch.setattr(FolderPlace, "files", list_late)
    second.put(b"two", "video/mp4")
    assert len(list(tmp_path.glob("assets/sha256/*/*"))) == 2
