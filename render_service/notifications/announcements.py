"""Announcements to clients, and the endpoints that get them.

1. ``video.completed``: the file is stored here and can be downloaded.
2. ``video.failed``: the job ended in any other way. A refusal that was the answer to the request is not
   announced: no client has an id of such a job.
3. ``approval.requested``: a render needs approval.

An endpoint is notified of a job that its owner may see at that moment, with a valid access key of the
endpoint's team. So the endpoint of a person who left receives nothing more, and the endpoint of a person who
replaced their key still does. Approvals are announced only where such a key may approve.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from decision.rules.roles import Permission
from ledger.events import AssetStored, RenderClosed, RenderHeld, SubmissionUnknown
from ledger.job import JOB_PREFIX, Job
from ledger.log.ledger import Ledger
from ledger.record import Record, timestamp
from ledger.store.filters import RecordFilter
from ledger.terms import Outcome, State, Variant
from render_service.access.callers import Caller, caller_of
from render_service.access.register import KeyState, Register
from render_service.notifications.endpoints import Endpoint
from render_service.session.event_ids import announcement_id, public_id
from render_service.session.session import Session

COMPLETED = "video.completed"
FAILED = "video.failed"
APPROVAL_REQUESTED = "approval.requested"
EVENT_TYPES = (COMPLETED, FAILED, APPROVAL_REQUESTED)
RECORD_TYPES = (RenderClosed.type, RenderHeld.type, AssetStored.type)
"""The types of records that may be announced."""

ANSWERED_MS = 25_000
"""A refusal within this time was the answer to the request: the gateway waits a little longer for one."""

_REFUSALS = frozenset({Outcome.DENIED, Outcome.REJECTED, Outcome.ABSENT})
_QUEUED = frozenset({RenderHeld.type, SubmissionUnknown.type})
"""After these events the client got the status ``queued``."""


class Announcement(NamedTuple):
    """The event that announces a record about a job."""

    event_id: str
    event_type: str
    job: Job
    created_at: int
    caused_by: str

    @property
    def body(self) -> bytes:
        """The event as sent."""
        return event_body(self.event_id, self.event_type, public_id(self.job.job_id), self.created_at)


def event_body(event_id: str, event_type: str, subject_id: str, created_at: int) -> bytes:
    """Return an event in the format of the Videos API."""
    event: dict[str, Any] = {
        "id": event_id,
        "object": "event",
        "created_at": created_at,
        "type": event_type,
        "data": {"id": subject_id},
    }
    return json.dumps(event, separators=(",", ":")).encode()


def announcement_of(ledger: Ledger, record: Record) -> Announcement | None:
    """Return the announcement of `record`; None if there is none."""
    if record.type not in RECORD_TYPES or not record.stream.startswith(JOB_PREFIX):
        return None
    job = ledger.store.job(record.stream)
    event_type = _event_type(ledger, record, job) if job else None
    if job is None or event_type is None:
        return None
    created_at = int(datetime.fromisoformat(record.recorded_at).timestamp())
    name = announcement_id(record.event_id)
    return Announcement(name, event_type, job, created_at, caused_by=record.event_id)


def _event_type(ledger: Ledger, record: Record, job: Job) -> str | None:
    match record.event:
        case RenderClosed(outcome=Outcome.STORED):
            return COMPLETED
        case RenderClosed() as closed:
            return None if _was_the_answer(ledger, closed, job) else FAILED
        case AssetStored(variant=Variant.VIDEO):
            return COMPLETED if _was_stored_late(ledger, record, job) else None
        case RenderHeld():
            return APPROVAL_REQUESTED
        case _:
            return None


def _was_the_answer(ledger: Ledger, closed: RenderClosed, job: Job) -> bool:
    """Return whether the refusal was the client's answer."""
    if closed.outcome not in _REFUSALS or closed.duration_ms > ANSWERED_MS:
        return False
    return not any(record.type in _QUEUED for record in ledger.history(job.job_id))


def _was_stored_late(ledger: Ledger, record: Record, job: Job) -> bool:
    """Return whether the file was stored after the job had been closed without one."""
    if job.outcome in {None, Outcome.STORED}:
        return False
    closed = ledger.entries(RenderClosed, RecordFilter(stream=job.job_id), limit=1)
    return any(entry.record.position < record.position for entry in closed)


class Audience:
    """The permissions for announcements, by the access keys as last read."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._register = Register(session.ledger)

    def renew(self) -> None:
        """Read grants and revocations, and the roles of a new policy, since the last time."""
        self._register.renew()
        self._session.in_force.follow()

    def select(self, announcement: Announcement, endpoints: Sequence[Endpoint]) -> Iterator[Endpoint]:
        """Yield the `endpoints` that get the announcement."""
        for endpoint in endpoints:
            if announcement.event_type in endpoint.event_types and self.permits(announcement, endpoint):
                yield endpoint

    def permits(self, announcement: Announcement, endpoint: Endpoint) -> bool:
        """Return whether the owner of `endpoint` may know of the announcement now."""
        wanted = Permission.READ
        if announcement.event_type == APPROVAL_REQUESTED:
            wanted = Permission.APPROVE
        return any(
            wanted in caller.permissions and caller.may_see(announcement.job)
            for caller in self.callers(endpoint)
        )

    def callers(self, endpoint: Endpoint) -> Iterator[Caller]:
        """Yield the owner of an endpoint once for each valid key of theirs for its team."""
        now = timestamp(self._session.clock())
        for key in self._register.list_named(endpoint.owner):
            if key.state(now) is KeyState.VALID and key.grant.team == endpoint.team:
                yield caller_of(key, self._session.policy.roles_in_force)


def is_pending(job: Job) -> bool:
    """Return whether a job still needs approval."""
    return job.state in {State.HELD, State.APPROVED}
