"""Measure how long renders take and how often they fail, from this ledger.

Read from the rows of the newest finished jobs, so that the cost does not depend on the size of the ledger.
The time runs from the request to the stored video and includes waiting for a person or a poll, which is why
the median is used. A few renders prove little: below `LEAST_RENDERS` of a model nothing is reported.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple, TypedDict

from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.store.filters import JobFilter
from ledger.terms import Outcome, State

LEAST_RENDERS = 10
"""Finished renders of one model at one server; with fewer, nothing is measured."""

WINDOW = 200
"""Limit of the newest jobs read of each final state."""

LEAST_OF_A_SHAPE = 5
"""Finished renders of one model, size and length; with fewer, their duration is unknown."""

FRESH_FOR = timedelta(minutes=1)
MILLION = 1_000_000
_SHOWN_AS_SECONDS = 120
_UNDER_WAY = (State.DECIDED, State.SUBMITTING, State.RUNNING, State.COMPLETED)
_FINAL = (State.STORED, State.DELETED, State.FAILED)


class ServerMeasurements(NamedTuple):
    """Measurements of one server, by model: whole seconds, and failures per million renders."""

    median_seconds: Mapping[str, int]
    failure_ppm: Mapping[str, int]


class Duration(NamedTuple):
    """What was measured, in whole seconds: half of the `renders` took at most `p50`, nine of ten `p90`."""

    p50_seconds: int
    p90_seconds: int
    renders: int

    @property
    def words(self) -> str:
        """The duration in a few words."""
        return f"about {_span(self.p50_seconds)}, 9 of 10 within {_span(self.p90_seconds)}"


def expected_words(duration: Duration | None) -> str:
    """Return how long a render is expected to take, and from how many, or that it is unknown."""
    if duration is None:
        return f"unknown (fewer than {LEAST_OF_A_SHAPE} renders of this model, size and length so far)"
    return f"{duration.words} (of {duration.renders} renders here)"


def _span(seconds: int) -> str:
    return f"{seconds} s" if seconds < _SHOWN_AS_SECONDS else f"{round(seconds / 60)} min"


def is_under_way(job: Job) -> bool:
    """Return whether a video of `job` is still to come without further action."""
    return job.outcome is None and job.state in _UNDER_WAY


NOTHING_MEASURED = ServerMeasurements({}, {})


def measure(ledger: Ledger, profile: str) -> ServerMeasurements:
    """Measure the newest finished renders at the server of `profile`."""
    by_model: defaultdict[str, list[Job]] = defaultdict(list)
    for job in _newest(ledger):
        if job.profile == profile and job.operation and job.model:
            by_model[job.model].append(job)
    enough = {model: jobs for model, jobs in sorted(by_model.items()) if len(jobs) >= LEAST_RENDERS}
    medians = {model: _median_seconds(jobs) for model, jobs in enough.items()}
    return ServerMeasurements(
        median_seconds={model: seconds for model, seconds in medians.items() if seconds is not None},
        failure_ppm={model: _failure_ppm(jobs) for model, jobs in enough.items()},
    )


class Measuring:
    """Caches measurements for one session; they are repeated once older than `FRESH_FOR`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._measured: dict[str, tuple[datetime, ServerMeasurements]] = {}
        self._expected: dict[tuple[str | int | None, ...], tuple[datetime, Duration | None]] = {}

    def measure(self, profile: str, now: datetime) -> ServerMeasurements:
        """Return the measurements of the server of `profile`, as of `now` or shortly before."""
        taken_at, measured = self._measured.get(profile, (None, NOTHING_MEASURED))
        if taken_at is None or now - taken_at >= FRESH_FOR:
            measured = measure(self._ledger, profile)
            self._measured[profile] = now, measured
        return measured

    def expected_of(self, job: Job, now: datetime) -> Duration | None:
        """Return how long `job` is expected to take, as of `now` or shortly before; None if unknown."""
        if not self.is_fresh(job, now):
            self._expected[_key(job)] = now, expected_of(self._ledger, job)
        return self._expected[_key(job)][1]

    def is_fresh(self, job: Job, now: datetime) -> bool:
        """Return whether `expected_of` would answer without reading the ledger."""
        taken_at, _ = self._expected.get(_key(job), (None, None))
        return taken_at is not None and now - taken_at < FRESH_FOR


def _key(job: Job) -> tuple[str | int | None, ...]:
    return job.profile, job.model, job.size, job.seconds


def expected_of(ledger: Ledger, job: Job) -> Duration | None:
    """Return how long renders like `job` took at its server; None if too little was measured."""
    shape = _shape(job)
    return expected_duration(ledger, **shape) if shape else None


class _Shape(TypedDict):
    profile: str
    model: str
    size: str
    seconds: int


def _shape(job: Job) -> _Shape | None:
    if job.profile is None or job.model is None or job.size is None or job.seconds is None:
        return None
    return {"profile": job.profile, "model": job.model, "size": job.size, "seconds": job.seconds}


def expected_duration(
    ledger: Ledger, *, profile: str, model: str, size: str, seconds: int
) -> Duration | None:
    """Return how long renders of this model, size and length took there; None if too little was measured."""
    if not ledger.store.is_searchable():
        return None
    where = JobFilter(states=(State.STORED,), profile=profile, model=model)
    jobs = (match.job for match in ledger.store.search("", where, WINDOW))
    took = sorted(
        _seconds(job)
        for job in jobs
        if (job.model, job.size, job.seconds) == (model, size, seconds) and job.operation and job.closed_at
    )
    if len(took) < LEAST_OF_A_SHAPE:
        return None
    return Duration(took[(len(took) - 1) // 2], took[-(-9 * len(took) // 10) - 1], len(took))


def _newest(ledger: Ledger) -> list[Job]:
    """Return the newest finished jobs, back to where all final states are known: no state counts double."""
    by_state = [ledger.jobs(JobFilter(states=(state,)), WINDOW) for state in _FINAL]
    oldest = max((jobs[-1].job_id for jobs in by_state if len(jobs) == WINDOW), default="")
    return [job for jobs in by_state for job in jobs if job.outcome and job.job_id >= oldest]


def _median_seconds(jobs: Iterable[Job]) -> int | None:
    took = sorted(_seconds(job) for job in jobs if job.outcome is Outcome.STORED)
    return took[(len(took) - 1) // 2] if took else None


def _seconds(job: Job) -> int:
    """Return whole seconds from the request to the end; 0 if a clock was set back."""
    begun, ended = datetime.fromisoformat(job.created_at), datetime.fromisoformat(job.closed_at or "")
    return max(0, round((ended - begun).total_seconds()))


def _failure_ppm(jobs: list[Job]) -> int:
    failed = sum(job.outcome is Outcome.FAILED for job in jobs)
    return failed * MILLION // len(jobs)
