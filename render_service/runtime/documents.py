"""Build JSON documents of jobs and records: the format of ``--json``. Fields are only ever added.

A job's document is a video object of the Videos API with facts from the ledger, so that a script written for
the API's answers finds ``id``, ``status``, ``prompt``, ``size`` and ``created_at`` where it expects them,
with the API's types; ``id`` is the server's, ``job_id`` ours. A name of the API never has another meaning:
the ledger's own times are text and called ``begun_at``, ``updated_at`` and ``closed_at``.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Raw, to_builtins
from msgspec.json import decode, encode

from ledger.events import Event, RenderAdopted, RenderRequested, StatusObserved
from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.private import COMMITMENT_KEY, PrivateBody, private_values
from ledger.record import Record
from ledger.store.filters import RecordFilter
from ledger.terms import Status


def format_count(number: int, thing: str, things: str | None = None) -> str:
    """Return a number with its noun: ``1 job``, ``2,048 jobs``; `things` is an irregular plural."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"


Json = dict[str, Any]
ERASED = "[erased]"
HIDDEN = "[secret]"


def job_document(
    job: Job,
    ledger: Ledger | None = None,
    records: Sequence[Record] = (),
    texts: Mapping[str, PrivateBody] | None = None,
) -> Json:
    """Return a job as a video object with facts from the ledger.

    A row has neither prompt nor completion time: with `ledger` they are read from the events of the job, or
    from `records`: the first, whose text may be among `texts`, and those of its observations that matter.
    """
    row: Json = to_builtins(job)
    video = {
        "id": row.pop("video_id"),
        "object": "video",
        "status": row.pop("status"),
        "progress": row.pop("progress"),
        "model": row.pop("model"),
        "size": row.pop("size"),
        "seconds": None if job.seconds is None else str(job.seconds),
        "created_at": _seconds(row["created_at"]),
        **(_read_recorded(job, ledger, records, texts or {}) if ledger else {}),
        "remixed_from_video_id": row.pop("remix_video_id"),
        "expires_at": row.pop("expires_at"),
        "error": {"code": job.error_code} if job.error_code else None,
    }
    row["begun_at"] = row.pop("created_at")
    del row["seconds"], row["error_code"]
    return video | row


def _read_recorded(
    job: Job, ledger: Ledger, records: Sequence[Record], texts: Mapping[str, PrivateBody]
) -> Json:
    """Return the fields of the API's video that only the events of the job contain."""
    first = records[0] if records else next(ledger.read(RecordFilter(stream=job.job_id), limit=1))
    begun = first.event
    wording = None
    if isinstance(begun, RenderRequested):
        wording = begun.augmented_prompt or begun.prompt
    elif isinstance(begun, RenderAdopted):
        wording = begun.prompt
    completed_at = None
    if job.status is Status.COMPLETED:
        events: Iterable[Event] = (
            (record.event for record in records if record.type == StatusObserved.type)
            if records
            else (entry.event for entry in ledger.entries(StatusObserved, RecordFilter(stream=job.job_id)))
        )
        observed = (event for event in events if isinstance(event, StatusObserved))
        completed_at = next(
            (observation.completed_at for observation in observed if observation.status is Status.COMPLETED),
            None,
        )
    prompt = None if wording is None else _show(wording.body or texts.get(wording.commitment))
    return {"completed_at": completed_at, "prompt": prompt}


def _seconds(moment: str) -> int | None:
    return int(datetime.fromisoformat(moment).timestamp()) if moment else None


def record_document(record: Record) -> Json:
    """Return a record with its payload; private text appears next to its commitment, or ``[erased]``."""
    document: Json = decode(record_json(record))
    return document


def record_json(record: Record) -> Raw:
    """Return the document of a record as JSON text, which is faster than building its objects."""
    return Raw(b'%b,"payload":%b}' % (encode(record.envelope)[:-1], payload_json(record)))


def payload_json(record: Record) -> bytes:
    """Return the payload of a record as in its document."""
    payload = record.payload_json()
    if COMMITMENT_KEY in payload:
        bodies = record.bodies
        if record.parsed is not None:
            bodies = {text.commitment: text.body for _, text in private_values(record.parsed) if text.body}
        payload = _PRIVATE.sub(lambda found: _reveal(found[1].decode(), bodies), payload)
    return payload


_PRIVATE = re.compile(rb'\{"commitment":"([0-9a-f]{64})"\}')
"""The JSON of a private text in a payload; quotes inside a text would be escaped."""


def _reveal(commitment: str, bodies: Mapping[str, PrivateBody]) -> bytes:
    return encode({"commitment": commitment, "text": _show(bodies.get(commitment))})


def _show(body: PrivateBody | None) -> str:
    if body is None:
        return ERASED
    return HIDDEN if body.is_secret else body.text
