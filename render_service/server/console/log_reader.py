"""Read the part of the log that a person may see, the newest records first, without reading all of it.

A page scans a limited number of positions. If that is not enough to fill it, it reports the scanned
positions, and the next page continues there. Records have no index by time: a time is found by binary search,
and `CLOCK_SKEW` around it is read as well, as clocks may go backwards.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ledger.job import JOB_PREFIX, Job
from ledger.log.ledger import Ledger
from ledger.record import Record, timestamp
from ledger.store.filters import RecordFilter
from render_service.access.callers import Caller

CLOCK_SKEW = timedelta(days=1)
MOST_LOOKED = 10_000
"""Positions that a page scans; streams, traces and types have an index."""


def may_see_records(caller: Caller, job: Job | None) -> bool:
    """Return whether `caller` may see the records of a job, or with None those that belong to no job."""
    return caller.sees_ledger or (job is not None and caller.may_see(job))


class Jobs:
    """The jobs of streams, looked up once: a job's visibility does not change while a page is read."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._found: dict[str, Job | None] = {}

    def __call__(self, stream: str) -> Job | None:
        """Return the job of a stream, None if the stream is that of something else."""
        if not stream.startswith(JOB_PREFIX):
            return None
        if stream not in self._found:
            self._found[stream] = self._ledger.store.job(stream)
        return self._found[stream]


@dataclass(frozen=True)
class Part:
    """Records of the log, the newest first, and the positions that were scanned to find them."""

    records: tuple[Record, ...]
    first: int
    last: int
    has_older: bool
    has_newer: bool


@dataclass(frozen=True)
class LogReader:
    """Reads the log for one person, with one filter."""

    ledger: Ledger
    caller: Caller
    where: RecordFilter

    def latest(self, before: int | None, limit: int, after: int = 0) -> Part:
        """Return the newest records, or the newest before a position, as far as they are after another."""
        newest = self.ledger.head().size
        low, high = self._limits(newest)
        low = max(low, after)
        top = min(high, newest + 1 if before is None else before)
        bottom = max(low, top - 1 - self._window())
        records = self.ledger.newest(self._filter(), before=top, after=bottom, limit=limit)
        is_full = len(records) == limit
        first = records[-1].position if is_full else bottom + 1
        return Part(tuple(records), first, top - 1, has_older=first > low + 1, has_newer=top <= newest)

    def following(self, after: int, limit: int) -> Part:
        """Return the records that follow a position."""
        newest = self.ledger.head().size
        low, high = self._limits(newest)
        bottom = max(low, after)
        top = min(high, bottom + self._window() + 1)
        records = list(self.ledger.read(replace(self._filter(), before=top), after=bottom, limit=limit))
        is_full = len(records) == limit
        last = records[-1].position if is_full else max(top - 1, bottom)
        newest_first = tuple(reversed(records))
        return Part(newest_first, bottom + 1, last, has_older=bottom > low, has_newer=last < newest)

    def _filter(self) -> RecordFilter:
        """Return the filter with what the person may see."""
        return self.where if self.caller.sees_ledger else replace(self.where, of_jobs=self.caller.sees)

    def _window(self) -> int:
        """Return how many positions a page may scan: all if there is an index."""
        where, sees_all = self.where, self.caller.sees_ledger
        if where.stream is not None or where.trace_id is not None or (sees_all and where.type is not None):
            return 2**53
        return MOST_LOOKED

    def _limits(self, newest: int) -> tuple[int, int]:
        """Return the positions between which the records of the filter's times are: after, and before."""
        low, high = 0, newest + 1
        if self.where.since is not None:
            low = self._count_before(_shifted(self.where.since, -CLOCK_SKEW), newest)
        if self.where.until is not None:
            high = self._count_before(_shifted(self.where.until, CLOCK_SKEW), newest) + 1
        return low, high

    def _count_before(self, moment: str, newest: int) -> int:
        """Return how many records were recorded before a time, if clocks never went backwards."""
        low, high = 0, newest
        while low < high:
            middle = (low + high) // 2
            [record] = self.ledger.read(after=middle, limit=1)
            low, high = (middle + 1, high) if record.recorded_at < moment else (low, middle)
        return low


def _shifted(moment: str, by: timedelta) -> str:
    try:
        return timestamp(datetime.fromisoformat(moment) + by)
    except OverflowError:
        return moment
