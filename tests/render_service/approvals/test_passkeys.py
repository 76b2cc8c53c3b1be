"""Approvals signed by a passkey: one that the policy in force names, over this answer, on its own site."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from decision.request.request import RenderRequest
from decision.rules.passkeys import EDDSA, ES256, Passkey
from decision.rules.policy import Policy, default_policy
from decision.rules.roles import DEFAULT_ROLES, permissions_of
from ledger.events import ApprovalGranted, ApprovalRefused
from ledger.job import Job
from ledger.record import ActorSource, timestamp
from ledger.store.sqlite.snapshot import SqliteSnapshot
from ledger.terms import State
from ledger.verify import verify
from render_service.access.callers import Caller
from render_service.access.grants import Terms, grant
from render_service.approvals.answer_changes import AnswerOnPage, answer_on_page
from render_service.approvals.approvals import VALID_FOR, read_case
from render_service.approvals.approvers import statement_to_sign
from render_service.approvals.identities import check_answer_signature
from render_service.approvals.passkeys import PasskeySignature
from render_service.rules.opening import activate
from render_service.rules.policies import Rules
from render_service.runtime.errors import BadInput, ChangedSinceShown
from render_service.session.history import JobHistory
from render_service.session.session import Session, utc_now
from render_service.submission.submit import place
from tests.ledger.authenticator import WRONG, Authenticator, other_secret

pytestmark = pytest.mark.anyio
FINALS = [{"code": "FINALS", "purposes": ["final"], "signed": True}]
Answer = Callable[..., Awaitable[Any]]


def policy(*keys: Passkey, **more: Any) -> Policy:
    content = {"approvals": FINALS, "approvers": {"maria": [str(key) for key in keys]}} | more
    return Policy.model_validate(default_policy().model_dump(by_alias=True) | content)


def put_in_force(session: Session, chosen: Policy) -> None:
    activate(session.settings, session.trace, utc_now(), Rules(chosen, session.catalog), "for a test")
    session.in_force.renew(session.in_force.rules)


@pytest.fixture(params=[ES256, EDDSA], ids=["es256", "ed25519"])
def device(request: pytest.FixtureRequest) -> Authenticator:
    return Authenticator(algorithm=request.param)


@pytest.fixture
def hold_request(
    session: Session, device: Authenticator, request_for: Callable[..., RenderRequest]
) -> Callable[[], Awaitable[Job]]:
    for name in ("alice", "maria"):
        grant(session.ledger, Terms(name, ("requester",)), utc_now(), session.provenance)
    put_in_force(session, policy(device.passkey))

    async def hold() -> Job:
        acting = caller("alice", "requester").session(session)
        return (await place(acting, request_for(purpose="final"), queue=True)).job

    return hold


def caller(name: str, *roles: str) -> Caller:
    may = permissions_of(DEFAULT_ROLES, roles)
    return Caller(name, ActorSource.ACCESS_KEY, roles, may, roles_in_force=DEFAULT_ROLES)


def statement(session: Session, job: Job, until: Any, *, approves: bool = True) -> str:
    acting = caller("maria", "approver").session(session)
    answer: Any = ApprovalGranted(expires_at=timestamp(until)) if approves else ApprovalRefused()
    pending = read_case(session, job.job_id).pending
    return statement_to_sign(acting.settings, session.ledger, pending, answer)


async def answer(
    session: Session, job: Job, signed: PasskeySignature, until: Any = None, *, approves: bool = True
) -> Any:
    shown = read_case(session, job.job_id).pending.as_shown
    answer_ = AnswerOnPage(job.job_id, approves, "good", shown, signed, until)
    return await answer_on_page(session, caller("maria", "approver"), answer_)


def findings(session: Session) -> list[str]:
    with SqliteSnapshot(session.settings.ledger_path) as tables:  # it is in a file
        return [finding.code for finding in verify(tables).findings]


@pytest.mark.parametrize("approves", [True, False])
async def test_an_answer_is_signed_by_the_passkey_that_the_policy_names(
    session: Session, device: Authenticator, hold_request: Callable[[], Awaitable[Job]], *, approves: bool
) -> None:
    job, until = await hold_request(), utc_now() + VALID_FOR
    with pytest.raises(BadInput, match="requires the signature of maria"):
        await answer(session, job, None, approves=approves)  # not signed
    signed = device.sign(statement(session, job, until, approves=approves))
    answered = await answer(session, job, signed, until if approves else None, approves=approves)
    assert answered.job.state is (State.DECIDED if approves else State.REFUSED)
    history = JobHistory.of(session.ledger, answered.job)
    checked = check_answer_signature(session.ledger, history, history.answers[0])
    assert checked is not None
    assert (checked.signature_valid, checked.key_id) == (True, device.passkey.key_id)
    assert findings(session) == []


@pytest.mark.parametrize("name", WRONG)
async def test_a_signature_that_is_wrong_in_one_respect_is_refused(
    session: Session, device: Authenticator, hold_request: Callable[[], Awaitable[Job]], name: str
) -> None:
    job, until = await hold_request(), utc_now() + VALID_FOR
    text = statement(session, job, until)
    with pytest.raises(BadInput, match="the passkey of maria did not sign this answer"):
        await answer(session, job, device.sign(text, **WRONG[name]), until)
    with pytest.raises(BadInput, match="the signature is not of the passkey's key"):
        await answer(session, job, device.sign(text, secret=other_secret(device.algorithm)), until)
    assert (await session.job(job.job_id)).state is State.HELD


async def test_a_signature_of_another_answer_is_no_signature_of_this_one(
    session: Session, device: Authenticator, hold_request: Callable[[], Awaitable[Job]]
) -> None:
    job, other, until = await hold_request(), await hold_request(), utc_now() + VALID_FOR
    signed = device.sign(statement(session, job, until))
    with pytest.raises(BadInput, match="something else than this answer"):
        await answer(session, other, signed, until)
    with pytest.raises(BadInput, match="something else than this answer"):
        await answer(session, job, signed, until, approves=False)
    with pytest.raises(BadInput, match="something else than this answer"):
        await answer(session, job, signed, until.replace(year=2099))
    shown = read_case(session, job.job_id).pending.as_shown
    put_in_force(session, policy(device.passkey, name="stricter"))
    answer_ = AnswerOnPage(job.job_id, approves=True, reason="x", as_shown=shown, signed=signed, until=until)
    with pytest.raises(ChangedSinceShown):
        await answer_on_page(session, caller("maria", "approver"), answer_)


async def test_a_passkey_that_the_policy_names_for_another_or_no_longer_does_not_count(
    session: Session, device: Authenticator, hold_request: Callable[[], Awaitable[Job]]
) -> None:
    job, until = await hold_request(), utc_now() + VALID_FOR
    put_in_force(session, policy(device.passkey, approvers={"omar": [str(device.passkey)]}))
    with pytest.raises(BadInput, match="does not name this passkey for maria"):
        await answer(session, job, device.sign(statement(session, job, until)), until)


async def test_a_recorded_signature_of_an_older_policy_counts_no_longer_once_its_passkey_is_dropped(
    session: Session, device: Authenticator, hold_request: Callable[[], Awaitable[Job]]
) -> None:
    two = [{"code": "FINALS", "purposes": ["final"], "signed": True, "people": 2}]
    second = Authenticator("omar")
    keys = {"maria": [str(device.passkey)], "omar": [str(second.passkey)]}
    put_in_force(session, policy(approvals=two, approvers=keys))
    job, until = await hold_request(), utc_now() + VALID_FOR
    assert (await answer(session, job, device.sign(statement(session, job, until)), until)).needed == 1
    put_in_force(session, policy(approvals=two, approvers={"omar": keys["omar"], "eve": keys["maria"]}))
    assert read_case(session, job.job_id).pending.approved == ()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"origin": "http://console.example.org"}, "expected an origin"),
        ({"origin": "https://console.example.org/"}, "expected an origin"),
        ({"origin": "https://Console.example.org"}, "expected an origin"),
        ({"public_key": b"short"}, "expected a passkey with ES256"),
        ({"algorithm": -257}, "expected a passkey with ES256"),
        ({"credential_id": b""}, "credential id"),
    ],
)
def test_a_policy_with_a_wrong_passkey_is_refused(change: dict[str, Any], says: str) -> None:
    wrong = Authenticator().passkey._replace(**change)
    with pytest.raises(ValueError, match=says):
        policy(wrong)
    mistyped = str(Authenticator().passkey).replace("maria+", "mario+", 1)
    with pytest.raises(ValueError, match="it was mistyped"):
        policy(approvers={"maria": [mistyped]})
    with pytest.raises(ValueError, match="expected an Ed25519 public key"):
        policy(approvers=None, approvals=None, requesters={"ana": [str(Authenticator().passkey)]})


async def test_a_passkey_proves_another_person_than_a_login(
    session: Session,
    device: Authenticator,
    hold_request: Callable[[], Awaitable[Job]],
    request_for: Callable[..., RenderRequest],
) -> None:
    by_login = replace(
        session,
        settings=replace(session.settings, actor="ana", actor_source=ActorSource.OPERATING_SYSTEM),
    )
    await hold_request()
    job = (await place(by_login, request_for(purpose="final"), queue=True)).job
    until = utc_now() + VALID_FOR
    answered = await answer(session, job, device.sign(statement(session, job, until)), until)
    assert answered.job.state is State.DECIDED
    assert findings(session) == []
