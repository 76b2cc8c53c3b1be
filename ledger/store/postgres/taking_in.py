"""Rows of another ledger, taken in verbatim: checked against their own hashes and against what is here."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from ledger.canonical import sha256_hex
from ledger.errors import AppendRefused, WrongExpectedVersion
from ledger.merkle import leaf_hash
from ledger.private import PrivateBody
from ledger.record import Record, StoredRow
from ledger.store.interface import holds_of
from ledger.store.postgres.append import Changes, add_records
from ledger.store.postgres.connection import Connection
from ledger.store.postgres.present import Keys, begin
from ledger.store.postgres.write import commit

CHUNK = 1_000

Row = tuple[StoredRow, Sequence[PrivateBody]]
_THERE = "SELECT position, record, payload FROM events WHERE position = ANY(%s)"


def chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Yield `rows` in parts, one transaction each."""
    left = iter(rows)
    while part := list(islice(left, CHUNK)):
        yield part


def take_in(db: Connection, rows: Sequence[Row]) -> int:
    """Record `rows` in one transaction, those at or below the head excepted; return how many were new."""
    given = [(_intact(row, bodies), bodies) for row, bodies in rows]
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


def _intact(row: StoredRow, bodies: Sequence[PrivateBody]) -> Record:
    record = Record.from_row(row, {body.commitment: body for body in bodies})
    digests = (leaf_hash(row.record), sha256_hex(row.payload))
    if digests != (row.leaf, record.envelope["payload_sha256"]):
        raise AppendRefused(
            f"import: position {record.position} is not what its hashes say: "
            "run `sora-ledger verify` on the ledger it comes from"
        )
    return record


def _must_be_same(db: Connection, records: Sequence[Record]) -> None:
    positions = [record.position for record in records]
    rows = db.execute(_THERE, (positions,), binary=True).fetchall() if positions else []
    there = {position: stored for position, *stored in rows}
    for record in records:
        if there.get(record.position) != [record.record, record.payload]:
            raise WrongExpectedVersion(
                f"import: position {record.position} is here already with other content: not the same ledger"
            )
