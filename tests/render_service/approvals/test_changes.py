"""Changes of the policy and of budgets that the policy in force wants approved by another person."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from decision.request.request import RenderRequest
from decision.rules.policy import Policy, default_policy
from ledger.events import BudgetSet, PolicyActivated
from ledger.record import ActorSource
from ledger.store.filters import RecordFilter
from ledger.tree.checkpoint import Signer
from render_service.approvals.answer_changes import approve_change, cancel_change, reject_change
from render_service.approvals.changes import (
    Office,
    Proposal,
    changes,
    propose_activation,
    propose_limit,
    read_change,
)
from render_service.maintenance.erase import Selection, erase, plan
from render_service.reports.answers import answers
from render_service.rules.budget_names import Period, read_name
from render_service.rules.budgets import limit_of, purse, set_limit
from render_service.rules.opening import activate
from render_service.rules.policies import Rules, read_active_rules
from render_service.runtime.errors import BadInput, NeedsApproval, NotReady
from render_service.session.session import Session
from render_service.submission.context import scope_of

pytestmark = pytest.mark.anyio

MARIA, OMAR = (Signer(name, bytes([seed]) * 32) for seed, name in enumerate(("maria", "omar"), start=1))
KEYS = {signer.name: [str(signer.verifier)] for signer in (MARIA, OMAR)}
BOTH = {"code": "RULES", "operations": ["policy.activate", "budget.set"]}


def policy(*rules: dict[str, Any], **more: Any) -> Policy:
    return Policy.model_validate({**default_policy().model_dump(), "approvals": list(rules), **more})


@pytest.fixture
def office(session: Session) -> Callable[..., Office]:
    """Sit somebody down, under their own login unless `source` says otherwise."""

    def sit(actor: str, source: ActorSource = ActorSource.OPERATING_SYSTEM, **more: Any) -> Office:
        settings = replace(session.settings, actor=actor, actor_source=source, **more)
        return Office(session.ledger, settings, session.trace, session.clock)

    return sit


@pytest.fixture
def force(session: Session) -> Callable[..., Policy]:
    """Make a policy the active one; the first needs nobody."""

    def make(*rules: dict[str, Any], **more: Any) -> Policy:
        made = policy(*rules, **more)
        activate(session.settings, session.trace, session.clock(), Rules(made, session.catalog), "for a test")
        return made

    return make


def types(proposed: Proposal) -> list[str]:
    return [record.type for record in proposed.history.records]


def lax(office: Office) -> Rules:
    return Rules(default_policy(), read_active_rules(office.ledger).catalog)


ALL = read_name("all", Period.NONE)


def test_a_policy_is_activated_once_another_person_approved_it(
    office: Callable[..., Office], force: Callable[..., Policy], session: Session, intact: Callable[[], bool]
) -> None:
    strict = force(BOTH)
    ana, bob = office("ana"), office("bob")
    proposed = propose_activation(ana, lax(ana), "back to the old one")
    assert (proposed.state, read_active_rules(session.ledger).policy) == ("pending", strict)
    done = approve_change(bob, proposed.name, "fine")
    assert (done.proposed.state, done.needed) == ("applied", 0)
    assert types(done.proposed) == ["change.proposed", "approval.granted", "change.closed"]
    active = read_active_rules(session.ledger)
    assert active.policy == default_policy()
    assert isinstance(active.activated.event, PolicyActivated)
    assert active.activated.event.why.text == "back to the old one"
    assert active.activated.envelope.causation_id == done.proposed.history.records[1].event_id
    assert intact()


def test_a_limit_is_set_once_another_person_approved_it(
    office: Callable[..., Office], force: Callable[..., Policy], session: Session, intact: Callable[[], bool]
) -> None:
    force(BOTH)
    monthly = read_name("team_film", Period.MONTH)
    proposed = propose_limit(office("ana"), monthly, 5_000_000, "agreed")
    assert limit_of(session.ledger, str(monthly)) is None
    assert approve_change(office("bob"), proposed.name).proposed.state == "applied"
    dated = str(monthly.resolve(session.clock()))
    for name in (str(monthly), dated):
        limit = limit_of(session.ledger, name)
        assert limit is not None
        assert limit.usd_micros == 5_000_000
    assert intact()


def test_a_limit_is_lifted_like_that_too(
    office: Callable[..., Office], force: Callable[..., Policy], session: Session
) -> None:
    set_limit(session.ledger, ALL, 100, None, session.clock(), session.provenance)
    force(BOTH)
    proposed = propose_limit(office("ana"), ALL, None, None)
    assert "no limit" in proposed.words
    approve_change(office("bob"), proposed.name)
    limit = limit_of(session.ledger, "all")
    assert limit is not None
    assert limit.usd_micros is None


def test_neither_is_changed_without_an_approval(
    office: Callable[..., Office], force: Callable[..., Policy], session: Session
) -> None:
    strict = force(BOTH)
    size = session.ledger.store.head().size
    with pytest.raises(NeedsApproval, match=r"policy.activate needs approval by rule RULES"):
        activate(session.settings, session.trace, session.clock(), lax(office("ana")), "lax")
    with pytest.raises(NeedsApproval, match=r"budget.set needs approval by rule RULES"):
        set_limit(session.ledger, ALL, None, None, session.clock(), session.provenance)
    assert (session.ledger.store.head().size, read_active_rules(session.ledger).policy) == (size, strict)


@pytest.mark.parametrize(("operation", "free"), [("policy.activate", "budget"), ("budget.set", "policy")])
def test_a_rule_is_for_what_it_names(
    office: Callable[..., Office], force: Callable[..., Policy], session: Session, operation: str, free: str
) -> None:
    force({"code": "ONE", "operations": [operation]})
    if free == "budget":
        set_limit(session.ledger, ALL, 5, None, session.clock(), session.provenance)
        assert limit_of(session.ledger, "all")
    else:
        activate(session.settings, session.trace, session.clock(), lax(office("ana")), "lax")
        assert read_active_rules(session.ledger).policy == default_policy()


@pytest.mark.parametrize("answer", [approve_change, reject_change])
def test_nobody_answers_for_their_own_change(
    office: Callable[..., Office], force: Callable[..., Policy], answer: Any
) -> None:
    force(BOTH)
    ana = office("ana")
    proposed = propose_limit(ana, ALL, None, None)
    with pytest.raises(BadInput, match="was requested by ana: another person"):
        answer(ana, proposed.name, "fine")
    assert types(read_change(ana.ledger, proposed.name)) == ["change.proposed"]


def test_a_signature_under_the_login_that_proposed_is_not_another_person(
    office: Callable[..., Office], force: Callable[..., Policy]
) -> None:
    force(BOTH, approvers=KEYS)
    proposed = propose_limit(office("ana"), ALL, None, None)
    with pytest.raises(BadInput, match="under the login ana, like this answer"):
        approve_change(office("ana"), proposed.name, signer=MARIA)
    assert approve_change(office("maria"), proposed.name, signer=MARIA).proposed.state == "applied"


def test_a_change_proposed_under_a_typed_name_takes_two_people_who_sign(
    office: Callable[..., Office], force: Callable[..., Policy]
) -> None:
    force(BOTH, approvers=KEYS)
    proposed = propose_limit(office("bob", ActorSource.FLAG), ALL, None, None)
    assert proposed.event.approvals_needed == 2
    anybody = office("ana")
    with pytest.raises(BadInput, match="a name that anyone"):
        approve_change(anybody, proposed.name)
    assert approve_change(anybody, proposed.name, signer=MARIA).needed == 1
    assert approve_change(anybody, proposed.name, signer=OMAR).proposed.state == "applied"


def test_a_proposal_is_signed_like_a_request(
    office: Callable[..., Office], force: Callable[..., Policy], tmp_path: Path
) -> None:
    force({**BOTH, "signed": True}, approvers=KEYS, requester="signed")
    key = tmp_path / "omar.key"
    key.write_text(OMAR.secret())
    key.chmod(0o600)
    with pytest.raises(BadInput, match="requires the requester to be signed"):
        propose_limit(office("omar"), ALL, None, None)
    proposed = propose_limit(office("ana", key_file=key), ALL, None, None)
    assert types(proposed) == ["change.proposed", "request.signed"]
    done = approve_change(office("ana"), proposed.name, signer=MARIA).proposed
    found = list(answers(office("ana").ledger, done.history))
    assert [(one.record.actor, one.signature_stands) for one in found] == [("omar", True), ("maria", True)]


def test_a_rejected_change_changes_nothing_and_takes_a_reason(
    office: Callable[..., Office], force: Callable[..., Policy], session: Session, intact: Callable[[], bool]
) -> None:
    strict = force(BOTH)
    ana, bob = office("ana"), office("bob")
    proposed = propose_activation(ana, lax(ana), "lax")
    with pytest.raises(BadInput, match="a rejection needs a reason"):
        reject_change(bob, proposed.name, " ")
    assert reject_change(bob, proposed.name, "no").proposed.state == "refused"
    assert read_active_rules(session.ledger).policy == strict
    with pytest.raises(NotReady, match="is already refused"):
        approve_change(office("eve"), proposed.name)
    assert intact()


def test_a_cancelled_change_is_not_approved_any_more(
    office: Callable[..., Office], force: Callable[..., Policy]
) -> None:
    force(BOTH)
    proposed = propose_limit(office("ana"), ALL, None, None)
    assert cancel_change(office("ana"), proposed.name).proposed.state == "cancelled"
    with pytest.raises(NotReady, match="is already cancelled"):
        approve_change(office("bob"), proposed.name)
    assert [one.state for one in changes(office("ana").ledger)] == ["cancelled"]


def test_the_policy_in_force_when_it_is_approved_decides_who_has_to(
    office: Callable[..., Office], force: Callable[..., Policy]
) -> None:
    force({"code": "MONEY", "operations": ["budget.set"]})
    proposed = propose_limit(office("ana"), ALL, None, None)
    force({"code": "MONEY", "operations": ["budget.set"], "people": 2})
    assert approve_change(office("bob"), proposed.name).needed == 1
    assert approve_change(office("eve"), proposed.name).proposed.state == "applied"


def test_a_lax_policy_does_not_free_what_a_strict_one_held(
    office: Callable[..., Office], force: Callable[..., Policy]
) -> None:
    force({"code": "MONEY", "operations": ["budget.set"]})
    proposed = propose_limit(office("ana"), ALL, None, None)
    force()
    with pytest.raises(BadInput, match="another person"):
        approve_change(office("ana"), proposed.name)
    assert approve_change(office("bob"), proposed.name).proposed.state == "applied"


def test_an_approval_of_a_change_expires(
    office: Callable[..., Office], force: Callable[..., Policy], session: Session
) -> None:
    force({**BOTH, "people": 2})
    proposed = propose_limit(office("ana"), ALL, None, None)
    now = session.clock()
    approve_change(office("bob"), proposed.name, until=now + timedelta(hours=1))
    later = replace(office("eve"), clock=lambda: now + timedelta(hours=2))
    assert approve_change(later, proposed.name).needed == 1


def test_a_change_is_found_by_a_beginning_that_only_one_has(
    office: Callable[..., Office], force: Callable[..., Policy]
) -> None:
    force(BOTH)
    ana = office("ana")
    names = [propose_limit(ana, ALL, amount, None).name for amount in (1, 2)]
    assert read_change(ana.ledger, names[0]).name == names[0]
    with pytest.raises(BadInput, match=r"ambiguous .2 proposed changes match"):
        read_change(ana.ledger, "change_")
    with pytest.raises(BadInput, match="no such proposed change"):
        read_change(ana.ledger, "change_zz")


def test_the_limit_of_a_new_month_needs_nobody(
    office: Callable[..., Office],
    force: Callable[..., Policy],
    session: Session,
    request_for: Callable[..., RenderRequest],
) -> None:

    set_limit(
        session.ledger, read_name("all", Period.MONTH), 9_000_000, None, session.clock(), session.provenance
    )
    force(BOTH)
    later = session.clock() + timedelta(days=40)
    assert purse(
        session.ledger, scope_of(session.settings, "draft"), later, session.provenance
    ).left_usd_micros
    assert len(list(session.ledger.read(RecordFilter(type=BudgetSet.type)))) == 3


# --- erasures ---


async def test_a_policy_is_activated_after_an_erasure(
    session: Session, force: Callable[..., Policy], office: Callable[..., Office]
) -> None:
    force()
    await _erase_everything(session)
    activate(session.settings, session.trace, session.clock(), lax(office("ana")), "again")
    assert read_active_rules(session.ledger).policy == default_policy()


async def test_a_month_begins_after_the_reason_for_its_limit_was_erased(
    session: Session, request_for: Callable[..., RenderRequest]
) -> None:

    monthly = read_name("all", Period.MONTH)
    set_limit(session.ledger, monthly, 9_000_000, "for Elena", session.clock(), session.provenance)
    await _erase_everything(session)
    later = session.clock() + timedelta(days=40)
    paying = purse(session.ledger, scope_of(session.settings, "draft"), later, session.provenance)
    assert paying.left_usd_micros == 9_000_000


async def test_a_change_whose_reason_was_erased_is_approved(
    session: Session, force: Callable[..., Policy], office: Callable[..., Office], intact: Callable[[], bool]
) -> None:
    force(BOTH)
    proposed = propose_limit(office("ana"), ALL, None, "for Elena")
    await _erase_everything(session)
    assert approve_change(office("bob"), proposed.name).proposed.state == "applied"
    assert intact()


async def _erase_everything(session: Session) -> None:

    await erase(session, plan(session.ledger, Selection()), "retention")
