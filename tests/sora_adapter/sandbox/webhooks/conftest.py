"""A small receiver of webhooks, over real HTTP."""

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue

import pytest

PATIENCE_S = 60


@dataclass
class Received:
    """One request, as it came."""

    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """Answers 200, or what it is told to first; keeps what it received."""

    url: str
    answers: deque[int] = field(default_factory=deque)
    _received: Queue[Received] = field(default_factory=Queue)

    def next(self) -> Received:
        """Wait for the next request."""
        return self._received.get(timeout=PATIENCE_S)

    def take(self, request: Received) -> int:
        self._received.put(request)
        return self.answers.popleft() if self.answers else 200


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Run a receiver for one test."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status = here.take(Received({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(status)
            self.send_header("location", here.url)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    here = Receiver(f"http://127.0.0.1:{server.server_port}/hook")
    with server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        yield here
        server.shutdown()
        serving.join()
