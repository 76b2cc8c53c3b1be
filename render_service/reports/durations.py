"""How long renders take, as this ledger measured it: the time from a request to its stored video.

The newest renders of the same model, size and length at the same server count. The time includes waiting for
a person or a poll. A few renders prove little: with fewer than `LEAST` nothing is reported.
"""

from datetime import datetime
from typing import NamedTuple

from ledger.job import Job, State
from ledger.log.ledger import Ledger
from ledger.store.interface import JobFilter

LEAST = 5
WINDOW = 200
"""The newest stored videos of a model that are read."""


class Duration(NamedTuple):
    """What was measured, in whole seconds: half of the `renders` took at most `p50`, nine of ten `p90`."""

    p50_seconds: int
    p90_seconds: int
    renders: int


def expected_duration(
    ledger: Ledger, *, profile: str, model: str, size: str, seconds: int
) -> Duration | None:
    """Return how long such a render takes; None if too little was measured."""
    if not ledger.store.is_searchable():
        return None
    where = JobFilter(states=(State.STORED,), profile=profile, model=model)
    found = (each.job for each in ledger.store.search("", where, WINDOW))
    took = sorted(
        _seconds(job)
        for job in found
        if (job.model, job.size, job.seconds) == (model, size, seconds) and job.operation and job.closed_at
    )
    if len(took) < LEAST:
        return None
    return Duration(took[(len(took) - 1) // 2], took[-(-9 * len(took) // 10) - 1], len(took))


def _seconds(job: Job) -> int:
    """Return whole seconds from the request to the end; 0 if a clock was set back."""
    begun, ended = datetime.fromisoformat(job.created_at), datetime.fromisoformat(job.closed_at or "")
    return max(0, round((ended - begun).total_seconds()))
