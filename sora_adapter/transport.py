"""The only module that calls servers, through the `openai` SDK: each exchange happens at most once.

Everything the SDK and its HTTP client do by themselves is switched off here:

- retries, for every method (it sends a POST up to three times, with no idempotency key),
- redirects of anything but GET (a 307 would send the POST a second time),
- long keep-alive: a server may close a connection at the instant it is reused, and then it is unknown
  whether the request arrived, whereas a failed connect proves that nothing was sent. A connection is
  reused only within half a second, sooner than servers close it (docs/decisions/0031-connections.md),
- proxies from the environment, for addresses of this machine,
- credentials from the environment: without a key no ``Authorization`` is sent, not even OPENAI_ADMIN_KEY.

Calls go through the SDK's generic ``get``, ``post`` and ``delete``, with the raw response as the result. The
methods of ``client.videos`` raise a DeprecationWarning each, which could only be silenced for the whole
process (``warnings.catch_warnings`` is not safe between tasks), and the models they return are not validated.
"""

import hashlib
import hmac
import ipaddress
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import httpx2
from openai import APIConnectionError, APIStatusError, AsyncOpenAI, DefaultAsyncHttpxClient, Omit

from sora_adapter.connections import ACCEPTED_ENCODING, MOST_CONTENT_BYTES, Lanes, bound, is_text
from sora_adapter.errors import ContentTooLarge, ContentTruncated, NotAsCommitted
from sora_adapter.responses import Answer, NoAnswer
from sora_adapter.untrusted import is_same_origin, resolve_url
from sora_adapter.wire import Post, received_sha256, sent_sha256

CONNECT_TIMEOUT_S = 10.0
CHUNK_BYTES = 256 * 1024
_NO_CREDENTIALS = {name: Omit() for name in ("Authorization", "OpenAI-Organization", "OpenAI-Project")}
IDLE_S = 0.5
_IN_TIME: ContextVar[Callable[[], bool] | None] = ContextVar("in_time", default=None)
_COMMITTED: ContextVar[Callable[[str], bool] | None] = ContextVar("committed", default=None)
_ACCOUNT = "sora-ledger/account/v1"
_DIGEST_CHARACTERS = 16
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-")

# Names of httpcore2's trace events: connecting has these prefixes, and the last event comes right before the
# first byte of a request.
_CONNECTING = ("connection.", "proxy.", "socks.")
_FIRST_BYTE = "http11.send_request_headers.started"

# httpcore2 raises these before it writes the first byte of a request: while it waits for a connection, opens
# one, negotiates TLS or asks a proxy for a tunnel. After any other error the request may have arrived.
_NEVER_CONNECTED = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)


class _Client(DefaultAsyncHttpxClient):
    """The SDK's client with `Lanes` as its transport; proxies from the environment keep a separate pool."""

    def _init_transport(self, *args: Any, **options: Any) -> httpx2.AsyncBaseTransport:
        return Lanes(partial(super()._init_transport, *args, **options), IDLE_S)


class Transport:
    """An HTTP client for one server; without `api_key` it sends no credentials."""

    def __init__(self, base_url: str, api_key: str | None, timeout_s: float) -> None:
        timeout = httpx2.Timeout(timeout_s, connect=min(timeout_s, CONNECT_TIMEOUT_S))
        is_here = _is_this_machine(base_url)
        trusted = (
            _no_authorities() if is_here and base_url.startswith("http://") else httpx2.create_ssl_context()
        )
        self._base_url = base_url
        self._key = api_key or ""
        self._fixed: dict[str, str | Omit] = {} if api_key else {"Authorization": Omit()}
        self._sdk = AsyncOpenAI(
            api_key=api_key or "none",  # None would read OPENAI_API_KEY
            base_url=base_url,
            max_retries=0,
            timeout=timeout,
            http_client=_Client(
                timeout=timeout,
                limits=httpx2.Limits(keepalive_expiry=IDLE_S),
                trust_env=not is_here,
                verify=trusted,
                headers={"Accept-Encoding": ACCEPTED_ENCODING},
                event_hooks={
                    "request": [
                        self._check_redirect,
                        _assemble,
                        _check_commitment,
                        _check_deadline,
                    ],
                    "response": [_read_as_utf8, bound],
                },
            ),
        )

        self._root = str(self._sdk.base_url).rstrip("/")

    async def close(self) -> None:
        """Close every connection."""
        await self._sdk.close()

    def digest_post(self, post: Post) -> str:
        """Return the digest of the bytes that sending `post` puts on the wire; see `sora_adapter.wire`."""
        return sent_sha256(post, self._sdk.base_url.raw_path.decode("ascii").rstrip("/") + post.path)

    def key_digest(self, attempt_id: str) -> str:
        """Return the digest, for one attempt, of key, organization and project; `docs/FORMAT.md`, "Keys".

        The SDK reads the last two from the environment; like the key, they determine the account.
        """
        sdk = self._sdk
        message = "\0".join((_ACCOUNT, attempt_id, sdk.organization or "", sdk.project or ""))
        return hmac.new(self._key.encode(), message.encode(), hashlib.sha256).hexdigest()[:_DIGEST_CHARACTERS]

    async def post(
        self,
        post: Post,
        headers: Mapping[str, str],
        in_time: Callable[[], bool] | None = None,
        is_committed: Callable[[str], bool] | None = None,
    ) -> Answer | NoAnswer:
        """Send `post` once, unless `in_time` says at the last moment that it is too late.

        `is_committed` receives the digest of the bytes about to be sent; if it returns False,
        `NotAsCommitted` is raised and nothing is sent. A redirect is an answer.
        """
        _IN_TIME.set(in_time)
        _COMMITTED.set(is_committed)
        encoding = {"Content-Type": "multipart/form-data"} if post.multipart else {}
        return await _exchange(
            self._sdk.post(
                f"{self._root}{post.path}",  # the SDK would join a path with its base and parse both
                cast_to=httpx2.Response,
                body=post.body,
                files=[*(post.files or {}).items(), *post.more_files] or None,
                options={
                    "headers": {**self._fixed, **headers, **encoding},
                    "follow_redirects": False,
                },
            )
        )

    async def delete(self, path: str, headers: Mapping[str, str]) -> Answer | NoAnswer:
        """Send one DELETE; a redirect is an answer."""
        return await _exchange(
            self._sdk.delete(
                path,
                cast_to=httpx2.Response,
                options={
                    "headers": {**self._fixed, **headers},
                    "follow_redirects": False,
                },
            )
        )

    async def get(
        self, path: str, params: Mapping[str, object], headers: Mapping[str, str]
    ) -> Answer | NoAnswer:
        """Send one GET, following redirects."""
        return await _exchange(self._request(path, params, headers))

    @asynccontextmanager
    async def stream(
        self, path: str, params: Mapping[str, object], headers: Mapping[str, str]
    ) -> AsyncIterator["Content | Answer | NoAnswer"]:
        """Send one GET for bytes, following redirects; yields them unread if the answer is 2xx.

        `path` may be a URL from the server (`untrusted.resolve_url`); only the server gets credentials.
        """
        # With this header the SDK leaves the body unread, as its own `with_streaming_response` does.
        unread = {"X-Stainless-Raw-Response": "stream", "Accept-Encoding": "identity"}
        bare = _NO_CREDENTIALS if "://" in path and not is_same_origin(self._base_url, path) else {}
        received = await _receive(self._request(path, params, {**headers, **unread, **bare}))
        if isinstance(received, NoAnswer) or not received.is_success:
            yield await _read(received)
            return
        try:
            yield Content(received)
        finally:
            await received.aclose()

    async def _check_redirect(self, request: httpx2.Request) -> None:
        """Refuse a redirect to an address that a server may not lead to; called at each hop."""
        if resolve_url(self._base_url, str(request.url)) is None:
            where = f"{request.url.scheme}://{request.url.host}"
            raise httpx2.UnsupportedProtocol(
                f"it leads to {where}, which is not followed from {self._base_url}"
            )

    def _request(
        self, path: str, params: Mapping[str, object], headers: Mapping[str, str | Omit]
    ) -> Awaitable[httpx2.Response]:
        return self._sdk.get(
            path,
            cast_to=httpx2.Response,
            options={
                "headers": {**self._fixed, **headers},
                "params": params,
                "follow_redirects": True,
            },
        )


class Content:
    """The bytes of one variant, unread; iterate once. Memory stays at one chunk of at most 256 KiB.

    `content_length` is the announced number of bytes, None if the server announced none. `begins_at` is the
    offset of the first byte in the file. `tag` identifies this exact file to a server that supports byte
    ranges with a strong ETag (RFC 9110); None if it does not.
    """

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response
        headers = response.headers
        announced = headers.get("content-length", "")
        self.content_type = headers.get("content-type", "application/octet-stream").partition(";")[0].strip()
        self.content_length = int(announced) if announced.isdecimal() else None
        is_part = response.status_code == HTTPStatus.PARTIAL_CONTENT
        self.begins_at = _read_start(headers.get("content-range", "")) if is_part else 0
        tag = headers.get("etag", "")
        by_bytes = is_part or headers.get("accept-ranges", "").lower() == "bytes"
        self.tag = tag if by_bytes and tag.startswith('"') else None

    @property
    def is_text(self) -> bool:
        """Whether this is a page or a JSON document, and so not the bytes of a video."""
        return is_text(self.content_type)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the bytes; raises `ContentTruncated` if fewer come than announced, or `ContentTooLarge`."""
        self._check_size(self.content_length or 0)
        received = 0
        try:
            async for chunk in self._response.aiter_bytes(CHUNK_BYTES):
                received += len(chunk)
                self._check_size(received)
                yield chunk
        except httpx2.RequestError as error:
            raise self._make_truncated(_describe(error)) from None

    async def as_answer(self) -> Answer | NoAnswer:
        """Read the rest as text, for answers that turn out not to be a video."""
        return await _read(self._response)

    def _check_size(self, taken: int) -> None:
        if taken > MOST_CONTENT_BYTES:
            raise ContentTooLarge(
                f"the file is larger than {MOST_CONTENT_BYTES >> 30} GiB, the most that is fetched; "
                "is it a video? Its server's operator knows"
            )

    def _make_truncated(self, why: str) -> ContentTruncated:
        received, announced = self._response.num_bytes_downloaded, self.content_length
        return ContentTruncated(
            f"the download ended after {received} of {announced or 'an unknown number of'} bytes ({why}); "
            "fetch it again",
            received=received,
            announced=announced,
        )


def _read_start(content_range: str) -> int:
    """Return the offset of a part's first byte; -1 if the server does not state it."""
    match = _CONTENT_RANGE.match(content_range)
    return int(match[1]) if match else -1


async def _assemble(request: httpx2.Request) -> None:
    """Assemble a form before it is sent; the HTTP client would write each line of it separately.

    Its parts are in memory anyway. A create takes 2 writes instead of 36, and a third of the time.
    """
    request.read()


async def _check_commitment(request: httpx2.Request) -> None:
    """Compare the request with the commitment of its intent, right before it is sent."""
    is_committed = _COMMITTED.get()
    if is_committed is None or request.method != "POST":
        return
    target, media_type = request.url.raw_path.decode("ascii"), request.headers.get("content-type", "")
    try:
        same = is_committed(received_sha256(request.method, target, media_type, request.content))
    except ValueError as error:
        raise NotAsCommitted(f"the request cannot be read back ({error}); nothing was sent") from error
    if not same:
        raise NotAsCommitted("the request is not the one that its intent commits to; nothing was sent")


async def _check_deadline(request: httpx2.Request) -> None:
    """Have the connection call `in_time` before it writes the first byte.

    If the HTTP client gets past connecting without announcing that step, the request is stopped: the deadline
    would go unchecked, and it would be unknown what was sent.
    """
    in_time = _IN_TIME.get()
    if in_time is None or request.method != "POST":
        return
    is_checked = False

    async def at(step: str, _: object) -> None:  # the client awaits it
        nonlocal is_checked
        if step.startswith(_CONNECTING) or (is_checked and step != _FIRST_BYTE):
            return
        is_checked = True  # also if it is refused: the client then reports how it closes the connection
        if step != _FIRST_BYTE:
            raise httpx2.LocalProtocolError(f"the HTTP client came to {step} without {_FIRST_BYTE}")
        if not in_time():
            raise httpx2.ConnectTimeout("it was too late when there was a connection; nothing was sent")

    request.extensions = {**request.extensions, "trace": at}


async def _read_as_utf8(response: httpx2.Response) -> None:
    """Decode text as UTF-8 (RFC 8259); the charset named by a server may raise, such as ``idna``."""
    response.encoding = "utf-8"


async def _exchange(call: Awaitable[httpx2.Response]) -> Answer | NoAnswer:
    return await _read(await _receive(call))


async def _receive(call: Awaitable[httpx2.Response]) -> httpx2.Response | NoAnswer:
    """Turn every failure of the SDK into a response, or into a `NoAnswer` that says what is known."""
    try:
        return await call
    except APIStatusError as error:
        return error.response
    except APIConnectionError as error:
        if isinstance(error.__cause__, NotAsCommitted):
            raise error.__cause__ from None
        return _classify_loss(error.__cause__ or error)
    except httpx2.RequestError as error:  # the body of an error answer broke off while the SDK read it
        return _classify_loss(error)


async def _read(received: httpx2.Response | NoAnswer) -> Answer | NoAnswer:
    if isinstance(received, NoAnswer):
        return received
    try:
        await received.aread()
    except httpx2.RequestError as error:
        await received.aclose()
        return _classify_loss(error)
    return Answer(received.status_code, dict(received.headers.items()), received.text)


def _classify_loss(error: BaseException) -> NoAnswer:
    if isinstance(error, _NEVER_CONNECTED):
        return NoAnswer("never_connected", _describe(error))
    if isinstance(error, httpx2.TimeoutException):
        return NoAnswer("timeout", _describe(error))
    if isinstance(error, httpx2.DecodingError):
        return NoAnswer("unreadable", _describe(error))
    return NoAnswer("connection", _describe(error))


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _no_authorities() -> ssl.SSLContext:
    """Return a context without trusted authorities, for plain HTTP; reading the system's takes 20 ms."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _is_this_machine(base_url: str) -> bool:
    host = urlsplit(base_url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
