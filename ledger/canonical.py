"""Canonical JSON (RFC 8785), SHA-256 over it, and the leaf hash of a record.

The full RFC 8785 needs an ECMAScript number printer and sorting by UTF-16 code units. Recorded values need
neither: keys are ``[a-z0-9_]+``, numbers are integers below 2**53, there are no floats.
Within that subset the standard library's encoder gives the same bytes (a property test compares it with
the ``rfc8785`` package), so this module enforces the subset and uses the fast encoder.
"""

import hashlib
import json
import re
from functools import lru_cache
from typing import Any

MAX_SAFE_INTEGER = 2**53 - 1
_KEY = re.compile(r"[a-z0-9_]+\Z")
_PLAIN = frozenset({str, bool, type(None)})
_encode = json.JSONEncoder(
    ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False, check_circular=False
).encode


class NotCanonicalError(ValueError):
    """A value outside the subset; the message names its path, what was expected and what was found."""


def canonical_json(document: dict[str, Any]) -> bytes:
    """Return `document` as canonical JSON in UTF-8; `NotCanonicalError` if it is outside the subset."""
    _check(document, "$")
    return encode_valid(document)


def encode_valid(document: dict[str, Any]) -> bytes:
    """Return the canonical JSON of a `document` whose values are known to be within the subset."""
    try:
        return _encode(document).encode()
    except UnicodeEncodeError as error:
        raise NotCanonicalError(
            f"text must be valid Unicode, found a lone surrogate ({error.reason})"
        ) from None


def digest(document: dict[str, Any]) -> str:
    """Return the SHA-256 of the canonical JSON of `document`, 64 lower-case hex digits."""
    return sha256_hex(canonical_json(document))


def sha256_hex(data: bytes) -> str:
    """Return the SHA-256 of `data`, 64 lower-case hex digits."""
    return hashlib.sha256(data).hexdigest()


def leaf_hash(record: bytes) -> bytes:
    """Return SHA-256(0x00 ‖ record): the leaf of one record."""
    return hashlib.sha256(b"\x00" + record).digest()


@lru_cache(maxsize=1_024)
def _is_key(key: str) -> bool:
    return _KEY.match(key) is not None


def _check(value: Any, path: str) -> None:
    kind = type(value)
    if kind in _PLAIN:
        return
    if kind is int:
        if not -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
            raise NotCanonicalError(f"{path}: integers are within ±(2**53 - 1), found {value}")
    elif kind is dict:
        for key, item in value.items():
            if type(key) is not str or not _is_key(key):
                raise NotCanonicalError(f"{path}: keys match [a-z0-9_]+, found {key!r}")
            if type(item) not in _PLAIN:  # most values are plain; the call dominates the cost
                _check(item, f"{path}.{key}")
    elif kind is list:
        for index, item in enumerate(value):
            _check(item, f"{path}[{index}]")
    else:
        raise NotCanonicalError(
            f"{path}: expected text, integer, true, false, null, list or object, found {kind.__name__}"
        )
