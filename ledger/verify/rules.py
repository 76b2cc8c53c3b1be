"""The rules of a job from `docs/FORMAT.md`: the transitions, and the fields of its row; over plain JSON."""

import json
from typing import Any

from pydantic_core import to_json

Json = dict[str, Any]

_STEPS = """
-          render.requested > requested        render.adopted > running
requested  render.decided > decided            render.held > held             render.denied > denied
requested  decision.overridden > requested     render.cancelled > cancelled   request.signed > requested
held       approval.granted > approved         approval.refused > refused     render.cancelled > cancelled
approved   render.decided > decided            render.held > held             render.denied > denied
approved   approval.granted > approved         approval.refused > refused     render.cancelled > cancelled
refused    render.closed > refused
denied     render.closed > denied
decided    submission.intended > submitting    render.cancelled > cancelled
submitting submission.accepted > running       submission.rejected > rejected
submitting submission.unknown > unknown        submission.absent > absent
unknown    submission.accepted > running       submission.rejected > rejected
unknown    submission.recovered > running      submission.absent > absent
rejected   submission.intended > submitting    render.closed > rejected
absent     submission.intended > submitting    submission.recovered > running
absent     render.cancelled > cancelled        render.closed > absent
running    status.observed:running > running   status.observed:completed > completed
running    status.observed:failed > failed     asset.lost:video > lost        video.deleted > deleted
running    render.abandoned > abandoned
completed  status.observed:completed > completed   asset.stored:video > stored
completed  asset.stored:other > completed
completed  asset.lost:video > lost             asset.lost:other > completed   cost.settled > completed
completed  video.deleted > deleted             render.abandoned > abandoned
stored     status.observed:completed > stored  asset.stored:video > stored    asset.stored:other > stored
stored     asset.lost:video > lost             asset.lost:other > stored     cost.settled > stored
stored     video.deleted > deleted
stored     render.closed > stored
failed     cost.settled > failed               video.deleted > deleted        render.closed > failed
lost       asset.stored:video > stored         asset.lost:other > lost        cost.settled > lost
lost       video.deleted > deleted
lost       render.closed > lost
abandoned  asset.stored:video > stored         asset.lost:other > abandoned   cost.settled > abandoned
abandoned  video.deleted > deleted             render.closed > abandoned
cancelled  render.closed > cancelled
deleted    asset.lost:video > deleted          asset.lost:other > deleted
deleted    cost.settled > deleted              render.closed > deleted
"""

_KINDS = """
INTENT              render.requested request.signed change.proposed
PLAN                render.decided render.held approval.granted approval.refused split.planned
DENY                render.denied
ACTION              submission.intended render.cancelled video.deleted render.abandoned
ACTION              notification.resent checkpoint.published provenance.signed asset.published
OBSERVATION         submission.accepted submission.rejected submission.unknown submission.recovered
OBSERVATION         submission.absent status.observed webhook.received webhook.matched asset.stored
OBSERVATION         submission.spooled checkpoint.timestamped checkpoint.witnessed provenance.observed
OBSERVATION         asset.lost cost.settled render.adopted character.created output.attached
OBSERVATION         external.recorded review.recorded note.recorded access.used
OBSERVATION         session.began session.ended
OBSERVATION         notification.sent notification.failed ledger.verified projection.recorded
STRUCTURE_UPDATE    ledger.created policy.activated budget.set decision.overridden private.erased
STRUCTURE_UPDATE    access.granted access.revoked share.created share.revoked
STRUCTURE_UPDATE    endpoint.created endpoint.updated endpoint.secret_rotated endpoint.deleted
SESSION_COMPLETION  render.closed change.closed
"""

ANYWHERE = {
    "review.recorded",
    "note.recorded",
    "output.attached",
    "share.created",
    "share.revoked",
    "webhook.matched",
    "private.erased",
    "submission.spooled",
    "provenance.observed",
    "provenance.signed",
    "asset.published",
    "split.planned",
}
ONCE_OPEN = {"submission.intended", "render.closed"}

BLANK: Json = {
    "operation": None,
    "request_key": None,
    "purpose": None,
    "requested_model": None,
    "profile": None,
    "model": None,
    "size": None,
    "seconds": None,
    "source_job": None,
    "remix_video_id": None,
    "decision_id": None,
    "detail_code": None,
    "estimate_usd_micros": 0,
    "attempts": 0,
    "attempt_id": None,
    "video_id": None,
    "status": None,
    "progress": None,
    "error_code": None,
    "expires_at": None,
    "reserved_usd_micros": 0,
    "reported_cost_usd_micros": None,
    "settled_usd_micros": None,
    "cost_basis": None,
    "verdict": None,
    "outcome": None,
    "closed_at": None,
}

_TAKEN = {
    "render.requested": "operation request_key purpose requested_model profile size seconds source_job "
    "remix_video_id team project access_key_id",
    "render.adopted": "profile video_id status model size seconds remix_video_id",
    "render.decided": "model",
    "submission.intended": "attempt_id",
    "submission.accepted": "video_id status progress reported_cost_usd_micros",
    "submission.recovered": "video_id status progress",
    "status.observed": "status progress",
    "review.recorded": "verdict",
    "render.closed": "outcome",
}


ONLY_WITH_VALUE = ("team", "project", "access_key_id")


def _table() -> dict[str, dict[str, str]]:
    table: dict[str, dict[str, str]] = {}
    for line in _STEPS.strip().splitlines():
        state, *words = line.split()
        for event, arrow, after in zip(words[::3], words[1::3], words[2::3], strict=True):
            assert arrow == ">"  # the table above is written this way
            table.setdefault(state, {})[event] = after
    return table


STEPS = _table()
SPLIT = {"status.observed", "asset.stored", "asset.lost"}
FACTS = {type_: names.split() for type_, names in _TAKEN.items()}
KINDS = {type_: line.split()[0] for line in _KINDS.strip().splitlines() for type_ in line.split()[1:]}


def step_name(type_: str, payload: Json) -> str:
    """Return the name of the event in the table."""
    if type_ not in SPLIT:
        return type_
    if type_ == "status.observed":
        status = payload.get("status")
        return f"{type_}:{status if status in ('completed', 'failed') else 'running'}"
    return f"{type_}:{'video' if payload.get('variant') == 'video' else 'other'}"


def state_after(job: Json | None, step: str) -> str | None:
    """Return the state that `step` leads to, or None if it is not allowed."""
    if job is None:
        return STEPS["-"].get(step)
    if job["outcome"] is not None and step in ONCE_OPEN:
        return None
    if step in ANYWHERE:
        return str(job["state"])
    return STEPS.get(job["state"], {}).get(step)


def fold_record(job: Json | None, state: str, record: Json, payload: Json) -> Json:
    """Return the row of the job after one record."""
    if job is None:
        job = {
            **BLANK,
            "assets": {},
            "budgets": {},
            "job_id": record["stream"],
            "created_at": record["occurred_at"],
            "actor": record["actor"],
            "trace_id": record["trace_id"],
        }
    type_ = record["type"]
    for name in FACTS.get(type_, ()):
        job[name] = payload.get(name)
    for name in ONLY_WITH_VALUE:
        if name in job and job[name] is None:
            del job[name]
    _apply(job, type_, payload, record)
    job["state"] = state
    job["version"] = record["version"]
    job["position"] = record["position"]
    job["updated_at"] = record["occurred_at"]
    return job


def _apply(job: Json, type_: str, payload: Json, record: Json) -> None:  # noqa: C901  # one arm per event
    if type_ in {"render.decided", "render.held", "render.denied"}:
        job["decision_id"] = payload["basis"]["decision_id"]
    if type_ == "render.decided":
        job["estimate_usd_micros"] = job["reserved_usd_micros"] = payload["cost_usd_micros"]
        job["budgets"] = {str(hold["budget"]): hold["usd_micros"] for hold in payload["holds"]}
    elif type_ == "render.denied":
        job["detail_code"] = payload["denial_trace"]["detail_code"]
    elif type_ == "submission.intended":
        job["attempts"] += 1
        job["reserved_usd_micros"] = job["estimate_usd_micros"]
    elif type_ == "submission.rejected":
        job["error_code"] = payload["error"].get("code")
        job["reserved_usd_micros"] = 0
    elif type_ in {"submission.absent", "render.cancelled"}:
        job["reserved_usd_micros"] = 0
    elif type_ == "status.observed":
        if payload.get("error") is not None:
            job["error_code"] = payload["error"].get("code")
        if payload.get("expires_at") is not None:
            job["expires_at"] = payload["expires_at"]
    elif type_ == "asset.stored":
        names = ("bytes", "media_type", "sha256", "storage_uri")
        job["assets"] = {**job["assets"], str(payload["variant"]): {name: payload[name] for name in names}}
    elif type_ == "cost.settled":
        job["settled_usd_micros"] = payload["cost_usd_micros"]
        job["cost_basis"] = payload["basis"]
        job["reserved_usd_micros"] = 0
    elif type_ == "render.closed":
        job["closed_at"] = record["occurred_at"]


def encode_job(job: Json) -> bytes:
    """Return the bytes of a job's row; values from payloads are already sorted."""
    ordered = dict(sorted(job.items()))
    for name in ("assets", "budgets"):
        ordered[name] = dict(sorted(job[name].items()))
    try:
        return to_json(ordered)
    except ValueError:  # nested too deeply for the fast encoder
        return json.dumps(job, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
