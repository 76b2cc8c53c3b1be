"""Removing what a deleted row leaves in a SQLite file.

``secure_delete`` overwrites a deleted row in its place. It does not reach copies that were left in the unused
part of a page when rows moved to another page: about five of 2,000 texts survive this way. Nor does it reach
the write-ahead log, which holds earlier versions of pages.

The erasure is already recorded when this runs. A crash in between may leave deleted text in the file or its
log; repeating the command that erased it removes the text.
"""

import sqlite3

LOG_IN_USE = (
    "another program is reading, so {log} may still contain the text: "
    "close that program and repeat the command, which then empties the file"
)


def no_temporary_files(db: sqlite3.Connection) -> None:
    """Keep temporary tables of `db` in memory from now on; not inside a transaction."""
    db.execute("PRAGMA temp_store = MEMORY")


def rewrite_bodies(db: sqlite3.Connection) -> None:
    """Rewrite the remaining bodies into clean pages, in the transaction that is open.

    They are held in memory meanwhile (`no_temporary_files`): what stays today may have to be erased tomorrow.
    Emptying the table frees all of its pages, and ``secure_delete`` overwrites them completely.
    """
    db.execute("CREATE TEMP TABLE remaining AS SELECT * FROM private_bodies")
    db.execute("DELETE FROM private_bodies")
    db.execute("INSERT INTO private_bodies SELECT * FROM remaining ORDER BY commitment")
    db.execute("DROP TABLE remaining")


def empty_log(db: sqlite3.Connection) -> bool:
    """Move the write-ahead log into the file and empty it; False if a reader keeps it in use."""
    busy, _, _ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy
