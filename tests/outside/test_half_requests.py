"""`serve` answers while others hold connections open and never say what they want."""

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

HALF = b"POST /webhooks/sandbox HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
GOOD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@pytest.fixture
def port(person: Any) -> Iterator[int]:
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
        answer = b""
        while part := connection.recv(4096):
            answer += part
    return answer


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


def test_readiness_does_not_show_where_the_ledger_is(port: int, person: Any) -> None:
    assert b'"ready":true' in ask(port, GOOD.replace(b"healthz", b"readyz"))
    (person.folder / "ledger.db").write_bytes(b"no database" * 1000)
    for suffix in ("-wal", "-shm"):
        (person.folder / f"ledger.db{suffix}").unlink(missing_ok=True)
    answer = ask(port, GOOD.replace(b"healthz", b"readyz"))
    assert b"ledger.db" not in answer
    assert str(person.folder).encode() not in answer
