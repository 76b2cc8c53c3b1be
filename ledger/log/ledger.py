"""`Ledger`: the one way in (`append`) and the ways out (`read`, `follow`, `job`, `jobs`)."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self
from urllib.parse import unquote

from ledger.canonical import leaf_hash
from ledger.errors import AmbiguousJob, JobNotFound, LedgerUnusable, NewerFormat, WrongExpectedVersion
from ledger.events import LedgerCreated
from ledger.job import JOB_PREFIX, Job
from ledger.private_files import make_folders
from ledger.record import E, Entry, Provenance, Record, StoredRow, draft, entries, new_event_id
from ledger.store.interface import (
    NEW,
    Batch,
    Document,
    EventStore,
    Fence,
    JobFilter,
    RecordFilter,
)
from ledger.upcast import UPGRADE

if TYPE_CHECKING:
    from ledger.verify.checks import Snapshot
    from ledger.verify.incremental import Tail

FORMAT = 1
LEDGER_STREAM = "ledger"
EVERYTHING = RecordFilter()
ALL_JOBS = JobFilter()
FOLLOW_INTERVAL_S = 5.0
_CHUNK = 500
_SQLITE = "sqlite:///"
_POSTGRES = ("postgresql://", "postgres://")


class Head(NamedTuple):
    """How long the log is, and the root of its tree."""

    size: int
    root: bytes


def open_store(url: str, *, read_only: bool) -> EventStore:
    """Open the store at `url`: a path, ``sqlite:///relative``, ``sqlite:////absolute`` or ``postgresql://…``."""
    store = _open(url, read_only=read_only)
    try:
        _check_format(store, url)
    except BaseException:
        store.close()
        raise
    return store


def _check_format(store: EventStore, url: str) -> None:
    """Refuse a ledger of a newer format; what else may be wrong with its first record, `verify` says.

    A payload is believed only if it is the one that was recorded: whoever edits it must not be able to turn
    away everybody who would look.
    """
    with suppress(IndexError, KeyError, RecursionError, TypeError, ValueError):
        first = store.rows(0, 1, EVERYTHING)[0]
        digest = hashlib.sha256(first.payload).hexdigest()
        if digest != json.loads(first.record)["payload_sha256"] or first.leaf != leaf_hash(first.record):
            return
        format_ = json.loads(first.payload)["format"]
        if format_ > FORMAT:
            raise NewerFormat(
                f"ledger {label_of(url)}: it is of format {format_}, this sora-ledger knows up to format "
                f"{FORMAT}: it needs one that knows format {format_}; {UPGRADE}"
            )


def check_url(url: str) -> None:
    """Raise `LedgerUnusable` if `url` is of no kind that a ledger is opened at."""
    scheme, separator, _ = url.partition("://")
    if separator and not url.startswith((_SQLITE, *_POSTGRES)):
        raise LedgerUnusable(
            f"ledger URL {scheme}://…: expected sqlite:///relative/path, sqlite:////absolute/path, "
            "postgresql://user:password@host:5432/database or a path"
        )


def _open(url: str, *, read_only: bool) -> EventStore:
    path = file_of(url)
    if path is None:
        from ledger.store.postgres import PostgresStore  # only the store in use is loaded

        return PostgresStore(url, read_only=read_only)
    check_url(url)
    return _open_sqlite(path, read_only=read_only)


def open_snapshot(url: str) -> "AbstractContextManager[Snapshot]":
    """Open one consistent look at every table of the ledger at `url`, for `ledger.verify`."""
    path = file_of(url)
    if path is None:
        from ledger.store.postgres.snapshot import PostgresSnapshot  # the store in use

        return PostgresSnapshot(url)
    from ledger.store.sqlite.snapshot import SqliteSnapshot  # noqa: PLC0415

    return SqliteSnapshot(path)


def open_tail(url: str, since: int) -> "AbstractContextManager[Tail]":
    """Open a look at what the ledger at `url` has after position `since`, for `ledger.verify.incremental`."""
    path = file_of(url)
    if path is None:
        from ledger.store.postgres.snapshot import PostgresTail  # the store in use

        return PostgresTail(url, since)
    from ledger.store.sqlite.snapshot import SqliteTail  # noqa: PLC0415

    return SqliteTail(path, since)


def file_of(url: str) -> Path | None:
    """Return the file of the ledger at `url`; None if it is on a database server."""
    if url.startswith(_POSTGRES):
        return None
    return Path(unquote(url.removeprefix(_SQLITE)) if "://" in url else url).expanduser()


def label_of(url: str) -> str:
    """Return how messages name the ledger at `url`: never with its password."""
    path = file_of(url)
    if path is not None:
        return str(path)
    from ledger.store.postgres.errors import label  # the store in use

    return label(url)


def _open_sqlite(path: Path, *, read_only: bool) -> EventStore:
    if path.is_dir():
        raise LedgerUnusable(
            f"ledger {path}: it is a folder; name a file in it, such as {path / 'ledger.db'}"
        )
    if read_only and not path.exists():
        raise LedgerUnusable(
            f"ledger {path}: there is none yet; `sora-ledger create …` begins it, "
            "--ledger or SORA_LEDGER_URL names another"
        )
    from ledger.store.sqlite import SqliteStore  # noqa: PLC0415  # only the store that is used is loaded

    if not read_only:
        try:
            make_folders(path.parent)
        except OSError as error:
            raise LedgerUnusable(
                f"ledger {path}: its folder cannot be made ({error.strerror}): name another with --ledger"
            ) from error
    return SqliteStore(path, read_only=read_only)


class Ledger:
    """A ledger in a store. `append` is the single write path; nothing else changes what is recorded."""

    def __init__(self, store: EventStore) -> None:
        self.store = store

    @classmethod
    def open(cls, url: str) -> Self:
        """Open the ledger at `url` for reading; `LedgerUnusable` says why not."""
        return cls(open_store(url, read_only=True))

    @classmethod
    def open_or_create(cls, url: str, provenance: Provenance, now: datetime) -> Self:
        """Open the ledger at `url` for writing; a new one begins with ``ledger.created``."""
        ledger = cls(open_store(url, read_only=False))
        if ledger.store.head().size == 0:
            ledger._begin(provenance, now)
        return ledger

    def _begin(self, provenance: Provenance, now: datetime) -> None:
        ledger_id = new_event_id()
        created = LedgerCreated(ledger_id=ledger_id, origin=f"sora-ledger/{ledger_id}", format=FORMAT)
        with suppress(WrongExpectedVersion):  # another process began it in between
            self.append([Batch(LEDGER_STREAM, NEW, [draft(created, provenance, now)])])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the store."""
        self.store.close()

    def append(
        self,
        batches: Sequence[Batch],
        *,
        fence: Fence | None = None,
        documents: Sequence[Document] = (),
    ) -> list[Record]:
        """Record `batches` in one transaction, durable on return; see `ledger.store.interface`."""
        return self.store.append(batches, fence=fence, documents=documents)

    @cached_property
    def ledger_id(self) -> str:
        """The id that the first record gave the ledger; `LedgerUnusable` if it cannot be read."""
        first = next(self.read(limit=1), None)
        if first is None or not isinstance(first.event, LedgerCreated):
            raise LedgerUnusable("the ledger has no id: run `sora-ledger verify`")
        return first.event.ledger_id

    def head(self) -> Head:
        """Return size and root."""
        tree = self.store.head()
        return Head(tree.size, tree.root())

    def read(
        self, where: RecordFilter = EVERYTHING, *, after: int = 0, limit: int | None = None
    ) -> Iterator[Record]:
        """Yield records in order, from the position after `after`, with the private text still there."""
        left = limit
        while left is None or left > 0:
            rows = self.store.rows(after, _CHUNK if left is None else min(_CHUNK, left), where)
            if not rows:
                return
            for record in self._records(rows):
                yield record
                after = record.position
            left = None if left is None else left - len(rows)

    def entries(
        self, kind: type[E], where: RecordFilter = EVERYTHING, *, after: int = 0, limit: int | None = None
    ) -> Iterator[Entry[E]]:
        """Yield the records of one type of event, as `read` does, each with its event."""
        return entries(self.read(replace(where, type=kind.type), after=after, limit=limit), kind)

    def follow(
        self,
        where: RecordFilter = EVERYTHING,
        *,
        after: int = 0,
        interval_s: float = FOLLOW_INTERVAL_S,
        wait: Callable[[float], object] | None = None,
    ) -> Iterator[Record]:
        """Yield records as `read` does, and then for ever what is appended.

        The store says when to look; after `interval_s` this looks in any case.
        """
        while True:
            for record in self.read(where, after=after):
                yield record
                after = record.position
            (wait or self.store.wait_for_append)(interval_s)

    def event(self, event_id: str) -> Record | None:
        """Return one record by event id."""
        row = self.store.event(event_id)
        return self._records([row])[0] if row else None

    def history(self, job_id: str) -> list[Record]:
        """Return all records of one job's stream."""
        return list(self.read(RecordFilter(stream=job_id)))

    def job(self, name: str) -> Job:
        """Return the job with this id, video id, or unique prefix of a job id (``job_`` may be left out)."""
        exact = self.store.job(name)
        if exact:
            return exact
        by_video = self.store.jobs(JobFilter(video_id=name))
        prefix = name if name.startswith(JOB_PREFIX) else JOB_PREFIX + name
        matches = by_video or self.store.jobs(JobFilter(id_prefix=prefix), limit=5)
        if not matches or prefix == JOB_PREFIX:  # nothing typed names nothing, not the only job there is
            raise JobNotFound(
                f"{name!r} is not a job id, a video id or the prefix of a job id in this ledger: "
                "`sora-ledger jobs` shows what there is"
            )
        if len(matches) > 1:
            raise AmbiguousJob(
                f"{name!r} stands for {', '.join(job.job_id for job in matches)}: type more of the id"
            )
        return matches[0]

    def jobs(self, where: JobFilter = ALL_JOBS, limit: int | None = None) -> list[Job]:
        """Return jobs, newest first."""
        return self.store.jobs(where, limit)

    def each_job(self, where: JobFilter = ALL_JOBS, limit: int | None = None) -> Iterator[Job]:
        """Yield jobs, newest first, of which only a part is in memory at a time."""
        left = limit
        while left is None or left > 0:
            part = self.jobs(where, _CHUNK if left is None else min(_CHUNK, left))
            if not part:
                return
            yield from part
            left = None if left is None else left - len(part)
            where = replace(where, before=part[-1].job_id)

    def _records(self, rows: Sequence[StoredRow]) -> list[Record]:
        bare = [Record.from_row(row, {}) for row in rows]
        bodies = self.store.bodies([record.position for record in bare])
        return [record.with_bodies(bodies) for record in bare] if bodies else bare
