"""Callers of the gateway approve what others requested: by name, whichever of their keys they use."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from decision.request.request import RenderRequest
from decision.rules.policy import Policy, default_policy
from decision.rules.roles import DEFAULT_ROLES, permissions_of
from ledger.events import ApprovalGranted, NoteRecorded
from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.private import Private
from ledger.record import ActorSource
from ledger.store.sqlite.snapshot import SqliteSnapshot
from ledger.terms import State
from ledger.verify import verify
from render_service.access.callers import Caller
from render_service.access.grants import Terms, grant
from render_service.access.register import Register, make_key
from render_service.approvals.answer_changes import (
    AnswerOnPage,
    answer_on_page,
    approve_job,
    approve_proposed,
    read_proposed,
    reject_job,
    reject_proposed,
    review_job,
)
from render_service.approvals.approvals import read_case
from render_service.approvals.changes import Office, OpenChanges, propose_grant, propose_limit
from render_service.rules.budget_names import Period, read_name
from render_service.rules.budgets import limit_of
from render_service.rules.opening import activate
from render_service.rules.policies import Rules
from render_service.runtime.errors import BadInput, ChangedSinceShown, NotPermitted, NotReady
from render_service.session.history import JobHistory
from render_service.session.session import Session, utc_now
from render_service.submission.submit import place

pytestmark = pytest.mark.anyio
Held = Callable[..., Awaitable[Job]]
RULES = [
    {"code": "FINALS", "purposes": ["final"]},
    {"code": "RULES", "operations": ["budget.set", "access.grant"]},
]


def policy(**more: Any) -> Policy:
    return Policy.model_validate(default_policy().model_dump(by_alias=True) | {"approvals": RULES} | more)


@pytest.fixture
def team(session: Session) -> Callable[..., Caller]:
    """Put people with keys into the ledger, then a policy that holds finals and changes."""
    for name in ("alice", "maria", "omar"):
        grant(session.ledger, Terms(name, ("requester",)), utc_now(), session.provenance)
    activate(session.settings, session.trace, utc_now(), Rules(policy(), session.catalog), "for a test")
    session.in_force.renew(session.in_force.rules)

    def caller(name: str, *roles: str, **more: Any) -> Caller:
        may = permissions_of(DEFAULT_ROLES, roles)
        known = {"roles": roles, "permissions": may, "roles_in_force": DEFAULT_ROLES}
        return Caller(name, **{"source": ActorSource.ACCESS_KEY} | known | more)

    return caller


@pytest.fixture
def hold_request(
    session: Session, team: Callable[..., Caller], request_for: Callable[..., RenderRequest]
) -> Held:
    async def hold(name: str = "alice", **more: Any) -> Job:
        acting = team(name, "requester", **more).session(session)
        placed = await place(acting, request_for(purpose="final"), queue=True)
        assert placed.job.state is State.HELD
        return placed.job

    return hold


def findings(ledger: Ledger, path: Path) -> list[str]:
    with SqliteSnapshot(path) as tables:
        return [finding.code for finding in verify(tables).findings]


async def test_another_caller_approves_and_the_decision_verifies(
    session: Session, team: Callable[..., Caller], hold_request: Held
) -> None:
    job = await hold_request()
    answered = await approve_job(session, team("maria", "approver"), job, "good")
    assert answered.job.state is State.DECIDED
    approval = JobHistory.of(session.ledger, answered.job).last_of(ApprovalGranted)
    assert approval is not None
    assert (approval.record.actor, approval.record.envelope.actor_source) == ("maria", "access_key")
    assert (approval.event.login, approval.event.signature) == (None, None)
    assert session.settings.ledger_path is not None
    assert findings(session.ledger, session.settings.ledger_path) == []


@pytest.mark.parametrize("source", [ActorSource.ACCESS_KEY, ActorSource.OIDC])
async def test_no_key_of_the_requester_approves_their_request(
    session: Session, team: Callable[..., Caller], hold_request: Held, source: ActorSource
) -> None:
    job = await hold_request("alice", key_id="0000000a")
    other_key = team("alice", "approver", key_id="0000000b", source=source)
    with pytest.raises(BadInput, match="was requested by alice: another person has to answer it"):
        await approve_job(session, other_key, job)
    assert (await session.job(job.job_id)).state is State.HELD


async def test_one_person_with_two_keys_is_one_approval(
    session: Session, team: Callable[..., Caller], request_for: Callable[..., RenderRequest]
) -> None:
    two = [{"code": "FINALS", "purposes": ["final"], "people": 2}]
    rules = Rules(policy(approvals=two), session.catalog)
    alice = team("alice", "requester").session(session)
    activate(session.settings, session.trace, utc_now(), rules, "two people")
    session.in_force.renew(session.in_force.rules)
    job = (await place(alice, request_for(purpose="final"), queue=True)).job
    first = await approve_job(session, team("maria", "approver", key_id="0000000a"), job)
    assert (first.job.state, first.needed) == (State.APPROVED, 1)
    with pytest.raises(BadInput, match="maria has already approved"):
        await approve_job(session, team("maria", "approver", key_id="0000000b"), job)
    second = await approve_job(session, team("omar", "approver"), job)
    assert second.job.state is State.DECIDED


async def test_a_role_that_may_not_approve_is_refused(
    session: Session, team: Callable[..., Caller], hold_request: Held
) -> None:
    job = await hold_request()
    with pytest.raises(NotPermitted, match="access grant maria --role approver"):
        await approve_job(session, team("maria", "operator"), job)
    with pytest.raises(NotPermitted):
        await reject_job(session, team("maria", "requester"), job, "no")
    with pytest.raises(NotPermitted):
        await review_job(session, team("maria", "approver"), job, "approved")


async def test_a_key_of_one_team_answers_for_no_other(
    session: Session, team: Callable[..., Caller], hold_request: Held
) -> None:
    job = await hold_request(team="film")
    with pytest.raises(NotPermitted, match="is not a job of the team news"):
        await approve_job(session, team("maria", "approver", team="news"), job)
    assert (await approve_job(session, team("maria", "approver", team="film"), job)).needed == 0


async def test_a_rejection_closes_the_job(
    session: Session, team: Callable[..., Caller], hold_request: Held
) -> None:
    answered = await reject_job(session, team("maria", "approver"), await hold_request(), "not this week")
    assert answered.job.state is State.REFUSED


@pytest.fixture
def office(session: Session, team: Callable[..., Caller]) -> Office:
    acting = team("alice", "operator").session(session)
    return Office(acting.ledger, acting.settings, acting.trace, acting.clock)


async def test_a_proposed_budget_is_applied_by_another_callers_approval(
    session: Session, team: Callable[..., Caller], office: Office
) -> None:
    proposed = propose_limit(office, read_name("all", Period.NONE), 5_000_000, None)
    with pytest.raises(BadInput, match="was requested by alice"):
        await approve_proposed(session, team("alice", "approver"), proposed.name)
    outcome = await approve_proposed(session, team("maria", "approver"), proposed.name)
    assert outcome.proposed.state == "applied"
    limit = limit_of(session.ledger, "all")
    assert limit is not None
    assert limit.usd_micros == 5_000_000


async def test_a_key_of_one_team_answers_no_change(
    session: Session, team: Callable[..., Caller], office: Office
) -> None:
    proposed = propose_limit(office, read_name("all", Period.NONE), 5_000_000, None)
    with pytest.raises(NotPermitted, match="use a key without a team"):
        await reject_proposed(session, team("maria", "approver", team="film"), proposed.name, "no")
    rejected = await reject_proposed(session, team("maria", "approver"), proposed.name, "no")
    assert rejected.proposed.state == "refused"


async def test_a_proposed_key_is_valid_once_approved(
    session: Session, team: Callable[..., Caller], office: Office
) -> None:
    key = make_key()
    proposed = propose_grant(office, Terms("bob", ("approver",)).grant(key), None)
    assert key.key_id not in Register(session.ledger).keys
    await approve_proposed(session, team("maria", "approver"), proposed.name)
    assert Register(session.ledger).keys[key.key_id].grant.name == "bob"
    assert session.settings.ledger_path is not None
    assert findings(session.ledger, session.settings.ledger_path) == []


def digest_shown(session: Session, job: Job) -> str:
    """Return what a page shows of a held job."""
    return read_case(session, job.job_id).pending.as_shown


def on_page(session: Session, job: Job, reason: str = "good", *, approves: bool = True) -> AnswerOnPage:
    return AnswerOnPage(job.job_id, approves, reason, digest_shown(session, job))


async def test_two_clicks_at_once_record_one_answer(
    session: Session, team: Callable[..., Caller], hold_request: Held
) -> None:
    job = await hold_request()
    answer, maria = on_page(session, job), team("maria", "approver")
    both = await asyncio.gather(*(answer_on_page(session, maria, answer) for _ in range(2)))
    assert sum(answered is None for answered in both) == 1
    assert await answer_on_page(session, maria, answer) is None
    history = JobHistory.of(session.ledger, await session.job(job.job_id))
    assert [entry.record.actor for entry in history.answers] == ["maria"]


@pytest.mark.parametrize("approves", [True, False])
async def test_two_people_at_once_record_one_answer(
    session: Session, team: Callable[..., Caller], hold_request: Held, *, approves: bool
) -> None:
    job = await hold_request()
    maria, omar = on_page(session, job), on_page(session, job, approves=approves)
    both = await asyncio.gather(
        answer_on_page(session, team("maria", "approver"), maria),
        answer_on_page(session, team("omar", "approver"), omar),
        return_exceptions=True,
    )
    refused = [outcome for outcome in both if isinstance(outcome, NotReady)]
    assert len(refused) == 1
    history = JobHistory.of(session.ledger, await session.job(job.job_id))
    assert len(history.answers) == 1


async def test_an_answer_to_what_changed_since_it_was_shown_is_refused(
    session: Session, team: Callable[..., Caller], hold_request: Held
) -> None:
    job = await hold_request()
    before = on_page(session, job)
    await session.advance(job, [session.draft(NoteRecorded(text=Private.seal("text", "wait")))])
    with pytest.raises(ChangedSinceShown, match=r"it has a new record: note\.recorded by ana"):
        await answer_on_page(session, team("maria", "approver"), before)
    again = on_page(session, job)
    activate(session.settings, session.trace, utc_now(), Rules(policy(name="new"), session.catalog), "test")
    with pytest.raises(ChangedSinceShown, match="another policy is in force: new"):
        await answer_on_page(session, team("maria", "approver"), again)
    assert (await session.job(job.job_id)).state is State.HELD


async def test_an_answer_on_a_page_needs_a_reason(
    session: Session, team: Callable[..., Caller], hold_request: Held
) -> None:
    job = await hold_request()
    with pytest.raises(BadInput, match="needs a reason"):
        await answer_on_page(session, team("maria", "approver"), on_page(session, job, "  "))


async def test_a_second_click_on_a_change_records_nothing_more(
    session: Session, team: Callable[..., Caller], office: Office
) -> None:
    proposed = propose_limit(office, read_name("all", Period.NONE), 5_000_000, None)
    waiting = OpenChanges(session.ledger)
    assert waiting.names() == [proposed.name]
    pending, _ = read_proposed(session.ledger, proposed.name, utc_now())
    answer = AnswerOnPage(proposed.name, approves=True, reason="agreed", as_shown=pending.as_shown)
    assert await answer_on_page(session, team("maria", "approver"), answer) is not None
    assert await answer_on_page(session, team("maria", "approver"), answer) is None
    with pytest.raises(NotReady, match="already applied"):
        await answer_on_page(session, team("omar", "approver"), answer)
    assert waiting.names() == []
