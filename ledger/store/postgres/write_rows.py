"""The rows an append writes: one statement, a no-op unless the ledger is where the append was decided.

The statement moves the head from the edge on which the append was decided to the edge after it, and writes
every row on the condition that it did. The head row serves as the lock: a second append waits there for the
first, finds another edge, and writes nothing. A process that appended last therefore needs no other round
trip (`ledger.store.ahead`). Elsewhere the statement follows `append_rows.begin`, which holds the lock
already.

The rows of a table travel as one array per column, and a single row as its values, so the statement is the
same for two events and for a thousand, and is planned once. After a crash or a broken connection, the
statement was executed as a whole or not at all.
"""

import struct
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import psycopg
from psycopg.adapt import Buffer, Dumper
from psycopg.pq import Format

from ledger.errors import LedgerUnusable
from ledger.job import Job
from ledger.record import Record
from ledger.store.append import Changes
from ledger.store.interface import Fence
from ledger.store.postgres.append_rows import Head
from ledger.store.postgres.connection import Connection, begin_transaction
from ledger.store.postgres.notify import CHANNEL
from ledger.store.postgres.queue import NOW_MS
from ledger.store.postgres.search import counted_rows, indexed_rows, listed_rows, relisted_rows, spent_rows
from ledger.tree.merkle import Frontier

Row = Sequence[object]


class _Part(NamedTuple):
    """How the rows for one table are written: the SQL types of their columns, and the statement."""

    types: str
    statement: str


_PARTS = {
    # The trigger of the log accepts only the next position.
    "events": _Part(
        "bigint text text bigint text text text text bytea bytea bytea",
        "INSERT INTO events SELECT given.* FROM moved, {given} ORDER BY given.c1",
    ),
    "tiles": _Part("integer bigint bytea", "INSERT INTO tiles SELECT given.* FROM moved, {given}"),
    "bodies": _Part(
        "text bigint text bytea bytea", "INSERT INTO private_bodies SELECT given.* FROM moved, {given}"
    ),
    "jobs": _Part(
        "text bigint bigint text text bytea bytea text text",
        "INSERT INTO jobs SELECT given.* FROM moved, {given} ON CONFLICT (job_id) DO UPDATE SET "
        "version = EXCLUDED.version, position = EXCLUDED.position, state = EXCLUDED.state, "
        "profile = EXCLUDED.profile, video_id = EXCLUDED.video_id, body = EXCLUDED.body",
    ),
    "listed": _Part(
        "bigint text text text bytea bytea bytea text text text bigint bigint bigint",
        "INSERT INTO listing SELECT given.* FROM moved, {given}",
    ),
    "relisted": _Part(
        "text text bytea bigint bigint bigint",
        "UPDATE listing SET state = given.c2, model = given.c3, reserved_usd_micros = given.c4, "
        "settled_usd_micros = given.c5, estimated_usd_micros = given.c6 "
        "FROM moved, {given} WHERE listing.job_id = given.c1",
    ),
    "counted": _Part(
        "text text bytea bytea bytea text text bigint",
        "INSERT INTO counts SELECT given.* FROM moved, {given} "
        "ON CONFLICT (month, state, model, requested_model, purpose, actor, team) "
        "DO UPDATE SET jobs = counts.jobs + EXCLUDED.jobs",
    ),
    "spent": _Part(
        "text bytea bytea text text bigint bigint bigint bigint",
        "INSERT INTO spending SELECT given.* FROM moved, {given} "
        "ON CONFLICT (day, model, purpose, actor, team) DO UPDATE SET jobs = spending.jobs + EXCLUDED.jobs, "
        "reserved_usd_micros = spending.reserved_usd_micros + EXCLUDED.reserved_usd_micros, "
        "settled_usd_micros = spending.settled_usd_micros + EXCLUDED.settled_usd_micros, "
        "estimated_usd_micros = spending.estimated_usd_micros + EXCLUDED.estimated_usd_micros",
    ),
    "indexed": _Part(
        "bigint text",
        "INSERT INTO search SELECT given.c1, array_to_tsvector(string_to_array(given.c2, ' ')) "
        "FROM moved, {given}",
    ),
    "holds": _Part(
        "text text bigint bigint",
        "INSERT INTO holds SELECT given.* FROM moved, {given} ON CONFLICT (budget, job_id) DO UPDATE SET "
        "reserved_usd_micros = EXCLUDED.reserved_usd_micros, "
        "settled_usd_micros = EXCLUDED.settled_usd_micros",
    ),
    "documents": _Part(
        "text bytea", "INSERT INTO documents SELECT given.* FROM moved, {given} ON CONFLICT DO NOTHING"
    ),
}
_TYPES = {name: part.types.split() for name, part in _PARTS.items()}
_MOVED = """
moved AS (
    UPDATE head SET size = %b::bigint, frontier = %b::bytea
    WHERE id = 1 AND size = %b::bigint AND frontier = %b::bytea AND xmin::text::bigint = %b::bigint
    RETURNING id, xmin::text::bigint AS xid
)"""
_FENCED = f"""
live AS MATERIALIZED (
    SELECT token.fence FROM moved CROSS JOIN LATERAL (
        SELECT fence FROM work JOIN unnest(%b::text[], %b::bigint[]) AS given (job_id, fence)
        USING (job_id, fence)
        WHERE moved.id = 1 AND holder IS NOT NULL AND until_ms >= {NOW_MS}
        ORDER BY work.job_id FOR SHARE OF work
    ) AS token
), all_live AS MATERIALIZED (
    SELECT 1 / (CASE WHEN COUNT(live.fence) = %b::bigint THEN 1 ELSE 0 END) AS one
    FROM moved LEFT JOIN live ON true HAVING COUNT(moved.id) > 0
)"""
"""Leases are locked after the head, as in `append_rows.begin`; one that is not live aborts the statement with
a division by zero, which undoes the move of the head.
"""


class _Packed(bytes):
    """A value in the binary format of PostgreSQL's protocol; the statement names its type."""

    __slots__ = ()


class _PackedDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: _Packed) -> Buffer:
        return obj


psycopg.adapters.register_dumper(_Packed, _PackedDumper)

_OIDS = {"integer": 23, "bigint": 20, "text": 25, "bytea": 17}
_DIMENSIONS = struct.Struct("!iiIii")
_LENGTH = struct.Struct("!i")
_NUMBERS = {"integer": struct.Struct("!ii"), "bigint": struct.Struct("!iq")}
_NULL = _LENGTH.pack(-1)


def _array(type_: str, values: Sequence[Any]) -> _Packed:
    """Return a column as an array; psycopg takes five times as long."""
    packed = [_DIMENSIONS.pack(1, 1, _OIDS[type_], len(values), 1)]
    if number := _NUMBERS.get(type_):
        packed += [number.pack(number.size - _LENGTH.size, value) for value in values]
        return _Packed(b"".join(packed))
    for value in values:
        if value is None:
            packed.append(_NULL)
        else:
            stored = value.encode() if isinstance(value, str) else value
            packed += _LENGTH.pack(len(stored)), stored
    return _Packed(b"".join(packed))


def _bigint(value: int) -> _Packed:
    return _Packed(value.to_bytes(8, "big", signed=True))


def _value(type_: str, value: Any) -> object:
    """Return a number as eight bytes, whatever its size: other types would cause another plan."""
    return _bigint(value) if type_ in _NUMBERS else value


@cache
def _statement(names: tuple[tuple[str, bool], ...], *, is_fenced: bool) -> bytes:
    """Return the statement that writes the parts with these names, each with one row or several."""
    parts = [_MOVED, *([_FENCED] if is_fenced else [])]
    for name, is_single in names:
        types, statement = _PARTS[name]
        columns = types.split()
        numbered = ", ".join(f"c{number}" for number in range(1, len(columns) + 1))
        if is_single:
            sent = ["%b::bigint::integer" if column == "integer" else f"%b::{column}" for column in columns]
            source = f"(VALUES ({', '.join(sent)})) AS given ({numbered})"
        else:
            arrays = ", ".join(f"%b::{column}[]" for column in columns)
            source = f"unnest({arrays}) AS given ({numbered})"
        if is_fenced and name == "events":
            source += " JOIN all_live ON all_live.one = 1"
        parts.append(f"{name} AS ({statement.format(given=source)})")
    notification = f"SELECT xid, pg_notify('{CHANNEL}', current_schema()) FROM moved"
    return f"WITH {', '.join(parts)} {notification}".encode()


def _write(
    db: Connection, changes: Changes, before: Head, after: Frontier, fences: Collection[Fence] = ()
) -> psycopg.Cursor[tuple[Any, ...]]:
    """Send the statement; it returns one row with its transaction, or none if the head is not `before`."""
    rows = {name: part for name, part in _rows(changes) if part}
    edge, xid = before
    values: list[object] = [_bigint(after.size), after.to_bytes(), _bigint(edge.size), edge.to_bytes()]
    values.append(_bigint(xid))
    if fences:
        jobs, tokens = zip(*fences, strict=True)
        values += _array("text", jobs), _array("bigint", tokens), _bigint(len(fences))
    for name, part in rows.items():
        types = _TYPES[name]
        if len(part) == 1:
            values += map(_value, types, part[0])
        else:
            values += map(_array, types, zip(*part, strict=True))
    names = tuple((name, len(part) == 1) for name, part in rows.items())
    statement = _statement(names, is_fenced=bool(fences))
    return db.execute(statement, values, prepare=None if db.pooled else True)


def write_ahead(
    db: Connection, changes: Changes, before: Head, after: Frontier, fences: Collection[Fence]
) -> int | None:
    """Record `changes` if the head is still `before` and every lease of `fences` is live; else do nothing.

    Return the transaction; None if that condition fails, or if recorded rows conflict with the new ones. The
    append is then decided on the current rows, under the lock.
    """
    try:
        if not db.pooled:
            return _xid(_write(db, changes, before, after, fences))
        with db.pipeline():
            begin_transaction(db)
            written = _write(db, changes, before, after, fences)
            db.execute("COMMIT")
        return _xid(written)
    except (psycopg.IntegrityError, psycopg.errors.DivisionByZero):
        db.rollback()
        return None


def _xid(written: psycopg.Cursor[tuple[Any, ...]]) -> int | None:
    row = written.fetchone()
    return int(row[0]) if row else None


def commit(db: Connection, changes: Changes, before: Head, after: Frontier) -> int:
    """Write `changes` and commit; the open transaction holds the lock of the head, `before`.

    Return the transaction.
    """
    with db.pipeline():
        written = _write(db, changes, before, after)
        if changes.erased:
            for erasing in (_UNINDEX, _ERASE):
                db.execute(erasing, (changes.erased,))
        db.execute("COMMIT")
    xid = _xid(written)
    if xid is None:
        raise LedgerUnusable("the ledger's head changed under its lock: is another program writing to it?")
    return xid


_ERASE = "DELETE FROM private_bodies WHERE commitment = ANY(%s)"
_UNINDEX = """
DELETE FROM search WHERE position IN (SELECT position FROM private_bodies WHERE commitment = ANY(%s))
"""


def _rows(changes: Changes) -> Iterator[tuple[str, Sequence[Row]]]:
    """Yield the rows of `changes` by the name of their part."""
    yield "events", [_event_row(record) for record in changes.records]
    yield "tiles", changes.nodes
    yield (
        "bodies",
        [
            (body.commitment, position, body.field, body.salt, body.text.encode())
            for position, body in changes.bodies
        ],
    )
    yield "jobs", [_job_row(job) for job in changes.jobs.values()]
    if changes.counts or changes.relisted:
        yield "listed", listed_rows(changes)
        yield "relisted", relisted_rows(changes)
        yield "counted", counted_rows(changes)
        yield "spent", spent_rows(changes)
        yield "indexed", indexed_rows(changes)
    yield "holds", list(changes.holds.values())
    yield "documents", [(document.sha256, document.body) for document in changes.documents.values()]


_JOB = "INSERT INTO jobs VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"


def insert_jobs(db: Connection, jobs: Iterable[Job]) -> None:
    """Insert job rows; the table is still empty."""
    db.cursor().executemany(_JOB, map(_job_row, jobs))


def _event_row(record: Record) -> tuple[object, ...]:
    return (
        record.position,
        record.event_id,
        record.stream,
        record.version,
        record.type,
        record.actor,
        record.trace_id,
        record.recorded_at,
        record.record,
        record.payload,
        record.leaf,
    )


def _job_row(job: Job) -> tuple[object, ...]:
    video_id = None if job.video_id is None else job.video_id.encode()
    return (
        job.job_id,
        job.version,
        job.position,
        job.state.value,
        job.profile,
        video_id,
        job.canonical(),
        job.actor,
        job.team,
    )
