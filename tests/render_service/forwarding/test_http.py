"""`forward` to HTTP endpoints: at least once, in order, resumed by position; the peer is `cloudevents`."""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from decision.request.request import RenderRequest
from ledger.events import NotificationResent, PrivateErased
from ledger.job import Job
from ledger.record import Record
from ledger.store.filters import RecordFilter
from ledger.store.interface import ANY
from render_service.forwarding import forwarder
from render_service.forwarding.destinations import read_destinations
from render_service.forwarding.forwarder import Forwarding
from render_service.notifications.addresses import AddressRefused
from render_service.notifications.dead_letters import forwarding_document, outbox_document, send_again
from render_service.runtime.errors import BadInput
from render_service.runtime.settings import PRIVATE_ENDPOINTS
from render_service.session.session import Session
from render_service.submission.submit import place
from tests.receiver import Receiver
from tests.render_service.forwarding.conftest import (
    data_of,
    destination,
    drained,
    forwarding,
    parsed,
    positions,
    until,
)

pytestmark = pytest.mark.anyio
PROMPT = "a quixotic fox"


async def arrived(receiver: Any, number: int) -> None:
    await asyncio.to_thread(receiver.wait_for, number)


async def caught_up(session: Session) -> None:
    """Return once a forwarder has stored that everything was taken."""
    await until(lambda: [each["behind"] for each in forwarding_document(session.ledger)] == [0])


@pytest.mark.parametrize("mode", ["structured", "binary"])
async def test_an_event_arrives_as_a_cloud_event_with_the_facts_of_its_record(
    permitting: Session, receiver: Callable[..., Receiver], stored: Callable[..., Awaitable[Job]], mode: str
) -> None:
    there = receiver()
    job = await stored(permitting)
    await drained(permitting, destination(there.url, mode=mode))
    record = permitting.ledger.history(job.job_id)[-1]
    event = next(one for one in map(parsed, there.received) if one.get_id() == record.event_id)
    assert event.get_type() == "sora_ledger.render.closed"
    assert event.get_source() == f"urn:sora-ledger:{permitting.ledger.ledger_id}"
    assert event.get_subject() == event.get_extension("partitionkey") == job.job_id
    assert event.get_time().isoformat(timespec="microseconds") == record.occurred_at.replace("Z", "+00:00")
    assert event.get_extension("sequence") == f"{record.position:016}"
    assert event.get_extension("traceparent") == f"00-{record.trace_id}-{record.envelope.span_id}-01"
    data = data_of(there.received[-1])
    assert (data["type"], data["position"], data["payload"]["outcome"]) == (
        "render.closed",
        record.position,
        "stored",
    )
    assert data["leaf"] == record.leaf.hex()


async def test_everything_recorded_arrives_once_and_in_order_of_each_stream(
    permitting: Session, receiver: Callable[..., Receiver], add: Callable[..., Awaitable[list[Record]]]
) -> None:
    there = receiver(one_at_a_time=False)
    await add(*(f"fact_{number % 5}" for number in range(300)))
    [done] = await drained(permitting, destination(there.url))
    size = permitting.ledger.head().size
    assert (done.sent, done.refused, done.position) == (size, 0, size)
    assert sorted(positions(there)) == list(range(1, size + 1))
    for stream in range(5):
        sequence = [
            parsed(one).get_extension("sequence")
            for one in there.received
            if parsed(one).get_subject() == f"fact_{stream}"
        ]
        assert sequence == sorted(sequence)


async def test_forwarding_is_resumed_where_it_ended(
    permitting: Session, receiver: Callable[..., Receiver], add: Callable[..., Awaitable[list[Record]]]
) -> None:
    there = receiver()
    await add("fact_a")
    await drained(permitting, destination(there.url))
    before = len(there.received)
    await drained(permitting, destination(there.url))
    assert len(there.received) == before
    [record] = await add("fact_a")
    await drained(permitting, destination(there.url))
    assert positions(there)[before:] == [record.position]


async def test_a_destination_that_begins_now_gets_what_is_recorded_from_then_on(
    permitting: Session, receiver: Callable[..., Receiver], add: Callable[..., Awaitable[list[Record]]]
) -> None:
    there = receiver()
    await add("fact_a")
    await drained(permitting, destination(there.url, begin="now"))
    [record] = await add("fact_b")
    await drained(permitting, destination(there.url, begin="now"))
    assert positions(there) == [record.position]


async def test_what_is_recorded_meanwhile_is_forwarded(
    permitting: Session, receiver: Callable[..., Receiver], add: Callable[..., Awaitable[list[Record]]]
) -> None:
    there = receiver()
    async with forwarding(permitting, destination(there.url)):
        await arrived(there, permitting.ledger.head().size)
        [record] = await add("fact_a")
        await arrived(there, record.position)
        await caught_up(permitting)
    assert positions(there) == list(range(1, record.position + 1))


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less between attempts."""
    monkeypatch.setattr(forwarder, "FIRST_WAIT_S", 0.02)
    monkeypatch.setattr(forwarder, "LONGEST_WAIT_S", 0.1)


@pytest.mark.parametrize("status", [0, 302, 401, 404, 429, 503])
async def test_an_event_that_a_destination_cannot_take_now_is_sent_again_before_later_ones_of_its_stream(
    permitting: Session,
    receiver: Callable[..., Receiver],
    add: Callable[..., Awaitable[list[Record]]],
    hurried: None,
    status: int,
) -> None:
    await add("fact_a", "fact_a", "fact_a")
    begin = permitting.ledger.head().size - 2
    there = receiver(answer=lambda number: status if number <= 2 else 200)
    await drained(permitting, destination(there.url, types=["external.*"]))
    assert positions(there, taken=False) == [begin, begin, begin, begin + 1, begin + 2]


async def test_a_stream_that_waits_does_not_keep_others_back(
    permitting: Session,
    receiver: Callable[..., Receiver],
    add: Callable[..., Awaitable[list[Record]]],
    hurried: None,
) -> None:
    [slow, *_] = await add("fact_slow", *(f"fact_{number}" for number in range(20)))
    there = receiver(one_at_a_time=True)
    there.answer = lambda number: 503 if number <= 3 else 200
    await drained(permitting, destination(there.url, types=["external.recorded"]))
    assert len(set(positions(there))) == 21
    assert slow.position in positions(there)


async def test_a_destination_that_takes_nothing_slows_the_reading_down(
    permitting: Session,
    receiver: Callable[..., Receiver],
    add: Callable[..., Awaitable[list[Record]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forwarder, "MOST_OPEN", 4)
    monkeypatch.setattr(forwarder, "READ_AT_ONCE", 4)
    await add(*(f"fact_{number}" for number in range(40)))
    there = receiver(answer=lambda _: 503)
    async with forwarding(permitting, destination(there.url)):
        await arrived(there, 12)  # the first four, several times
    assert set(positions(there, taken=False)) == {1, 2, 3, 4}
    assert [each["position"] for each in forwarding_document(permitting.ledger)] == [0]


async def test_a_refused_event_is_a_dead_letter_that_can_be_sent_again(
    permitting: Session, receiver: Callable[..., Receiver], add: Callable[..., Awaitable[list[Record]]]
) -> None:
    first, second, third = await add("fact_a", "fact_a", "fact_a")
    there = receiver(answer=lambda number: 422 if number == 2 else 200)
    to = destination(there.url, types=["external.recorded"])
    [done] = await drained(permitting, to)
    assert (done.sent, done.refused) == (2, 1)
    assert positions(there) == [first.position, third.position]
    [letter] = outbox_document(permitting.ledger)["dead_letters"]
    assert (letter["endpoint_id"], letter["webhook_type"], letter["job_id"]) == (
        "forward:there",
        "external.recorded",
        "fact_a",
    )
    assert (letter["cause"], letter["http_status"]) == ("refused", 422)
    send_again(permitting, [letter["delivery_id"]])
    async with forwarding(permitting, to):
        await arrived(there, 4)
        await until(lambda: permitting.ledger.store.outbox.tally() == (0, 0))
    assert positions(there)[-1] == second.position
    [resent] = permitting.ledger.read(RecordFilter(type=NotificationResent.type))
    assert resent.stream == "forward:there"


async def test_an_event_that_always_fails_is_given_up_once_others_were_taken(
    permitting: Session,
    receiver: Callable[..., Receiver],
    add: Callable[..., Awaitable[list[Record]]],
    hurried: None,
) -> None:
    [poison, *_] = await add("fact_bad", *(f"fact_{number}" for number in range(5)))
    there = receiver()
    bad = f"{poison.position:016}".encode()
    take = there.take

    def taking(path: str, headers: dict[str, str], body: bytes) -> int:
        there.answer = lambda _: 500 if bad in body else 200
        return int(take(path, headers, body))

    there.take = taking  # type: ignore[method-assign]
    [done] = await drained(permitting, destination(there.url, types=["external.recorded"]))
    assert (done.sent, done.refused) == (5, 1)
    assert [one["http_status"] for one in outbox_document(permitting.ledger)["dead_letters"]] == [500]


async def test_a_destination_that_refuses_everything_does_not_make_everything_a_dead_letter(
    permitting: Session,
    receiver: Callable[..., Receiver],
    add: Callable[..., Awaitable[list[Record]]],
    hurried: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forwarder, "MOST_REFUSED", 3)
    await add(*(f"fact_{number}" for number in range(10)))
    there = receiver(answer=lambda _: 400)
    async with forwarding(permitting, destination(there.url, types=["external.recorded"])):
        await arrived(there, 30)
    assert len(outbox_document(permitting.ledger)["dead_letters"]) == 3


async def test_a_filter_lets_through_what_it_names(
    permitting: Session,
    receiver: Callable[..., Receiver],
    request_for: Callable[..., RenderRequest],
    add: Callable[..., Awaitable[list[Record]]],
) -> None:
    film = replace(permitting, settings=replace(permitting.settings, team="film"))
    one = (await place(film, request_for(purpose="draft"))).job
    two = (await place(film, request_for(purpose="social"))).job
    three = (await place(permitting, request_for(purpose="social"))).job
    await add("fact_a")

    async def subjects(**filters: Any) -> set[str]:
        there = receiver()
        await drained(permitting, destination(there.url, name="_".join(filters).lower(), **filters))
        return {str(parsed(one).get_subject()) for one in there.received}

    assert await subjects(teams=["film"]) == {one.job_id, two.job_id}
    assert await subjects(purposes=["social"]) == {two.job_id, three.job_id}
    assert await subjects(teams=["film"], purposes=["social"]) == {two.job_id}
    assert await subjects(jobs=[three.job_id]) == {three.job_id}
    assert await subjects(types=["external.recorded"]) == {"fact_a"}
    assert await subjects(types=["submission.*"], jobs=[one.job_id]) == {one.job_id}


async def test_private_text_is_sent_only_where_it_is_asked_for(
    permitting: Session, receiver: Callable[..., Receiver], request_for: Callable[..., RenderRequest]
) -> None:
    await place(permitting, request_for(prompt=PROMPT))
    plain, told = receiver(), receiver()
    await drained(permitting, destination(plain.url))
    await drained(permitting, destination(told.url, name="told", private_text=True))
    assert PROMPT.encode() not in b"".join(one.body for one in plain.received)
    assert PROMPT.encode() in b"".join(one.body for one in told.received)


async def test_erased_text_is_never_sent_and_its_erasure_always_is(
    permitting: Session,
    receiver: Callable[..., Receiver],
    request_for: Callable[..., RenderRequest],
    hurried: None,
) -> None:
    job = (await place(permitting, request_for(prompt=PROMPT))).job
    there = receiver(answer=lambda _: 503)  # it is read while it has its text, and taken when it has none
    to = destination(there.url, private_text=True, types=["render.requested"])
    async with forwarding(permitting, to):
        await arrived(there, 1)
        requested = permitting.ledger.history(job.job_id)[0]
        text = requested.event.prompt  # it is a request
        erased = PrivateErased(commitments=(text.commitment,), reason_code="request")
        await permitting.append(job.job_id, ANY, [permitting.draft(erased)])
        there.answer = lambda _: 200
        await caught_up(permitting)
    taken = [one for one in there.received if one.status == 200]
    assert PROMPT.encode() not in b"".join(one.body for one in taken)
    assert b"[erased]" in taken[0].body
    assert [parsed(one).get_type() for one in taken][-1] == "sora_ledger.private.erased"


async def test_two_forwarders_send_nothing_twice(
    permitting: Session,
    receiver: Callable[..., Receiver],
    add: Callable[..., Awaitable[list[Record]]],
    at: Callable[[str], Session],
) -> None:
    there = receiver()
    await add(*(f"fact_{number}" for number in range(60)))
    other = at(str(permitting.settings.base_url))
    other = replace(other, settings=permitting.settings)
    to = destination(there.url)
    async with forwarding(permitting, to), forwarding(other, to):
        [record] = await add("fact_last")
        await arrived(there, record.position)
        await caught_up(permitting)
    assert sorted(positions(there)) == list(range(1, record.position + 1))


async def test_another_forwarder_takes_over_from_one_that_ended(
    permitting: Session,
    receiver: Callable[..., Receiver],
    add: Callable[..., Awaitable[list[Record]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = receiver()
    turn = permitting.ledger.store.outbox.begin_turn("forward:there", 0, 1_000)
    assert turn is not None
    async with forwarding(permitting, destination(there.url)):
        await arrived(there, permitting.ledger.head().size)  # after a second
    assert permitting.ledger.store.outbox.move(turn, 1, 1_000) is None


async def test_a_destination_gets_the_authorization_and_the_signature_of_its_variables(
    permitting: Session, receiver: Callable[..., Receiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "whsec_" + base64.b64encode(b"0123456789abcdef").decode()
    monkeypatch.setenv("THERE_AUTHORIZATION", "Bearer abc")
    monkeypatch.setenv("THERE_SECRET", secret)
    there = receiver()
    more = {"authorization_env": "THERE_AUTHORIZATION", "signing_secret_env": "THERE_SECRET"}
    await drained(permitting, destination(there.url, **more))
    assert there.received[0].headers["authorization"] == "Bearer abc"
    assert there.received[0].is_signed_with(secret)


async def test_nothing_is_sent_to_this_machine_unless_that_is_permitted(
    session: Session, receiver: Callable[..., Receiver]
) -> None:
    there = receiver()
    with pytest.raises(AddressRefused, match=f"destination there: .*{PRIVATE_ENDPOINTS}"):
        await drained(session, destination(there.url))
    with pytest.raises(AddressRefused, match=r"leads to 127\.0\.0\.1, which is not public"):
        await drained(session, destination("https://127.0.0.1:9/"))
    with pytest.raises(AddressRefused, match="to which no webhook may be sent"):
        await drained(session, destination("https://169.254.169.254/"))
    assert there.received == []


async def test_a_variable_that_is_not_set_is_named(permitting: Session) -> None:
    with pytest.raises(
        BadInput, match="destination there: the variable NOBODY_SETS, which it names, is not set"
    ):
        Forwarding(permitting, destination("https://example.org/", authorization_env="NOBODY_SETS"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "version: Field required"),
        ("version = 1", "expected at least one destination: a table .*http.*nats.* or .*kafka"),
        ("version = 1\n[[http]]\nname = 'a'", "line 2, http.0.url: Field required"),
        (
            "version = 1\n[[http]]\nname = 'a'\nurl = 'x'\ntypes = ['render.done']",
            "line 5, .*'render.done' is no event",
        ),
        ("version = 1\n[[http]]\nname = 'a'\nurl = 'x'\npurposes = ['fun']", "line 5, .*'fun' is no purpose"),
        (
            "version = 1\n[[http]]\nname = 'a'\nurl = 'x'\njobs = ['01a2']",
            "line 5, .*expected the whole id of a job",
        ),
        ("version = 1\n[[http]]\nname = 'A b'\nurl = 'x'", "line 3, http.0.name"),
        ("version = 1\n[[http]]\nname = 'a'\nurl = 'x'\ntoken = 'secret'", "line 5, .*there is no such key"),
        ("version = 1\n[[nats]]\nname = 'a'\nservers = ['x']\nsubject = 'a.*'", "line 5, nats.0.subject"),
        (
            "version = 1\n[[http]]\nname = 'a'\nurl = 'x'\n[[nats]]\nname = 'a'\nservers = ['x']",
            "two destinations are called a",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "forward.toml"
    file.write_text(text)
    with pytest.raises(BadInput, match=message):
        read_destinations(file)
