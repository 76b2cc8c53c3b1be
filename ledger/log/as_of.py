"""The jobs as of a position, quickly: what `jobs_at` finds, without reading the log.

1. A job without a record after the position was then what its row says now.
2. A job that has one is folded from its records up to the position, as replay folds it.

Few jobs are of the second kind, unless all of them changed later; then this folds as much as replay does.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

from ledger.job import Job, fold
from ledger.log.ledger import Ledger
from ledger.record import Record
from ledger.store.filters import ALL_JOBS, JobFilter, RecordFilter
from ledger.store.interface import Standing
from ledger.terms import State

_MARGIN = 20
"""Jobs that are read beyond those wanted: some of them may have changed since."""


class JobThen(NamedTuple):
    """A job as it was, and the position of its first record."""

    began: int
    job: Job


class AsOf:
    """The jobs as of `position`, at most the ledger's size, of those that match `sees`."""

    def __init__(self, ledger: Ledger, position: int, sees: Sequence[JobFilter] = ALL_JOBS) -> None:
        self.position = position
        self._ledger = ledger
        self._sees = sees

    @cached_property
    def _standing(self) -> Standing:
        """The unchanged jobs by state, and the ids of the others; at the end of the log from counts alone."""
        store = self._ledger.store
        now = store.counts("state", sees=self._sees)
        if store.head().size == self.position:  # nothing was recorded between the position and the counts
            return Standing(now, ())
        return store.standing(self.position, sees=self._sees)

    @cached_property
    def _changed(self) -> dict[str, JobThen]:
        return {job_id: self._then(job_id) for job_id in self._standing.changed}

    def _then(self, job_id: str) -> JobThen:
        where = RecordFilter(stream=job_id, before=self.position + 1)
        records = [Record.from_row(row, {}) for row in self._ledger.store.rows(0, self.position, where)]
        job: Job | None = None
        for record in records:
            job = fold(job, record)
        assert job is not None  # it had begun by then
        return JobThen(records[0].position, job)

    @cached_property
    def states(self) -> Mapping[State, int]:
        """How many jobs were in each state."""
        numbers = Counter({State(state): jobs for state, jobs in self._standing.unchanged.items()})
        numbers.update(then.job.state for then in self._changed.values())
        return numbers

    def newest(self, limit: int, *, state: State | None = None, before: int | None = None) -> list[JobThen]:
        """Return up to `limit` jobs, in one state or in any, the last to begin first.

        `before` is the position where the last job returned before had begun.
        """
        end = self.position + 1 if before is None else min(before, self.position + 1)
        changed = [
            then for then in self._changed.values() if then.began < end and state in (None, then.job.state)
        ]
        where = JobFilter(states=None if state is None else (state,))
        unchanged = 0
        while unchanged < limit:
            count = limit - unchanged + _MARGIN
            part = self._ledger.store.search("", where, count, sees=self._sees, beyond=end)
            same = [
                JobThen(each.position, each.job)
                for each in part
                if each.job.position <= self.position and each.job.job_id not in self._changed
            ]
            unchanged += len(same)
            changed += same
            if len(part) < count:
                break
            end = part[-1].position
        return sorted(changed, key=lambda then: then.began, reverse=True)[:limit]
