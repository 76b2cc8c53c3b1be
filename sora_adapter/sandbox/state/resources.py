"""Jobs as the API shows them: the official VideoResource, all its thirteen fields always there."""

from typing import Any

from sora_adapter.sandbox.state.characters import Character
from sora_adapter.sandbox.state.jobs import Job
from sora_adapter.sandbox.state.lifecycle import BLOCKED, Moment
from sora_adapter.sandbox.state.uploads import UploadedFile


def video_resource(job: Job, moment: Moment) -> dict[str, Any]:
    """Show a job as it stands at a moment; times are whole seconds since 1970."""
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
    """Show a page of jobs."""
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": has_more}


def deleted_resource(job_id: str) -> dict[str, Any]:
    """Confirm a deletion."""
    return {"id": job_id, "deleted": True, "object": "video.deleted"}


def character_resource(character: Character) -> dict[str, Any]:
    """Show a character."""
    return {"id": character.id, "name": character.name, "created_at": int(character.created_at)}


def file_resource(file: UploadedFile) -> dict[str, Any]:
    """Show an uploaded file."""
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
    """Confirm that a file is gone."""
    return {"id": file_id, "object": "file", "deleted": True}


def job_record(job: Job, moment: Moment) -> dict[str, Any]:
    """Show a job with what only a test asks for: which request made it, and how long it takes."""
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
