"""What a gateway refuses, and that nothing was sent or recorded then."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.outside.conftest import Gateway, Outside

Start = Callable[..., Outside]
Open = Callable[..., Gateway]


class Answered(NamedTuple):
    """The status of an answer, its document and its headers."""

    status: int
    document: Any
    headers: Any


def ask(gateway: Gateway, method: str, path: str, key: str, body: Any = None) -> Answered:
    """Send one request, as a client without retries does."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(gateway.base_url + path, data, method=method)
    request.add_header("authorization", f"Bearer {key}")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return Answered(answer.status, json.load(answer), answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            return Answered(error.code, json.load(error), error.headers)


def test_nothing_is_sent_while_the_file_of_the_ledger_is_away(outside: Start, gateway: Open) -> None:
    server = outside()
    one = gateway(server)
    key = one.grant("app", "requester")
    first = ask(one, "POST", "/videos", key, {"prompt": "one"})
    ledger, away = one.person.folder / "ledger.db", one.person.folder / "away.db"
    ledger.rename(away)
    answers = [ask(one, "POST", "/videos", key, {"prompt": "two"}), ask(one, "GET", "/videos", key)]
    assert [(each.status, each.headers["retry-after"]) for each in answers] == [(503, "5"), (503, "5")]
    assert [bill["prompt"] for bill in server.bills()] == ["one"]
    away.rename(ledger)
    second = ask(one, "POST", "/videos", key, {"prompt": "two"})
    assert (first.status, second.status) == (200, 200)
    assert [bill["prompt"] for bill in server.bills()] == ["one", "two"]
    assert one.person("verify").code == 0
