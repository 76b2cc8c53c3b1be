"""`assets` says what is stored, finds what is not as recorded, and removes nothing that an event names."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from render_service.assets.store import AssetStore
from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora


@pytest.fixture
def made(
    server: Callable[..., SandboxServer], sora: Sora, picture: Callable[..., bytes], folder: Path
) -> dict[str, Any]:
    """Render a video from an image; returns the job."""
    server()
    (folder / "frame.png").write_bytes(picture())
    options = ["--prompt", "a fox", "--input-reference", "frame.png", "--poll-interval", "0.05"]
    ended = sora("create-and-poll", *options)
    assert ended.code == 0
    document: dict[str, Any] = ended.document
    return document


def files(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "assets" / "sha256").rglob("*") if path.is_file())


def aged(path: Path) -> Path:
    os.utime(path, (time.time() - 100_000,) * 2)
    return path


def test_list_shows_what_was_rendered_and_what_was_given(
    made: dict[str, Any], sora: Sora, folder: Path
) -> None:
    listed = sora("assets", "list").document
    assert {file["what"] for file in listed["files"]} == {"given", "video"}
    paths = {str(folder / "assets" / urlsplit(file["storage_uri"]).path) for file in listed["files"]}
    assert paths == set(map(str, files(folder)))
    assert listed["bytes"] == sum(path.stat().st_size for path in files(folder))


def test_check_finds_nothing_where_all_is_well(made: dict[str, Any], sora: Sora) -> None:
    ended = sora("assets", "check")
    expected = {"checked": 2, "read": True, "clean": True, "let_go": 0, "findings": []}
    assert (ended.code, ended.document) == (0, expected)


def test_check_and_verify_let_files_go_that_were_erased(
    made: dict[str, Any], sora: Sora, folder: Path
) -> None:
    job_id = made["final"]["job_id"]
    sora("erase", job_id, "--reason", "subject_request", "--with-assets", "--yes")
    ended = sora("assets", "check")
    assert files(folder) == []
    assert (ended.code, ended.document["let_go"], sora("verify", "--with-assets").code) == (0, 2, 0)


def test_check_and_verify_find_a_file_that_is_gone_though_no_text_but_another_jobs_was_erased(
    made: dict[str, Any], sora: Sora, folder: Path
) -> None:
    other = sora("create-and-poll", "--prompt", "a hare", "--poll-interval", "0.05").document["final"][
        "job_id"
    ]
    for path in files(folder):
        path.unlink()
    sora("erase", other, "--reason", "subject_request", "--yes")
    missing = [found["what"] for found in sora("assets", "check").document["findings"]]
    ended = sora("verify", "--with-assets")
    assert (missing, len(ended.document["findings"])) == (["given", "video", "video"], 3)


def test_check_finds_a_file_that_is_gone(made: dict[str, Any], sora: Sora, folder: Path) -> None:
    files(folder)[0].unlink()
    ended = sora("assets", "check", "--quick")
    assert (ended.code, [found["state"] for found in ended.document["findings"]]) == (10, ["missing"])


def test_check_finds_a_file_of_the_same_size_that_was_changed(
    made: dict[str, Any], sora: Sora, folder: Path
) -> None:
    for path in files(folder):
        path.write_bytes(bytes(path.stat().st_size))
    assert sora("assets", "check", "--quick").code == 0
    ended = sora("assets", "check")
    assert (ended.code, [found["state"] for found in ended.document["findings"]]) == (10, ["damaged"] * 2)


def test_gc_keeps_what_an_event_names_however_old(made: dict[str, Any], sora: Sora, folder: Path) -> None:
    named = [aged(path) for path in files(folder)]
    assert sora("assets", "gc").document["removed"] == []
    assert files(folder) == named


def test_gc_removes_what_no_event_names_once_it_is_a_day_old(
    made: dict[str, Any], sora: Sora, folder: Path
) -> None:
    store = AssetStore(folder / "assets")
    old, young = (store.path(store.put(content, "image/png")) for content in (b"old", b"young"))
    aged(old)
    ended = sora("assets", "gc")
    assert (ended.document["removed"], ended.document["bytes"]) == ([old.as_uri()], 3)
    assert (old.exists(), young.exists(), len(files(folder))) == (False, True, 3)


def test_gc_shows_first_what_it_would_remove(made: dict[str, Any], sora: Sora, folder: Path) -> None:
    store = AssetStore(folder / "assets")
    old = aged(store.path(store.put(b"old", "image/png")))
    assert sora("assets", "gc", "--dry-run").document["removed"] == [old.as_uri()]
    assert old.exists()


def test_gc_clears_nothing_for_a_ledger_that_names_none_of_it(
    made: dict[str, Any], sora: Sora, folder: Path
) -> None:
    before = [aged(path) for path in files(folder)]
    denied = sora(
        "create", "--prompt", "a fox", "--max-cost", "0.01", "--profile", "sandbox", "--ledger", "other.db"
    )
    assert denied.code == 3, denied.error
    ended = sora("assets", "gc", "--ledger", "other.db")
    assert (ended.code, "probably belong to another ledger" in ended.error) == (2, True)
    assert files(folder) == before


def test_gc_clears_nothing_where_there_is_no_ledger(made: dict[str, Any], sora: Sora, folder: Path) -> None:
    before = [aged(path) for path in files(folder)]
    assert sora("assets", "gc", "--ledger", "missing.db").code == 7
    assert files(folder) == before


@pytest.mark.parametrize(
    "arguments", [("list", "--quick"), ("check", "--dry-run"), ("gc", "--quick"), ("rm",)]
)
def test_what_makes_no_sense_together_is_refused(sora: Sora, arguments: tuple[str, ...]) -> None:
    assert sora("assets", *arguments).code == 2


def test_observe_records_once_what_files_stored_without_the_extra_say(
    server: Callable[..., SandboxServer], sora: Sora, monkeypatch: pytest.MonkeyPatch
) -> None:
    server()
    with monkeypatch.context() as patch:
        patch.setattr("render_service.provenance.observe.is_installed", lambda: False)
        made = sora("create-and-poll", "--prompt", "a fox", "--poll-interval", "0.05").document["final"]
    job_id = made["job_id"]
    before = sora("explain", job_id).document["provenance"]
    first, second = sora("assets", "observe"), sora("assets", "observe")
    assert (before["observed"], second.document) == ([], {"observed": [], "missing": []})
    assert first.document["observed"] == [{"job_id": job_id, "words": "video: no C2PA manifest"}]
    assert [one["words"] for one in sora("explain", job_id).document["provenance"]["observed"]] == [
        "video: no C2PA manifest"
    ]


def test_observe_without_the_extra_names_it(
    made: dict[str, Any], sora: Sora, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("render_service.provenance.manifest.is_installed", lambda: False)
    ended = sora("assets", "observe")
    assert (ended.code, "pip install 'sora-ledger[c2pa]'" in ended.err) == (2, True)
