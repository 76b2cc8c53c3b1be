"""Approve, reject and review as a caller of the gateway or the console: their role, their team, their name.

`render_service.approvals.approvals` and `answer_changes` decide whether the answer counts: never for one's
own request, and once for each person, however many keys they have. This module adds what a key permits. The
caller's identity is at most half a second old (`render_service.access.gatekeeper`).
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime

from decision.rules.roles import Permission
from ledger.job import Job
from render_service.access.callers import Caller
from render_service.approvals.answer_changes import Outcome, approve_change, reject_change
from render_service.approvals.approvals import Answered, Verdict, approve, reject, review
from render_service.approvals.changes import Office
from render_service.runtime.errors import NotPermitted
from render_service.session.session import Session


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
) -> Job:
    """Record a review of `job` by `caller`."""
    _check(caller, Permission.REVIEW, job)
    return await review(caller.session(session), job, verdict, scores, notes)


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
        raise NotPermitted(f"{job.job_id} is not a job of the team {caller.team}, for which this key is")


def _office(session: Session, caller: Caller) -> Office:
    """Return what changes are answered with; they are about everyone, so a key of one team does not do."""
    caller.check(Permission.APPROVE)
    if caller.team is not None:
        raise NotPermitted(
            f"this key of {caller.name} is for the team {caller.team}, and a change of policy, budgets or "
            "access is about all teams: use a key without a team"
        )
    acting = caller.session(session)
    return Office(acting.ledger, acting.settings, acting.trace, acting.clock)
