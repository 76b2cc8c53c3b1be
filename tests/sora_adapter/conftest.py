"""A server of faults: real sockets, one scripted behaviour per connection, every request counted."""

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from ledger.events import SubmissionIntended
from ledger.terms import Operation
from sora_adapter.client import VideosClient
from sora_adapter.profiles import Profile, profile
from sora_adapter.requests import SubmitCall

KEY = "sk-test-0123456789abcdef"


@dataclass(frozen=True)
class Request:
    """One request as it arrived; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class FaultServer:
    """Plays its script, one behaviour per connection; the last one is repeated."""

    requests: list[Request] = field(default_factory=list)
    broken_off: bytes = b""
    connections: int = 0
    open: int = 0
    port: int = 0
    released: asyncio.Event = field(default_factory=asyncio.Event)
    _script: list[Behaviour] = field(default_factory=list)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def posts(self) -> int:
        return sum(request.method == "POST" for request in self.requests)

    def answers(self, status: int, body: Any = None, **headers: str) -> "FaultServer":
        """Read the request, then answer; a dict is sent as JSON, text as HTML."""
        kind = "text/html" if isinstance(body, str) else "application/json"
        text = body if isinstance(body, str) else json.dumps(body)
        named = {"content-type": kind, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return self.sends(status, text.encode(), named)

    def sends(self, status: int, body: bytes, headers: dict[str, str], announced: int | None = None) -> Any:
        """Read the request, then send these bytes, announcing perhaps another number of them."""
        lines = {"content-length": str(len(body) if announced is None else announced), **headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return self.says(f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + body)

    def says(self, raw: bytes) -> "FaultServer":
        """Read the request, then send exactly these bytes and close."""

        async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._take(reader)
            writer.write(raw)

        return self._then(play)

    def then_stays_open(self) -> "FaultServer":
        """After the behaviour added last, keep the connection and take whatever else comes over it."""
        answer = self._script.pop()

        async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await answer(reader, writer)
            with contextlib.suppress(asyncio.IncompleteReadError):
                await self._take(reader)

        return self._then(play)

    def for_every_request(self) -> "FaultServer":
        """Repeat the behaviour added last for as long as the connection is open; `broken_off` is the rest."""
        answer = self._script.pop()

        async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while True:
                    await answer(reader, writer)
            except asyncio.IncompleteReadError as end:
                self.broken_off += end.partial

        return self._then(play)

    def mumbles(self, raw: bytes) -> "FaultServer":
        """Send these bytes as soon as anything arrives, whatever it is."""

        async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(raw)

        return self._then(play)

    def resets(self, *, after_reading: bool) -> "FaultServer":
        """Reset the connection, with the request unread or taken."""

        async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if after_reading:
                await self._take(reader)
            _reset_on_close(writer)

        return self._then(play)

    def hangs(self, *, after_reading: bool = True) -> "FaultServer":
        """Say nothing, with the request unread or taken."""

        async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if after_reading:
                await self._take(reader)
            await self.released.wait()

        return self._then(play)

    def _then(self, behaviour: Behaviour) -> "FaultServer":
        self._script.append(behaviour)
        return self

    async def _take(self, reader: asyncio.StreamReader) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        method, path, _ = first.split(" ")
        self.requests.append(Request(method, path, headers, body))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Play the behaviour that is due, unless the client leaves in the middle of its request."""
        behaviour = self._script[min(self.connections, len(self._script) - 1)]
        self.connections += 1
        self.open += 1
        try:
            await behaviour(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # its deadline passed before it had sent all
        finally:
            self.open -= 1
            writer.close()


def _reset_on_close(writer: asyncio.StreamWriter) -> None:
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@pytest.fixture
async def server() -> AsyncIterator[FaultServer]:
    faults = FaultServer()
    listening = await asyncio.start_server(faults.serve, "127.0.0.1", 0)
    faults.port = listening.sockets[0].getsockname()[1]
    yield faults
    faults.released.set()
    listening.close()
    await listening.wait_closed()


@pytest.fixture
def openai_profile() -> Profile:
    return profile("openai")


@pytest.fixture
async def client(server: FaultServer, openai_profile: Profile) -> AsyncIterator[VideosClient]:
    async with VideosClient(openai_profile, server.base_url, KEY) as videos:
        yield videos


@pytest.fixture
def intent() -> SubmissionIntended:
    return SubmissionIntended(
        attempt_id="att_0198", request_sha256="0" * 64, profile="openai", server="here", model="sora-2"
    )


@pytest.fixture
def call() -> SubmitCall:
    return SubmitCall(
        operation=Operation.CREATE, prompt="a fox runs", model="sora-2", size="1280x720", seconds=8
    )


@pytest.fixture
def video() -> dict[str, Any]:
    return {
        "id": "video_1",
        "object": "video",
        "model": "sora-2",
        "status": "queued",
        "progress": 0,
        "created_at": 1_790_000_000,
        "completed_at": None,
        "expires_at": None,
        "prompt": "a fox runs",
        "size": "1280x720",
        "seconds": "8",
        "remixed_from_video_id": None,
        "error": None,
    }
