"""Serving until told to stop: the socket is bound first, and what is under way is finished at the end."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator, Mapping

import uvicorn

from render_service.runtime.errors import BadInput
from render_service.server.app import create_app
from render_service.server.connections import MOST_HEADER_BYTES, bounded_connections, most_connections
from render_service.session.session import Session

GRACE_S = 10
_BACKLOG = 2048
_ACCEPTED_AT_ONCE = 50
"""asyncio accepts as many before it looks at any, and each is an open file."""

_STOPS = (signal.SIGINT, signal.SIGTERM)


class _Server(uvicorn.Server):
    """A uvicorn that SIGINT and SIGTERM end as if it had been asked: the exit code is ours."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        await super().startup(sockets)
        for each in sockets or ():
            each.listen(_BACKLOG)  # which uvicorn set to what is accepted at once
        self._started()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let signals end the serving and nothing else."""
        loop = asyncio.get_running_loop()
        for number in _STOPS:
            loop.add_signal_handler(number, self._stop)
        try:
            yield
        finally:
            for number in _STOPS:
                loop.remove_signal_handler(number)

    def _stop(self) -> None:
        self.force_exit = self.should_exit  # the second time at once
        self.should_exit = True


async def serve(
    session: Session,
    listening: socket.socket,
    secrets: Mapping[str, tuple[str, ...]],
    started: Callable[[], None] = lambda: None,
) -> None:
    """Answer on `listening` until SIGINT or SIGTERM; `started` is called when everything is ready."""
    config = uvicorn.Config(
        create_app(session, secrets),
        access_log=False,
        log_config=None,
        log_level="critical",
        lifespan="on",
        ws="none",
        server_header=False,
        proxy_headers=False,
        http=bounded_connections(),
        h11_max_incomplete_event_size=MOST_HEADER_BYTES,
        limit_concurrency=most_connections() + 1,
        backlog=_ACCEPTED_AT_ONCE,
        timeout_graceful_shutdown=GRACE_S,
    )
    await _Server(config, started).serve(sockets=[listening])


def listen(host: str, port: int) -> socket.socket:
    """Bind `host` and `port` (0: a free one); `BadInput` says why it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Without the protocol asyncio would leave Nagle's algorithm on, and every answer would take 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        reason = error.strerror or error
        raise BadInput(f"cannot listen at {host}:{port} ({reason}); try another --host or --port") from error
    return listening
