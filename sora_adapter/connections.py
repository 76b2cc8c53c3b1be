"""One connection per request in flight, without the cost of a large pool.

Before and after each request, the HTTP client's pool asks the system about every idle connection: has the
server closed it? Between an answer and the next intent most connections of a batch are idle, and these checks
took a tenth of its time. Here each connection is a pool of its own, so only the connection about to be used
is checked.
"""

import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

import httpx2


class Idle(NamedTuple):
    """An unused connection, and since when, in seconds of the monotonic clock."""

    lane: httpx2.AsyncBaseTransport
    since: float


class Lanes(httpx2.AsyncBaseTransport):
    """Transports of one connection each; `make` adds one when all are in use.

    The most recently used is taken first. A connection idle for `kept_s` is closed at the next request.
    """

    def __init__(self, make: Callable[[], httpx2.AsyncBaseTransport], kept_s: float) -> None:
        self._make = make
        self._kept_s = kept_s
        self._idle = deque[Idle]()
        self._busy = set[httpx2.AsyncBaseTransport]()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send `request` over a connection that no other request uses until the response is closed."""
        lane = self._idle.pop().lane if self._idle else self._make()
        self._busy.add(lane)
        await self._close_idle(time.monotonic() - self._kept_s)
        try:
            response = await lane.handle_async_request(request)
        except BaseException:
            self._release(lane)
            raise
        assert isinstance(response.stream, httpx2.AsyncByteStream)  # an async transport's
        response.stream = _Stream(response.stream, lambda: self._release(lane))
        return response

    async def aclose(self) -> None:
        """Close every connection."""
        await self._close_idle(until=float("inf"))
        while self._busy:
            await self._busy.pop().aclose()

    def _release(self, lane: httpx2.AsyncBaseTransport) -> None:
        if lane in self._busy:
            self._busy.remove(lane)
            self._idle.append(Idle(lane, time.monotonic()))

    async def _close_idle(self, until: float) -> None:
        while self._idle and self._idle[0].since < until:
            await self._idle.popleft().lane.aclose()


class _Stream(httpx2.AsyncByteStream):
    """A body that reports when it is closed."""

    def __init__(self, stream: httpx2.AsyncByteStream, closed: Callable[[], None]) -> None:
        self._stream = stream
        self._closed = closed

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._stream.__aiter__()

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            self._closed()
