"""A connection is closed when its request does not arrive, and makes room when there are too many."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from render_service.server import server
from render_service.server.server import bounded_connections, most_connections

HALF = b"GET / HTTP/1.1\r\nX-Slow: "
GOOD = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def app(_: Any, receive: Any, send: Any) -> None:
    while (message := await receive()).get("more_body"):
        pass
    if message["type"] == "http.disconnect":
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})


async def busy(_: Any, __: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 503, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})


@asynccontextmanager
async def serving(served: Any = app) -> AsyncIterator[Callable[[], Awaitable[Streams]]]:
    """Serve `served`; yields what opens a connection."""
    config = uvicorn.Config(served, http=bounded_connections(busy), log_config=None, lifespan="off")
    config.load()
    protocol: Any = config.http_protocol_class
    state = ServerState()
    loop = asyncio.get_running_loop()
    serving = await loop.create_server(lambda: protocol(config, state, {}), "127.0.0.1", 0)
    opened: list[Streams] = []

    async def connect() -> Streams:
        opened.append(await asyncio.open_connection(*serving.sockets[0].getsockname()))
        return opened[-1]

    async with serving:
        yield connect
        for each in list(state.connections):
            each.transport.abort()
        for _, writer in opened:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


async def ended(reader: asyncio.StreamReader) -> bool:
    """Wait until the server closed the connection, having said nothing."""
    try:
        async with asyncio.timeout(30):
            return await reader.read() == b""
    except ConnectionResetError:
        return True


@pytest.mark.anyio
@pytest.mark.parametrize("half", [b"", HALF, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf"])
async def test_a_request_that_does_not_arrive_is_cut_off(
    monkeypatch: pytest.MonkeyPatch, half: bytes
) -> None:
    monkeypatch.setattr(server, "HEADER_S", 0.05)
    monkeypatch.setattr(server, "REST_S", 0.05)
    async with serving() as connect:
        reader, writer = await connect()
        writer.write(half)
        assert await ended(reader)


@pytest.mark.anyio
async def test_a_header_that_comes_byte_by_byte_has_no_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEADER_S", 0.2)
    async with serving() as connect:
        reader, writer = await connect()
        ending = asyncio.create_task(ended(reader))
        writer.write(HALF)
        while not ending.done():
            writer.write(b"a")
            await asyncio.sleep(0.02)
        assert await ending


@pytest.mark.anyio
async def test_a_body_that_keeps_coming_may_take_longer_than_one_that_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "REST_S", 0.5)
    monkeypatch.setattr(server, "REST_BYTES", 100)
    began = asyncio.get_running_loop().time()
    async with serving() as connect:
        reader, writer = await connect()
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(10):
            writer.write(b"a" * 100)
            await asyncio.sleep(0.1)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        assert asyncio.get_running_loop().time() - began > 2 * server.REST_S
        reader, writer = await connect()
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
        ending = asyncio.create_task(ended(reader))
        while not ending.done():  # a byte now and then is not enough
            writer.write(b"a")
            await asyncio.sleep(0.05)
        assert await ending


@pytest.mark.anyio
async def test_a_client_that_takes_nothing_of_an_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "UNREAD_S", 0.2)
    sent = asyncio.Event()

    async def large(_: Any, __: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(64):
            await send({"type": "http.response.body", "body": bytes(1 << 20), "more_body": True})
        sent.set()

    async with serving(large) as connect:
        reader, writer = await connect()
        reader._transport.pause_reading()  # type: ignore[attr-defined]  # a client that stops
        writer.write(GOOD)
        async with asyncio.timeout(30):
            await sent.wait()  # what is sent to a connection that is gone is dropped at once
        reader._transport.resume_reading()  # type: ignore[attr-defined]
        with suppress(ConnectionResetError):
            assert len(await reader.read(1 << 27)) < 64 << 20


@pytest.mark.anyio
async def test_the_head_of_an_answer_and_its_body_arrive_together_and_a_later_part_by_itself() -> None:
    is_read = asyncio.Event()

    async def in_parts(_: Any, __: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9003")]})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await is_read.wait()
        for letter in (b"b", b"c", b"d"):
            await send({"type": "http.response.body", "body": letter * 3000, "more_body": letter != b"d"})

    async with serving(in_parts) as connect, asyncio.timeout(30):
        reader, writer = await connect()
        writer.write(GOOD)
        assert (await reader.read(100_000)).endswith(b"\r\n\r\none")
        is_read.set()
        assert await reader.readexactly(9000) == b"b" * 3000 + b"c" * 3000 + b"d" * 3000


@pytest.mark.anyio
async def test_the_oldest_that_waits_makes_room_and_one_that_was_of_use_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "MOST_OF_ONE_ADDRESS", 3)
    async with serving() as connect:
        used, half, more = await connect(), await connect(), await connect()
        half[1].write(HALF)
        more[1].write(HALF)
        for _ in range(2):
            used[1].write(GOOD)
            assert (await used[0].readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        new = await connect()
        assert await ended(half[0])
        for reader, writer in (new, used):
            writer.write(GOOD)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")


@pytest.mark.anyio
async def test_each_request_renews_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_OF_ONE_ADDRESS", 2)
    async with serving() as connect:
        used, idle = await connect(), await connect()
        for reader, writer in (used, idle, used):
            writer.write(GOOD)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        new = await connect()
        assert await ended(idle[0])
        for reader, writer in (new, used):
            writer.write(GOOD)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")


def test_there_are_fewer_connections_where_few_files_may_be_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.resource, "getrlimit", lambda _: (256, 256))  # type: ignore[attr-defined]
    assert most_connections() == 56
