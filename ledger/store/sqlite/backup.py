"""Copying a ledger file as a whole, page by page, while others write to it (SQLite's online backup).

The source is read in one transaction, so the copy is the ledger of one moment and writers go on. A copy is
one file without a write-ahead log beside it, readable by its owner alone; it appears under its name once it
is complete and synchronised to disk, and an interrupted one leaves nothing.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from ledger.errors import LedgerUnusable
from ledger.private_files import NewFile
from ledger.store.sqlite.connection import open_reading, usable

PAGES = 1_000
"""How many pages go between two reports of progress."""


def copy_file(
    source: Path, target: Path, progress: Callable[[int, int], object], check: Callable[[Path], bool]
) -> None:
    """Copy the ledger at `source` to the new file `target`, if `check` of the copy says so."""
    try:
        with NewFile(target) as part:
            with usable(source), closing(open_reading(source)) as db:
                _copy(db, part.path, target, progress)
            if check(part.path):
                part.link()
    except FileExistsError:
        raise LedgerUnusable(f"{target}: it appeared meanwhile and was left as it is") from None
    except OSError as error:
        raise LedgerUnusable(f"{target}: it cannot be written ({error.strerror})") from error


def _copy(db: sqlite3.Connection, part: Path, target: Path, progress: Callable[[int, int], object]) -> None:
    db.execute("BEGIN")
    db.execute("SELECT size FROM head").fetchone()  # from here on this connection sees this moment
    trouble = usable(target, what="copy", undone="nothing is left of the copy")
    with trouble, closing(sqlite3.connect(part, isolation_level=None)) as copy:
        db.backup(copy, pages=PAGES, progress=lambda _, left, total: progress(total - left, total))
        copy.execute("PRAGMA journal_mode = DELETE")
        [(found,), *_] = copy.execute("PRAGMA integrity_check(1)").fetchall()
        if found != "ok":
            raise LedgerUnusable(f"ledger file: it is damaged ({found}): take another backup")
