"""Signatures of requests and approvals, and whether each decision was permitted, by all three checkers.

What is signed is written down here a third time, from docs/FORMAT.md.
"""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from ledger import events as e
from ledger.job import TRANSITIONS
from ledger.log.bundle import Scope
from ledger.log.ledger import Ledger
from ledger.record import ActorSource
from ledger.store.interface import Document
from ledger.store.sqlite.snapshot import SqliteTail
from ledger.terms import Kind, State
from ledger.tree.checkpoint import Signer
from ledger.verify.incremental import verify_since
from tests.ledger.office import (
    CATALOG,
    EVE,
    JOB,
    LOGIN,
    MARIA,
    NOT_PERMITTED,
    OMAR,
    SIGNATURE,
    SIGNED,
    Office,
    outcome,
    policy,
    sign,
)


def in_job_bundle(office: Office, tmp_path: Path) -> list[str]:
    return [item.code for item in outcome(office.ledger, tmp_path, Scope(job_id=JOB)).findings]


# --- signatures of answers ---


def test_a_signed_approval_permits_a_decision(
    office: Office, found: Callable[[], list[tuple[str, int | None]]], tmp_path: Path
) -> None:
    office.ask()
    office.hold()
    office.answer(MARIA)
    office.decide()
    assert found() == []
    shown = outcome(office.ledger, tmp_path, Scope(job_id=JOB))
    assert shown.findings == []
    assert any("1 signatures of requests and approvals are right" in text for text in shown.shows)
    assert any("the policies cited were the ones in force" in text for text in shown.shows_not)


WRONG = {
    "another actor": {"actor": "omar"},
    "another ledger": {"ledger_id": "M"},
    "another job": {"stream": "job_2"},
    "another request": {"requested_leaf": "ab" * 32},
    "another hold": {"pending_leaf": "ab" * 32},
    "another policy": {"policy_sha256": "ab" * 32},
    "another end": {"expires_at": None},
    "another login": {"login": "omar"},
    "another answer": {"verdict": "refused"},
    "another statement": {"statement": "sora-ledger/approval/3"},
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_a_signature_of_something_else_is_found(
    office: Office, found: Callable[[], list[tuple[str, int | None]]], tmp_path: Path, wrong: dict[str, Any]
) -> None:
    office.ask()
    office.hold()
    office.answer(MARIA, wrong=wrong)
    office.decide()
    assert found() == [(SIGNATURE, 5), (NOT_PERMITTED, 6)]
    assert in_job_bundle(office, tmp_path) == [SIGNATURE, NOT_PERMITTED]


NO_SIGNATURES = {
    "64 zero bytes": base64.b64encode(bytes(64)).decode(),
    "no base64": "!",
    "too short": "AAAA",
    "nothing": "",
    "no ASCII": "\N{EM DASH}",
}


@pytest.mark.parametrize("signature", NO_SIGNATURES.values(), ids=NO_SIGNATURES.keys())
def test_bytes_that_are_no_signature_are_found(
    office: Office, found: Callable[[], list[tuple[str, int | None]]], tmp_path: Path, signature: str
) -> None:
    office.ask()
    office.hold()
    office.answer(MARIA, signature=signature)
    office.decide()
    assert found() == [(SIGNATURE, 5), (NOT_PERMITTED, 6)]
    assert in_job_bundle(office, tmp_path) == [SIGNATURE, NOT_PERMITTED]


def test_an_approval_that_says_it_is_signed_and_is_not_is_found(
    office: Office, found: Callable[[], list[tuple[str, int | None]]]
) -> None:
    office.ask()
    office.hold()
    office.answer(actor="maria", who=SIGNED)
    office.decide()
    assert found() == [(SIGNATURE, 5), (NOT_PERMITTED, 6)]


def test_a_key_that_the_policy_does_not_name_approves_nothing(
    office: Office, found: Callable[[], list[tuple[str, int | None]]]
) -> None:
    office.ask()
    office.hold()
    office.answer(EVE)
    office.decide()
    assert found() == [(SIGNATURE, 5), (NOT_PERMITTED, 6)]


def test_a_key_of_another_person_approves_nothing(
    office: Office, found: Callable[[], list[tuple[str, int | None]]]
) -> None:
    office.ask()
    office.hold()
    office.answer(MARIA, actor="omar")
    office.decide()
    assert found() == [(SIGNATURE, 5), (NOT_PERMITTED, 6)]


def test_a_wrong_signature_of_a_refusal_is_found(
    office: Office, found: Callable[[], list[tuple[str, int | None]]]
) -> None:
    office.ask()
    office.hold()
    office.answer(MARIA, e.ApprovalRefused, wrong={"verdict": "granted"})
    assert found() == [(SIGNATURE, 5)]


def test_an_answer_under_a_policy_that_is_not_in_force_is_found(
    office: Office, found: Callable[[], list[tuple[str, int | None]]]
) -> None:
    office.ask()
    office.hold()
    before = office.policy
    office.activate(policy(approvers={"omar": [str(OMAR.verifier)]}))  # 5: maria's key is gone
    office.policy = before
    office.answer(MARIA)
    office.decide()
    assert found() == [("APPROVAL_POLICY", 6), (NOT_PERMITTED, 7)]


def test_a_key_that_is_withdrawn_before_the_last_approval_counts_no_more(
    office: Office, found: Callable[[], list[tuple[str, int | None]]]
) -> None:
    two = [{"code": "FINALS", "people": 2, "purposes": ["final"]}]
    office.activate(policy(approvals=two))
    office.ask()
    office.hold()
    office.answer(MARIA)
    office.activate(policy(approvals=two, approvers={"omar": [str(OMAR.verifier)]}))
    office.answer(OMAR)
    office.decide()
    assert found() == [(NOT_PERMITTED, 9)]


# --- version 1 ---


def answer_1(office: Office, signer: Signer, **wrong: Any) -> None:
    """Record an answer as it was recorded before version 2."""
    statement = {
        "actor": signer.name,
        "decision_id": office.basis().decision_id,
        "held_event_id": office.pending.event_id,
        "job_id": JOB,
        "ledger_id": office.ledger_id,
        "statement": "sora-ledger/approval/1",
        "verdict": "granted",
    }
    office.approval = office.say(Approval1(**sign(signer, **statement | wrong)), actor=signer.name, **SIGNED)


class Approval1(e.EventBase):
    """What `approval.granted` was in version 1."""

    type = "approval.granted"
    kind = Kind.PLAN
    comment: None = None
    key_id: str
    signature: str


def test_a_signature_of_version_1_is_checked_and_its_decision_is_not_judged(
    office: Office, found: Callable[[], list[tuple[str, int | None]]], tmp_path: Path
) -> None:
    office.ask(actor_source=ActorSource.FLAG)
    office.hold()
    answer_1(office, MARIA)
    office.decide()
    assert found() == []
    assert in_job_bundle(office, tmp_path) == []


def test_a_wrong_signature_of_version_1_is_found(
    office: Office, found: Callable[[], list[tuple[str, int | None]]], tmp_path: Path
) -> None:
    office.ask()
    office.hold()
    answer_1(office, MARIA, held_event_id="another")
    office.decide()
    assert found() == [(SIGNATURE, 5)]
    assert in_job_bundle(office, tmp_path) == [SIGNATURE]


def test_a_key_of_version_1_may_be_named_between_hold_and_answer(
    office: Office, found: Callable[[], list[tuple[str, int | None]]]
) -> None:
    office.activate(policy(approvers={}))
    office.ask()
    office.hold()
    office.activate(policy())
    answer_1(office, MARIA)
    assert found() == []


def test_an_answer_of_version_1_after_one_of_version_2_is_found(
    office: Office, found: Callable[[], list[tuple[str, int | None]]]
) -> None:
    office.ask()
    office.hold()
    office.answer(MARIA)
    answer_1(office, OMAR)
    office.decide()
    assert found() == [("APPROVAL_VERSION", 6)]


# --- decisions ---


def test_a_decision_that_a_rule_of_the_policy_in_force_matches_takes_an_approval(
    office: Office, found: Callable[[], list[tuple[str, int | None]]], tmp_path: Path
) -> None:
    office.ask()
    office.decide(approved=None)
    assert found() == [(NOT_PERMITTED, 4)]
    assert in_job_bundle(office, tmp_path) == [NOT_PERMITTED]


NOT_MATCHING = {
    "another purpose": {"purposes": ["draft"]},
    "another model": {"models": ["sora-2-pro"]},
    "another operation": {"operations": ["remix"]},
    "another verdict": {"change_verdicts": ["multiple"]},
    "a higher cost": {"min_cost_usd_micros": 400_001},
}


@pytest.mark.parametrize("rule", NOT_MATCHING.values(), ids=NOT_MATCHING.keys())
def test_a_rule_that_does_not_match_wants_nothing(
    office: Office, found: Callable[[], list[tuple[str, int | None]]], rule: dict[str, Any]
) -> None:
    office.activate(policy(approvals=[{"code": "FINALS", "people": 1, **rule}]))
    office.ask()
    office.decide(approved=None)
    assert found() == []


def test_a_decision_does_not_choose_its_policy(
    office: Office, found: Callable[[], list[tuple[str, int | None]]]
) -> None:
    lax = policy(approvals=[])
    strict = office.policy
    office.activate(lax)
    office.activate(strict)
    office.ask()
    office.policy = lax
    office.decide(approved=None)
    assert found() == [(NOT_PERMITTED, 6)]


def test_approved_as_an_input_alone_permits_nothing(
    office: Office, found: Callable[[], list[tuple[str, int | None]]]
) -> None:
    office.ask()
    office.decide()
    assert found() == [(NOT_PERMITTED, 4)]


def test_a_bundle_of_a_decision_after_a_hold_that_nobody_answered_is_found_out(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TRANSITIONS[State.HELD], "render.decided", State.DECIDED)  # the writer is a forger
    office.ask()
    office.hold()
    office.activate(policy(approvals=[]))
    office.decide()
    findings = outcome(office.ledger, tmp_path, Scope()).findings
    assert [(finding.code, finding.position) for finding in findings] == [(NOT_PERMITTED, 6)]


UNAPPROVED: dict[str, dict[str, Any]] = {
    "the requester": {"actor": "ana"},
    "the requester's login under another name": {"actor": "bob", "login": "ana"},
    "a name from --actor": {"who": {"actor_source": ActorSource.FLAG}},
    "a name from the environment": {"who": {"actor_source": ActorSource.ENVIRONMENT}},
    "an approval that has expired": {"expires_at": "2026-01-01T00:00:00.000000Z"},
    "a signature made under the requester's login": {"signer": MARIA, "login": "ana"},
}


@pytest.mark.parametrize("answer", UNAPPROVED.values(), ids=UNAPPROVED.keys())
def test_an_approval_of_no_other_person_permits_nothing(
    office: Office, found: Callable[[], list[tuple[str, int | None]]], tmp_path: Path, answer: dict[str, Any]
) -> None:
    office.ask()
    office.hold()
    office.answer(**answer)
    office.decide()
    assert found() == [(NOT_PERMITTED, 6)]
    assert in_job_bundle(office, tmp_path) == [NOT_PERMITTED]


def test_another_login_permits_a_decision(
    office: Office, found: Callable[[], list[tuple[str, int | None]]]
) -> None:
    office.ask()
    office.hold()
    office.answer(actor="bob")
    office.decide()
    assert found() == []


@pytest.mark.parametrize(
    ("rule", "signer"), [({"signed": True}, None), ({"signed_by": ["omar"]}, MARIA), ({"people": 2}, MARIA)]
)
def test_a_rule_takes_the_approvals_it_wants(
    office: Office,
    found: Callable[[], list[tuple[str, int | None]]],
    rule: dict[str, Any],
    signer: Signer | None,
) -> None:
    office.activate(policy(approvals=[{"code": "FINALS", "people": 1, **rule}]))
    office.ask()
    office.hold()
    office.answer(signer)
    office.decide()
    assert found() == [(NOT_PERMITTED, 7)]


def test_the_same_person_twice_is_one(
    office: Office, found: Callable[[], list[tuple[str, int | None]]]
) -> None:
    office.activate(policy(approvals=[{"code": "FINALS", "people": 2}]))
    office.ask()
    office.hold()
    office.answer(MARIA)
    office.answer(MARIA)
    office.decide()
    assert found() == [(NOT_PERMITTED, 8)]


@pytest.mark.parametrize(("signers", "findings"), [([MARIA], [(NOT_PERMITTED, 6)]), ([MARIA, OMAR], [])])
def test_a_requester_under_a_typed_name_takes_one_more_signature(
    office: Office,
    found: Callable[[], list[tuple[str, int | None]]],
    signers: list[Signer],
    findings: list[Any],
) -> None:
    office.ask(actor_source=ActorSource.FLAG)
    office.hold()
    for signer in signers:
        office.answer(signer)
    office.decide()
    assert found() == findings


@pytest.mark.parametrize(("decided", "approved"), [({"usd_micros": 400_001}, 400_000), ({}, 300_000)])
def test_what_is_dearer_than_what_was_approved_is_found(
    office: Office, found: Callable[[], list[tuple[str, int | None]]], decided: dict[str, Any], approved: int
) -> None:
    office.ask()
    cheapest, *others = office.basis().candidates
    basis = structs.replace(
        office.basis(), candidates=(structs.replace(cheapest, cost_usd_micros=approved), *others)
    )
    office.pending = office.say(e.RenderHeld(basis=basis, reason_codes=("FINALS",)))
    office.answer(MARIA)
    office.decide(**decided)
    assert found() == [(NOT_PERMITTED, 6)]


@pytest.mark.parametrize(
    ("overridable", "recorded", "findings"),
    [
        (["OVER"], ["OVER"], []),
        ([], ["OVER"], [(NOT_PERMITTED, 5)]),
        (["OVER"], ["OTHER"], [(NOT_PERMITTED, 5)]),
    ],
)
def test_a_denial_is_set_aside_only_as_the_policy_lets_it_be(
    office: Office,
    found: Callable[[], list[tuple[str, int | None]]],
    overridable: list[str],
    recorded: list[str],
    findings: list[Any],
) -> None:
    office.activate(policy(approvals=[], overridable=overridable))
    office.ask()
    for code in recorded:
        office.say(structs.replace(office.vocabulary.sample("decision.overridden"), detail_code=code))
    office.decide(approved=None, overridden="OVER")
    assert found() == [(code, 6) for code, _ in findings]


# --- who asks ---


def test_a_signed_request_is_checked(
    office: Office, found: Callable[[], list[tuple[str, int | None]]], tmp_path: Path
) -> None:
    office.ask(**SIGNED)
    office.sign_request()
    office.hold()
    office.answer(MARIA, login="ana")
    office.decide()
    assert found() == []
    assert in_job_bundle(office, tmp_path) == []


@pytest.mark.parametrize("wrong", [{"payload_sha256": "ab" * 32}, {"event_id": "x"}, {"login": "bob"}])
def test_a_request_whose_signature_is_of_something_else_was_typed(
    office: Office, found: Callable[[], list[tuple[str, int | None]]], tmp_path: Path, wrong: dict[str, Any]
) -> None:
    office.ask(**SIGNED)
    office.sign_request(**wrong)
    office.hold()
    office.answer(MARIA)
    office.decide()
    assert found() == [("REQUEST_SIGNATURE", 4), (NOT_PERMITTED, 7)]
    assert in_job_bundle(office, tmp_path) == ["REQUEST_SIGNATURE", NOT_PERMITTED]


def test_a_request_that_says_it_is_signed_and_is_not_is_found(
    office: Office, found: Callable[[], list[tuple[str, int | None]]]
) -> None:
    office.ask(**SIGNED)
    office.hold()
    assert found() == [("REQUEST_SIGNATURE", 4)]


@pytest.mark.parametrize(
    ("wanted", "who", "findings"),
    [
        ("identified", {"actor_source": ActorSource.FLAG}, [(NOT_PERMITTED, 5)]),
        ("identified", LOGIN, []),
        ("signed", LOGIN, [(NOT_PERMITTED, 5)]),
        ("two_signers", {"actor_source": ActorSource.FLAG}, []),
    ],
)
def test_a_policy_says_who_may_ask(
    office: Office,
    found: Callable[[], list[tuple[str, int | None]]],
    wanted: str,
    who: dict[str, Any],
    findings: list[Any],
) -> None:
    office.activate(policy(requester=wanted))
    office.ask(**who)
    office.hold()
    assert found() == findings


# --- policies ---


def test_a_policy_that_was_activated_and_is_not_there_is_found(
    office: Office, path: Path, check: Callable[..., list[tuple[str, int | None]]], ledger: Ledger
) -> None:
    event = e.PolicyActivated(policy_sha256="ab" * 32, catalog_sha256=CATALOG.sha256)
    office.say(event, "policy")
    assert check(path) == [("DOCUMENT_MISSING", 3)]


@pytest.mark.parametrize("body", [b"[policy]\n", b"7", b'{"approvals":7}', b'{"approvers":{"a":7}}', b"\xff"])
def test_by_a_policy_that_cannot_be_read_nothing_is_judged(
    office: Office, found: Callable[[], list[tuple[str, int | None]]], body: bytes
) -> None:
    office.activate(Document(body))
    office.ask()
    office.hold()
    office.answer(MARIA, signature="AAAA")
    office.decide()
    assert found() == []


def test_after_a_position_signatures_are_checked_too(office: Office, path: Path) -> None:
    office.ask()
    office.hold()
    office.answer(MARIA)
    office.decide()
    for since in (3, 4, 5):
        with SqliteTail(path, since) as tail:
            assert verify_since(tail, since).findings == []


def test_after_a_position_a_wrong_signature_is_found(office: Office, path: Path) -> None:
    office.ask()
    office.hold()
    office.answer(MARIA, signature="AAAA")
    office.decide()
    with SqliteTail(path, 4) as tail:
        codes = [finding.code for finding in verify_since(tail, 4).findings]
    assert codes == [SIGNATURE, NOT_PERMITTED]


# --- guardrails that hold ---

HOLDING = [{"code": "NAMES", "people": 1, "guardrails": ["NAMES", "OTHERS"]}]


@pytest.mark.parametrize(
    ("inputs", "findings"),
    [
        ({"guardrails": "NAMES"}, [NOT_PERMITTED]),
        ({"guardrails": "ABC,OTHERS"}, [NOT_PERMITTED]),
        ({"guardrails": "NAME"}, []),
        ({"guardrails": ""}, []),
        ({}, []),
    ],
)
def test_a_render_that_a_guardrail_holds_is_permitted_only_if_it_was_approved(
    office: Office,
    found: Callable[[], list[tuple[str, int | None]]],
    inputs: dict[str, Any],
    findings: list[str],
) -> None:
    office.activate(policy(approvals=HOLDING))
    office.ask()
    office.decide(**{"approved": None, **inputs})
    assert [code for code, _ in found()] == findings


@pytest.mark.parametrize("codes", ['"NAMES"', "[7]", "7"])
def test_a_policy_whose_guardrails_cannot_be_read_judges_nothing(
    office: Office, found: Callable[[], list[tuple[str, int | None]]], codes: str
) -> None:
    rule = {"code": "NAMES", "people": 1, "guardrails": json.loads(codes)}
    office.activate(policy(approvals=[rule]))
    office.ask()
    office.decide(approved=None, guardrails="NAMES")
    assert found() == []
