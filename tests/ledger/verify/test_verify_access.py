"""Access keys in verification: who was granted one, with which approval, and whose approval it identifies."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs

from ledger import events as e
from ledger.private import Private
from ledger.record import ActorSource
from tests.ledger.office import LOGIN, MARIA, NOT_PERMITTED, Office, policy

CHANGE_NOT_PERMITTED = "CHANGE_NOT_PERMITTED"
KEYED = {"actor_source": ActorSource.ACCESS_KEY}
OIDC = {"actor_source": ActorSource.OIDC}
ALICE = e.Grant(key_id="0a1b2c3d", key_sha256="ab" * 32, name="alice", roles=("requester",))
RULE = {"code": "RULES", "people": 1}


def grant(office: Office, name: str = "alice", **more: Any) -> None:
    """Record a grant; `more` may be its cause and its stream."""
    event = e.AccessGranted(**structs.asdict(ALICE) | {"name": name})
    office.say(event, more.pop("stream", "access"), **more)


def test_an_actor_with_an_access_key_was_granted_one(
    office: Office, found: Callable[[], list[tuple[str, int | None]]]
) -> None:
    grant(office)
    office.ask(actor="alice", **KEYED)
    assert found() == []


@pytest.mark.parametrize("granted_later", [True, False])
def test_an_actor_whom_nobody_had_granted_a_key_is_found(
    office: Office, found: Callable[[], list[tuple[str, int | None]]], *, granted_later: bool
) -> None:
    office.ask(actor="alice", **KEYED)  # 3
    office.say(e.NoteRecorded(text=Private.seal("text", "so")), actor="alice", **KEYED)  # 4
    if granted_later:
        grant(office)
    assert found() == [("ACCESS_NOT_GRANTED", 3), ("ACCESS_NOT_GRANTED", 4)]


@pytest.mark.parametrize("operation", ["access.grant", "policy.activate"])
def test_a_grant_without_the_approval_that_the_policy_wants_is_found(
    office: Office, found: Callable[[], list[tuple[str, int | None]]], operation: str
) -> None:
    office.activate(policy(approvals=[RULE | {"operations": [operation]}]))  # 3
    grant(office)
    assert found() == [(CHANGE_NOT_PERMITTED, 4)]


@pytest.mark.parametrize(
    ("granted", "findings"),
    [
        ({}, []),
        ({"name": "mallory"}, [(CHANGE_NOT_PERMITTED, 7)]),
        ({"stream": "elsewhere"}, [(CHANGE_NOT_PERMITTED, 7)]),
        ({"causation_id": "other"}, [(CHANGE_NOT_PERMITTED, 7)]),
    ],
)
def test_an_approved_grant_permits_exactly_that_key(
    office: Office, found: Callable[[], list[tuple[str, int | None]]], granted: dict[str, Any], findings: Any
) -> None:
    office.activate(policy(approvals=[RULE | {"operations": ["policy.activate"]}]))  # 3
    office.propose(operation="access.grant", access=ALICE)
    office.answer(MARIA, actor="maria")
    office.apply()  # 6
    grant(office, **{"causation_id": office.cause} | granted)
    assert found() == findings


@pytest.mark.parametrize(
    ("requester", "approver", "findings"),
    [
        ({"actor": "alice", **KEYED}, {"actor": "bob", "who": KEYED}, []),
        ({"actor": "alice", **KEYED}, {"actor": "bob", "who": OIDC}, []),
        ({"actor": "alice", **KEYED}, {"actor": "bob", "who": LOGIN}, []),
        ({"actor": "ana", **LOGIN}, {"actor": "bob", "who": KEYED}, []),
        ({"actor": "alice", **KEYED}, {"actor": "alice", "who": KEYED}, [(NOT_PERMITTED, 8)]),
        ({"actor": "alice", **KEYED}, {"actor": "alice", "who": LOGIN}, [(NOT_PERMITTED, 8)]),
        (
            {"actor": "alice", "actor_source": ActorSource.FLAG},
            {"actor": "bob", "who": KEYED},
            [(NOT_PERMITTED, 8)],
        ),
    ],
)
def test_callers_are_different_people_if_their_names_differ(
    office: Office,
    found: Callable[[], list[tuple[str, int | None]]],
    requester: Any,
    approver: Any,
    findings: Any,
) -> None:
    for name in ("alice", "bob"):  # 3 and 4
        grant(office, name)
    office.ask(**requester)
    office.hold()
    office.answer(**approver)
    office.decide()
    assert found() == findings
