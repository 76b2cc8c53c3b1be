"""A name of the Videos API means in our documents what it means there."""

import shlex
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora

API = {
    "id": str,
    "object": str,
    "model": str,
    "status": str,
    "progress": int,
    "created_at": int,
    "completed_at": int,
    "prompt": str,
    "size": str,
    "seconds": str,
}
PROMPT = "A shop sign"


@pytest.fixture
def made(sora: Sora, server: Callable[..., SandboxServer]) -> dict[str, Any]:
    """Return the final document of a video, and what was sent as its prompt."""
    server()
    return sora("create-and-poll", "--prompt", PROMPT, "--no-augment").document["final"]


@pytest.mark.parametrize("command", ["poll", "status", "show", "download", "jobs", "replay"])
def test_names_of_the_api_have_its_types_in_every_document(
    sora: Sora, made: dict[str, Any], command: str
) -> None:
    more = {"jobs": [], "replay": ["--as-of", "100"]}.get(command, [made["job_id"]])
    size = sora("log").document["records"][-1]["position"]
    ended = sora(command, *(["--as-of", str(size)] if command == "replay" else more))
    document = ended.document
    job = document["jobs"][0] if "jobs" in document else document.get("job", document)
    assert {name: type(job[name]) for name in API} == API
    assert (job["prompt"], job["created_at"]) == (PROMPT, _seconds(job["begun_at"]))


def test_a_document_says_of_the_prompt_what_was_sent(
    sora: Sora, server: Callable[..., SandboxServer]
) -> None:
    server()
    job = sora("create", "--prompt", PROMPT, "--text", "SALE").document
    [listed] = sora("list").document["data"]
    assert job["prompt"] == listed["prompt"]


def test_what_is_not_known_is_null(sora: Sora, denied: str) -> None:
    job = sora("status", denied).document
    assert (job["id"], job["completed_at"], job["prompt"] is None) == (None, None, False)


def test_a_batch_writes_the_same_documents(
    sora: Sora, server: Callable[..., SandboxServer], folder: Path
) -> None:
    server()
    (folder / "b.jsonl").write_text("A fox")
    job = sora("create-batch", "--input", "b.jsonl", "--out-dir", "out").document["jobs"][0]
    assert (type(job["created_at"]), "A fox" in job["prompt"]) == (int, True)


def test_deleting_answers_as_the_api_does(sora: Sora, made: dict[str, Any]) -> None:
    document = sora("delete", made["job_id"]).document
    assert list(document.items())[:3] == [("id", made["id"]), ("object", "video.deleted"), ("deleted", True)]
    assert document["job_id"] == made["job_id"]


@pytest.mark.parametrize(
    "options", [[], ["--limit", "2"], ["--order", "asc"], ["--limit", "1", "--order", "asc"]]
)
def test_the_next_page_is_asked_for_as_this_one_was(
    sora: Sora, server: Callable[..., SandboxServer], options: list[str]
) -> None:
    server()
    for _ in range(22 if options in ([], ["--order", "asc"]) else 3):
        sora("create", "--prompt", "a fox", "--no-augment")
    text = sora("list", *options, "--format=text").out
    line = next(line for line in text.splitlines() if line.startswith("next: "))
    command = shlex.split(line)[2:]
    page = sora("list", *options).document
    assert command == ["list", *options, "--after", page["last_id"]]
    assert sora(*command).document["data"][0]["id"] not in {each["id"] for each in page["data"]}


def test_a_page_without_videos_has_no_next(sora: Sora, made: dict[str, Any]) -> None:
    assert "next:" not in sora("list", "--limit", "0", "--format=text").out


def test_why_a_render_failed_is_shown_with_the_command_that_tries_again(
    sora: Sora, server: Callable[..., SandboxServer]
) -> None:
    server()
    options = ("--prompt", "it's a fox [fail]", "--seconds", "8", "--size", "720x1280")
    job = sora("create-and-poll", *options).document["final"]
    document = sora("whynot", job["job_id"]).document
    assert document["failure"]["code"] == job["error"]["code"] == "moderation_blocked"
    assert document["failure"]["message"]
    [command] = document["commands"]
    again = sora(*shlex.split(command)[1:]).document
    assert [again[name] for name in ("prompt", "size", "seconds")] == [
        job[name] for name in ("prompt", "size", "seconds")
    ]
    text = sora("whynot", job["job_id"], "--format=text").out
    assert "failed: moderation_blocked" in text
    assert command in text


def test_why_an_allowed_render_that_did_not_fail_has_no_failure(sora: Sora, made: dict[str, Any]) -> None:
    document = sora("whynot", made["job_id"]).document
    assert (document["failure"], document["commands"]) == (None, [])


def test_a_webhook_endpoint_is_deleted(sora: Sora, server: Callable[..., SandboxServer]) -> None:
    server()
    url = "https://renders.example.com/webhooks/custom"
    first, second = (sora("webhook", "register", "--url", url).document["id"] for _ in range(2))
    ended = sora("webhook", "delete", "--id", first)
    assert (ended.code, ended.document["id"], ended.document["deleted"]) == (0, first, True)
    assert [each["id"] for each in sora("webhook", "list").document["endpoints"]] == [second]
    again = sora("webhook", "delete", "--id", first)
    assert (again.code, "`sora-ledger webhook list` shows" in again.error) == (8, True)


def test_deleting_a_webhook_endpoint_needs_its_id(sora: Sora, server: Callable[..., SandboxServer]) -> None:
    server()
    assert sora("webhook", "delete").code == 2


def _seconds(moment: str) -> int:
    return int(datetime.fromisoformat(moment).timestamp())
