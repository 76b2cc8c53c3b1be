"""The fold: a job after one more record of its stream.

The table of `ledger.job` says which events are legal and which state they lead to; this module applies each
of them to the row.
"""

from msgspec.structs import replace

from ledger.errors import IllegalTransition
from ledger.events import (
    AssetStored,
    CostSettled,
    Event,
    RenderCancelled,
    RenderClosed,
    RenderDecided,
    RenderDenied,
    RenderHeld,
    StatusObserved,
    SubmissionAbsent,
    SubmissionIntended,
    SubmissionRejected,
)
from ledger.job import Asset, Job, next_state
from ledger.record import Record

COPIED: dict[str, tuple[str, ...]] = {
    "render.requested": (
        "operation",
        "request_key",
        "purpose",
        "requested_model",
        "profile",
        "size",
        "seconds",
        "source_job",
        "remix_video_id",
        "team",
        "project",
        "access_key_id",
    ),
    "render.adopted": ("profile", "video_id", "status", "model", "size", "seconds", "remix_video_id"),
    "render.decided": ("model",),
    "submission.intended": ("attempt_id",),
    "submission.accepted": ("video_id", "status", "progress", "reported_cost_usd_micros"),
    "submission.recovered": ("video_id", "status", "progress"),
    "status.observed": ("status", "progress"),
    "review.recorded": ("verdict",),
    "render.closed": ("outcome",),
}
"""Facts stored in the job's row under their own name."""


def fold(job: Job | None, record: Record) -> Job:
    """Return `job` after `record`; `IllegalTransition` if the table does not allow it."""
    event, envelope = record.event, record.envelope
    state = next_state(job, event)
    if state is None:
        where = f"is {job.state}" + (" and closed" if job.outcome else "") if job else "does not exist yet"
        raise IllegalTransition(f"{event.type} cannot follow here: {record.stream} {where}")
    base = job or Job(
        job_id=record.stream,
        version=0,
        position=0,
        state=state,
        created_at=record.occurred_at,
        updated_at=record.occurred_at,
        actor=record.actor,
        trace_id=record.trace_id,
    )
    return replace(
        base,
        state=state,
        version=envelope.version,
        position=envelope.position,
        updated_at=envelope.occurred_at,
        **_facts(base, event, record),
    )


def _facts(job: Job, event: Event, record: Record) -> dict[str, object]:  # noqa: C901  # one arm per event
    facts: dict[str, object] = {name: getattr(event, name) for name in COPIED.get(event.type, ())}
    match event:  # the most frequent event first
        case StatusObserved():
            facts |= {"error_code": event.error.code} if event.error else {}
            facts |= {"expires_at": event.expires_at} if event.expires_at is not None else {}
        case RenderDecided():
            facts |= {"decision_id": event.basis.decision_id}
            facts |= dict.fromkeys(("estimate_usd_micros", "reserved_usd_micros"), event.cost_usd_micros)
            facts |= {"budgets": {hold.budget: hold.usd_micros for hold in event.holds}}
        case RenderHeld():
            facts |= {"decision_id": event.basis.decision_id}
        case RenderDenied():
            facts |= {"decision_id": event.basis.decision_id, "detail_code": event.denial_trace.detail_code}
        case SubmissionIntended():
            facts |= {"attempts": job.attempts + 1, "reserved_usd_micros": job.estimate_usd_micros}
        case SubmissionRejected():
            facts |= {"error_code": event.error.code, "reserved_usd_micros": 0}
        case SubmissionAbsent() | RenderCancelled():
            facts |= {"reserved_usd_micros": 0}
        case AssetStored():
            asset = Asset(event.bytes, event.media_type, event.sha256, event.storage_uri)
            facts |= {"assets": job.assets | {event.variant: asset}}
        case CostSettled():
            facts |= {"settled_usd_micros": event.cost_usd_micros, "cost_basis": event.basis}
            facts |= {"reserved_usd_micros": 0}
        case RenderClosed():
            facts |= {"closed_at": record.occurred_at}
        case _:
            pass  # its fields are copied, or it leaves the row unchanged
    return facts
