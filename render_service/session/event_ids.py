"""Deterministic event ids, so that the ledger refuses to record the same fact twice.

Event ids are unique in a store. If two processes record the same fact at the same moment, one is refused
(`EventIdConflict`) and reads the other's record. The ids are stored in ledgers, so their derivation never
changes.
"""

from pathlib import Path

from uuid_utils import UUID, uuid5

from ledger.job import JOB_PREFIX
from ledger.record import new_event_id

CLAIMED = "video_of_another_job"
"""Error code of an attempt that the server answered with a video of another job."""

_CLAIMS = UUID("0d8a2c55-7f0e-5d0b-9a43-6f1f4b8f2e90")
_LATE_CLAIMS = UUID("3b0f6f0e-58b5-4b43-a9d7-2a7c3c1c3f6d")
_REQUESTS = UUID("5f0c3f0e-9c1b-5f5b-8a52-6d4a3f2f7c11")
_SPOOLED = UUID("8c1f5f0a-0d8e-5b7c-9a54-2f3f7b1d6a90")
_RECEIPTS = UUID("c3f0a6f4-53a5-5c44-9d0c-0b7b9f3b8f11")
_MATCHES = UUID("5b1f0b0e-6c1c-5d43-8a55-0f3f4c1d7a66")
_FACTS = UUID("7a1c4f39-2f61-5c0e-8e0e-5a7b90d3c6d4")
_NOTES = UUID("94de8260-89b2-4f9c-a2bb-6123d485bf76")
_ANNOUNCEMENTS = UUID("2d1c9a54-6c0e-5f1b-9b7a-0e5d3c8f4a21")
_DELIVERIES = UUID("b7f0a3c2-1d4e-5a6b-8c9d-4e2f6a7b8c90")
_SENT = UUID("6e4b2a10-9f8d-5c7b-a6e5-d4c3b2a19080")
_USES = UUID("c1d7a3b0-2f0e-5b56-8f0d-6a0f5d0c9b27")
_REVIEWS = UUID("4a6f0f5e-7c1d-5b0e-9f36-1d2c8e5a7b40")
_SIGN_INS = UUID("7d0c1c5e-54a0-5f0e-9f06-2b8f4a1d9c37")
_GRANTS = UUID("2f6e7b0a-3c55-5b1e-8d7f-6a90c1e4b3d2")
_PROPOSED_GRANTS = UUID("9b0c1d64-6c1b-5f0c-9a55-0d3b0f6a7c11")
_BATCHES = UUID("0d2f7c1e-52a5-5c0e-9d0b-7a4f3b1c6e55")


def claim_id(server: str, video_id: str) -> str:
    """Return the event id of the claim to a video, which belongs to one job.

    It is the same for ``submission.accepted``, ``submission.recovered`` and ``render.adopted``. `server`
    comes from `servers.server_name`; older records have the name of the profile in its place.
    """
    return _derive(_CLAIMS, server, video_id)


def late_claim_id(attempt_id: str) -> str:
    """Return the event id of the note that the answer to a lost attempt named a video of another job."""
    return _derive(_LATE_CLAIMS, attempt_id)


def request_id(request_key: str | None) -> str:
    """Return the event id of a request, unique under its idempotency key; without a key, a new id."""
    return _derive(_REQUESTS, request_key) if request_key else new_event_id()


RETRY = "retry:"
"""Prefix of a retry's idempotency key; the id of the retried job follows."""


def retry_key(job_id: str) -> str:
    """Return the idempotency key of the retry of a job."""
    return RETRY + job_id


def spooled_id(attempt_id: str) -> str:
    """Return the event id of the spooled answer to an attempt."""
    return _derive(_SPOOLED, attempt_id)


def receipt_id(profile: str, webhook_event_id: str) -> str:
    """Return the event id of a webhook event's delivery to a profile's inbox."""
    return _derive(_RECEIPTS, profile, webhook_event_id)


def match_id(profile: str, webhook_event_id: str) -> str:
    """Return the event id of the match between a webhook event and its job."""
    return _derive(_MATCHES, profile, webhook_event_id)


def fact_id(stream: str, key: str | None) -> str:
    """Return the event id of another system's fact under that system's id; without one, a new id."""
    return _derive(_FACTS, stream, key) if key else new_event_id()


def review_id(job_id: str, reviewer: str, as_shown: str) -> str:
    """Return the event id of a review on a page that showed this version of the job."""
    return _derive(_REVIEWS, job_id, reviewer, as_shown)


def use_id(job_id: str, retry_count: int) -> str:
    """Return the event id of the one attempt with this count that a job answers."""
    return _derive(_USES, job_id, str(retry_count))


def sign_in_id(session_id: str) -> str:
    """Return the event id of the beginning of a person's session."""
    return _derive(_SIGN_INS, session_id)


def grant_id(key_id: str) -> str:
    """Return the event id of the grant of an access key, whose id thus belongs to one key."""
    return _derive(_GRANTS, key_id)


def proposed_grant_id(key_id: str) -> str:
    """Return the event id of the proposal of a grant, so that a form proposes one."""
    return _derive(_PROPOSED_GRANTS, key_id)


def note_id(code: str, job_id: str | None, subject: str) -> str:
    """Return the event id of the note that an audit finding was dealt with."""
    return _derive(_NOTES, code, str(job_id), subject)


def announcement_id(event_id: str) -> str:
    """Return the id of the webhook event that announces a record, the same for all endpoints."""
    return "evt_" + _derive(_ANNOUNCEMENTS, event_id).replace("-", "")


def delivery_id(endpoint_id: str, event_id: str) -> str:
    """Return the id of the delivery of that event to one endpoint, the same for every attempt."""
    return "wh_" + _derive(_DELIVERIES, endpoint_id, event_id).replace("-", "")


def public_id(job_id: str) -> str:
    """Return the clients' id for a job's video: ``video_`` and the digits of the job id."""
    return "video_" + job_id.removeprefix(JOB_PREFIX)


def sent_id(delivery: str) -> str:
    """Return the event id of the record that a delivery was accepted."""
    return _derive(_SENT, delivery)


def batch_id(out_dir: Path, name: str | None = None) -> str:
    """Return the id of the batch called `name`, or of the one created for `out_dir`.

    A path identifies the same batch from any folder, and also from another machine that uses the same ledger:
    there a name distinguishes two batches, or allows resuming one from another folder.
    """
    if name is not None:
        return _derive(_BATCHES, "name", name)
    return _derive(_BATCHES, out_dir.resolve().as_posix())


def _derive(namespace: UUID, *parts: str) -> str:
    return str(uuid5(namespace, "\n".join(parts)))
