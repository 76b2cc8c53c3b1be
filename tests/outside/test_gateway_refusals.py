"""What a gateway refuses, and that nothing was sent or recorded then."""

import base64
import json
import socket
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from openai import OpenAI

from tests.outside.conftest import Gateway, Outside, until
from tests.outside.server import encode

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the SDK's, on every `videos.*`

Start = Callable[..., Outside]
Open = Callable[..., Gateway]


class Answered(NamedTuple):
    """The status of an answer, its document and its headers."""

    status: int
    document: Any
    headers: Any


def ask(gateway: Gateway, method: str, path: str, key: str, body: Any = None) -> Answered:
    """Send one request, as a client without retries does."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{gateway.port}{path}", data, method=method)
    request.add_header("authorization", f"Bearer {key}")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return Answered(answer.status, json.load(answer), answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            return Answered(error.code, json.load(error), error.headers)


def test_while_the_file_of_the_ledger_is_away_nothing_is_ready_and_an_open_request_is_queued(
    outside: Start, gateway: Open
) -> None:
    server = outside(creates=["slow@held"])
    one = gateway(server, "--no-work")
    key = one.grant("app", "requester")
    ledger, away = one.person.folder / "ledger.db", one.person.folder / "away.db"
    with ThreadPoolExecutor() as others:
        under_way = others.submit(ask, one, "POST", "/v1/videos", key, {"prompt": "one"})
        until(server.bills)
        ledger.rename(away)
        server.release()
        answer = under_way.result()
    assert (answer.status, answer.document["status"], answer.document["prompt"]) == (200, "queued", "one")
    assert [ask(one, "GET", path, key).status for path in ("/v1/videos", "/readyz")] == [503, 503]
    away.rename(ledger)
    assert ask(one, "GET", "/readyz", key).status == 200
    again = ask(one, "GET", f"/v1/videos/{answer.document['id']}", key)
    assert (again.status, again.document["prompt"], len(server.bills())) == (200, "one", 1)
    assert one.person("verify").code == 0


def test_a_key_that_is_revoked_while_its_request_arrives_requests_nothing(
    outside: Start, gateway: Open
) -> None:
    server = outside()
    one = gateway(server)
    key = one.grant("app", "requester")
    body = json.dumps({"prompt": "one"}).encode()
    head = f"POST /v1/videos HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\nconnection: close\r\n"
    with socket.create_connection(("127.0.0.1", one.port)) as slow:
        slow.sendall(head.encode() + b"expect: 100-continue\r\ncontent-length: %d\r\n\r\n" % len(body))
        assert b"100" in slow.recv(100)  # the key was accepted
        assert one.person("access", "revoke", "app").code == 0
        time.sleep(1)  # as long as a revocation may take
        slow.sendall(body)
        answer = b"".join(iter(lambda: slow.recv(4096), b""))
    assert b"HTTP/1.1 401" in answer
    assert server.bills() == []


def test_a_draft_of_another_team_cannot_be_promoted_and_is_unknown(outside: Start, gateway: Open) -> None:
    one = gateway(outside(), "--no-work")
    film, games = (one.grant(team, "requester", team=team) for team in ("film", "games"))
    video = ask(one, "POST", "/v1/videos", film, {"prompt": "a draft"}).document["id"]
    final = {"prompt": "a final", "purpose": "final"}
    for draft in (video, video.replace("video_", "job_"), "video_" + "0" * 32, "\ud800"):
        answer = ask(one, "POST", "/v1/videos", games, final | {"promotes": draft})
        error = answer.document["error"]
        assert (answer.status, error["code"], error["param"]) == (404, "video_not_found", "promotes")
    assert ask(one, "POST", "/v1/videos", film, final | {"promotes": video}).status == 200


def test_an_operator_of_a_team_cannot_name_videos_that_only_the_server_knows(
    outside: Start, gateway: Open
) -> None:
    server = outside()
    one = gateway(server, "--no-work")
    foreign = server.create("of another client")["id"]
    of_team, of_all = one.grant("ann", "operator", team="film"), one.grant("ops", "operator")
    for path in (f"/v1/videos/{foreign}", f"/v1/videos/{foreign}/content"):
        assert ask(one, "GET", path, of_team).status == 404
    assert server.requests("GET") == []
    assert ask(one, "GET", f"/v1/videos/{foreign}", of_all).status == 200


def test_moderations_that_are_no_json_are_refused(outside: Start, gateway: Open) -> None:
    server = outside()
    one = gateway(server, "--no-work")
    key = one.grant("app", "requester")
    for text in ("\ud800", float("nan"), float("inf")):
        answer = ask(one, "POST", "/v1/moderations", key, {"input": text})
        assert (answer.status, answer.document["error"]["code"]) == (400, "invalid_json")
    assert server.requests("POST") == []


def test_a_body_of_millions_of_values_is_refused_without_making_them(outside: Start, gateway: Open) -> None:
    one = gateway(outside(), "--no-work")
    key = one.grant("app", "requester")
    assert ask(one, "POST", "/v1/videos", key, {"prompt": "{[," * 10_000}).status == 200
    before = largest_kb(one)
    answer = ask(one, "POST", "/v1/videos", key, {"prompt": [{}] * 4_000_000})
    assert (answer.status, answer.document["error"]["code"]) == (400, "invalid_json")
    assert largest_kb(one) - before < 100_000


def largest_kb(gateway: Gateway) -> int:
    """Return the most memory that a gateway has had."""
    status = Path(f"/proc/{gateway.running.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def test_a_request_with_two_lengths_is_refused_and_its_connection_ends(outside: Start, gateway: Open) -> None:
    server = outside()
    one = gateway(server, "--no-work")
    key = one.grant("app", "requester")
    hidden = f"GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\r\n"
    both = f"content-length: {len(hidden) + 5}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
    head = f"POST /v1/videos HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
    with socket.create_connection(("127.0.0.1", one.port), 10) as client:
        client.sendall((head + both + hidden).encode())
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    assert (answer.count(b"HTTP/1.1"), answer[:12]) == (1, b"HTTP/1.1 400")


def test_a_client_that_is_refused_while_it_uploads_can_send_the_rest_and_gets_the_answer(
    outside: Start, gateway: Open
) -> None:
    one = gateway(outside(), "--no-work")
    size, part = 8 << 20, bytes(1 << 20)
    head = f"POST /v1/videos HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {size}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", one.port), 30) as client:
        client.sendall(head.encode())
        began = client.recv(65536)
        for _ in range(size // len(part)):
            client.sendall(part)
        answer = began + b"".join(iter(lambda: client.recv(65536), b""))
    assert (answer[:12], json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"]) == (
        b"HTTP/1.1 401",
        "invalid_api_key",
    )


def test_what_a_server_says_about_the_key_of_the_gateway_is_not_shown_to_clients(
    outside: Start, gateway: Open
) -> None:
    one = gateway(outside(creates=["401"], words="Incorrect API key provided: sk-outs****6789."), "--no-work")
    key = one.grant("app", "requester")
    refused = ask(one, "POST", "/v1/videos", key, {"prompt": "a red kite"})
    shown = ask(one, "GET", "/v1/videos", key)
    assert (refused.status, shown.document["data"][0]["status"]) == (502, "failed")
    assert "sk-outs" not in json.dumps([refused.document, shown.document])


def test_an_upload_that_the_disk_has_no_room_for_is_refused_before_anything_is_sent(
    outside: Start, gateway: Open
) -> None:
    server = outside()
    one = gateway(server, "--no-work")
    key = one.grant("app", "requester")
    one.end()
    one.start(largest_file=4 << 20)
    form = "multipart/form-data; boundary=B"
    part = b'--B\r\nContent-Disposition: form-data; name="video"; filename="a.mp4"\r\n\r\n'
    request = urllib.request.Request(f"{one.base_url}/videos/edits", part + bytes(8 << 20) + b"\r\n--B--\r\n")
    request.add_header("authorization", f"Bearer {key}")
    request.add_header("content-type", form)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)
    with refused.value as answer:
        assert (answer.code, json.load(answer)["error"]["code"]) == (503, "upload_failed")
    assert (answer.headers["x-should-retry"], server.requests("POST")) == ("true", [])


def image(width: int = 720, height: int = 1280) -> bytes:
    """Return a grey PNG."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4) + name + content + zlib.crc32(name + content).to_bytes(4)

    header = width.to_bytes(4) + height.to_bytes(4) + bytes([8, 0, 0, 0, 0])
    pixels = zlib.compress((b"\0" + b"\x80" * width) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_files_of_another_ledger_are_refused_before_anything_is_sent(
    outside: Start, gateway: Open, tmp_path: Path
) -> None:
    server = outside()
    assets = tmp_path / "assets"
    one = gateway(server, "--no-work", SORA_LEDGER_ASSETS=str(assets))
    key = one.grant("app", "requester")
    assets.mkdir(exist_ok=True)
    (assets / "ledger.json").write_text('{"ledger_id": "another", "ledger": "../other.db"}')
    reference = f"data:image/png;base64,{base64.b64encode(image()).decode()}"
    with_image = {"prompt": "a kite", "input_reference": {"image_url": reference}}
    answers = [ask(one, "POST", "/v1/videos", key, body) for body in ({"prompt": "a kite"}, with_image)]
    for status, document, headers in answers:
        assert (status, document["error"]["code"]) == (503, "storage_not_configured"), document
        assert headers["x-should-retry"] == "false"
    assert "other.db" not in json.dumps([answer.document for answer in answers])
    assert "belong to another ledger, ../other.db" in one.errors
    assert ask(one, "GET", "/v1/videos", key).document["data"] == []
    assert server.bills() == []
    assert one.person("assets", "claim").code == 0
    one.end()
    one.start()
    assert ask(one, "POST", "/v1/videos", key, {"prompt": "a kite"}).status == 200


def test_a_character_of_another_team_is_unknown_in_a_lookup_and_in_a_request(
    outside: Start, gateway: Open
) -> None:
    server = outside()
    one = gateway(server, "--no-work")
    film, news = (one.grant(f"of_{team}", "requester", team=team) for team in ("film", "news"))
    colleague, alone = one.grant("colleague", "requester", team="film"), one.grant("alone", "requester")
    with OpenAI(base_url=one.base_url, api_key=film, max_retries=0) as client:
        character = client.videos.create_character(name="Kite", video=("k.mp4", encode("1280x720", 3))).id
    body = {"prompt": "Kite flies"}
    for key, name in [*((key, character) for key in (news, alone)), (film, "char_unknown")]:
        shown = ask(one, "GET", f"/v1/videos/characters/{name}", key)
        refused = ask(one, "POST", "/v1/videos", key, body | {"characters": [{"id": name}]})
        assert [answer.document["error"]["code"] for answer in (shown, refused)] == [
            "character_not_found"
        ] * 2
        assert (shown.status, refused.status) == (404, 404)
        assert refused.document["error"]["param"] == "characters[0].id"
    assert server.bills() == []
    for key in (film, colleague):
        assert ask(one, "GET", f"/v1/videos/characters/{character}", key).document["name"] == "Kite"
        answer = ask(one, "POST", "/v1/videos", key, body | {"characters": [{"id": character}]})
        assert answer.status == 200, answer.document
    assert len(server.bills()) == 2
    assert one.person("verify").code == 0


def test_a_file_at_the_server_can_be_named_by_operators_alone(outside: Start, gateway: Open) -> None:
    server = outside()
    one = gateway(server, "--no-work")
    app, ops = one.grant("app", "requester"), one.grant("ops", "operator")
    body = {"prompt": "a kite", "input_reference": {"file_id": "file_of_another"}}
    refused = ask(one, "POST", "/v1/videos", app, body)
    error = refused.document["error"]
    assert (refused.status, error["code"]) == (404, "file_not_found")
    assert (error["param"], server.bills()) == ("input_reference.file_id", [])
    assert ask(one, "POST", "/v1/videos", ops, body).status == 200
    assert len(server.bills()) == 1
