"""Jobs and records as JSON documents: the shapes of ``--json``. Fields are only ever added.

A job's document is a video object of the Videos API with what the ledger knows besides, so that a script
written for the API's answers finds ``id``, ``status``, ``model``, ``size`` and ``seconds`` where it expects
them; ``id`` is the server's, ``job_id`` ours.
"""

from typing import Any

from ledger.job import Job
from ledger.private import Private, private_values
from ledger.record import Record

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
