"""`open` shows a stored video; links with its day, prompt and id lie in a folder for people."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora

QUICK = ("--poll-interval", "0.05")


@pytest.fixture(autouse=True)
def _without_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def stored(sora: Sora, server: Callable[..., SandboxServer]) -> dict[str, Any]:
    server()
    command = ("create-and-poll", "--prompt", "A Fox / ../runs: through snow!", *QUICK)
    return dict(sora(*command).document["final"])


def links(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "assets" / "videos").glob("*"))


def test_a_stored_video_has_a_link_named_by_day_prompt_and_id(stored: dict[str, Any], folder: Path) -> None:
    name = f"{stored['begun_at'][:10]}-a-fox-runs-through-snow-{stored['job_id'][-8:]}.mp4"
    assert links(folder) == [name]
    link = folder / "assets" / "videos" / name
    assert not link.readlink().is_absolute()
    assert link.read_bytes()[4:8] == b"ftyp"


def test_open_prints_the_link_where_there_is_no_screen(
    sora: Sora, stored: dict[str, Any], folder: Path
) -> None:
    ended = sora("open", stored["job_id"])
    assert (ended.code, ended.document["opened"]) == (0, False)
    assert ended.document["path"] == str(folder / "assets" / "videos" / links(folder)[0])
    assert "there is no screen" in ended.error


def test_open_without_a_job_opens_the_last_one(sora: Sora, stored: dict[str, Any]) -> None:
    assert sora("open", "--print").document["job_id"] == stored["job_id"]


def test_open_has_the_system_show_it(
    sora: Sora, stored: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: list[str] = []

    def launch(path: str) -> int:
        launched.append(path)
        return 0

    monkeypatch.setattr(click, "launch", launch)
    monkeypatch.setenv("DISPLAY", ":0")
    ended = sora("open", stored["job_id"])
    assert (ended.document["opened"], launched) == (True, [ended.document["path"]])


def test_a_link_that_was_deleted_is_made_again(sora: Sora, stored: dict[str, Any], folder: Path) -> None:
    before = links(folder)
    (folder / "assets" / "videos" / before[0]).unlink()
    sora("open", stored["job_id"])
    assert links(folder) == before


def test_erasing_the_prompt_removes_its_words_from_the_folder(
    sora: Sora, stored: dict[str, Any], folder: Path
) -> None:
    sora("erase", stored["job_id"], "--reason", "subject_request", "--yes")
    assert links(folder) == []
    sora("open", stored["job_id"])
    assert links(folder) == [f"{stored['begun_at'][:10]}-{stored['job_id'][-8:]}.mp4"]


def test_erasing_the_file_removes_the_link(sora: Sora, stored: dict[str, Any], folder: Path) -> None:
    sora("erase", stored["job_id"], "--reason", "subject_request", "--with-assets", "--yes")
    assert links(folder) == []
    ended = sora("open", stored["job_id"])
    assert (ended.code, "is not stored here" in ended.error) == (1, True)


def test_a_folder_that_cannot_be_written_does_not_stop_a_render(
    sora: Sora, server: Callable[..., SandboxServer], folder: Path
) -> None:
    server()
    (folder / "assets").mkdir()
    (folder / "assets" / "videos").write_text("a file in the way")
    ended = sora("create-and-poll", "--prompt", "a fox in snow", *QUICK)
    assert (ended.code, ended.document["final"]["state"]) == (0, "stored")
    assert sora("open", "@last").document["path"].endswith(".mp4")


def test_a_video_that_is_not_stored_says_how_to_get_it(
    sora: Sora, server: Callable[..., SandboxServer]
) -> None:
    server()
    job = sora("create", "--prompt", "a fox in snow").document["job_id"]
    ended = sora("open", job)
    assert (ended.code, f"sora-ledger poll {job}" in ended.error) == (1, True)


def test_a_damaged_file_is_not_opened(sora: Sora, stored: dict[str, Any], folder: Path) -> None:
    [file] = (folder / "assets" / "sha256").glob("*/*.mp4")
    file.write_bytes(b"#!/bin/sh")
    ended = sora("open", stored["job_id"])
    assert (ended.code, "its bytes differ" in ended.error) == (1, True)


def test_the_checks_of_stored_files_ignore_the_links(
    sora: Sora, stored: dict[str, Any], folder: Path
) -> None:
    assert sora("assets", "check").code == 0
    assert sora("assets", "gc").code == 0
    assert len(links(folder)) == 1
