"""Find records by type or trace: the table ``blocks`` instead of an index on every record.

A block is 256 positions, the same as a tile. The transaction that completes a block counts its records by
type and by trace, so that a search reads only blocks that have some. The records after the last complete
block are read one by one. A crash leaves the block either incomplete, or complete and counted.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence

from ledger.store.sqlite.connection import Connection
from ledger.tree.merkle import TILE_HEIGHT

BLOCK = 1 << TILE_HEIGHT
_COUNTED = 16
"""From this schema version on there is the table."""
_COUNT = f"""
INSERT INTO blocks SELECT 'type', type, (position - 1) / {BLOCK}, COUNT(*) FROM events
WHERE position > ?1 AND position <= ?2 GROUP BY 2, 3
UNION ALL SELECT 'trace_id', trace_id, (position - 1) / {BLOCK}, COUNT(*) FROM events
WHERE position > ?1 AND position <= ?2 GROUP BY 2, 3
"""
_NUMBERS = (
    "SELECT DISTINCT number FROM json_each(?) AS wanted CROSS JOIN blocks ON blocks.value = wanted.value "
    "WHERE field = ? AND number >= ? AND number < ? ORDER BY number"
)
_BLOCKS_AT_ONCE = 64
_END = f"SELECT size / {BLOCK} * {BLOCK} FROM head WHERE id = 1"
_TALLY = f"""
SELECT value, SUM(records) FROM (
    SELECT value, records FROM blocks WHERE field = 'type'
    UNION ALL SELECT type, 1 FROM events WHERE position > ({_END})
) GROUP BY value
"""


def are_counted(db: Connection) -> bool:
    """Return False for a ledger of an older schema, opened for reading, which has indexes instead."""
    return db.schema >= _COUNTED


def count(db: sqlite3.Connection, number: int) -> None:
    """Count the records of a block that the open transaction completes."""
    db.execute(_COUNT, (number * BLOCK, (number + 1) * BLOCK))


def rebuild(db: sqlite3.Connection) -> None:
    """Recount the records of all complete blocks, in the open transaction."""
    db.execute("DELETE FROM blocks")
    db.execute(_COUNT, (0, db.execute("SELECT COUNT(*) FROM events").fetchone()[0] // BLOCK * BLOCK))


def tally(db: Connection) -> dict[str, int]:
    """Return the number of records of each type."""
    return dict(db.execute(_TALLY if are_counted(db) else "SELECT type, COUNT(*) FROM events GROUP BY type"))


def ranges(
    db: sqlite3.Connection,
    field: str,
    values: Sequence[str],
    *,
    newest_first: bool,
    after: int,
    before: int | None,
) -> Iterator[tuple[int, int]]:
    """Yield the first and last position of each part of the log that may have records with a value.

    Adjacent blocks are one part. The end of the complete blocks is read before the blocks, so records that
    another process adds in between are in the last part.
    """
    (end,) = db.execute(_END).fetchone()
    last = (end + 1, 2**63 - 1)
    if newest_first:
        yield last
    stop = end if before is None else min(end, before - 1)
    first, beyond, count = after // BLOCK, -(-stop // BLOCK), _BLOCKS_AT_ONCE
    while first < beyond:  # most searches end in the first blocks with a match
        if newest_first:
            some, beyond = (max(first, beyond - count), beyond), max(first, beyond - count)
        else:
            some, first = (first, min(first + count, beyond)), min(first + count, beyond)
        parts = _adjacent(db, field, values, some)
        yield from reversed(parts) if newest_first else parts
        count *= 2
    if not newest_first:
        yield last


def _adjacent(
    db: sqlite3.Connection, field: str, values: Sequence[str], among: tuple[int, int]
) -> list[tuple[int, int]]:
    """Return the parts of these blocks that have a value, by position."""
    parts: list[tuple[int, int]] = []
    for (number,) in db.execute(_NUMBERS, (json.dumps(values), field, *among)):
        if parts and parts[-1][1] == number * BLOCK:
            parts[-1] = (parts[-1][0], (number + 1) * BLOCK)
        else:
            parts.append((number * BLOCK + 1, (number + 1) * BLOCK))
    return parts
