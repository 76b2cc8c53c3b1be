"""Jobs as rows for spreadsheets, one row each."""

from collections.abc import Iterable, Iterator, Sequence

from decision.money import usd_digits
from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.terms import Variant
from render_service.reports.find import path_of
from render_service.reports.jobs import prompt_of, source_of
from render_service.runtime.settings import Settings

_SAME = ("job_id", "video_id", "state", "created_at", "closed_at", "actor", "team", "project")
"""The columns that are fields of a job of the same name; more follow."""

COLUMNS = (
    *_SAME,
    "operation",
    "source_job",
    "purpose",
    "model",
    "size",
    "seconds",
    "cost_usd",
    "cost_basis",
    "verdict",
    "error_code",
    "prompt",
    "file",
    "poster",
)


def job_rows(jobs: Iterable[Job], ledger: Ledger, settings: Settings) -> Iterator[Sequence[object]]:
    """Yield the header and a row for each of `jobs`, as they come; the cost is settled or reserved."""
    yield COLUMNS
    for job in jobs:
        cost = job.settled_usd_micros if job.settled_usd_micros is not None else job.reserved_usd_micros
        cells = {name: getattr(job, name) for name in _SAME} | {
            "operation": job.operation or "adopted",
            "source_job": source_of(ledger, job),
            "purpose": job.purpose,
            "model": job.model or job.requested_model,
            "size": job.size,
            "seconds": job.seconds,
            "cost_usd": None if job.operation is None else usd_digits(cost),
            "cost_basis": job.cost_basis,
            "verdict": job.verdict,
            "error_code": job.detail_code or job.error_code,
            "prompt": prompt_of(ledger, job),
            "file": path_of(job, settings, Variant.VIDEO),
            "poster": path_of(job, settings, Variant.THUMBNAIL),
        }
        yield ["" if cells[name] is None else cells[name] for name in COLUMNS]
