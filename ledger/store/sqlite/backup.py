"""Copying a ledger file page by page while other processes write to it (SQLite's online backup).

The source is read in one transaction, so the copy is a snapshot and writers are not blocked. A copy is one
file without a write-ahead log, readable only by its owner. It appears under its name once it is complete and
synchronised to disk.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from ledger.errors import LedgerUnusable
from ledger.private_files import NewFile
from ledger.store.sqlite.connection import open_reading, usable

PAGES = 1_000
"""Pages to copy between two progress reports."""


def copy_file(
    source: Path, target: Path, progress: Callable[[int, int], object], check: Callable[[Path], bool]
) -> None:
    """Copy the ledger at `source` to the new file `target`, if `check` accepts the copy."""
    try:
        # An error or Ctrl-C removes the unfinished copy. A crash leaves it under its hidden `.part` name:
        # nothing reads it, and the next backup begins a new one.
        with NewFile(target) as part:
            with usable(source), closing(open_reading(source)) as db:
                _copy(db, part.path, target, progress)
            if check(part.path):
                part.link()
    except FileExistsError:
        raise LedgerUnusable(
            f"{target}: another program created it in the meantime; it was left unchanged"
        ) from None
    except OSError as error:
        raise LedgerUnusable(f"{target}: cannot be written ({error.strerror})") from error


def _copy(db: sqlite3.Connection, part: Path, target: Path, progress: Callable[[int, int], object]) -> None:
    db.execute("BEGIN")
    db.execute("SELECT size FROM head").fetchone()  # from now on this connection reads this snapshot
    trouble = usable(target, what="copy", undone="the unfinished copy was removed")
    with trouble, closing(sqlite3.connect(part, isolation_level=None)) as copy:
        db.backup(copy, pages=PAGES, progress=lambda _, left, total: progress(total - left, total))
        copy.execute("PRAGMA journal_mode = DELETE")
        [(found,), *_] = copy.execute("PRAGMA integrity_check(1)").fetchall()
        if found != "ok":
            raise LedgerUnusable(f"ledger file: the copy is damaged ({found}): make another backup")
