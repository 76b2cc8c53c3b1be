"""Read a ledger's access keys: the fold of the stream ``access``.

A key is ``slk_``, its id in 8 hex digits, ``_``, and 256 random bits in base64url. The ledger has the id and
the SHA-256 of the whole text, so reading the ledger does not allow using a key.
"""

import re
import secrets
import threading
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from ledger.canonical import sha256_hex
from ledger.events import AccessGranted, AccessRevoked, Grant
from ledger.log.ledger import Ledger
from ledger.record import Record
from ledger.store.filters import RecordFilter

STREAM = "access"
PREFIX = "slk_"
SECRET_BYTES = 32
_KEY = re.compile(r"slk_([0-9a-f]{8})_[A-Za-z0-9_-]{43}")


class KeyState(StrEnum):
    """Whether a key may be used."""

    VALID = "valid"
    REVOKED = "revoked"
    EXPIRED = "expired"


class NewKey(NamedTuple):
    """A new key; `text` is shown once and never stored."""

    key_id: str
    text: str

    @property
    def sha256(self) -> str:
        """The digest that is recorded."""
        return sha256_hex(self.text.encode())


def make_key_id() -> str:
    """Return a random id for a key."""
    return secrets.token_hex(4)


def make_key(key_id: str | None = None) -> NewKey:
    """Return a new random key; its id may have been chosen before."""
    key_id = key_id or make_key_id()
    return NewKey(key_id, f"{PREFIX}{key_id}_{secrets.token_urlsafe(SECRET_BYTES)}")


def key_id_of(text: str) -> str | None:
    """Return the id in the text of a key; None if it is not the text of a key."""
    match = _KEY.fullmatch(text)
    return match[1] if match else None


@dataclass(frozen=True)
class AccessKey:
    """A granted key, and its revocation if there is one."""

    grant: AccessGranted
    granted: Record
    revoked: Record | None = None

    def state(self, now: str) -> KeyState:
        """Return whether the key may be used at `now`, RFC 3339 UTC."""
        if self.revoked is not None:
            return KeyState.REVOKED
        ends = self.grant.expires_at
        return KeyState.EXPIRED if ends is not None and ends <= now else KeyState.VALID


def words_of(grant: Grant) -> str:
    """Return the holder of the key and its permissions, in a few words."""
    limits = {
        "team": grant.team,
        "project": grant.project,
        "profiles": ", ".join(grant.profiles or ()),
        "purposes": ", ".join(grant.purposes or ()),
        "until": grant.expires_at and f"{grant.expires_at[:16]}Z",
        "requests per minute": grant.requests_per_minute,
        "running jobs": grant.running_jobs,
    }
    words = [f"{name} {value}" for name, value in limits.items() if value]
    return "; ".join([f"{grant.key_id} for {grant.name} as {', '.join(grant.roles)}", *words])


class Register:
    """The keys of a ledger, as last read; `renew` reads the records since."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.keys: dict[str, AccessKey] = {}
        self.position = 0
        self.version = 0
        self._renewing = threading.Lock()
        self.renew()

    def renew(self) -> None:
        """Read the grants and revocations since the last time."""
        with self._renewing:
            for record in self._ledger.read(RecordFilter(stream=STREAM), after=self.position):
                self._add(record)

    def _add(self, record: Record) -> None:
        event = record.event
        if isinstance(event, AccessGranted):
            self.keys[event.key_id] = AccessKey(event, record)
        elif isinstance(event, AccessRevoked) and event.key_id in self.keys:
            self.keys[event.key_id] = replace(self.keys[event.key_id], revoked=record)
        self.position, self.version = record.position, record.version

    def list_named(self, name: str) -> list[AccessKey]:
        """Return the keys of `name`, in the order in which they were granted."""
        return [key for key in self.keys.values() if key.grant.name == name]
