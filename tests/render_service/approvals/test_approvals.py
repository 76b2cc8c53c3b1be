"""Somebody else says yes or no to what is held."""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from msgspec import structs

from decision.request.request import RenderRequest
from decision.rules.catalog import Catalog
from decision.rules.policy import Policy, default_policy
from ledger.canonical import canonical_json
from ledger.events import ApprovalGranted, RenderDecided, RenderHeld
from ledger.job import Job
from ledger.record import ActorSource, draft
from ledger.store.interface import Batch
from ledger.terms import State
from ledger.tree.checkpoint import Signer
from render_service.approvals.approvals import approve, reject
from render_service.approvals.statements import answer_statement_1, sign
from render_service.reports.answers import answers
from render_service.reports.explain import explain
from render_service.rules.budget_names import Period, read_name
from render_service.rules.budgets import set_limit
from render_service.rules.opening import activate
from render_service.rules.policies import InForce, Rules
from render_service.runtime.errors import BadInput, NotReady, WrongPerson
from render_service.session.history import JobHistory
from render_service.session.session import Session
from render_service.submission.resume import resume
from render_service.submission.submit import place
from tests.render_service.conftest import LastEvent

pytestmark = pytest.mark.anyio

MARIA, OMAR, EVE, ANA, STRANGER = (
    Signer(name, bytes([seed]) * 32)
    for seed, name in enumerate(("maria", "omar", "eve", "ana", "nobody"), start=1)
)
KEYS = {signer.name: [str(signer.verifier)] for signer in (MARIA, OMAR, EVE, ANA)}
HELD = ["render.requested", "render.held"]
CLIP = 1_200_000
"""What four seconds of sora-2-pro cost."""


def policy(*rules: dict[str, Any], **more: Any) -> Policy:
    hold_request = [{"code": "FINALS", "purposes": ["final"]}] if not rules else list(rules)
    return Policy.model_validate({**default_policy().model_dump(), "approvals": hold_request, **more})


def sits(
    session: Session, actor: str, source: ActorSource = ActorSource.OPERATING_SYSTEM, **more: Any
) -> Session:
    settings = replace(session.settings, actor=actor, actor_source=source)
    return replace(session, settings=settings, **more)


def under(session: Session, rules: Policy, catalog: Catalog | None = None) -> Session:
    """Return the session with `rules` active in its ledger."""
    activate(
        session.settings,
        session.trace,
        session.clock(),
        Rules(rules, catalog or session.catalog),
        "for a test",
    )
    return replace(session, in_force=InForce(session.ledger))


@pytest.fixture
def ana(session: Session) -> Session:
    """Ana asks, under her own login; a final needs somebody else."""
    return sits(under(session, policy()), "ana")


@pytest.fixture
def bob(ana: Session) -> Session:
    """Bob is somebody else, under his own login."""
    return sits(ana, "bob")


@pytest.fixture
def hold_request(request_for: Callable[..., RenderRequest]) -> Callable[..., Awaitable[Job]]:
    async def ask(session: Session, **changes: Any) -> Job:
        placed = await place(session, request_for(purpose="final", **changes))
        assert placed.job.state is State.HELD
        return placed.job

    return ask


async def test_an_approved_render_is_decided_again_in_the_same_append_and_not_sent(
    ana: Session,
    bob: Session,
    hold_request: Callable[..., Awaitable[Job]],
    types: Callable[[Job], list[str]],
    event: LastEvent,
    intact: Callable[[], bool],
) -> None:
    answered = await approve(bob, await hold_request(ana), "fine")
    assert answered.job.state is State.DECIDED
    assert types(answered.job) == [*HELD, "approval.granted", "render.decided"]
    assert "APPROVED" in event(answered.job, RenderDecided).reason_codes
    assert event(answered.job, ApprovalGranted).comment.text == "fine"
    assert intact()


async def test_an_approved_render_is_submitted_by_resume_and_due_for_a_worker(
    ana: Session, bob: Session, hold_request: Callable[..., Awaitable[Job]]
) -> None:
    job = (await approve(bob, await hold_request(ana))).job
    assert [lease.job_id for lease in bob.ledger.store.queue.claim("w1", 1000)] == [job.job_id]
    assert (await resume(bob, job)).job.state is State.RUNNING


async def test_a_refused_render_is_closed(
    ana: Session,
    bob: Session,
    hold_request: Callable[..., Awaitable[Job]],
    types: Callable[[Job], list[str]],
    intact: Callable[[], bool],
) -> None:
    job = (await reject(bob, await hold_request(ana), "not yet")).job
    assert (job.state, job.outcome) == (State.REFUSED, "refused")
    assert types(job) == [*HELD, "approval.refused", "render.closed"]
    assert intact()


# --- who may ---


@pytest.mark.parametrize("answer", [approve, reject])
async def test_nobody_answers_for_their_own_request(
    ana: Session, hold_request: Callable[..., Awaitable[Job]], types: Callable[[Job], list[str]], answer: Any
) -> None:
    job = await hold_request(ana)
    with pytest.raises(BadInput, match="was requested by ana: another person"):
        await answer(ana, job, "fine")
    assert types(job) == HELD


@pytest.mark.parametrize("reason", ["", "  "])
async def test_a_rejection_without_a_reason_is_refused(
    ana: Session,
    bob: Session,
    hold_request: Callable[..., Awaitable[Job]],
    types: Callable[[Job], list[str]],
    reason: str,
) -> None:
    job = await hold_request(ana)
    with pytest.raises(BadInput, match="a rejection needs a reason"):
        await reject(bob, job, reason)
    assert types(job) == HELD


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (ActorSource.FLAG, "--actor bob does not prove who you are"),
        (ActorSource.ENVIRONMENT, "SORA_LEDGER_ACTOR=bob does not prove"),
    ],
)
async def test_a_name_that_anyone_can_take_is_no_second_pair_of_eyes(
    ana: Session,
    hold_request: Callable[..., Awaitable[Job]],
    types: Callable[[Job], list[str]],
    source: ActorSource,
    message: str,
) -> None:
    job = await hold_request(ana)
    with pytest.raises(WrongPerson, match=message) as refused:
        await approve(sits(ana, "bob", source), job)
    assert "anyone can type this name" in refused.value.on_page
    assert types(job) == HELD


@pytest.mark.parametrize("source", [ActorSource.FLAG, ActorSource.ENVIRONMENT])
async def test_a_request_under_such_a_name_takes_two_people_who_sign(
    ana: Session,
    bob: Session,
    hold_request: Callable[..., Awaitable[Job]],
    event: LastEvent,
    intact: Callable[[], bool],
    source: ActorSource,
) -> None:
    job = await hold_request(sits(under(ana, policy(approvers=KEYS)), "ana", source))
    assert event(job, RenderHeld).approvals_needed == 2
    with pytest.raises(BadInput, match=r"a name that anyone, including bob, can set .*: sign"):
        await approve(bob, job)
    first = await approve(bob, job, signer=MARIA)
    assert (first.job.state, first.needed) == (State.APPROVED, 1)
    with pytest.raises(BadInput, match=r"maria has already approved"):
        await approve(bob, job, signer=MARIA)
    assert (await approve(bob, job, signer=OMAR)).job.state is State.DECIDED
    assert intact()


async def test_the_second_signer_of_such_a_request_need_not_be_one_the_rule_names(
    ana: Session, hold_request: Callable[..., Awaitable[Job]]
) -> None:
    session = under(
        ana, policy({"code": "SIGNED", "purposes": ["final"], "signed_by": ["maria"]}, approvers=KEYS)
    )
    job = await hold_request(sits(session, "bob", ActorSource.FLAG))
    assert (await approve(session, job, signer=OMAR)).needed == 1
    with pytest.raises(BadInput, match="rule SIGNED requires the signature of maria"):
        await approve(session, job, signer=EVE)
    assert (await approve(session, job, signer=MARIA)).job.state is State.DECIDED


async def test_a_signature_under_the_login_that_asked_is_not_another_person(
    ana: Session, hold_request: Callable[..., Awaitable[Job]], types: Callable[[Job], list[str]]
) -> None:
    session = under(ana, policy(approvers=KEYS))
    job = await hold_request(session)
    with pytest.raises(BadInput, match=r"under the login ana, like this answer, .* maria is another person"):
        await approve(session, job, signer=MARIA)
    with pytest.raises(BadInput, match="under the login ana"):
        await reject(session, job, "no", signer=MARIA)
    assert types(job) == HELD


async def test_a_signature_under_the_login_of_the_first_approver_is_not_a_second_person(
    ana: Session, hold_request: Callable[..., Awaitable[Job]]
) -> None:
    two = under(ana, policy({"code": "FINALS", "purposes": ["final"], "people": 2}, approvers=KEYS))
    job, bob = await hold_request(two), sits(two, "bob")
    await approve(bob, job)
    with pytest.raises(BadInput, match=r"was approved by bob under the login bob, like this answer"):
        await approve(bob, job, signer=MARIA)
    assert (await approve(sits(two, "maria"), job, signer=MARIA)).job.state is State.DECIDED


async def test_two_who_sign_may_share_a_login(
    ana: Session,
    hold_request: Callable[..., Awaitable[Job]],
    signing: Callable[[Session, Signer], Session],
    types: Callable[[Job], list[str]],
) -> None:
    session = signing(under(ana, policy(approvers=KEYS)), OMAR)
    job = await hold_request(session)
    assert types(job) == ["render.requested", "request.signed", "render.held"]
    assert job.actor == "omar"
    assert (await approve(session, job, signer=MARIA)).job.state is State.DECIDED


async def test_the_person_who_signed_the_request_does_not_approve_it(
    ana: Session, hold_request: Callable[..., Awaitable[Job]], signing: Callable[[Session, Signer], Session]
) -> None:
    session = signing(under(ana, policy(approvers=KEYS)), OMAR)
    job = await hold_request(session)
    with pytest.raises(BadInput, match="was requested by omar: another person"):
        await approve(sits(session, "eve"), job, signer=OMAR)
    with pytest.raises(BadInput, match="was requested by omar under the login ana, like this answer"):
        await approve(session, job)
    assert (await approve(sits(session, "eve"), job)).job.state is State.DECIDED


async def test_a_key_for_requests_only_signs_no_approval(
    ana: Session, hold_request: Callable[..., Awaitable[Job]], signing: Callable[[Session, Signer], Session]
) -> None:
    session = under(ana, policy(approvers={"maria": KEYS["maria"]}, requesters={"omar": KEYS["omar"]}))
    job = await hold_request(signing(session, OMAR))
    assert job.actor == "omar"
    with pytest.raises(BadInput, match="is not one of the keys that the policy default names"):
        await approve(sits(session, "eve"), job, signer=OMAR)


async def test_a_key_that_the_policy_does_not_name_signs_no_request(
    ana: Session,
    hold_request: Callable[..., Awaitable[Job]],
    signing: Callable[[Session, Signer], Session],
    types: Callable[[Job], list[str]],
) -> None:
    job = await hold_request(signing(under(ana, policy(approvers={"maria": KEYS["maria"]})), STRANGER))
    assert (types(job), job.actor) == (HELD, "ana")


async def test_a_name_beside_another_ones_key_is_refused(
    ana: Session, hold_request: Callable[..., Awaitable[Job]], signing: Callable[[Session, Signer], Session]
) -> None:
    session = signing(under(ana, policy(approvers=KEYS)), OMAR)
    with pytest.raises(BadInput, match=r"--actor names bob, but the key .* belongs to omar"):
        await hold_request(sits(session, "bob", ActorSource.FLAG))


@pytest.mark.parametrize(
    ("wanted", "source", "refused"),
    [
        ("identified", ActorSource.FLAG, True),
        ("identified", ActorSource.ENVIRONMENT, True),
        ("identified", ActorSource.OPERATING_SYSTEM, False),
        ("signed", ActorSource.OPERATING_SYSTEM, True),
        ("two_signers", ActorSource.FLAG, False),
    ],
)
async def test_the_policy_says_what_establishes_a_requester(  # one parameter per fixture
    ana: Session,
    hold_request: Callable[..., Awaitable[Job]],
    wanted: str,
    source: ActorSource,
    *,
    refused: bool,
) -> None:
    session = sits(under(ana, policy(requester=wanted, approvers=KEYS)), "ana", source)
    if not refused:
        await hold_request(session)
        return
    size = session.ledger.store.head().size
    with pytest.raises(
        BadInput, match=rf"needs approval by rule FINALS, .* requires the requester to be {wanted}"
    ):
        await hold_request(session)
    assert session.ledger.store.head().size == size


async def test_a_signed_requester_is_let_in_where_the_policy_wants_one(
    ana: Session, hold_request: Callable[..., Awaitable[Job]], signing: Callable[[Session, Signer], Session]
) -> None:
    await hold_request(signing(under(ana, policy(requester="signed", approvers=KEYS)), OMAR))


async def test_one_person_approves_once(
    ana: Session,
    hold_request: Callable[..., Awaitable[Job]],
    types: Callable[[Job], list[str]],
    intact: Callable[[], bool],
) -> None:
    two = under(ana, policy({"code": "FINALS", "purposes": ["final"], "people": 2}))
    job, bob, eve = await hold_request(two), sits(two, "bob"), sits(two, "eve")
    first = await approve(bob, job)
    assert (first.job.state, first.needed) == (State.APPROVED, 1)
    with pytest.raises(BadInput, match=r"bob has already approved"):
        await approve(bob, job)
    second = await approve(eve, job)
    assert second.job.state is State.DECIDED
    assert types(second.job) == [*HELD, "approval.granted", "approval.granted", "render.decided"]
    assert intact()


async def test_the_second_person_may_still_refuse(
    ana: Session, hold_request: Callable[..., Awaitable[Job]], intact: Callable[[], bool]
) -> None:
    two = under(ana, policy({"code": "FINALS", "purposes": ["final"], "people": 2}))
    job = await hold_request(two)
    await approve(sits(two, "bob"), job)
    assert (await reject(sits(two, "eve"), job, "no")).job.state is State.REFUSED
    assert intact()


async def test_what_is_not_held_any_more_is_not_answered(
    ana: Session, bob: Session, hold_request: Callable[..., Awaitable[Job]], types: Callable[[Job], list[str]]
) -> None:
    job = (await approve(bob, await hold_request(ana))).job
    for answer in (approve, reject):
        with pytest.raises(NotReady, match="is decided, not held"):
            await answer(sits(ana, "eve"), job, "late")
    assert types(job)[-1] == "render.decided"


async def test_of_two_who_answer_at_once_the_later_finds_what_the_earlier_made(
    ana: Session,
    hold_request: Callable[..., Awaitable[Job]],
    types: Callable[[Job], list[str]],
    intact: Callable[[], bool],
) -> None:
    job = await hold_request(ana)
    answered = await asyncio.gather(
        *(approve(sits(ana, name), job) for name in ("bob", "eve")), return_exceptions=True
    )
    assert sorted(type(one).__name__ for one in answered) == ["AnswerResult", "NotReady"]
    assert types(job) == [*HELD, "approval.granted", "render.decided"]
    assert intact()


# --- signed ---


@pytest.fixture
def signing(tmp_path: Path) -> Callable[[Session, Signer], Session]:
    """Return the session with this key in SORA_LEDGER_KEY."""

    def with_key(session: Session, signer: Signer) -> Session:
        file = tmp_path / f"{signer.name}.key"
        file.write_text(signer.secret())
        file.chmod(0o600)
        return replace(session, settings=replace(session.settings, key_file=file))

    return with_key


@pytest.fixture
def strict(ana: Session) -> Session:
    """Ana's session under a policy that requires the signature of Maria."""
    rule = {"code": "SIGNED", "purposes": ["final"], "signed_by": ["maria"]}
    return under(ana, policy(rule, approvers=KEYS))


@pytest.fixture
def maria(strict: Session) -> Session:
    """Maria's session."""
    return sits(strict, "maria")


async def test_a_signature_says_who_approved_and_stands(
    strict: Session,
    maria: Session,
    hold_request: Callable[..., Awaitable[Job]],
    event: LastEvent,
    intact: Callable[[], bool],
) -> None:
    job = (await approve(maria, await hold_request(strict), signer=MARIA)).job
    assert job.state is State.DECIDED
    [answer] = answers(strict.ledger, JobHistory.of(strict.ledger, job))
    assert (answer.record.actor, answer.record.envelope.actor_source) == ("maria", "signature")
    assert (answer.key_id, answer.signature_stands, answer.binds_request) == (
        MARIA.verifier.key_id.hex(),
        True,
        True,
    )
    assert "identified by their signature" in answer.sentence
    granted = event(job, ApprovalGranted)
    assert (granted.login, granted.policy_sha256) == ("maria", strict.policy.digest)
    assert intact()


class OfVersion1(ApprovalGranted):
    """An approval as version 1 recorded it."""

    schema_version: ClassVar[int] = 1


def forge(
    session: Session, job: Job, answer: ApprovalGranted, actor: str = "maria", version: int = 2
) -> None:
    """Record what no command would: an answer with somebody's name and source."""
    who = replace(session.provenance, actor=actor, actor_source=ActorSource.SIGNATURE)
    made = draft(answer, who, datetime.now(UTC))
    if version == 1:
        old = {"comment": None, "key_id": answer.key_id, "signature": answer.signature}
        made = replace(made, payload=canonical_json(old), event=OfVersion1(**structs.asdict(answer)))
    session.ledger.append([Batch(job.job_id, session.ledger.job(job.job_id).version, [made])])


def zeros(session: Session, **more: Any) -> ApprovalGranted:
    """Return an approval with Maria's key id and 64 zero bytes for a signature."""
    fields = {
        "key_id": MARIA.verifier.key_id.hex(),
        "signature": base64.b64encode(bytes(64)).decode(),
        "login": "maria",
        "policy_sha256": session.policy.digest,
        "expires_at": "2999-01-01T00:00:00.000000Z",
    }
    return ApprovalGranted(**{**fields, **more})


@pytest.mark.parametrize(
    "forged", [{}, {"signature": None, "key_id": None}, {"key_id": OMAR.verifier.key_id.hex()}]
)
async def test_an_earlier_approval_counts_only_if_its_signature_stands(
    ana: Session, hold_request: Callable[..., Awaitable[Job]], forged: dict[str, Any]
) -> None:
    two = under(ana, policy({"code": "FINALS", "purposes": ["final"], "people": 2}, approvers=KEYS))
    job = await hold_request(two)
    forge(two, job, zeros(two, **forged))
    answered = await approve(sits(two, "bob"), job)
    assert (answered.job.state, answered.needed) == (State.APPROVED, 1)
    assert (await approve(sits(two, "maria"), job, signer=MARIA)).job.state is State.DECIDED


async def test_an_earlier_approval_counts_if_its_signature_stands(
    ana: Session, hold_request: Callable[..., Awaitable[Job]]
) -> None:
    rule = {"code": "FINALS", "purposes": ["final"], "people": 2, "signed": True}
    two = under(ana, policy(rule, approvers=KEYS))
    job = await hold_request(two)
    assert (await approve(sits(two, "maria"), job, signer=MARIA)).needed == 1
    assert (await approve(sits(two, "omar"), job, signer=OMAR)).job.state is State.DECIDED


async def test_an_approval_by_a_key_that_was_taken_out_since_counts_no_longer(
    ana: Session, hold_request: Callable[..., Awaitable[Job]]
) -> None:
    rule = {"code": "FINALS", "purposes": ["final"], "people": 2}
    two = under(ana, policy(rule, approvers=KEYS))
    job = await hold_request(two)
    await approve(sits(two, "maria"), job, signer=MARIA)
    less = under(two, policy(rule, approvers={"omar": KEYS["omar"]}))
    assert (await approve(sits(less, "omar"), job, signer=OMAR)).needed == 1


async def test_an_approval_that_has_expired_counts_no_longer(
    ana: Session, hold_request: Callable[..., Awaitable[Job]]
) -> None:
    two = under(ana, policy({"code": "FINALS", "purposes": ["final"], "people": 2}))
    job, now = await hold_request(two), two.clock()
    await approve(sits(two, "bob"), job, until=now + timedelta(hours=1))
    later = replace(two, clock=lambda: now + timedelta(hours=2))
    assert (await approve(sits(later, "eve"), job)).needed == 1
    assert (await approve(sits(later, "bob"), job)).job.state is State.DECIDED


async def test_an_approval_that_is_over_already_is_refused(
    ana: Session, bob: Session, hold_request: Callable[..., Awaitable[Job]]
) -> None:
    with pytest.raises(BadInput, match="is in the past: name a future time"):
        await approve(bob, await hold_request(ana), until=bob.clock() - timedelta(seconds=1))


async def test_what_was_approved_is_not_submitted_once_the_approval_expired(
    ana: Session, bob: Session, hold_request: Callable[..., Awaitable[Job]]
) -> None:
    now = ana.clock()
    job = (await approve(bob, await hold_request(ana), until=now + timedelta(hours=1))).job
    with pytest.raises(NotReady, match=r"was approved until .* which is past"):
        await resume(replace(bob, clock=lambda: now + timedelta(hours=2)), job)


async def test_an_approval_judged_by_a_policy_that_was_replaced_meanwhile_is_judged_again(
    ana: Session, bob: Session, hold_request: Callable[..., Awaitable[Job]], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await hold_request(ana)
    stricter = policy({"code": "FINALS", "purposes": ["final"], "signed": True}, approvers=KEYS)
    advance, calls = Session.advance, list[Any]()

    async def late(session: Session, *args: Any, **more: Any) -> Any:
        if not calls:
            calls.append(under(ana, stricter))
        return await advance(session, *args, **more)

    monkeypatch.setattr(Session, "advance", late)
    with pytest.raises(BadInput, match="rule FINALS requires the signature"):
        await approve(bob, job)


async def test_a_policy_that_comes_after_an_answer_does_not_make_it_good(
    strict: Session, hold_request: Callable[..., Awaitable[Job]]
) -> None:
    job = await hold_request(strict)
    history = strict.ledger.history(job.job_id)
    answer = ApprovalGranted()
    text = answer_statement_1(_ledger_id(strict), history[-1], history[-1].event, "maria", answer)
    key_id, signature = sign(STRANGER, text)
    forge(strict, job, ApprovalGranted(key_id=key_id, signature=signature), version=1)
    under(strict, policy(approvers={"maria": [str(STRANGER.verifier)]}))
    [found] = answers(strict.ledger, JobHistory.of(strict.ledger, job))
    assert found.signature_stands is False
    assert "NOT IDENTIFIED" in found.sentence


def _ledger_id(session: Session) -> str:
    first: Any = next(session.ledger.read(limit=1)).event
    return str(first.ledger_id)


async def test_an_answer_of_version_1_is_read_and_says_what_it_does_not_bind(
    strict: Session, hold_request: Callable[..., Awaitable[Job]]
) -> None:
    job = await hold_request(strict)
    held_record = strict.ledger.history(job.job_id)[-1]
    hold: Any = held_record.event
    text = answer_statement_1(_ledger_id(strict), held_record, hold, "maria", ApprovalGranted())
    key_id, signature = sign(MARIA, text)
    forge(strict, job, ApprovalGranted(key_id=key_id, signature=signature), version=1)
    [found] = answers(strict.ledger, JobHistory.of(strict.ledger, job))
    assert (found.signature_stands, found.binds_request) == (True, False)
    assert "binds neither prompt, files and cost nor policy and time" in found.sentence
    [person] = explain(strict.ledger, job.job_id).document["authority"]["people"]
    assert person["identified_by"] == "signature, of version 1, which does not bind the request"


async def test_a_signature_of_version_1_is_worth_nothing_in_an_answer_of_version_2(
    strict: Session, hold_request: Callable[..., Awaitable[Job]]
) -> None:
    job = await hold_request(strict)
    held_record = strict.ledger.history(job.job_id)[-1]
    hold: Any = held_record.event
    text = answer_statement_1(_ledger_id(strict), held_record, hold, "maria", ApprovalGranted())
    key_id, signature = sign(MARIA, text)
    forge(strict, job, zeros(strict, key_id=key_id, signature=signature))
    [found] = answers(strict.ledger, JobHistory.of(strict.ledger, job))
    assert found.signature_stands is False


async def test_explain_calls_nobody_identified_whose_signature_does_not_stand(
    strict: Session, hold_request: Callable[..., Awaitable[Job]]
) -> None:
    job = await hold_request(strict)
    forge(strict, job, zeros(strict))
    document = explain(strict.ledger, job.job_id).document
    [person] = document["authority"]["people"]
    assert person["identified_by"].startswith("NOT IDENTIFIED: the signature with key")
    assert document["record"]["trusted"] is False


async def test_a_rule_that_wants_a_signature_takes_no_other_approval(
    strict: Session, hold_request: Callable[..., Awaitable[Job]], types: Callable[[Job], list[str]]
) -> None:
    job = await hold_request(strict)
    for other in (None, OMAR):
        with pytest.raises(BadInput, match="rule SIGNED requires the signature of maria"):
            await approve(sits(strict, "bob"), job, signer=other)
        with pytest.raises(BadInput, match="rule SIGNED requires the signature of maria"):
            await reject(sits(strict, "bob"), job, "no", signer=other)
    assert types(job) == HELD


async def test_an_answer_is_taken_where_the_rules_were_loosened_and_none_is_open(
    ana: Session, hold_request: Callable[..., Awaitable[Job]]
) -> None:
    rule = {"code": "FINALS", "purposes": ["final"], "people": 2, "signed": True}
    two = under(ana, policy(rule, approvers=KEYS))
    job = await hold_request(two)
    await approve(sits(two, "maria"), job, signer=MARIA)
    one = under(two, policy({**rule, "people": 1}, approvers=KEYS))
    with pytest.raises(BadInput, match="rule FINALS requires the signature of ana or eve or maria or omar"):
        await reject(sits(one, "bob"), job, "no")
    assert (await reject(sits(one, "omar"), job, "no", signer=OMAR)).job.state is State.REFUSED


async def test_a_key_the_policy_does_not_name_says_nothing(
    strict: Session, hold_request: Callable[..., Awaitable[Job]], types: Callable[[Job], list[str]]
) -> None:
    job = await hold_request(strict)
    with pytest.raises(BadInput, match="is not one of the keys that the policy default names"):
        await approve(sits(strict, "bob"), job, signer=Signer("maria", bytes([9]) * 32))
    assert types(job) == HELD


async def test_the_requester_does_not_approve_with_a_key_either(
    strict: Session, hold_request: Callable[..., Awaitable[Job]]
) -> None:
    with pytest.raises(BadInput, match="was requested by ana"):
        await approve(sits(strict, "bob"), await hold_request(strict), signer=ANA)


async def test_another_actor_than_the_owner_of_the_key_is_refused(
    strict: Session, hold_request: Callable[..., Awaitable[Job]]
) -> None:
    job = await hold_request(strict)
    with pytest.raises(BadInput, match="--actor bob, but the key belongs to maria"):
        await approve(sits(strict, "bob", ActorSource.FLAG), job, signer=MARIA)


async def test_two_rules_are_met_by_those_they_want(
    ana: Session, hold_request: Callable[..., Awaitable[Job]]
) -> None:
    rules = (
        {"code": "FINALS", "purposes": ["final"]},
        {"code": "SIGNED", "purposes": ["final"], "signed_by": ["maria"]},
    )
    session = under(ana, policy(*rules, approvers=KEYS))
    job = await hold_request(session)
    first = await approve(sits(session, "bob"), job)
    assert (first.job.state, first.needed) == (State.APPROVED, 1)
    assert (await approve(sits(session, "eve"), job, signer=MARIA)).job.state is State.DECIDED


# --- decided again ---


async def test_a_gate_that_has_closed_since_denies_what_was_approved(
    ana: Session,
    bob: Session,
    hold_request: Callable[..., Awaitable[Job]],
    types: Callable[[Job], list[str]],
    intact: Callable[[], bool],
) -> None:
    job = await hold_request(ana)
    set_limit(bob.ledger, read_name("all", Period.NONE), 1, None, bob.clock(), bob.provenance)
    answered = await approve(bob, job)
    assert (answered.job.state, answered.job.detail_code) == (State.DENIED, "BUDGET_EXHAUSTED")
    assert types(answered.job)[-3:] == ["approval.granted", "render.denied", "render.closed"]
    assert intact()


async def test_the_money_is_reserved_with_the_approval(
    ana: Session, bob: Session, hold_request: Callable[..., Awaitable[Job]], intact: Callable[[], bool]
) -> None:
    set_limit(bob.ledger, read_name("all", Period.NONE), 9_000_000, None, bob.clock(), bob.provenance)
    job = await hold_request(ana)
    assert bob.ledger.store.held("all") == 0
    await approve(bob, job)
    assert bob.ledger.store.held("all") == CLIP
    assert intact()


async def test_another_model_than_the_one_that_was_approved_is_held_again(
    ana: Session,
    bob: Session,
    hold_request: Callable[..., Awaitable[Job]],
    types: Callable[[Job], list[str]],
    intact: Callable[[], bool],
) -> None:
    job = await hold_request(ana)
    set_limit(bob.ledger, read_name("all", Period.NONE), CLIP - 1, None, bob.clock(), bob.provenance)
    again = await approve(bob, job)
    assert (again.job.state, again.needed) == (State.HELD, 1)
    assert bob.ledger.store.held("all") == 0
    done = await approve(bob, job)
    assert (done.job.state, done.job.model) == (State.DECIDED, "sora-2")
    assert types(job) == [*HELD, "approval.granted", "render.held", "approval.granted", "render.decided"]
    assert intact()


async def test_a_price_holds_from_its_day_on_and_one_that_began_since_is_held_again(
    ana: Session, hold_request: Callable[..., Awaitable[Job]], event: LastEvent
) -> None:
    content = ana.catalog.model_dump(by_alias=True)
    today = ana.clock()
    for model in content["models"]:
        model["prices"] = [
            *model["prices"],
            *(
                {
                    **price,
                    "from": (today + timedelta(days=1)).date(),
                    "usd_micros_per_second": 2 * price["usd_micros_per_second"],
                }
                for price in model["prices"]
            ),
        ]
    catalog = Catalog.model_validate(content)
    ana = under(ana, ana.policy, catalog)
    job = await hold_request(ana, model="sora-2")
    assert event(job, RenderHeld).choice.cost_usd_micros == 400_000
    tomorrow = replace(sits(ana, "bob"), clock=lambda: today + timedelta(days=1))
    assert (await approve(tomorrow, job)).job.state is State.HELD


async def test_a_price_that_rose_since_is_held_again(
    ana: Session, bob: Session, hold_request: Callable[..., Awaitable[Job]]
) -> None:
    job = await hold_request(ana, model="sora-2")
    content = bob.catalog.model_dump(by_alias=True)
    for price in (price for model in content["models"] for price in model["prices"]):
        price["usd_micros_per_second"] *= 2
    dearer = under(bob, bob.policy, Catalog.model_validate(content))
    assert (await approve(dearer, job)).job.state is State.HELD
