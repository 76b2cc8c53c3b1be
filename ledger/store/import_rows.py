"""Import the rows of another ledger: checked against their own hashes, then added verbatim.

Rows are imported in chunks of `CHUNK`, one transaction each. A crash in between leaves a ledger that is
complete up to the last chunk; repeating the import continues there.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from ledger.canonical import leaf_hash, sha256_hex
from ledger.errors import AppendRefused, WrongExpectedVersion
from ledger.job import JOB_PREFIX
from ledger.private import PrivateBody
from ledger.record import Record, StoredRow
from ledger.store.append import (
    Changes,
    Keys,
    Present,
    add_bodies,
    add_jobs,
    add_records,
    changed_holds,
    fold_jobs,
)

CHUNK = 1_000

Row = tuple[StoredRow, Sequence[PrivateBody]]


def chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Yield `rows` in chunks, one transaction each."""
    left = iter(rows)
    while part := list(islice(left, CHUNK)):
        yield part


def intact(row: StoredRow, bodies: Sequence[PrivateBody]) -> Record:
    """Return the record of a row; `AppendRefused` if it does not match its hashes."""
    record = Record.from_row(row, {body.commitment: body for body in bodies})
    digests = (leaf_hash(row.record), sha256_hex(row.payload))
    if digests != (row.leaf, record.envelope.payload_sha256):
        raise AppendRefused(
            f"import: the row at position {record.position} does not match its hashes: "
            "run `sora-ledger verify` on the ledger it comes from"
        )
    return record


def keys_of(records: Sequence[Record]) -> Keys:
    """Return the rows that importing `records` depends on."""
    streams = {record.stream for record in records}
    return Keys(streams=streams, jobs={stream for stream in streams if stream.startswith(JOB_PREFIX)})


def add_imported(
    records: Sequence[Record], stored: Mapping[int, tuple[bytes, bytes]], present: Present
) -> Changes:
    """Return the changes of importing `records`; nothing for records at or below the head.

    `stored` has record and payload by position for those; they must be identical.
    """
    size = present.tree.size
    for record in records:
        if record.position <= size and stored.get(record.position) != (record.record, record.payload):
            raise WrongExpectedVersion(
                f"import: position {record.position} is already recorded with other content: "
                "this is not the same ledger"
            )
    new = [record for record in records if record.position > size]
    for expected, record in enumerate(new, size + 1):
        if record.position != expected:
            raise WrongExpectedVersion(f"import: expected position {expected}, got {record.position}")
    bodies = [(record.position, body) for record in new for body in record.bodies.values()]
    jobs = fold_jobs(new, present)
    changes = Changes()
    add_records(new, present, changes)
    add_jobs(jobs, changed_holds(jobs, present), present, changes)
    add_bodies(bodies, present, changes)
    return changes
