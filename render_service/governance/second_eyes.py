"""Who answers for what is held, and whether that is somebody else.

Two names are not enough for a second pair of eyes: ``--actor bob`` says who one wants to be. What counts:

- a signature, with a key the active policy names for somebody who is not the requester;
- without one, the login of the operating system, where the request was made under another login. A request
  made under a name from ``--actor`` or the environment may have been anybody's, so it takes a signature.

A rule of the policy may want signatures, and whose.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from decision.approvals import ApprovalRule
from decision.approvers import owner_of
from decision.policy import Policy
from ledger.checkpoint import Signer
from ledger.events import ApprovalGranted
from ledger.record import ActorSource, Provenance, Record
from render_service.desk import Desk
from render_service.errors import BadInput
from render_service.governance.held import Case
from render_service.governance.statements import Verdict, sign, statement

CLAIMED = (ActorSource.FLAG, ActorSource.ENVIRONMENT)


@dataclass(frozen=True)
class Approver:
    """Somebody who approves, and whether they signed."""

    actor: str
    signed: bool

    @classmethod
    def of(cls, who: Provenance) -> Self:
        """Return who records as `who`."""
        return cls(who.actor, who.actor_source is ActorSource.SIGNATURE)

    def satisfies(self, rule: ApprovalRule) -> bool:
        """Say whether theirs is an approval that `rule` wants."""
        if rule.wants_signature and not self.signed:
            return False
        return rule.signed_by is None or self.actor in rule.signed_by


def approvers(case: Case, policy: Policy) -> list[Approver]:
    """Return who approved so far; a signature by a key the policy names no longer is none."""
    return [Approver(record.actor, _is_signed(record, policy)) for record in case.granted]


def _is_signed(record: Record, policy: Policy) -> bool:
    event = record.event
    assert isinstance(event, ApprovalGranted)  # noqa: S101  # read_case has looked
    keys = (policy.approvers or {}).get(record.actor, ())
    return event.signature is not None and any(key.split("+")[1] == event.key_id for key in keys)


def missing(rules: Sequence[ApprovalRule], approvers: Sequence[Approver]) -> int:
    """Return how many more approvals it takes until every rule has those it wants."""
    return max((rule.people - sum(one.satisfies(rule) for one in approvers) for rule in rules), default=0)


def identified(
    desk: Desk, case: Case, verdict: Verdict, signer: Signer | None
) -> tuple[Provenance, str | None, str | None]:
    """Return who answers, with key id and signature where they sign; `BadInput` if they may not."""
    who, key_id, signature = desk.provenance, None, None
    if signer is not None:
        actor = _owner(desk, signer)
        who = replace(who, actor=actor, actor_source=ActorSource.SIGNATURE)
        key_id, signature = sign(signer, statement(desk.ledger, case.held, verdict, actor))
    _check_another(case, who)
    _check_wanted(case, who, desk.policy)
    return who, key_id, signature


def _owner(desk: Desk, signer: Signer) -> str:
    owner = owner_of(str(signer.verifier), desk.policy.approvers or {})
    if owner is None:
        raise BadInput(
            f"the key of {signer.name} ({signer.verifier.key_id.hex()}) is not one the policy "
            f"{desk.policy.name} names under [approvers], so it does not say who you are"
        )
    claimed = desk.settings.actor if desk.settings.actor_source is ActorSource.FLAG else owner
    if claimed != owner:
        raise BadInput(f"--actor {claimed}, but the key is that of {owner}; leave out --actor")
    return owner


def _check_another(case: Case, who: Provenance) -> None:
    job_id, asked = case.job.job_id, case.asked
    if who.actor == asked.actor:
        raise BadInput(
            f"{job_id} was asked for by {asked.actor}: somebody else has to answer; "
            f"`sora-ledger cancel {job_id}` withdraws it"
        )
    if any(record.actor == who.actor for record in case.granted):
        raise BadInput(f"{who.actor} has approved {job_id} already; it takes another person")
    if who.actor_source is ActorSource.SIGNATURE:
        return
    if who.actor_source in CLAIMED:
        raise BadInput(
            f"{_claim(who)} says who you want to be, not who you are: leave it out and answer under your own "
            "login, or sign with --key FILE"
        )
    if asked.envelope["actor_source"] in CLAIMED:
        raise BadInput(
            f"{job_id} was asked for as {asked.actor}, a name that anybody can take with --actor or "
            f"SORA_LEDGER_ACTOR, {who.actor} included: sign with --key FILE"
        )


def _claim(who: Provenance) -> str:
    return (
        f"--actor {who.actor}" if who.actor_source is ActorSource.FLAG else f"SORA_LEDGER_ACTOR={who.actor}"
    )


def _check_wanted(case: Case, who: Provenance, policy: Policy) -> None:
    before = approvers(case, policy)
    open_rules = [rule for rule in case.rules if missing([rule], before) > 0]
    one = Approver.of(who)
    if not any(one.satisfies(rule) for rule in open_rules or case.rules):
        rule = (open_rules or case.rules)[0]
        people = " or ".join(rule.signed_by or sorted(policy.approvers or ())) or "somebody under [approvers]"
        raise BadInput(
            f"rule {rule.code} wants the signature of {people}: sign with --key FILE; nothing was recorded"
        )
