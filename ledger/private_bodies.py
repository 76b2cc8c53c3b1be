"""Bodies of private text: salt and text behind a commitment, as stored (see `ledger.private`)."""

import hmac
from typing import NamedTuple

DOMAIN = b"sora-ledger/private/v1\0"
SALT_BYTES = 32
SECRETS = frozenset({"signing_secret"})
"""Fields whose text is a secret: no command prints it, and no bundle contains it."""


class PrivateBody(NamedTuple):
    """One row of ``private_bodies``: the salt and text behind a commitment."""

    commitment: str
    field: str
    salt: bytes
    text: str

    @property
    def is_secret(self) -> bool:
        """Whether the text must not leave the ledger."""
        return self.field in SECRETS


def commit(field: str, text: str, salt: bytes) -> str:
    """Return the commitment to `text` as the value of `field`, 64 lower-case hex digits."""
    message = DOMAIN + field.encode() + b"\0" + text.encode()
    return hmac.digest(salt, message, "sha256").hex()
