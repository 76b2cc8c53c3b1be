"""One connection to a server, for one request at a time: HTTP/1.1 by h11, on a transport of asyncio.

The HTTP client's own connections pass each read and write through a pool, three locks and a library for two
event loops, where a request spent a third of its time or more. What they guarantee stays:

1. Whatever goes wrong before the first byte is a `ConnectError` or a `ConnectTimeout`; after that it never
   is. So these two prove that nothing was sent.
2. The ``trace`` extension is told of the first byte right before it is written, and may raise.
3. A connection is used again only if its last answer was whole, nothing came after it, and the server has
   not closed it: the operating system is asked right before.
4. Nothing is sent twice: a request that fails closes its connection, and the caller learns why.
"""

import asyncio
import select
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import h11
import httpx2

FIRST_BYTE = "http11.send_request_headers.started"
"""The step that `trace` is told of; the HTTP client's own connections give it the same name."""

MOST_HEADER_BYTES = 100 * 1024
MOST_UNREAD_BYTES = 256 * 1024
"""A server is not read from while so much has come that nobody has taken."""

NEXT_ADDRESS_S = 0.25
"""How long a connect to one address of a name may take before the next is tried beside it (RFC 8305)."""

_POLL = getattr(select, "poll", None)


class Lane(httpx2.AsyncBaseTransport):
    """A transport of one connection, which is opened for the first request and kept for the next."""

    def __init__(self, trusted: ssl.SSLContext) -> None:
        self._trusted = trusted
        self._wire: _Wire | None = None
        self._origin: tuple[bytes, bytes, int | None] | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send `request` and return the answer, whose body is read from the connection."""
        wire = await self._connected(request)
        limits = request.extensions.get("timeout", {})
        try:
            with _mapped():
                await wire.send(request, limits.get("write"))
                answer = await wire.answer(limits.get("read"))
        except BaseException:
            wire.close()
            raise
        return httpx2.Response(
            answer.status_code,
            headers=answer.headers.raw_items(),
            stream=_Body(wire, limits.get("read")),
            extensions={"http_version": b"HTTP/" + answer.http_version, "reason_phrase": answer.reason},
        )

    async def aclose(self) -> None:
        """Close the connection, and return when it is closed."""
        if self._wire is not None:
            self._wire.close()
            await self._wire.closed.wait()

    async def _connected(self, request: httpx2.Request) -> "_Wire":
        url = request.url
        origin = (url.raw_scheme, url.raw_host, url.port)
        if self._wire is not None:
            if origin == self._origin and self._wire.is_usable:
                return self._wire
            self._wire.close()
        self._wire, self._origin = await self._connect(request), origin
        return self._wire

    async def _connect(self, request: httpx2.Request) -> "_Wire":
        host, is_secure = request.url.raw_host.decode("ascii"), request.url.scheme == "https"
        try:
            async with asyncio.timeout(request.extensions.get("timeout", {}).get("connect")):
                _, wire = await asyncio.get_running_loop().create_connection(
                    _Wire,
                    host,
                    request.url.port or (443 if is_secure else 80),
                    ssl=self._trusted if is_secure else None,
                    server_hostname=host if is_secure else None,
                    happy_eyeballs_delay=None if host[-1:].isdigit() or ":" in host else NEXT_ADDRESS_S,
                )
        except TimeoutError as error:
            raise httpx2.ConnectTimeout(str(error)) from error
        except (OSError, UnicodeError) as error:
            raise httpx2.ConnectError(str(error)) from error
        return wire


class _Wire(asyncio.Protocol):
    """What goes over one connection."""

    _transport: asyncio.Transport
    closed: asyncio.Event

    def __init__(self) -> None:
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MOST_HEADER_BYTES)
        self._waiting: asyncio.Future[None] | None = None
        self._error: Exception | None = None
        self._unread = 0
        self._is_idle = True
        self._is_over = False
        self._is_paused = False
        self._may_write = True

    # --- what asyncio calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport, self.closed = transport, asyncio.Event()

    def data_received(self, data: bytes) -> None:
        """Take what came; what nobody asked for ends the connection."""
        if self._is_idle:
            self.close()
            return
        self._http.receive_data(data)
        self._unread += len(data)
        if self._unread > MOST_UNREAD_BYTES and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        """Note that nothing more will come; asyncio closes the connection then."""
        self._is_over = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note why, if it broke."""
        self._is_over, self._error = True, exc
        self._wake()
        self.closed.set()

    def pause_writing(self) -> None:
        """Note that the server takes no more for now."""
        self._may_write = False

    def resume_writing(self) -> None:
        """Note that it takes more."""
        self._may_write = True
        self._wake()

    # --- what a lane calls ---

    @property
    def is_usable(self) -> bool:
        """Whether the next request may go over this connection."""
        return self._is_idle and not self._is_over and not self._is_readable()

    async def send(self, request: httpx2.Request, limit_s: float | None) -> None:
        """Write a request whose content was read before."""
        head = h11.Request(method=request.method, target=request.url.raw_path, headers=request.headers.raw)
        written, content = [self._http.send(head) or b""], request.content
        if content:
            written += self._http.send_with_data_passthrough(h11.Data(data=content)) or []
        written.append(self._http.send(h11.EndOfMessage()) or b"")
        if (trace := request.extensions.get("trace")) is not None:
            await trace(FIRST_BYTE, {})
        self._is_idle = False
        # From here on it is unknown what arrived, until there is an answer.
        self._transport.writelines(written)
        try:
            async with asyncio.timeout(limit_s):
                while not (self._may_write or self._unread or self._is_over):  # an early answer counts
                    await self._news()
        except TimeoutError as error:
            raise httpx2.WriteTimeout("") from error

    async def answer(self, limit_s: float | None) -> h11.Response:
        """Return the head of the answer."""
        while True:
            event = await self.event(limit_s)
            if isinstance(event, h11.Response):
                return event

    async def event(self, limit_s: float | None) -> h11.Event:
        """Return the next part of the answer."""
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._is_over:
                self._end()
                continue
            self._unread = 0
            if self._is_paused:
                self._is_paused = False
                self._transport.resume_reading()
            try:
                async with asyncio.timeout(limit_s):
                    await self._news()
            except TimeoutError as error:
                raise httpx2.ReadTimeout("") from error
        assert isinstance(event, h11.Event)  # PAUSED is for servers
        return event

    def finish(self) -> None:
        """Keep the connection for the next request if this one is over, or close it."""
        both = {self._http.our_state, self._http.their_state}
        if both == {h11.DONE} and not self._is_over and not self._http.trailing_data[0]:
            self._http.start_next_cycle()
            self._is_idle = True
        else:
            self.close()

    def close(self) -> None:
        """Close the connection without waiting for anything; again has no effect."""
        self._is_over = True
        self._transport.abort()

    def _end(self) -> None:
        """Say what it means that nothing more comes."""
        if self._error is not None:
            raise httpx2.ReadError(str(self._error)) from self._error
        if self._http.their_state is h11.SEND_RESPONSE:
            raise httpx2.RemoteProtocolError("Server disconnected without sending a response.")
        self._http.receive_data(b"")  # a body may end with the connection; h11 knows

    async def _news(self) -> None:
        self._waiting = asyncio.get_running_loop().create_future()
        await self._waiting

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _is_readable(self) -> bool:
        """Whether anything came that asyncio has not read yet, such as the end; yes where nobody can say."""
        socket = self._transport.get_extra_info("socket")
        if _POLL is None or socket is None or socket.fileno() < 0:
            return True
        poll = _POLL()
        poll.register(socket.fileno(), select.POLLIN)
        return bool(poll.poll(0))


class _Body(httpx2.AsyncByteStream):
    """The body of an answer, as it comes."""

    def __init__(self, wire: _Wire, limit_s: float | None) -> None:
        self._wire = wire
        self._limit_s = limit_s

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            with _mapped():
                while isinstance(event := await self._wire.event(self._limit_s), h11.Data):
                    yield bytes(event.data)
        except BaseException:
            self._wire.close()
            raise

    async def aclose(self) -> None:
        self._wire.finish()


@contextmanager
def _mapped() -> Iterator[None]:
    """Raise the errors of h11 as those of the HTTP client."""
    try:
        yield
    except h11.LocalProtocolError as error:
        raise httpx2.LocalProtocolError(str(error)) from error
    except h11.RemoteProtocolError as error:
        raise httpx2.RemoteProtocolError(str(error)) from error
