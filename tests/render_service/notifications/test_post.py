"""An attempt reaches only permitted addresses, trusts only the right certificate, and is bounded."""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from render_service.notifications import addresses
from render_service.notifications.addresses import Addresses, AddressRefused
from render_service.notifications.post import Answer, Letter, Post
from tests.certificates import certificate

pytestmark = pytest.mark.anyio
HOST = "hooks.example.org"


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> None:
    """Let names resolve to the next of `answers` each time, the last one for ever."""
    rest = list(answers)

    def getaddrinfo(_: str, port: int, **__: Any) -> list[Any]:
        found = rest.pop(0) if len(rest) > 1 else rest[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    monkeypatch.setattr(addresses.socket, "getaddrinfo", getaddrinfo)  # type: ignore[attr-defined]


@contextmanager
def answering(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Accept connections on loopback, each handled by `serve` in a thread of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def handle(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                serve(connection)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    threads.append(threading.Thread(target=handle, args=(connection,)))
                    threads[-1].start()

        threads = [threading.Thread(target=accept)]
        threads[0].start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(20)


async def attempt(url: str, *, permits_private: bool = True, longest_s: float = 60.0) -> Answer:
    async with Post(Addresses(permits_private=permits_private), longest_s) as post:
        return await post(Letter(url, {"content-type": "application/json"}, b"{}"))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "0.0.0.0",  # not listened at
        "255.255.255.255",
        "224.0.0.1",
        "::1",
        "::",
        "fe80::1",
        "fd00:ec2::254",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::7f00:1",
        "::127.0.0.1",
        "::ffff:0:127.0.0.1",
        "fec0::1",
        "2002:7f00:1::",
    ],
)
async def test_an_address_that_is_not_public_is_refused(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    resolving(monkeypatch, [address])
    with pytest.raises(AddressRefused, match=HOST):
        await Addresses(permits_private=False).check(f"https://{HOST}/")


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "0.0.0.0", "224.0.0.1"])
async def test_where_clouds_keep_credentials_is_refused_even_if_private_is_permitted(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    resolving(monkeypatch, [address])
    with pytest.raises(AddressRefused, match="no webhook may be sent"):
        await Addresses(permits_private=True).check(f"https://{HOST}/")


async def test_one_private_address_among_public_ones_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, ["93.184.216.34", "10.0.0.1"])
    with pytest.raises(AddressRefused, match=r"10\.0\.0\.1"):
        await Addresses(permits_private=False).check(f"https://{HOST}/")


async def test_a_name_that_resolves_differently_after_it_was_checked_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reached = threading.Event()
    with answering(lambda _: reached.set()) as port:
        resolving(monkeypatch, ["93.184.216.34"], ["127.0.0.1"])
        url = f"https://{HOST}:{port}/"
        async with Post(Addresses(permits_private=False), 60.0) as post:
            await post.addresses.check(url)
            answer = await post(Letter(url, {}, b"{}"))
    assert answer.http_status is None
    assert "not public" in str(answer.problem)
    assert not reached.is_set()


async def test_a_name_that_does_not_resolve_yet_may_be_registered() -> None:
    await Addresses(permits_private=False).check("https://not-yet.invalid/")


@pytest.mark.parametrize(("name", "status"), [(HOST, 204), ("other.example.org", None)])
async def test_the_certificate_is_that_of_the_name_though_the_address_is_dialled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, status: int | None
) -> None:
    file = certificate(tmp_path, name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    requests: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            request = b""
            while not request.endswith(b"\r\n\r\n{}"):  # what is not read cuts the answer off
                request += secure.recv(4096)
            requests.append(request)
            secure.sendall(b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n")

    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    resolving(monkeypatch, ["127.0.0.1"])
    with answering(serve) as port:
        answer = await attempt(f"https://{HOST}:{port}/hooks?a=1")
        assert answer.http_status == status
        if status:
            assert requests[0].startswith(b"POST /hooks?a=1 HTTP/1.1\r\n")
            assert f"host: {HOST}:{port}".encode() in requests[0].lower()


async def test_an_endless_body_is_not_read() -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            connection.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n")

    with answering(serve) as port:
        began = time.monotonic()
        assert (await attempt(f"http://127.0.0.1:{port}/")).http_status == 200
        assert time.monotonic() - began < 4


async def test_a_receiver_that_answers_drop_by_drop_is_given_up() -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:
            connection.sendall(b"x-drop: 1\r\n")
            time.sleep(0.05)

    with answering(serve) as port:
        answer = await attempt(f"http://127.0.0.1:{port}/", longest_s=0.5)
    assert answer == Answer(None, "timeout", "no answer within 0.5 s")


async def test_a_name_server_that_does_not_answer_keeps_no_thread_of_the_ledger(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    released = threading.Event()

    def hang(*_: Any, **__: Any) -> list[Any]:
        released.wait(120)
        return []

    monkeypatch.setattr(addresses.socket, "getaddrinfo", hang)  # type: ignore[attr-defined]
    attempts = [asyncio.create_task(attempt(f"https://{HOST}/", longest_s=0.5)) for _ in range(40)]
    await asyncio.sleep(0)
    async with asyncio.timeout(60):  # the names are there after 120 s
        assert await asyncio.to_thread(lambda: "the ledger") == "the ledger"
        answers = await asyncio.gather(*attempts)
    released.set()
    assert {answer.problem for answer in answers} == {"no answer within 0.5 s"}
