"""The background task that sends due deliveries; it uses the sandbox's clock, which a test may move.

Redirects are not followed: any status other than 2xx is retried.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Self
from urllib.parse import urlsplit

import httpx2
from starlette.concurrency import run_in_threadpool

from sora_adapter.sandbox.webhooks.deliveries import Delivery
from sora_adapter.sandbox.webhooks.outbox import Letter, Outbox

Post = Callable[[Letter], Awaitable[int | None]]

_TICK_S = 0.1  # real time; how soon a moved clock is noticed
_PATIENCE_S = 10.0
_AT_ONCE = 16

_log = logging.getLogger(__name__)


def is_postable(url: str) -> bool:
    """Return whether events can be posted to a URL: it has a host and a valid port."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


class Mail:
    """The default `Post`: one HTTP request; returns the status, or None if there was no answer."""

    def __init__(self) -> None:
        self._client: httpx2.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def __call__(self, letter: Letter) -> int | None:
        """Send a letter; the HTTP client is created only here, on first use."""
        if not is_postable(letter.url):
            return None
        self._client = self._client or httpx2.AsyncClient(timeout=_PATIENCE_S)
        try:
            async with self._client.stream(
                "POST", letter.url, content=letter.body, headers=letter.headers
            ) as answer:
                return answer.status_code
        except (httpx2.HTTPError, httpx2.InvalidURL):
            return None


async def send_what_is_due(outbox: Outbox, post: Post) -> None:
    """Send due deliveries forever, several at a time, settling each by its answer."""
    hands = asyncio.Semaphore(_AT_ONCE)

    async def deliver(delivery: Delivery, letter: Letter) -> None:
        async with hands:
            status = await post(letter)
        await run_in_threadpool(outbox.settle, delivery, status)

    try:
        async with asyncio.TaskGroup() as under_way:
            while True:
                for delivery, letter in await run_in_threadpool(outbox.lease_due):
                    under_way.create_task(deliver(delivery, letter))
                await asyncio.sleep(_TICK_S)
    except Exception:
        _log.exception("sandbox.webhooks.stopped")
        raise
