"""Queries on a ledger on PostgreSQL; each function is one SELECT."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ledger.job import Job
from ledger.private import PrivateBody
from ledger.record import StoredRow
from ledger.store.filters import CREATED_AT, JobFilter, RecordFilter, Unreviewed, key_range
from ledger.store.interface import Hold, Tally
from ledger.store.postgres import queue
from ledger.store.postgres.connection import Connection

PART = 2_000
"""Rows that a server-side cursor fetches at a time."""


def rows(db: Connection, after: int, limit: int, where: RecordFilter) -> list[StoredRow]:
    """Return up to `limit` rows after position `after`, in order."""
    conditions = {
        "stream = %s": where.stream,
        "type = %s": where.type,
        "type = ANY(%s)": None if where.types is None else list(where.types),
        "actor = %s": where.actor,
        "trace_id = %s": where.trace_id,
        "recorded_at >= %s": where.since,
        "recorded_at < %s": where.until,
        "position < %s": where.before,
    }
    bound = {clause: value for clause, value in conditions.items() if value is not None}
    owned, owners = _of_jobs(where.of_jobs)
    clauses = " AND ".join(["position > %s", *bound, *owned])
    order = "position" if where.stream is None else "version"  # the same order, from the stream's index
    direction = "DESC" if where.newest_first else "ASC"
    query = f"SELECT record, payload, leaf FROM events WHERE {clauses} ORDER BY {order} {direction} LIMIT %s"
    cursor = db.execute(query, (after, *bound.values(), *owners, limit), binary=True)
    return [StoredRow(*row) for row in cursor]


def _of_jobs(jobs: tuple[JobFilter, ...] | None) -> tuple[list[str], list[str]]:
    """Return the condition that a record belongs to a job of one of these owners, and its values."""
    if jobs is None:
        return [], []
    owners = [
        {"jobs.team = %s": each.of_team, "jobs.actor = %s": each.of_actor, "jobs.team IS NULL": each.teamless}
        for each in jobs
    ]
    clauses = [" AND ".join(part for part, value in owner.items() if value) or "1 = 1" for owner in owners]
    values = [value for owner in owners for value in owner.values() if isinstance(value, str)]
    matching = " OR ".join(f"({clause})" for clause in clauses)
    return [f"EXISTS (SELECT 1 FROM jobs WHERE jobs.job_id = events.stream AND ({matching}))"], values


def histories(db: Connection, prefix: str, up_to: int, *, backwards: bool) -> Iterator[StoredRow]:
    """Yield the rows of streams that begin with `prefix`, stream by stream; inside a transaction."""
    query = (
        "SELECT record, payload, leaf FROM events WHERE stream >= %s AND stream < %s AND position <= %s "
        f"ORDER BY {'stream DESC, version DESC' if backwards else 'stream, version'}"
    )
    for row in _in_parts(db, query, prefix, prefix + "\U0010ffff", up_to):
        yield StoredRow(*row)


def all_jobs(db: Connection) -> Iterator[Job]:
    """Yield every job row by id; inside a transaction."""
    for (body,) in _in_parts(db, "SELECT body FROM jobs ORDER BY job_id"):
        yield Job.from_canonical(body)


def _in_parts(db: Connection, query: str, *values: object) -> Iterator[tuple[Any, ...]]:
    with db.cursor("parts", binary=True) as cursor:
        cursor.itersize = PART
        yield from cursor.execute(query, values)


def event(db: Connection, event_id: str) -> StoredRow | None:
    """Return the row with this event id."""
    query = "SELECT record, payload, leaf FROM events WHERE event_id = %s"
    row = db.execute(query, (event_id,), binary=True).fetchone()
    return StoredRow(*row) if row else None


def bodies(db: Connection, positions: Sequence[int]) -> Mapping[str, PrivateBody]:
    """Return the private bodies of these positions by commitment."""
    query = "SELECT commitment, field, salt, text FROM private_bodies WHERE position = ANY(%s)"
    cursor = db.execute(query, (list(positions),), binary=True)
    return {
        commitment: PrivateBody(commitment, field, salt, text.decode())
        for commitment, field, salt, text in cursor
    }


def document(db: Connection, sha256: str) -> bytes | None:
    """Return a document by digest."""
    row = db.execute("SELECT body FROM documents WHERE sha256 = %s", (sha256,), binary=True).fetchone()
    return row[0] if row else None


def tally(db: Connection) -> Tally:
    """Return how many records, jobs and leases there are."""
    events: dict[str, int] = dict(db.execute("SELECT type, COUNT(*) FROM events GROUP BY type").fetchall())
    jobs: dict[str, int] = dict(db.execute("SELECT state, COUNT(*) FROM jobs GROUP BY state").fetchall())
    return Tally(events, jobs, *queue.counts(db))


def job(db: Connection, job_id: str) -> Job | None:
    """Return one job row."""
    row = db.execute("SELECT body FROM jobs WHERE job_id = %s", (job_id,), binary=True).fetchone()
    return Job.from_canonical(row[0]) if row else None


_HAS_JOB = """position('"source_job":"'::bytea in body)"""
_HAS_VIDEO = """position('"remix_video_id":"'::bytea in body)"""
_JOB_KEY = f"substring(body from {_HAS_JOB} + 14 for 64)"
_VIDEO_KEY = f"substring(body from {_HAS_VIDEO} + 18 for 512)"
_SOURCE_JOB = f"{_HAS_JOB} > 0 AND {_JOB_KEY} >= %b AND {_JOB_KEY} < %b", 64
_SOURCE_VIDEO = f"{_HAS_VIDEO} > 0 AND {_HAS_JOB} = 0 AND {_VIDEO_KEY} >= %b AND {_VIDEO_KEY} < %b", 512
"""The expressions of the indexes of migration 10, verbatim; without them a ledger is slow to answer."""

_UNREVIEWED = """state IN ('completed', 'stored') AND position('"verdict":null'::bytea in body) > 0"""
_FINALS = " OR ".join(
    f"""position('"purpose":"{purpose}"'::bytea in body) > 0"""
    for purpose in ("final", "marketing", "cinematic", "client")
)
_REVIEWS = {Unreviewed.ALL: _UNREVIEWED, Unreviewed.FINALS: f"{_UNREVIEWED} AND ({_FINALS})"}
"""The conditions of the indexes of migration 11, verbatim."""


def jobs(db: Connection, where: JobFilter, limit: int | None) -> list[Job]:
    """Return job rows, newest first unless the filter is `oldest_first`."""
    clauses, values = ["true"], list[object]()
    if where.states is not None:
        clauses.append("state = ANY(%s)")
        values.append([state.value for state in where.states])
    if where.videos is not None:
        clauses.append("video_id IS NOT NULL AND video_id = ANY(%s)")  # the index has no rows without one
        values.append([video_id.encode() for video_id in where.videos])
    compared = {
        "profile = %s": where.profile,
        "video_id = %s": None if where.video_id is None else where.video_id.encode(),
        "team = %s": where.of_team,
        "actor = %s": where.of_actor,
        "job_id < %s": where.before,
        "job_id > %s": where.after,
    }
    bound = {clause: value for clause, value in compared.items() if value is not None}
    clauses += [*bound, *(["team IS NULL"] if where.teamless else ())]
    clauses += [_REVIEWS[where.unreviewed]] if where.unreviewed else []
    values += bound.values()
    if where.id_prefix is not None:
        clauses.append("job_id >= %s AND job_id < %s")
        values += [where.id_prefix, where.id_prefix + "\U0010ffff"]
    if where.id_suffix is not None:
        clauses.append("right(job_id, %s) = %s")
        values += [len(where.id_suffix), where.id_suffix]
    for (key, longest), source in ((_SOURCE_JOB, where.source_job), (_SOURCE_VIDEO, where.source_video)):
        if source is not None:
            clauses.append(key)
            values += key_range(source, longest)
    for pieces in where.pieces():
        clauses.append(f"({' OR '.join(['position(%b in body) > 0'] * len(pieces)) or 'false'})")
        values += pieces
    for comparison, moment in ((">=", where.since), ("<", where.until)):
        if moment is not None:
            begin = "position(%b in body) + %s"
            clauses.append(f"substring(body from {begin} for %s) {comparison} %b")
            values += [CREATED_AT, len(CREATED_AT), len(moment), moment.encode()]
    order = "ASC" if where.oldest_first else "DESC"
    query = f"SELECT body FROM jobs WHERE {' AND '.join(clauses)} ORDER BY job_id {order} LIMIT %s"
    return [Job.from_canonical(body) for (body,) in db.execute(query, (*values, limit), binary=True)]


def holds(db: Connection, budget: str) -> list[Hold]:
    """Return the holds of `budget`, by job."""
    query = (
        "SELECT budget, job_id, reserved_usd_micros, settled_usd_micros FROM holds "
        "WHERE budget = %s ORDER BY job_id"
    )
    return [Hold(*row) for row in db.execute(query, (budget,))]


def held(db: Connection, budget: str) -> int:
    """Return the sum of all holds of `budget`."""
    query = "SELECT SUM(reserved_usd_micros + settled_usd_micros) FROM holds WHERE budget = %s"
    row = db.execute(query, (budget,)).fetchone()
    return int(row[0] or 0) if row else 0


def nodes(db: Connection, level: int, start: int, count: int) -> list[bytes]:
    """Return tree nodes; a leaf's number is its position less one."""
    leaves = "SELECT leaf FROM events WHERE position > %s AND position <= %s ORDER BY position"
    tiles = "SELECT hash FROM tiles WHERE level = %s AND number >= %s AND number < %s ORDER BY number"
    query = tiles if level else leaves
    values = (level, start, start + count) if level else (start, start + count)
    return [row[0] for row in db.execute(query, values, binary=True)]
