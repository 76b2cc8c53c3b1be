"""A bucket holds whole files under their digests; what fails leaves nothing behind, and can be done again."""

import hashlib
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from decision.request.request import RenderRequest
from ledger.terms import State, Variant
from render_service.api.sessions import open_session
from render_service.assets import bucket as buckets
from render_service.assets.folder import Owner
from render_service.assets.store import AssetStore
from render_service.runtime.errors import BadInput, PlaceTaken, StorageFailed
from render_service.runtime.settings import Settings, read_settings
from render_service.runtime.telemetry import Log, Trace
from render_service.session.session import Session
from render_service.settlement.settle import fetch, settle
from render_service.submission.submit import place
from sora_adapter.sandbox.server import SandboxServer
from tests.render_service.assets.conftest import Between, Bucket

KEEP = """
import sys
from pathlib import Path
from render_service.assets.store import AssetStore

def peak():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])

path, folder, url = sys.argv[1:]
store = AssetStore(Path(folder), url)
store.put(b"warm", "image/png")
before = peak()
uri = store.put_file(Path(path), "video/mp4")
print(store.locate(uri).bytes, peak() - before)
"""
LARGE = random.Random(1).randbytes(20_000_000)


@pytest.fixture
def store(bucket: Bucket, tmp_path: Path) -> AssetStore:
    return AssetStore(tmp_path / "assets", bucket.url)


def local_files(store: AssetStore) -> list[Path]:
    return [path for path in store.folder.rglob("*") if path.is_file()]


def test_content_is_kept_under_its_digest(store: AssetStore, bucket: Bucket) -> None:
    uri = store.put(b"a picture", "image/png")
    digest = hashlib.sha256(b"a picture").hexdigest()
    assert uri == f"asset:sha256/{digest[:2]}/{digest}.png"
    assert bucket.keys() == [f"clips/sha256/{digest[:2]}/{digest}.png"]


def test_a_uri_leads_back_to_the_bytes(store: AssetStore) -> None:
    uri = store.put(b"a picture", "image/png")
    assert (store.has(uri), store.path(uri).read_bytes()) == (True, b"a picture")


def test_a_store_in_a_folder_finds_what_lies_in_a_bucket(store: AssetStore, tmp_path: Path) -> None:
    uri = store.put(b"a picture", "image/png").replace("asset:", f"{store.place.url}/")
    assert AssetStore(tmp_path / "elsewhere").path(uri).read_bytes() == b"a picture"


def test_a_large_file_goes_up_in_parts_and_comes_back_the_same(
    store: AssetStore, bucket: Bucket, between: Between, tmp_path: Path
) -> None:
    (tmp_path / "large").write_bytes(LARGE)
    uri = store.put_file(tmp_path / "large", "video/mp4")
    assert store.path(uri).read_bytes() == LARGE
    assert (
        len([request for request in between.asked if request.startswith("PUT")]),
        bucket.unfinished(),
    ) == (
        3,
        [],
    )


def test_nothing_stays_on_this_machine(store: AssetStore) -> None:
    store.put(b"a picture", "image/png")
    assert local_files(store) == []


def test_the_same_content_is_sent_once(store: AssetStore, bucket: Bucket) -> None:
    assert store.put(b"a picture", "image/png") == store.put(b"a picture", "image/png")
    assert bucket.versions() == 1


def test_what_has_been_there_for_long_is_sent_again(
    store: AssetStore, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put(b"a picture", "image/png")
    monkeypatch.setattr(buckets, "SENT_AGAIN_AFTER", timedelta(0))
    store.put(b"a picture", "image/png")
    assert bucket.versions() == 2


def test_half_an_object_is_replaced(store: AssetStore, bucket: Bucket) -> None:
    key = store.put(b"a picture", "image/png").replace("asset:", "clips/")
    bucket.client.put_object(Bucket=bucket.name, Key=key, Body=b"a pic")
    assert store.path(store.put(b"a picture", "image/png")).read_bytes() == b"a picture"


def test_what_arrives_spoiled_is_removed_and_reported(
    store: AssetStore, bucket: Bucket, between: Between
) -> None:
    between.spoil = lambda method, _, body: body.replace(b"p", b"q") if method == "PUT" else body
    with pytest.raises(StorageFailed, match="the uploaded bytes differ from those that were sent"):
        store.put(b"a picture", "image/png")
    assert bucket.keys() == []


def test_an_upload_that_is_refused_in_its_middle_leaves_nothing(
    store: AssetStore, bucket: Bucket, between: Between
) -> None:
    between.spoil = lambda _, path, body: 403 if "partNumber=2" in path else body
    with pytest.raises(StorageFailed, match=r"the bucket cannot be used .* check name, credentials"):
        store.put(LARGE, "video/mp4")
    assert (bucket.keys(), bucket.unfinished(), local_files(store)) == ([], [], [])


def test_a_connection_that_breaks_off_once_is_ridden_out(store: AssetStore, between: Between) -> None:
    left = [0]
    between.spoil = lambda _, path, body: left.pop() if left and "partNumber=2" in path else body
    assert store.path(store.put(LARGE, "video/mp4")).read_bytes() == LARGE
    assert left == []


def test_an_object_that_was_changed_there_is_not_believed(store: AssetStore, bucket: Bucket) -> None:
    uri = store.put(b"a picture", "image/png")
    key = uri.replace("asset:", "clips/")
    bucket.client.put_object(Bucket=bucket.name, Key=key, Body=b"b picture")
    with pytest.raises(StorageFailed, match="the stored bytes do not match the name"):
        store.path(uri)
    assert local_files(store) == []


def test_a_file_that_is_gone_is_a_path_to_nothing(store: AssetStore) -> None:
    uri = store.put(b"a picture", "image/png")
    store.place.remove(uri.removeprefix("asset:"))
    assert (store.has(uri), store.path(uri).exists()) == (False, False)


def test_what_was_fetched_is_not_fetched_again(store: AssetStore, between: Between) -> None:
    uri = store.put(b"a picture", "image/png")
    between.asked.clear()
    assert store.path(uri) == store.path(uri)
    assert len([request for request in between.asked if request.startswith("GET")]) == 1


def test_files_are_listed_with_what_is_known_of_them(store: AssetStore) -> None:
    uris = {store.put(bytes([number]), "image/png") for number in range(3)}
    assert {f"asset:{file.name}" for file in store.place.files()} == uris
    assert {(file.bytes, len(file.sha256)) for file in store.place.files()} == {(1, 64)}


def test_an_object_is_hashed_where_it_lies(store: AssetStore) -> None:
    name = store.put(LARGE, "video/mp4").removeprefix("asset:")
    assert store.place.digest(name) == hashlib.sha256(LARGE).hexdigest()
    store.place.remove(name)
    assert store.place.digest(name) is None


@pytest.mark.parametrize("url", ["s3://", "http://host/x", "s3:/films", "ftp://films", "s3://films?x=1"])
def test_a_place_nobody_knows_is_refused_before_a_ledger_is_begun(tmp_path: Path, url: str) -> None:
    values = {"SORA_LEDGER_ASSETS": url, "SORA_LEDGER_ACTOR": "ana"}
    settings = read_settings(ledger=str(tmp_path / "ledger.db"), environment=values, folder=tmp_path)
    if settings.assets_url is None:  # a folder, if an odd one
        return
    trace = Trace("1" * 32, "2" * 16)
    with pytest.raises(BadInput, match=r"expected a folder, or s3://bucket/prefix"):
        open_session(settings, trace, Log(trace, quiet=True))
    assert not (tmp_path / "ledger.db").exists()


@pytest.fixture
def remote(settings: Settings, missing_bucket: Bucket, sandbox: Callable[..., SandboxServer]) -> Session:
    """Return a session whose files go to a bucket that is not there yet."""
    trace = Trace("1" * 32, "2" * 16)
    at_bucket = replace(settings, base_url=sandbox().base_url, assets_url=missing_bucket.url)
    return open_session(at_bucket, trace, Log(trace, quiet=True))


@pytest.mark.anyio
async def test_a_job_whose_file_cannot_be_kept_is_kept_as_soon_as_it_can(
    remote: Session,
    missing_bucket: Bucket,
    request_for: Callable[..., RenderRequest],
    intact: Callable[[], bool],
) -> None:
    job = (await place(remote, request_for())).job
    with pytest.raises(StorageFailed):
        await settle(remote, job, interval_s=0.05, timeout_s=30)
    job = await remote.job(job.job_id)
    assert (job.state, job.outcome) == (State.COMPLETED, None)
    assert remote.ledger.store.tally().waiting == 1
    missing_bucket.make()
    job = await settle(remote, job, interval_s=0.05, timeout_s=30)
    assert (job.state, len(missing_bucket.keys()), intact()) == (State.STORED, 2, True)  # with the note
    stored = job.assets[Variant.VIDEO]
    file = remote.assets.path(stored.storage_uri).read_bytes()
    assert hashlib.sha256(file).hexdigest() == stored.sha256
    remote.ledger.close()


@pytest.mark.anyio
async def test_a_file_that_is_in_the_bucket_is_not_asked_of_the_server_again(
    remote: Session, missing_bucket: Bucket, request_for: Callable[..., RenderRequest], tmp_path: Path
) -> None:
    missing_bucket.make()
    job = await settle(remote, (await place(remote, request_for())).job, interval_s=0.05, timeout_s=30)
    assert await fetch(remote, job, Variant.VIDEO) == job
    remote.assets.copy_out(job.assets[Variant.VIDEO].storage_uri, tmp_path / "copy.mp4", force=False)
    assert (tmp_path / "copy.mp4").stat().st_size == job.assets[Variant.VIDEO].bytes
    remote.ledger.close()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize(
    "megabytes", [pytest.param(96, id="96 MB"), pytest.param(2_048, id="2 GB", marks=pytest.mark.soak)]
)
def test_memory_stays_flat_however_large_a_file_is(
    bucket: Bucket, s3_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, megabytes: int
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(megabytes << 20)
    command = [sys.executable, "-c", KEEP, str(large), str(tmp_path / "assets"), bucket.url]
    ran = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[3])
    stored, grown = map(int, ran.stdout.split())
    assert stored == megabytes << 20
    assert grown < 60_000


def owned(
    bucket: Any, folder: Path, name: str, digests: set[str] | None = None, id_: str = "l1"
) -> AssetStore:
    owner = Owner(id_, str(folder / name), lambda: digests or set())
    return AssetStore(folder / "assets", bucket.url, owner)


def test_a_bucket_belongs_to_the_first_ledger_that_keeps_a_file_there(bucket: Bucket, tmp_path: Path) -> None:
    first = owned(bucket, tmp_path, "ledger.db")
    uri = first.put(b"a picture", "image/png")
    assert {"clips/ledger.json"} <= set(bucket.keys())
    with pytest.raises(PlaceTaken, match="belong to another ledger"):
        owned(bucket, tmp_path, "other.db", id_="l2").put(b"another", "image/png")
    restored = owned(bucket, tmp_path, "restored.db")
    restored.put(b"another", "image/png")
    with pytest.raises(PlaceTaken, match="a copy removes nothing"):
        restored.remove(uri)
    restored.claim()
    restored.remove(uri)
    assert not first.has(uri)
    with pytest.raises(PlaceTaken, match="a copy removes nothing"):
        first.check_removing(first.place)


def test_a_bucket_without_a_note_is_taken_only_by_a_ledger_that_names_all_in_it(
    bucket: Bucket, store: AssetStore, tmp_path: Path
) -> None:
    store.put(b"a picture", "image/png")
    with pytest.raises(PlaceTaken, match="does not name 1 of the 1 files there"):
        owned(bucket, tmp_path, "ledger.db").check_owner()
    owned(bucket, tmp_path, "ledger.db", {hashlib.sha256(b"a picture").hexdigest()}).check_owner()
    assert {"clips/ledger.json"} <= set(bucket.keys())


def test_a_copy_of_what_was_erased_elsewhere_goes_at_the_next_use_of_the_cache(
    bucket: Bucket, tmp_path: Path
) -> None:
    one, two = owned(bucket, tmp_path / "one", "ledger.db"), AssetStore(tmp_path / "two", bucket.url)
    erased, file = one.put(b"erased", "image/png"), one.put(b"kept", "image/png")
    copies = [two.path(erased), two.path(file)]
    one.remove(erased)
    again = AssetStore(tmp_path / "two", bucket.url)
    assert not again.path(erased).exists()
    assert again.path(file).exists()
    assert [copy.exists() for copy in copies] == [False, True]
