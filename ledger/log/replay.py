"""Replay: fold jobs from the log again, to compare them with the live rows or to see them at a position.

Replay has no effects: it only reads, and calls nothing outside. `swap` is the one exception.
"""

from collections.abc import Iterator
from typing import NamedTuple

from msgspec import to_builtins

from ledger.job import JOB_PREFIX, Job, fold
from ledger.log.ledger import Ledger
from ledger.record import Record
from ledger.store.interface import RecordFilter


class Drift(NamedTuple):
    """A job row that differs from its events; `live` or `replayed` is None if there is no such job."""

    job_id: str
    live: Job | None
    replayed: Job | None

    def fields(self) -> dict[str, tuple[object, object]]:
        """Return the differing fields: (live, replayed)."""
        live = to_builtins(self.live) if self.live else {}
        replayed = to_builtins(self.replayed) if self.replayed else {}
        names = sorted(live.keys() | replayed.keys())
        return {n: (live.get(n), replayed.get(n)) for n in names if live.get(n) != replayed.get(n)}


class Replay(NamedTuple):
    """The number of jobs up to `position`, and how the live rows differ."""

    position: int
    jobs: int
    drift: list[Drift]


def folded(ledger: Ledger, position: int) -> Iterator[Job]:
    """Fold every job up to `position`; yield them by id, one at a time."""
    job: Job | None = None
    for row in ledger.store.histories(JOB_PREFIX, position):
        record = Record.from_row(row, {})
        if job is not None and job.job_id != record.stream:
            yield job
            job = None
        job = fold(job, record)
    if job is not None:
        yield job


def jobs_at(ledger: Ledger, position: int) -> dict[str, Job]:
    """Return every job as of `position`, by id."""
    return {job.job_id: job for job in folded(ledger, position)}


def position_at(ledger: Ledger, moment: str) -> int:
    """Return the last position recorded at or before `moment` (RFC 3339 UTC with microseconds), 0 if none."""
    until = RecordFilter(until=moment.removesuffix("Z") + "~")  # sorts after the moment itself
    newest = ledger.newest(until, before=ledger.head().size + 1, limit=1)
    return newest[0].position if newest else 0


def replay(ledger: Ledger) -> Replay:
    """Fold all jobs again and compare them with the live rows; rows that have changed since are skipped."""
    position = ledger.head().size
    jobs = 0
    drift: list[Drift] = []
    for live, replayed in _paired(ledger.store.all_jobs(), folded(ledger, position)):
        jobs += replayed is not None
        if live != replayed and (live is None or live.position <= position):
            job = live or replayed
            assert job is not None  # they differ, so one of them exists
            drift.append(Drift(job.job_id, live, replayed))
    return Replay(position, jobs, drift)


def _paired(lives: Iterator[Job], replays: Iterator[Job]) -> Iterator[tuple[Job | None, Job | None]]:
    """Yield live and replayed jobs of the same id; both iterators are ordered by id."""
    live, replayed = next(lives, None), next(replays, None)
    while live is not None or replayed is not None:
        if replayed is None or (live is not None and live.job_id < replayed.job_id):
            yield live, None
            live = next(lives, None)
        elif live is None or replayed.job_id < live.job_id:
            yield None, replayed
            replayed = next(replays, None)
        else:
            yield live, replayed
            live, replayed = next(lives, None), next(replays, None)


def swap(ledger: Ledger, result: Replay) -> None:
    """Replace the live rows with the replayed jobs; refused if the ledger has grown since."""
    ledger.store.replace_jobs(folded(ledger, result.position), result.position)
