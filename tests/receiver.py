"""A receiver of webhooks, a real HTTP server that checks signatures with code of its own."""

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PATIENCE_S = 20.0
TOLERANCE_S = 300


@dataclass(frozen=True)
class Received:
    """One delivery as it arrived, and the status it was answered with."""

    path: str
    headers: dict[str, str]
    body: bytes
    status: int

    @property
    def event(self) -> dict[str, Any]:
        """The event in the body."""
        return dict(json.loads(self.body))

    @property
    def delivery_id(self) -> str:
        """The id that is the same for every attempt."""
        return self.headers["webhook-id"]

    def is_signed_with(self, secret: str) -> bool:
        """Say whether one of the signatures was made with `secret`, and lately."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        at = self.headers["webhook-timestamp"]
        text = b".".join([self.delivery_id.encode(), at.encode(), self.body])
        right = base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
        is_fresh = abs(time.time() - int(at)) <= TOLERANCE_S
        return is_fresh and f"v1,{right}" in self.headers["webhook-signature"].split(" ")


@dataclass
class Receiver:
    """Answers each delivery with `answer`, or what a test puts there; remembers them all."""

    url: str = ""
    answer: Callable[[int], int] = lambda _: 200
    """The status for the delivery with this number, from 1; 0 hangs up without an answer."""
    one_at_a_time: bool = True
    received: list[Received] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def take(self, path: str, headers: dict[str, str], body: bytes) -> int:
        status = None if self.one_at_a_time else self.answer(0)
        with self._changed:
            status = self.answer(len(self.received) + 1) if status is None else status
            self.received.append(Received(path, headers, body, status))
            self._changed.notify_all()
        return status

    def wait_for(self, number: int, type_: str | None = None) -> list[Received]:
        """Wait until `number` deliveries arrived, of one type or of any; return them."""

        def matching() -> list[Received]:
            return [one for one in self.received if type_ is None or one.event["type"] == type_]

        with self._changed:
            if not self._changed.wait_for(lambda: len(matching()) >= number, PATIENCE_S):
                raise AssertionError(f"{len(matching())} of {number} deliveries arrived")
            return matching()


@contextmanager
def receiving(**options: Any) -> Iterator[Receiver]:
    """Run a receiver."""
    receiver = Receiver(**options)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the name http.server looks for
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status = receiver.take(self.path, headers, body)
            if status:
                self.send_response(status)
                self.send_header("location", f"{receiver.url}/elsewhere")
                self.send_header("content-length", "0")
                self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_port}/hooks"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()
