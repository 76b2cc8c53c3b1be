"""One entry of a batch and its result."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.terms import State
from render_service.batches.plan import Planned
from render_service.rules.measurements import Duration
from render_service.runtime.documents import Json, job_document
from render_service.submission.result import Placed

FAILURES = frozenset(
    {
        State.DENIED,
        State.HELD,
        State.REFUSED,
        State.REJECTED,
        State.ABSENT,
        State.SUBMITTING,
        State.UNKNOWN,
        State.FAILED,
        State.LOST,
        State.ABANDONED,
    }
)
"""States of jobs that did not produce a video."""


@dataclass(frozen=True)
class Member:
    """An entry with its job, the error that stopped it, if any, and the files copied out.

    `expected` is the usual time of such a render, None if unknown.
    """

    planned: Planned
    placed: Placed
    error: Exception | None = None
    files: tuple[Path, ...] = ()
    expected: Duration | None = None

    @property
    def number(self) -> int:
        """Its number in the batch, from 1."""
        return self.planned.entry.number

    @property
    def job(self) -> Job:
        """Its job in its latest known state."""
        return self.placed.job

    @property
    def has_failed(self) -> bool:
        """Whether it did not produce a video."""
        return self.error is not None or self.job.state in FAILURES

    def at(self, job: Job) -> Self:
        """Return the same entry with its job updated."""
        return replace(self, placed=replace(self.placed, job=job))

    def document(self, ledger: Ledger) -> Json:
        """Return the job document, with line and files of the entry."""
        more = {"line": self.planned.entry.line, "files": [str(path) for path in self.files]}
        return job_document(self.job, ledger) | more


Watch = Callable[[Member], None]
"""Called for an entry whenever its state changes."""
