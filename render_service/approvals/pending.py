"""A hold as those who answer find it: who asked, which rules hold it, who approved so far."""

from dataclasses import dataclass

from decision.rules.approvals import ApprovalRule
from decision.rules.policy import Policy
from ledger.events import RenderHeld
from ledger.job import Job, State
from ledger.record import timestamp
from render_service.approvals.approvers import Pending, read_pending
from render_service.rules.policies import Rules, active_rules, kept_document
from render_service.runtime.errors import NotReady
from render_service.session.history import JobHistory
from render_service.session.session import Session


@dataclass(frozen=True)
class Case:
    """What is held: the job, what waits for an answer, and the overrides that have run out."""

    job: Job
    hold: RenderHeld
    pending: Pending
    lapsed: tuple[str, ...]


def read_case(session: Session, job_id: str) -> Case:
    """Return what is held as `job_id`, under the policy in force now; `NotReady` if it is not held."""
    job = session.ledger.job(job_id)
    history = JobHistory.of(session.ledger, job)
    if history.hold is None or job.state not in {State.HELD, State.APPROVED}:
        raise NotReady(
            f"{job.job_id} is {job.state}, not held, so there is nothing to answer: "
            f"`sora-ledger show {job.job_id}` tells what became of it"
        )
    under = active_rules(session.ledger)
    hold = history.hold.event
    rules = _rules(session, hold, under)
    now = session.clock()
    pending = read_pending(session.ledger, history, history.hold.record, rules, under, timestamp(now))
    return Case(job, hold, pending, tuple(history.lapsed_overrides(now)))


def _rules(session: Session, hold: RenderHeld, under: Rules) -> tuple[ApprovalRule, ...]:
    """Return the rules that hold it: as the policy in force has them, else as they were."""
    then = kept_document(session.ledger, Policy, hold.basis.policy_sha256)
    by_code = {rule.code: rule for rule in (*(then.approvals or ()), *(under.policy.approvals or ()))}
    return tuple(by_code[code] for code in hold.reason_codes)
