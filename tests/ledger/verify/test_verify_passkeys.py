"""Signatures of passkeys in the record, by all three checkers; what is right is from docs/FORMAT.md."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from msgspec import structs

from decision.rules.passkeys import EDDSA, ES256
from ledger.log.bundle import Scope
from ledger.verify import verify_bundle as vb
from tests.ledger.authenticator import WRONG, Authenticator, other_secret
from tests.ledger.office import JOB, MARIA, SIGNATURE, SIGNED, Office, outcome, policy

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@pytest.fixture(params=[ES256, EDDSA], ids=["es256", "ed25519"])
def device(request: pytest.FixtureRequest) -> Authenticator:
    return Authenticator(algorithm=request.param)


@pytest.fixture
def asked(office: Office, device: Authenticator) -> Office:
    """A held render, under a policy that names the passkey."""
    office.activate(policy(approvers={"maria": [str(device.passkey), str(MARIA.verifier)]}))
    office.ask()
    office.hold()
    return office


def test_an_answer_signed_by_a_passkey_permits_a_decision(
    asked: Office, device: Authenticator, found: Callable[[], list[tuple[str, int | None]]], tmp_path: Path
) -> None:
    asked.answer(passkey=device, actor="maria", login=None)
    asked.decide()
    assert found() == []
    shown = outcome(asked.ledger, tmp_path, Scope(job_id=JOB))
    assert shown.findings == []
    assert any("1 signatures of requests and approvals are right" in text for text in shown.shows)


@pytest.mark.parametrize("name", [*WRONG, "another key"])
def test_a_signature_that_is_wrong_in_one_respect_is_found(
    asked: Office, device: Authenticator, found: Callable[[], list[tuple[str, int | None]]], name: str
) -> None:
    wrong = WRONG.get(name) or {"secret": other_secret(device.algorithm)}
    asked.answer(passkey=device, actor="maria", login=None, wrong=wrong)
    assert [code for code, _ in found()] == [SIGNATURE]


def test_a_signature_of_another_answer_is_found(
    asked: Office, device: Authenticator, found: Callable[[], list[tuple[str, int | None]]]
) -> None:
    asked.answer(passkey=device, actor="maria", login=None, expires_at="2098-01-01T00:00:00.000000Z")
    assert found() == []
    right = asked.ledger.history(JOB)[-1].event
    changed = structs.replace(right, expires_at="2099-01-01T00:00:00.000000Z")
    asked.say(changed, JOB, actor="maria", **SIGNED)
    assert [code for code, _ in found()] == [SIGNATURE]


def test_a_key_in_a_file_signs_nothing_as_a_passkey(
    asked: Office, found: Callable[[], list[tuple[str, int | None]]]
) -> None:
    asked.answer(MARIA)
    right = asked.ledger.history(JOB)[-1].event
    assertion = Authenticator().sign("x").assertion
    asked.say(structs.replace(right, passkey=assertion), JOB, actor="maria", **SIGNED)
    assert [code for code, _ in found()] == [SIGNATURE]


def test_a_passkey_of_a_person_whom_the_policy_does_not_name_is_found(
    asked: Office, device: Authenticator, found: Callable[[], list[tuple[str, int | None]]]
) -> None:
    asked.answer(passkey=device, actor="omar", login=None)
    assert [code for code, _ in found()] == [SIGNATURE]


def test_es256_is_checked_as_openssl_checks_it() -> None:
    for length in range(24):
        key = ec.generate_private_key(ec.SECP256R1())
        numbers, message = key.public_key().public_numbers(), os.urandom(length)
        public = numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")
        signature = key.sign(message, ec.ECDSA(SHA256()))
        r, s = decode_dss_signature(signature)
        assert vb.es256_verifies(public, message, signature)
        assert vb.es256_verifies(public, message, encode_dss_signature(r, ORDER - s))
        wrong = [
            encode_dss_signature(r, s + ORDER),
            encode_dss_signature(0, s),
            encode_dss_signature(r, 0),
            encode_dss_signature(s, r),
            signature + b"\0",
            signature[:-1],
            b"",
            signature[:1] + b"\x81" + signature[1:],
            signature[: length + 2] + bytes([signature[length + 2] ^ 1]) + signature[length + 3 :],
        ]
        assert [each for each in wrong if vb.es256_verifies(public, message, each)] == []
        assert not vb.es256_verifies(public, message + b"x", signature)
        assert not vb.es256_verifies(bytes(64), message, signature)
        assert not vb.es256_verifies(public[:63] + bytes([public[63] ^ 1]), message, signature)
