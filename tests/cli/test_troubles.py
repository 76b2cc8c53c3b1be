"""Errors people meet, each with its way out, told by what the sandbox answers."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.options.common import calling
from render_service.submission import retry
from sora_adapter.profiles import profiles
from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora
from tests.conftest import Faults

ASKED = ["create", "--prompt", "a fox"]
TROUBLES = [
    (
        "invalid_api_key",
        "the key in OPENAI_API_KEY is not one of this server's: .*platform.openai.com/api-keys",
    ),
    ("not_verified", "the organisation behind OPENAI_API_KEY has to be verified first"),
    ("insufficient_quota", "the credits are used up, and waiting does not help: .*account/billing"),
    ("billing_hard_limit_reached", "the credits are used up"),
    ("model_not_found", "the server has no such model, or none for the key in OPENAI_API_KEY"),
]


@pytest.mark.parametrize(("code", "message"), TROUBLES)
def test_a_refusal_for_key_account_or_model_says_the_way_out(
    sora: Sora, server: Callable[..., SandboxServer], code: str, message: str
) -> None:
    server(faults=(f"create=refused@{code}",))
    ended = sora(*ASKED)
    assert (ended.code, ended.document["state"]) == (8, "rejected")
    assert re.search(message, ended.error)


@pytest.mark.parametrize(("code", "message"), TROUBLES)
def test_a_question_is_told_the_same(
    sora: Sora, server: Callable[..., SandboxServer], code: str, message: str
) -> None:
    server(faults=(f"list=refused@{code}",))
    ended = sora("list")
    assert ended.code == 8
    assert re.search(message, ended.error)


def test_a_key_that_is_missing_is_explained_before_anything_is_recorded(
    sora: Sora, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    ended = sora(*ASKED, "--profile", "new-api")
    assert ended.code == 2
    assert "OPENAI_API_KEY is not set" in ended.error
    assert "Get a key" in ended.error


def test_of_a_server_that_is_gone_no_key_is_asked_for(sora: Sora, folder: Path) -> None:
    refused = sora(*ASKED, "--profile", "azure")
    assert (refused.code, "retired sora-2 on 2026-10-15" in refused.error) == (2, True)
    assert "OPENAI_API_KEY" not in refused.error
    tried = sora(*ASKED, "--profile", "azure", "--even-if-retired")
    assert (tried.code, "OPENAI_API_KEY is not set" in tried.error) == (2, True)
    assert sora("jobs").code == 7  # there is no ledger: nothing was recorded


def test_a_server_at_capacity_is_waited_for_and_reported(
    sora: Sora, server: Callable[..., SandboxServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.01)
    server(faults=("create=429:2",))
    ended = sora("create-and-poll", "--profile", "sandbox-here", *ASKED[1:], "--poll-interval", "0.05")
    assert (ended.code, ended.document["final"]["state"]) == (0, "stored")
    waits = [line for line in ended.log if line["event"] == "submission.at_capacity"]
    assert len(waits) == 2


def test_waiting_for_capacity_stops_at_the_timeout(
    sora: Sora, server: Callable[..., SandboxServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.01)
    server(faults=("create=429@60",))
    ended = sora("create-and-poll", "--profile", "sandbox-here", *ASKED[1:], "--timeout", "1")
    assert (ended.code, "ask again in 60 s" in ended.error) == (8, True)


def test_nobody_waits_for_credits(sora: Sora, server: Callable[..., SandboxServer]) -> None:
    server(faults=("create=refused@insufficient_quota",))
    ended = sora("create-and-poll", "--profile", "sandbox-here", *ASKED[1:])
    assert (ended.code, [line for line in ended.log if line["event"] == "submission.at_capacity"]) == (8, [])


@pytest.fixture(autouse=True)
def _own_profile(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bring a profile of the sandbox that is reached by its address, with what it declares free."""
    own = folder.parent / "profiles.toml"
    own.write_text('[sandbox-here]\nlike = "sandbox"\n')
    monkeypatch.setenv("SORA_LEDGER_PROFILES", str(own))


def test_the_help_names_every_profile() -> None:
    @calling
    def command() -> None:
        """Do nothing."""

    helped = next(option.help for option in command.__click_params__ if option.name == "profile")  # type: ignore[attr-defined]
    assert [name for name in profiles() if name not in helped] == []


def test_a_profile_of_ones_own_is_one_of_them(sora: Sora) -> None:
    ended = sora(*ASKED, "--profile", "nobodys", "--dry-run")
    assert "sandbox-here" in ended.error


@pytest.mark.parametrize("variant", ["thumbnail", "spritesheet", "all"])
def test_a_variant_the_server_has_not_is_refused_before_it_costs(
    sora: Sora, faulty: Faults, folder: Path, variant: str
) -> None:
    flags = ["--profile", "litellm", "--variant", variant]
    ended = sora("create-and-poll", *ASKED[1:], *flags)
    assert (ended.code, "LiteLLM ignores the variant" in ended.error) == (2, True)
    assert (faulty.asked, (folder / "ledger.db").exists()) == ([], False)


@pytest.mark.parametrize("command", [["poll"], ["download"], ["poll", "--download"]])
def test_a_variant_the_jobs_server_has_not_is_refused(
    sora: Sora, faulty: Faults, video: Callable[..., bytes], command: list[str]
) -> None:
    faulty.then(200, video(status="queued"))
    made = sora(*ASKED, "--profile", "litellm").document["job_id"]
    ended = sora(*command, "--id", made, "--variant", "thumbnail")
    assert (ended.code, "take a frame of the video" in ended.error) == (2, True)
    assert faulty.asked == ["POST /v1/videos"]


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
@pytest.mark.parametrize("command", [["list"], ["adopt", "--all"]])
@pytest.mark.parametrize("profile", ["litellm", "new-api"])
def test_a_list_the_server_has_not_is_refused(
    sora: Sora,
    faulty: Faults,
    monkeypatch: pytest.MonkeyPatch,
    profile: str,
    command: list[str],
    dry: list[str],
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    ended = sora(*command, "--profile", profile, *dry)
    assert (ended.code, "`sora-ledger jobs` lists what went through this ledger" in ended.error) == (2, True)
    assert faulty.asked == []


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_a_deletion_the_server_has_not_is_refused(
    sora: Sora, faulty: Faults, video: Callable[..., bytes], dry: list[str]
) -> None:
    faulty.then(200, video(status="queued"))
    made = sora(*ASKED, "--profile", "litellm").document["job_id"]
    ended = sora("delete", made, *dry)
    assert (ended.code, "LiteLLM has no DELETE (405)" in ended.error) == (2, True)
    assert faulty.asked == ["POST /v1/videos"]
