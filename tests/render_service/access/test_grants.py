"""Grants are checked, recorded with their actor, and held back where the policy wants them approved."""

from datetime import timedelta
from typing import Any

import pytest

from decision.rules.approvals import Change
from decision.rules.policy import Policy, default_policy
from decision.rules.roles import Permission, permissions_of
from ledger.record import ActorSource
from render_service.access.grants import Terms, check_terms, grant, warning_about
from render_service.access.register import KeyState, Register, key_id_of
from render_service.rules.opening import activate
from render_service.rules.policies import Rules
from render_service.runtime.errors import BadInput, NeedsApproval
from render_service.session.session import Session, utc_now

pytestmark = pytest.mark.anyio
FINALS = {"code": "FINALS", "purposes": ["final"]}


def policy(**more: Any) -> Policy:
    return Policy.model_validate(default_policy().model_dump(by_alias=True) | more)


def test_a_grant_is_recorded_with_its_actor_and_can_be_read_back(session: Session) -> None:
    terms = Terms("alice", ("requester", "requester"), team="film", expires=utc_now() + timedelta(hours=1))
    key, record = grant(session.ledger, terms, utc_now(), session.provenance)
    found = Register(session.ledger).keys[key.key_id]
    assert (key_id_of(key.text), len(key.text)) == (key.key_id, 4 + 8 + 1 + 43)
    assert found.granted.record == record.record
    assert (found.grant.roles, found.grant.team) == (("requester",), "film")
    assert record.envelope.actor_source == ActorSource.FLAG.value
    assert found.state("2999-01-01T00:00:00.000000Z") is KeyState.EXPIRED


def test_a_role_has_to_be_one_of_the_policy_in_force(session: Session) -> None:
    mine = policy(roles={"director": ("approve",)})
    check_terms(Terms("bob", ("director",)), mine, Register(session.ledger), utc_now())
    with pytest.raises(BadInput, match="unknown role requester: the policy default has the roles director"):
        check_terms(Terms("bob", ("requester",)), mine, Register(session.ledger), utc_now())


@pytest.mark.parametrize("operation", [Change.ACCESS, Change.POLICY])
def test_a_rule_for_grants_or_for_the_policy_holds_a_grant_back(session: Session, operation: Change) -> None:
    made = policy(approvals=[{"code": "RULES", "operations": [operation]}])
    activate(session.settings, session.trace, utc_now(), Rules(made, session.catalog), "for a test")
    with pytest.raises(NeedsApproval, match=r"access.grant needs approval by rule RULES"):
        grant(session.ledger, Terms("bob", ("approver",)), utc_now(), session.provenance)
    assert Register(session.ledger).keys == {}


def test_a_rule_of_its_own_comes_before_that_of_the_policy() -> None:
    rules = [{"code": "R", "operations": ["policy.activate"]}, {"code": "A", "operations": ["access.grant"]}]
    assert [rule.code for rule in policy(approvals=rules).rules_for(Change.ACCESS)] == ["A"]
    assert policy(approvals=[FINALS]).rules_for(Change.ACCESS) == ()


def test_an_approver_that_anyone_can_grant_is_warned_about() -> None:
    approver = Terms("bob", ("approver",))
    assert "operations = [" in (warning_about(policy(approvals=[FINALS]), approver) or "")
    assert warning_about(policy(approvals=[FINALS]), Terms("bob", ("requester",))) is None
    assert warning_about(policy(), approver) is None


def test_a_permission_that_does_not_exist_is_a_warning_and_permits_nothing(session: Session) -> None:
    made = policy(roles={"director": ("approve", "sing")})
    assert permissions_of(made.roles_in_force, ("director",)) == {Permission.APPROVE}
    warned = [warning for warning in made.warnings(session.catalog) if warning.startswith("role")]
    assert len(warned) == 1
    assert "role director: there is no permission sing (request, read, approve" in warned[0]


def test_a_policy_without_roles_keeps_its_digest() -> None:
    assert "roles" not in default_policy().canonical.decode()
