"""Who counts as another person: identities, not names."""

import pytest

from ledger.record import ActorSource
from render_service.approvals.identities import Identity, that_count

LOGIN, FLAG, SIGNED = ActorSource.OPERATING_SYSTEM, ActorSource.FLAG, ActorSource.SIGNATURE
ANA, BOB = Identity("ana", LOGIN, "ana"), Identity("bob", LOGIN, "bob")


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
        (Identity("bob", FLAG, "bob"), ANA, False),
    ],
)
def test_two_people_are_told_apart_by_what_establishes_them(
    one: Identity, other: Identity, *, another: bool
) -> None:
    assert (one.is_another_than(other), other.is_another_than(one)) == (another, another)


def test_one_person_counts_once_however_often_they_approved() -> None:
    approvals = [BOB, BOB, Identity("maria", SIGNED, "bob"), ANA, Identity("eve", FLAG, "eve")]
    assert that_count(ANA, approvals) == [BOB]


def test_where_a_typed_name_asked_only_different_people_who_signed_count() -> None:
    maria, omar = Identity("maria", SIGNED, "ana"), Identity("omar", SIGNED, "ana")
    assert that_count(Identity("bob", FLAG), [BOB, maria, maria, omar]) == [maria, omar]
