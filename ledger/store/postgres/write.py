"""Writing what appends and imports change: every row, the head and the COMMIT in one round trip.

A crash or a broken connection at any line leaves the transaction uncommitted or committed as a whole: the
server rolls back what was not committed.
"""

from collections.abc import Iterable, Sequence

from ledger.job import Job
from ledger.record import Record
from ledger.store.append import Changes
from ledger.store.postgres.connection import Connection
from ledger.tree.merkle import Frontier

CHANNEL = "sora_ledger_appended"
"""A channel belongs to the database, which may hold several ledgers, so the payload names the schema."""

_EVENT = "INSERT INTO events VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
_TILE = "INSERT INTO tiles VALUES (%s, %s, %s)"
_BODY = "INSERT INTO private_bodies VALUES (%s, %s, %s, %s, %s)"
_ERASE = "DELETE FROM private_bodies WHERE commitment = ANY(%s)"
_JOB = """
INSERT INTO jobs VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (job_id) DO UPDATE SET version = EXCLUDED.version, position = EXCLUDED.position,
    state = EXCLUDED.state, profile = EXCLUDED.profile, video_id = EXCLUDED.video_id, body = EXCLUDED.body
"""
_HOLD = """
INSERT INTO holds VALUES (%s, %s, %s, %s)
ON CONFLICT (budget, job_id) DO UPDATE SET
    reserved_usd_micros = EXCLUDED.reserved_usd_micros, settled_usd_micros = EXCLUDED.settled_usd_micros
"""
_DOCUMENT = "INSERT INTO documents VALUES (%s, %s) ON CONFLICT DO NOTHING"
_HEAD = f"""
UPDATE head SET size = %s, frontier = %s WHERE id = 1
RETURNING pg_notify('{CHANNEL}', current_schema())
"""


def commit(db: Connection, changes: Changes, tree: Frontier) -> None:
    """Write `changes` and the tree's right edge in the transaction that is open, and commit it."""
    bodies = [
        (body.commitment, position, body.field, body.salt, body.text.encode())
        for position, body in changes.bodies
    ]
    with db.pipeline():
        _many(db, _EVENT, [_event_row(record) for record in changes.records])
        _many(db, _TILE, changes.nodes)
        _many(db, _BODY, bodies)
        if changes.erased:
            db.execute(_ERASE, (changes.erased,))
        write_jobs(db, changes.jobs.values())
        _many(db, _HOLD, list(changes.holds.values()))
        _many(db, _DOCUMENT, [(document.sha256, document.body) for document in changes.documents.values()])
        db.execute(_HEAD, (tree.size, tree.to_bytes()))
        db.execute("COMMIT")


def write_jobs(db: Connection, jobs: Iterable[Job]) -> None:
    """Insert job rows, or update them; whose a job is never changes."""
    _many(db, _JOB, [_job_row(job) for job in jobs])


def _many(db: Connection, query: str, rows: Sequence[Sequence[object]]) -> None:
    if rows:
        db.cursor().executemany(query, rows)


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
