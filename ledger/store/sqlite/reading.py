"""Queries on a ledger in a SQLite file; each function is one SELECT or a few."""

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from ledger.job import OVER, Job
from ledger.private import PrivateBody
from ledger.record import StoredRow
from ledger.store.filters import CREATED_AT, JobFilter, RecordFilter, Unreviewed, key_range
from ledger.store.interface import Hold, Tally
from ledger.store.sqlite import blocks, queue
from ledger.store.sqlite.connection import Connection

LAST_LETTER = "\U0010ffff"
"""Sorts after any character that may follow in a name."""
_VARIABLES = 500
_ROW = "CAST(record AS BLOB), CAST(payload AS BLOB), CAST(leaf AS BLOB)"
_BODY = "commitment, field, CAST(salt AS BLOB), CAST(text AS TEXT)"
"""SQLite stores any type in any column. Cast to the right type, a changed value fails its hash check."""


_stored: Callable[[tuple[Any, ...]], StoredRow] = partial(tuple.__new__, StoredRow)
"""Builds a log row from its columns, in a third of the time of calling `StoredRow`."""


def rows(db: Connection, after: int, limit: int, where: RecordFilter) -> list[StoredRow]:
    """Return up to `limit` rows after position `after`, in order."""
    conditions = {
        "stream = ?": where.stream,
        "type = ?": where.type,
        "type IN (SELECT value FROM json_each(?))": None if where.types is None else json.dumps(where.types),
        "actor = ?": where.actor,
        "trace_id = ?": where.trace_id,
        "recorded_at >= ?": where.since,
        "recorded_at < ?": where.until,
        "position < ?": where.before,
    }
    bound = {clause: value for clause, value in conditions.items() if value is not None}
    if where.stream is not None:  # a stream is short; "+" keeps SQLite to the stream's index
        bound = {clause if clause == "stream = ?" else f"+{clause}": value for clause, value in bound.items()}
    owned, owners = _of_jobs(where.of_jobs)
    clauses = " AND ".join(["position > ?", *bound, *owned])
    order = "position" if where.stream is None else "version"  # the same order, from the stream's index
    direction = "DESC" if where.newest_first else "ASC"
    query = f"SELECT {_ROW} FROM events WHERE {{}} ORDER BY {order} {direction} LIMIT ?"
    values = (after, *bound.values(), *owners)
    field, wanted = "type", where.types or (() if where.type is None else (where.type,))
    if where.trace_id is not None:
        field, wanted = "trace_id", (where.trace_id,)
    if where.stream is not None or not wanted or not blocks.are_counted(db):
        return list(map(_stored, db.execute(query.format(clauses), (*values, limit))))
    stored: list[StoredRow] = []
    query = query.format(f"position BETWEEN ? AND ? AND {clauses}")
    for part in blocks.ranges(
        db, field, wanted, newest_first=where.newest_first, after=after, before=where.before
    ):
        stored += map(_stored, db.execute(query, (*part, *values, limit - len(stored))))
        if len(stored) >= limit:
            break
    return stored


def _of_jobs(jobs: tuple[JobFilter, ...] | None) -> tuple[list[str], list[str]]:
    """Return the condition that a record belongs to a job of one of these owners, and its values."""
    if jobs is None:
        return [], []
    owners = [
        {"jobs.team = ?": each.of_team, "jobs.actor = ?": each.of_actor, "jobs.team IS NULL": each.teamless}
        for each in jobs
    ]
    clauses = [" AND ".join(part for part, value in owner.items() if value) or "1 = 1" for owner in owners]
    values = [value for owner in owners for value in owner.values() if isinstance(value, str)]
    matching = " OR ".join(f"({clause})" for clause in clauses)
    return [f"EXISTS (SELECT 1 FROM jobs WHERE jobs.job_id = events.stream AND ({matching}))"], values


def histories(db: sqlite3.Connection, prefix: str, up_to: int, *, backwards: bool) -> Iterator[StoredRow]:
    """Yield the rows of streams that begin with `prefix`, stream by stream."""
    query = (
        f"SELECT {_ROW} FROM events WHERE stream >= ? AND stream < ? AND position <= ? "
        f"ORDER BY {'stream DESC, version DESC' if backwards else 'stream, version'}"
    )
    yield from map(_stored, db.execute(query, (prefix, prefix + LAST_LETTER, up_to)))


def event(db: sqlite3.Connection, event_id: str) -> StoredRow | None:
    """Return the row with this event id."""
    query = f"SELECT {_ROW} FROM events WHERE event_id = ?"
    row = db.execute(query, (event_id,)).fetchone()
    return StoredRow(*row) if row else None


def bodies(db: sqlite3.Connection, positions: Sequence[int]) -> Mapping[str, PrivateBody]:
    """Return the private bodies of these positions by commitment."""
    by_commitment: dict[str, PrivateBody] = {}
    for start in range(0, len(positions), _VARIABLES):
        part = positions[start : start + _VARIABLES]
        marks = ",".join("?" * len(part))
        query = f"SELECT {_BODY} FROM private_bodies WHERE position IN ({marks})"
        by_commitment.update((row[0], PrivateBody(*row)) for row in db.execute(query, part))
    return by_commitment


def document(db: sqlite3.Connection, sha256: str) -> bytes | None:
    """Return a document by digest."""
    row = db.execute("SELECT CAST(body AS BLOB) FROM documents WHERE sha256 = ?", (sha256,)).fetchone()
    return row[0] if row else None


def job(db: sqlite3.Connection, job_id: str) -> Job | None:
    """Return one job row."""
    row = db.execute("SELECT body FROM jobs WHERE job_id = ?", (job_id,)).fetchone()
    return Job.from_canonical(row[0]) if row else None


_HAS_JOB = """instr(body, CAST('"source_job":"' AS BLOB))"""
_HAS_VIDEO = """instr(body, CAST('"remix_video_id":"' AS BLOB))"""
_JOB_KEY, _VIDEO_KEY = f"substr(body, {_HAS_JOB} + 14, 64)", f"substr(body, {_HAS_VIDEO} + 18, 512)"
_SOURCE_JOB = f"{_HAS_JOB} > 0 AND {_JOB_KEY} >= ? AND {_JOB_KEY} < ?", 64
_SOURCE_VIDEO = f"{_HAS_VIDEO} > 0 AND {_HAS_JOB} = 0 AND {_VIDEO_KEY} >= ? AND {_VIDEO_KEY} < ?", 512
"""Query for the jobs made from a job, in a ledger of an older schema opened for reading."""


def _has(*pieces: str) -> str:
    condition = " OR ".join(f"instr(body, CAST('{piece}' AS BLOB)) > 0" for piece in pieces)
    return condition if len(pieces) == 1 else f"({condition})"


_UNREVIEWED = f"""{_has('"state":"completed"', '"state":"stored"')} AND {_has('"verdict":null')}"""
_FINALS = _has(*(f'"purpose":"{purpose}"' for purpose in ("final", "marketing", "cinematic", "client")))
_REVIEWS = {Unreviewed.ALL: _UNREVIEWED, Unreviewed.FINALS: f"{_UNREVIEWED} AND {_FINALS}"}
"""Query for the queues of reviewers, in a ledger of an older schema opened for reading."""
_COLUMNS = 15
"""From this schema version on, `listing` has indexed columns for these queries."""
_OPEN = "listing.state IN ('completed', 'stored') AND listing.verdict = ''"
_FINAL = "listing.purpose IN ('final', 'marketing', 'cinematic', 'client')"
_LISTED = {Unreviewed.ALL: _OPEN, Unreviewed.FINALS: f"{_OPEN} AND {_FINAL}"}
"""The conditions of the indexes of migration 15, verbatim."""


def _special(db: Connection, where: JobFilter) -> tuple[str, list[str], list[str | bytes]]:
    """Return tables, conditions and their values for a query by source or by queue of reviewers."""
    if where.source_job is where.source_video is where.unreviewed is None:
        return "jobs", [], []
    if db.schema < _COLUMNS:
        return _special_of_bytes(where)
    clauses, values, indexes = list[str](), list[str | bytes](), list[str]()
    if where.source_job is not None:
        clauses.append("listing.source_job <> '' AND listing.source_job = ?")
        values.append(where.source_job)
        indexes.append("source_job")
    if where.source_video is not None:
        clauses.append("listing.source_video <> '' AND listing.source_job = '' AND listing.source_video = ?")
        values.append(where.source_video)
        indexes.append("source_video")
    if where.unreviewed is not None:
        clauses.append(_LISTED[where.unreviewed])
        indexes.append("unreviewed" if where.unreviewed is Unreviewed.ALL else "unreviewed_finals")
    tables = f"listing INDEXED BY listing_{indexes[0]} CROSS JOIN jobs USING (job_id)"
    return tables, clauses, values


def _special_of_bytes(where: JobFilter) -> tuple[str, list[str], list[str | bytes]]:
    clauses, values = list[str](), list[str | bytes]()
    for (key, longest), source in ((_SOURCE_JOB, where.source_job), (_SOURCE_VIDEO, where.source_video)):
        if source is not None:
            clauses.append(key)
            values += key_range(source, longest)
    clauses += [_REVIEWS[where.unreviewed]] if where.unreviewed else []
    return "jobs", clauses, values


def jobs(db: Connection, where: JobFilter, limit: int | None = None) -> list[Job]:
    """Return job rows, newest first unless the filter is `oldest_first`."""
    tables, clauses, special = _special(db, where)
    values: list[str | int | bytes] = [*special]
    if where.states is not None:
        clauses.append(f"jobs.state IN ({','.join('?' * len(where.states))})")
        values += [state.value for state in where.states]
    if where.videos is not None:
        clauses.append("video_id IN (SELECT value FROM json_each(?))")
        values.append(json.dumps(where.videos))
    under_way = where.states is not None and not any(state.value in OVER for state in where.states)
    apart = "+" if where.unreviewed or under_way else ""  # keeps SQLite off the index of the owner
    compared = {
        "jobs.profile = ?": where.profile,
        "video_id = ?": where.video_id,
        f"{apart}jobs.team = ?": where.of_team,
        f"{apart}jobs.actor = ?": where.of_actor,
        "job_id < ?": where.before,
        "job_id > ?": where.after,
    }
    bound = {clause: value for clause, value in compared.items() if value is not None}
    clauses += [*bound, *([f"{apart}jobs.team IS NULL"] if where.teamless else ())]
    values += bound.values()
    if where.id_prefix is not None:
        clauses.append("job_id >= ? AND job_id < ?")
        values += [where.id_prefix, where.id_prefix + LAST_LETTER]
    if where.id_suffix is not None:
        clauses.append("substr(job_id, ?) = ?")
        values += [-len(where.id_suffix), where.id_suffix]
    for pieces in where.pieces():
        clauses.append(f"({' OR '.join(['instr(body, ?)'] * len(pieces)) or '0'})")
        values += pieces
    for comparison, moment in ((">=", where.since), ("<", where.until)):
        if moment is not None:
            clauses.append(f"substr(body, instr(body, ?) + ?, ?) {comparison} ?")
            values += [CREATED_AT, len(CREATED_AT), len(moment), moment.encode()]
    order = "ASC" if where.oldest_first else "DESC"
    query = f"SELECT body FROM {tables} WHERE {' AND '.join(clauses or '1')} ORDER BY job_id {order} LIMIT ?"
    rows = db.execute(query, (*values, -1 if limit is None else limit)).fetchall()
    return [Job.from_canonical(body) for (body,) in rows]


def all_jobs(db: sqlite3.Connection) -> Iterator[Job]:
    """Yield every job row by id."""
    for (body,) in db.execute("SELECT body FROM jobs ORDER BY job_id"):
        yield Job.from_canonical(body)


def holds(db: sqlite3.Connection, budget: str) -> list[Hold]:
    """Return the holds of `budget`, by job."""
    rows = db.execute("SELECT * FROM holds WHERE budget = ? ORDER BY job_id", (budget,)).fetchall()
    return [Hold(*row) for row in rows]


def held(db: sqlite3.Connection, budget: str) -> int:
    """Return the sum of all holds of `budget`."""
    query = "SELECT SUM(reserved_usd_micros + settled_usd_micros) FROM holds WHERE budget = ?"
    return int(db.execute(query, (budget,)).fetchone()[0] or 0)


def tally(db: Connection) -> Tally:
    """Return how many records, jobs and leases there are."""
    jobs = dict(db.execute("SELECT state, COUNT(*) FROM jobs GROUP BY state"))
    return Tally(blocks.tally(db), jobs, *queue.counts(db))


def nodes(db: sqlite3.Connection, level: int, start: int, count: int) -> list[bytes]:
    """Return tree nodes; a leaf's number is its position less one."""
    leaves = "SELECT CAST(leaf AS BLOB) FROM events WHERE position > ? AND position <= ? ORDER BY position"
    where = "level = ? AND number >= ? AND number < ? ORDER BY number"
    tiles = f"SELECT CAST(hash AS BLOB) FROM tiles WHERE {where}"
    if level == 0:
        rows = db.execute(leaves, (start, start + count)).fetchall()
    else:
        rows = db.execute(tiles, (level, start, start + count)).fetchall()
    return [row[0] for row in rows]
