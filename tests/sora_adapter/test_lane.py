"""One connection: what is known when it breaks, when it is used again, and TLS. Servers write raw bytes."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from sora_adapter.lane import MOST_UNREAD_BYTES, Lane

pytestmark = pytest.mark.anyio

Play = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
SOON_S = 0.2


def context() -> ssl.SSLContext:
    """Return a context that trusts nobody."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@asynccontextmanager
async def served(play: Play, secure: ssl.SSLContext | None = None) -> AsyncIterator[tuple[str, list[int]]]:
    """Serve connections as `play` does; yields the address, and a list with an entry for each connection."""
    connections: list[int] = []

    async def accepted(reading: asyncio.StreamReader, writing: asyncio.StreamWriter) -> None:
        connections.append(len(connections))
        try:
            await play(reading, writing)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client closed it
        finally:
            writing.transport.abort()

    server = await asyncio.start_server(accepted, "127.0.0.1", 0, ssl=secure)
    scheme = "https" if secure else "http"
    try:
        yield f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/videos", connections
    finally:
        server.close()


def message(address: str, content: bytes = b"", seconds: float = 5.0) -> httpx2.Request:
    """Return a request that waits no longer than this for anything."""
    request = httpx2.Request("POST" if content else "GET", address, content=content)
    request.extensions["timeout"] = dict.fromkeys(("connect", "read", "write"), seconds)
    return request


async def exchanged(lane: Lane, request: httpx2.Request) -> bytes:
    """Return the body of the answer."""
    response = await lane.handle_async_request(request)
    response.request = request
    return await response.aread()


async def answering(reading: asyncio.StreamReader, writing: asyncio.StreamWriter) -> None:
    """Answer every request without a body."""
    while await reading.readuntil(b"\r\n\r\n"):
        writing.write(ANSWER)


async def test_a_lane_keeps_its_connection_for_the_next_request() -> None:
    lane = Lane(context())
    async with served(answering) as (address, connections):
        for _ in range(3):
            assert await exchanged(lane, message(address)) == b"ok"
        await lane.aclose()
    assert len(connections) == 1


@pytest.mark.parametrize("after", [b"more", ANSWER])
async def test_a_connection_with_bytes_after_its_answer_is_not_used_again(after: bytes) -> None:
    async def play(reading: asyncio.StreamReader, writing: asyncio.StreamWriter) -> None:
        await reading.readuntil(b"\r\n\r\n")
        writing.write(ANSWER + after)
        await reading.read()

    lane = Lane(context())
    async with served(play) as (address, connections):
        for _ in range(2):
            assert await exchanged(lane, message(address)) == b"ok"
        await lane.aclose()
    assert len(connections) == 2


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", httpx2.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\ncontent-", httpx2.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", httpx2.RemoteProtocolError),
        (b"no HTTP at all\r\n\r\n", httpx2.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\nx: " + bytes(200_000), httpx2.RemoteProtocolError),
    ],
    ids=["none", "half a head", "half a body", "no HTTP", "an endless head"],
)
async def test_an_answer_that_breaks_off_or_cannot_be_read_is_no_failed_connection(
    answer: bytes, error: type[Exception]
) -> None:
    async def play(reading: asyncio.StreamReader, writing: asyncio.StreamWriter) -> None:
        await reading.readuntil(b"\r\n\r\n")
        writing.write(answer)
        await writing.drain()
        writing.write_eof()
        await reading.read()

    lane = Lane(context())
    async with served(play) as (address, _):
        with pytest.raises(error):
            await exchanged(lane, message(address))
        await lane.aclose()


async def test_a_connection_that_is_refused_proves_that_nothing_was_sent() -> None:
    async with served(answering) as (address, _):
        pass
    with pytest.raises(httpx2.ConnectError):
        await Lane(context()).handle_async_request(message(address))


async def test_a_server_that_says_nothing_is_waited_for_no_longer_than_permitted() -> None:
    async def play(reading: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reading.read()

    lane = Lane(context())
    async with served(play) as (address, _):
        with pytest.raises(httpx2.ReadTimeout):
            await lane.handle_async_request(message(address, seconds=SOON_S))
        await lane.aclose()


async def test_an_upload_that_the_server_does_not_take_ends_after_the_permitted_time() -> None:
    async def play(_: asyncio.StreamReader, writing: asyncio.StreamWriter) -> None:
        await writing.wait_closed()

    lane = Lane(context())
    async with served(play) as (address, _):
        with pytest.raises(httpx2.WriteTimeout):
            await lane.handle_async_request(message(address, bytes(64 << 20), SOON_S))
        await lane.aclose()


async def test_an_answer_before_the_end_of_an_upload_is_the_answer() -> None:
    async def play(reading: asyncio.StreamReader, writing: asyncio.StreamWriter) -> None:
        await reading.readuntil(b"\r\n\r\n")
        writing.write(b"HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        await writing.wait_closed()

    lane = Lane(context())
    async with served(play) as (address, _):
        response = await lane.handle_async_request(message(address, bytes(64 << 20)))
        assert response.status_code == 413
        await lane.aclose()


async def test_a_long_answer_arrives_whole_and_waits_for_its_reader() -> None:
    size, sent = 8 * MOST_UNREAD_BYTES, 0

    async def play(reading: asyncio.StreamReader, writing: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reading.readuntil(b"\r\n\r\n")
        writing.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (size * 8))
        for _ in range(8):
            writing.write(bytes(size))
            await writing.drain()
            sent += 1
        await reading.read()

    lane = Lane(context())
    async with served(play) as (address, _):
        response = await lane.handle_async_request(message(address))
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        received, most = 0, 0
        async for chunk in response.stream:
            received, most = received + len(chunk), max(most, len(chunk))
        await lane.aclose()
    assert (received, sent) == (size * 8, 8)
    assert most <= 2 * MOST_UNREAD_BYTES


async def test_a_request_that_is_cancelled_leaves_no_connection_behind() -> None:
    asked, closed = asyncio.Event(), asyncio.Event()

    async def play(reading: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reading.readuntil(b"\r\n\r\n")
        asked.set()
        try:
            await reading.read()
        finally:
            closed.set()

    lane = Lane(context())
    async with served(play) as (address, _):
        asking = asyncio.create_task(lane.handle_async_request(message(address)))
        await asked.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await asyncio.wait_for(closed.wait(), 30)


# --- TLS ---


@pytest.fixture
def secure(tmp_path: Path) -> ssl.SSLContext:
    """Return the context of a server; its certificate is the file ``server.pem``."""
    key, name = (
        ec.generate_private_key(ec.SECP256R1()),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "here")]),
    )
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    shown = certificate.public_bytes(Encoding.PEM)
    hidden = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "server.pem").write_bytes(shown)
    (tmp_path / "both.pem").write_bytes(hidden + shown)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "both.pem")
    return server


async def test_a_trusted_server_is_spoken_to_in_tls_over_a_connection_that_is_kept(
    secure: ssl.SSLContext, tmp_path: Path
) -> None:
    trusting = context()
    trusting.load_verify_locations(tmp_path / "server.pem")
    lane = Lane(trusting)
    async with served(answering, secure) as (address, connections):
        for _ in range(3):
            assert await exchanged(lane, message(address)) == b"ok"
        await lane.aclose()
    assert len(connections) == 1


async def test_a_server_that_is_not_trusted_gets_no_byte_of_a_request(secure: ssl.SSLContext) -> None:
    read = b""

    async def play(reading: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        nonlocal read
        read += await reading.read()

    async with served(play, secure) as (address, _):
        with pytest.raises(httpx2.ConnectError, match="certificate"):
            await Lane(context()).handle_async_request(message(address))
    assert read == b""


async def test_a_tls_handshake_that_is_not_answered_proves_that_nothing_was_sent() -> None:
    async def play(reading: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reading.read()

    async with served(play) as (address, _):
        request = message(address.replace("http:", "https:"), seconds=SOON_S)
        with pytest.raises(httpx2.ConnectTimeout):
            await Lane(context()).handle_async_request(request)
