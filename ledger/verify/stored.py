"""Whatever somebody has put into a column, in a form that can be hashed or told."""

from typing import Any


def as_bytes(value: Any) -> bytes:
    """Return what a column holds as bytes."""
    return value if isinstance(value, bytes) else str(value).encode(errors="surrogateescape")


def as_hex(value: Any) -> str:
    """Return bytes in hex, anything else as it is."""
    return value.hex() if isinstance(value, bytes) else str(value)
