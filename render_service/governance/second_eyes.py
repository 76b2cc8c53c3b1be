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
from ledger.events import ApprovalGranted, RenderHeld
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
    _check_another(case, who, desk.policy)
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


def _check_another(case: Case, who: Provenance, policy: Policy) -> None:
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
    by_anybody = asked.envelope["actor_source"] in CLAIMED
    if who.actor_source in CLAIMED and by_anybody:
        raise BadInput(
            f"{_claim(who)} says who you want to be, not who you are, and {job_id} was asked for in the same "
            f"way, as {asked.actor}: {how_to_sign(policy)}"
        )
    if who.actor_source in CLAIMED:
        raise BadInput(
            f"{_claim(who)} says who you want to be, not who you are: leave it out and answer under your own "
            "login, or sign with --key FILE"
        )
    if by_anybody:
        raise BadInput(
            f"{job_id} was asked for as {asked.actor}, a name that anybody can take with --actor or "
            f"SORA_LEDGER_ACTOR, {who.actor} included: {how_to_sign(policy)}"
        )


def how_to_sign(policy: Policy) -> str:
    """Say how an answer is signed, and what is missing for it where the policy names nobody's key."""
    if policy.approvers:
        return f"sign with --key FILE (keys of: {', '.join(sorted(policy.approvers))})"
    return (
        f"sign with --key FILE, once the policy names your key under [approvers] ({policy.name} names none): "
        "`sora-ledger key new FILE --name NAME` makes one, `sora-ledger policy activate` names it"
    )


def who_may_answer(asked: Record, hold: RenderHeld, policy: Policy) -> str:
    """Say in a sentence who may answer for what is held, and how."""
    rules = [rule for rule in policy.approvals or () if rule.code in hold.reason_codes]
    if asked.envelope["actor_source"] in CLAIMED:
        return (
            f"it was asked for as {asked.actor}, a name that anybody can take with --actor or "
            f"SORA_LEDGER_ACTOR, so somebody else has to approve it and {how_to_sign(policy)}"
        )
    if any(rule.wants_signature for rule in rules):
        return f"somebody else has to approve it and {how_to_sign(policy)}"
    return f"somebody else has to approve it, under another login than {asked.actor}, or with --key FILE"


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
