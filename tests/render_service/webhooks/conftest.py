"""A receiver of webhooks in a session, over real HTTP, and somebody who signs deliveries for it."""

import asyncio
import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
import uvicorn

from ledger.events import WebhookReceived
from ledger.log.opening import open_ledger, open_or_create
from ledger.record import Record
from ledger.store.filters import RecordFilter
from render_service.runtime.settings import Settings
from render_service.server.app import create_app
from render_service.server.server import listen
from render_service.session.session import Session
from sora_adapter.sandbox.server import SandboxServer

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
FORGED = "whsec_" + base64.b64encode(bytes(32)).decode()


@dataclass
class Sender:
    """Signs and posts deliveries; `name` of a delivery is new each time, as with a real sender."""

    url: str
    client: httpx2.Client = field(default_factory=lambda: httpx2.Client(timeout=30))
    sent: int = 0
    stop: Callable[[], None] = lambda: None
    """Stop the receiver; what it answered is tied to its jobs when this returns."""

    def request(
        self,
        body: bytes,
        *,
        secret: str = SECRET,
        profile: str = "openai",
        age_s: float = 0,
        **headers: str,
    ) -> dict[str, Any]:
        """Return the arguments of a POST."""
        self.sent += 1
        name, at = f"wh_{self.sent}", str(int(time.time() - age_s))
        key = base64.b64decode(secret.removeprefix("whsec_"))
        mac = hmac.digest(key, f"{name}.{at}.".encode() + body, hashlib.sha256)
        signature = "v1," + base64.b64encode(mac).decode()
        signed = {"webhook-id": name, "webhook-timestamp": at, "webhook-signature": signature}
        return {
            "url": f"{self.url}/webhooks/{profile}",
            "content": body,
            "headers": signed | {key.replace("_", "-"): value for key, value in headers.items()},
        }

    def post(self, body: bytes, **how: Any) -> httpx2.Response:
        return self.client.post(**self.request(body, **how))

    def count(self, outcome: str, profile: str = "openai") -> float:
        """Return what the metrics say of deliveries with `outcome`."""
        line = f'sora_ledger_webhook_deliveries_total{{outcome="{outcome}",profile="{profile}"}}'
        lines = self.client.get(f"{self.url}/metrics").text.splitlines()
        return sum(float(each.removeprefix(line)) for each in lines if each.startswith(line))


def event(video_id: str = "video_1", event_id: str | None = None, kind: str = "video.completed") -> bytes:
    """Write an event as the Videos API sends it."""
    facts = {"id": event_id or f"evt_{video_id}", "object": "event", "type": kind, "data": {"id": video_id}}
    return json.dumps(facts).encode()


@pytest.fixture
def delivered() -> Callable[..., bytes]:
    """Return `event`."""
    return event


@pytest.fixture
def serving() -> Iterator[Callable[[Session], Sender]]:
    """Serve a session's webhooks in a thread; returns who sends to it."""
    with ExitStack() as stack:

        def start(session: Session) -> Sender:
            socket = stack.enter_context(listen("127.0.0.1", 0))
            app = create_app(session, {"openai": (FORGED[:-4] + "BBB=", SECRET)})
            config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="on", ws="none")
            server = uvicorn.Server(config)
            thread = threading.Thread(target=asyncio.run, args=(server.serve(sockets=[socket]),))
            thread.start()
            sender = Sender(f"http://127.0.0.1:{socket.getsockname()[1]}")
            stack.callback(sender.client.close)

            def stop() -> None:
                server.should_exit = True
                thread.join()

            stack.callback(stop)
            sender.stop = stop
            return sender

        yield start


@pytest.fixture
def sender(serving: Callable[[Session], Sender], at: Callable[[str], Session]) -> Sender:
    """Return who sends to a receiver whose session calls no server."""
    return serving(at("http://127.0.0.1:9"))


@pytest.fixture
def inbox(settings: Settings) -> Callable[[], list[Record]]:
    """Return what is in the inbox."""

    def read() -> list[Record]:
        with open_ledger(settings.ledger_url) as ledger:
            return list(ledger.read(RecordFilter(type=WebhookReceived.type)))

    return read


@pytest.fixture
def due(settings: Settings) -> Callable[[], set[str]]:
    """Return the jobs that are due, taking them."""

    def read() -> set[str]:
        with open_or_create(settings.ledger_url, None, None) as ledger:  # it is there
            return {lease.job_id for lease in ledger.store.queue.claim("test", 60_000, 100)}

    return read


@pytest.fixture
def rendering(sandbox: Callable[..., SandboxServer], at: Callable[[str], Session]) -> Session:
    """Return a session at a sandbox whose renders are not done until its clock moves."""
    return at(sandbox(render_seconds=60).base_url)
