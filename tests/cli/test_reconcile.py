"""`reconcile` as a person types it, and as two of them at once."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora
from tests.forks import Forks

ASKED = ("create", "--prompt", "a fox runs")


@pytest.fixture
def lost(
    sora: Sora, server: Callable[..., SandboxServer], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """Lose the answer to a create; the first call starts the server."""
    running: list[Any] = []
    monkeypatch.setenv("SORA_LEDGER_PROFILE", "openai")

    def create(fault: str = "kept-but-answer-lost", profile: str = "openai") -> str:
        if not running:
            running.append(server(clock=time.time, faults=(f"create={fault}",)))
        return str(sora(*ASKED, "--profile", profile).document["job_id"])

    return create


def verdicts(ended: Any) -> list[str]:
    return [one["verdict"] for one in ended.document["settlements"]]


def test_a_lost_video_is_found(sora: Sora, lost: Callable[..., str]) -> None:
    job = lost()
    ended = sora("reconcile", job)
    assert (ended.code, verdicts(ended), ended.document["open"]) == (0, ["recovered"], 0)
    assert ended.document["settlements"][0]["job"]["job_id"] == job


def test_what_is_not_settled_ends_with_6_and_the_commands(sora: Sora, lost: Callable[..., str]) -> None:
    job = lost("lost")
    ended = sora("reconcile", "--all", "--format=text")
    assert ended.code == 6
    assert f"→ sora-ledger reconcile {job} --absent --reason TEXT" in ended.out


def test_no_grace_makes_a_call_take_effect_sooner(sora: Sora, lost: Callable[..., str]) -> None:
    ended = sora("reconcile", lost("lost"), "--grace", "0")
    assert (ended.code, verdicts(ended)) == (6, ["waiting"])


def test_absence_is_followed_by_what_can_be_done(
    sora: Sora, lost: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profiles = tmp_path / "own.toml"
    profiles.write_text('[prompt]\nlike = "openai"\ntakes_effect_s = 0\n')
    monkeypatch.setenv("SORA_LEDGER_PROFILES", str(profiles))
    job = lost("lost", "prompt")
    ended = sora("reconcile", job, "--grace", "0")
    assert (ended.code, verdicts(ended)) == (0, ["absent"])
    assert ended.document["settlements"][0]["commands"][0] == f"sora-ledger resume {job}"


def test_a_person_may_say_that_nothing_was_created(sora: Sora, lost: Callable[..., str]) -> None:
    ended = sora("reconcile", lost("lost"), "--absent", "--reason", "the operator sees none")
    assert (ended.code, verdicts(ended)) == (0, ["absent"])


def test_the_reason_is_in_the_log(sora: Sora, lost: Callable[..., str]) -> None:
    job = lost("lost")
    sora("reconcile", job, "--absent", "--reason", "the operator sees none")
    assert "“the operator sees none”" in sora("log", "--job", job, "--format=text").out


def test_that_nothing_was_lost_is_reported(sora: Sora, denied: str) -> None:
    ended = sora("reconcile", "--all", "--format=text")
    assert (ended.code, ended.out) == (0, "no submission is lost or under way\n")


def test_a_server_that_cannot_be_reached_is_an_error(
    sora: Sora, lost: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = lost()
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setattr("render_service.submission.retry.FIRST_PAUSE_S", 0.001)
    assert sora("reconcile", job).code == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either a job or --all"),
        (["job_1", "--all"], "give either a job or --all"),
        (["--all", "--video-id", "video_1"], "name it"),
        (["job_1", "--absent"], "--absent needs --reason TEXT"),
        (["job_1", "--absent", "--reason", " "], "--absent needs --reason TEXT"),
        (["job_1", "--reason", "because"], "--reason belongs to --absent"),
        (
            ["job_1", "--video-id", "video_1", "--absent", "--reason", "x"],
            "give either --video-id or --absent",
        ),
        (["job_1", "--force"], "--force belongs to --video-id"),
        (["job_1", "--grace", "-1"], "-1.0 is not in the range"),
    ],
)
def test_bad_input_says_what_is_wrong(sora: Sora, denied: str, arguments: list[str], message: str) -> None:
    ended = sora("reconcile", *arguments)
    assert (ended.code, message in ended.err) == (2, True)


@pytest.fixture
def both(folder: Path, forks: Forks) -> Callable[..., list[int]]:
    """Run commands at the same time; return how they ended."""

    def run(*commands: list[str]) -> list[int]:
        running = [forks.popen(command, folder, os.environ) for command in commands]
        for process in running:
            process.communicate(timeout=120)
        return [process.wait() for process in running]

    return run


def test_two_at_once_give_every_video_to_one_job(
    sora: Sora, lost: Callable[..., str], both: Callable[..., list[int]]
) -> None:
    for _ in range(3):
        lost()
    assert set(both(["reconcile", "--all"], ["reconcile", "--all"])) <= {0, 6}
    assert sora("reconcile", "--all").code == 0
    jobs = sora("jobs").document["jobs"]
    assert {job["state"] for job in jobs} == {"running"}
    assert (len({job["id"] for job in jobs}), sora("verify").code) == (3, 0)


def test_of_two_who_name_one_video_at_once_one_is_refused(
    sora: Sora, lost: Callable[..., str], both: Callable[..., list[int]]
) -> None:
    jobs = [lost() for _ in range(2)]
    video = sora("list").document["data"][0]["id"]
    codes = both(*(["reconcile", job, "--video-id", video] for job in jobs))
    assert (sorted(codes), sora("verify").code) == ([0, 2], 0)
