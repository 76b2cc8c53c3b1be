"""Files that no output may take the place of, whatever was typed: ledgers, backups, signing keys."""

from contextlib import suppress
from pathlib import Path

_BEGINNINGS = {
    b"SQLite format 3\0": "a database",
    b"PGDMP": "a backup of a database",
    b"PRIVATE+KEY+": "a signing key",
}
_BESIDE = ("-wal", "-shm")
"""What SQLite calls the files that belong to a database; the first holds what was recorded last."""


def irreplaceable(path: Path) -> str | None:
    """Return what the file at `path` is, or belongs to, if nothing may replace it; None for any other."""
    for suffix in _BESIDE:
        path = path.with_name(path.name.removesuffix(suffix) or path.name)
    with suppress(OSError), path.open("rb") as file:
        beginning = file.read(max(map(len, _BEGINNINGS)))
        return next((what for magic, what in _BEGINNINGS.items() if beginning.startswith(magic)), None)
    return None
