"""Removing what a deleted row leaves in PostgreSQL's files, as far as this is possible.

The erasure is already recorded when this runs. A crash in between leaves deleted rows in the server's files;
repeating the command that erased them, or VACUUM FULL, removes them.
"""

import re
import time

import psycopg

from ledger.store.postgres.connection import Connection

DEAD_ROWS = (
    "the server keeps deleted rows in its files until the table is rewritten, which its owner does with: "
    "VACUUM FULL private_bodies"
)
STILL_SEEN = (
    "an older transaction still keeps the deleted rows in the server's files: end it and repeat the command"
)
BEHIND_POOLER = (
    "the server keeps deleted rows in its files until the table is rewritten, which needs a connection "
    "without a pooler: repeat the command with the URL of the PostgreSQL server itself (--ledger)"
)
LOCK_TIMEOUT = "3s"
"""While this waits for the lock of the table, every other user of the table waits as well."""

TRIES = 5
PAUSE_S = 0.2
ELSEWHERE = (
    "the server's write-ahead log, WAL archives, replicas' logs and dumps contain the text until they are "
    "recycled or expire"
)
_FILE = "SELECT pg_relation_filenode('private_bodies')"


def rewrite_bodies(db: Connection) -> list[str]:
    """Rewrite the table of bodies, outside a transaction; say where erased text may remain."""
    if db.pooled:
        return [BEHIND_POOLER, ELSEWHERE]
    usual = db.execute("SELECT current_setting('lock_timeout')").fetchone()
    db.execute("SELECT set_config('lock_timeout', %s, false)", (LOCK_TIMEOUT,))
    try:
        for _ in range(TRIES):  # other transactions are usually short
            left = _try_to_rewrite(db)
            if left != [STILL_SEEN, ELSEWHERE]:
                break
            time.sleep(PAUSE_S)
    finally:
        db.execute("SELECT set_config('lock_timeout', %s, false)", usual)
    return left


def _try_to_rewrite(db: Connection) -> list[str]:
    details: list[str] = []

    def collect(diagnostic: psycopg.errors.Diagnostic) -> None:
        details.append(diagnostic.message_detail or "")

    before = db.execute(_FILE).fetchone()
    db.add_notice_handler(collect)
    try:
        db.execute("VACUUM (FULL, VERBOSE) private_bodies")
    except psycopg.errors.InsufficientPrivilege:
        return [DEAD_ROWS, ELSEWHERE]
    except psycopg.errors.LockNotAvailable:
        return [STILL_SEEN, ELSEWHERE]
    finally:
        db.remove_notice_handler(collect)
    if db.execute(_FILE).fetchone() == before:  # without the right, the server only warns and skips the table
        return [DEAD_ROWS, ELSEWHERE]
    return [STILL_SEEN, ELSEWHERE] if _rows_remain(details) else [ELSEWHERE]


def _rows_remain(details: list[str]) -> bool:
    """Return True if VACUUM reports dead rows it could not remove: a number comes first."""
    counts = [re.match(r"\d+", detail) for detail in details]
    return any(count and int(count[0]) for count in counts)
