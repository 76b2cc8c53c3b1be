"""Webhooks from gateways to their clients, as the clients see them: signed, at least once, under one id."""

import signal
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from openai import APIStatusError, OpenAI

from sora_adapter.webhooks import Verifier
from tests.ledger.store.postgres.server import Databases
from tests.outside.conftest import PACKAGED, Gateway, Outside, until
from tests.receiver import Receiver, receiving

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the SDK's, on every `videos.*`

Start = Callable[..., Outside]
Open = Callable[..., Gateway]
ALLOWED = {"SORA_LEDGER_PRIVATE_ENDPOINTS": "allow"}
VIDEO_EVENTS = ["video.completed", "video.failed"]
FINALS_ARE_HELD = '\n[[approvals]]\ncode = "FINALS"\npurposes = ["final"]\n'


def sdk(one: Gateway, key: str) -> OpenAI:
    return OpenAI(base_url=one.base_url, api_key=key, max_retries=0, timeout=30)


def listen(client: OpenAI, url: str, *types: Any) -> Any:
    return client.webhooks.create(name="app", url=url, event_types=list(types or VIDEO_EVENTS))


def recorded(one: Gateway, type_: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = one.person("log", "--type", type_, "--json").document["records"]
    return found


def let_leases_end(one: Gateway) -> None:
    """Move the deliveries of a ledger file to the time when their leases have ended."""
    with closing(sqlite3.connect(one.person.folder / "ledger.db")) as db, db:
        db.execute("UPDATE deliveries SET due_at_ms = 0 WHERE due_at_ms IS NOT NULL")


def test_a_finished_video_is_announced_when_it_can_be_downloaded(
    outside: Start, gateway: Open, receiver: Callable[..., Receiver]
) -> None:
    one, there = gateway(outside(), **ALLOWED), receiver()
    with sdk(one, one.grant("app", "requester")) as client:
        secret = listen(client, there.url).signing_secret
        video = client.videos.create(prompt="a red kite")
        [delivery] = there.wait_for(1)
        assert delivery.is_signed_with(secret)
        client.webhooks.verify_signature(delivery.body.decode(), delivery.headers, secret=secret)
        ours = Verifier([secret]).read(delivery.headers, delivery.body)
        assert ours is not None
        assert (ours.delivery_id, ours.video_id) == (delivery.delivery_id, video.id)
        event = delivery.event
        assert (event["object"], event["type"], event["data"]) == (
            "event",
            "video.completed",
            {"id": video.id},
        )
        assert client.videos.retrieve(event["data"]["id"]).status == "completed"
        assert client.videos.download_content(event["data"]["id"]).read()
    assert one.person("verify").code == 0


def test_a_render_that_fails_is_announced(
    outside: Start, gateway: Open, receiver: Callable[..., Receiver]
) -> None:
    one, there = gateway(outside(failure="moderation_blocked"), **ALLOWED), receiver()
    with sdk(one, one.grant("app", "requester")) as client:
        secret = listen(client, there.url).signing_secret
        video = client.videos.create(prompt="a red kite")
        [delivery] = there.wait_for(1)
        event = client.webhooks.unwrap(delivery.body.decode(), delivery.headers, secret=secret)
        assert (event.type, event.data.id) == ("video.failed", video.id)


def test_a_gateway_killed_after_a_delivery_repeats_it_under_the_same_id(
    outside: Start, gateway: Open, receiver: Callable[..., Receiver]
) -> None:
    one = gateway(outside(), **ALLOWED)

    def kill_first(number: int) -> int:
        if number == 1:
            one.end(signal.SIGKILL)  # it was delivered, and nobody recorded that
        return 200

    there = receiver(answer=kill_first)
    with sdk(one, one.grant("app", "requester")) as client:
        listen(client, there.url)
        client.videos.create(prompt="a red kite")
        there.wait_for(1)
        let_leases_end(one)
        one.start()
        first, second = there.wait_for(2)
    assert (first.delivery_id, first.body) == (second.delivery_id, second.body)
    [sent] = until(lambda: recorded(one, "notification.sent"))
    assert sent["payload"]["delivery_id"] == first.delivery_id
    assert one.person("verify").code == 0


def test_an_endpoint_that_is_down_for_a_while_gets_everything_later(
    outside: Start, gateway: Open, receiver: Callable[..., Receiver]
) -> None:
    one = gateway(outside(), **ALLOWED)
    with receiving() as gone:
        url = gone.url
    there = receiver()
    with sdk(one, one.grant("app", "requester")) as client:
        endpoint = listen(client, url)
        video = client.videos.create(prompt="a red kite")
        until(lambda: _attempts(one) >= 1)
        client.webhooks.update(endpoint.id, url=there.url)
        let_leases_end(one)
        [delivery] = there.wait_for(1)
        assert delivery.event["data"] == {"id": video.id}


def _attempts(one: Gateway) -> int:
    with closing(sqlite3.connect(one.person.folder / "ledger.db")) as db:
        row = db.execute("SELECT MAX(attempts) FROM deliveries").fetchone()
    return row[0] or 0


def test_two_gateways_on_one_ledger_deliver_once(
    outside: Start, gateway: Open, receiver: Callable[..., Receiver]
) -> None:
    server = outside()
    one, _, there = gateway(server, **ALLOWED), gateway(server, **ALLOWED), receiver()
    with sdk(one, one.grant("app", "requester")) as client:
        listen(client, there.url)
        for _ in range(5):
            client.videos.create(prompt="a red kite")
    there.wait_for(5)
    until(lambda: len(recorded(one, "notification.sent")) == 5)
    assert len({delivery.delivery_id for delivery in there.received}) == len(there.received) == 5


def test_two_gateways_on_one_postgresql_deliver_once_and_one_takes_over_from_the_other(
    outside: Start, gateway: Open, receiver: Callable[..., Receiver], databases: Databases
) -> None:
    server, there, url = outside(), receiver(), databases.url()
    one, two = (gateway(server, **ALLOWED, SORA_LEDGER_URL=url) for _ in range(2))
    key = one.grant("app", "requester")
    with sdk(one, key) as client:
        listen(client, there.url)
        for _ in range(3):
            client.videos.create(prompt="a red kite")
    there.wait_for(3)
    until(lambda: len(recorded(one, "notification.sent")) == 3)
    one.end()
    with sdk(two, key) as client:
        client.videos.create(prompt="a red kite")
    there.wait_for(4)
    until(lambda: len(recorded(two, "notification.sent")) == 4)
    assert len({delivery.delivery_id for delivery in there.received}) == len(there.received) == 4
    assert two.person("verify").code == 0


def test_a_refused_approval_is_announced_and_what_was_answered_with_an_error_is_not(
    outside: Start, gateway: Open, receiver: Callable[..., Receiver]
) -> None:
    one, there = gateway(outside(creates=["400"]), **ALLOWED), receiver()
    policy = one.person.folder / "held.toml"
    policy.write_text(PACKAGED + FINALS_ARE_HELD)
    assert one.person("policy", "activate", str(policy), "--reason", "finals need another person").code == 0
    with sdk(one, one.grant("app", "requester")) as client:
        listen(client, there.url)
        with pytest.raises(APIStatusError):
            client.videos.create(prompt="a red kite", extra_body={"max_cost_usd": "0.01"})
        with pytest.raises(APIStatusError, match="refused as asked"):
            client.videos.create(prompt="a red kite")
        held = client.videos.create(prompt="a red kite", extra_body={"purpose": "final"})
        job = "job_" + held.id.removeprefix("video_")
        refused = one.person("reject", job, "--reason", "not this one")
        assert refused.code == 0, refused.err
        [delivery] = there.wait_for(1)
    assert (delivery.event["type"], delivery.event["data"]) == ("video.failed", {"id": held.id})
    outcomes = [record["payload"]["outcome"] for record in recorded(one, "render.closed")]
    assert sorted(outcomes) == ["denied", "refused", "rejected"]


def test_a_copy_of_a_ledger_repeats_nothing(
    outside: Start, gateway: Open, receiver: Callable[..., Receiver]
) -> None:
    server, there = outside(), receiver()
    one = gateway(server, **ALLOWED)
    with sdk(one, one.grant("app", "requester")) as client:
        listen(client, there.url)
        client.videos.create(prompt="a red kite")
        there.wait_for(1)
        until(lambda: recorded(one, "notification.sent"))
        one.end(signal.SIGTERM)
    copied = one.person("copy", "sqlite:///ledger.db", "sqlite:///copy.db")
    assert copied.code == 0, copied.err
    two = gateway(server, **ALLOWED, SORA_LEDGER_URL="sqlite:///copy.db")
    with sdk(two, two.grant("app", "requester")) as client:
        video = client.videos.create(prompt="a blue kite")
    _, second = there.wait_for(2)
    assert second.event["data"] == {"id": video.id}


def test_a_client_of_another_team_is_told_nothing_and_cannot_find_the_endpoint(
    outside: Start, gateway: Open, receiver: Callable[..., Receiver]
) -> None:
    one, hers, his = gateway(outside(), **ALLOWED), receiver(), receiver()
    with (
        sdk(one, one.grant("alice", "requester", team="film")) as alice,
        sdk(one, one.grant("bob", "requester", team="games")) as bob,
    ):
        endpoint = listen(alice, hers.url)
        listen(bob, his.url)
        alice.videos.create(prompt="a red kite")
        hers.wait_for(1)
        until(lambda: recorded(one, "notification.sent"))
        assert his.received == []
        assert [each.id for each in alice.webhooks.list()] == [endpoint.id]
        assert endpoint.id not in [each.id for each in bob.webhooks.list()]
        with pytest.raises(APIStatusError, match="not found") as refused:
            bob.webhooks.rotate_secret(endpoint.id)
        assert refused.value.status_code == 404


def test_a_dead_letter_is_shown_in_the_queue_and_can_be_sent_again(
    outside: Start, gateway: Open, receiver: Callable[..., Receiver]
) -> None:
    one, there = gateway(outside(), **ALLOWED), receiver(answer=lambda _: 500)
    with sdk(one, one.grant("app", "requester")) as client:
        listen(client, there.url)
        client.videos.create(prompt="a red kite")
        there.wait_for(1)
        _let_days_pass(one)
        [failed] = until(lambda: recorded(one, "notification.failed"))
        assert failed["payload"]["cause"] == "not_accepted"
        letters = until(lambda: one.person("queue", "--json").document["notifications"]["dead_letters"])
        assert [(each["delivery_id"], each["http_status"]) for each in letters] == [
            (failed["payload"]["delivery_id"], 500)
        ]
        there.answer = lambda _: 200
        again = one.person("queue", "--send-again", letters[0]["delivery_id"], "--json")
        assert again.code == 0, again.err
        [resent] = recorded(one, "notification.resent")
        assert resent["payload"] == {
            "endpoint_id": failed["payload"]["endpoint_id"],
            "delivery_id": letters[0]["delivery_id"],
        }
        until(lambda: recorded(one, "notification.sent"))
        assert {each.delivery_id for each in there.received} == {letters[0]["delivery_id"]}
    assert one.person("queue", "--json").document["notifications"] == {"waiting": 0, "dead_letters": []}
    assert one.person("verify").code == 0


def _let_days_pass(one: Gateway) -> None:
    """Move the deliveries of a ledger file three days into the past."""
    with closing(sqlite3.connect(one.person.folder / "ledger.db")) as db, db:
        db.execute("UPDATE deliveries SET due_at_ms = 0, since_ms = since_ms - 72 * 3600 * 1000")


def test_a_secret_is_shown_once_and_in_no_other_output(
    outside: Start, gateway: Open, receiver: Callable[..., Receiver]
) -> None:
    one, there = gateway(outside(), **ALLOWED), receiver()
    with sdk(one, one.grant("app", "requester")) as client:
        made = listen(client, there.url)
        rotated = client.webhooks.rotate_secret(made.id, keep_old_secret_active_for_24_hours=True)
        shown = client.webhooks.retrieve(made.id)
        client.videos.create(prompt="a red kite")
        [delivery] = there.wait_for(1)
    assert delivery.is_signed_with(made.signing_secret)
    assert delivery.is_signed_with(rotated.signing_secret)
    outputs = [
        str(shown),
        one.person("log", "--json").out,
        one.person("log").out,
        (one.person.folder / f"serve-{one.port}.err").read_text(),
    ]
    assert one.person("export", "--all", "--out", "bundle.zip").code == 0
    with zipfile.ZipFile(one.person.folder / "bundle.zip") as bundle:
        outputs += [bundle.read(name).decode("latin-1") for name in bundle.namelist()]
    assert any("a red kite" in output for output in outputs[4:])
    for secret in (made.signing_secret, rotated.signing_secret):
        assert not any(secret in output for output in outputs)


def test_an_erased_secret_stops_deliveries_with_a_state_that_says_so(
    outside: Start, gateway: Open, receiver: Callable[..., Receiver]
) -> None:
    one, there = gateway(outside(), **ALLOWED), receiver()
    with sdk(one, one.grant("app", "requester")) as client:
        endpoint = listen(client, there.url)
        by_age = one.person("erase", "--older-than", "0", "--reason", "retention", "--yes")
        assert by_age.code == 0, by_age.err
        assert client.webhooks.retrieve(endpoint.id).model_dump()["status"] == "active"
        erased = one.person("erase", "--by-actor", "app", "--reason", "subject_request", "--yes")
        assert erased.code == 0, erased.err
        assert client.webhooks.retrieve(endpoint.id).model_dump()["status"] == "erased"
        client.videos.create(prompt="a red kite")
        until(lambda: recorded(one, "render.closed") and _has_read_everything(one))
        client.webhooks.update(endpoint.id, url=there.url)
        client.webhooks.rotate_secret(endpoint.id)
        second = client.videos.create(prompt="a blue kite")
        [delivery] = there.wait_for(1)
        assert delivery.event["data"] == {"id": second.id}
    assert one.person("verify").code == 0


def _has_read_everything(one: Gateway) -> bool:
    with closing(sqlite3.connect(one.person.folder / "ledger.db")) as db:
        query = "SELECT (SELECT position FROM cursors) = (SELECT MAX(position) FROM events)"
        return bool(db.execute(query).fetchone()[0])


def test_approvers_are_asked_and_requesters_may_not_listen_for_that(
    outside: Start, gateway: Open, receiver: Callable[..., Receiver]
) -> None:
    one, there = gateway(outside(), **ALLOWED), receiver()
    policy = one.person.folder / "held.toml"
    policy.write_text(PACKAGED + FINALS_ARE_HELD)
    assert one.person("policy", "activate", str(policy), "--reason", "finals need another person").code == 0
    with (
        sdk(one, one.grant("app", "requester", team="film")) as app,
        sdk(one, one.grant("maria", "approver", team="film")) as maria,
    ):
        with pytest.raises(APIStatusError, match="approve") as refused:
            listen(app, there.url, "approval.requested")
        assert refused.value.status_code == 403
        listen(maria, there.url, "approval.requested")
        video = app.videos.create(prompt="a red kite", extra_body={"purpose": "final"})
        [delivery] = there.wait_for(1)
    assert (delivery.event["type"], delivery.event["data"]) == ("approval.requested", {"id": video.id})


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/",
        "https://127.0.0.1:9/",
        "https://localhost/hooks",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://10.1.2.3/",
        "https://169.254.169.254/latest",
        "https://0.0.0.0/",
        "https://2130706433/",
        "https://user:word@example.org/",
        "ftp://example.org/",
        "https://",
    ],
)
def test_an_endpoint_inside_the_network_of_the_gateway_is_refused(
    outside: Start, gateway: Open, url: str
) -> None:
    one = gateway(outside())
    with (
        sdk(one, one.grant("app", "requester")) as client,
        pytest.raises(APIStatusError) as refused,
    ):
        listen(client, url)
    assert refused.value.status_code == 400
    assert isinstance(refused.value.body, dict)
    assert refused.value.body["param"] == "url"


def test_our_own_client_manages_endpoints_of_a_gateway(
    outside: Start, gateway: Open, receiver: Callable[..., Receiver]
) -> None:
    one, there = gateway(outside(), **ALLOWED), receiver()
    client = one.person.with_(OPENAI_BASE_URL=one.base_url, OPENAI_API_KEY=one.grant("app", "requester"))
    made = client("webhook", "register", "--url", there.url, "--json").document
    assert [each["id"] for each in client("webhook", "list", "--json").document["endpoints"]] == [made["id"]]
    tested = client("webhook", "test", "--id", made["id"], "--json")
    assert (tested.code, tested.document["status_code"]) == (0, 200)
    [sample] = there.wait_for(1)
    assert sample.is_signed_with(made["signing_secret"])
    assert client("webhook", "rotate", "--id", made["id"], "--json").document["signing_secret"]
    assert client("webhook", "delete", "--id", made["id"], "--json").document["deleted"]
    assert client("webhook", "list", "--json").document["endpoints"] == []
