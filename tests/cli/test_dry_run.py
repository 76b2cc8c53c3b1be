"""A dry run shows decision and request; it needs no key, no network, and makes no file."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora

CALLING = [
    ["create", "--prompt", "a fox"],
    ["create-and-poll", "--prompt", "a fox"],
    ["poll", "video_1"],
    ["status", "video_1"],
    ["download", "video_1"],
    ["delete", "video_1"],
    ["list"],
]


@pytest.fixture
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a dry run calls nobody")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "bind", refuse)


@pytest.mark.usefixtures("_no_network")
@pytest.mark.parametrize("profile", ["openai", "sandbox", "custom"])
@pytest.mark.parametrize("command", CALLING, ids=lambda command: command[0])
def test_a_dry_run_makes_nothing_and_needs_nothing(
    sora: Sora, folder: Path, command: list[str], profile: str
) -> None:
    ended = sora(*command, "--dry-run", "--profile", profile)
    assert (ended.code, ended.document["dry_run"]) == (0, True)
    assert "/videos" in ended.document["request"]["url"]
    assert list(folder.iterdir()) == []


def test_a_dry_run_says_which_model_and_why(sora: Sora) -> None:
    decision = sora("create", "--prompt", "a fox", "--purpose", "final", "--dry-run").document["decision"]
    assert (decision["decision"], decision["model"]) == ("ALLOW", "sora-2-pro")
    assert decision["why"]


def test_a_dry_run_says_that_the_run_would_be_refused(sora: Sora) -> None:
    ended = sora("create", "--prompt", "a fox", "--dry-run", "--profile", "openai")
    assert "OPENAI_API_KEY is not set" in ended.document["refused"]
    assert "the run would be refused: OPENAI_API_KEY" in ended.error
    ended = sora("decide", "--prompt", "a fox", "--profile", "custom")
    assert "set OPENAI_BASE_URL" in ended.document["refused"]


def test_a_dry_run_of_what_can_be_sent_says_nothing_more(
    sora: Sora, server: Callable[..., SandboxServer]
) -> None:
    server()
    ended = sora("create", "--prompt", "a fox", "--dry-run")
    assert (ended.document["refused"], ended.document["assumes"], ended.error) == (None, None, "")


def test_a_dry_run_with_a_key_says_that_the_profile_is_retired(
    sora: Sora, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    command = ("create", "--prompt", "a fox", "--profile", "openai")
    preview, run = sora(*command, "--dry-run"), sora(*command)
    assert preview.document["refused"] in run.error
    assert sora(*command, "--dry-run", "--even-if-retired").document["refused"] is None


def test_a_dry_run_of_a_denial_ends_with_3(sora: Sora, folder: Path) -> None:
    ended = sora("create", "--prompt", "a fox", "--max-cost", "0.01", "--dry-run")
    assert (ended.code, ended.document["request"]) == (3, None)
    assert list(folder.iterdir()) == []


def test_a_dry_run_of_a_denial_shows_no_request_because_none_would_be_sent(sora: Sora) -> None:
    wide = ("create", "--prompt", "a fox", "--model", "sora-2", "--size", "1792x1024", "--dry-run")
    ended = sora(*wide, "--format=text")
    assert "null" not in ended.out + ended.err
    assert "use --model sora-2-pro" in ended.out


def test_a_dry_remix_is_decided_on_the_source_and_records_nothing(
    sora: Sora, server: Callable[..., SandboxServer]
) -> None:
    server()
    source = sora("create-and-poll", "--prompt", "a fox").document["final"]["job_id"]
    size = sora("verify").document["size"]
    document = sora("remix", source, "--prompt", "make it red", "--dry-run").document
    assert document["request"]["url"].endswith("/remix")
    assert document["request"]["body"].keys() == {"prompt"}
    assert sora("verify").document["size"] == size


def test_a_dry_run_of_a_job_without_a_video_says_so(sora: Sora, denied: str) -> None:
    ended = sora("poll", denied, "--dry-run")
    assert (ended.code, "has no video" in ended.error) == (1, True)


def test_a_dry_run_of_an_unknown_job_says_so(sora: Sora, denied: str) -> None:
    assert sora("status", "job_nowhere", "--dry-run").code == 2


def test_a_dry_run_of_an_ambiguous_prefix_says_so(sora: Sora, denied: str) -> None:
    sora("create", "--prompt", "an owl", "--max-cost", "0.01", "--profile", "sandbox")
    assert sora("status", "job_0", "--dry-run").code == 2
