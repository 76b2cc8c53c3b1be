"""Text that may have to be erased: the event holds a salted commitment, the body is stored apart.

Free text from people or servers (prompts, notes, error messages, file names) is `Private`. The payload,
and with it every digest and proof, holds only ``HMAC-SHA256(salt, domain ‖ field ‖ NUL ‖ text)``;
salt and text are in the table ``private_bodies``. Deleting the body therefore leaves every proof valid, and
with a random salt of 32 bytes the text cannot be guessed from the commitment.
"""

import hmac
import secrets
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, NamedTuple, Self, get_args

from msgspec import Meta, Struct
from msgspec.structs import fields

DOMAIN = b"sora-ledger/private/v1\0"
SALT_BYTES = 32
COMMITMENT_KEY = b'"commitment":'
"""A key of every payload that has private text."""
SECRETS = frozenset({"signing_secret"})
"""Fields whose text is a secret: no command prints it, and no bundle contains it."""

END_OF_TEXT = r"(?!\n)"
"""Appended to ``$``, which otherwise matches before a final line feed too."""

Sha256Hex = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$" + END_OF_TEXT)]


class PrivateBody(NamedTuple):
    """One row of ``private_bodies``: the salt and text behind a commitment."""

    commitment: str
    field: str
    salt: bytes
    text: str

    @property
    def is_secret(self) -> bool:
        """Whether the text must stay in the ledger."""
        return self.field in SECRETS


def commit(field: str, text: str, salt: bytes) -> str:
    """Return the commitment to `text` as the value of `field`, 64 lower-case hex digits."""
    message = DOMAIN + field.encode() + b"\0" + text.encode()
    return hmac.digest(salt, message, "sha256").hex()


class Private(Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """Text of which a record holds only the commitment.

    `text` is None if the body was erased or not loaded.
    """

    commitment: Sha256Hex

    @classmethod
    def seal(cls, field: str, text: str) -> Self:
        """Commit to `text` as the value of `field`, its dotted path in the payload: ``error.message``."""
        salt = secrets.token_bytes(SALT_BYTES)
        sealed = cls(commit(field, text, salt))
        sealed.attach(PrivateBody(sealed.commitment, field, salt, text))
        return sealed

    def attach(self, body: PrivateBody | None) -> None:
        """Set salt and text: of a new commitment, or as stored."""
        self.__dict__["body"] = body  # not a field, so it is never printed or compared

    @property
    def text(self) -> str | None:
        """The text, or None without a body."""
        return self.body.text if self.body else None

    @property
    def body(self) -> PrivateBody | None:
        """Salt and text, as stored."""
        body: PrivateBody | None = self.__dict__.get("body")
        return body


@cache
def _fields_with_private(model: type[Struct]) -> tuple[str, ...]:
    """Return the fields of `model` that can hold a `Private` at any depth; most events have none."""
    return tuple(field.name for field in fields(model) if _can_hold_private(field.type))


def _can_hold_private(annotation: Any) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, Struct):
        return issubclass(annotation, Private) or bool(_fields_with_private(annotation))
    return annotation is Any or any(_can_hold_private(part) for part in get_args(annotation))


def private_values(value: Any, path: str = "") -> Iterator[tuple[str, Private]]:
    """Yield every `Private` in an event, part, dict or sequence, with its dotted path in the payload."""
    if isinstance(value, Private):
        yield path, value
    elif isinstance(value, Struct):
        for name in _fields_with_private(type(value)):
            item = getattr(value, name)
            if item is not None and not isinstance(item, str | int):  # most fields; saves a generator
                yield from private_values(item, f"{path}.{name}" if path else name)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from private_values(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from private_values(item, f"{path}.{index}")
