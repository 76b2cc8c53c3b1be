"""Videos of other tools at the command line: named once, or a whole account at a time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora


def made(running: SandboxServer, **changes: Any) -> str:
    """Make a video as another tool does."""
    values = {"prompt": "a heron"} | changes
    headers = {"authorization": "Bearer any"}
    return str(httpx2.post(f"{running.base_url}/videos", json=values, headers=headers).json()["id"])


@pytest.mark.parametrize("command", [["adopt", "--id"], ["status"], ["poll"], ["download"]])
def test_a_video_of_another_tool_becomes_a_job_when_it_is_named(
    sora: Sora, server: Callable[..., SandboxServer], command: list[str]
) -> None:
    video_id = made(server())
    ended = sora(*command, video_id)
    assert (ended.code, ended.document["id"]) == (0, video_id)
    [job] = sora("jobs").document["jobs"]
    assert (job["id"], job["operation"], job["job_id"]) == (video_id, None, ended.document["job_id"])


def test_a_downloaded_video_of_another_tool_is_stored_and_closed(
    sora: Sora, server: Callable[..., SandboxServer], folder: Path
) -> None:
    video_id = made(server())
    assert sora("download", "--id", video_id, "--out", "clip.mp4").code == 0
    assert (folder / "clip.mp4").stat().st_size > 1_000
    assert sora("jobs").document["jobs"][0]["outcome"] == "stored"
    assert sora("verify").code == 0


def test_a_video_of_another_tool_can_be_deleted(sora: Sora, server: Callable[..., SandboxServer]) -> None:
    video_id = made(server())
    assert sora("delete", video_id).document["deleted"] is True
    assert sora("list").document["data"] == []


def test_a_video_of_another_tool_can_be_remixed(sora: Sora, server: Callable[..., SandboxServer]) -> None:
    video_id = made(server())
    remix = sora("remix", "--id", video_id, "--prompt", "Same shot; make it red").document
    source = sora("jobs").document["jobs"][-1]
    assert (source["id"], source["operation"]) == (video_id, None)
    assert (remix["state"], remix["source_job"]) == ("running", source["job_id"])
    assert sora("verify").code == 0


def test_an_id_nobody_knows_begins_no_ledger(
    sora: Sora, server: Callable[..., SandboxServer], folder: Path
) -> None:
    server()
    ended = sora("status", "video_nowhere")
    assert (ended.code, "nor does the server know such a video" in ended.error) == (7, True)
    assert not (folder / "ledger.db").exists()


def test_offline_nobody_is_asked(sora: Sora, server: Callable[..., SandboxServer], denied: str) -> None:
    video_id = made(server())
    assert sora("status", video_id, "--offline").code == 2


def test_no_cost_is_shown_for_what_was_paid_elsewhere(
    sora: Sora, server: Callable[..., SandboxServer]
) -> None:
    video_id = made(server())
    sora("poll", video_id)
    assert "0.00" not in sora("jobs", "--format=text").out
    assert "USD" not in sora("status", video_id, "--format=text").out


def test_adopting_again_says_that_it_is_known(sora: Sora, server: Callable[..., SandboxServer]) -> None:
    video_id = made(server())
    assert [sora("adopt", "--id", video_id).document["adopted"] for _ in range(2)] == [True, False]


def test_an_unknown_video_to_adopt_ends_with_1(sora: Sora, server: Callable[..., SandboxServer]) -> None:
    server()
    assert sora("adopt", "--id", "video_nowhere").code == 1


def test_an_account_is_archived_and_again_without_a_change(
    sora: Sora, server: Callable[..., SandboxServer]
) -> None:
    running = server()
    for _ in range(2):
        made(running)
    first, second = (sora("adopt", "--all").document for _ in range(2))
    assert (first["adopted"], first["stored"], first["thumbnails"], first["complete"]) == (2, 2, 2, True)
    assert (second["adopted"], second["known"], second["stored"]) == (0, 2, 0)


def test_an_account_that_cannot_be_listed_is_refused_with_the_reason(
    sora: Sora, server: Callable[..., SandboxServer]
) -> None:
    server()
    ended = sora("adopt", "--all", "--profile", "litellm")
    assert (ended.code, "profile litellm does not offer a list of its videos" in ended.error) == (2, True)


@pytest.mark.parametrize("arguments", [[], ["--id", "video_1", "--all"]])
def test_one_video_or_all_of_them(sora: Sora, arguments: list[str]) -> None:
    ended = sora("adopt", *arguments)
    assert (ended.code, "give either --id VIDEO_ID or --all" in ended.error) == (2, True)


@pytest.mark.parametrize("arguments", [["--id", "video_1"], ["--all"]])
def test_a_dry_adoption_asks_nobody(sora: Sora, folder: Path, arguments: list[str]) -> None:
    ended = sora("adopt", *arguments, "--dry-run", "--profile", "custom")
    assert (ended.code, ended.document["request"]["method"], list(folder.iterdir())) == (0, "GET", [])


def test_all_pages_are_listed_as_one(sora: Sora, server: Callable[..., SandboxServer]) -> None:
    running = server()
    ids = [made(running) for _ in range(3)]
    document = sora("list", "--all", "--limit", "1", "--order", "asc").document
    assert ([video["id"] for video in document["data"]], document["has_more"]) == (ids, False)
