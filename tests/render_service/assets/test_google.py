"""`gs://` keeps, finds, lists and removes files, with the places and limits of Google's XML API."""

import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from render_service.assets import bucket as buckets
from render_service.assets.folder import Owner
from render_service.assets.store import AssetStore
from render_service.runtime.errors import PlaceTaken, StorageFailed
from tests.render_service.assets.gcs import Bucket, server_of

LARGE = random.Random(1).randbytes(20_000_000)


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """Serve a bucket; a key file without a key leads there, as for other emulators."""
    bucket = Bucket("films")
    with server_of(bucket) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        account = {
            "gcs_base_url": f"http://127.0.0.1:{server.server_port}",
            "disable_oauth": True,
            "client_email": "",
            "private_key": "",
            "private_key_id": "",
        }
        (tmp_path / "account.json").write_text(json.dumps(account))
        monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(tmp_path / "account.json"))
        buckets.open_bucket.cache_clear()
        yield bucket
        buckets.open_bucket.cache_clear()
        server.shutdown()
        thread.join()


def store(tmp_path: Path, ledger_id: str = "l1", name: str = "films") -> AssetStore:
    return AssetStore(
        tmp_path / "assets", f"gs://{name}/clips", Owner(ledger_id, str(tmp_path / "ledger.db"), set)
    )


def test_a_large_file_goes_up_in_parts_and_comes_back_the_same(bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(LARGE)
    there = store(tmp_path)
    uri = there.put_file(tmp_path / "large", "video/mp4")
    assert there.path(uri).read_bytes() == LARGE
    digest = hashlib.sha256(LARGE).hexdigest()
    assert bucket.objects.keys() == {"clips/ledger.json", f"clips/sha256/{digest[:2]}/{digest}.mp4"}
    assert (bucket.uploads, bucket.objects[f"clips/sha256/{digest[:2]}/{digest}.mp4"].kind) == (
        {},
        "video/mp4",
    )


def test_files_are_listed_over_pages_and_removed(bucket: Bucket, tmp_path: Path) -> None:
    there = store(tmp_path)
    uris = {there.put(bytes([number]), "image/png") for number in range(5)}
    assert {f"asset:{kept.name}" for kept in there.place.files()} == uris
    for uri in uris:
        there.remove(uri)
    assert bucket.objects.keys() == {"clips/ledger.json"}
    assert not any(map(there.has, uris))


def test_a_bucket_belongs_to_one_ledger(bucket: Bucket, tmp_path: Path) -> None:
    store(tmp_path).put(b"a picture", "image/png")
    with pytest.raises(PlaceTaken, match="belong to another ledger"):
        store(tmp_path, "l2").put(b"another", "image/png")


def test_a_bucket_that_is_not_there_is_reported(bucket: Bucket, tmp_path: Path) -> None:
    with pytest.raises(StorageFailed, match=r"gs://missing/clips: the bucket cannot be used .*NoSuchBucket"):
        store(tmp_path, name="missing").put(b"a picture", "image/png")
