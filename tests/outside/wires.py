"""A wire between a client and gateways, which a test cuts at a chosen moment."""

import socket
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Self

READ = 65_536

Plan = Callable[[socket.socket, bytes], None]
"""What happens to a request on the wire; gets the connection of the client."""


class Wire:
    """Accepts connections for a `with` block, and carries each request by the next plan.

    The last plan is used for all that follow. `carried` counts the requests.
    """

    def __init__(self, *plans: Plan) -> None:
        self._plans = deque(plans)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/v1"
        self.carried = 0

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            request = read_request(client)
            if request:
                self.carried += 1
                plan = self._plans.popleft() if len(self._plans) > 1 else self._plans[0]
                plan(client, request)


def read_request(client: socket.socket) -> bytes:
    """Return one whole request; empty if none comes."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = client.recv(READ)
        if not part:
            return b""
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    left = int(headers.get(b"content-length", b"0")) - len(body)
    while left > 0:
        part = client.recv(READ)
        data += part
        left -= len(part)
    return data


def _sent(port: int, request: bytes) -> socket.socket:
    gateway = socket.create_connection(("127.0.0.1", port))
    head, _, body = request.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
    gateway.sendall(b"\r\n".join([*lines, b"Connection: close"]) + b"\r\n\r\n" + body)
    return gateway


def passing(port: int) -> Plan:
    """Pass a request on, and its answer back."""

    def plan(client: socket.socket, request: bytes) -> None:
        with _sent(port, request) as gateway:
            while part := gateway.recv(READ):
                client.sendall(part)

    return plan


def cutting_the_answer(port: int) -> Plan:
    """Pass a request on, wait for its answer, and lose it."""

    def plan(_: socket.socket, request: bytes) -> None:
        with _sent(port, request) as gateway:
            gateway.recv(READ)

    return plan


def cutting_once(port: int, happened: Callable[[], object]) -> Plan:
    """Pass a request on, and cut the client off once `happened` returns; the gateway may go on."""

    def plan(_: socket.socket, request: bytes) -> None:
        gateway = _sent(port, request)
        happened()
        gateway.close()

    return plan
