"""Approving and refusing what is held. Who may is `render_service.governance.second_eyes`'s to say.

With the last approval that is needed the render is decided again in the same transaction: by the rules,
prices and budgets of now. Submitting it is another step, so an approval never waits for a server.
"""

import asyncio
from dataclasses import dataclass
from datetime import UTC

from decision.holding import Considered, after_approval
from ledger.checkpoint import Signer
from ledger.errors import IllegalTransition, WrongExpectedVersion
from ledger.events import ApprovalGranted, ApprovalRefused, Outcome, RenderDenied, RenderHeld
from ledger.job import Job, State
from ledger.private import Private
from ledger.record import draft
from render_service.asking.closing import closed
from render_service.asking.renders import rules_of
from render_service.desk import Desk
from render_service.governance.budget_names import Scope
from render_service.governance.budgets import purse
from render_service.governance.held import Case, read_case
from render_service.governance.racing import decided_until_recorded
from render_service.governance.second_eyes import Approver, approvers, identified, missing


@dataclass(frozen=True)
class Answered:
    """A job after an answer: how it was decided, None while `needed` more approvals are.

    It is held again where what would be rendered now is not what was approved: another model, or dearer.
    """

    job: Job
    ruling: Considered | None
    needed: int = 0


async def approve(desk: Desk, job: Job, comment: str | None = None, signer: Signer | None = None) -> Answered:
    """Approve what is held, and decide it again if that was the last approval needed; nothing is sent.

    `BadInput` if this person may not, `NotReady` if it is not held (any more); then nothing is recorded.
    """

    async def once() -> Answered:
        return await _approve(desk, job.job_id, comment, signer)

    return await decided_until_recorded(desk.log, once)


async def reject(desk: Desk, job: Job, comment: str | None = None, signer: Signer | None = None) -> Answered:
    """Refuse what is held, which closes it; the same people may as for `approve`."""
    case = await asyncio.to_thread(read_case, desk, job.job_id)
    who, key_id, signature = await asyncio.to_thread(identified, desk, case, "refused", signer)
    answer = ApprovalRefused(comment=_sealed(comment), key_id=key_id, signature=signature)
    drafts = [draft(answer, who, desk.clock()), desk.draft(closed(desk, case.job, Outcome.REFUSED))]
    try:
        return Answered(await desk.advance(case.job, drafts), None)
    except (WrongExpectedVersion, IllegalTransition):  # somebody else answered in between
        if (await desk.job(job.job_id)).version == case.job.version:
            raise
        return await reject(desk, job, comment, signer)


async def _approve(desk: Desk, job_id: str, comment: str | None, signer: Signer | None) -> Answered:
    case = await asyncio.to_thread(read_case, desk, job_id)
    who, key_id, signature = await asyncio.to_thread(identified, desk, case, "granted", signer)
    answer = ApprovalGranted(comment=_sealed(comment), key_id=key_id, signature=signature)
    drafts = [draft(answer, who, desk.clock())]
    needed = missing(case.rules, [*approvers(case, desk.policy), Approver.of(who)])
    ruling = None if needed else await asyncio.to_thread(_decided_again, desk, case)
    if ruling is not None:
        drafts.append(desk.draft(ruling, causation_id=drafts[0].event_id))
    if isinstance(ruling, RenderDenied):
        drafts.append(desk.draft(closed(desk, case.job, Outcome.DENIED)))
    try:
        job = await desk.advance(case.job, drafts, rules_of(desk) if ruling else ())
    except (WrongExpectedVersion, IllegalTransition):  # somebody else answered in between
        if (await desk.job(job_id)).version == case.job.version:
            raise
        return await _approve(desk, job_id, comment, signer)
    if job.state is State.DECIDED:
        await asyncio.to_thread(desk.ledger.store.schedule, job.job_id)
    return Answered(job, ruling, ruling.approvals_needed if isinstance(ruling, RenderHeld) else needed)


def _sealed(comment: str | None) -> Private | None:
    return Private.seal("comment", comment) if comment else None


def _decided_again(desk: Desk, case: Case) -> Considered:
    inputs = case.hold.basis.inputs
    team, project, purpose = (str(inputs.get(part) or "") or None for part in ("team", "project", "purpose"))
    scope = Scope(team, project, purpose)
    paying = purse(desk.ledger, scope, desk.clock(), desk.provenance)
    return after_approval(
        case.hold,
        catalog=desk.catalog,
        policy=desk.policy,
        budgets=paying.names,
        budget_left_usd_micros=paying.left_usd_micros,
        lapsed=case.lapsed,
        priced_on=desk.clock().astimezone(UTC).date(),
    )
