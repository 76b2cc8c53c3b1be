"""Other systems' facts, with the field names they know, and outputs tied to what happens next."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sora_adapter.sandbox.server import SandboxServer
from tests.cli.conftest import Sora

RECORD = ["record", "media-renders"]
FACT = {
    "videoId": "video_123",
    "status": "completed",
    "progress": 100,
    "model": "sora-2",
    "seconds": "8",
    "size": "1280x720",
    "prompt": "a teal coupe",
    "remixVideoId": "video_122",
    "inputReference": {"name": "frame.png"},
    "storageUri": "s3://renders/video_123.mp4",
    "webhookEventId": "evt_1",
}


@pytest.fixture
def written(folder: Path) -> Callable[[Any], list[str]]:
    """Write a document to a file and return the command that records it."""

    def write(document: Any) -> list[str]:
        (folder / "event.json").write_text(document if isinstance(document, str) else json.dumps(document))
        return [*RECORD, "--json-in", "event.json"]

    return write


def test_a_fact_is_recorded_in_a_stream_of_its_own(sora: Sora) -> None:
    ended = sora(*RECORD, "--video-id", "video_123", "--status", "completed", "--seconds", "8")
    [record] = sora("log", "--stream", "media-renders").document["records"]
    assert (ended.code, ended.document["type"], record["authority"]) == (0, "external.recorded", "EXTERNAL")
    assert (record["payload"]["video_id"], record["payload"]["seconds"]) == ("video_123", "8")
    assert sora("verify").code == 0


def test_every_field_name_of_the_bickford_helper_is_understood(
    sora: Sora, written: Callable[[Any], list[str]]
) -> None:
    payload = sora(*written(FACT)).document["payload"]
    assert payload["prompt"]["text"] == "a teal coupe"
    assert payload["input_reference"]["text"] == '{"name":"frame.png"}'
    assert (payload["remix_video_id"], payload["storage_uri"]) == ("video_122", FACT["storageUri"])


def test_both_spellings_of_a_name_are_one_field(sora: Sora, written: Callable[[Any], list[str]]) -> None:
    ended = sora(*written({"video_id": "video_1", "videoId": "video_1"}))
    assert (ended.code, "video_id appears twice" in ended.error) == (2, True)


@pytest.mark.parametrize("key", [["--event-id", "e-1"], ["--webhook-event-id", "evt_1"]])
def test_a_fact_with_an_id_is_recorded_once(sora: Sora, key: list[str]) -> None:
    command = [*RECORD, "--video-id", "video_1", "--prompt", "a fox", *key]
    first, second = (sora(*command).document for _ in range(2))
    assert (first["repeated"], second["repeated"]) == (False, True)
    assert first["position"] == second["position"]


def test_an_id_that_stands_for_another_fact_is_refused(sora: Sora) -> None:
    sora(*RECORD, "--video-id", "video_1", "--event-id", "e-1")
    ended = sora(*RECORD, "--video-id", "video_2", "--event-id", "e-1")
    assert (ended.code, "event id e-1 is recorded with another fact at position 2" in ended.error) == (
        2,
        True,
    )


def test_the_same_id_in_another_stream_is_another_fact(sora: Sora) -> None:
    sora(*RECORD, "--video-id", "video_1", "--event-id", "e-1")
    assert sora("record", "other", "--video-id", "video_2", "--event-id", "e-1").document["repeated"] is False


def test_processes_that_record_the_same_fact_at_once_record_it_once(as_process: Sora) -> None:
    command = [*RECORD, "--video-id", "video_1", "--event-id", "e-1"]
    with ThreadPoolExecutor(4) as pool:
        documents = [ended.document for ended in pool.map(lambda _: as_process(*command), range(4))]
    assert len({document["position"] for document in documents}) == 1
    assert sorted(document["repeated"] for document in documents) == [False, True, True, True]


@pytest.mark.parametrize("stream", ["ledger", "policy", "job_1", "budget_x", "inbox_openai", "characters_x"])
def test_a_stream_of_ours_is_closed_to_others(sora: Sora, folder: Path, stream: str) -> None:
    ended = sora("record", stream, "--video-id", "video_1")
    assert (ended.code, "is reserved for sora-ledger itself" in ended.error) == (2, True)
    assert not (folder / "ledger.db").exists()


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"vidoId": "x"}, "did you mean video_id?"),
        ({"progress": 101}, "progress: expected a whole number from 0 to 100"),
        ({"progress": "half"}, "progress: expected a whole number"),
        ({"status": ["x"]}, "status: expected 1 to 2048 printable characters"),
        ({"inputReference": {"ratio": 1.5}}, "input_reference: expected text, or JSON without fractions"),
        ({}, "nothing to record"),
        ([1], "expected a JSON object"),
        ("{", "expected a JSON object"),
        ("[" * 100_000, "expected a JSON object"),
    ],
)
def test_a_wrong_document_says_what_was_expected_and_begins_no_ledger(
    sora: Sora, folder: Path, written: Callable[[Any], list[str]], document: Any, message: str
) -> None:
    ended = sora(*written(document))
    assert (ended.code, message in ended.error) == (2, True)
    assert not (folder / "ledger.db").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["record", "Media Renders", "--video-id", "x"], "expected 1 to 64 of a-z"),
        ([*RECORD, "--video-id", "x", "--event-id", "a b"], "expected 1 to 128 visible ASCII"),
        ([*RECORD], "nothing to record"),
    ],
)
def test_a_wrong_name_says_what_one_looks_like(sora: Sora, arguments: list[str], message: str) -> None:
    ended = sora(*arguments)
    assert (ended.code, message in ended.error) == (2, True)


def test_options_and_a_document_are_not_mixed(sora: Sora, written: Callable[[Any], list[str]]) -> None:
    assert sora(*written(FACT), "--status", "failed").code == 2


def test_a_dry_record_shows_the_event_and_records_nothing(sora: Sora, folder: Path) -> None:
    ended = sora(*RECORD, "--video-id", "video_1", "--dry-run")
    assert (ended.document["event"]["video_id"], list(folder.iterdir())) == ("video_1", [])


def test_an_output_is_attached_to_a_workflow_once(sora: Sora, server: Callable[..., SandboxServer]) -> None:
    server()
    job = sora("create-and-poll", "--prompt", "a fox").document["final"]["job_id"]
    command = ["attach", job, "--workflow", "qa", "--uri", "https://qa.example/7"]
    assert [sora(*command).document["attached"] for _ in range(2)] == [True, False]
    [record] = sora("log", "--type", "output.attached").document["records"]
    assert record["payload"] == {"workflow": "qa", "uri": "https://qa.example/7"}
    ended = sora("attach", job, "--workflow", "qa", "--uri", "ticket 7")
    assert (ended.code, "uri: expected a URI such as https://" in ended.error) == (2, True)
    assert sora("verify").code == 0


def test_a_job_without_an_output_has_nothing_to_attach(sora: Sora, denied: str) -> None:
    ended = sora("attach", denied, "--workflow", "qa", "--uri", "https://qa.example/7")
    assert (ended.code, "has no output to attach" in ended.error) == (1, True)
