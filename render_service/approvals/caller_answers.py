"""Approve, reject and review as a caller of the gateway or the console: their role, their team, their name.

`render_service.approvals.approvals` and `answer_changes` decide whether the answer counts: never for one's
own request, and once for each person, however many keys they have. This module adds what a key permits. The
caller's identity is at most half a second old (`render_service.access.gatekeeper`).
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from decision.rules.roles import Permission
from ledger.events import ApprovalGranted
from ledger.job import Job
from ledger.log.ledger import Ledger
from render_service.access.callers import Caller
from render_service.approvals.answer_changes import Outcome, approve_change, reject_change
from render_service.approvals.approvals import Answered, approve, reject
from render_service.approvals.changes import PREFIX, Office
from render_service.approvals.passkeys import PasskeySignature
from render_service.approvals.reviews import NoteAt, Verdict, review
from render_service.runtime.errors import BadInput, NotPermitted, NotReady
from render_service.session.history import StreamHistory
from render_service.session.session import Session


@dataclass(frozen=True)
class AnswerOnPage:
    """An answer that a person gives on a page: to which job or change, and what the page showed of it.

    `as_shown` is `render_service.approvals.approvers.Pending.as_shown`. A passkey may have `signed` it, with
    `until` as the end of an approval.
    """

    name: str
    approves: bool
    reason: str
    as_shown: str
    signed: PasskeySignature | None = None
    until: datetime | None = None


async def answer_on_page(session: Session, caller: Caller, answer: AnswerOnPage) -> Answered | Outcome | None:
    """Record the answer that `caller` gave on a page; None if that very answer is recorded already.

    That happens on a second click. `ChangedSinceShown` if the request or the policy changed after the page
    was made, `BadInput` without a reason, and what `approve_job` raises.
    """
    if not answer.reason.strip():
        raise BadInput(
            f"{answer.name}: an answer needs a reason; nothing was recorded",
            param="reason",
            expected="a reason",
            found="nothing",
        )
    try:
        return await _answer_once(session, caller, answer)
    except (BadInput, NotReady):
        if await asyncio.to_thread(_is_recorded, session.ledger, caller, answer):
            return None
        raise


async def _answer_once(session: Session, caller: Caller, answer: AnswerOnPage) -> Answered | Outcome:
    name, reason, as_shown = answer.name, answer.reason, answer.as_shown
    if name.startswith(PREFIX):
        office = _office(session, caller)
        if not answer.approves:
            return await asyncio.to_thread(
                reject_change, office, name, reason, answer.signed, as_shown=as_shown
            )
        return await asyncio.to_thread(
            approve_change, office, name, reason, answer.signed, answer.until, as_shown=as_shown
        )
    job = await session.job(name)
    _check(caller, Permission.APPROVE, job)
    acting = caller.session(session)
    if answer.approves:
        return await approve(acting, job, reason, answer.signed, answer.until, as_shown=as_shown)
    return await reject(acting, job, reason, answer.signed, as_shown=as_shown)


def _is_recorded(ledger: Ledger, caller: Caller, answer: AnswerOnPage) -> bool:
    """Return whether `caller` gave the same answer to what they were shown."""
    version = answer.as_shown.partition("-")[0]
    answers = StreamHistory(ledger.history(answer.name)).answers
    return version.isdecimal() and any(
        entry.record.actor == caller.name
        and entry.record.version > int(version)
        and isinstance(entry.event, ApprovalGranted) == answer.approves
        for entry in answers
    )


async def approve_job(
    session: Session, caller: Caller, job: Job, comment: str | None = None, until: datetime | None = None
) -> Answered:
    """Approve a held job as `caller`; nothing is submitted, a worker does that.

    `NotPermitted` if their key does not permit it, `BadInput` if they are the requester or approved before,
    `NotReady` if the job is not held; nothing is recorded then.
    """
    _check(caller, Permission.APPROVE, job)
    return await approve(caller.session(session), job, comment, until=until)


async def reject_job(session: Session, caller: Caller, job: Job, reason: str) -> Answered:
    """Reject a held job as `caller`, which closes it; the same people may reject as may approve."""
    _check(caller, Permission.APPROVE, job)
    return await reject(caller.session(session), job, reason)


async def review_job(
    session: Session,
    caller: Caller,
    job: Job,
    verdict: Verdict,
    scores: Mapping[str, int] | None = None,
    notes: str | None = None,
    timed_notes: Sequence[NoteAt] = (),
) -> Job:
    """Record a review of `job` by `caller`."""
    _check(caller, Permission.REVIEW, job)
    return await review(caller.session(session), job, verdict, scores, notes, timed_notes)


async def approve_proposed(
    session: Session, caller: Caller, name: str, comment: str | None = None, until: datetime | None = None
) -> Outcome:
    """Approve a proposed change as `caller`; the last approval needed applies it."""
    office = _office(session, caller)
    return await asyncio.to_thread(approve_change, office, name, comment, until=until)


async def reject_proposed(session: Session, caller: Caller, name: str, reason: str) -> Outcome:
    """Reject a proposed change as `caller`, which closes it."""
    return await asyncio.to_thread(reject_change, _office(session, caller), name, reason)


def _check(caller: Caller, permission: Permission, job: Job) -> None:
    caller.check(permission)
    if not caller.may_see(job):
        raise NotPermitted(
            f"{job.job_id} is not a job of the team {caller.team}, for which this key is",
            param="job",
            expected=f"a job of the team {caller.team}",
            found="one of another team",
        )


def _office(session: Session, caller: Caller) -> Office:
    """Return what changes are answered with; they are about everyone, so a key of one team does not do."""
    caller.check(Permission.APPROVE)
    if caller.team is not None:
        raise NotPermitted(
            f"this key of {caller.name} is for the team {caller.team}, and a change of policy, budgets or "
            "access is about all teams: use a key without a team",
            param="Authorization",
            expected="a key without a team",
            found=f"a key for the team {caller.team}",
        )
    acting = caller.session(session)
    return Office(acting.ledger, acting.settings, acting.trace, acting.clock)
