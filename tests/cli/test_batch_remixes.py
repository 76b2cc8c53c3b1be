"""Entries of a batch that change videos: one remix each, or several that workers make one after the other."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora

BATCH = ("create-batch", "--input", "changes.jsonl", "--out-dir", "out")
SPLIT = (*BATCH, "--split", "--queue")
TWO = "Make the palette teal and let it snow"


@pytest.fixture
def source(sora: Sora, server: Callable[..., SandboxServer]) -> str:
    """Return the job of a stored video."""
    server()
    made = sora("create-and-poll", "a fox in a meadow", "--seconds", "8", "--poll-interval", "0.05")
    return str(made.document["final"]["job_id"])


@pytest.fixture
def changes(folder: Path) -> Callable[..., Path]:
    """Write a batch file of these entries."""

    def write(*entries: Any) -> Path:
        path = folder / "changes.jsonl"
        path.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries))
        return path

    return write


def work(sora: Sora) -> None:
    assert sora("worker", "--drain", "--interval", "0.1").code == 0


def test_an_entry_with_remix_of_is_a_remix_beside_new_videos(
    sora: Sora, source: str, changes: Callable[..., Path]
) -> None:
    changes({"prompt": "Make it night", "remix_of": source[-8:]}, "an owl")
    ended = sora(*BATCH, "--poll", "--poll-interval", "0.05", "--size", "720x1280")
    remix, owl = ended.document["jobs"]
    assert ended.code == 0
    assert (remix["operation"], remix["source_job"], remix["seconds"]) == ("remix", source, "8")
    assert (owl["operation"], owl["size"], owl["state"]) == ("create", "720x1280", "stored")
    assert (remix["size"], remix["state"]) == ("1280x720", "stored")


def test_workers_make_every_remix_of_a_split_entry(
    sora: Sora, source: str, changes: Callable[..., Path]
) -> None:
    changes({"prompt": TWO, "remix_of": source}, {"prompt": "Make it night", "remix_of": source})
    queued = sora(*SPLIT)
    assert (queued.code, queued.document["counts"]) == (0, {"entries": 2, "decided": 2})
    work(sora)
    first = queued.document["jobs"][0]["job_id"]
    assert sora("status", first).document["split"]["progress"] == "done"
    remixes = [job for job in sora("jobs").document["jobs"] if job["operation"] == "remix"]
    assert [job["state"] for job in remixes] == ["stored"] * 3
    assert {job["source_job"] for job in remixes} == {source, first}


def test_a_split_batch_is_continued_and_sends_nothing_twice(
    sora: Sora, server: Callable[..., SandboxServer], source: str, changes: Callable[..., Path], folder: Path
) -> None:
    changes({"prompt": TWO, "remix_of": source})
    [job] = sora(*SPLIT).document["jobs"]
    work(sora)
    again = sora(*SPLIT, "--resume")
    assert [repeated["job_id"] for repeated in again.document["jobs"]] == [job["job_id"]]
    work(sora)
    assert len([job for job in sora("jobs").document["jobs"] if job["operation"] == "remix"]) == 2
    assert sora("audit").code == 0


def test_resuming_without_split_is_refused_rather_than_sent_as_another_request(
    sora: Sora, source: str, changes: Callable[..., Path]
) -> None:
    changes({"prompt": TWO, "remix_of": source})
    sora(*SPLIT)
    ended = sora(*BATCH, "--queue", "--resume")
    assert (ended.code, "recorded with another prompt" in ended.error) == (2, True)


def test_a_dry_run_counts_every_remix_of_a_split(
    sora: Sora, source: str, changes: Callable[..., Path]
) -> None:
    changes({"prompt": TWO, "remix_of": source}, "an owl")
    ended = sora(*SPLIT, "--dry-run")
    assert (ended.code, ended.document["renders"]) == (0, 3)
    assert ended.document["counts"] == {"entries": 2, "allowed": 3, "denied": 0, "held": 0}
    assert ended.document["cost_usd_micros"] == 2_000_000
    assert (
        "2 entries, 3 renders: 3 allowed; 2.00 USD in total" in sora(*SPLIT, "--dry-run", "--format=text").out
    )


def test_without_split_several_changes_are_denied(
    sora: Sora, source: str, changes: Callable[..., Path]
) -> None:
    changes({"prompt": TWO, "remix_of": source})
    ended = sora(*BATCH)
    assert (ended.code, ended.document["counts"]) == (3, {"entries": 1, "denied": 1})


def test_an_entry_may_declare_its_change(sora: Sora, source: str, changes: Callable[..., Path]) -> None:
    changes({"prompt": "Rendi tutto più vivo", "remix_of": source, "declare_change": "lighting"})
    assert sora(*BATCH).document["counts"] == {"entries": 1, "running": 1}


def test_split_needs_queue(sora: Sora, source: str, changes: Callable[..., Path]) -> None:
    changes({"prompt": TWO, "remix_of": source})
    ended = sora(*BATCH, "--split")
    assert (ended.code, "--split needs --queue" in ended.error) == (2, True)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"remix_of": "nosuch"}, "'nosuch' is not a job id"),
        ({"remix_of": "@last"}, "remix_of: expected the id of a job or of a video, found '@last'"),
        ({"remix_of": 7}, "remix_of: expected text, found 7"),
        ({"remix_of": None}, "remix_of is null: name the video to change, or leave it out"),
        ({"remix_of": "job_1", "input_reference": "a.png"}, "a remix has no first frame"),
        ({"video": "job_1"}, "unknown key 'video'; the video that a remix changes is 'remix_of'"),
        ({"declare_change": "palette"}, "declare_change is for a remix"),
    ],
)
def test_an_entry_that_names_no_video_is_reported_with_its_line(
    sora: Sora, source: str, changes: Callable[..., Path], entry: dict[str, Any], words: str
) -> None:
    changes("an owl", {"prompt": "Make it night"} | entry)
    ended = sora(*BATCH)
    assert ended.code == 2
    assert "line 2: " + words in ended.error
    assert len(sora("jobs").document["jobs"]) == 1


def test_a_video_that_is_being_rendered_is_reported_with_what_to_wait_for(
    sora: Sora, server: Callable[..., SandboxServer], changes: Callable[..., Path]
) -> None:
    running = server(render_seconds=60.0)
    job = sora("create", "a fox in a meadow").document["job_id"]
    changes({"prompt": "Make it night", "remix_of": job})
    ended = sora(*BATCH)
    assert (ended.code, f"`sora-ledger poll {job}` waits for its video" in ended.error) == (2, True)
    assert httpx2.get(f"{running.origin}/_sandbox/requests").json()["creates"] == 1


def test_a_remix_of_a_batch_goes_to_the_server_of_its_video_or_nowhere(
    sora: Sora, server: Callable[..., SandboxServer], source: str, changes: Callable[..., Path]
) -> None:
    other = server()
    changes({"prompt": "Make it night", "remix_of": source})
    ended = sora(*BATCH)
    assert (ended.code, f"{source} belongs to" in ended.error) == (2, True)
    assert httpx2.get(f"{other.origin}/_sandbox/requests").json()["remixes"] == 0
