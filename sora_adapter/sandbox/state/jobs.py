"""The jobs: what was requested, never a status, which `lifecycle` computes.

A job contains everything it is made from: the prompts of its whole chain, and the acts of the clip it
continues. So it can still be rendered after its parents are deleted. Reference images and uploaded videos are
stored here too, once each, as long as a job needs them.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sora_adapter.sandbox.state.database import Database, Row, marks
from sora_adapter.sandbox.state.lifecycle import FAIL_MARKER, Moment, moment_of

COUNTED = (
    "creates", "remixes", "edits", "extensions", "characters", "retrieves", "lists", "contents", "deletes",
    "webhooks",
)  # fmt: skip

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    model TEXT NOT NULL,
    size TEXT NOT NULL,
    seconds TEXT NOT NULL,
    prompts TEXT NOT NULL,
    reference_sha256 TEXT REFERENCES files,
    remixed_from_video_id TEXT,
    created_at REAL NOT NULL,
    render_seconds REAL NOT NULL,
    expire_seconds INTEGER NOT NULL,
    request_id TEXT NOT NULL,
    client_request_id TEXT,
    traceparent TEXT,
    footage_sha256 TEXT REFERENCES files,
    earlier TEXT NOT NULL,
    cast_ids TEXT NOT NULL,
    cast_names TEXT NOT NULL,
    is_announced INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS jobs_by_end ON jobs (created_at + render_seconds);
CREATE INDEX IF NOT EXISTS jobs_unannounced ON jobs (created_at + render_seconds) WHERE NOT is_announced;
CREATE TABLE IF NOT EXISTS files (sha256 TEXT PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS counts (name TEXT PRIMARY KEY, asked INTEGER NOT NULL) STRICT;
"""
_COLUMNS = (
    "id, model, size, seconds, prompts, reference_sha256, remixed_from_video_id, created_at, render_seconds, "
    "expire_seconds, request_id, client_request_id, traceparent, footage_sha256, earlier, cast_ids, "
    "cast_names"
)
_UPGRADE = """
ALTER TABLE reference_images RENAME TO files;
ALTER TABLE jobs ADD COLUMN footage_sha256 TEXT REFERENCES files;
ALTER TABLE jobs ADD COLUMN earlier TEXT NOT NULL DEFAULT '[]';
ALTER TABLE jobs ADD COLUMN cast_ids TEXT NOT NULL DEFAULT '[]';
ALTER TABLE jobs ADD COLUMN cast_names TEXT NOT NULL DEFAULT '[]';
ALTER TABLE jobs ADD COLUMN is_announced INTEGER NOT NULL DEFAULT 0;
"""  # for a data dir older than extensions and characters
_FORGET_UNUSED_FILES = """
DELETE FROM files WHERE sha256 NOT IN (
    SELECT reference_sha256 FROM jobs WHERE reference_sha256 IS NOT NULL
    UNION SELECT footage_sha256 FROM jobs WHERE footage_sha256 IS NOT NULL
)
"""


@dataclass(frozen=True)
class Act:
    """A section of a clip; `prompts` runs from the root prompt to its own, empty for uploaded footage."""

    prompts: tuple[str, ...]
    seconds: int


@dataclass(frozen=True)
class Job:
    """What was requested, when, and how long it takes; `prompts` runs from the root prompt to the job's own.

    `seconds` is the length of the whole clip. `earlier` contains the acts of the clip this job continues.
    """

    id: str
    model: str
    size: str
    seconds: str
    prompts: tuple[str, ...]
    reference_sha256: str | None
    remixed_from_video_id: str | None
    created_at: float
    render_seconds: float
    expire_seconds: int
    request_id: str
    client_request_id: str | None = None
    traceparent: str | None = None
    footage_sha256: str | None = None
    earlier: tuple[Act, ...] = ()
    cast_ids: tuple[str, ...] = ()
    cast_names: tuple[str, ...] = ()

    @property
    def prompt(self) -> str:
        """The prompt of this job."""
        return self.prompts[-1]

    @property
    def acts(self) -> tuple[Act, ...]:
        """The whole clip, act by act."""
        own = int(self.seconds) - sum(act.seconds for act in self.earlier)
        return (*self.earlier, Act(self.prompts, own))

    @property
    def will_fail(self) -> bool:
        """Whether the prompt asks for a failure."""
        return FAIL_MARKER in self.prompt

    @property
    def over_at(self) -> float:
        """The time at which the job completes or fails."""
        return self.created_at + self.render_seconds

    def find_moment(self, now: float) -> Moment:
        """Return the state of the job at `now`."""
        return moment_of(
            created_at=self.created_at, render_seconds=self.render_seconds, will_fail=self.will_fail, now=now
        )


class JobStore:
    """All jobs, newest last; thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database
        columns = {row[1] for row in database.rows("PRAGMA table_info(jobs)")}
        if columns and "earlier" not in columns:
            database.prepare(_UPGRADE)
        database.prepare(_SCHEMA)

    def add(self, job: Job, *files: bytes) -> None:
        """Store a new job, and its files."""
        with self._database.transaction() as database:
            for body in files:
                database.execute("INSERT OR IGNORE INTO files VALUES (?, ?)", (sha256_of(body), body))
            database.execute(f"INSERT INTO jobs ({_COLUMNS}) VALUES ({marks(_COLUMNS)})", _row(job))

    def get(self, job_id: str) -> Job | None:
        """Return a job, or None if the id is unknown or deleted."""
        rows = self._rows("WHERE id = ?", (job_id,))
        return _job(rows[0]) if rows else None

    def page(self, *, limit: int, newest_first: bool, after: str | None = None) -> list[Job] | None:
        """Return up to `limit` jobs after the job `after`, or None if that is unknown."""
        start = self._position(after) if after is not None else None
        if after is not None and start is None:
            return None
        beyond, order = ("<", "DESC") if newest_first else (">", "ASC")
        condition = f"WHERE position {beyond} ?" if start is not None else "WHERE ? IS NULL"
        return [
            _job(row) for row in self._rows(f"{condition} ORDER BY position {order} LIMIT ?", (start, limit))
        ]

    def list_unannounced(self, now: float) -> list[Job]:
        """Return the finished jobs whose webhooks are not in the outbox, oldest first."""
        clause = "WHERE NOT is_announced AND created_at + render_seconds <= ? ORDER BY position"
        return [_job(row) for row in self._rows(clause, (now,))]

    def mark_announced(self, jobs: Iterable[Job]) -> None:
        """Record that the webhooks of jobs are in the outbox."""
        ids = [(job.id,) for job in jobs]
        if ids:
            with self._database.transaction() as database:
                database.executemany("UPDATE jobs SET is_announced = 1 WHERE id = ?", ids)

    def running(self, model: str, now: float) -> int:
        """Return the number of unfinished jobs of a model."""
        query = "SELECT count(*) FROM jobs WHERE created_at + render_seconds > ? AND model = ?"
        ((number,),) = self._database.rows(query, (now, model))
        return int(str(number))

    def delete(self, job_id: str) -> bool:
        """Delete a job, and files that no other job needs; return whether it existed."""
        with self._database.transaction() as database:
            gone = database.execute("DELETE FROM jobs WHERE id = ?", (job_id,)).rowcount
            database.execute(_FORGET_UNUSED_FILES)
        return gone == 1

    def file(self, sha256: str | None) -> bytes | None:
        """Return a file that a job starts from, if it exists."""
        rows = self._database.rows("SELECT body FROM files WHERE sha256 = ?", (sha256,))
        body = rows[0][0] if rows else None
        return body if isinstance(body, bytes) else None

    def count(self, name: str, number: int = 1) -> None:
        """Count requests to the sandbox under one of COUNTED; -1 subtracts one."""
        statement = (
            "INSERT INTO counts VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET asked = asked + excluded.asked"
        )
        self._database.change(statement, (name, number))

    def counts(self) -> dict[str, int]:
        """Return the request counts since the data dir was created."""
        rows = self._database.rows("SELECT name, asked FROM counts")
        return dict.fromkeys(COUNTED, 0) | {str(name): int(str(arrivals)) for name, arrivals in rows}

    def _position(self, job_id: str) -> object:
        rows = self._database.rows("SELECT position FROM jobs WHERE id = ?", (job_id,))
        return rows[0][0] if rows else None

    def _rows(self, clause: str, values: Row) -> list[Row]:
        return self._database.rows(f"SELECT {_COLUMNS} FROM jobs {clause}", values)


def sha256_of(file: bytes | None) -> str | None:
    """Return the name under which a file is stored."""
    return hashlib.sha256(file).hexdigest() if file is not None else None


def _row(job: Job) -> Row:
    return (
        job.id, job.model, job.size, job.seconds, json.dumps(job.prompts), job.reference_sha256,
        job.remixed_from_video_id, job.created_at, job.render_seconds, job.expire_seconds, job.request_id,
        job.client_request_id, job.traceparent, job.footage_sha256,
        json.dumps([[act.prompts, act.seconds] for act in job.earlier]), json.dumps(job.cast_ids),
        json.dumps(job.cast_names),
    )  # fmt: skip


def _job(row: tuple[Any, ...]) -> Job:
    fields: dict[str, Any] = dict(zip(_COLUMNS.split(", "), row, strict=True))
    for name in ("prompts", "cast_ids", "cast_names"):
        fields[name] = tuple(json.loads(str(fields[name])))
    earlier = (Act(tuple(prompts), seconds) for prompts, seconds in json.loads(str(fields["earlier"])))
    return Job(**{**fields, "earlier": tuple(earlier)})
