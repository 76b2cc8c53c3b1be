"""Approve or reject a held render.

`render_service.approvals.approvers` decides who may approve. The last required approval decides the render
again in the same transaction, by the current rules, prices and budgets. Submission is a separate step, so an
approval never waits for a server.

An answer is judged by the policy in force: if another policy was activated since it was read, the append
fails and the answer is judged again.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from decision.engine.approval import rule_after_approval
from decision.rules.approvals import ApprovalRule
from decision.rules.policy import Policy
from ledger.errors import BudgetExceeded, IllegalTransition, WrongExpectedVersion
from ledger.events import ApprovalGranted, ApprovalRefused, Considered, RenderDenied, RenderHeld
from ledger.job import Job
from ledger.private import Private
from ledger.record import Draft, draft, timestamp
from ledger.terms import Outcome, State
from render_service.approvals.approvers import Pending, Signing, identity_of, read_pending, sign_answer
from render_service.rules.budget_names import Scope
from render_service.rules.budgets import PolicyReplaced, Races, purse
from render_service.rules.policies import Rules, read_active_rules, restore_document
from render_service.runtime.errors import BadInput, NotReady
from render_service.session.history import JobHistory
from render_service.session.jobs import make_closed
from render_service.session.session import Session

VALID_FOR = timedelta(days=7)
"""Default validity of an approval."""


@dataclass(frozen=True)
class AnswerResult:
    """A job after an answer; `ruling` is None as long as approvals are still `needed`.

    The job is held again if the render is no longer the approved one: another model, or a higher price.
    """

    job: Job
    ruling: Considered | None
    needed: int = 0


@dataclass(frozen=True)
class Case:
    """A held job: its hold, the pending approval, and the overrides that have expired."""

    job: Job
    hold: RenderHeld
    pending: Pending
    lapsed: tuple[str, ...]


def read_case(session: Session, job_id: str, under: Rules | None = None) -> Case:
    """Return the held job `job_id`, under the policy in force now; `NotReady` if it is not held.

    `under` are these rules, for a reader of many cases.
    """
    job = session.ledger.job(job_id)
    history = JobHistory.of(session.ledger, job)
    if history.hold is None or job.state not in {State.HELD, State.APPROVED}:
        raise NotReady(
            f"{job.job_id} is {job.state}, not held, so there is nothing to approve or reject: "
            f"`sora-ledger show {job.job_id}` shows its history",
            param="job",
            expected="a held job",
            found=f"a {job.state} one",
        )
    under = under or read_active_rules(session.ledger)
    hold = history.hold.event
    rules = _rules(session, hold, under)
    now = session.clock()
    pending = read_pending(session.ledger, history, history.hold.record, rules, under, timestamp(now))
    return Case(job, hold, pending, tuple(history.list_lapsed_overrides(now)))


def _rules(session: Session, hold: RenderHeld, under: Rules) -> tuple[ApprovalRule, ...]:
    """Return the rules that hold the job: as in the policy in force, or as at the time of the hold."""
    cited = hold.basis.policy_sha256
    policy = under.policy
    then = policy if policy.digest == cited else restore_document(session.ledger, Policy, cited)
    by_code = {rule.code: rule for rule in (*(then.approvals or ()), *(under.policy.approvals or ()))}
    return tuple(by_code[code] for code in hold.reason_codes)


async def approve(
    session: Session,
    job: Job,
    comment: str | None = None,
    signer: Signing | None = None,
    until: datetime | None = None,
    *,
    as_shown: str | None = None,
) -> AnswerResult:
    """Approve a held job, and decide it again if this was the last required approval; nothing is submitted.

    The approval expires at `until`. `BadInput` if this person may not approve, `NotReady` if the job is not
    held (any more), or is no longer `Pending.as_shown`; in each case nothing is recorded.
    """
    races = Races(session.log)
    while True:
        try:
            return await _approve(session, job.job_id, comment, signer, until, as_shown)
        except (BudgetExceeded, PolicyReplaced) as race:
            races.log_lost(race)


async def reject(
    session: Session, job: Job, reason: str, signer: Signing | None = None, *, as_shown: str | None = None
) -> AnswerResult:
    """Reject a held job, which closes it; the same people may reject as may approve."""
    if not reason.strip():
        raise BadInput(
            f"{job.job_id}: a rejection needs a reason; nothing was recorded",
            param="reason",
            expected="a reason for the rejection",
            found="nothing",
        )
    case = await asyncio.to_thread(read_case, session, job.job_id)
    case.pending.check_shown(as_shown)
    answer = ApprovalRefused(comment=Private.seal("comment", reason))
    answer, who = await asyncio.to_thread(
        sign_answer, session.settings, session.ledger, case.pending, answer, session.provenance, signer
    )
    drafts = [
        draft(answer, who, session.clock()),
        session.draft(make_closed(session.clock(), case.job, Outcome.REFUSED)),
    ]
    try:
        return AnswerResult(await _record_answer(session, case, drafts), None)
    except (WrongExpectedVersion, IllegalTransition):  # another answer, or another policy, was recorded first
        if not await _has_changed(session, case):
            raise
        return await reject(session, job, reason, signer, as_shown=as_shown)


async def _approve(
    session: Session,
    job_id: str,
    comment: str | None,
    signer: Signing | None,
    until: datetime | None,
    as_shown: str | None,
) -> AnswerResult:
    case = await asyncio.to_thread(read_case, session, job_id)
    case.pending.check_shown(as_shown)
    now = session.clock()
    check_until(until, now)
    answer = ApprovalGranted(
        comment=Private.seal("comment", comment) if comment else None,
        expires_at=timestamp(until or now + VALID_FOR),
    )
    answer, who = await asyncio.to_thread(
        sign_answer, session.settings, session.ledger, case.pending, answer, session.provenance, signer
    )
    drafts = [draft(answer, who, now)]
    needed = case.pending.count_missing_after(
        identity_of(session.settings, case.pending.under.policy, signer)
    )
    ruling = None if needed else await asyncio.to_thread(_decide_again, session, case, now)
    if ruling is not None:
        drafts.append(draft(ruling, session.provenance, now, causation_id=drafts[0].event_id))
    if isinstance(ruling, RenderDenied):
        drafts.append(session.draft(make_closed(session.clock(), case.job, Outcome.DENIED)))
    try:
        job = await _record_answer(session, case, drafts)
    except (WrongExpectedVersion, IllegalTransition):  # another answer, or another policy, was recorded first
        if not await _has_changed(session, case):
            raise
        return await _approve(session, job_id, comment, signer, until, as_shown)
    if job.state is State.DECIDED:
        await asyncio.to_thread(session.ledger.store.queue.schedule, job.job_id)
    return AnswerResult(job, ruling, ruling.approvals_needed if isinstance(ruling, RenderHeld) else needed)


def check_until(until: datetime | None, now: datetime) -> None:
    """Raise `BadInput` if an approval would already have expired."""
    if until is not None and until <= now:
        raise BadInput(
            f"--until {timestamp(until)[:19]}Z is in the past: name a future time",
            param="until",
            expected="a future time",
            found=f"{timestamp(until)[:19]}Z",
        )


async def _record_answer(session: Session, case: Case, drafts: Sequence[Draft]) -> Job:
    """Record an answer if the job is unchanged and the policy that judged it is still in force."""
    return await session.advance(case.job, drafts, under=case.pending.under)


async def _has_changed(session: Session, case: Case) -> bool:
    """Return whether job or policy changed since `case` was read; `NotReady` if it is no longer held."""
    now = await asyncio.to_thread(read_case, session, case.job.job_id)
    before = case.job.version, case.pending.under.version
    return (now.job.version, now.pending.under.version) != before


def _decide_again(session: Session, case: Case, now: datetime) -> Considered:
    inputs = case.hold.basis.inputs
    team, project, purpose = (str(inputs.get(part) or "") or None for part in ("team", "project", "purpose"))
    scope = Scope(team, project, purpose, case.job.actor)
    paying = purse(session.ledger, scope, now, session.provenance)
    return rule_after_approval(
        case.hold,
        catalog=case.pending.under.catalog,
        policy=case.pending.under.policy,
        budgets=paying.names,
        budget_left_usd_micros=paying.left_usd_micros,
        lapsed=case.lapsed,
        priced_on=now.astimezone(UTC).date(),
    )
