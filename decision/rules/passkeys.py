"""Passkeys in a policy: the public key of a WebAuthn credential, and the site it was made for.

A passkey is written like the other keys of a policy, ``NAME+ID+BASE64``. Its bytes are 0xff, a label, and
canonical JSON with the algorithm, the public key, the credential's id and the origin. So the policy alone
determines which site may ask for a signature and which key verifies it; a server adds nothing to that.
"""

import base64
import binascii
import hashlib
import json
from typing import Final, NamedTuple, Self
from urllib.parse import urlsplit

from ledger.canonical import canonical_json

MARK: Final = b"\xffsora-ledger/passkey/1\n"
"""The first bytes of a passkey: 0xff is for key types without a number in C2SP signed-note."""

ES256, EDDSA = -7, -8
"""The algorithms, by their numbers in COSE."""

KEY_BYTES: Final = {ES256: 64, EDDSA: 32}
"""The length of a public key: both coordinates on P-256, or an Ed25519 key."""

ID_BYTES = 4
LONGEST_CREDENTIAL = 1023
_FIELDS = {"algorithm", "credential_id", "origin", "public_key"}


class Passkey(NamedTuple):
    """A passkey as listed in the policy."""

    name: str
    algorithm: int
    public_key: bytes
    credential_id: bytes
    origin: str

    @property
    def rp_id(self) -> str:
        """The relying party: the host of its origin."""
        return urlsplit(self.origin).hostname or ""

    @property
    def data(self) -> bytes:
        """The bytes of the key."""
        content = {
            "algorithm": self.algorithm,
            "credential_id": _encode(self.credential_id),
            "origin": self.origin,
            "public_key": _encode(self.public_key),
        }
        return MARK + canonical_json(content)

    @property
    def key_id(self) -> str:
        """The first 4 bytes of SHA-256(name ‖ newline ‖ bytes of the key), in hex."""
        return hashlib.sha256(self.name.encode() + b"\n" + self.data).hexdigest()[: 2 * ID_BYTES]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id}+{_encode(self.data)}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``NAME+ID+BASE64``; `ValueError` says what is wrong."""
        name, _, rest = text.partition("+")
        key_id, _, encoded = rest.partition("+")
        try:
            data = base64.b64decode(encoded, validate=True)
            content = json.loads(data.removeprefix(MARK)) if data.startswith(MARK) else None
        except (binascii.Error, ValueError, RecursionError):
            content = None
        if not name or not isinstance(content, dict) or set(content) != _FIELDS:
            raise ValueError("expected a passkey; the page Passkey of the console makes one")
        passkey = cls(
            name,
            content["algorithm"],
            _decode(content["public_key"]),
            _decode(content["credential_id"]),
            str(content["origin"]),
        )
        passkey.check()
        if str(passkey) != text:
            raise ValueError(
                f"the passkey of {name} has the id {passkey.key_id}, not {key_id}: it was mistyped"
            )
        return passkey

    def check(self) -> None:
        """Raise `ValueError` for a key of another length, or for an origin without passkeys."""
        length = KEY_BYTES.get(self.algorithm) if type(self.algorithm) is int else None
        if len(self.public_key) != length:
            raise ValueError("expected a passkey with ES256 (64 bytes) or Ed25519 (32 bytes)")
        if not 0 < len(self.credential_id) <= LONGEST_CREDENTIAL:
            raise ValueError(f"expected a credential id of 1 to {LONGEST_CREDENTIAL} bytes")
        if not is_origin(self.origin):
            raise ValueError(
                f"expected an origin such as https://console.example.org, not {self.origin[:80]!r}"
            )


def is_passkey(text: str) -> bool:
    """Return whether the key `text` is a passkey, valid or not."""
    encoded = text.rpartition("+")[2]
    return encoded.startswith(_encode(MARK)[:20])


def is_origin(text: str) -> bool:
    """Return whether `text` is an origin where browsers offer passkeys: https, or http on localhost."""
    parts = urlsplit(text)
    host = parts.hostname or ""
    plain = parts.scheme == "http" and (host == "localhost" or host.endswith(".localhost"))
    return (
        (parts.scheme == "https" or plain)
        and bool(host)
        and text == f"{parts.scheme}://{parts.netloc}".lower()
    )


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decode(text: object) -> bytes:
    try:
        return base64.b64decode(str(text), validate=True)
    except binascii.Error:
        raise ValueError("a part of the passkey is not base64") from None
