"""Requests that nobody should send get a clear error; nothing is sent, and nothing is half-recorded."""

import json
import socket
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.outside.conftest import Gateway, Outside, Person

GOOD = {"prompt": "a fox runs", "model": "sora-2", "seconds": "4", "size": "720x1280"}
JSON = {"content-type": "application/json"}


class Answer(NamedTuple):
    """An answer, read without the SDK."""

    status: int
    headers: dict[str, str]
    body: Any

    @property
    def error(self) -> dict[str, Any]:
        return dict(self.body["error"])


def ask(
    gateway: Gateway,
    method: str = "POST",
    path: str = "/v1/videos",
    body: bytes | None = None,
    **headers: str,
) -> Answer:
    """Send one request."""
    with closing(HTTPConnection("127.0.0.1", gateway.port, timeout=30)) as connection:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named)
        answer = connection.getresponse()
        content = answer.read()
        named = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, named, json.loads(content) if content else None)


def exchange(gateway: Gateway, *parts: bytes) -> bytes:
    """Send bytes and return all that comes back until the connection is closed."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as connection:
        received = b""
        try:
            for part in parts:
                connection.sendall(part)
            while some := connection.recv(65_536):
                received += some
        except ConnectionError:  # it has closed before all was sent
            return received
        return received


def size(person: Person) -> int:
    """Return the number of records, read without the product."""
    with closing(sqlite3.connect(f"file:{person.folder}/ledger.db?mode=ro", uri=True)) as ledger:
        return int(ledger.execute("SELECT count(*) FROM events").fetchone()[0])


def test_a_key_that_is_not_valid_is_answered_with_what_to_do(
    outside: Callable[..., Outside], gateway: Callable[..., Gateway], person: Person
) -> None:
    server = outside()
    ours = gateway(server)
    revoked = ours.grant("alice", "requester")
    assert person("access", "revoke", "alice", "--reason", "left").code == 0
    ends = datetime.now(UTC) + timedelta(seconds=2)
    expired = ours.grant("bob", "requester", expires=ends.isoformat())
    known = ours.grant("carol", "requester")
    time.sleep(max(0.0, (ends - datetime.now(UTC)).total_seconds()))
    before = size(person)
    keys = {
        "": "no access key",
        "Basic YWxpY2U6c2VjcmV0": "not a bearer token",
        "Bearer sk-proj-of-the-server": "not an access key of this server",
        f"Bearer {known[:-1]}{'A' if known[-1] != 'A' else 'B'}": "there is no access key",
        f"Bearer {revoked}": "was revoked",
        f"Bearer {expired}": "expired",
    }
    for header, problem in keys.items():
        more = {"authorization": header} if header else {}
        answer = ask(ours, body=json.dumps(GOOD).encode(), **JSON, **more)
        assert (answer.status, answer.error["code"]) == (401, "invalid_api_key"), header
        assert problem in answer.error["message"], answer.error
        assert "access grant" in answer.error["message"] or "Authorization" in answer.error["message"]
        assert answer.headers["x-should-retry"] == "false"
    assert (server.bills(), size(person)) == ([], before)
    for secret in (known, revoked, expired):
        assert secret not in ours.errors


def test_a_role_that_may_not_is_answered_with_the_role_that_may(
    outside: Callable[..., Outside], gateway: Callable[..., Gateway]
) -> None:
    server = outside()
    ours = gateway(server)
    key = ours.grant("alice", "auditor")
    answer = ask(ours, body=json.dumps(GOOD).encode(), **JSON, authorization=f"Bearer {key}")
    assert (answer.status, answer.error["code"]) == (403, "permission_denied")
    assert "requester" in answer.error["message"]
    assert server.bills() == []


def test_fields_that_are_wrong_are_named(
    outside: Callable[..., Outside], gateway: Callable[..., Gateway], person: Person
) -> None:
    server = outside()
    ours = gateway(server)
    bearer = {"authorization": f"Bearer {ours.grant('alice', 'requester')}"}
    before = size(person)
    wrong = [
        ({"prompt": "a", "colour": "red"}, "colour"),
        ({"prompt": ["a"]}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"model": "sora-2"}, "prompt"),
        ({"prompt": "a", "seconds": {"a": 1}}, "seconds"),
        ({"prompt": "a", "size": 720}, "size"),
        ({"prompt": "a", "input_reference": {"image_url": "data:image/png;base64,AAAA"}}, "input_reference"),
        ({"prompt": "a", "input_reference": {"image_url": "data:image/png;base64,?"}}, "input_reference"),
        ({"prompt": "a", "max_cost_usd": "much"}, "max_cost_usd"),
        ({"prompt": "a", "attested": "perhaps"}, "attested"),
        ({"prompt": "a\0b"}, "prompt"),
    ]
    for fields, param in wrong:
        answer = ask(ours, body=json.dumps(fields).encode(), **JSON, **bearer)
        assert answer.status == 400, (fields, answer)
        assert (answer.error["param"] or "").startswith(param), (fields, answer.error)
        assert answer.headers["x-should-retry"] == "false"
    assert (server.bills(), size(person)) == ([], before)


def test_a_body_that_is_not_one_is_refused(
    outside: Callable[..., Outside], gateway: Callable[..., Gateway], person: Person
) -> None:
    server = outside()
    ours = gateway(server)
    bearer = {"authorization": f"Bearer {ours.grant('alice', 'requester')}"}
    before = size(person)
    bodies = [b"", b"{", b"[]", b'"a"', b"null", b"\xff\xfe", b"[" * 100_000, b'{"prompt": NaN}']
    for body in bodies:
        answer = ask(ours, body=body, **JSON, **bearer)
        assert (answer.status, answer.error["type"]) == (400, "invalid_request_error"), body[:20]
    form = ask(ours, body=b"--x\r\nnot a part", content_type="multipart/form-data; boundary=x", **bearer)
    assert form.status == 400
    assert (server.bills(), size(person)) == ([], before)


def test_json_is_read_under_any_content_type(
    outside: Callable[..., Outside], gateway: Callable[..., Gateway]
) -> None:
    server = outside()
    ours = gateway(server)
    bearer = {"authorization": f"Bearer {ours.grant('alice', 'requester')}"}
    types = [{}, {"content_type": "text/plain"}, {"content_type": "application/octet-stream"}]
    for number, kind in enumerate(types):
        body = json.dumps(GOOD | {"prompt": f"shot {number}"}).encode()
        answer = ask(ours, body=body, **kind, **bearer)
        assert answer.status == 200, (kind, answer)
    assert len(server.bills()) == len(types)


def test_an_upload_that_is_too_large_is_refused_before_it_is_stored(
    outside: Callable[..., Outside], gateway: Callable[..., Gateway]
) -> None:
    server = outside()
    ours = gateway(server)
    key = ours.grant("alice", "requester")
    head = f"POST /v1/videos HTTP/1.1\r\nhost: a\r\nconnection: close\r\nauthorization: Bearer {key}\r\n"
    announced = f"{head}content-type: application/json\r\ncontent-length: {10 * 1024**3}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", ours.port), timeout=30) as connection:
        connection.sendall(announced.encode())
        assert connection.recv(65_536).startswith(b"HTTP/1.1 413 ")
    streamed = f"{head}content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    answer = exchange(ours, streamed, *([chunk] * 40), b"0\r\n\r\n")
    assert answer == b"" or answer.startswith(b"HTTP/1.1 413 ")
    assert ask(ours, "GET", "/v1/videos", authorization=f"Bearer {key}").status == 200
    assert server.bills() == []


def test_old_and_hostile_http_does_no_harm(
    outside: Callable[..., Outside], gateway: Callable[..., Gateway]
) -> None:
    server = outside()
    ours = gateway(server)
    key = ours.grant("alice", "requester")
    body = json.dumps(GOOD)
    bearer = f"authorization: Bearer {key}\r\n"
    old = f"POST /v1/videos HTTP/1.0\r\n{bearer}content-length: {len(body)}\r\n\r\n{body}"
    assert b" 200 " in exchange(ours, old.encode()).split(b"\r\n")[0]
    get = f"GET /v1/videos HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{bearer}"
    many = get + "".join(f"x-{number}: {'a' * 100}\r\n" for number in range(2_000)) + "\r\n"
    large = get + f"x-large: {'a' * 1_000_000}\r\n\r\n"
    double = get + "content-length: 5\r\ncontent-length: 6\r\n\r\nabcdef"
    for hostile in (many, large, double, "\0\1\2\r\n\r\n", "GET /v1/videos\r\n\r\n"):
        received = exchange(ours, hostile.encode())
        assert received == b"" or received.startswith(b"HTTP/1.1 4"), received[:100]
    for path in (
        "/v1/videos/../../etc/passwd",
        "/v1/videos/%2e%2e%2f%00",
        f"/v1/videos/{'a' * 5_000}",
        "/v2/x",
    ):
        answer = ask(ours, "GET", path, authorization=f"Bearer {key}")
        assert answer.status in {400, 404}, path
        assert "error" in answer.body
    assert len(server.bills()) == 1


def test_two_gateways_on_one_ledger_are_one(
    outside: Callable[..., Outside], gateway: Callable[..., Gateway]
) -> None:
    server = outside(render_s=60)
    first, second = gateway(server), gateway(server)
    bearer = {"authorization": f"Bearer {first.grant('alice', 'requester')}"}
    made = ask(first, body=json.dumps(GOOD).encode(), **JSON, **bearer)
    again = ask(second, body=json.dumps(GOOD).encode(), **JSON, **bearer, x_stainless_retry_count="1")
    shown = ask(second, "GET", f"/v1/videos/{made.body['id']}", **bearer)
    assert made.body["id"] == again.body["id"] == shown.body["id"]
    assert len(server.bills()) == 1


@pytest.mark.parametrize("change", [Path.unlink, lambda path: path.rename(path.with_name("moved.db"))])
def test_without_the_file_of_its_ledger_nothing_is_sent(
    outside: Callable[..., Outside],
    gateway: Callable[..., Gateway],
    person: Person,
    change: Callable[[Path], Any],
) -> None:
    """SQLite would write into the file that was moved or deleted, and a restart would find nothing."""
    server = outside()
    ours = gateway(server, "--no-work")
    bearer = {"authorization": f"Bearer {ours.grant('alice', 'requester')}"}
    assert ask(ours, "GET", "/v1/videos", **bearer).status == 200
    change(person.folder / "ledger.db")
    refused_before_sending(ask(ours, body=json.dumps(GOOD).encode(), **JSON, **bearer))
    assert server.bills() == []


def test_with_a_full_disk_nothing_is_sent(
    outside: Callable[..., Outside], gateway: Callable[..., Gateway], person: Person
) -> None:
    server = outside()
    ours = gateway(server, "--no-work")
    bearer = {"authorization": f"Bearer {ours.grant('alice', 'requester')}"}
    ours.end()
    files = list(person.folder.glob("ledger.db*"))
    ours.start(largest_file=max(path.stat().st_size for path in files) // 4096 * 4096)
    before = size(person)
    refused_before_sending(ask(ours, body=json.dumps(GOOD).encode(), **JSON, **bearer))
    assert (server.bills(), size(person)) == ([], before)


def refused_before_sending(answer: Answer) -> None:
    """Check that an SDK would send the request again, later."""
    assert (answer.status, answer.error["code"]) == (503, "ledger_unavailable"), answer
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["x-should-retry"] == "true"
