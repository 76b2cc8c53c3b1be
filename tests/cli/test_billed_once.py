"""What the server bills, where other clients are billed several times for one request.

The skill's own script was billed three times for one create whose answer was dropped (the SDK sends a POST
again by itself), and nine times for a line of a batch that timed out (three attempts of three).
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from sora_adapter.client import VideosClient
from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora

ONE_LINE = '{"prompt": "a fox runs"}\n'
BATCH = ("create-batch", "--input", "one.jsonl", "--out-dir", "out", "--max-attempts", "3")


@pytest.fixture
def at_server(
    server: Callable[..., SandboxServer], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Callable[[], int]]:
    """Start a server with a fault that lasts; return how to count what it has created."""
    monkeypatch.setenv("SORA_LEDGER_PROFILE", "openai")
    (folder / "one.jsonl").write_text(ONE_LINE)

    def begin(fault: str) -> Callable[[], int]:
        running = server(clock=time.time, faults=(f"create={fault}",))
        return lambda: len(httpx2.get(f"{running.origin}/_sandbox/jobs").json()["data"])

    return begin


@pytest.fixture
def impatiently(sora: Sora, monkeypatch: pytest.MonkeyPatch) -> Sora:
    """Run a command that waits a second for each answer."""

    def command(*arguments: str) -> Any:
        with monkeypatch.context() as meanwhile:
            meanwhile.setitem(VideosClient.__init__.__kwdefaults__, "timeout_s", 1.0)
            return sora(*arguments)

    return command


def carried_out(billed: Callable[[], int]) -> int:
    """Return the count once the server has carried out what nobody waits for any more."""
    while not billed():
        time.sleep(0.01)
    return billed()


def test_a_create_whose_answer_is_dropped_is_billed_once_and_known(
    sora: Sora, at_server: Callable[..., Callable[[], int]]
) -> None:
    billed = at_server("kept-but-answer-lost")
    ended = sora("create", "--prompt", "a fox runs")
    assert (ended.code, ended.document["state"], billed()) == (6, "unknown", 1)


def test_a_create_whose_answer_is_dropped_is_found_again(
    sora: Sora, at_server: Callable[..., Callable[[], int]]
) -> None:
    billed = at_server("kept-but-answer-lost")
    job = sora("create", "--prompt", "a fox runs").document["job_id"]
    [found] = sora("reconcile", job).document["settlements"]
    assert (found["verdict"], billed()) == ("recovered", 1)


def test_a_line_of_a_batch_that_times_out_is_billed_once_and_known(
    sora: Sora, at_server: Callable[..., Callable[[], int]], impatiently: Sora
) -> None:
    billed = at_server("kept-but-slow@60")
    ended = impatiently(*BATCH)
    assert ended.code == 6
    assert [job["state"] for job in sora("jobs").document["jobs"]] == ["unknown"]
    assert carried_out(billed) == 1


def test_a_line_of_a_batch_that_timed_out_is_found_again_and_never_sent_again(
    sora: Sora, at_server: Callable[..., Callable[[], int]], impatiently: Sora
) -> None:
    billed = at_server("kept-but-slow@60")
    impatiently(*BATCH)
    assert carried_out(billed) == 1
    [found] = sora("reconcile", "--all").document["settlements"]
    assert found["verdict"] == "recovered"
    assert (sora(*BATCH, "--resume").code, billed()) == (0, 1)
