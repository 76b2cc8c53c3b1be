"""Documents such as the catalog and the policy: frozen data, identified by a digest.

The digest covers the content, not the file: comments, order of keys and white space do not change it.
``model_validate_json(canonical)`` restores the document, even years later. `decision.rules.toml` reads them.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from ledger.canonical import canonical_json, sha256_hex


class Entry(BaseModel):
    """A part of a document."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Document(Entry):
    """A whole document: `canonical` is stored, `digest` is cited by decisions."""

    version: int

    @cached_property
    def canonical(self) -> bytes:
        """The content as canonical JSON (RFC 8785).

        Unset keys are left out, so a key added later does not change the bytes of older documents.
        """
        return canonical_json(self.model_dump(mode="json", by_alias=True, exclude_none=True))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of `canonical`, 64 lower-case hex digits."""
        return sha256_hex(self.canonical)

    def __hash__(self) -> int:
        """Hash the digest; pydantic would hash the content, which contains dicts."""
        return hash(self.digest)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy that recomputes its bytes and digest, which pydantic would copy."""
        copied = super().model_copy(update=update, deep=deep)
        for name in ("canonical", "digest"):
            copied.__dict__.pop(name, None)
        return copied
