"""Ctrl-C, kill -9, and several at once: what was recorded is intact, and what was begun is gone on with."""

import hashlib
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from sora_adapter.sandbox.server import SandboxServer
from sora_adapter.sandbox.settings import SandboxSettings
from tests.acceptance.conftest import Place
from tests.forks import Running

CREATE = ["create-and-poll", "--prompt", "a fox runs", "--poll-interval", "0.05"]
POLL = ["--poll-interval", "0.05"]
STEPS = [
    "trace.started",
    "render.requested",
    "render.decided",
    "submission.intended",
    "submission.accepted",
    "status.observed",
    "asset.stored",
]


@pytest.mark.parametrize("step", ["submission.intended", "submission.accepted"])
def test_ctrl_c_leaves_a_job_that_poll_goes_on_with(
    place: Place, seen: Callable[[Running, str], str], interrupt: Callable[[Running], int], step: str
) -> None:
    process = place.start(*CREATE, SORA_SANDBOX_SECONDS="2")
    seen(process, step)
    assert interrupt(process) == 130
    [job] = place.jobs()
    polled = place.json("poll", job["job_id"], *POLL)
    assert (polled["state"], place.is_intact()) == ("stored", True)


def test_ctrl_c_in_a_download_leaves_no_half_file_and_poll_goes_on(
    place: Place, seen: Callable[[Running, str], str], interrupt: Callable[[Running], int]
) -> None:
    process = place.start(*CREATE)
    seen(process, "status.observed")
    assert interrupt(process) == 130
    assert stray(place.folder) == []
    [job] = place.jobs()
    assert (place.json("poll", job["job_id"], *POLL)["state"], place.is_intact()) == ("stored", True)


def test_ctrl_c_says_how_to_go_on(place: Place, seen: Callable[[Running, str], str]) -> None:
    process = place.start(*CREATE, SORA_SANDBOX_SECONDS="30")
    seen(process, "submission.accepted")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert ("`sora-ledger poll --id JOB` waits for one" in said, "Traceback" in said) == (True, False)


@pytest.mark.parametrize("number", range(len(STEPS)))
def test_a_kill_at_any_moment_leaves_an_intact_ledger_and_at_most_one_video(
    place: Place, seen: Callable[[Running, str], str], number: int
) -> None:
    chance = random.Random(number)
    process = place.start(*CREATE, SORA_SANDBOX_SECONDS="0.5")
    seen(process, STEPS[number])
    _linger(process, chance.uniform(0, 0.15))
    process.kill()
    process.wait()
    if (place.folder / "ledger.db").exists():
        assert place.run("verify").returncode in {0, 7}  # 7: it was killed before the ledger had begun
    assert created(place.folder) <= 1
    assert stray(place.folder) == []


def _linger(process: Any, seconds: float) -> None:
    """Let the process go on for a moment."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return


def stray(folder: Path) -> list[str]:
    """Return the stored files that are not what their names say."""
    files = [path for path in (folder / "assets" / "sha256").rglob("*") if path.is_file()]
    return [path.name for path in files if hashlib.sha256(path.read_bytes()).hexdigest() != path.stem]


def created(folder: Path) -> int:
    """Return how many creates the embedded sandbox was asked for."""
    with SandboxServer(SandboxSettings(folder / "sandbox")) as server:
        return int(httpx2.get(f"{server.origin}/_sandbox/requests").json()["creates"])


def test_a_killed_poll_is_gone_on_with(place: Place, seen: Callable[[Running, str], str]) -> None:
    process = place.start(*CREATE)
    seen(process, "status.observed")
    process.kill()
    process.wait()
    [job] = place.jobs()
    assert place.json("poll", job["job_id"], *POLL)["state"] == "stored"


SMALL_DISK = """
import resource, sys
from cli.main import main
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
main(sys.argv[1:])
"""


def test_a_full_disk_stops_a_download_and_poll_goes_on_when_there_is_room(
    place: Place, own_sandbox: Callable[..., str]
) -> None:
    own_sandbox("--render-seconds", "0", "--media", "cached")
    command = [sys.executable, "-c", SMALL_DISK, *CREATE, "--seconds", "12"]
    full = subprocess.run(
        command, check=False, cwd=place.folder, env=place.environment, capture_output=True, text=True
    )
    assert (full.returncode, "nothing half-written is left: make room" in full.stderr) == (1, True)
    [job] = place.jobs()
    assert (job["state"], stray(place.folder), place.is_intact()) == ("completed", [], True)
    assert place.json("poll", job["job_id"], *POLL)["state"] == "stored"


def test_a_cut_off_submission_is_never_sent_again(place: Place, seen: Callable[[Running, str], str]) -> None:
    process = place.start("create", "--prompt", "a fox", "--request-key", "teaser")
    seen(process, "submission.intended")
    process.kill()
    process.wait()
    place.run("create", "--prompt", "a fox", "--request-key", "teaser")
    assert created(place.folder) <= 1


def test_a_cut_off_submission_is_settled_and_then_rendered_once(
    place: Place, seen: Callable[[Running, str], str]
) -> None:
    command = ["create", "--prompt", "a fox", "--request-key", "teaser"]
    process = place.start(*command)
    seen(process, "submission.intended")
    process.kill()
    process.wait()
    [settled] = place.json("reconcile", "--all", "--grace", "0")["settlements"]
    assert settled["verdict"] in {"recovered", "absent"}
    assert place.run(*command).returncode == 0
    [job] = place.jobs()
    assert place.json("poll", job["job_id"], *POLL)["state"] == "stored"
    assert (created(place.folder), place.run("audit").returncode, place.is_intact()) == (1, 0, True)


def test_two_processes_with_one_request_key_make_one_video(place: Place) -> None:
    command = ["create", "--prompt", "a fox", "--request-key", "teaser"]
    both = [place.start(*command) for _ in range(2)]
    codes = {process.wait(120) for process in both}
    assert (len(place.jobs()), created(place.folder)) == (1, 1)
    assert {0} <= codes <= {0, 6}  # 6: the other one's submission was still under way


def test_two_processes_may_begin_one_ledger(place: Place) -> None:
    both = [place.start("create", "--prompt", "a fox") for _ in range(2)]
    codes = [process.wait(120) for process in both]
    assert (codes, len(place.jobs()), place.is_intact()) == ([0, 0], 2, True)


def test_two_polls_of_one_job_store_it_once(place: Place) -> None:
    job = place.json("create", "--prompt", "a fox")["job_id"]
    both = [place.start("poll", job, *POLL) for _ in range(2)]
    codes = [process.wait(120) for process in both]
    types = [record["type"] for record in place.json("log", "--job", job)["records"]]
    assert (codes, types.count("asset.stored"), types.count("render.closed")) == ([0, 0], 1, 1)
