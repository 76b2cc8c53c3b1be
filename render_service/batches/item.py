"""One entry of a batch and what became of it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from ledger.job import Job, State
from ledger.log.ledger import Ledger
from render_service.batches.plan import Planned
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
"""Where an entry stands that did not come to a video."""


@dataclass(frozen=True)
class Member:
    """An entry, its job, the error that ended it if one did, and the files copied out."""

    planned: Planned
    placed: Placed
    error: Exception | None = None
    files: tuple[Path, ...] = ()

    @property
    def number(self) -> int:
        """Its number in the batch, from 1."""
        return self.planned.entry.number

    @property
    def job(self) -> Job:
        """Its job as it stands."""
        return self.placed.job

    @property
    def has_failed(self) -> bool:
        """Whether it did not come to a video."""
        return self.error is not None or self.job.state in FAILURES

    def at(self, job: Job) -> Self:
        """Return the same entry with its job as it stands now."""
        return replace(self, placed=replace(self.placed, job=job))

    def document(self, ledger: Ledger) -> Json:
        """Return its job as a document, with the entry it comes from."""
        more = {"line": self.planned.entry.line, "files": [str(path) for path in self.files]}
        return job_document(self.job, ledger) | more
