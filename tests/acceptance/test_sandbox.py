"""``sora-ledger sandbox`` as a server of its own, for our commands and for the official SDK."""

import os
import re
import signal
import warnings
from collections.abc import Callable

import httpx2
import pytest
from openai import OpenAI

from tests.acceptance.conftest import Place

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def origin(own_sandbox: Callable[..., str]) -> str:
    return str(own_sandbox("--render-seconds", "0", "--media", "cached"))


def test_it_prints_the_two_variables_to_export(place: Place) -> None:
    process = place.start("sandbox", "--port", "0")
    lines = [process.stdout.readline() for _ in range(2)]
    assert re.fullmatch(r"export OPENAI_BASE_URL=http://127\.0\.0\.1:\d+/v1\n", lines[0])
    assert lines[1] == "export OPENAI_API_KEY=sandbox\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_quietly(place: Place, number: signal.Signals) -> None:
    process = place.start("sandbox", "--port", "0")
    process.stdout.readline()
    process.send_signal(number)
    _, stderr = process.communicate(timeout=120)
    assert (process.returncode, "Traceback" in stderr or "interrupted" in stderr) == (0, False)


def test_it_answers_as_soon_as_it_has_said_where(place: Place) -> None:
    process = place.start("sandbox", "--port", "0")
    base_url = process.stdout.readline().strip().partition("=")[2]
    assert httpx2.get(f"{base_url}/videos", headers={"authorization": "Bearer any"}).status_code == 200


def test_a_port_in_use_says_so(place: Place, origin: str) -> None:
    ended = place.run("sandbox", "--port", origin.rpartition(":")[2])
    assert (ended.returncode, "Address already in use); try another --port" in ended.stderr) == (1, True)


def test_the_official_sdk_works_with_what_it_prints(place: Place, origin: str) -> None:
    variables = place.environment
    with (
        OpenAI(base_url=variables["OPENAI_BASE_URL"], api_key=variables["OPENAI_API_KEY"]) as client,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", DeprecationWarning)
        video = client.videos.create_and_poll(prompt="a fox", model="sora-2", seconds="4", size="1280x720")
        content = client.videos.download_content(video.id).read()
    assert (video.status, content[4:8]) == ("completed", b"ftyp")


def test_a_trace_goes_through_to_every_event_and_to_the_server(place: Place, origin: str) -> None:
    job = place.json("create-and-poll", "--prompt", "a fox", TRACEPARENT=PARENT)["final"]
    records = place.json("log", "--job", job["job_id"])["records"]
    assert {record["trace_id"] for record in records} == {"0af7651916cd43dd8448eb211c80319c"}
    [known] = httpx2.get(f"{origin}/_sandbox/jobs").json()["data"]
    assert known["traceparent"].split("-")[1:3] == [records[0]["trace_id"], records[0]["span_id"]]


def test_the_server_is_told_the_attempt(place: Place, origin: str) -> None:
    job = place.json("create", "--prompt", "a fox")
    [known] = httpx2.get(f"{origin}/_sandbox/jobs").json()["data"]
    assert known["client_request_id"] == job["attempt_id"]


def test_settings_may_be_in_the_env_file(place: Place, origin: str) -> None:
    names = ["OPENAI_BASE_URL", "OPENAI_API_KEY", "SORA_LEDGER_URL"]
    lines = [f"{name}={place.environment.pop(name)}" for name in names]
    (place.folder / ".env").write_text(os.linesep.join(lines))
    assert place.json("create", "--prompt", "a fox")["profile"] == "custom"
    assert (place.folder / "ledger.db").exists()


def test_a_remix_of_a_rendered_video_is_stored(place: Place, origin: str) -> None:
    source = place.json("create-and-poll", "--prompt", "a fox")["final"]
    remix = place.json("remix", source["id"], "--prompt", "Shift the palette to teal")
    stored = place.json("poll", remix["job_id"], "--poll-interval", "0.05")
    assert (stored["state"], stored["source_job"]) == ("stored", source["job_id"])


def test_what_was_asked_is_seen_by_list_and_gone_after_delete(place: Place, origin: str) -> None:
    video = place.json("create", "--prompt", "a fox")["id"]
    assert [listed["id"] for listed in place.json("list")["data"]] == [video]
    assert place.run("delete", video, "--reason", "done").returncode == 0
    assert place.json("list")["data"] == []


def test_a_followed_log_shows_what_is_appended(place: Place, origin: str) -> None:
    place.run("create", "--prompt", "a fox", "--max-cost", "0")
    following = place.start("log", "--follow", "--type", "submission.accepted")
    job = place.json("create", "--prompt", "a fox")["job_id"]
    assert f'"stream": "{job}"' in following.stdout.readline()
