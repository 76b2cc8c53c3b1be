"""What the official SDK reads through a gateway comes from the ledger and its storage."""

import asyncio
import hashlib
import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openai import (
    APIConnectionError,
    APIStatusError,
    AsyncOpenAI,
    BadRequestError,
    ConflictError,
    NotFoundError,
    OpenAI,
    RateLimitError,
)

from tests.outside.conftest import Gateway, Outside, Person, until

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the SDK's, on every `videos.*`

Start = Callable[..., Outside]
Open = Callable[..., Gateway]
FAST = ("--interval", "0.1")
FORGOTTEN = {"retrieve": [404] * 50, "list": False, "content": "404"}


def sdk(gateway: Gateway, key: str, retries: int = 0) -> OpenAI:
    return OpenAI(base_url=gateway.base_url, api_key=key, max_retries=retries, timeout=30)


@contextmanager
def raw(gateway: Gateway, key: str) -> Iterator[httpx2.Client]:
    headers = {"authorization": f"Bearer {key}"}
    with httpx2.Client(base_url=gateway.base_url, headers=headers, timeout=30, verify=False) as client:
        yield client


def completed(client: OpenAI, prompt: str = "a red kite") -> Any:
    """Create a video and poll it, as slowly as a client may, until it is completed."""
    video = client.videos.create(prompt=prompt)
    return waited(client, video.id, "completed")


def polled(client: OpenAI, name: str, times: int) -> None:
    for _ in range(times):
        client.videos.retrieve(name)


def waited(client: OpenAI, name: str, status: str) -> Any:
    end = time.monotonic() + 60
    while (video := client.videos.retrieve(name)).status != status:
        assert time.monotonic() < end, video
        time.sleep(0.5)  # more often is refused
    return video


def asset_of(gateway: Gateway) -> Path:
    [path] = (gateway.person.folder / "assets" / "sha256").rglob("*.mp4")
    return path


def start(gateway: Open, server: Outside, *options: str) -> Gateway:
    return gateway(server, *FAST, *options, SORA_LEDGER_ASSETS="assets")


def test_a_video_is_polled_listed_and_downloaded_from_the_ledger_alone_once_it_is_stored(
    outside: Start, gateway: Open
) -> None:
    server = outside()
    one = start(gateway, server)
    with sdk(one, one.grant("app", "requester")) as client:
        video = completed(client)
        upstream = server.bills()[0]["id"]
        until(lambda: list((one.person.folder / "assets" / "sha256").rglob("*.mp4")))
        until(lambda: [e for e in one.person("log").document["records"] if e["type"] == "render.closed"])
        server.behave(**FORGOTTEN)
        before = len(server.requests())
        again = client.videos.retrieve(video.id)
        assert (again.status, again.progress, again.error) == ("completed", 100, None)
        assert (again.prompt, again.seconds, again.size, again.model) == (
            "a red kite",
            "4",
            "720x1280",
            "sora-2",
        )
        assert again.created_at <= (again.completed_at or 0)
        assert client.videos.retrieve(upstream).id == video.id, "the server's id is accepted too"
        assert [each.id for each in client.videos.list()] == [video.id]
        content = client.videos.download_content(video.id).read()
        assert content == asset_of(one).read_bytes()
        assert len(server.requests()) == before


def test_content_has_ranges_tags_and_head(outside: Start, gateway: Open) -> None:
    one = start(gateway, outside())
    key = one.grant("app", "requester")
    with sdk(one, key) as application:
        video = completed(application)
    url = f"/videos/{video.id}/content"
    with raw(one, key) as client:
        whole = client.get(url)
        body, tag = whole.content, f'"{hashlib.sha256(whole.content).hexdigest()}"'
        size = len(body)
        assert (whole.status_code, whole.headers["etag"], whole.headers["accept-ranges"]) == (
            200,
            tag,
            "bytes",
        )
        assert whole.headers["content-type"] == "video/mp4"

        def asked(**headers: str) -> tuple[int, bytes, str | None]:
            names = {name.replace("_", "-"): text for name, text in headers.items()}
            answer = client.get(url, headers=names)
            return answer.status_code, answer.content, answer.headers.get("content-range")

        assert asked(range="bytes=10-19") == (206, body[10:20], f"bytes 10-19/{size}")
        assert asked(range="bytes=-5") == (206, body[-5:], f"bytes {size - 5}-{size - 1}/{size}")
        assert asked(range=f"bytes={size - 1}-") == (206, body[-1:], f"bytes {size - 1}-{size - 1}/{size}")
        assert asked(range="bytes=10-19", if_range=tag) == (206, body[10:20], f"bytes 10-19/{size}")
        assert asked(range="bytes=10-19", if_range='"other"') == (200, body, None)
        assert asked(range="bytes=0-1,5-6") == (200, body, None), "several ranges get the whole file"
        refused = client.get(url, headers={"range": f"bytes={size}-"})
        assert (refused.status_code, refused.headers["content-range"]) == (416, f"bytes */{size}")
        assert refused.json()["error"]["code"] == "range_not_satisfiable"
        assert asked(if_none_match=f'"x", W/{tag}') == (304, b"", None)
        assert asked(if_none_match="*") == (304, b"", None)
        assert asked(if_none_match='"x"')[0] == 200
        head = client.head(url)
        assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(size))
        assert head.headers["etag"] == tag
        refused = client.get(url, params={"variant": "gif"})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "variant")


def test_a_video_that_is_not_stored_yet_is_fetched_once_for_all_who_wait(
    outside: Start, gateway: Open
) -> None:
    server = outside(status="in_progress")
    one = start(gateway, server, "--no-work")
    key = one.grant("app", "requester")
    with sdk(one, key) as client:
        video = client.videos.create(prompt="a red kite")
        with pytest.raises(NotFoundError) as early:
            client.videos.download_content(video.id)
        assert early.value.code == "video_not_ready"
        server.behave(status="completed")
        assert one.person("status", "--id", video.id.replace("video_", "job_")).code == 0
        assert client.videos.retrieve(video.id).status == "completed"

    async def download() -> list[bytes]:
        async with AsyncOpenAI(base_url=one.base_url, api_key=key, max_retries=0) as client:
            answers = await asyncio.gather(*(client.videos.download_content(video.id) for _ in range(5)))
            return [answer.content for answer in answers]

    contents = asyncio.run(download())
    fetched = [each for each in server.requests("GET") if "/content" in each["path"]]
    assert set(contents) == {asset_of(one).read_bytes()}
    assert len(fetched) == 1


def test_a_gateway_before_another_server_asks_it_nothing_about_older_videos(
    outside: Start, gateway: Open
) -> None:
    first, second = outside(status="in_progress"), outside()
    one = start(gateway, first, "--no-work")
    key = one.grant("app", "requester")
    with sdk(one, key) as client:
        video = client.videos.create(prompt="a red kite").id
        first.behave(status=None)
        assert one.person("status", "--id", video.replace("video_", "job_")).code == 0
    one.end()
    other = start(gateway, second, "--no-work")
    with sdk(other, key) as client:
        assert client.videos.retrieve(video).status == "completed"
        with pytest.raises(ConflictError) as refused:
            client.videos.download_content(video)
        assert refused.value.code == "wrong_server"
        with pytest.raises(ConflictError):
            client.videos.delete(video)
    assert second.requests() == []
    one.start()
    with sdk(one, key) as client:
        content = client.videos.download_content(video).read()
    with sdk(other, key) as client:  # what is stored is served whatever server is in use
        assert client.videos.download_content(video).read() == content


def test_a_stored_file_that_was_changed_is_not_served(outside: Start, gateway: Open) -> None:
    one = start(gateway, outside(), "--no-work")  # a worker could store the whole file once more
    key = one.grant("app", "requester")
    with sdk(one, key) as client:
        video = client.videos.create(prompt="a red kite")
        assert one.person("status", "--id", video.id.replace("video_", "job_")).code == 0
        client.videos.download_content(video.id)
        path = asset_of(one)
        whole = path.read_bytes()
        path.write_bytes(b"x" + whole[1:])
        with pytest.raises(APIStatusError) as refused:
            client.videos.download_content(video.id)
        assert (refused.value.status_code, refused.value.code) == (500, "storage_failed")
        path.write_bytes(whole)
        assert client.videos.download_content(video.id).read() == whole


def test_a_key_sees_the_videos_of_its_own_team_alone(outside: Start, gateway: Open) -> None:
    server = outside()
    one = start(gateway, server)
    film, games = one.grant("ana", "requester", team="film"), one.grant("ben", "requester", team="games")
    with sdk(one, film) as ana, sdk(one, games) as ben, raw(one, games) as other:
        mine = [ana.videos.create(prompt=f"shot {number}").id for number in range(5)]
        his = ben.videos.create(prompt="a duel").id
        upstream = server.bills()[0]["id"]
        answers = [
            other.request(method, path)
            for name in (mine[0], mine[0].replace("video_", "job_"), upstream, "video_" + "0" * 32, "nothing")
            for method, path in (("GET", f"/videos/{name}"), ("DELETE", f"/videos/{name}"),
                                 ("GET", f"/videos/{name}/content"), ("GET", f"/videos?after={name}"))
        ]  # fmt: skip
        assert {(answer.status_code, answer.content) for answer in answers} == {(404, answers[0].content)}, (
            "another team's video looks like one that does not exist"
        )
        assert [each.id for each in ben.videos.list()] == [his]
        assert [each.id for each in ana.videos.list(limit=2)] == mine[::-1], "pages follow each other"
        assert [each.id for each in ana.videos.list(limit=2, order="asc")] == mine
        page = ana.videos.list(limit=2, after=mine[3])
        assert ([each.id for each in page.data], page.has_more) == ([mine[2], mine[1]], True)
        assert ana.videos.list(limit=0).data == []
        for options in ({"limit": 101}, {"limit": "x"}, {"order": "up"}):
            with pytest.raises(BadRequestError):
                ana.videos.list(extra_query=options)
    everything = one.grant("ops", "operator")
    with sdk(one, everything) as ops:
        assert [each.id for each in ops.videos.list()] == [his, *mine[::-1]]


def test_a_deleted_video_is_gone_for_the_client_and_at_the_server(outside: Start, gateway: Open) -> None:
    server = outside()
    one = start(gateway, server)
    with sdk(one, one.grant("app", "requester")) as client:
        server.behave(status="in_progress")
        running = client.videos.create(prompt="it runs").id
        with pytest.raises(BadRequestError) as early:
            client.videos.delete(running)
        assert early.value.code == "video_not_finished"
        server.behave(status=None)
        video = waited(client, running, "completed")
        until(lambda: list((one.person.folder / "assets" / "sha256").rglob("*.mp4")))
        deleted = client.videos.delete(video.id)
        assert (deleted.deleted, deleted.id, deleted.object) == (True, video.id, "video.deleted")
        for gone in (client.videos.retrieve, client.videos.download_content, client.videos.delete):
            with pytest.raises(NotFoundError):
                gone(video.id)
        assert client.videos.list().data == []
    assert [each["method"] for each in server.requests("DELETE")] == ["DELETE"]


def test_a_client_that_polls_ten_times_a_second_is_slowed_down(outside: Start, gateway: Open) -> None:
    server = outside(status="in_progress")
    one = start(gateway, server)
    key = one.grant("app", "requester")
    with sdk(one, key) as client:
        video = client.videos.create(prompt="a red kite").id
        other = client.videos.create(prompt="another").id
        with pytest.raises(RateLimitError) as refused:
            polled(client, video, times=20)
        assert refused.value.response.headers["retry-after"] == "1"
        assert client.videos.retrieve(other).status in {"queued", "in_progress"}
    with sdk(one, key, retries=2) as patient:
        assert patient.videos.retrieve(video).id == video, "the SDK waits as it is asked to"
    polls = [each for each in server.requests("GET") if each["path"].endswith(f"/{video}")]
    assert polls == []


def test_an_operator_may_name_a_video_that_only_the_server_knows(outside: Start, gateway: Open) -> None:
    server = outside()
    one = start(gateway, server)
    made = server.create("by another tool")["id"]
    with sdk(one, one.grant("app", "requester")) as client, pytest.raises(NotFoundError):
        client.videos.retrieve(made)
    with sdk(one, one.grant("ops", "operator")) as client:
        video = client.videos.retrieve(made)
        assert (video.status, video.prompt) == ("completed", "by another tool")
        assert client.videos.retrieve(video.id).id == video.id
        assert client.videos.download_content(made).read() == asset_of(one).read_bytes()
        with pytest.raises(NotFoundError):
            client.videos.retrieve("video_unknown")


def test_models_are_those_of_the_rules_and_moderations_are_passed_on(outside: Start, gateway: Open) -> None:
    server = outside()
    one = start(gateway, server)
    with sdk(one, one.grant("app", "requester")) as client:
        names = [model.id for model in client.models.list()]
        assert names == ["auto", "sora-2", "sora-2-pro"]
        assert client.models.retrieve("sora-2").owned_by == "outside"
        with pytest.raises(NotFoundError):
            client.models.retrieve("gpt-4")
        assert client.moderations.create(input="a fight").results[0].flagged
        assert not client.moderations.create(input="a kite").results[0].flagged
    [first, _] = server.requests("POST")
    assert json.loads(bytes.fromhex(first["body"])) == {"input": "a fight"}
    assert server.bills() == []


def test_what_a_role_does_not_permit_is_a_403_and_a_wrong_key_a_401(outside: Start, gateway: Open) -> None:
    one = start(gateway, outside())
    with raw(one, one.grant("eve", "auditor")) as client:
        assert client.get("/videos").status_code == 200
        refused = client.delete("/videos/video_1")
        assert (refused.status_code, "requester" in refused.json()["error"]["message"]) == (403, True)
    for key in ("sk-other", "slk_00000000_" + "a" * 43):
        with raw(one, key) as client:
            refused = client.get("/videos")
            error = refused.json()["error"]
            assert (refused.status_code, error["code"]) == (401, "invalid_api_key")
            assert "sora-ledger access grant" in error["message"]
            assert refused.headers["x-should-retry"] == "false"


def test_erased_text_is_null_and_a_failure_says_why(outside: Start, gateway: Open) -> None:
    server = outside(failure="moderation_blocked")
    one = start(gateway, server)
    with sdk(one, one.grant("app", "requester")) as client:
        video = waited(client, client.videos.create(prompt="a secret").id, "failed")
        assert video.error
        assert (video.error.code, video.error.message) == ("moderation_blocked", "it failed")
        job = video.id.replace("video_", "job_")
        erased = one.person("erase", job, "--yes", "--reason", "subject_request")
        assert erased.code == 0, erased.err
        video = client.videos.retrieve(video.id)
        assert (video.prompt, video.status) == (None, "failed")
        assert "a secret" not in str(client.videos.list().data)


def exchanged(one: Gateway, request: bytes) -> bytes:
    """Send bytes and return the whole answer."""
    with socket.create_connection(("127.0.0.1", one.port), 30) as connection:
        connection.sendall(request)
        answer = b""
        while part := connection.recv(65536):
            answer += part
        return answer


def test_odd_requests_are_answered_in_the_envelope_of_the_api(outside: Start, gateway: Open) -> None:
    one = start(gateway, outside())
    key = one.grant("app", "requester").encode()
    old = exchanged(one, b"GET /v1/models HTTP/1.0\r\nAuthorization: Bearer " + key + b"\r\n\r\n")
    head, _, body = old.partition(b"\r\n\r\n")
    assert (b" 200 " in head, json.loads(body)["object"]) == (True, "list")
    for request, status in (
        (b"GET /v1/videos HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", b"400"),
        (b"".join([b"GET / HTTP/1.1\r\n", *[b"A: b\r\n"] * 20_000]), b"400"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET /v1/nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", b"404"),
        (b"PATCH /v1/videos HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", b"405"),
    ):
        head, _, body = exchanged(one, request).partition(b"\r\n\r\n")
        assert head.split()[1] == status, head
        names = {"message", "type", "param", "code", "expected", "found", "next", "calls", "retry"}
        assert set(json.loads(body)["error"]) - {"retry_after_s"} == names
    assert b"allow: GET, HEAD, POST" in head


def test_serve_alone_answers_what_is_under_way_when_it_is_stopped(outside: Start, gateway: Open) -> None:
    server = outside(creates=["wait@1"], status="in_progress")
    one = start(gateway, server)
    answers: list[Any] = []
    with sdk(one, one.grant("app", "requester")) as client:
        asking = threading.Thread(target=lambda: answers.append(client.videos.create(prompt="a red kite")))
        asking.start()
        until(lambda: server.requests("POST"))
        assert one.end(signal.SIGTERM) == 0
        asking.join(20)
    assert answers[0].status in {"queued", "in_progress"}
    assert "Traceback" not in one.errors
    assert one.person("queue").document["leased"] == 0
    assert len(server.bills()) == 1


def test_a_second_signal_stops_it_at_once(outside: Start, gateway: Open) -> None:
    server = outside(creates=["hang@60"])
    one = start(gateway, server)
    with sdk(one, one.grant("app", "requester")) as client:

        def ask() -> None:
            with suppress(APIConnectionError):
                client.videos.create(prompt="a red kite")

        asking = threading.Thread(target=ask)
        asking.start()
        until(lambda: server.requests("POST"))
        began = time.monotonic()
        one.send(signal.SIGTERM)
        until(lambda: "worker.stopping" in one.errors)
        assert one.end(signal.SIGTERM) != 0
        asking.join(20)
    assert time.monotonic() - began < 30, "it did not wait for the call, which takes a minute"


def test_the_command_line_works_with_a_gateway_as_its_server(
    outside: Start, gateway: Open, tmp_path: Path
) -> None:
    server = outside()
    one = gateway(server)
    key, folder = one.grant("studio", "requester"), tmp_path / "studio"
    folder.mkdir()
    studio = Person(folder, one.person.forks, one.person.environment).with_(
        OPENAI_BASE_URL=one.base_url,
        OPENAI_API_KEY=key,
        SORA_LEDGER_URL=str(folder / "ledger.db"),
        SORA_LEDGER_ASSETS=str(folder / "assets"),
    )
    made = studio("create-and-poll", "--prompt", "A teal coupe", "--poll-interval", "1", "--json")
    assert made.code == 0, made
    film = made.document["create"]
    remixed = studio("remix", "--id", film["job_id"], "--prompt", "make the coupe red", "--json")
    assert remixed.code == 0, remixed
    assert film["id"].removeprefix("video_") in {
        each["job_id"].removeprefix("job_") for each in one.person("jobs", "--json").document["jobs"]
    }, "its server's id is the public id of the gateway's job"
    assert len(server.bills()) == 2
    for each in (studio, one.person):
        assert (each("verify").code, each("audit", "--offline").code) == (0, 0)
