"""The public keys a policy names, and rules about who may approve."""

import base64
import hashlib
from typing import Any

import pytest

from decision.errors import BadDocument
from decision.rules.approvals import owner_of
from decision.rules.catalog import Catalog
from decision.rules.policy import Policy, default_policy
from decision.rules.toml import load_document
from ledger.tree.checkpoint import Signer

MARIA, OMAR = (str(Signer(name, bytes([seed]) * 32).verifier) for name, seed in (("maria", 1), ("omar", 2)))


def policy(**more: Any) -> Policy:
    return Policy.model_validate({**default_policy().model_dump(), **more})


def test_a_key_is_taken_as_key_new_prints_it_and_belongs_to_who_is_named() -> None:
    named = policy(approvers={"maria": [MARIA], "omar": [OMAR]})
    assert named.approvers is not None
    assert (owner_of(OMAR, named.approvers), owner_of("other", named.approvers)) == ("omar", None)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (MARIA.replace("+A", "+B", 1), "expected an Ed25519 public key"),
        ("maria", "expected an Ed25519 public key"),
        (f"maria+00000000+{MARIA.rpartition('+')[2]}", "it was mistyped"),
    ],
)
def test_a_key_that_was_mistyped_is_refused(key: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        policy(approvers={"maria": [key]})


def test_the_id_of_a_key_is_that_of_a_signed_note() -> None:
    name, key_id, encoded = MARIA.split("+")
    assert hashlib.sha256(f"{name}\n".encode() + base64.b64decode(encoded)).hexdigest()[:8] == key_id


def test_one_key_for_two_people_is_refused() -> None:
    with pytest.raises(ValueError, match="named for two people"):
        policy(approvers={"maria": [MARIA], "omar": [MARIA]})


def test_a_rule_that_wants_the_signature_of_a_stranger_is_refused() -> None:
    with pytest.raises(ValueError, match="signed_by names omar"):
        policy(approvers={"maria": [MARIA]}, approvals=[{"code": "A", "signed_by": ["omar"]}])


def test_a_rule_nobody_can_meet_is_warned_of(catalog: Catalog) -> None:
    rule = {"code": "A", "signed": True, "people": 2}
    lonely = policy(approvers={"maria": [MARIA]}, approvals=[rule])
    assert "it wants 2 signed approvals, and [approvers] names 1" in lonely.warnings(catalog)[0]
    assert policy(approvers={"maria": [MARIA], "omar": [OMAR]}, approvals=[rule]).warnings(catalog) == ()


def test_a_draft_wanted_for_an_unknown_purpose_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="doodle is no purpose \\(purposes: draft"):
        policy(require_approved_draft=["doodle"])


def test_what_an_older_policy_does_not_say_leaves_its_digest_alone() -> None:
    assert b"approvers" not in default_policy().canonical


def test_a_wrong_key_in_a_file_is_refused_with_its_line() -> None:
    text = default_policy_text().replace(
        "[weights]", '[approvers]\nmaria = ["maria+00000000+AQ=="]\n\n[weights]', 1
    )
    with pytest.raises(BadDocument, match=r"line \d+, approvers.maria.0: .*expected an Ed25519 public key"):
        load_document(Policy, text.encode())


def default_policy_text() -> str:
    from importlib.resources import files  # noqa: PLC0415

    return files("decision").joinpath("policy.toml").read_text()
