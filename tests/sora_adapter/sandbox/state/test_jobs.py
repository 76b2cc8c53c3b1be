"""The store keeps what was asked for."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from sora_adapter.sandbox.state.database import Database
from sora_adapter.sandbox.state.jobs import Job, JobStore, sha256_of

IMAGE = b"an image"
OLD = f"""
CREATE TABLE jobs (
    position INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, model TEXT NOT NULL,
    size TEXT NOT NULL, seconds TEXT NOT NULL, prompts TEXT NOT NULL,
    reference_sha256 TEXT REFERENCES reference_images, remixed_from_video_id TEXT, created_at REAL NOT NULL,
    render_seconds REAL NOT NULL, expire_seconds INTEGER NOT NULL, request_id TEXT NOT NULL,
    client_request_id TEXT, traceparent TEXT
) STRICT;
CREATE TABLE reference_images (sha256 TEXT PRIMARY KEY, body BLOB NOT NULL) STRICT;
INSERT INTO jobs VALUES (
    1, 'video_1', 'sora-2', '720x1280', '4', '["root", "own"]', '{sha256_of(IMAGE)}', NULL, 12.5, 8.0, 3600,
    'req_1', NULL, NULL
);
"""
Open = Callable[[], JobStore]


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[Open]:
    """Open the store of this test's data dir, as often as wanted, like one process after another."""
    with ExitStack() as stack:

        def begin() -> JobStore:
            database = stack.enter_context(closing(Database(tmp_path / "jobs.sqlite3")))
            return JobStore(database)

        yield begin


def job(name: str, image: bytes | None = None) -> Job:
    return Job(
        id=name,
        model="sora-2",
        size="720x1280",
        seconds="4",
        prompts=("root", "own"),
        reference_sha256=sha256_of(image),
        remixed_from_video_id=None,
        created_at=12.5,
        render_seconds=8.0,
        expire_seconds=3600,
        request_id="req_1",
    )


def test_a_job_is_the_same_after_a_restart(open_store: Open) -> None:
    open_store().add(job("video_1"))
    assert open_store().get("video_1") == job("video_1")


def test_two_processes_see_each_other_s_jobs(open_store: Open) -> None:
    one, other = open_store(), open_store()
    one.add(job("video_1"))
    other.add(job("video_2"))
    found = one.page(limit=9, newest_first=False)
    assert [each.id for each in found or []] == ["video_1", "video_2"]


def test_a_page_goes_on_after_the_job_it_is_told(open_store: Open) -> None:
    store = open_store()
    for number in range(5):
        store.add(job(f"video_{number}"))
    page = store.page(limit=2, newest_first=True, after="video_3")
    assert [each.id for each in page or []] == ["video_2", "video_1"]


def test_a_page_after_an_unknown_job_is_none(open_store: Open) -> None:
    assert open_store().page(limit=2, newest_first=True, after="video_0") is None


def test_a_reference_image_stays_while_a_job_needs_it(open_store: Open) -> None:
    store = open_store()
    store.add(job("video_1", IMAGE), IMAGE)
    store.add(job("video_2", IMAGE), IMAGE)
    store.delete("video_1")
    assert store.file(sha256_of(IMAGE)) == IMAGE


def test_a_reference_image_goes_with_the_last_job_that_needs_it(open_store: Open) -> None:
    store = open_store()
    store.add(job("video_1", IMAGE), IMAGE)
    store.delete("video_1")
    assert store.file(sha256_of(IMAGE)) is None


def test_deleting_tells_whether_there_was_something_to_delete(open_store: Open) -> None:
    assert not open_store().delete("video_1")


def test_an_append_that_fails_leaves_nothing_behind(open_store: Open) -> None:
    store = open_store()
    store.add(job("video_1"))
    with pytest.raises(Exception, match="UNIQUE"):
        store.add(job("video_1", IMAGE), IMAGE)
    assert store.file(sha256_of(IMAGE)) is None


def test_a_store_from_before_there_were_extensions_is_still_read(tmp_path: Path, open_store: Open) -> None:
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite3")) as old:
        old.executescript(OLD)
    job_read = open_store().get("video_1")
    assert job_read == job("video_1", IMAGE)


def test_counts_survive_a_restart(open_store: Open) -> None:
    open_store().count("creates")
    second = open_store()
    second.count("creates")
    assert second.counts()["creates"] == 2
