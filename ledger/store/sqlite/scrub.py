"""What deleting a row leaves in a SQLite file, and how it is taken out.

``secure_delete`` overwrites a deleted row where it stands. It does not reach copies that were left in the
unused part of a page when rows moved to another page: of 2,000 texts some five survive so. Nor does it reach
the write-ahead log, which holds pages as they were.
"""

import sqlite3

LOG_IN_USE = (
    "another program is reading, so {log} may still hold the text: "
    "close it and repeat the command, which then empties that file"
)


def no_temporary_files(db: sqlite3.Connection) -> None:
    """Have `db` keep temporary tables in memory from now on; not inside a transaction."""
    db.execute("PRAGMA temp_store = MEMORY")


def rewrite_bodies(db: sqlite3.Connection) -> None:
    """Write the bodies that are left into clean pages, in the transaction that is open.

    They wait in memory (`no_temporary_files`), for what is kept today may have to be erased tomorrow.
    Emptying a table gives all of its pages back, and those are overwritten as a whole.
    """
    db.execute("CREATE TEMP TABLE kept AS SELECT * FROM private_bodies")
    db.execute("DELETE FROM private_bodies")
    db.execute("INSERT INTO private_bodies SELECT * FROM kept ORDER BY commitment")
    db.execute("DROP TABLE kept")


def empty_log(db: sqlite3.Connection) -> bool:
    """Move the write-ahead log into the file and empty it; False if somebody reading keeps it in use."""
    busy, _, _ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy
