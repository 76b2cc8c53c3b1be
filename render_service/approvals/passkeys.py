"""Check a passkey's signature: of this statement, on this site, with a verified person present (WebAuthn).

The challenge of a signature is the SHA-256 of the statement, so it belongs to one answer to one request, and
no server has to remember it: `render_service.approvals.statements` defines what a statement binds. It is
checked before it is recorded and whenever the record is read, with only the public key in the policy.
Signature counters are not checked: synchronised passkeys have none.
"""

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass
from typing import Any, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from decision.rules.passkeys import ES256, Passkey, is_passkey
from ledger.events import PasskeyAssertion

PRESENT, VERIFIED = 0x01, 0x04
"""Flags of the authenticator: a person was there, and proved to be its owner by PIN or body."""

LEAST_BYTES = 37
"""Authenticator data: 32 bytes of the site's digest, the flags, and a counter."""

LONGEST_BYTES = 4096


@dataclass(frozen=True)
class PasskeySignature:
    """A signature and the signed data other than the challenge, as a browser returns them."""

    credential_id: bytes
    signature: bytes
    authenticator_data: bytes
    client_data: bytes

    @property
    def assertion(self) -> PasskeyAssertion:
        """The recorded data other than the signature."""
        return PasskeyAssertion(
            authenticator_data=base64.b64encode(self.authenticator_data).decode(),
            client_data=base64.b64encode(self.client_data).decode(),
        )

    @classmethod
    def read_recorded(cls, signature: str, assertion: PasskeyAssertion) -> Self:
        """Read a recorded signature; `ValueError` if it is not base64."""
        parts = (signature, assertion.authenticator_data, assertion.client_data)
        return cls(b"", *(base64.b64decode(part, validate=True) for part in parts))

    def key_among(self, keys: tuple[str, ...]) -> Passkey | None:
        """Return the passkey among `keys` that it claims to be from."""
        passkeys = (Passkey.parse(key) for key in keys if is_passkey(key))
        return next((key for key in passkeys if key.credential_id == self.credential_id), None)


def challenge_of(statement: str) -> bytes:
    """Return the challenge that a passkey signs for a statement."""
    return hashlib.sha256(statement.encode()).digest()


def encode_base64url(data: bytes) -> str:
    """Return `data` in the encoding of WebAuthn: base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def what_is_wrong(passkey: Passkey, statement: str, presented: PasskeySignature) -> str | None:
    """Return why `presented` is not the signature of `statement` by `passkey`; None if it is."""
    data, about = presented.authenticator_data, presented.client_data
    client = _read_client(about)
    if client is None or client.get("type") != "webauthn.get" or not _is_authenticators(data):
        return "it is not what a browser returns for a signature"
    if client.get("challenge") != encode_base64url(challenge_of(statement)):
        return "it signs something else than this answer to this request"
    if client.get("origin") != passkey.origin or client.get("crossOrigin"):
        return f"it was made at {str(client.get('origin'))[:100]}, and the policy names {passkey.origin}"
    if data[:32] != hashlib.sha256(passkey.rp_id.encode()).digest():
        return f"the authenticator signed for another site than {passkey.rp_id}"
    if not data[32] & PRESENT or not data[32] & VERIFIED:
        return "the authenticator did not check that its owner was there"
    signed = data + hashlib.sha256(about).digest()
    return (
        None
        if _verifies(passkey, signed, presented.signature)
        else "the signature is not of the passkey's key"
    )


def _is_authenticators(data: bytes) -> bool:
    return LEAST_BYTES <= len(data) <= LONGEST_BYTES


def _read_client(data: bytes) -> dict[str, Any] | None:
    """Return the browser's client data; None unless it is an object with unique keys."""
    if len(data) > LONGEST_BYTES:
        return None
    try:
        client = json.loads(data, object_pairs_hook=_object)
    except (ValueError, RecursionError):
        return None
    return client if isinstance(client, dict) else None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key is there twice")
    return made


def has_signed(key: str, statement: str, signature: str, assertion: PasskeyAssertion) -> bool:
    """Return whether a recorded signature is that of `statement` by the passkey `key`."""
    try:
        presented = PasskeySignature.read_recorded(signature, assertion)
        return what_is_wrong(Passkey.parse(key), statement, presented) is None
    except (binascii.Error, ValueError):
        return False


def _verifies(passkey: Passkey, signed: bytes, signature: bytes) -> bool:
    try:
        if passkey.algorithm == ES256:
            point = b"\x04" + passkey.public_key
            key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
            key.verify(signature, signed, ec.ECDSA(SHA256()))
        else:
            Ed25519PublicKey.from_public_bytes(passkey.public_key).verify(signature, signed)
    except (InvalidSignature, ValueError):
        return False
    return True
