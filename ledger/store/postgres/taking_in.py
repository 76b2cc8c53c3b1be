"""Rows of another ledger, taken in verbatim: checked against their own hashes and against what is here."""

from collections.abc import Sequence

from ledger.errors import WrongExpectedVersion
from ledger.record import Record
from ledger.store.interface import holds_of
from ledger.store.postgres.append import Changes, add_records
from ledger.store.postgres.connection import Connection
from ledger.store.postgres.present import Keys, begin
from ledger.store.postgres.write import commit
from ledger.store.verbatim import Row, intact

_THERE = "SELECT position, record, payload FROM events WHERE position = ANY(%s)"


def take_in(db: Connection, rows: Sequence[Row]) -> int:
    """Record `rows` in one transaction, those at or below the head excepted; return how many were new."""
    given = [(intact(row, bodies), bodies) for row, bodies in rows]
    present = begin(db, Keys(streams={record.stream for record, _ in given}))
    size = present.tree.size
    _must_be_same(db, [record for record, _ in given if record.position <= size])
    new = [(record, bodies) for record, bodies in given if record.position > size]
    for expected, (record, _) in enumerate(new, size + 1):
        if record.position != expected:
            raise WrongExpectedVersion(f"import: expected position {expected}, got {record.position}")
    changes = Changes()
    bodies = [(record.position, body) for record, of_record in new for body in of_record]
    jobs = add_records([record for record, _ in new], bodies, present, changes)
    changes.holds = {hold[:2]: hold for job in jobs for hold in holds_of(job)}
    if changes:
        commit(db, changes, present.tree)
    return len(new)


def _must_be_same(db: Connection, records: Sequence[Record]) -> None:
    positions = [record.position for record in records]
    rows = db.execute(_THERE, (positions,), binary=True).fetchall() if positions else []
    there = {position: stored for position, *stored in rows}
    for record in records:
        if there.get(record.position) != [record.record, record.payload]:
            raise WrongExpectedVersion(
                f"import: position {record.position} is here already with other content: not the same ledger"
            )
