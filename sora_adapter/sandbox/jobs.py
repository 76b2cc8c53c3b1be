"""The durable store: one SQLite file in the data dir, shared by every sandbox process that serves it.

Each call is one transaction and on disk when it returns, so `kill -9` loses nothing that was answered. The
store keeps what was asked for, never a status: that is `life`'s to compute. A remix carries the prompts of
its whole line, so it can be rendered after its parents are deleted. Reference images live here too, once
each, as long as a job needs them.
"""

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sora_adapter.sandbox.life import FAIL_MARKER, Moment, moment_of

COUNTED = ("creates", "remixes", "retrieves", "lists", "contents", "deletes")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    model TEXT NOT NULL,
    size TEXT NOT NULL,
    seconds TEXT NOT NULL,
    prompts TEXT NOT NULL,
    reference_sha256 TEXT REFERENCES reference_images,
    remixed_from_video_id TEXT,
    created_at REAL NOT NULL,
    render_seconds REAL NOT NULL,
    expire_seconds INTEGER NOT NULL,
    request_id TEXT NOT NULL,
    client_request_id TEXT,
    traceparent TEXT
) STRICT;
CREATE TABLE IF NOT EXISTS reference_images (sha256 TEXT PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS counts (name TEXT PRIMARY KEY, asked INTEGER NOT NULL) STRICT;
"""
_COLUMNS = (
    "id, model, size, seconds, prompts, reference_sha256, remixed_from_video_id, created_at, render_seconds, "
    "expire_seconds, request_id, client_request_id, traceparent"
)
_BUSY_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Job:
    """What was asked for, when, and how long it takes; `prompts` runs from the root's to the job's own."""

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

    @property
    def prompt(self) -> str:
        """The prompt this job was made with."""
        return self.prompts[-1]

    @property
    def will_fail(self) -> bool:
        """Whether the prompt asks for a failure."""
        return FAIL_MARKER in self.prompt

    def at(self, now: float) -> Moment:
        """Return where the job stands at `now`."""
        return moment_of(
            created_at=self.created_at, render_seconds=self.render_seconds, will_fail=self.will_fail, now=now
        )


class JobStore:
    """All jobs, newest last; safe to call from any thread."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._database = sqlite3.connect(
            path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.executescript(_SCHEMA)

    def close(self) -> None:
        """Let go of the file; the store is of no use afterwards."""
        with self._lock:
            self._database.close()

    def add(self, job: Job, reference: bytes | None = None) -> None:
        """Keep a new job, and its reference image if it brings one."""
        values = (
            job.id, job.model, job.size, job.seconds, json.dumps(job.prompts), job.reference_sha256,
            job.remixed_from_video_id, job.created_at, job.render_seconds, job.expire_seconds, job.request_id,
            job.client_request_id, job.traceparent,
        )  # fmt: skip
        with self._transaction() as database:
            if reference is not None:
                image = (job.reference_sha256, reference)
                database.execute("INSERT OR IGNORE INTO reference_images VALUES (?, ?)", image)
            database.execute(f"INSERT INTO jobs ({_COLUMNS}) VALUES ({', '.join('?' * len(values))})", values)  # noqa: S608 - constants

    def get(self, job_id: str) -> Job | None:
        """Return a job, or None if there is none of that id (any more)."""
        rows = self._rows("WHERE id = ?", (job_id,))
        return _job(rows[0]) if rows else None

    def page(self, *, limit: int, newest_first: bool, after: str | None = None) -> list[Job] | None:
        """Return up to `limit` jobs beyond the job `after`, or None if that is unknown."""
        start = self._position(after) if after is not None else None
        if after is not None and start is None:
            return None
        beyond, order = ("<", "DESC") if newest_first else (">", "ASC")
        condition = f"WHERE position {beyond} ?" if start is not None else "WHERE ? IS NULL"
        return [
            _job(row) for row in self._rows(f"{condition} ORDER BY position {order} LIMIT ?", (start, limit))
        ]

    def delete(self, job_id: str) -> bool:
        """Forget a job, and its reference image with the last that needs it; tells whether it was there."""
        with self._transaction() as database:
            gone = database.execute("DELETE FROM jobs WHERE id = ?", (job_id,)).rowcount
            database.execute(
                "DELETE FROM reference_images WHERE sha256 NOT IN "
                "(SELECT reference_sha256 FROM jobs WHERE reference_sha256 IS NOT NULL)"
            )
        return gone == 1

    def reference_image(self, job: Job) -> bytes | None:
        """Return the image a job (or the root of its line) starts from, if there is one."""
        query = "SELECT body FROM reference_images WHERE sha256 = ?"
        with self._lock:
            row = self._database.execute(query, (job.reference_sha256,)).fetchone()
        return bytes(row[0]) if row else None

    def count(self, name: str) -> None:
        """Note that the sandbox was asked for something, one of COUNTED."""
        statement = "INSERT INTO counts VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET asked = asked + 1"
        with self._lock:
            self._database.execute(statement, (name,))

    def counts(self) -> dict[str, int]:
        """Return what the sandbox was asked for since the data dir was made."""
        with self._lock:
            rows = self._database.execute("SELECT name, asked FROM counts").fetchall()
        return dict.fromkeys(COUNTED, 0) | dict(rows)

    def _position(self, job_id: str) -> int | None:
        with self._lock:
            row = self._database.execute("SELECT position FROM jobs WHERE id = ?", (job_id,)).fetchone()
        return int(row[0]) if row else None

    def _rows(self, clause: str, values: tuple[object, ...]) -> list[tuple[object, ...]]:
        with self._lock:
            return self._database.execute(f"SELECT {_COLUMNS} FROM jobs {clause}", values).fetchall()  # noqa: S608 - constants

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")


def sha256_of(image: bytes | None) -> str | None:
    """Return the name a reference image is kept under."""
    return hashlib.sha256(image).hexdigest() if image is not None else None


def _job(row: tuple[object, ...]) -> Job:
    fields = dict(zip(_COLUMNS.split(", "), row, strict=True))
    prompts = tuple(json.loads(str(fields.pop("prompts"))))
    return Job(**fields, prompts=prompts)  # type: ignore[arg-type]  # the table is STRICT and its columns are Job's
