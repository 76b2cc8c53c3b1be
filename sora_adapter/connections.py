"""Connections to a server: one per request in flight, and answers of bounded size.

Before and after each request, the HTTP client's pool asks the system whether the server has closed any idle
connection. Between an answer and the next intent most connections of a batch are idle, and these checks took
a tenth of its time. Here each connection has a separate pool, so only the connection about to be used is
checked.

A server may send, or compress, more than fits in memory. The HTTP client decompresses a whole chunk in one
step, whatever its size. So compressed bodies are decoded here, in pieces of bounded size, before the client
sees them. Only gzip is requested and decoded.
"""

import time
import zlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import NamedTuple

import httpx2

MOST_ANSWER_BYTES = 16 << 20
"""A page of 100 videos with the longest prompts, at three bytes per character, is 10 MB."""
MOST_CONTENT_BYTES = 16 << 30
"""Per download; two minutes of 1080p video are less than 1 GiB."""
PIECE_BYTES = 256 << 10
ACCEPTED_ENCODING = "gzip"
_GZIP = 16 + zlib.MAX_WBITS


async def bound(response: httpx2.Response) -> None:
    """Decode the body of `response` as it is read, and raise `DecodingError` if it is too large.

    The bytes of a video are streamed; their reader limits them (`MOST_CONTENT_BYTES`).
    """
    streams = response.is_success and response.request.headers.get("accept-encoding") == "identity"
    is_content = streams and not is_text(response.headers.get("content-type", ""))
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        del response.headers["content-encoding"]
        if "content-length" in response.headers:  # of the encoded body
            del response.headers["content-length"]
    assert isinstance(response.stream, httpx2.AsyncByteStream)  # an async client's stream
    response.stream = _BoundedBody(response.stream, encoding, None if is_content else MOST_ANSWER_BYTES)


def is_text(content_type: str) -> bool:
    """Return whether this is a page or a JSON document rather than a video."""
    return content_type.partition(";")[0].strip().lower() in {"text/html", "application/json"}


class _BoundedBody(httpx2.AsyncByteStream):
    """A body that is decoded in pieces; `most` None does not limit it."""

    def __init__(self, stream: httpx2.AsyncByteStream, encoding: str, most: int | None) -> None:
        self._stream = stream
        self._encoding = encoding
        self._most = most

    async def __aiter__(self) -> AsyncIterator[bytes]:
        decode, received, decoded = self._decoder(), 0, 0
        async for raw in self._stream:
            received += len(raw)
            for piece in decode(raw):
                decoded += len(piece)
                self._check(max(received, decoded))
                yield piece
            self._check(received)

    async def aclose(self) -> None:
        await self._stream.aclose()

    def _check(self, received: int) -> None:
        if self._most is not None and received > self._most:
            raise httpx2.DecodingError(
                f"the answer is larger than {self._most >> 20} MiB, the most that is read"
            )

    def _decoder(self) -> "_Decoder":
        if self._encoding == "identity":
            return _identity
        if self._encoding in {"gzip", "x-gzip"}:
            return _Unzip()
        raise httpx2.DecodingError(f"it is encoded as {self._encoding[:40]!r}, which was not asked for")


class _Unzip:
    """Decompresses chunk by chunk, in pieces of bounded size."""

    def __init__(self) -> None:
        self._unzip = zlib.decompressobj(_GZIP)

    def __call__(self, raw: bytes) -> Iterator[bytes]:
        """Yield the contents of `raw`."""
        while raw and not self._unzip.eof:
            try:
                piece = self._unzip.decompress(raw, PIECE_BYTES)
            except zlib.error as error:
                raise httpx2.DecodingError(f"it is not gzip ({error})") from error
            raw = self._unzip.unconsumed_tail
            yield piece


def _identity(raw: bytes) -> Iterator[bytes]:
    yield raw


_Decoder = Callable[[bytes], Iterator[bytes]]


class Idle(NamedTuple):
    """An unused connection, and the monotonic time in seconds since when it is unused."""

    lane: httpx2.AsyncBaseTransport
    since: float


class Lanes(httpx2.AsyncBaseTransport):
    """Transports with one connection each; `make` adds one when all are in use.

    The most recently used is taken first. A connection idle for `idle_s` is closed at the next request.
    """

    def __init__(self, make: Callable[[], httpx2.AsyncBaseTransport], idle_s: float) -> None:
        self._make = make
        self._idle_s = idle_s
        self._idle = deque[Idle]()
        self._busy = set[httpx2.AsyncBaseTransport]()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send `request` over a connection that no other request uses until the response is closed."""
        lane = self._idle.pop().lane if self._idle else self._make()
        self._busy.add(lane)
        await self._close_idle(time.monotonic() - self._idle_s)
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
