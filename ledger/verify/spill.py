"""The state of verification for a log of any length, in bounded memory.

This is the state of each stream, and the commitments that have no body so far. The most recent streams stay
in memory; the others and the commitments go to a temporary database, which SQLite creates in the folder for
temporary files and deletes itself. Private text is never written there.
"""

import json
import sqlite3
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any, Self

from pydantic_core import from_json

from ledger.verify.rules import Json, encode_job

NEAR = 2_000
"""Streams in memory; at most twice as many."""

_IDS_AT_HAND = 1 << 18
BUCKETS = 256
_MOST_DOUBLED = 10_000

_TABLES = (
    "CREATE TABLE streams (stream TEXT PRIMARY KEY, version, job, money, open_request) WITHOUT ROWID",
    "CREATE TABLE documents (sha256 TEXT PRIMARY KEY, rules TEXT) WITHOUT ROWID",
    "CREATE TABLE event_ids (bucket INTEGER, hashes BLOB)",
    "CREATE TABLE loose (commitment TEXT, position INTEGER)",
    "CREATE TABLE erased (commitment TEXT PRIMARY KEY) WITHOUT ROWID",
)


class Stream:
    """The state of a stream: its last version, the folded job if it is one, the sums of a budget (`money`).

    `open_request` is a request that is not decided yet.
    """

    __slots__ = ("job", "money", "open_request", "version")

    def __init__(
        self,
        version: int = 0,
        job: Json | None = None,
        money: Json | None = None,
        open_request: Json | None = None,
    ) -> None:
        self.version = version
        self.job = job
        self.money = money
        self.open_request = open_request


class Memory:
    """The streams of a log, and its commitments without a body; a context manager."""

    def __init__(self) -> None:
        self._young: dict[str, Stream] = {}
        self._old: dict[str, Stream] = {}
        self._far = 0
        self._ids = [array("q") for _ in range(BUCKETS)]
        self._ids_at_hand = 0

    def __enter__(self) -> Self:
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("PRAGMA cache_size = -8000")
        for table in _TABLES:
            self._db.execute(table)
        self._db.execute("BEGIN")
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    # --- streams ---

    def stream(self, name: str) -> Stream:
        """Return the state of the stream; changes to it are preserved."""
        found = self._young.get(name)
        if found is None:
            found = self._old.pop(name, None) or self._fetch(name) or Stream()
            if len(self._young) >= NEAR:
                self._put_away(self._old)
                self._old, self._young = self._young, {}
            self._young[name] = found
        return found

    def put_all_away(self) -> int:
        """Write out every stream, once the log is read; return how many are jobs."""
        self._put_away(self._old)
        self._put_away(self._young)
        jobs: int = self._db.execute("SELECT COUNT(job) FROM streams").fetchone()[0]
        return jobs

    def jobs(self) -> Iterator[tuple[str, bytes]]:
        """Yield id and row of every job, folded from its events."""
        yield from self._db.execute("SELECT stream, job FROM streams WHERE job IS NOT NULL ORDER BY stream")

    def job(self, job_id: Any) -> bytes | None:
        """Return one job's row, folded from its events; None if it has no events."""
        try:
            row = self._db.execute("SELECT job FROM streams WHERE stream = ?", (job_id,)).fetchone()
        except (UnicodeEncodeError, sqlite3.Error):  # not the name of any stream
            return None
        return row[0] if row else None

    def _fetch(self, name: str) -> Stream | None:
        if not self._far:
            return None
        query = "SELECT version, job, money, open_request FROM streams WHERE stream = ?"
        row = self._db.execute(query, (name,)).fetchone()
        return (
            Stream(row[0], *(None if part is None else from_json(part) for part in row[1:])) if row else None
        )

    def _put_away(self, streams: dict[str, Stream]) -> None:
        self._db.executemany(
            "INSERT OR REPLACE INTO streams VALUES (?, ?, ?, ?, ?)",
            [
                (
                    name,
                    stream.version,
                    None if stream.job is None else encode_job(stream.job),
                    None if stream.money is None else json.dumps(stream.money),
                    None if stream.open_request is None else json.dumps(stream.open_request),
                )
                for name, stream in streams.items()
            ],
        )
        self._far += len(streams)
        streams.clear()

    def moneys(self) -> Iterator[tuple[str, Json]]:
        """Yield name and money of every stream that has any."""
        query = "SELECT stream, money FROM streams WHERE money IS NOT NULL ORDER BY stream"
        for name, money in self._db.execute(query):
            yield name, from_json(money)

    # --- documents ---

    def keep_document(self, sha256: str, rules: str | None) -> None:
        """Remember that a document exists, and the `rules` in it if it is a policy."""
        self._db.execute("INSERT OR REPLACE INTO documents VALUES (?, ?)", (sha256, rules))

    def document(self, sha256: str) -> tuple[str | None] | None:
        """Return the rules of a document, as a tuple of None if it has none; None without the document."""
        row: tuple[str | None] | None = self._db.execute(
            "SELECT rules FROM documents WHERE sha256 = ?", (sha256,)
        ).fetchone()
        return row

    # --- event ids ---

    def note_event_id(self, event_id: str) -> None:
        """Remember an event's id as 8 bytes, in one of many buckets that are searched separately."""
        hashed = hash(event_id)
        self._ids[hashed % BUCKETS].append(hashed)
        self._ids_at_hand += 1
        if self._ids_at_hand == _IDS_AT_HAND:
            self._put_ids_away()

    def note_hashes(self, hashes: Iterable[int]) -> None:
        """Remember the hashes of several events' ids, each of 8 bytes."""
        buckets = self._ids
        for hashed in hashes:
            buckets[hashed % BUCKETS].append(hashed)
            self._ids_at_hand += 1
        if self._ids_at_hand >= _IDS_AT_HAND:
            self._put_ids_away()

    def event_id_hashes(self) -> Iterator[bytes]:
        """Yield the noted hashes, bucket by bucket."""
        self._put_ids_away()
        rows = self._db.execute("SELECT bucket, hashes FROM event_ids ORDER BY bucket")
        for _, parts in groupby(rows, key=itemgetter(0)):
            yield b"".join(part for _, part in parts)

    def find_repeated_event_ids(self) -> set[int]:
        """Return the hashes of ids that were noted twice, or shared by two ids; up to a maximum."""
        self._put_ids_away()
        doubled: set[int] = set()
        rows = self._db.execute("SELECT bucket, hashes FROM event_ids ORDER BY bucket")
        for _, parts in groupby(rows, key=itemgetter(0)):
            hashes = array("q", b"".join(part for _, part in parts))
            if len(set(hashes)) < len(hashes) and len(doubled) < _MOST_DOUBLED:
                doubled |= {hashed for hashed, times in Counter(hashes).items() if times > 1}
        return doubled

    def _put_ids_away(self) -> None:
        rows = [(number, bucket.tobytes()) for number, bucket in enumerate(self._ids)]
        self._db.executemany("INSERT INTO event_ids VALUES (?, ?)", rows)
        self._ids = [array("q") for _ in range(BUCKETS)]
        self._ids_at_hand = 0

    # --- commitments ---

    def miss(self, commitment: str, position: int) -> None:
        """Note a commitment that has no body."""
        self._db.execute("INSERT INTO loose VALUES (?, ?)", (commitment, position))

    def erase(self, commitments: list[str]) -> None:
        """Note what an event erased."""
        self._db.executemany(
            "INSERT OR IGNORE INTO erased VALUES (?)", [(commitment,) for commitment in commitments]
        )

    def has_erasures(self) -> bool:
        """Return whether anything was erased."""
        return self._db.execute("SELECT 1 FROM erased").fetchone() is not None

    def is_erased(self, commitment: Any) -> bool:
        """Return whether an event erased this commitment."""
        try:
            row = self._db.execute("SELECT 1 FROM erased WHERE commitment = ?", (commitment,)).fetchone()
        except (UnicodeEncodeError, sqlite3.Error):  # not the value of any commitment
            return False
        return row is not None

    def missing(self) -> Iterator[tuple[str, int]]:
        """Yield the commitments that have no body and were not erased, with their positions."""
        yield from self._db.execute(
            "SELECT commitment, position FROM loose "
            "WHERE commitment NOT IN (SELECT commitment FROM erased) ORDER BY rowid"
        )
