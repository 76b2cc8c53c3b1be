"""Whose signature counts: the public keys a policy names, in the form of C2SP signed-note.

A key is ``<name>+<id>+<base64>``: the id is the first 4 bytes of SHA-256(name, newline, 0x01, public key), so
that a key that was mistyped is found out when the policy is read. Signatures themselves are checked where
they come in.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

ED25519 = b"\x01"
KEY_BYTES = 32
ID_BYTES = 4


def checked_key(text: str) -> str:
    """Return `text` if it is an Ed25519 public key; `ValueError` says what is wrong with it."""
    name, _, rest = text.partition("+")
    key_id, _, encoded = rest.partition("+")
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not name or len(key) != 1 + KEY_BYTES or key[:1] != ED25519:
        raise ValueError(
            "expected an Ed25519 public key such as ana+1f2e3d4c+AQ…; `sora-ledger key show FILE` prints it"
        )
    found = hashlib.sha256(name.encode() + b"\n" + key).hexdigest()[: 2 * ID_BYTES]
    if found != key_id:
        raise ValueError(f"the key of {name} has the id {found}, not {key_id}: it was mistyped")
    return text


PublicKey = Annotated[str, AfterValidator(checked_key)]
Person = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,256}$")]
Approvers = dict[Person, Annotated[tuple[PublicKey, ...], Field(min_length=1)]]
"""Who may sign approvals, by actor id, each with the keys that are theirs."""


def keys_of_several(approvers: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Return the keys that are named for more than one person: what they sign says nothing about who."""
    keys = [key for own in approvers.values() for key in dict.fromkeys(own)]
    return sorted({key for key in keys if keys.count(key) > 1})


def owner_of(key: str, approvers: Mapping[str, tuple[str, ...]]) -> str | None:
    """Return whose `key` is, None where the policy names it for nobody."""
    return next((person for person, own in approvers.items() if key in own), None)
