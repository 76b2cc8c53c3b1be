"""What catalog and policy have in common: data from TOML, frozen, identified by its canonical bytes.

The digest is taken over the content, not over the file: comments, order of keys and white space do not
change it. ``model_validate_json(canonical)`` gives the document back, years later too.
"""

import tomllib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from decision.errors import BadDocument
from decision.toml_lines import Path, key_lines, line_of
from ledger.canonical import canonical_json, sha256_hex


class Entry(BaseModel):
    """Something inside a document."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Document(Entry):
    """A whole document: `canonical` is what is kept, `digest` what decisions cite."""

    version: int

    @cached_property
    def canonical(self) -> bytes:
        """The content as canonical JSON (RFC 8785).

        What is not said is left out: a key added later leaves the bytes of older documents as they are.
        """
        return canonical_json(self.model_dump(mode="json", by_alias=True, exclude_none=True))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of `canonical`, 64 lower-case hex digits."""
        return sha256_hex(self.canonical)

    def __hash__(self) -> int:
        """Hash the digest: pydantic's own would go through the content, which holds dicts."""
        return hash(self.digest)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy; it works out its own bytes and digest, which pydantic would copy along."""
        copied = super().model_copy(update=update, deep=deep)
        for name in ("canonical", "digest"):
            copied.__dict__.pop(name, None)
        return copied

    @classmethod
    def load(cls, toml: bytes) -> Self:
        """Read the document from `toml`, UTF-8; `BadDocument` names line and key of what is wrong."""
        title = cls.__name__.lower()
        try:
            text = toml.decode()
            content = tomllib.loads(text)
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise BadDocument(f"{title} is not valid TOML: {error}") from None
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise BadDocument(f"{title} cannot be used: {_complaints(error, text)}") from None


def _complaints(error: ValidationError, text: str) -> str:
    lines, problems = key_lines(text), error.errors(include_url=False)
    return "; ".join(
        f"{_place(problem['loc'], lines)}: {_wrong(problem)}"
        for problem in problems
        if not _follows_from_others(problem, problems)
    )


def _follows_from_others(problem: ErrorDetails, problems: Sequence[ErrorDetails]) -> bool:
    """Tell whether a list only counts as too short because entries of it are wrong."""
    place = problem["loc"]
    return problem["type"] == "too_short" and any(
        other["loc"][: len(place)] == place and other is not problem for other in problems
    )


def _wrong(problem: ErrorDetails) -> str:
    """Say what is wrong, and what was found where that is one value."""
    if problem["type"] == "extra_forbidden":
        return "there is no such key; check its spelling"
    if problem["type"] == "tuple_type":
        return f"expected a list, in square brackets, found {problem['input']!r}"
    found = problem["input"]
    single = isinstance(found, str | int | float | bool) and problem["type"] != "value_error"
    return problem["msg"].removeprefix("Value error, ") + (f", found {found!r}" if single else "")


def _place(path: Path, lines: Mapping[Path, int]) -> str:
    line = line_of(lines, path)
    key = ".".join(str(part) for part in path) or "as a whole"
    return f"line {line}, {key}" if line else key
