"""Jobs, records and decisions as JSON documents: the shapes of ``--json``. Fields are only ever added.

A job's document is a video object of the Videos API with what the ledger knows besides, so that a script
written for the API's answers finds ``id``, ``status``, ``model``, ``size`` and ``seconds`` where it expects
them; ``id`` is the server's, ``job_id`` ours.
"""

from typing import Any

from decision.decide import Ruling
from decision.explain import what_now, why
from decision.request import RenderRequest
from ledger.events import RenderDecided
from ledger.job import Job
from ledger.private import Private, private_values
from ledger.record import Record
from sora_adapter.calls import Post
from sora_adapter.translate import Observation, Page

Json = dict[str, Any]
ERASED = "[erased]"


def job_document(job: Job) -> Json:
    """Return a job as a video object with the ledger's facts beside it."""
    row = job.model_dump(mode="json")
    video = {
        "id": row.pop("video_id"),
        "object": "video",
        "status": row.pop("status"),
        "progress": row.pop("progress"),
        "model": row.pop("model"),
        "size": row.pop("size"),
        "seconds": None if job.seconds is None else str(job.seconds),
        "remixed_from_video_id": row.pop("remix_video_id"),
        "expires_at": row.pop("expires_at"),
        "error": {"code": job.error_code} if job.error_code else None,
    }
    return video | {name: value for name, value in row.items() if name not in {"seconds", "error_code"}}


def record_document(record: Record) -> Json:
    """Return a record with its payload; private text stands beside its commitment, or ``[erased]``."""
    event = record.event
    payload = event.model_dump(mode="json")
    for path, private in private_values(event):
        _reveal(payload, path, private)
    return dict(record.envelope) | {"payload": payload}


def _reveal(payload: Json, path: str, private: Private) -> None:
    *parents, name = path.split(".")
    place: Any = payload
    for parent in parents:
        place = place[int(parent)] if isinstance(place, list) else place[parent]
    text = ERASED if private.text is None else private.text
    place[name] = {"commitment": private.commitment, "text": text}


def ruling_document(ruling: Ruling, request: RenderRequest | None = None) -> Json:
    """Return a decision: the event's payload, and the same in sentences."""
    document = ruling.model_dump(mode="json") | {"why": why(ruling)}
    if not isinstance(ruling, RenderDecided):
        document["what_now"] = what_now(ruling, request)
    return document


def request_document(post: Post, base_url: str) -> Json:
    """Return the HTTP request that would be sent; of a file only its name and size."""
    files = {
        field: {"name": name, "bytes": len(content), "media_type": media_type}
        for field, (name, content, media_type) in (post.files or {}).items()
    }
    return {
        "method": "POST",
        "url": f"{base_url}{post.path}",
        "content_type": "multipart/form-data" if post.multipart else "application/json",
        "body": post.body,
        "files": files,
    }


def observation_document(seen: Observation) -> Json:
    """Return a video as the server described it."""
    return {
        "id": seen.video_id,
        "object": "video",
        "status": seen.status.value,
        "progress": seen.progress,
        "model": seen.model,
        "size": seen.size,
        "seconds": seen.seconds,
        "prompt": seen.prompt,
        "created_at": seen.created_at,
        "completed_at": seen.completed_at,
        "expires_at": seen.expires_at,
        "remixed_from_video_id": seen.remixed_from_video_id,
        "error": {"code": seen.error.code, "message": _message(seen)} if seen.error else None,
    }


def _message(seen: Observation) -> str | None:
    message = seen.error.message if seen.error else None
    return message.text if message else None


def page_document(page: Page) -> Json:
    """Return a page of a server's list, as the API lists."""
    data = [observation_document(seen) for seen in page.observations]
    first_id = data[0]["id"] if data else None
    return {
        "object": "list",
        "data": data,
        "first_id": first_id,
        "last_id": page.last_id,
        "has_more": page.has_more,
    }
