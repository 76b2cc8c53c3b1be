"""Who counts as another person: identities, not names."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from decision.rules.policy import Policy, default_policy
from ledger.record import ActorSource
from render_service.approvals.approvers import explain_who_may_answer
from render_service.approvals.identities import Identity, select_counting

LOGIN, FLAG, SIGNED = ActorSource.OPERATING_SYSTEM, ActorSource.FLAG, ActorSource.SIGNATURE
ANA, BOB = Identity("ana", LOGIN, "ana"), Identity("bob", LOGIN, "bob")
KEY, OIDC = ActorSource.ACCESS_KEY, ActorSource.OIDC


@pytest.mark.parametrize(
    ("one", "other", "another"),
    [
        (ANA, BOB, True),
        (ANA, ANA, False),
        (ANA, Identity("maria", SIGNED, "ana"), False),
        (ANA, Identity("maria", SIGNED, "maria"), True),
        (ANA, Identity("ana", SIGNED, "maria"), False),
        (ANA, Identity("maria", SIGNED, None), False),
        (Identity("omar", SIGNED, "ana"), Identity("maria", SIGNED, "ana"), True),
        (Identity("omar", SIGNED, None), Identity("maria", SIGNED, None), True),
        (Identity("maria", SIGNED, "ana"), Identity("maria", SIGNED, "bob"), False),
        (Identity("bob", FLAG), Identity("maria", SIGNED, "maria"), False),
        (Identity("ana", KEY), Identity("maria", KEY), True),
        (Identity("maria", KEY), Identity("maria", KEY), False),
        (Identity("maria", KEY), Identity("maria", OIDC), False),
        (Identity("maria", OIDC), Identity("ana", KEY), True),
        (ANA, Identity("maria", KEY), True),
        (ANA, Identity("ana", KEY), False),
        (Identity("omar", SIGNED, None), Identity("maria", KEY), True),
        (Identity("omar", SIGNED, "ana"), Identity("omar", KEY), False),
        (Identity("bob", FLAG), Identity("maria", KEY), False),
        (Identity("bob", FLAG, "bob"), ANA, False),
    ],
)
def test_two_people_are_distinguished_by_what_establishes_them(
    one: Identity, other: Identity, *, another: bool
) -> None:
    assert (one.is_another_than(other), other.is_another_than(one)) == (another, another)


def test_one_person_counts_once_however_often_they_approved() -> None:
    approvals = [BOB, BOB, Identity("maria", SIGNED, "bob"), ANA, Identity("eve", FLAG, "eve")]
    assert select_counting(ANA, approvals) == [BOB]


def test_where_a_typed_name_asked_only_different_people_who_signed_count() -> None:
    maria, omar = Identity("maria", SIGNED, "ana"), Identity("omar", SIGNED, "ana")
    assert select_counting(Identity("bob", FLAG), [BOB, maria, maria, omar]) == [maria, omar]


FINALS = {"code": "FINALS", "purposes": ["final"]}
KEYLESS = "once the policy names your key under [approvers]"


@pytest.mark.parametrize(
    ("source", "rule", "message"),
    [
        (LOGIN, FINALS, "another person has to approve it, under a login other than ana"),
        (
            LOGIN,
            {**FINALS, "signed": True},
            f"another person has to approve it and sign with --key FILE, {KEYLESS}",
        ),
        (
            LOGIN,
            {"code": "OTHER", "signed": True},
            "another person has to approve it, under a login other than ana",
        ),
        (SIGNED, FINALS, f"another person has to approve it and sign with --key FILE, {KEYLESS}"),
        (FLAG, FINALS, "it was requested as ana, a name that anyone"),
        (ActorSource.ENVIRONMENT, FINALS, "so it needs 2 signed approvals"),
    ],
)
def test_who_may_answer_depends_on_what_establishes_who_asked(
    source: ActorSource, rule: dict[str, Any], message: str
) -> None:
    rules = [rule] if rule["code"] == "FINALS" else [FINALS, rule]
    policy = Policy.model_validate({**default_policy().model_dump(), "approvals": rules})
    request = SimpleNamespace(envelope=SimpleNamespace(actor_source=source.value), actor="ana")
    hold = SimpleNamespace(reason_codes=("FINALS",), approvals_needed=2)
    assert message in explain_who_may_answer(cast("Any", request), cast("Any", hold), policy)
