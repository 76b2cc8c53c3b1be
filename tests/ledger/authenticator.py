"""A passkey in software: what an authenticator and a browser return, right or wrong in one respect."""

import base64
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256

from decision.rules.passkeys import EDDSA, ES256, Passkey
from render_service.approvals.passkeys import PasskeySignature

ORIGIN = "https://console.example.org"


@dataclass
class Authenticator:
    """A device with one passkey of `name`."""

    name: str = "maria"
    algorithm: int = ES256
    origin: str = ORIGIN
    secret: Any = field(default=None)

    def __post_init__(self) -> None:
        made = (
            ec.generate_private_key(ec.SECP256R1())
            if self.algorithm == ES256
            else Ed25519PrivateKey.generate()
        )
        self.secret = self.secret or made

    @property
    def passkey(self) -> Passkey:
        """The passkey as a policy names it."""
        if self.algorithm == EDDSA:
            public = self.secret.public_key().public_bytes_raw()
        else:
            numbers = self.secret.public_key().public_numbers()
            public = numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")
        return Passkey(self.name, self.algorithm, public, b"credential-1", self.origin)

    def sign(self, statement: str, **wrong: Any) -> PasskeySignature:
        """Sign a statement; `wrong` are parts that differ, such as `origin` and `flags`."""
        challenge = hashlib.sha256(statement.encode()).digest()
        client = {
            "type": wrong.get("type", "webauthn.get"),
            "challenge": base64.urlsafe_b64encode(wrong.get("challenge", challenge)).rstrip(b"=").decode(),
            "origin": wrong.get("origin", self.origin),
            "crossOrigin": wrong.get("cross", False),
        }
        about = wrong.get("client_data", json.dumps(client, separators=(",", ":")).encode())
        host = wrong.get("rp_id", self.passkey.rp_id)
        data = hashlib.sha256(host.encode()).digest() + bytes([wrong.get("flags", 0x05)]) + bytes(4)
        signed = data + hashlib.sha256(about).digest()
        by = wrong.get("secret", self.secret)
        signature = by.sign(signed, ec.ECDSA(SHA256())) if self.algorithm == ES256 else by.sign(signed)
        return PasskeySignature(self.passkey.credential_id, wrong.get("signature", signature), data, about)


def other_secret(algorithm: int) -> Any:
    """Return the secret of another passkey."""
    return Authenticator(algorithm=algorithm).secret


WRONG: dict[str, dict[str, Any]] = {
    "another statement": {"challenge": b"\0" * 32},
    "another site": {"origin": "https://evil.example.org"},
    "another relying party": {"rp_id": "evil.example.org"},
    "a frame of another site": {"cross": True},
    "nobody present": {"flags": 0x04},
    "nobody verified": {"flags": 0x01},
    "a new passkey": {"type": "webauthn.create"},
    "no JSON": {"client_data": b"{"},
    "a list": {"client_data": b"[]"},
    "a key twice": {"client_data": b'{"type":"webauthn.get","type":"webauthn.get"}'},
    "no signature": {"signature": b""},
}
"""What is wrong with a signature, by its name."""
