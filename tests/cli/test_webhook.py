"""`webhook` sets up what `serve` receives; a secret is shown once, and only to who asked."""

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from sora_adapter.errors import DeliveryRefused
from sora_adapter.sandbox.server import SandboxServer
from sora_adapter.webhooks import Verifier, check_secret
from tests.cli.conftest import Sora

URL = "https://renders.example.com/webhooks/custom"


@pytest.fixture
def receiver() -> Iterator[Callable[[int], tuple[str, list[tuple[dict[str, str], bytes]]]]]:
    """Start a receiver that answers with a status and keeps what it got."""
    deliveries: list[tuple[dict[str, str], bytes]] = []
    status = 200

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            deliveries.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()

        def start(answer: int) -> tuple[str, list[tuple[dict[str, str], bytes]]]:
            nonlocal status
            status = answer
            return f"http://127.0.0.1:{server.server_port}/webhooks/custom", deliveries

        yield start
        server.shutdown()
        thread.join()


def registered(sora: Sora, url: str = URL) -> Any:
    ended = sora("webhook", "register", "--url", url)
    assert ended.code == 0, ended.error
    return ended.document


def test_register_shows_the_secret_and_where_serve_reads_it(
    server: Callable[..., SandboxServer], sora: Sora
) -> None:
    server()
    made = registered(sora)
    assert check_secret(made["signing_secret"])
    assert (made["url"], made["event_types"]) == (URL, ["video.completed", "video.failed"])
    assert (made["variable"], made["variable_of_profile"]) == (
        "SORA_LEDGER_WEBHOOK_SECRETS",
        "SORA_LEDGER_WEBHOOK_SECRETS_CUSTOM",
    )


def test_no_secret_is_logged_or_listed(server: Callable[..., SandboxServer], sora: Sora) -> None:
    server()
    ended = sora("webhook", "register", "--url", URL)
    secret = ended.document["signing_secret"]
    assert secret not in ended.err
    assert secret not in sora("webhook", "list").out


def test_list_shows_every_endpoint_newest_first(server: Callable[..., SandboxServer], sora: Sora) -> None:
    server()
    ids = [registered(sora, f"{URL}/{number}")["id"] for number in range(3)]
    assert [each["id"] for each in sora("webhook", "list").document["endpoints"]] == ids[::-1]


def test_a_sample_is_signed_with_the_secret_that_was_shown(
    server: Callable[..., SandboxServer],
    sora: Sora,
    receiver: Callable[[int], tuple[str, list[tuple[dict[str, str], bytes]]]],
) -> None:
    server(clock=time.time)  # a signature is dated
    url, deliveries = receiver(200)
    made = registered(sora, url)
    ended = sora("webhook", "test", "--id", made["id"])
    assert (ended.code, ended.document["taken"], ended.document["status_code"]) == (0, True, 200)
    [(headers, body)] = deliveries
    assert Verifier([made["signing_secret"]]).read(headers, body)


def test_a_sample_that_is_refused_is_a_failure(
    server: Callable[..., SandboxServer],
    sora: Sora,
    receiver: Callable[[int], tuple[str, list[tuple[dict[str, str], bytes]]]],
) -> None:
    server()
    url, _ = receiver(401)
    ended = sora("webhook", "test", "--id", registered(sora, url)["id"])
    assert (ended.code, ended.document["taken"]) == (1, False)


@pytest.mark.parametrize(("options", "valid"), [((), [True, True]), (("--at-once",), [False, True])])
def test_a_rotated_secret_leaves_the_old_one_valid_unless_told_otherwise(
    server: Callable[..., SandboxServer],
    sora: Sora,
    receiver: Callable[[int], tuple[str, list[tuple[dict[str, str], bytes]]]],
    options: tuple[str, ...],
    valid: list[bool],
) -> None:
    server(clock=time.time)  # a signature is dated
    url, deliveries = receiver(200)
    old = registered(sora, url)
    new = sora("webhook", "rotate", "--id", old["id"], *options).document
    sora("webhook", "test", "--id", old["id"])
    [(headers, body)] = deliveries
    assert [_takes(made["signing_secret"], headers, body) for made in (old, new)] == valid


def _takes(secret: str, headers: dict[str, str], body: bytes) -> bool:
    try:
        return Verifier([secret]).read(headers, body) is not None
    except DeliveryRefused:
        return False


def test_a_server_without_endpoints_is_not_asked(server: Callable[..., SandboxServer], sora: Sora) -> None:
    server()
    ended = sora("webhook", "register", "--url", URL, "--profile", "litellm")
    assert (ended.code, "does not offer webhook endpoints" in ended.error) == (2, True)


def test_an_endpoint_that_is_not_there_is_reported(server: Callable[..., SandboxServer], sora: Sora) -> None:
    server()
    ended = sora("webhook", "rotate", "--id", "whe_nobody")
    assert (ended.code, "`sora-ledger webhook list` shows" in ended.error) == (8, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("register",), "needs --url"),
        (("register", "--url", "example.com"), "expected https://"),
        (("register", "--url", URL, "--id", "whe_1"), "No such option"),
        (("test",), "needs --id"),
        (("rotate", "--id", "whe_1", "--event-type", "x"), "No such option"),
        (("list", "--at-once"), "No such option"),
    ],
)
def test_what_makes_no_sense_together_is_refused(
    server: Callable[..., SandboxServer], sora: Sora, arguments: tuple[str, ...], message: str
) -> None:
    server()
    ended = sora("webhook", *arguments)
    assert (ended.code, message in ended.error) == (2, True)
