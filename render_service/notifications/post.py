"""One attempt to deliver: a signed POST to a checked address, within limits.

Redirects are not followed, the answer's body is not read, and proxies from the environment are not used. An
attempt takes at most `LONGEST_S`, however slowly name server, network or receiver answer. Connections are not
reused: one made for a host must not serve another host at the same address.
"""

import asyncio
import ssl
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal, Self
from urllib.parse import urlsplit

import httpx2

from render_service.notifications.addresses import Addresses, AddressRefused

LONGEST_S = 10.0
MOST_ADDRESSES = 4


@dataclass(frozen=True)
class Letter:
    """An attempt, ready to be posted."""

    url: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """The receiver's status; None if it did not answer.

    In that case `lost` says how, for logs, and `problem` tells the owner, quoting their URL.
    """

    http_status: int | None
    lost: Literal["address_refused", "timeout", "connection"] | None = None
    problem: str | None = None

    @property
    def is_accepted(self) -> bool:
        """Whether the receiver accepted it: any status from 200 to 299."""
        return self.http_status is not None and self.http_status // 100 == HTTPStatus.OK // 100


class Post:
    """Posts letters; an async context manager. The TLS settings are read when the first letter is posted."""

    def __init__(self, addresses: Addresses, longest_s: float = LONGEST_S) -> None:
        self.addresses = addresses
        self._longest_s = longest_s
        self._client: httpx2.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def __call__(self, letter: Letter) -> Answer:
        """Send a letter and return the answer; never raises for errors of the receiver."""
        try:
            async with asyncio.timeout(self._longest_s):
                return await self._send(letter)
        except AddressRefused as refused:
            return Answer(None, "address_refused", str(refused))
        except TimeoutError:
            return Answer(None, "timeout", f"no answer within {self._longest_s:g} s")
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            return Answer(None, "connection", str(error) or type(error).__name__)

    async def _send(self, letter: Letter) -> Answer:
        *others, last = (await self.addresses.resolve(letter.url))[:MOST_ADDRESSES]
        for address in others:
            try:
                return await self._send_to(address, letter)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                continue  # nothing was sent
        return await self._send_to(last, letter)

    async def _send_to(self, address: str, letter: Letter) -> Answer:
        # The URL has the checked address; certificate and Host header use the name.
        url = httpx2.URL(letter.url).copy_with(host=address)
        headers = {"host": urlsplit(letter.url).netloc, **letter.headers}
        named = {"sni_hostname": urlsplit(letter.url).hostname}
        async with self._open().stream(
            "POST", url, content=letter.body, headers=headers, extensions=named
        ) as answer:
            return Answer(answer.status_code)

    def _open(self) -> httpx2.AsyncClient:
        if self._client is None:
            self._client = httpx2.AsyncClient(
                verify=ssl.create_default_context(),
                trust_env=False,
                follow_redirects=False,
                timeout=self._longest_s,
                limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),
            )
        return self._client
