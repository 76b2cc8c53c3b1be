"""Callers are identified by their keys alone, and a revocation is seen within a second."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from msgspec import convert

from decision.rules.policy import Policy, default_policy
from decision.rules.roles import Permission
from ledger.events import AccessGranted, AccessRevoked
from ledger.job import Job
from ledger.record import ActorSource
from ledger.store.interface import ANY
from render_service.access.callers import Caller
from render_service.access.gatekeeper import FRESH_S, Gatekeeper
from render_service.access.register import STREAM, NewKey, Register, make_key
from render_service.runtime.errors import NotAuthenticated, NotPermitted, TooManyRequests
from render_service.session.session import Session
from tests.render_service.conftest import decide_by

pytestmark = pytest.mark.anyio


class Elapsing:
    """A monotonic clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def elapsing() -> Elapsing:
    return Elapsing()


@pytest.fixture
def gatekeeper(session: Session, elapsing: Elapsing) -> Gatekeeper:
    return Gatekeeper(session, elapsing)


async def granted(session: Session, name: str = "alice", **more: Any) -> NewKey:
    key = make_key()
    values = {"roles": ("requester",)} | more
    event = AccessGranted(key_id=key.key_id, key_sha256=key.sha256, name=name, **values)
    await session.append(STREAM, ANY, [session.draft(event)])
    return key


def header(key: NewKey) -> str:
    return f"Bearer {key.text}"


async def test_a_key_identifies_its_caller_with_the_permissions_of_its_roles(
    session: Session, gatekeeper: Gatekeeper
) -> None:
    key = await granted(session, team="film", purposes=("draft",))
    caller = await gatekeeper.identify(header(key))
    assert (caller.name, caller.source, caller.key_id) == ("alice", ActorSource.ACCESS_KEY, key.key_id)
    assert caller.permissions == {Permission.REQUEST, Permission.READ}
    assert (caller.team, caller.purposes) == ("film", ("draft",))


@pytest.mark.parametrize(
    ("authorization", "says"),
    [
        (None, "no access key: send it as"),
        ("", "no access key"),
        ("Basic YTpi", "not a bearer token"),
        ("Bearer", "not a bearer token"),
        ("Bearer sk-proj-0123456789", "those begin with slk_, and the key of the upstream server stays here"),
        (f"Bearer slk_00000000_{'A' * 43}", "there is no access key 00000000 with this text"),
    ],
)
async def test_anything_else_is_refused_and_says_what_to_do(
    gatekeeper: Gatekeeper, authorization: str | None, says: str
) -> None:
    with pytest.raises(NotAuthenticated, match=says):
        await gatekeeper.identify(authorization)


async def test_the_right_id_with_another_secret_is_refused_without_a_word_about_its_owner(
    session: Session, gatekeeper: Gatekeeper
) -> None:
    key = await granted(session)
    with pytest.raises(NotAuthenticated) as refused:
        await gatekeeper.identify(f"Bearer slk_{key.key_id}_{'A' * 43}")
    assert "alice" not in str(refused.value)


async def test_a_revoked_key_is_refused_as_soon_as_the_grants_are_read_again(
    session: Session, gatekeeper: Gatekeeper, elapsing: Elapsing
) -> None:
    key = await granted(session)
    await gatekeeper.identify(header(key))
    await session.append(STREAM, ANY, [session.draft(AccessRevoked(key_id=key.key_id))])
    elapsing.now += FRESH_S + 0.01
    with pytest.raises(NotAuthenticated, match=f"key {key.key_id} of alice was revoked"):
        await gatekeeper.identify(header(key))


async def test_a_key_works_right_after_it_was_granted(session: Session) -> None:
    gatekeeper = Gatekeeper(session)
    for name in ("alice", "bob", "carol"):
        caller = await gatekeeper.identify(header(await granted(session, name)))
        assert caller.name == name


async def test_made_up_keys_that_come_together_cause_one_read(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    gatekeeper, reads = Gatekeeper(session), 0
    await gatekeeper.identify(header(await granted(session)))
    renewed = gatekeeper._renew

    def counted() -> Register:
        nonlocal reads
        reads += 1
        return renewed()

    monkeypatch.setattr(gatekeeper, "_renew", counted)
    requests = [gatekeeper.identify(header(make_key())) for _ in range(20)]
    answers = await asyncio.gather(*requests, return_exceptions=True)
    assert {type(answer) for answer in answers} == {NotAuthenticated}
    assert reads == 1


async def test_an_expired_key_is_refused(session: Session, gatekeeper: Gatekeeper) -> None:
    key = await granted(session, expires_at="2026-01-01T00:00:00.000000Z")
    with pytest.raises(NotAuthenticated, match="expired at 2026-01-01T00:00:00Z"):
        await gatekeeper.identify(header(key))


async def test_roles_are_those_of_the_policy_in_force(session: Session) -> None:
    key = await granted(session)
    policy = Policy.model_validate(
        default_policy().model_dump(by_alias=True) | {"roles": {"requester": ("read", "sing")}}
    )
    caller = await Gatekeeper(decide_by(session, policy)).identify(header(key))
    assert caller.permissions == {Permission.READ}
    with pytest.raises(NotPermitted, match="no role of the policy in force has it"):
        caller.check(Permission.REQUEST)


async def test_a_role_that_the_policy_no_longer_has_permits_nothing(
    session: Session, gatekeeper: Gatekeeper
) -> None:
    key = await granted(session, roles=("director",))
    caller = await gatekeeper.identify(header(key))
    assert caller.permissions == frozenset()


async def test_a_refusal_names_a_role_that_would_do(session: Session, gatekeeper: Gatekeeper) -> None:
    caller = await gatekeeper.identify(header(await granted(session)))
    with pytest.raises(NotPermitted, match="access grant alice --role approver"):
        caller.check(Permission.APPROVE)


async def test_a_key_permits_its_requests_per_minute_and_no_more(
    session: Session, gatekeeper: Gatekeeper, elapsing: Elapsing
) -> None:
    caller = await gatekeeper.identify(header(await granted(session, requests_per_minute=2)))
    gatekeeper.admit(caller)
    elapsing.now += 20
    gatekeeper.admit(caller)
    with pytest.raises(TooManyRequests, match="permits 2 requests per minute: try again in 40 s") as refused:
        gatekeeper.admit(caller)
    elapsing.now += refused.value.retry_after_s
    gatekeeper.admit(caller)


async def test_a_caller_acts_in_a_session_of_its_own_that_shares_the_rest(
    session: Session, gatekeeper: Gatekeeper
) -> None:
    caller = await gatekeeper.identify(header(await granted(session, team="film")))
    acting = caller.session(session, project="spring")
    assert (acting.provenance.actor, acting.provenance.actor_source) == ("alice", ActorSource.ACCESS_KEY)
    assert (acting.settings.team, acting.settings.project) == ("film", "spring")
    assert acting.settings.access_key_id == caller.key_id
    assert acting.trace.trace_id != session.trace.trace_id
    assert acting.appends is session.appends
    assert acting.measuring is session.measuring
    assert acting.connections is session.connections


async def test_a_caller_cannot_spend_for_another_team(session: Session, gatekeeper: Gatekeeper) -> None:
    caller = await gatekeeper.identify(header(await granted(session, team="film")))
    with pytest.raises(NotPermitted, match="is for the team film, not for news"):
        caller.session(session, team="news")
    assert caller.session(session, project="spring").settings.project == "spring"


@pytest.mark.parametrize("named", [{"team": "film"}, {"project": "spring"}])
async def test_without_a_team_only_those_who_may_charge_name_who_pays(
    session: Session, gatekeeper: Gatekeeper, named: dict[str, str]
) -> None:
    caller = await gatekeeper.identify(header(await granted(session)))
    with pytest.raises(NotPermitted, match=r"has no team, so .* \(roles that do: operator\)"):
        caller.session(session, **named)
    charging = replace(caller, permissions=caller.permissions | {Permission.CHARGE})
    (word,) = named.values()
    settings = charging.session(session, **named).settings
    assert word in (settings.team, settings.project)


@pytest.mark.parametrize(
    ("caller", "job", "sees"),
    [
        ({"team": "film"}, {"team": "film", "actor": "bob"}, True),
        ({"team": "film"}, {"team": "news", "actor": "alice"}, False),
        ({"team": "film"}, {"team": None, "actor": "alice"}, True),
        ({"team": "film", "permissions": {Permission.OPERATE}}, {"team": "news"}, False),
        ({}, {"team": "news", "actor": "alice"}, True),
        ({}, {"actor": "bob"}, False),
        ({"permissions": {Permission.OPERATE}}, {"actor": "bob", "team": "news"}, True),
        ({"permissions": {Permission.APPROVE}}, {"actor": "bob"}, True),
    ],
)
def test_a_caller_sees_the_jobs_of_its_team(
    caller: dict[str, Any], job: dict[str, Any], *, sees: bool, unrecorded_job: Callable[..., Job]
) -> None:
    who = Caller("alice", ActorSource.ACCESS_KEY, (), frozenset({Permission.READ}))
    assert replace(who, **caller).may_see(unrecorded_job(**job)) is sees


@pytest.fixture
def unrecorded_job() -> Callable[..., Job]:
    def make(**values: Any) -> Job:
        usual = {"job_id": "job_1", "version": 1, "position": 1, "state": "requested", "actor": "ana"}
        times = dict.fromkeys(("created_at", "updated_at", "trace_id"), "")
        return convert(usual | times | values, Job)

    return make
