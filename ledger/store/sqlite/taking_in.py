"""Rows of another ledger, taken in verbatim: checked against their own hashes and against what is here."""

import sqlite3
from collections.abc import Sequence

from ledger.errors import WrongExpectedVersion
from ledger.private import PrivateBody
from ledger.record import Record
from ledger.store.interface import holds_of
from ledger.store.sqlite.append import Placed, fold_jobs, read_head, write, write_head
from ledger.store.verbatim import Row, intact


def take_in(db: sqlite3.Connection, rows: Sequence[Row]) -> int:
    """Record `rows`, those at or below the head excepted; return how many were new. In a transaction."""
    tree = read_head(db)
    new: list[Record] = []
    bodies: list[tuple[int, PrivateBody]] = []
    for row, row_bodies in rows:
        record, expected = intact(row, row_bodies), tree.size + len(new) + 1
        if record.position <= tree.size:
            _must_be_same(db, record)
        elif record.position != expected:
            raise WrongExpectedVersion(f"import: expected position {expected}, got {record.position}")
        else:
            new.append(record)
            bodies += [(record.position, body) for body in row_bodies]
    jobs = fold_jobs(db, new)
    holds = [hold for job in jobs for hold in holds_of(job)]
    write(db, Placed(new, jobs, bodies, holds), tree)
    write_head(db, tree)
    return len(new)


def _must_be_same(db: sqlite3.Connection, record: Record) -> None:
    row = db.execute("SELECT record, payload FROM events WHERE position = ?", (record.position,)).fetchone()
    if row != (record.record, record.payload):
        raise WrongExpectedVersion(
            f"import: position {record.position} is here already with other content: not the same ledger"
        )
