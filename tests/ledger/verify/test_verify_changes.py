"""Whether changes of the policy and of budgets had the approvals that the policy in force wants."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from ledger import events as e
from ledger.record import ActorSource
from ledger.store.interface import Document
from ledger.store.sqlite.snapshot import SqliteTail
from ledger.verify.incremental import verify_since
from tests.ledger.office import (
    CATALOG,
    EVE,
    LOGIN,
    MARIA,
    OMAR,
    Office,
    policy,
)

NOT_PERMITTED = "CHANGE_NOT_PERMITTED"
OTHER_CHANGE = "change_00000000000000000000000000000002"
RULE = {"code": "RULES", "people": 1, "operations": ["policy.activate", "budget.set"]}
STRICT = policy(approvals=[RULE])
LAX = policy(approvals=[], name="lax")


@pytest.fixture
def strict(office: Office) -> Office:
    """A team whose policy (position 3) wants another person for changes."""
    office.activate(STRICT)
    return office


def activation(document: Any = LAX) -> dict[str, Any]:
    return {"policy_sha256": document.sha256, "catalog_sha256": CATALOG.sha256}


def limit(budget: str, usd_micros: int = 5) -> dict[str, Any]:
    return {"operation": "budget.set", "budget": budget, "limit_usd_micros": usd_micros}


def approved(office: Office, content: dict[str, Any], answer: Callable[[], None] | None = None) -> None:
    """Propose at position 4, approve at 5, close at 6."""
    office.propose(**content)
    (answer or (lambda: office.answer(actor="bob")))()
    office.apply()


def test_what_no_policy_wants_approval_for_is_free(
    office: Office, found: Callable[[], list[tuple[str, int | None]]]
) -> None:
    office.activate(policy(approvals=[], name="other"))
    office.limit("all")
    assert found() == []


def test_an_activation_without_approval_is_found(
    strict: Office, found: Callable[[], list[tuple[str, int | None]]]
) -> None:
    strict.activate(LAX)
    strict.activate(STRICT)  # who puts it back hides nothing
    assert found() == [(NOT_PERMITTED, 4)]


def test_a_limit_without_approval_is_found(
    strict: Office, found: Callable[[], list[tuple[str, int | None]]]
) -> None:
    strict.limit("all")
    assert found() == [(NOT_PERMITTED, 4)]


@pytest.mark.parametrize("signer", [None, MARIA])
def test_an_approved_activation_is_permitted(
    strict: Office, found: Callable[[], list[tuple[str, int | None]]], signer: Any
) -> None:
    approved(strict, activation(), lambda: strict.answer(signer, actor=None if signer else "bob"))
    strict.activate(LAX, causation_id=strict.cause)
    strict.limit("all")  # by the lax policy
    assert found() == []


@pytest.mark.parametrize("period", ["month", "day"])
def test_an_approved_limit_is_permitted_with_that_of_the_month_or_day(
    strict: Office, found: Callable[[], list[tuple[str, int | None]]], period: str
) -> None:
    approved(strict, limit(f"all__{period}"))
    strict.limit(f"all__{period}", causation_id=strict.cause)
    day = "all__2026_01_01"
    strict.limit(day if period == "day" else day[:-3], causation_id=strict.cause)
    assert found() == []


ELSEWHERE: dict[str, Callable[[Office], Any]] = {
    "another policy": lambda office: office.activate(policy(name="x"), causation_id=office.cause),
    "another stream": lambda office: office.activate(LAX, "notes", causation_id=office.cause),
    "another cause": lambda office: office.activate(LAX, causation_id=office.first.event_id),
    "no cause": lambda office: office.activate(LAX),
    "another operation": lambda office: office.limit("all", causation_id=office.cause),
}


@pytest.mark.parametrize("carry_out", ELSEWHERE.values(), ids=ELSEWHERE.keys())
def test_an_approved_activation_permits_nothing_else(
    strict: Office, found: Callable[[], list[tuple[str, int | None]]], carry_out: Callable[[Office], Any]
) -> None:
    approved(strict, activation())
    carry_out(strict)
    assert found() == [(NOT_PERMITTED, 7)]


@pytest.mark.parametrize(
    "other",
    [
        {"budget": "all", "usd_micros": 6},
        {"budget": "team_film"},
        {"budget": "all", "stream": "budget_team_film"},
        {"budget": "all__2026_01"},
    ],
)
def test_an_approved_limit_permits_no_other(
    strict: Office, found: Callable[[], list[tuple[str, int | None]]], other: dict[str, Any]
) -> None:
    approved(strict, limit("all"))
    strict.limit(**other, causation_id=strict.cause)
    assert found() == [(NOT_PERMITTED, 7)]


def test_an_approved_change_is_carried_out_once_and_at_once(
    strict: Office, found: Callable[[], list[tuple[str, int | None]]]
) -> None:
    approved(strict, limit("all"))
    strict.limit("all", causation_id=strict.cause)
    strict.limit("all", causation_id=strict.cause)
    strict.limit("all", causation_id=strict.cause)
    assert found() == [(NOT_PERMITTED, 8), (NOT_PERMITTED, 9)]


def test_a_limit_for_a_month_permits_that_of_no_other_month(
    strict: Office, found: Callable[[], list[tuple[str, int | None]]]
) -> None:
    approved(strict, limit("all__month"))
    strict.limit("all__month", causation_id=strict.cause)
    strict.limit("all__2026_02", causation_id=strict.cause)
    assert found() == [(NOT_PERMITTED, 8)]


UNAPPROVED: dict[str, dict[str, Any]] = {
    "the requester": {"actor": "ana"},
    "the requester's login under another name": {"actor": "bob", "login": "ana"},
    "a name from --actor": {"actor": "bob", "who": {"actor_source": ActorSource.FLAG}},
    "an approval that has expired": {"actor": "bob", "expires_at": "2026-01-01T00:00:00.000000Z"},
}


@pytest.mark.parametrize("answer", UNAPPROVED.values(), ids=UNAPPROVED.keys())
def test_an_approval_of_no_other_person_permits_no_change(
    strict: Office, found: Callable[[], list[tuple[str, int | None]]], answer: dict[str, Any]
) -> None:
    approved(strict, activation(), lambda: strict.answer(**answer))
    strict.activate(LAX, causation_id=strict.cause)
    assert found() == [(NOT_PERMITTED, 7)]


def test_a_key_that_the_policy_does_not_name_permits_no_change(
    strict: Office, found: Callable[[], list[tuple[str, int | None]]]
) -> None:
    approved(strict, activation(), lambda: strict.answer(EVE))
    strict.activate(LAX, causation_id=strict.cause)
    assert found() == [("APPROVAL_SIGNATURE", 5), (NOT_PERMITTED, 7)]


@pytest.mark.parametrize(("signers", "findings"), [([MARIA], [(NOT_PERMITTED, 7)]), ([MARIA, OMAR], [])])
def test_a_change_under_a_typed_name_takes_one_more_signature(
    strict: Office, found: Callable[[], list[tuple[str, int | None]]], signers: Any, findings: Any
) -> None:
    strict.propose(**activation(), who={"actor": "ana"})
    for signer in signers:
        strict.answer(signer)
    strict.apply()
    strict.activate(LAX, causation_id=strict.cause)
    assert found() == findings


def test_a_change_that_waited_takes_what_the_policies_of_then_and_now_want(
    office: Office, found: Callable[[], list[tuple[str, int | None]]]
) -> None:
    two = policy(approvals=[RULE, {**RULE, "code": "TWO", "people": 2}])
    office.activate(two)  # 3
    office.propose(**activation())  # 4, to be answered once another policy is in force
    waiting = office.first
    office.propose(**activation(STRICT), stream=OTHER_CHANGE)
    office.answer(MARIA)
    office.answer(OMAR)
    office.apply()  # 8
    office.activate(STRICT, causation_id=office.cause)
    office.first = office.pending = waiting
    office.answer(MARIA)
    office.apply()
    office.activate(LAX, causation_id=office.cause)
    assert found() == [(NOT_PERMITTED, 12)]


def test_a_proposal_cites_the_policy_in_force(
    strict: Office, found: Callable[[], list[tuple[str, int | None]]]
) -> None:
    strict.propose(**activation(), required_by_sha256=LAX.sha256)
    assert found() == [(NOT_PERMITTED, 4)]


@pytest.mark.parametrize(
    ("wanted", "who", "findings"),
    [
        ("identified", {"actor": "ana"}, [(NOT_PERMITTED, 4)]),
        ("identified", LOGIN, []),
        ("signed", LOGIN, [(NOT_PERMITTED, 4)]),
    ],
)
def test_a_policy_says_who_may_propose(
    office: Office,
    found: Callable[[], list[tuple[str, int | None]]],
    wanted: str,
    who: dict[str, Any],
    findings: Any,
) -> None:
    office.activate(policy(approvals=[RULE], requester=wanted))
    office.propose(**activation(), who=who)
    assert found() == findings


def test_a_stream_of_another_name_carries_out_no_change(
    strict: Office, found: Callable[[], list[tuple[str, int | None]]]
) -> None:
    event = e.ChangeProposed(
        operation="policy.activate", **activation(), required_by_sha256=STRICT.sha256, reason_codes=("RULES",)
    )
    strict.first = strict.pending = strict.say(event, "notes", actor="ana", **LOGIN)
    strict.answer(actor="bob")
    strict.say(e.ChangeClosed(outcome="applied"), "notes")
    strict.activate(LAX, causation_id=strict.cause)
    assert found() == [(NOT_PERMITTED, 7)]


# --- months and days that begin ---


def test_a_new_month_repeats_the_limit_of_every_month_without_approval(
    office: Office, found: Callable[[], list[tuple[str, int | None]]]
) -> None:
    every = office.limit("all__month")
    office.activate(STRICT)
    office.limit("all__2026_02", causation_id=every.event_id)
    assert found() == []


@pytest.mark.parametrize(
    "begun",
    [
        {"budget": "all__2026_02", "usd_micros": 6},
        {"budget": "team_film__2026_02"},
        {"budget": "all__2026_02_01"},
        {"budget": "all__2026_02", "stream": "budget_all"},
    ],
)
def test_a_new_month_repeats_nothing_else(
    office: Office, found: Callable[[], list[tuple[str, int | None]]], begun: dict[str, Any]
) -> None:
    every = office.limit("all__month")
    office.activate(STRICT)
    office.limit(**begun, causation_id=every.event_id)
    assert found() == [(NOT_PERMITTED, 5)]


def test_a_month_begins_once_and_by_the_last_limit(
    office: Office, found: Callable[[], list[tuple[str, int | None]]]
) -> None:
    old = office.limit("all__month")  # 3
    last = office.limit("all__month")
    office.limit("all__2026_01", 1)
    office.activate(STRICT)
    office.limit("all__2026_01", causation_id=last.event_id)  # 7
    office.limit("all__2026_02", causation_id=old.event_id)
    office.limit("all__2026_03", causation_id=last.event_id)
    assert found() == [(NOT_PERMITTED, 7), (NOT_PERMITTED, 8)]


# --- what is not judged ---


def test_by_a_policy_that_cannot_be_read_no_change_is_judged(
    office: Office, found: Callable[[], list[tuple[str, int | None]]]
) -> None:
    office.activate(Document(b"7"))
    office.activate(LAX)
    assert found() == []


def test_after_a_position_a_change_proposed_since_is_judged(strict: Office, path: Path) -> None:
    approved(strict, activation(), lambda: strict.answer(actor="ana"))
    strict.activate(LAX, causation_id=strict.cause)
    codes = {}
    for since in (3, 4, 6):
        with SqliteTail(path, since) as tail:
            codes[since] = [(one.code, one.position) for one in verify_since(tail, since).findings]
    assert codes == {3: [(NOT_PERMITTED, 7)], 4: [], 6: []}


# --- what causes a decision ---


@pytest.mark.parametrize("cause", [None, "another"])
def test_a_decision_after_an_approval_is_caused_by_the_last_one(
    office: Office, found: Callable[[], list[tuple[str, int | None]]], cause: Any
) -> None:
    office.ask()
    office.hold()
    office.answer(MARIA)
    office.approval = None
    office.say(
        structs.replace(office.vocabulary.decided(), basis=office.basis(approved=True), holds=()),
        causation_id=cause,
    )
    assert found() == [("DECISION_NOT_PERMITTED", 6)]


@pytest.mark.parametrize("type_", ["render.held", "render.denied"])
def test_whatever_is_ruled_after_an_approval_takes_all_it_needs(
    office: Office, found: Callable[[], list[tuple[str, int | None]]], type_: str
) -> None:
    two = [{"code": "FINALS", "people": 2, "purposes": ["final"]}]
    office.activate(policy(approvals=two))
    office.ask()
    office.hold()
    office.answer(MARIA)
    event = structs.replace(office.vocabulary.sample(type_), basis=office.basis())
    office.say(event, causation_id=office.cause)
    assert found() == [("DECISION_NOT_PERMITTED", 7)]
