"""Commands at every server we know, as the sandbox imitates it: what it has works, all else is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sora_adapter.profiles import profile
from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora

NAMES = ["litellm", "vllm-omni", "sglang", "trtllm", "new-api"]
QUICK = ["--poll-interval", "0.05"]


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest, server: Callable[..., SandboxServer]) -> str:
    """Start an imitation and return the name of its profile."""
    server(imitates=request.param)
    return str(request.param)


@pytest.fixture
def made(sora: Sora, name: str) -> dict[str, Any]:
    ended = sora("create-and-poll", "--profile", name, "--prompt", "a fox runs", *QUICK, "--out", "fox.mp4")
    assert ended.code == 0, ended.error
    return ended.document["final"]


def test_a_video_is_rendered_stored_and_copied(made: dict[str, Any], folder: Path) -> None:
    assert made["state"] == "stored"
    assert (folder / "fox.mp4").stat().st_size == made["assets"]["video"]["bytes"]


@pytest.mark.parametrize(
    ("operation", "more"),
    [
        ("remix", ["--prompt", "make it dusk"]),
        ("edit", ["--prompt", "make it dusk"]),
        ("extend", ["--seconds", "4", "--prompt", "it runs on"]),
    ],
)
def test_a_change_works_where_the_server_has_it_and_is_denied_elsewhere(
    sora: Sora, name: str, made: dict[str, Any], operation: str, more: list[str]
) -> None:
    ended = sora(operation, "--id", made["job_id"], *more)
    if not profile(name).offers(operation):  # one of its operations
        assert (ended.code, f"the profile {name} does not offer {operation}" in ended.error) == (3, True)
        return
    final = sora("poll", ended.document["job_id"], *QUICK).document
    assert (final["state"], final["operation"]) == ("stored", operation)


def test_deleting_works_where_the_server_can_and_says_why_elsewhere(
    sora: Sora, name: str, made: dict[str, Any]
) -> None:
    ended = sora("delete", made["job_id"])
    can = profile(name).offers("delete")
    assert ended.code == (0 if can else 2)
    assert (sora("status", made["job_id"], "--offline").document["state"] == "deleted") is can


def test_a_ledger_of_any_server_is_intact(sora: Sora, made: dict[str, Any]) -> None:
    assert sora("verify").code == 0
    assert json.loads(sora("show", made["job_id"]).out)
