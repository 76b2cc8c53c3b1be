"""Jobs as objects of the Videos API: a pure function of a job and its records.

A client knows four states. Every job is ``queued`` until the server has accepted it, including one that waits
for an approval or that may or may not have reached the server. A job that ends without a video is ``failed``,
with a code and a sentence.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ledger.events import (
    ApprovalRefused,
    ErrorDetail,
    RenderAdopted,
    RenderDenied,
    RenderRequested,
    StatusObserved,
    SubmissionRejected,
)
from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.private import Private
from ledger.record import Record
from ledger.store.filters import JobFilter, RecordFilter
from ledger.terms import Operation, State, Status
from render_service.session.event_ids import public_id

WHOLE = 100
ABOUT_THE_GATEWAY = frozenset({401, 403})
"""Refusals by the server of the gateway's own key or account. Their words quote parts of the key."""

REFUSED_GATEWAY = (
    "The server behind this gateway refused the gateway's own key or account; its operator finds the "
    "reason in the ledger."
)
ANY_MODEL = "auto"
"""The model name that lets the decision choose the model."""

_FAILURES: Mapping[State, tuple[str, str]] = {
    State.REFUSED: ("approval_refused", "The request needed an approval, which was refused."),
    State.DENIED: ("denied", "The request was approved, but can no longer be allowed."),
    State.REJECTED: ("rejected", "The server did not accept the request."),
    State.ABSENT: ("not_created", "The request did not reach the server; no video was created."),
    State.FAILED: ("render_failed", "The server could not render the video."),
    State.LOST: ("video_lost", "The server no longer has the video, and it was not stored in time."),
    State.ABANDONED: ("abandoned", "The video was given up, because the server never finished it."),
    State.CANCELLED: ("cancelled", "The request was withdrawn before it was sent."),
    State.DELETED: ("deleted", "The video was deleted."),
}
_OPEN_UNTIL_CLOSED = frozenset({State.REJECTED, State.ABSENT})
"""States from which a worker may resubmit, unless the job is closed."""

_READY = frozenset({State.COMPLETED, State.STORED})


@dataclass(frozen=True)
class Shown:
    """A video object, and whether it depends on its job alone, so that it is cacheable with the job."""

    resource: dict[str, Any]
    is_settled: bool


def status_of(job: Job) -> Status:
    """Return the state of `job` in the words of the API."""
    if job.state in _READY:
        return Status.COMPLETED
    if job.state is State.RUNNING:
        return Status.IN_PROGRESS if job.status in {Status.COMPLETED, Status.FAILED, None} else job.status
    if job.state in _FAILURES and (job.outcome is not None or job.state not in _OPEN_UNTIL_CLOSED):
        return Status.FAILED
    return Status.QUEUED


def video_resource(ledger: Ledger, job: Job) -> dict[str, Any]:
    """Return `job` as the API shows a video; reads the ledger, so call it in a thread."""
    return show(ledger, job).resource


def show(ledger: Ledger, job: Job) -> Shown:
    """Return `job` as the API shows a video; reads two or three records of its stream."""
    status = status_of(job)
    first = next(ledger.read(RecordFilter(stream=job.job_id), limit=1)).event
    final = _final_observation(ledger, job) if job.state in {*_READY, State.FAILED} else None
    source, is_settled = _source(ledger, job)
    error = _error(ledger, job, final) if status is Status.FAILED else None
    return Shown(_resource(job, _prompt(first), source, final, error), is_settled)


def new_resource(job: Job, prompt: str | None) -> dict[str, Any]:
    """Return a newly submitted job; `prompt` replaces its records, so none is read."""
    is_change = job.remix_video_id is not None and job.operation is not Operation.EXTEND
    source = public_id(job.source_job) if is_change and job.source_job else None
    return _resource(job, prompt, source, None, None)


def _resource(
    job: Job, prompt: str | None, source: str | None, final: Record | None, error: dict[str, str] | None
) -> dict[str, Any]:
    status = status_of(job)
    return {
        "id": public_id(job.job_id),
        "object": "video",
        "model": job.model or job.requested_model or ANY_MODEL,
        "status": status.value,
        "progress": _progress(job, status),
        "created_at": _unix(job.created_at),
        "completed_at": _completed_at(job, status, final),
        "expires_at": job.expires_at if job.state is State.COMPLETED else None,
        "prompt": prompt,
        "size": job.size,
        "seconds": None if job.seconds is None else str(job.seconds),
        "remixed_from_video_id": source,
        "error": error,
    }


def _progress(job: Job, status: Status) -> int:
    return WHOLE if status is Status.COMPLETED else job.progress or 0


def _unix(moment: str) -> int:
    return int(datetime.fromisoformat(moment).timestamp())


def _completed_at(job: Job, status: Status, final: Record | None) -> int | None:
    if status not in {Status.COMPLETED, Status.FAILED}:
        return None
    if final is not None and isinstance(final.event, StatusObserved):
        return final.event.completed_at or _unix(final.occurred_at)
    return _unix(job.closed_at or job.updated_at)


def _final_observation(ledger: Ledger, job: Job) -> Record | None:
    """Return the first record that ended the render: stored videos may be observed again."""
    observed = ledger.entries(StatusObserved, RecordFilter(stream=job.job_id))
    ended = {Status.COMPLETED, Status.FAILED}
    return next((entry.record for entry in observed if entry.event.status in ended), None)


def _prompt(first: object) -> str | None:
    """Return the requester's text; None if it was erased."""
    prompt = first.prompt if isinstance(first, RenderRequested | RenderAdopted) else None
    return _text(prompt)


def _text(private: Private | None) -> str | None:
    return private.text if private is not None else None


def _source(ledger: Ledger, job: Job) -> tuple[str | None, bool]:
    """Return the id of the source video of `job`, ours if known, and whether that is final."""
    if job.remix_video_id is None or job.operation is Operation.EXTEND:
        return None, True
    source_job = job.source_job
    if source_job is None:
        found = ledger.jobs(JobFilter(video_id=job.remix_video_id, profile=job.profile), limit=1)
        source_job = found[0].job_id if found else None
    return (job.remix_video_id, False) if source_job is None else (public_id(source_job), True)


def _error(ledger: Ledger, job: Job, final: Record | None) -> dict[str, str]:
    code, message = _FAILURES[job.state]
    where = RecordFilter(stream=job.job_id)
    match job.state:
        case State.FAILED if final is not None and isinstance(final.event, StatusObserved):
            code, message = _worded(final.event.error, code, message)
        case State.REJECTED:
            rejected = list(ledger.entries(SubmissionRejected, where))
            if rejected:
                code, message = _worded(rejected[-1].event.error, code, message)
        case State.REFUSED:
            refused = next(ledger.entries(ApprovalRefused, where), None)
            comment = _text(refused.event.comment) if refused else None
            message = f"{message} {comment}" if comment else message
        case State.DENIED:
            denied = next(ledger.entries(RenderDenied, where), None)
            code = denied.event.denial_trace.detail_code if denied else code
        case _:
            pass
    return {"code": code, "message": message}


def _worded(error: ErrorDetail | None, code: str, message: str) -> tuple[str, str]:
    """Return the server's code and message, if it gave any and they were not erased."""
    if error and error.http_status in ABOUT_THE_GATEWAY:
        return error.code or code, REFUSED_GATEWAY
    return (error.code or code, _text(error.message) or message) if error else (code, message)
