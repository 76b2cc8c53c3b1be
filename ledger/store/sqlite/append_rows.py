"""The rows of an append: those it is decided on, those it writes, and those it removes permanently.

Reading runs after BEGIN IMMEDIATE, so nobody else appends meanwhile. Most appends have one event, so every
query has a variant for one name and one for many. A crash at any line leaves the transaction uncommitted:
SQLite discards it when the file is next opened, and nothing of it was recorded.

``secure_delete`` overwrites a deleted row in its place. It misses copies left in the unused part of a page
when rows moved to another page: about five of 2,000 texts survive this way. It also misses the write-ahead
log, which holds earlier versions of pages. Both are removed afterwards. The erasure is already recorded by
then. A crash in between may leave deleted text in the file or its log; repeating the command that erased it
removes the text.
"""

import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from typing import Any

from ledger.errors import LedgerUnusable
from ledger.job import Job
from ledger.record import Record, StoredRow
from ledger.store.append import BudgetRow, Changes, Keys, Present
from ledger.store.sqlite.blocks import count as count_block
from ledger.store.sqlite.queue import current_token
from ledger.store.sqlite.search import move, unindex, write_listing
from ledger.tree.merkle import TILE_HEIGHT, Frontier

LOG_IN_USE = (
    "another program is reading, so {log} may still contain the text: "
    "close that program and repeat the command, which then empties the file"
)


def no_temporary_files(db: sqlite3.Connection) -> None:
    """Keep temporary tables of `db` in memory from now on; must not be called inside a transaction."""
    db.execute("PRAGMA temp_store = MEMORY")


def rewrite_bodies(db: sqlite3.Connection) -> None:
    """Rewrite the remaining bodies into clean pages, in the open transaction.

    They are held in memory in the meantime (`no_temporary_files`): text that stays today may have to be
    erased tomorrow. Emptying the table frees all its pages, and ``secure_delete`` overwrites them completely.
    """
    db.execute("CREATE TEMP TABLE remaining AS SELECT * FROM private_bodies")
    db.execute("DELETE FROM private_bodies")
    db.execute("INSERT INTO private_bodies SELECT * FROM remaining ORDER BY commitment")
    db.execute("DROP TABLE remaining")


def empty_log(db: sqlite3.Connection) -> bool:
    """Move the write-ahead log into the file and empty it; False if a reader keeps it in use."""
    busy, _, _ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy


_EVENTS = (
    "SELECT event_id, record, payload, leaf FROM events WHERE event_id = ?",
    "SELECT event_id, record, payload, leaf FROM json_each(?) CROSS JOIN events ON event_id = value",
)
_VERSIONS = (
    "SELECT ?1, COALESCE(MAX(version), 0) FROM events WHERE stream = ?1",
    "SELECT value, (SELECT COALESCE(MAX(version), 0) FROM events WHERE stream = value) FROM json_each(?)",
)
_JOBS = (
    "SELECT job_id, body FROM jobs WHERE job_id = ?",
    "SELECT job_id, body FROM json_each(?) CROSS JOIN jobs ON job_id = value",
)
_BODIES = (
    "SELECT commitment FROM private_bodies WHERE commitment = ?",
    "SELECT commitment FROM json_each(?) CROSS JOIN private_bodies ON commitment = value",
)
_HELD = "SELECT COALESCE(SUM(reserved_usd_micros + settled_usd_micros), 0) FROM holds WHERE budget = ?"
_LIMIT = "SELECT payload FROM events WHERE stream = ? AND type = 'budget.set' ORDER BY version DESC LIMIT 1"


def data_version(db: sqlite3.Connection) -> int:
    """Return a number that changes if and only if another connection commits to the file."""
    version: int = db.execute("PRAGMA data_version").fetchone()[0]
    return version


def read(db: sqlite3.Connection, keys: Keys) -> Present:
    """Return the rows in `keys`, and the tree's right edge."""
    present = Present(read_head(db), partial(_budget, db))
    present.events = {name: StoredRow(*row) for name, *row in _select(db, _EVENTS, keys.event_ids)}
    present.versions = dict(_select(db, _VERSIONS, keys.streams))
    begun = [job_id for job_id in keys.jobs if present.versions[job_id]]  # a new stream has no job row
    present.jobs = {job_id: Job.from_canonical(body) for job_id, body in _select(db, _JOBS, begun)}
    present.commitments = {name for (name,) in _select(db, _BODIES, keys.commitments)}
    for job_id in keys.fenced:
        token = current_token(db, job_id)
        if token is not None:
            present.tokens[job_id] = token
    return present


def _select(
    db: sqlite3.Connection, queries: tuple[str, str], names: Collection[str]
) -> Iterable[tuple[Any, ...]]:
    if not names:
        return ()
    of_one, of_many = queries
    if len(names) == 1:
        return db.execute(of_one, tuple(names))
    return db.execute(of_many, (json.dumps(list(names)),))


def _budget(db: sqlite3.Connection, name: str) -> BudgetRow:
    (held,) = db.execute(_HELD, (name,)).fetchone()
    limit = db.execute(_LIMIT, (f"budget_{name}",)).fetchone()
    return BudgetRow(held, limit[0] if limit else None)


def read_head(db: sqlite3.Connection) -> Frontier:
    """Return the tree's right edge; `LedgerUnusable` if it is damaged."""
    row = db.execute("SELECT size, frontier FROM head WHERE id = 1").fetchone()
    try:
        return Frontier.from_bytes(*row)
    except (TypeError, ValueError, AttributeError) as error:
        raise LedgerUnusable(
            f"the ledger's head is damaged ({error if row else 'it is missing'}): "
            "run `sora-ledger verify`, then restore a backup"
        ) from error


blob = bytearray
"""The type in which bytes are passed to `sqlite3`: it binds a `bytearray` directly, but looks for an adapter
of `bytes` every time, which takes several times as long as the copy.
"""
_JOB = """
INSERT INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (job_id) DO UPDATE SET version = excluded.version, position = excluded.position,
    state = excluded.state, profile = excluded.profile, video_id = excluded.video_id, body = excluded.body
"""
_EVENT = "INSERT OR ROLLBACK INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
"""A refused record ends the transaction: to undo this statement alone, SQLite would have to copy each page
before changing it (migration 22).
"""
_SAME = "UPDATE jobs SET version = ?, position = ?, body = ? WHERE job_id = ?"
"""For a job whose other columns are unchanged: their indexes are not touched."""


def write(db: sqlite3.Connection, changes: Changes, tree: Frontier) -> None:
    """Write `changes`, and `tree` as the new right edge."""
    if len(changes.records) == 1:
        db.execute(_EVENT, _event_row(changes.records[0]))
    else:
        db.executemany(_EVENT, map(_event_row, changes.records))
    if changes.nodes:
        db.executemany("INSERT INTO tiles VALUES (?, ?, ?)", changes.nodes)
    if changes.bodies:
        bodies = [
            (body.commitment, at, body.field, blob(body.salt), body.text) for at, body in changes.bodies
        ]
        db.executemany("INSERT INTO private_bodies VALUES (?, ?, ?, ?, ?)", bodies)
    write_listing(db, changes)
    for node in changes.nodes:
        if node.level == TILE_HEIGHT:
            count_block(db, node.number)
            move(db, node.number)
    if changes.erased:
        unindex(db, changes.erased)
        erased = [(name,) for name in changes.erased]
        db.executemany("DELETE FROM private_bodies WHERE commitment = ?", erased)
    same = [job for job in changes.jobs.values() if job.job_id not in changes.moved]
    _many(db, _SAME, [(job.version, job.position, blob(job.canonical()), job.job_id) for job in same])
    if changes.moved:
        write_jobs(db, map(changes.jobs.__getitem__, changes.moved))
    if changes.holds:
        db.executemany("INSERT OR REPLACE INTO holds VALUES (?, ?, ?, ?)", changes.holds.values())
    if changes.documents:
        documents = [(document.sha256, document.body) for document in changes.documents.values()]
        db.executemany("INSERT OR IGNORE INTO documents VALUES (?, ?)", documents)
    db.execute("UPDATE head SET size = ?, frontier = ? WHERE id = 1", (tree.size, blob(tree.to_bytes())))


def write_jobs(db: sqlite3.Connection, jobs: Iterable[Job]) -> None:
    """Insert or update job rows; the owner and the server of a job never change."""
    _many(db, _JOB, list(map(_job_row, jobs)))


def _many(db: sqlite3.Connection, query: str, rows: Sequence[Sequence[object]]) -> None:
    """Run `query` over `rows`, usually one or none; an empty run would cost as much as a short one."""
    if len(rows) == 1:
        db.execute(query, rows[0])
    elif rows:
        db.executemany(query, rows)


def _event_row(record: Record) -> tuple[object, ...]:
    envelope = record.envelope
    return (
        envelope.position,
        envelope.event_id,
        envelope.stream,
        envelope.version,
        envelope.type,
        envelope.actor,
        envelope.trace_id,
        envelope.recorded_at,
        blob(record.record),
        blob(record.payload),
        blob(record.leaf),
    )


def _job_row(job: Job) -> tuple[object, ...]:
    return (
        job.job_id,
        job.version,
        job.position,
        job.state.value,
        job.profile,
        job.video_id,
        blob(job.canonical()),
        job.actor,
        job.team,
    )
