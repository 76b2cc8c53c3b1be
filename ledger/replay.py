"""Jobs folded afresh from the log: beside the live rows to find drift, or as they stood at some position.

Replaying has no effects: it reads, and calls nothing outside. `swap` is the one exception and says so.
"""

from typing import NamedTuple

from ledger.job import JOB_PREFIX, Job, fold
from ledger.ledger import Ledger
from ledger.store.interface import RecordFilter


class Drift(NamedTuple):
    """A job row that is not what its events say; `live` or `replayed` is None where there is none."""

    job_id: str
    live: Job | None
    replayed: Job | None

    def fields(self) -> dict[str, tuple[object, object]]:
        """Return what differs, by field: (live, replayed)."""
        live = self.live.model_dump(mode="json") if self.live else {}
        replayed = self.replayed.model_dump(mode="json") if self.replayed else {}
        names = sorted(live.keys() | replayed.keys())
        return {n: (live.get(n), replayed.get(n)) for n in names if live.get(n) != replayed.get(n)}


class Replay(NamedTuple):
    """The jobs as the log tells them up to `position`, and how the live rows differ."""

    position: int
    jobs: dict[str, Job]
    drift: list[Drift]


def jobs_at(ledger: Ledger, position: int) -> dict[str, Job]:
    """Fold every job from position 1 up to and including `position`."""
    jobs: dict[str, Job] = {}
    for record in ledger.read(limit=position):
        if record.stream.startswith(JOB_PREFIX):
            jobs[record.stream] = fold(jobs.get(record.stream), record)
    return jobs


def position_at(ledger: Ledger, moment: str) -> int:
    """Return the last position recorded at or before `moment` (RFC 3339 UTC with microseconds), 0 if none."""
    until = RecordFilter(until=moment.removesuffix("Z") + "~")  # sorts after the moment itself
    return max((record.position for record in ledger.read(until)), default=0)


def replay(ledger: Ledger) -> Replay:
    """Fold all jobs again and compare them with the live rows; rows that moved on meanwhile are left out."""
    position = ledger.head().size
    jobs = jobs_at(ledger, position)
    live = {job.job_id: job for job in ledger.jobs() if job.position <= position}
    moved_on = {job.job_id for job in ledger.jobs() if job.position > position}
    drift = [
        Drift(job_id, live.get(job_id), jobs.get(job_id))
        for job_id in sorted(live.keys() | jobs.keys())
        if job_id not in moved_on and live.get(job_id) != jobs.get(job_id)
    ]
    return Replay(position, jobs, drift)


def swap(ledger: Ledger, result: Replay) -> None:
    """Put the replayed jobs in place of the live rows; refused if the ledger has grown since."""
    ledger.store.replace_jobs(result.jobs.values(), result.position)
