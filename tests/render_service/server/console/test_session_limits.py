"""How long a session lasts: an hour without a page, and twelve hours (after a provider one) in any case."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx2
import pytest

from ledger.record import ActorSource
from render_service.access.grants import Terms, grant
from render_service.server.app import Parts, create_app
from render_service.server.console.sessions import Login
from render_service.server.console_routes import console_routes
from render_service.session.session import Session

pytestmark = pytest.mark.anyio

START = datetime(2026, 11, 30, 8, tzinfo=UTC)
PAGE = "/console/access"


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def after(self, **passed: int) -> None:
        """Set it to a time after the start."""
        self.now = START + timedelta(**passed)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def person(session: Session, clock: Clock) -> AsyncIterator[httpx2.AsyncClient]:
    """Return a client who has signed in with a key at the start."""
    session = replace(session, clock=clock)
    wish = Terms("ada", ("administrator",))
    key, _ = grant(session.ledger, wish, clock(), session.provenance, None)
    app = create_app(session, {}, Parts(console=console_routes))
    origin = "http://127.0.0.1"
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=app), base_url=origin, headers={"origin": origin}
    ) as client:
        answer = await client.post("/console/sign-in", data={"key": key.text})
        assert answer.status_code == 303, answer.text
        yield client


async def is_signed_in(person: httpx2.AsyncClient, path: str = PAGE, **headers: str) -> bool:
    answer = await person.get(path, headers={name.replace("_", "-"): text for name, text in headers.items()})
    assert answer.status_code in {200, 303, 401}, answer.text
    return answer.status_code == 200


async def test_a_session_ends_after_an_hour_without_a_page(person: httpx2.AsyncClient, clock: Clock) -> None:
    clock.after(minutes=59)
    assert await is_signed_in(person)
    clock.after(minutes=59 + 59)
    assert await is_signed_in(person)
    clock.after(minutes=59 + 59 + 61)
    assert not await is_signed_in(person)
    assert not await is_signed_in(person, f"{PAGE}.json")


async def test_what_a_page_loads_by_itself_does_not_keep_a_session(
    person: httpx2.AsyncClient, clock: Clock
) -> None:
    for minutes in (20, 40, 59):
        clock.after(minutes=minutes)
        assert await is_signed_in(person, hx_request="true")
        assert await is_signed_in(person, f"{PAGE}.json")
    clock.after(minutes=61)
    assert not await is_signed_in(person)


async def test_a_session_ends_after_twelve_hours_whatever_is_done(
    person: httpx2.AsyncClient, clock: Clock
) -> None:
    for minutes in range(30, 12 * 60, 30):
        clock.after(minutes=minutes)
        assert await is_signed_in(person), minutes
    clock.after(hours=12, seconds=-1)
    answer = await person.get(PAGE)
    assert answer.status_code == 200
    clock.after(hours=12)
    assert not await is_signed_in(person)


async def test_an_action_after_the_end_records_nothing_and_shows_what_was_typed(
    person: httpx2.AsyncClient, clock: Clock, session: Session
) -> None:
    page = (await person.get(PAGE)).text
    csrf = page.partition('name="csrf" value="')[2].partition('"')[0]
    size = session.ledger.head().size
    clock.after(minutes=61)
    fields = {"csrf": csrf, "name": "eve from the south", "roles": "requester"}
    answer = await person.post("/console/access/grant", data=fields)
    assert (answer.status_code, "eve from the south" in answer.text) == (401, True)
    assert session.ledger.head().size == size


def test_those_whom_a_provider_signed_in_sign_in_again_after_an_hour() -> None:
    moment = int(START.timestamp())
    member = Login(id="1", source=ActorSource.OIDC, name="maria", began=moment, renewed=moment)
    holder = Login(id="2", source=ActorSource.ACCESS_KEY, key_id="0a1b2c3d", began=moment, renewed=moment)
    assert (member.ends - START, holder.ends - START) == (timedelta(hours=1), timedelta(hours=12))
