"""What deleting a row leaves in PostgreSQL's files, and how far it is taken out."""

import re
import time

import psycopg

from ledger.store.postgres.connection import Connection

DEAD_ROWS = (
    "the server keeps deleted rows in its files until the table is written anew, which its owner does with: "
    "VACUUM FULL private_bodies"
)
STILL_SEEN = (
    "a transaction that began before still keeps the deleted rows in the server's files: "
    "end it and repeat the command"
)
BEHIND_POOLER = (
    "the server keeps deleted rows in its files until the table is written anew, which needs a connection "
    "without a pooler in between: repeat the command with the URL of the PostgreSQL server itself (--ledger)"
)
LOCK_TIMEOUT = "3s"
"""While the table's lock is waited for, nobody else gets at it."""

TRIES = 5
PAUSE_S = 0.2
ELSEWHERE = (
    "the server's write-ahead log, WAL archives, replicas' logs and dumps hold the text until they are "
    "recycled or expire"
)
_FILE = "SELECT pg_relation_filenode('private_bodies')"


def rewrite_bodies(db: Connection) -> list[str]:
    """Write the table of bodies anew, outside a transaction; say where erased ones may be left."""
    if db.pooled:
        return [BEHIND_POOLER, ELSEWHERE]
    usual = db.execute("SELECT current_setting('lock_timeout')").fetchone()
    db.execute("SELECT set_config('lock_timeout', %s, false)", (LOCK_TIMEOUT,))
    try:
        for _ in range(TRIES):  # other transactions are short, as a rule
            left = _try_to_rewrite(db)
            if left != [STILL_SEEN, ELSEWHERE]:
                break
            time.sleep(PAUSE_S)
    finally:
        db.execute("SELECT set_config('lock_timeout', %s, false)", usual)
    return left


def _try_to_rewrite(db: Connection) -> list[str]:
    told: list[str] = []

    def listen(diagnostic: psycopg.errors.Diagnostic) -> None:
        told.append(diagnostic.message_detail or "")

    before = db.execute(_FILE).fetchone()
    db.add_notice_handler(listen)
    try:
        db.execute("VACUUM (FULL, VERBOSE) private_bodies")
    except psycopg.errors.InsufficientPrivilege:
        return [DEAD_ROWS, ELSEWHERE]
    except psycopg.errors.LockNotAvailable:
        return [STILL_SEEN, ELSEWHERE]
    finally:
        db.remove_notice_handler(listen)
    if db.execute(_FILE).fetchone() == before:  # who may not is warned, and the table passed over
        return [DEAD_ROWS, ELSEWHERE]
    return [STILL_SEEN, ELSEWHERE] if _kept(told) else [ELSEWHERE]


def _kept(details: list[str]) -> bool:
    """Say whether VACUUM told of dead rows it could not remove: a number first, whatever the language."""
    counts = [re.match(r"\d+", detail) for detail in details]
    return any(count and int(count[0]) for count in counts)
