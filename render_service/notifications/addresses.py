"""Allowed addresses for webhooks: a client's URL must not reach this server's private network.

A host is resolved here, every address it has is checked, and the connection is made to one of the checked
addresses: a name that resolves differently the next time (DNS rebinding) changes nothing. Addresses that
embed an IPv4 address are judged by that one.

Link-local, multicast, unspecified and reserved addresses are always refused: clouds serve the credentials of
a machine at link-local ones. Loopback and private addresses are refused unless the installation permits them,
and so is http, which anybody on the path could read.
"""

import asyncio
import ipaddress
import socket
import threading
from contextlib import suppress
from urllib.parse import SplitResult, urlsplit

from render_service.runtime.errors import BadInput
from render_service.runtime.settings import PRIVATE_ENDPOINTS

LONGEST_URL = 2048
_PORTS = {"http": 80, "https": 443, "nats": 4222, "kafka": 9092, "tls": 443, "smtp": 25, "smtps": 465}
_LOOKUPS = 16
"""Concurrent lookups, in separate threads: a silent name server must not block the ledger's threads, nor a
server that is stopping.
"""

_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class AddressRefused(BadInput):
    """The URL or its address is not one that webhooks may be sent to."""


class Addresses:
    """Checks and resolves URLs; `permits_private` permits loopback and private addresses, and http.

    `secure` and `plain` are the schemes with and without TLS; `of` describes the URLs in messages.
    """

    def __init__(
        self,
        *,
        permits_private: bool,
        secure: str = "https",
        plain: str = "http",
        of: str = "a webhook endpoint",
    ) -> None:
        self.permits_private = permits_private
        self._secure, self._plain, self._of = secure, plain, of
        self._free = asyncio.Semaphore(_LOOKUPS)

    async def check(self, url: str) -> None:
        """Raise `AddressRefused` if webhooks may not be sent to `url`; a name need not resolve yet."""
        parts = self._split(url)
        try:
            await self._resolve(parts)
        except (OSError, UnicodeError):
            return

    async def resolve(self, url: str) -> list[str]:
        """Return the addresses of `url`; `AddressRefused` if one is not permitted, `OSError` without any."""
        return await self._resolve(self._split(url))

    def _split(self, url: str) -> SplitResult:
        schemes = f"{self._secure} or {self._plain}" if self.permits_private else self._secure
        wrong = f"expected a URL ({schemes}) of at most {LONGEST_URL} characters, without user or fragment"
        try:
            parts = urlsplit(url)
            is_right = (
                len(url) <= LONGEST_URL
                and url.isascii()
                and url.isprintable()
                and " " not in url
                and parts.scheme in schemes.split(" or ")
                and bool(parts.hostname)
                and parts.port != 0
                and "@" not in parts.netloc
                and not parts.fragment
            )
        except ValueError:
            is_right = False
        if not is_right:
            more = "" if self.permits_private else f"; {PRIVATE_ENDPOINTS}=allow permits {self._plain}"
            raise AddressRefused(
                f"the URL of {self._of}: {wrong}{more}",
                param="url",
                expected=wrong.removeprefix("expected "),
                found=url[:LONGEST_URL],
            )
        return parts

    async def _resolve(self, parts: SplitResult) -> list[str]:
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        addresses = await self._look_up(host, port)
        for address in addresses:
            if why := self._objection(address):
                raise AddressRefused(
                    f"the URL of {self._of}: {host} leads to {address}, {why}",
                    param="url",
                    expected="an address that may be reached",
                    found=address,
                )
        if not addresses:
            raise OSError(f"{host} has no address")
        return addresses

    async def _look_up(self, host: str, port: int) -> list[str]:
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[str]] = loop.create_future()

        def settle(addresses: list[str], error: OSError | UnicodeError | None) -> None:
            self._free.release()
            if found.cancelled():
                return
            if error is None:
                found.set_result(addresses)
            else:
                found.set_exception(error)

        def look_up() -> None:
            addresses: list[str] = []
            trouble: OSError | UnicodeError | None = None
            try:
                infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                addresses = list(dict.fromkeys(str(info[4][0]) for info in infos))
            except (OSError, UnicodeError) as error:
                trouble = error
            with suppress(RuntimeError):  # the server stopped meanwhile
                loop.call_soon_threadsafe(settle, addresses, trouble)

        threading.Thread(target=look_up, name="webhook-dns", daemon=True).start()
        return await found

    def _objection(self, text: str) -> str | None:
        """Return why an address is not allowed; None if it is."""
        address = _unwrap(ipaddress.ip_address(text.partition("%")[0]))
        if address.is_link_local or address.is_multicast or address.is_unspecified:
            return "to which no webhook may be sent"
        if _is_public(address) or (self.permits_private and (address.is_loopback or not address.is_reserved)):
            return None
        return (
            "which is not public: use an address that is, or permit those of this machine and its network "
            f"where `serve` is started: {PRIVATE_ENDPOINTS}=allow"
        )


def _is_public(address: Address) -> bool:
    """Return whether `address` is public; networks map prefixes outside 2000::/3 as they like."""
    return address.is_global and (isinstance(address, ipaddress.IPv4Address) or address in _UNICAST)


def _unwrap(address: Address) -> Address:
    """Return the IPv4 address embedded in an IPv6 address, or the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None) or address
