"""Submit the requests of clients: each once, however often and to whichever process an SDK sends it.

The steps of a resend that finds nothing: (1) look for its request, in this process and in the ledger; (2)
record request and decision, with a mark that later first attempts see; (3) look again, because a first
attempt may have been recorded between the two; (4) submit it, or withdraw it in favour of that one. A crash
between 2 and 4 leaves a job that was decided but not sent: the next resend continues at 3. If none comes, the
job is withdrawn.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from decision.request.request import RenderRequest
from ledger.errors import WrongExpectedVersion
from ledger.events import RenderDecided, RenderDenied
from ledger.job import Job
from ledger.store.interface import Batch
from ledger.terms import State
from render_service.access.callers import Caller
from render_service.assets.inputs import Material
from render_service.runtime.errors import NotReady, RequestKeyTaken, TooManyRequests
from render_service.server.gateway.recent import RecentRequests
from render_service.server.gateway.uses import (
    NOTHING_CREATED,
    RESENT_WITHIN,
    UnderWay,
    Uses,
    left_unsent,
    payer_of,
)
from render_service.session.session import Session
from render_service.submission.result import Opening, Placed, find_repeated, placed_in
from render_service.submission.resume import cancel, resume
from render_service.submission.retry import Patience
from render_service.submission.submit import place, record, submit

LOOK_S = 0.1
OTHER_ANSWER_S = 3.0
"""How long a resend waits for an answer that another process may still get."""

UNSENT_S = 2.0
"""A job decided longer ago than this was left by a process that crashed before sending it."""

RUNNING_RETRY_S = 10.0
LEFT = "its process ended before it was sent, and no resend of the request came"
WITHDRAWN = "the same request was recorded already: {}"


class Submissions:
    """The submissions of one process, by the key of their caller."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._recent = RecentRequests(session.ledger, session.clock, RESENT_WITHIN)
        self._of: dict[str, Uses] = {}
        self._tasks: set[asyncio.Task[Placed]] = set()

    def begin(
        self, caller: Caller, session: Session, request: RenderRequest, material: Material, count: int
    ) -> UnderWay:
        """Begin to submit `request`, or join a submission already in progress; never waits.

        `count` is the SDK's count of the attempt, `session` acts as the caller. It is finished even if the
        client disconnects.
        """
        uses = self._uses_of(caller)
        payer = payer_of(session)
        if entry := uses.joinable(request, payer, count):
            entry.counts.add(count)
            return entry
        entry = UnderWay(request, payer, count, {count})
        uses.under_way.append(entry)
        entry.task = asyncio.create_task(self._run(caller, session, uses, entry, material))
        self._tasks.add(entry.task)
        entry.task.add_done_callback(lambda task: self._ended(uses, entry, task))
        return entry

    def note_refused(self, caller: Caller, session: Session, request: RenderRequest, count: int) -> None:
        """Note that an attempt was refused before it began: its resend is treated as a new request."""
        self._uses_of(caller).note_refused(request, payer_of(session), count)

    def _uses_of(self, caller: Caller) -> Uses:
        name = caller.key_id or f"name {caller.name}"
        if name not in self._of:
            self._of[name] = Uses(self._session, caller, self._recent)
        return self._of[name]

    @staticmethod
    async def _run(
        caller: Caller, session: Session, uses: Uses, entry: UnderWay, material: Material
    ) -> Placed:
        """Run an attempt; attempts whose key must be reread take turns until they are recorded."""
        is_new = uses.was_refused(entry.request, entry.payer, entry.count)
        if caller.running_jobs is None and (is_new or not entry.count):
            return await _Attempt(caller, session, uses, entry, material, is_new, lambda: None).run()
        turn = Turn(uses.turn)
        async with turn:
            return await _Attempt(caller, session, uses, entry, material, is_new, turn.end).run()

    def _ended(self, uses: Uses, entry: UnderWay, task: "asyncio.Task[Placed]") -> None:
        self._tasks.discard(task)
        uses.ended(entry)
        if not task.cancelled() and task.exception() is not None and entry.job is None:
            for count in entry.counts:
                uses.note_refused(entry.request, entry.payer, count)

    async def withdraw_left(self) -> int:
        """Withdraw jobs that a crash left between 2 and 4 and no resend continued; return how many."""
        left = await asyncio.to_thread(left_unsent, self._session, self._recent)
        for job in left:
            with suppress(NotReady):  # another process withdrew it
                await cancel(self._session, job, LEFT)
        return len(left)

    async def close(self) -> None:
        """Wait for all submissions: an answer in progress is recorded first."""
        if self._tasks:
            await asyncio.wait(self._tasks)


class Turn:
    """Holds a lock until `end` is called, or until the block ends."""

    def __init__(self, lock: asyncio.Lock) -> None:
        self._lock = lock
        self._is_held = False

    async def __aenter__(self) -> None:
        await self._lock.acquire()
        self._is_held = True

    async def __aexit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Let the next one begin."""
        if self._is_held:
            self._is_held = False
            self._lock.release()


@dataclass
class _Attempt:
    """One attempt of a client: the first, or a resend.

    With `is_new`, the previous attempt is known to have been refused without a record. `release` admits the
    next attempt of its key.
    """

    caller: Caller
    session: Session
    uses: Uses
    entry: UnderWay
    material: Material
    is_new: bool
    release: Callable[[], None]

    @property
    def request(self) -> RenderRequest:
        """The request of this attempt."""
        return self.entry.request

    @property
    def count(self) -> int:
        """The SDK's count of this attempt, 0 for the first."""
        return self.entry.count

    async def run(self) -> Placed:
        """Submit the request, unless it is a repeated one; return its result.

        If another use of the key was recorded in the meantime, look again.
        """
        is_limited = self.caller.running_jobs is not None
        if repeated := await find_repeated(self.session, self.request):
            self._check_payer(repeated)
            return await place(self.session, self.request, self.material)
        await self.uses.renew(again=is_limited or self.count > 0)
        while True:
            version = self.uses.version
            # 1. Look for the request.
            if twin := await self._twin():
                return await self._answered(twin)
            if is_limited:
                await self._check_running()
            try:
                is_resend = self.count > 0 and not self.is_new
                return await (self._resend(version) if is_resend else self._first(version))
            except WrongExpectedVersion:
                await self.uses.renew(again=True)
                if self.entry.job is not None or self.uses.version == version:
                    raise

    async def _twin(self, without: str | None = None) -> Placed | None:
        """Return an earlier attempt for the same request, if this may be another one."""
        if self.request.request_key is not None or self.is_new:
            return None
        if self.count:
            return await self._claimed(without)
        if late := self.uses.late(self.request):
            return await asyncio.to_thread(self.uses.claim_late, self.session, self.request, late)
        return None

    async def _claimed(self, without: str | None) -> Placed | None:
        """Return the job of an earlier attempt; if the server refused that one, this one is a new request."""
        twin = await asyncio.to_thread(self.uses.claim, self.session, self.request, self.count, without)
        if twin is not None and twin.job.outcome in NOTHING_CREATED:
            self.is_new = True
            return None
        return twin

    async def _check_running(self) -> None:
        running = await asyncio.to_thread(self.uses.running, self.session)
        if running >= (self.caller.running_jobs or 0):
            raise TooManyRequests(
                f"{running} jobs of the key of {self.caller.name} are running, and it permits "
                f"{self.caller.running_jobs}: repeat the request when one has ended",
                retry_after_s=RUNNING_RETRY_S,
                param="Authorization",
                expected=f"fewer than {self.caller.running_jobs} running jobs",
                found=running,
            )

    def _check_payer(self, repeated: Placed) -> None:
        """Refuse an idempotency key that was used for another team or project: that one would pay."""
        if (repeated.job.team, repeated.job.project) != payer_of(self.session):
            raise RequestKeyTaken(
                "this Idempotency-Key belongs to a request for another team or project: use another key, or "
                "repeat that request exactly",
                param="Idempotency-Key",
                expected="a new key, or the same request",
                found="a key of another request",
            )

    async def _first(self, version: int) -> Placed:
        def opened(job: Job) -> None:
            self.entry.note(job)
            self.release()

        opening = Opening(lambda job_id: [self._beside(version, job_id)], opened)
        placed = await place(self.session, self.request, self.material, opening=opening)
        if placed.repeated:  # a request under the same key was recorded in between
            self._check_payer(placed)
        return placed

    async def _resend(self, version: int) -> Placed:
        def opened(_: Job) -> None:
            self.uses.expire()
            self.release()

        # 2. Record it, marked. A crash from here on leaves it decided and unsent.
        opening = Opening(lambda job_id: [self._beside(version, job_id)], opened)
        placed = await record(self.session, self.request, self.material, opening)
        is_open = not isinstance(placed.ruling, RenderDenied)
        # 3. Look again.
        if is_open and (twin := await self._twin(without=placed.job.job_id)):
            # 4. Withdraw it; a crash before that leaves it unsent.
            await cancel(self.session, placed.job, WITHDRAWN.format(twin.job.job_id))
            return await self._answered(twin)
        self.entry.note(placed.job)
        if not isinstance(placed.ruling, RenderDecided):  # it waits for an approval, or is denied
            return placed
        return await submit(self.session, placed, Patience(), self.material)

    def _beside(self, version: int, job_id: str) -> Batch:
        """Return what is appended with the request: the condition, and a record if others must see it."""
        count = 0 if self.is_new else self.count
        if count or self.caller.running_jobs is not None:
            return self.uses.mark(self.session, version, job_id, count)
        return self.uses.unchanged(version)

    async def _answered(self, twin: Placed) -> Placed:
        """Return the result of an earlier attempt, once known; continue one that was never sent."""
        self.release()
        looks = round(OTHER_ANSWER_S / LOOK_S)
        while looks and _is_pending(self.session, twin.job):
            await self.session.sleep(LOOK_S)
            twin = await self._read_again(twin)
            looks -= 1
        if twin.job.state is State.DECIDED and twin.job.outcome is None:
            return await self._continued(twin)
        self.entry.note(twin.job)
        return twin

    async def _continued(self, unsent: Placed) -> Placed:
        """Continue at step 3 with a job that a process recorded but did not live to send."""
        if self.count and (twin := await self._twin(without=unsent.job.job_id)):
            await cancel(self.session, unsent.job, WITHDRAWN.format(twin.job.job_id))
            return await self._answered(twin)
        self.entry.note(unsent.job)
        try:
            return await resume(self.session, unsent.job)
        except NotReady:  # another process continued it
            return await self._read_again(unsent)

    async def _read_again(self, placed: Placed) -> Placed:
        job = await self.session.job(placed.job.job_id)
        return await asyncio.to_thread(placed_in, self.session.ledger, job, repeated=True)


def _is_pending(session: Session, job: Job) -> bool:
    """Return whether another process may be about to send `job`, or waiting for the answer."""
    age = (session.clock() - datetime.fromisoformat(job.updated_at)).total_seconds()
    if job.state is State.DECIDED and job.outcome is None:
        return age < UNSENT_S
    return job.state is State.SUBMITTING and age < OTHER_ANSWER_S
