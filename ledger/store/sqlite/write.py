"""Writing what appends and imports change, inside the transaction that is open.

A crash at any line leaves the transaction uncommitted: SQLite discards it when the file is next opened, and
nothing of it was recorded.
"""

import sqlite3
from collections.abc import Iterable, Sequence

from ledger.job import Job
from ledger.record import Record
from ledger.store.append import Changes
from ledger.tree.merkle import Frontier

_JOB = """
INSERT INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (job_id) DO UPDATE SET version = excluded.version, position = excluded.position,
    state = excluded.state, profile = excluded.profile, video_id = excluded.video_id, body = excluded.body
"""


def write(db: sqlite3.Connection, changes: Changes, tree: Frontier) -> None:
    """Write `changes`, and `tree` as the new right edge."""
    _many(
        db,
        "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        list(map(_event_row, changes.records)),
    )
    _many(db, "INSERT INTO tiles VALUES (?, ?, ?)", changes.nodes)
    bodies = [
        (body.commitment, position, body.field, body.salt, body.text) for position, body in changes.bodies
    ]
    _many(db, "INSERT INTO private_bodies VALUES (?, ?, ?, ?, ?)", bodies)
    _many(db, "DELETE FROM private_bodies WHERE commitment = ?", [(name,) for name in changes.erased])
    write_jobs(db, changes.jobs.values())
    _many(db, "INSERT OR REPLACE INTO holds VALUES (?, ?, ?, ?)", list(changes.holds.values()))
    documents = [(document.sha256, document.body) for document in changes.documents.values()]
    _many(db, "INSERT OR IGNORE INTO documents VALUES (?, ?)", documents)
    db.execute("UPDATE head SET size = ?, frontier = ? WHERE id = 1", (tree.size, tree.to_bytes()))


def write_jobs(db: sqlite3.Connection, jobs: Iterable[Job]) -> None:
    """Insert job rows, or update them; whose a job is never changes."""
    db.executemany(_JOB, map(_job_row, jobs))


def _many(db: sqlite3.Connection, query: str, rows: Sequence[Sequence[object]]) -> None:
    if rows:  # a statement that is run over no rows costs as much as a short one
        db.executemany(query, rows)


def _event_row(record: Record) -> tuple[object, ...]:
    envelope = record.envelope
    return (
        envelope["position"],
        envelope["event_id"],
        envelope["stream"],
        envelope["version"],
        envelope["type"],
        envelope["actor"],
        envelope["trace_id"],
        envelope["recorded_at"],
        record.record,
        record.payload,
        record.leaf,
    )


def _job_row(job: Job) -> tuple[object, ...]:
    return (
        job.job_id,
        job.version,
        job.position,
        job.state.value,
        job.profile,
        job.video_id,
        job.canonical(),
        job.actor,
        job.team,
    )
