"""Jobs in the API's format: the official VideoResource, always with all thirteen fields."""

from typing import Any

from sora_adapter.sandbox.state.jobs import Job
from sora_adapter.sandbox.state.lifecycle import BLOCKED, Moment
from sora_adapter.sandbox.state.uploads import Character, UploadedFile


def video_resource(job: Job, moment: Moment) -> dict[str, Any]:
    """Return a job's state in the API's format; times are whole seconds since 1970."""
    done_at = None if moment.done_at is None else int(moment.done_at)
    return {
        "id": job.id,
        "object": "video",
        "model": job.model,
        "status": moment.status,
        "progress": moment.progress,
        "created_at": int(job.created_at),
        "completed_at": done_at,
        "expires_at": None if done_at is None else done_at + job.expire_seconds,
        "prompt": job.prompt,
        "size": job.size,
        "seconds": job.seconds,
        "remixed_from_video_id": job.remixed_from_video_id,
        "error": BLOCKED if moment.status == "failed" else None,
    }


def list_resource(data: list[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """Return a page of jobs in the API's format."""
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": has_more}


def deleted_resource(job_id: str) -> dict[str, Any]:
    """Return the confirmation of a deletion."""
    return {"id": job_id, "deleted": True, "object": "video.deleted"}


def character_resource(character: Character) -> dict[str, Any]:
    """Return a character in the API's format."""
    return {"id": character.id, "name": character.name, "created_at": int(character.created_at)}


def file_resource(file: UploadedFile) -> dict[str, Any]:
    """Return an uploaded file in the API's format."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": int(file.created_at),
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
    }


def deleted_file(file_id: str) -> dict[str, Any]:
    """Return the confirmation that a file was deleted."""
    return {"id": file_id, "object": "file", "deleted": True}


def job_record(job: Job, moment: Moment) -> dict[str, Any]:
    """Return a job with details for tests: its request, and how long it takes."""
    return {
        **video_resource(job, moment),
        "render_seconds": job.render_seconds,
        "reference_sha256": job.reference_sha256,
        "footage_sha256": job.footage_sha256,
        "act_seconds": [act.seconds for act in job.acts],
        "character_ids": list(job.cast_ids),
        "request_id": job.request_id,
        "client_request_id": job.client_request_id,
        "traceparent": job.traceparent,
    }
