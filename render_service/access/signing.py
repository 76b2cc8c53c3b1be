"""Sign data that browsers store for the console, and messages between its processes on this machine.

A signed text is ``content.signature``: JSON in base64url, and an HMAC-SHA256 under a key that is derived from
the secret, the purpose and the ledger, so no text is valid for another purpose or another ledger. Every text
expires.

The secret is 32 random bytes in a file next to the ledger that only its owner can read. Several instances
behind one address share SORA_LEDGER_CONSOLE_SECRET instead.
"""

import base64
import hmac
import json
import secrets
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from ledger.private_files import NewFile, make_folders
from render_service.runtime.errors import BadInput, StorageFailed
from render_service.runtime.files import read_file
from render_service.runtime.settings import Settings

SECRET_BYTES = 32
SECRET_LIMIT_BYTES = 4_096
LONGEST_TEXT = 4_096
_ENDS = "ends"


class Signer:
    """Signs and reads texts for one ledger."""

    def __init__(self, secret: bytes, ledger_id: str) -> None:
        self._secret = secret
        self._ledger_id = ledger_id

    def sign(self, purpose: str, content: Mapping[str, Any], ends: datetime) -> str:
        """Return `content` as a text that `read` accepts until `ends`."""
        whole = {**content, _ENDS: int(ends.timestamp())}
        body = _encode(json.dumps(whole, separators=(",", ":")).encode())
        return f"{body}.{_encode(self._mac(purpose, body))}"

    def read(self, purpose: str, text: str | None, now: datetime) -> dict[str, Any] | None:
        """Return the content of a text signed for `purpose`; None if it is invalid or expired."""
        if not text or len(text) > LONGEST_TEXT or not text.isascii():
            return None
        body, _, signature = text.partition(".")
        if not hmac.compare_digest(signature, _encode(self._mac(purpose, body))):
            return None
        content = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        assert isinstance(content, dict)  # it was signed here
        return content if content.pop(_ENDS) > now.timestamp() else None

    def token(self, purpose: str, about: str) -> str:
        """Return a token that only holders of the secret can make, valid as long as `about` is current."""
        return _encode(self._mac(purpose, about))

    def _mac(self, purpose: str, text: str) -> bytes:
        key = hmac.digest(self._secret, f"{purpose}\0{self._ledger_id}".encode(), sha256)
        return hmac.digest(key, text.encode(), sha256)


def open_signer(settings: Settings, ledger_id: str) -> Signer:
    """Return the signer of an installation; the first call makes its secret."""
    if settings.console_secret is not None:
        return Signer(settings.console_secret.encode(), ledger_id)
    return Signer(_secret_in(secret_file(settings)), ledger_id)


def secret_file(settings: Settings) -> Path:
    """Return the location of this installation's secret."""
    beside = settings.ledger_path
    return beside.with_name(f"{beside.name}.console") if beside else settings.data_folder / "console"


def _secret_in(path: Path) -> bytes:
    """Return the secret in a file, creating it if it is missing; concurrent processes create only one."""
    try:
        if not path.exists():
            make_folders(path.parent)
            with suppress(FileExistsError), NewFile(path) as file:
                file.write(secrets.token_hex(SECRET_BYTES).encode())
                file.link()
    except OSError as error:
        raise StorageFailed(
            f"the console's secret {path}: cannot be written ({error.strerror}); "
            "set SORA_LEDGER_CONSOLE_SECRET, or serve with --no-console",
            expected="a place that can be written",
            found=error.strerror,
        ) from error
    secret = read_file(path, "the console's secret", SECRET_LIMIT_BYTES).strip()
    if len(secret) < SECRET_BYTES:
        raise BadInput(
            f"the console's secret {path}: it is damaged; delete it, and everyone signs in again",
            param="SORA_LEDGER_CONSOLE_SECRET",
            expected="a secret",
            found="a damaged file",
        )
    return secret


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
