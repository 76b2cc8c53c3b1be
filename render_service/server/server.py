"""Serve until told to stop, within limits on connections and on how slow a client may be.

uvicorn limits the number of connections, but not how long a request takes to arrive, so a thousand incomplete
requests would shut everyone out. Here a header has 10 s to arrive, and each 64 KB of the body 15 s more, so
an upload may take as long as it moves. A client that reads nothing of an answer for 30 s is cut off.

A new connection can always displace idle ones: over the limit of one address, that address's connection that
has waited longest is closed; over the total limit, the one that has waited longest of all. A connection whose
request is being answered is never closed to make room; if all of them are, the new one is answered 503.

The socket is bound first, and requests under way are finished at the end. A request that is still arriving
then has `ARRIVING_S` left; nothing of it was recorded.
"""

import asyncio
import contextlib
import json
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from ledger.errors import error_facts
from render_service.runtime.errors import BadInput
from render_service.runtime.ledger_process import LedgerProcess, ledger_process
from render_service.runtime.settings import CONSOLE_URL, Settings

HEADER_S = 10.0


REST_S = 15.0
"""Longer than the body of a webhook may take, so that a slow sender gets an answer from there."""


REST_BYTES = 64 * 1024
"""Amount of a body that gains a client another `REST_S`."""


UNREAD_S = 30.0
"""How long a client may read nothing of an answer while more than asyncio's buffer waits for it."""


IDLE_S = 60.0
"""Longer than clients keep idle connections, so that none sends a request into one that is being closed."""


MOST_HEADER_BYTES = 16 * 1024


MOST_CONNECTIONS = 800


MOST_OF_ONE_ADDRESS = 400
"""Behind a proxy, every connection has the proxy's address."""


SPARE_DESCRIPTORS = 200


THREADS = 64
"""For calls to the ledger and the disk: some that hang for a while must not block all others."""


_PART = 4 * 1024


GRACE_S = 10


ARRIVING_S = 2.0
"""How long a request may still arrive after the signal to stop, of the `GRACE_S` for all of them."""


_BACKLOG = 2048


_ACCEPTED_AT_ONCE = 50
"""asyncio accepts this many before it handles any, and each is an open file."""


_STOPS = (signal.SIGINT, signal.SIGTERM)


async def serve_app(
    app: ASGIApp,
    if_full: ASGIApp,
    listening: socket.socket,
    started: Callable[[], None],
    stop: asyncio.Event,
) -> None:
    """Serve `app` on `listening` until a signal, which sets `stop`.

    `if_full` answers the requests for which there is no connection left.
    """
    config = uvicorn.Config(
        app,
        access_log=False,
        log_config=None,
        log_level="critical",
        lifespan="on",
        ws="none",
        server_header=False,
        proxy_headers=False,
        http=bounded_connections(if_full),
        h11_max_incomplete_event_size=MOST_HEADER_BYTES,
        backlog=_ACCEPTED_AT_ONCE,
        timeout_keep_alive=round(IDLE_S),
        timeout_graceful_shutdown=GRACE_S,
    )
    await _Server(config, started, stop).serve(sockets=[listening])


def listen(host: str, port: int) -> socket.socket:
    """Bind `host` and `port` (0: a free one); `BadInput` says why that failed."""
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
        raise BadInput(
            f"cannot listen at {host}:{port} ({reason}); try another --host or --port",
            param="port",
            expected="a free address",
            found=reason,
        ) from error
    return listening


def listen_below(process: LedgerProcess) -> socket.socket:
    """Bind the Unix socket at which the front end reaches this process, in place of an earlier process's.

    Nothing can connect before the ledger was opened and the server listens, so that a request for an unusable
    ledger is refused immediately.
    """
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        Path(process.socket).unlink(missing_ok=True)
        listening.bind(process.socket)
    except OSError as error:
        listening.close()
        raise BadInput(
            f"cannot listen at {process.socket} ({error.strerror})",
            param="all",
            expected="a folder for sockets",
            found=error.strerror,
        ) from error
    return listening


def address_of(listening: socket.socket) -> tuple[str, int]:
    """Return the address and port that clients connect to: those of the front end, if there is one."""
    process = ledger_process()
    if process is not None and process.socket:
        return process.host, process.port
    host, port = listening.getsockname()[:2]
    return host, port


def check_reach(settings: Settings, listening: socket.socket) -> None:
    """Raise `BadInput` if sign-ins to the console would cross a network unencrypted."""
    host, _ = address_of(listening)
    if settings.console_url is None and not ip_address(host).is_loopback:
        raise BadInput(
            f"the console at {host} would be open to the network without TLS: set {CONSOLE_URL} to the https "
            "address of the proxy in front of it, listen at --host 127.0.0.1, or add --no-console",
            param="host",
            expected="an address that only this machine reaches, or TLS in front of it",
            found=host,
        )


class _Server(uvicorn.Server):
    """A uvicorn server whose exit code after SIGINT and SIGTERM is ours."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None], stopping: asyncio.Event) -> None:
        super().__init__(config)
        self._started = started
        self._stopping = stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(_BACKLOG)  # uvicorn set it to the number accepted at once
        self._started()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let the first signal stop the server, and the second end the process as the system does."""
        loop = asyncio.get_running_loop()
        for number in _STOPS:
            loop.add_signal_handler(number, self._stop)
        try:
            yield
        finally:
            for number in _STOPS:
                loop.remove_signal_handler(number)

    def _stop(self) -> None:
        # A process that a signal ends leaves what a killed one leaves: an attempt without an answer is looked
        # up by the next worker, and leases expire.
        loop = asyncio.get_running_loop()
        for number in _STOPS:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)
        self.should_exit = True
        self._stopping.set()


def most_connections() -> int:
    """Return the limit of connections, which is lower if the process may open few files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_CONNECTIONS if soft < 0 else max(1, min(MOST_CONNECTIONS, soft - SPARE_DESCRIPTORS))


class Room:
    """The open connections, in the order in which they began to wait."""

    def __init__(self) -> None:
        self.most = most_connections()
        self._all: dict[BoundedConnection, None] = {}
        self._of: dict[str | None, dict[BoundedConnection, None]] = {}

    def enter(self, connection: "BoundedConnection") -> None:
        """Add a connection, closing others to make room."""
        same = self._of.setdefault(connection.address, {})
        if len(same) >= MOST_OF_ONE_ADDRESS:
            _close_one(same)
        if len(self._all) >= self.most:
            _close_one(self._all)
        self._of.setdefault(connection.address, {})[connection] = None
        self._all[connection] = None

    def leave(self, connection: "BoundedConnection") -> None:
        """Remove a connection."""
        self._all.pop(connection, None)
        same = self._of.get(connection.address, {})
        same.pop(connection, None)
        if not same:
            self._of.pop(connection.address, None)

    def renew(self, connection: "BoundedConnection") -> None:
        """Move a connection that completed a request behind those that did not."""
        if connection in self._all:
            self.leave(connection)
            self._all[connection] = self._of.setdefault(connection.address, {})[connection] = None

    @property
    def is_full(self) -> bool:
        """Whether there are too many connections, because none of them could be closed."""
        return len(self._all) > self.most


def _close_one(connections: "dict[BoundedConnection, None]") -> None:
    waiting = next((connection for connection in connections if connection.waits), None)
    if waiting is not None:
        waiting.cut()


class _Joined(asyncio.Transport):
    """Combines the writes in one step of the event loop: the head of an answer and its body.

    Written one by one, they are two calls of the system and two packets.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport, self._loop = transport, loop
        self._held = bytearray()

    def write(self, data: Any) -> None:
        """Hold `data` until the end of this step, or until there is more than a part."""
        if not self._held:
            self._loop.call_soon(self._pass_on)
        self._held += data
        if len(self._held) > _PART:
            self._pass_on()

    def _pass_on(self) -> None:
        if self._held:
            self._transport.write(bytes(self._held))
            self._held.clear()

    def close(self) -> None:
        """Close the connection after what was written."""
        self._pass_on()
        self._transport.close()

    def abort(self) -> None:
        """Close the connection immediately."""
        self._held.clear()
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether the connection is closed, or about to be."""
        return self._transport.is_closing()

    def pause_reading(self) -> None:
        """Stop reading from the client for now."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Resume reading from the client."""
        self._transport.resume_reading()


class BoundedConnection(H11Protocol):
    """uvicorn's HTTP protocol with these limits."""

    room: Room
    busy: ASGIApp
    """Answers for new connections while all places are taken."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.address: str | None = None
        self._phase: object = None
        self._received = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._reading_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn
        """Make room for the new connection, and start the deadline of its header."""
        super().connection_made(transport)
        self.transport = _Joined(transport, self.loop)
        self.address = self.client[0] if self.client else None
        self.room.enter(self)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Free the place for another connection."""
        self.room.leave(self)
        self._stop_watching()
        self._is_reading()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read in small parts, so that the header limit does not depend on how the header arrives."""
        is_full = self.room.is_full or len(self.tasks) > self.room.most
        self.app = self.busy if is_full else self.config.loaded_app
        part = REST_BYTES if self.conn.their_state is h11.SEND_BODY else _PART
        for start in range(0, len(data), part):
            if self.transport.is_closing():
                return
            super().data_received(data[start : start + part])
        self._received += len(data)
        self._watch()

    def shutdown(self) -> None:
        """Close the connection after the current answer; a request that does not arrive soon is cut off."""
        super().shutdown()
        if self.conn.their_state is h11.SEND_BODY:
            self.loop.call_later(ARRIVING_S, self._cut_arriving)

    def _cut_arriving(self) -> None:
        if self.conn.their_state is h11.SEND_BODY:
            self.cut()

    def pause_writing(self) -> None:
        """Give a slow client until `UNREAD_S` to read something."""
        super().pause_writing()
        self._reading_deadline = self.loop.call_later(UNREAD_S, self.cut)

    def resume_writing(self) -> None:
        """Note that the client reads."""
        self._is_reading()
        super().resume_writing()

    def _is_reading(self) -> None:
        if self._reading_deadline:
            self._reading_deadline.cancel()
            self._reading_deadline = None

    def send_400_response(self, msg: str) -> None:
        """Answer a request that is not HTTP, or whose header is too large, in the API's error format."""
        envelope = {"type": "invalid_request_error", "calls": []}
        body = json.dumps(
            {
                "error": error_facts(
                    "invalid_http", msg, expected="a request of HTTP/1.1", found="something else"
                )
                | envelope
            }
        ).encode()
        headers = [("content-type", "application/json"), ("connection", "close")]
        for event in (
            h11.Response(status_code=400, headers=[*headers, ("content-length", str(len(body)))]),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    @property
    def waits(self) -> bool:
        """Whether the connection is not being answered: a request is incomplete, or an answer was sent."""
        cycle: RequestResponseCycle | None = self.cycle
        is_answered = cycle is not None and cycle.response_complete
        return is_answered or self.conn.their_state in {h11.IDLE, h11.SEND_BODY}

    def cut(self) -> None:
        """Close the connection immediately, discarding unsent data."""
        self.room.leave(self)
        self._stop_watching()
        self.transport.abort()

    def _watch(self) -> None:
        """Set a deadline for a request that has begun; header and body each have their own."""
        state = self.conn.their_state
        phase = state if state in {h11.IDLE, h11.SEND_BODY} else None
        moves = phase is h11.SEND_BODY and self._received >= REST_BYTES
        if phase is None or moves:
            self.room.renew(self)
        if phase is self._phase and not moves and (phase is None or self._deadline):
            return
        self._stop_watching()
        self._phase, self._received = phase, 0
        if phase is not None:
            self._deadline = self.loop.call_later(HEADER_S if phase is h11.IDLE else REST_S, self._expire)

    def _expire(self) -> None:
        """Cut off a request that does not arrive, unless it is the app that does not take its body."""
        self._deadline = None
        if self._phase is h11.SEND_BODY and self.flow.read_paused:
            self._watch()
        else:
            self.cut()

    def _stop_watching(self) -> None:
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None


def bounded_connections(answer_if_full: ASGIApp) -> type[BoundedConnection]:
    """Return the protocol of one server, whose connections share one limit."""

    class Connection(BoundedConnection):
        room = Room()
        busy = staticmethod(answer_if_full)

    return Connection
