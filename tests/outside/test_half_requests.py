"""`serve` answers while others hold connections open and never say what they want."""

import json
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest

from tests.outside.conftest import Gateway, Outside, Person, until

HALF = b"POST /webhooks/sandbox HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
SPARE_FILES = 200
"""As many files as `serve` keeps free of connections."""

GOOD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@pytest.fixture
def port(person: Person) -> Iterator[int]:
    process: subprocess.Popen[str] = person.start("serve", "--port", "0", "--no-webhooks", "--json")
    assert process.stdout is not None
    text = ""
    while "}" not in text:
        line = process.stdout.readline()
        assert line, process.communicate()
        text += line
    yield int(json.loads(text)["serving"].rpartition(":")[2])
    process.kill()
    process.communicate()


def ask(port: int, request: bytes = GOOD) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(request)
        return answered(connection)


def answered(connection: socket.socket) -> bytes:
    """Return all that comes until the connection is closed."""
    answer = b""
    while part := connection.recv(4096):
        answer += part
    return answer


def is_open(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def create(key: str, body: bytes, length: int | None = None) -> bytes:
    """Return a request for a video whose body has `length` bytes, or those of `body`."""
    head = f"POST /v1/videos HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer {key}\r\n"
    return f"{head}Content-Length: {length or len(body)}\r\n\r\n".encode() + body


def test_a_good_request_is_answered_while_hundreds_of_half_ones_are_open(port: int) -> None:
    with ExitStack() as stack:
        for _ in range(900):
            half = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            half.sendall(HALF)
        for _ in range(20):
            started = time.monotonic()
            assert ask(port).startswith(b"HTTP/1.1 200 ")
            assert (
                time.monotonic() - started < 5
            )  # generous: the machine may be busy, and it was 503 for ever


def test_a_large_header_is_refused_however_it_arrives(port: int) -> None:
    for _ in range(10):
        answer = ask(port, GOOD[:-2] + b"X-Large: " + b"a" * 30_000 + b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 400 ")


def test_readiness_does_not_show_where_the_ledger_is(port: int, person: Person) -> None:
    assert b'"ready":true' in ask(port, GOOD.replace(b"healthz", b"readyz"))
    (person.folder / "ledger.db").write_bytes(b"no database" * 1000)
    for suffix in ("-wal", "-shm"):
        (person.folder / f"ledger.db{suffix}").unlink(missing_ok=True)
    answer = ask(port, GOOD.replace(b"healthz", b"readyz"))
    assert b"ledger.db" not in answer
    assert str(person.folder).encode() not in answer


def test_a_request_for_which_there_is_no_connection_left_is_a_503_that_sdks_send_again(
    outside: Callable[..., Outside], gateway: Callable[..., Gateway]
) -> None:
    server = outside(creates=["slow@held"] * 3)
    one = gateway(server, "--no-work")
    key = one.grant("app", "requester")
    one.end()
    files = (SPARE_FILES + 3, SPARE_FILES + 3)
    process = one.person.start(
        "serve", "--port", str(one.port), "--no-work",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, files),
    )  # fmt: skip
    with ExitStack() as stack:
        stack.callback(process.communicate)
        stack.callback(process.kill)
        until(lambda: is_open(one.port), 60)
        busy = [stack.enter_context(socket.create_connection(("127.0.0.1", one.port), 30)) for _ in range(3)]
        for number, connection in enumerate(busy):
            connection.sendall(create(key, b'{"prompt": "%d"}' % number))
        until(lambda: len(server.requests("POST")) == 3)
        for request in (create(key, b'{"prompt": "more"}'), GOOD):
            head, _, body = ask(one.port, request).partition(b"\r\n\r\n")
            assert (head.split()[1], json.loads(body)["error"]["code"]) == (b"503", "server_busy")
            for header in (
                b"retry-after: 1",
                b"x-should-retry: true",
                b"x-request-id: ",
                b"connection: close",
            ):
                assert header in head.lower()
        server.release()
        assert [answered(each).split()[1] for each in busy] == [b"200"] * 3
        assert ask(one.port, GOOD).startswith(b"HTTP/1.1 200")
    assert len(server.bills()) == 3


def test_a_stop_finishes_whole_requests_and_does_not_wait_for_half_ones(
    outside: Callable[..., Outside], gateway: Callable[..., Gateway]
) -> None:
    server = outside(creates=["slow@held"])
    one = gateway(server, "--no-work")
    key = one.grant("app", "requester")
    with ExitStack() as stack:
        whole, half = (
            stack.enter_context(socket.create_connection(("127.0.0.1", one.port), 30)) for _ in "12"
        )
        half.sendall(create(key, b'{"prompt": "half', length=1000))
        whole.sendall(create(key, b'{"prompt": "whole"}'))
        until(lambda: server.requests("POST"))
        one.send(signal.SIGTERM)
        with suppress(ConnectionResetError):
            assert half.recv(4096) == b""
        server.release()  # at the end of the time for all requests, this one would be cut off as well
        assert answered(whole).startswith(b"HTTP/1.1 200")
    assert one.running.wait() == 0
    one.running = None
    assert len(server.bills()) == 1
