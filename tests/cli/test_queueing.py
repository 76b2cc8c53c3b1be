"""Deciding now and submitting later, on the command line."""

import json
from collections.abc import Callable
from pathlib import Path

from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora


def test_a_queued_render_is_decided_and_resume_submits_it(
    sora: Sora, server: Callable[..., SandboxServer]
) -> None:
    server()
    queued = sora("create", "--prompt", "a fox", "--queue")
    assert (queued.code, queued.document["state"]) == (0, "decided")
    resumed = sora("resume", queued.document["job_id"])
    assert (resumed.code, resumed.document["state"]) == (0, "running")


def test_text_says_what_to_type_next(sora: Sora, server: Callable[..., SandboxServer]) -> None:
    server()
    queued = sora("create", "--prompt", "a fox", "--queue", "--format=text")
    job_id = queued.out.partition("sora-ledger resume ")[2].split()[0]
    assert f"next: a worker submits it (sora-ledger worker), or: sora-ledger resume {job_id}" in queued.out
    assert sora("resume", job_id).code == 0


def test_cancel_withdraws_what_was_queued(sora: Sora, server: Callable[..., SandboxServer]) -> None:
    server()
    job = sora("create", "--prompt", "a fox", "--queue").document["job_id"]
    gone = sora("cancel", job, "--reason", "another concept")
    assert (gone.code, gone.document["state"]) == (0, "cancelled")
    again = sora("resume", job)
    assert again.code == 1
    assert "is closed (cancelled)" in again.error


def test_a_queued_batch_sends_nothing_and_is_no_failure(
    sora: Sora, server: Callable[..., SandboxServer], folder: Path
) -> None:
    server()
    (folder / "prompts.jsonl").write_text("a fox\nan owl\n")
    ended = sora("create-batch", "--input", "prompts.jsonl", "--out-dir", "out", "--queue")
    assert (ended.code, ended.document["counts"]) == (0, {"entries": 2, "decided": 2})
    assert [job["trouble"] for job in ended.document["jobs"]] == [None, None]
    assert json.loads((folder / "out" / "001-a-fox.json").read_text())["state"] == "decided"


def test_a_queued_batch_cannot_be_waited_for(
    sora: Sora, server: Callable[..., SandboxServer], folder: Path
) -> None:
    server()
    (folder / "prompts.jsonl").write_text("a fox\n")
    ended = sora("create-batch", "--input", "prompts.jsonl", "--out-dir", "out", "--queue", "--poll")
    assert ended.code == 2
