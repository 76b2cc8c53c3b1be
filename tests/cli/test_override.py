"""Setting a denial aside, on the command line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora

DEAR = ["create", "--prompt", "a fox", "--max-cost", "0.01"]
WISH = ["--override", "COST_ABOVE_LIMIT", "--reason", "the client pays"]


@pytest.fixture
def lenient(sora: Sora, server: Callable[..., SandboxServer], folder: Path) -> None:
    """Make a policy active that lets the caller's own limit be overridden."""
    server()
    packaged = sora("policy", "show", "--packaged", "policy").out
    wished = packaged.replace('name = "default"', 'name = "team"\noverridable = ["COST_ABOVE_LIMIT"]', 1)
    (folder / "team.toml").write_text(wished)
    assert sora("policy", "activate", "team.toml", "--reason", "limits are wishes").code == 0


def test_an_overridden_denial_is_rendered_and_shown_with_who_and_until_when(
    sora: Sora, lenient: None
) -> None:
    placed = sora(*DEAR, *WISH)
    assert (placed.code, placed.document["state"]) == (0, "running")
    [answer] = sora("show", placed.document["job_id"]).document["answers"]
    assert answer["said"].startswith("COST_ABOVE_LIMIT set aside until")
    assert answer["actor_source"] == "environment"
    assert "set aside" in sora("show", placed.document["job_id"], "--format=text").out
    assert sora("verify").code == 0


def test_what_may_not_be_overridden_is_denied_and_says_so(
    sora: Sora, server: Callable[..., SandboxServer]
) -> None:
    server()
    denied = sora(*DEAR, *WISH)
    assert (denied.code, denied.document["state"]) == (3, "denied")
    assert "overridable: nothing" in denied.document["override_refused"]
    assert "cannot be overridden" in denied.error


def test_a_dry_run_shows_the_decision_with_the_override(sora: Sora, lenient: None) -> None:
    assert sora(*DEAR, "--dry-run").code == 3
    assert sora(*DEAR, *WISH, "--dry-run").code == 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--override", "COST_ABOVE_LIMIT"], "say why"),
        (["--reason", "because"], "are for --override"),
        (["--override", "NOTHING_SUCH", "--reason", "because"], "NOTHING_SUCH"),
        ([*WISH, "--override-until", "2020-01-01"], "is in the past"),
        ([*WISH, "--override-until", "soon"], "expected a time"),
    ],
)
def test_what_is_asked_for_wrongly_is_refused_and_nothing_recorded(
    sora: Sora, server: Callable[..., SandboxServer], folder: Path, more: list[str], message: str
) -> None:
    server()
    ended = sora(*DEAR, *more)
    assert ended.code == 2
    assert message in ended.error
    assert not (folder / "ledger.db").exists()


@pytest.mark.parametrize("command", ["create-and-poll", "image2video"])
def test_commands_that_wait_take_an_override_too(sora: Sora, lenient: None, command: str) -> None:
    prompt = ["a fox"] if command == "image2video" else ["--prompt", "a fox"]
    dear = [command, *prompt, "--max-cost", "0.01", "--poll-interval", "0.1"]
    assert sora(*dear).code == 3
    ended = sora(*dear, *WISH)
    assert (ended.code, ended.document["final"]["state"]) == (0, "stored")
