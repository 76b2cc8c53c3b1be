"""Run a sandbox in a thread, for a test, a demo or the command line.

The socket is bound here, before anything starts, so that the port is known without a race and a port in use
raises OSError in the caller. Nothing is printed; an exception in an answer is logged to
`sora_adapter.sandbox.wire.refusals`.
"""

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import uvicorn

from sora_adapter.sandbox.app import create_app
from sora_adapter.sandbox.settings import SandboxSettings
from sora_adapter.sandbox.wire.connection import BreakableProtocol

_BACKLOG = 2048
_GRACE_S = 1  # for answers under way when the server is told to stop
_START_S = 30.0
_TICKS_IN_A_SECOND = 10  # uvicorn counts tenths, and renews its Date header at every tenth of them
_LOOK_S = 0.002  # interval of checks for the last connection


class SandboxServer:
    """A sandbox in a daemon thread, for the duration of a `with` block; clients use `base_url`.

    `port` 0 takes a free one. Raises OSError at construction if the port is in use. Does not handle signals.
    """

    def __init__(self, settings: SandboxSettings, host: str = "127.0.0.1", port: int = 0) -> None:
        self._socket = _listen(host, port)
        self.port: int = self._socket.getsockname()[1]
        self.origin = f"http://{host}:{self.port}"
        self.base_url = f"{self.origin}/v1"
        self._server = _server(settings)
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), daemon=True, name="sandbox"
        )

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._server.is_up.wait(_START_S):
            raise RuntimeError(f"the sandbox at {self.base_url} did not start within {_START_S:.0f} s")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()
        self._thread.join()
        self._socket.close()


class _Server(uvicorn.Server):
    """A uvicorn server that ignores signals, reports when it is ready, and stops without delay."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = threading.Event()
        self._told_to_stop = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def stop(self) -> None:
        """Stop serving; from any thread."""
        self.should_exit = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._told_to_stop.set)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        self.is_up.set()

    async def main_loop(self) -> None:
        ticks = 0
        while not await self.on_tick(ticks):
            ticks += _TICKS_IN_A_SECOND
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._told_to_stop.wait(), 1)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Shut down as uvicorn does, without its unconditional pause of a tenth of a second."""
        for listening in (*self.servers, *(sockets or ())):
            listening.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GRACE_S):
                while self.server_state.connections or self.server_state.tasks:  # noqa: ASYNC110  # uvicorn has no event
                    await asyncio.sleep(_LOOK_S)
        for task in self.server_state.tasks:
            task.cancel()
        await self.lifespan.shutdown()


def _server(settings: SandboxSettings) -> _Server:
    config = uvicorn.Config(
        create_app(settings),
        access_log=False,
        log_config=None,
        log_level="critical",
        lifespan="on",
        http=BreakableProtocol,
        ws="none",
    )
    return _Server(config)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Without the protocol asyncio would leave Nagle's algorithm on, and every answer would take 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # on Windows this option would let two servers share a port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening
