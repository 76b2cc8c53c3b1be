"""Rows of another ledger, before any store has seen them: in parts, and checked against their own hashes."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from ledger.canonical import leaf_hash, sha256_hex
from ledger.errors import AppendRefused
from ledger.private import PrivateBody
from ledger.record import Record, StoredRow

CHUNK = 1_000

Row = tuple[StoredRow, Sequence[PrivateBody]]


def chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Yield `rows` in parts, one transaction each."""
    left = iter(rows)
    while part := list(islice(left, CHUNK)):
        yield part


def intact(row: StoredRow, bodies: Sequence[PrivateBody]) -> Record:
    """Return the record of a row; `AppendRefused` if it is not what its hashes say."""
    record = Record.from_row(row, {body.commitment: body for body in bodies})
    digests = (leaf_hash(row.record), sha256_hex(row.payload))
    if digests != (row.leaf, record.envelope["payload_sha256"]):
        raise AppendRefused(
            f"import: position {record.position} is not what its hashes say: "
            "run `sora-ledger verify` on the ledger it comes from"
        )
    return record
