"""A hold as those who answer find it: who asked, which rules hold it, who approved so far."""

from dataclasses import dataclass

from decision.rules.approvals import ApprovalRule
from decision.rules.policy import Policy
from ledger.events import ApprovalGranted, RenderHeld
from ledger.job import Job, State
from ledger.record import Record, timestamp
from render_service.approvals.approvers import Pending, read_pending
from render_service.rules.overrides import lapsed_overrides
from render_service.rules.policies import Rules, active_rules, kept_document
from render_service.runtime.errors import NotReady
from render_service.session.session import Session


@dataclass(frozen=True)
class Case:
    """What is held: the job, what waits for an answer, and the overrides that have run out."""

    job: Job
    pending: Pending
    lapsed: tuple[str, ...]

    @property
    def hold(self) -> RenderHeld:
        """The hold itself."""
        assert isinstance(self.pending.pending.event, RenderHeld)  # noqa: S101  # read_case has looked
        return self.pending.pending.event


def read_case(session: Session, job_id: str) -> Case:
    """Return what is held as `job_id`, under the policy in force now; `NotReady` if it is not held."""
    job = session.ledger.job(job_id)
    history = session.ledger.history(job.job_id)
    if job.state not in {State.HELD, State.APPROVED}:
        raise NotReady(
            f"{job.job_id} is {job.state}, not held, so there is nothing to answer: "
            f"`sora-ledger show {job.job_id}` tells what became of it"
        )
    under = active_rules(session.ledger)
    held = next(record for record in reversed(history) if isinstance(record.event, RenderHeld))
    granted = [r for r in history if isinstance(r.event, ApprovalGranted) and r.version > held.version]
    rules = _rules(session, held, under)
    now = session.clock()
    pending = read_pending(session.ledger, history, held, rules, under, granted, timestamp(now))
    return Case(job, pending, tuple(lapsed_overrides(history, now)))


def _rules(session: Session, held: Record, under: Rules) -> tuple[ApprovalRule, ...]:
    """Return the rules that hold it: as the policy in force has them, else as they were."""
    assert isinstance(held.event, RenderHeld)  # noqa: S101  # the caller has looked
    then = kept_document(session.ledger, Policy, held.event.basis.policy_sha256)
    by_code = {rule.code: rule for rule in (*(then.approvals or ()), *(under.policy.approvals or ()))}
    return tuple(by_code[code] for code in held.event.reason_codes)
