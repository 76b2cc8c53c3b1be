"""A hold as those who answer find it: who asked, which rules hold it, who approved so far."""

from dataclasses import dataclass

from decision.approvals import ApprovalRule
from decision.policy import Policy
from ledger.events import ApprovalGranted, RenderHeld, RenderRequested
from ledger.job import Job, State
from ledger.record import Record
from render_service.desk import Desk
from render_service.errors import NotReady
from render_service.governance.overriding import lapsed_overrides
from render_service.governance.policies import kept_document


@dataclass(frozen=True)
class Case:
    """What is held: the hold, who asked, the rules that hold it, and who approved so far."""

    job: Job
    held: Record
    asked: Record
    rules: tuple[ApprovalRule, ...]
    granted: tuple[Record, ...]
    lapsed: tuple[str, ...]

    @property
    def hold(self) -> RenderHeld:
        """The hold itself."""
        assert isinstance(self.held.event, RenderHeld)  # noqa: S101  # read_case has looked
        return self.held.event


def read_case(desk: Desk, job_id: str) -> Case:
    """Return what is held as `job_id`; `NotReady` if it is not."""
    job = desk.ledger.job(job_id)
    history = desk.ledger.history(job.job_id)
    if job.state not in {State.HELD, State.APPROVED}:
        raise NotReady(
            f"{job.job_id} is {job.state}, not held, so there is nothing to answer: "
            f"`sora-ledger show {job.job_id}` tells what became of it"
        )
    held = next(record for record in reversed(history) if isinstance(record.event, RenderHeld))
    return Case(
        job=job,
        held=held,
        asked=next(record for record in history if isinstance(record.event, RenderRequested)),
        rules=_rules(desk, held.event),
        granted=tuple(
            record
            for record in history
            if isinstance(record.event, ApprovalGranted) and record.version > held.version
        ),
        lapsed=tuple(lapsed_overrides(history, desk.clock())),
    )


def _rules(desk: Desk, held: object) -> tuple[ApprovalRule, ...]:
    """Return the rules that hold it: as the active policy has them, else as they were."""
    assert isinstance(held, RenderHeld)  # noqa: S101  # the caller has looked
    then = kept_document(desk.ledger, Policy, held.basis.policy_sha256)
    by_code = {rule.code: rule for rule in (*(then.approvals or ()), *(desk.policy.approvals or ()))}
    return tuple(by_code[code] for code in held.reason_codes)
