"""`Ledger` writes only by `append`, and reads by `read`, `follow`, `job` and `jobs`."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple, Self

from ledger.errors import LedgerUnusable
from ledger.events import LedgerCreated
from ledger.job import Job
from ledger.log.job_names import resolve_job
from ledger.private import COMMITMENT_KEY
from ledger.record import E, Entry, Record, StoredRow, entries
from ledger.store.filters import JobFilter, RecordFilter
from ledger.store.interface import AppendCall, Batch, Document, EventStore, Fence
from ledger.terms import State

EVERYTHING = RecordFilter()
ALL_JOBS = JobFilter()
FOLLOW_INTERVAL_S = 5.0
_CHUNK = 500


class Head(NamedTuple):
    """The size of the log, and the root of its tree."""

    size: int
    root: bytes


class Ledger:
    """A ledger in a store. `append` is the only way to record; nothing changes recorded events."""

    def __init__(self, store: EventStore) -> None:
        self.store = store

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the store."""
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

    def append_each(self, calls: Sequence[AppendCall]) -> list[list[Record] | Exception]:
        """Make several appends in one transaction; return the records of each, or its error."""
        return self.store.append_each(calls)

    @cached_property
    def ledger_id(self) -> str:
        """The id in the first record; `LedgerUnusable` if it cannot be read."""
        first = next(self.read(limit=1), None)
        if first is None or not isinstance(first.event, LedgerCreated):
            raise LedgerUnusable(
                "the ledger has no id: run `sora-ledger verify`", expected="a ledger with an id", found="none"
            )
        return first.event.ledger_id

    def head(self) -> Head:
        """Return size and root."""
        tree = self.store.head()
        return Head(tree.size, tree.root())

    def read(
        self,
        where: RecordFilter = EVERYTHING,
        *,
        after: int = 0,
        limit: int | None = None,
        with_text: bool = True,
    ) -> Iterator[Record]:
        """Yield records in order, after position `after`, with the private text that was not erased."""
        left = limit
        while left is None or left > 0:
            most = _CHUNK if left is None else min(_CHUNK, left)
            rows = self.store.rows(after, most, where)
            records = self._records(rows, with_text=with_text)
            yield from records
            if len(rows) < most:
                return
            after = records[-1].position
            left = None if left is None else left - len(rows)

    def newest(
        self, where: RecordFilter = EVERYTHING, *, before: int, after: int = 0, limit: int
    ) -> list[Record]:
        """Return up to `limit` records between two positions, the newest first."""
        backwards = replace(where, before=before, newest_first=True)
        return self._records(self.store.rows(after, limit, backwards))

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
        """Yield records as `read` does, and then new ones as they are appended, without end.

        The store signals new records; after `interval_s` this reads in any case.
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

    def job(self, name: str, actor: str | None = None, states: tuple[State, ...] | None = None) -> Job:
        """Return the job called `name`: an id, part of one, or the last job (of `actor`, in `states`).

        `ledger.log.job_names` lists the forms of names.
        """
        return self.store.job(name) or resolve_job(self.store.jobs, name, actor, states)

    def jobs(self, where: JobFilter = ALL_JOBS, limit: int | None = None) -> list[Job]:
        """Return jobs, newest first unless the filter is `oldest_first`."""
        return self.store.jobs(where, limit)

    def iterate_jobs(self, where: JobFilter = ALL_JOBS, limit: int | None = None) -> Iterator[Job]:
        """Yield jobs, newest first, with only some of them in memory."""
        left = limit
        while left is None or left > 0:
            part = self.jobs(where, _CHUNK if left is None else min(_CHUNK, left))
            if not part:
                return
            yield from part
            left = None if left is None else left - len(part)
            where = replace(where, before=part[-1].job_id)

    def _records(self, rows: Sequence[StoredRow], *, with_text: bool = True) -> list[Record]:
        bare = Record.from_rows(rows)
        if not with_text:
            return bare
        private = [record for record in bare if COMMITMENT_KEY in record.payload]
        bodies = self.store.bodies([record.envelope.position for record in private]) if private else {}
        if not bodies:
            return bare
        return [record.with_bodies(bodies) if COMMITMENT_KEY in record.payload else record for record in bare]
