"""Each event is recorded once, whoever delivers it and however often; what is not proved is not recorded."""

import json
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest

from ledger.record import Record
from render_service.session.session import Session
from tests.render_service.webhooks.conftest import Sender

Inbox = Callable[[], list[Record]]


def test_a_delivery_is_in_the_inbox_when_it_is_answered(
    sender: Sender, inbox: Inbox, delivered: Callable[..., bytes]
) -> None:
    answer = sender.post(delivered("video_1"))
    [record] = inbox()
    assert (answer.status_code, answer.json()) == (200, {"outcome": "recorded"})
    assert (record.stream, record.envelope.authority) == ("inbox_openai", "EXTERNAL")
    assert record.event.as_json() == {
        "webhook_event_id": "evt_video_1",
        "delivery_id": "wh_1",
        "webhook_type": "video.completed",
        "video_id": "video_1",
    }


def test_a_delivery_that_comes_again_is_answered_and_not_recorded(
    sender: Sender, inbox: Inbox, delivered: Callable[..., bytes]
) -> None:
    sender.post(delivered())
    assert sender.post(delivered()).json() == {"outcome": "repeated"}
    assert len(inbox()) == 1


def test_two_processes_record_an_event_once(
    serving: Callable[[Session], Sender],
    at: Callable[[str], Session],
    inbox: Inbox,
    delivered: Callable[..., bytes],
) -> None:
    senders = [serving(at("http://127.0.0.1:9")) for _ in range(2)]
    bodies = [delivered(f"video_{number}") for number in range(30)] * 2

    def post(number: int) -> str:
        outcome: str = senders[number % 2].post(bodies[number // 2]).json()["outcome"]
        return outcome

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(post, range(len(bodies))))
    assert len(inbox()) == outcomes.count("recorded") == 30


def test_an_event_that_changed_its_content_is_a_conflict(
    sender: Sender, inbox: Inbox, delivered: Callable[..., bytes]
) -> None:
    sender.post(delivered("video_1", "evt_1"))
    assert sender.post(delivered("video_2", "evt_1")).status_code == 409
    assert len(inbox()) == sender.count("conflicting") == 1


@pytest.mark.parametrize(
    ("how", "status", "outcome"),
    [
        ({"secret": "whsec_" + "AAAA" * 8}, 401, "forged"),
        ({"age_s": 400}, 400, "stale"),
        ({"age_s": -400}, 400, "stale"),
        ({"webhook_signature": "\xff\xfe"}, 400, "unsigned"),
        ({"webhook_signature": ""}, 400, "unsigned"),
        ({"webhook_timestamp": "9" * 5_000}, 401, "forged"),
        ({"webhook_timestamp": "soon"}, 401, "forged"),
        ({"webhook_id": "two words"}, 400, "unsigned"),
    ],
)
def test_what_is_not_proved_is_refused_counted_and_not_recorded(
    sender: Sender,
    inbox: Inbox,
    delivered: Callable[..., bytes],
    how: dict[str, Any],
    status: int,
    outcome: str,
) -> None:
    headers = {name: value.encode("latin-1") for name, value in how.items() if name.startswith("webhook_")}
    values = {name: value for name, value in how.items() if name not in headers}
    assert sender.post(delivered(), **values, **headers).status_code == status
    assert (sender.count(outcome), inbox()) == (1, [])


@pytest.mark.parametrize("body", [b"", b"no JSON", b"\xff", b"[]", b"{}", b"[" * 60_000, b'{"id":"\\ud800"}'])
def test_what_is_signed_and_no_event_is_refused(sender: Sender, inbox: Inbox, body: bytes) -> None:
    assert sender.post(body).status_code == 400
    assert inbox() == []


def test_a_signed_event_of_another_type_is_taken_and_counted(sender: Sender, inbox: Inbox) -> None:
    answer = sender.post(json.dumps({"id": "evt_1", "type": "batch.completed", "data": {"id": "b"}}).encode())
    assert (answer.status_code, answer.json()) == (200, {"outcome": "ignored"})
    assert (sender.count("ignored"), inbox()) == (1, [])


def test_a_profile_without_a_secret_receives_nothing(
    sender: Sender, inbox: Inbox, delivered: Callable[..., bytes]
) -> None:
    assert sender.post(delivered(), profile="sandbox").status_code == 404
    assert (sender.count("unknown_profile", "other"), inbox()) == (1, [])


def test_an_announced_body_that_is_too_large_is_not_read(sender: Sender) -> None:
    answer = spoken(sender.url, b"Content-Length: 1000000000000\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413")


def test_a_body_that_does_not_end_is_read_up_to_the_limit(sender: Sender) -> None:
    chunk = b"4000\r\n" + bytes(0x4000) + b"\r\n"
    answer = spoken(sender.url, b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 5)
    assert answer.startswith(b"HTTP/1.1 413")


def spoken(url: str, rest: bytes) -> bytes:
    """Begin a delivery that is never finished, and return the beginning of the answer."""
    place = urlsplit(url)
    with socket.create_connection((place.hostname, place.port), timeout=60) as connection:
        connection.sendall(b"POST /webhooks/openai HTTP/1.1\r\nHost: here\r\n" + rest)
        return connection.recv(1_000)


def test_a_ledger_that_cannot_be_written_is_reported_so_that_it_comes_again(
    serving: Callable[[Session], Sender],
    at: Callable[[str], Session],
    inbox: Inbox,
    delivered: Callable[..., bytes],
) -> None:
    session = at("http://127.0.0.1:9")
    sender = serving(session)
    sender.post(delivered("video_1"))
    session.ledger.close()
    answer = sender.post(delivered("video_2"))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
    assert len(inbox()) == 1
