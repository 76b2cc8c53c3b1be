"""A connection that the app can abort, like a server that crashes or a network that fails.

ASGI has no such operation, so the protocol of our server adds one to the scope's extensions. Under another
server the extension is missing, and using it raises an error that says so.
"""

import socket
import struct
from asyncio import Transport

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

_EXTENSION = "sandbox.connection"
_LINGER_NOT = struct.pack("ii", 1, 0)  # on close: reset, and discard unsent data


class BreakableProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol; every scope carries its connection."""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as in uvicorn's own
        """Make the connection accessible to the app."""
        super().connection_made(transport)
        app, connection = self.app, _Connection(transport)

        async def reaching(scope: Scope, receive: Receive, send: Send) -> None:
            scope.setdefault("extensions", {})[_EXTENSION] = connection
            await app(scope, receive, send)

        self.app = reaching


class _Connection:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def reset(self) -> None:
        """Abort the connection: the other side gets a reset, and unsent data is discarded."""
        bare: socket.socket = self._transport.get_extra_info("socket")
        bare.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        self._transport.abort()

    def hang_up(self) -> None:
        """Close the connection after sending what was written so far."""
        self._transport.close()


async def reset(scope: Scope, receive: Receive) -> None:
    """Reset the connection of a request, and return when it is closed."""
    _connection(scope).reset()
    await _wait_for_disconnect(receive)


async def hang_up(scope: Scope, receive: Receive) -> None:
    """Close the connection of a request after the data written so far, and return when it is closed."""
    _connection(scope).hang_up()
    await _wait_for_disconnect(receive)


def _connection(scope: Scope) -> _Connection:
    connection = scope.get("extensions", {}).get(_EXTENSION)
    if not isinstance(connection, _Connection):
        raise RuntimeError("this fault needs the sandbox's own server (SandboxServer)")  # noqa: TRY004 - not caused by an argument
    return connection


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
