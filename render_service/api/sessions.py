"""Open sessions for commands and programs; spooled answers are recorded first.

`open_session` opens one; `in_session` runs one use case in a session.

`drain` records each spooled answer once, whichever process reads it first. Whatever happened in the meantime,
a single append settles the file: the outcome with ``submission.spooled``, or only that event if the attempt
was settled otherwise. Its id is derived from the attempt's, so if two processes drain the same file, one is
refused and sees that the answer is recorded. A crash after the append leaves the file, which the next process
deletes.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ledger.errors import (
    AppendRefused,
    EventIdConflict,
    IllegalTransition,
    LedgerUnusable,
    WrongExpectedVersion,
)
from ledger.events import SubmissionAccepted, SubmissionSpooled
from ledger.job import Job
from ledger.log.opening import open_or_create
from ledger.record import Authority, Draft
from ledger.store.interface import Batch
from render_service.assets.store import AssetStore
from render_service.rules.measurements import Measuring
from render_service.rules.policies import InForce
from render_service.runtime.exporting import begin_telemetry
from render_service.runtime.settings import Settings
from render_service.runtime.telemetry import Log, Trace
from render_service.session.connecting import connection
from render_service.session.connections import Connections
from render_service.session.event_ids import spooled_id
from render_service.session.jobs import reject_anothers_video
from render_service.session.session import Session, appends_to, clock_of, utc_now
from render_service.submission import spool
from render_service.submission.spool import Spooled

TRIES = 20


@dataclass(frozen=True)
class Drained:
    """An answer recorded from a spool file."""

    spooled: Spooled
    applied: bool


def drain(session: Session) -> list[Drained]:
    """Record the answers spooled for this ledger, and delete their files.

    A file that cannot be read or recorded stays, and is reported in the log. `LedgerUnusable` if the ledger
    cannot be written.
    """
    drained = []
    for file in spool.waiting(session.settings, session.ledger):
        if file.spooled is None:
            session.log.warning("spool.unusable", file=str(file.path), because=file.problem)
            continue
        try:
            done = _record(session, file.spooled)
        except LedgerUnusable:
            raise
        except (AppendRefused, ValueError) as refused:
            session.log.warning("spool.refused", file=str(file.path), because=str(refused))
            continue
        # A crash here leaves the file; the next session finds ``submission.spooled``, and deletes it.
        spool.remove(file.path)
        drained.append(done)
        _say(session, done)
    return drained


def _say(session: Session, done: Drained) -> None:
    spooled = done.spooled
    ids = {"job_id": spooled.job_id, "attempt_id": spooled.attempt_id, "video_id": spooled.video_id}
    if done.applied or spooled.video_id is None:
        session.log.warning("submission.spooled", **ids, applied=done.applied)
    else:
        hint = f"`sora-ledger adopt --id {spooled.video_id}` if no job has that video"
        session.log.warning("submission.spooled", **ids, applied=False, hint=hint)


def _record(session: Session, spooled: Spooled) -> Drained:
    drafts = [spooled_draft.draft() for spooled_draft in spooled.drafts]
    done_id = spooled_id(spooled.attempt_id)
    for _ in range(TRIES):
        if (before := session.ledger.event(done_id)) is not None:
            event = before.event
            return Drained(spooled, isinstance(event, SubmissionSpooled) and event.applied)
        job = session.ledger.store.job(spooled.job_id)
        if job is None:
            raise ValueError(f"{spooled.job_id} is not in this ledger; is it an older copy?")
        try:
            return Drained(
                spooled, _append(session, job, spooled, _left(session, job, spooled, drafts), done_id)
            )
        except (WrongExpectedVersion, EventIdConflict):  # another record came in between: try again
            continue
    raise WrongExpectedVersion(f"{spooled.job_id} changes too often: its answer will be recorded next time")


def _left(session: Session, job: Job, spooled: Spooled, drafts: Sequence[Draft]) -> list[Draft] | None:
    """Return the part of the outcome not recorded yet: empty if none, None if it must not be recorded.

    It must not be if the job already has its video, or has begun another attempt.
    """
    there = session.ledger.event(drafts[0].event_id)
    if there is not None and there.stream == job.job_id:
        return []
    if spooled.video_id is not None and spooled.video_id == job.video_id:
        return None
    if job.attempt_id != spooled.attempt_id:  # it would end an attempt that is still unanswered
        return None
    if there is None:
        return list(drafts)
    accepted = drafts[0].event
    assert isinstance(accepted, SubmissionAccepted)  # only its event id may be taken by others
    event, event_id = reject_anothers_video(job, accepted, there.stream)
    is_recorded = event_id is not None and session.ledger.event(event_id) is not None
    return [] if is_recorded else [session.draft(event, event_id=event_id)]


def _append(session: Session, job: Job, spooled: Spooled, left: list[Draft] | None, done_id: str) -> bool:
    if left is not None:
        try:
            _advance(session, job, [*left, _spool_record(session, spooled, done_id, applied=True)])
        except IllegalTransition:  # the attempt was settled otherwise
            pass
        else:
            return True
    _advance(session, job, [_spool_record(session, spooled, done_id, applied=False)])
    return False


def _spool_record(session: Session, spooled: Spooled, done_id: str, *, applied: bool) -> Draft:
    event = SubmissionSpooled(
        attempt_id=spooled.attempt_id,
        outcome=spooled.outcome,
        video_id=spooled.video_id,
        spooled_at=spooled.spooled_at,
        applied=applied,
    )
    return session.draft(event, event_id=done_id)


def _advance(session: Session, job: Job, drafts: list[Draft]) -> None:
    session.ledger.append([Batch(job.job_id, job.version, drafts)])


T = TypeVar("T")


def open_session(
    settings: Settings,
    trace: Trace,
    log: Log,
    *,
    even_if_retired: bool = False,
    authority: Authority = Authority.HUMAN,
) -> Session:
    """Open the ledger for writing, creating it if it does not exist; no server is called.

    Answers that an earlier process could only save to the spool are recorded first.
    """
    AssetStore.of(settings)  # raises on invalid settings before a ledger is created
    ledger = open_or_create(settings.ledger_url, settings.provenance(trace), utc_now())
    session = Session(
        settings=settings,
        trace=trace,
        log=log,
        ledger=ledger,
        assets=AssetStore.of(settings, ledger),
        in_force=InForce(ledger),
        appends=appends_to(ledger),
        measuring=Measuring(ledger),
        connections=Connections(connection),
        clock=clock_of(ledger),
        even_if_retired=even_if_retired,
        authority=authority,
        telemetry=begin_telemetry(log),
    )
    drain(session)
    return session


async def in_session(
    settings: Settings,
    trace: Trace,
    log: Log,
    use: Callable[[Session], Coroutine[Any, Any, T]],
    *,
    even_if_retired: bool = False,
    authority: Authority = Authority.HUMAN,
) -> T:
    """Run `use` in a session that is always closed afterwards, and return its result.

    Ctrl-C cancels `use`, which finishes a submission in progress, and raises KeyboardInterrupt.
    """
    session = await asyncio.to_thread(
        open_session, settings, trace, log, even_if_retired=even_if_retired, authority=authority
    )
    try:
        return await use(session)
    finally:
        await session.close()


def finished(use: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine and return its result; Ctrl-C cancels it and raises KeyboardInterrupt."""
    return asyncio.run(use)
