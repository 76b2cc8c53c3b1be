"""One process's knowledge of the uses of an access key, and its records about them.

An SDK that gets no answer resends the same request, with ``x-stainless-retry-count`` but without an
idempotency key. Its content is compared with this process's requests in progress and with recent ones in the
ledger; no digest of private text is stored for that. An attempt of count *n* is answered by a job that
answered no other attempt of that count, because two requests may be identical on purpose:

- ``uses_<key>`` records each job that was created by a resend, and each job of a key that limits its running
  jobs. Every request of the key is recorded on condition that this stream has not grown since it was read,
  so that a first attempt that arrives late, or in another process, sees the job of its resend.
- ``claims_<key>`` records which jobs were found by a resend. The event id is derived from the job and the
  count, so that one of two processes gets the job.
"""

import asyncio
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from decision.request.request import RenderRequest
from ledger.errors import EventIdConflict
from ledger.events import AccessUsed, RenderRequested
from ledger.job import Job
from ledger.record import Draft, timestamp
from ledger.store.filters import JobFilter, RecordFilter
from ledger.store.interface import ANY, Batch
from ledger.terms import Outcome, State
from render_service.access.callers import Caller
from render_service.server.gateway.recent import RecentRequests
from render_service.session.event_ids import use_id
from render_service.session.session import Session
from render_service.submission.result import Placed, differences, placed_in

RESENT_WITHIN = timedelta(minutes=10)
"""Maximum delay of a resend: SDKs wait up to ten minutes for an answer."""

LATE_WITHIN = timedelta(minutes=1)
"""Maximum delay of a first attempt that arrives after its resend; later it is a new request."""

MOST_REFUSED = 256
"""Number of a key's refused attempts that are remembered, the newest."""

MOST_RETRIES = 16
"""Higher counts are treated as this one; SDKs resend twice by default."""

NOTHING_CREATED = (Outcome.REJECTED, Outcome.ABSENT)
"""States of a job whose resend is meant as a new attempt."""

RUNNING = (State.DECIDED, State.SUBMITTING, State.UNKNOWN, State.RUNNING)
"""States that count against a limit of running jobs."""


class Resent(NamedTuple):
    """A job that a resend created: when, and the hash of its text in this process."""

    job_id: str
    at: datetime
    text: int


Payer = tuple[str | None, str | None]
"""A team and a project: a key without them may request for several, and a resend has the same payer."""


def payer_of(session: Session) -> Payer:
    """Return the payer of a session's requests."""
    return session.settings.team, session.settings.project


@dataclass(eq=False)
class UnderWay:
    """A request in progress in this process; its resends wait for the same `task`.

    `payer` is the team and project that it is for, `count` is that of the attempt that began it, `counts` are
    those it answers. `job` is set once the request is recorded for good.
    """

    request: RenderRequest
    payer: Payer
    count: int
    counts: set[int]
    job: Job | None = None
    recorded: asyncio.Event = field(default_factory=asyncio.Event)
    task: "asyncio.Task[Placed]" = field(init=False)

    def note(self, job: Job) -> None:
        """Note the job of this request."""
        self.job = job
        self.recorded.set()


class Uses:
    """The uses of one access key, or of one person without a key."""

    def __init__(self, session: Session, caller: Caller, recent: RecentRequests) -> None:
        self._session = session
        self._recent = recent
        self._owner = (caller.key_id, "" if caller.key_id else caller.name)
        key_id = caller.key_id
        self._own = JobFilter(access_key_id=key_id) if key_id else JobFilter(actor=caller.name)
        subject = caller.key_id or uuid.uuid5(uuid.NAMESPACE_OID, caller.name).hex
        self._uses, self._claims = f"uses_{subject}", f"claims_{subject}"
        self.version = self._position = 0
        self._is_known = False
        self._resent: list[Resent] = []
        self._refused = deque[tuple[RenderRequest, Payer, int, datetime]](maxlen=MOST_REFUSED)
        self._joined: dict[str, tuple[datetime, set[int]]] = {}
        self._reading = asyncio.Lock()
        self.under_way: list[UnderWay] = []
        self.turn = asyncio.Lock()

    # --- in this process ---

    def joinable(self, request: RenderRequest, payer: Payer, count: int) -> UnderWay | None:
        """Return a request in progress with the same content that answers no attempt of this count yet."""
        if request.request_key is not None:
            return None
        same = (entry for entry in self.under_way if entry.payer == payer and count not in entry.counts)
        return next((entry for entry in same if _is_same(entry.request, request)), None)

    def ended(self, entry: UnderWay) -> None:
        """Forget a finished request, except which attempts it answered if there were several."""
        self.under_way.remove(entry)
        now = self._session.clock()
        if entry.job is not None and entry.counts != {0}:
            self._joined[entry.job.job_id] = now, entry.counts
        for job_id in [request for request, (at, _) in self._joined.items() if now - at > RESENT_WITHIN]:
            del self._joined[job_id]

    def note_refused(self, request: RenderRequest, payer: Payer, count: int) -> None:
        """Note that an attempt was refused and that nothing was recorded of it."""
        self._refused.append((request, payer, count + 1, self._session.clock()))

    def was_refused(self, request: RenderRequest, payer: Payer, count: int) -> bool:
        """Return whether an attempt before this one was refused; each refusal is for one resend."""
        while self._refused and self._session.clock() - self._refused[0][3] > RESENT_WITHIN:
            self._refused.popleft()
        for index, refused in enumerate(self._refused):
            if refused[1:3] == (payer, count) and _is_same(refused[0], request):
                del self._refused[index]
                return True
        return False

    def _answers(self, job_id: str, count: int) -> bool:
        """Return whether a job answers another attempt of this count in this process."""
        joined = self._joined.get(job_id)
        if joined is not None and count in joined[1]:
            return True
        own = (
            request for request in self.under_way if request.job is not None and request.job.job_id == job_id
        )
        return any(count in request.counts for request in own)

    # --- in the ledger ---

    async def renew(self, *, again: bool = False) -> None:
        """Read the records about the key since the last time, at least once."""
        if again or not self._is_known:
            async with self._reading:
                await asyncio.to_thread(self._read)

    def _read(self) -> None:
        for record in self._session.ledger.read(RecordFilter(stream=self._uses), after=self._position):
            self.version, self._position = record.version, record.position
            used, at = record.event, datetime.fromisoformat(record.recorded_at)
            is_recent = at > self._recent.since(LATE_WITHIN)
            if isinstance(used, AccessUsed) and used.retry_count > 0 and is_recent:
                self._resent.append(self._resent_in(used.job_id, at))
        self._is_known = True

    def _resent_in(self, job_id: str, at: datetime) -> "Resent":
        first = next(self._session.ledger.read(RecordFilter(stream=job_id), limit=1), None)
        prompt = first.event.prompt.text if first and isinstance(first.event, RenderRequested) else None
        return Resent(job_id, at, hash(prompt))

    def expire(self) -> None:
        """Reread before the next use: this process recorded one."""
        self._is_known = False

    def unchanged(self, version: int) -> Batch:
        """Return the condition that no use was recorded since this version."""
        return Batch(self._uses, version, [])

    def mark(self, session: Session, version: int, job_id: str, count: int) -> Batch:
        """Return the record that an attempt with this count creates a job, under the same condition."""
        return Batch(self._uses, version, [_used(session, job_id, count)])

    def late(self, request: RenderRequest) -> list[str]:
        """Return the jobs of resends that `request` may be the first attempt of, arriving late."""
        if not self._resent:
            return []
        oldest, text = self._recent.since(LATE_WITHIN), hash(request.prompt)
        self._resent = [resend for resend in self._resent if resend.at >= oldest]
        return [resend.job_id for resend in self._resent if resend.text == text]

    def claim_late(self, session: Session, request: RenderRequest, job_ids: Sequence[str]) -> Placed | None:
        """Return that one of these jobs which a resend of this first attempt created; reads the ledger."""
        return self._claimed(session, request, 0, _jobs(session, job_ids))

    def claim(
        self, session: Session, request: RenderRequest, count: int, without: str | None = None
    ) -> Placed | None:
        """Return the newest job of the same content that answers no attempt of this count, and claim it.

        A job that the server refused comes first: of identical requests, that one is tried again. The job
        `without` is left out. Reads the ledger, and writes the claim.
        """
        recent = self._recent.find(self._owner, request.prompt)
        jobs = [job for job in _jobs(session, recent) if job.job_id != without]
        jobs.sort(key=lambda job: job.outcome not in NOTHING_CREATED)
        return self._claimed(session, request, count, iter(jobs))

    def _claimed(
        self, session: Session, request: RenderRequest, count: int, jobs: Iterator[Job]
    ) -> Placed | None:
        for job in jobs:
            if not _may_be_same(job, request, payer_of(session)) or self._answers(job.job_id, count):
                continue
            placed = placed_in(session.ledger, job, repeated=True)
            if differences(placed.requested, request):
                continue
            try:
                session.ledger.append([Batch(self._claims, ANY, [_used(session, job.job_id, count)])])
            except EventIdConflict:  # it answers another attempt of this count
                continue
            return placed
        return None

    def running(self, session: Session) -> int:
        """Return the number of the key's running jobs; reads the ledger."""
        return sum(job.outcome is None for job in session.ledger.jobs(replace(self._own, states=RUNNING)))


def _jobs(session: Session, job_ids: Sequence[str]) -> Iterator[Job]:
    jobs = (session.ledger.store.job(job_id) for job_id in job_ids)
    return (job for job in jobs if job is not None)


def _used(session: Session, job_id: str, count: int) -> Draft:
    return session.draft(AccessUsed(job_id=job_id, retry_count=count), event_id=use_id(job_id, count))


def _is_same(request: RenderRequest, other: RenderRequest) -> bool:
    """Return whether two requests are the same; the state of their source may differ."""
    if request.prompt != other.prompt:
        return False
    sources = [compared.source.video_id if compared.source else None for compared in (request, other)]
    bare = [compared.model_copy(update={"source": None}) for compared in (request, other)]
    return sources[0] == sources[1] and bare[0] == bare[1]


def _may_be_same(job: Job, request: RenderRequest, payer: Payer) -> bool:
    """Return whether a job's row is consistent with a request; texts are not in the row."""
    if (job.team, job.project) != payer:
        return False
    row = (job.operation, job.purpose, job.profile, job.size, job.requested_model)
    row_of_request = (
        request.operation,
        request.purpose,
        request.profile,
        request.size,
        request.requested_model,
    )
    return job.request_key is None and row == row_of_request and job.seconds == request.total_seconds


def left_unsent(session: Session, recent: RecentRequests) -> list[Job]:
    """Return the jobs that a resend created and that no process sent, long after the last resend may come."""
    oldest = timestamp(recent.since(RESENT_WITHIN))
    jobs = session.ledger.jobs(JobFilter(states=(State.DECIDED,), until=oldest))
    return [job for job in jobs if job.outcome is None and _is_by_resend(session, job)]


def _is_by_resend(session: Session, job: Job) -> bool:
    counts = range(1, MOST_RETRIES + 1)
    return job.attempts == 0 and any(session.ledger.event(use_id(job.job_id, count)) for count in counts)
