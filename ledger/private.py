"""Text that may have to be erased: the event holds a salted commitment, the body is stored apart.

Free text from people or servers (prompts, notes, error messages, file names) is `Private`. The payload,
and with it every digest and proof, holds only ``HMAC-SHA256(salt, domain ‖ field ‖ NUL ‖ text)``;
salt and text are in the table ``private_bodies``. Deleting the body therefore leaves every proof valid, and
with a random salt of 32 bytes the text cannot be guessed from the commitment.
"""

import secrets
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, Self, get_args

from pydantic import BaseModel, ConfigDict, PrivateAttr, StringConstraints, ValidationInfo, model_validator

from ledger.private_bodies import SALT_BYTES, PrivateBody, commit

Sha256Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Private(BaseModel):
    """Text of which a record holds only the commitment.

    `text` is None if the body was erased or not loaded.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    commitment: Sha256Hex
    _body: PrivateBody | None = PrivateAttr(default=None)

    @classmethod
    def seal(cls, field: str, text: str) -> Self:
        """Commit to `text` as the value of `field`, its dotted path in the payload: ``error.message``."""
        salt = secrets.token_bytes(SALT_BYTES)
        sealed = cls(commitment=commit(field, text, salt))
        sealed._body = PrivateBody(sealed.commitment, field, salt, text)
        return sealed

    @property
    def text(self) -> str | None:
        """The text, or None without a body."""
        return self._body.text if self._body else None

    @property
    def body(self) -> PrivateBody | None:
        """Salt and text, as stored."""
        return self._body

    @model_validator(mode="after")
    def _take_body_from_context(self, info: ValidationInfo) -> Self:
        bodies: Mapping[str, PrivateBody] = info.context or {}
        if self._body is None:
            self._body = bodies.get(self.commitment)
        return self


@cache
def _fields_with_private(model: type[BaseModel]) -> tuple[str, ...]:
    """Return the fields of `model` that can hold a `Private` at any depth; most events have none."""
    return tuple(name for name, field in model.model_fields.items() if _can_hold_private(field.annotation))


def _can_hold_private(annotation: Any) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return issubclass(annotation, Private) or bool(_fields_with_private(annotation))
    return annotation is Any or any(_can_hold_private(part) for part in get_args(annotation))


def private_values(value: Any, path: str = "") -> Iterator[tuple[str, Private]]:
    """Yield every `Private` in a model, dict or sequence, with its dotted path in the payload."""
    if isinstance(value, Private):
        yield path, value
    elif isinstance(value, BaseModel):
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
