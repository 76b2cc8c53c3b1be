"""Sign webhooks as standard-webhooks and the Videos API do; `sora_adapter.webhooks` is the verifier.

The signature covers id, time and body: HMAC-SHA256 with the bytes after ``whsec_`` in base64. While a secret
is being replaced, a delivery has one signature per secret, and a receiver accepts it if either is right.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable

_PREFIX = "whsec_"
_SECRET_BYTES = 32
_SHOWN = 4


def new_secret() -> str:
    """Return a new signing secret."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def hint_of(secret: str) -> str:
    """Return a hint that identifies a secret without revealing it."""
    return f"{_PREFIX}...{secret[-_SHOWN:]}"


def sign_headers(
    delivery_id: str, timestamp_s: int, body: bytes, valid_secrets: Iterable[str]
) -> dict[str, str]:
    """Return the three headers of a delivery."""
    text = f"{delivery_id}.{timestamp_s}.".encode() + body
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(_signature(secret, text) for secret in valid_secrets),
    }


def _signature(secret: str, text: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    return "v1," + base64.b64encode(hmac.digest(key, text, hashlib.sha256)).decode()
