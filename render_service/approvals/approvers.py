"""Who may answer for what is pending, and what they record; `identities` says who counts as somebody else."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from decision.rules.approvals import ApprovalRule, owner_of
from decision.rules.policy import Policy
from ledger.events import ApprovalGranted, ApprovalRefused, RenderHeld
from ledger.log.ledger import Ledger
from ledger.record import ActorSource, Provenance, Record
from ledger.tree.checkpoint import Signer
from render_service.approvals.identities import Identity, answerer, lacking, missing, requester, that_count
from render_service.approvals.requesters import CLAIMED
from render_service.approvals.statements import answer_statement, sign
from render_service.rules.policies import Rules
from render_service.runtime.errors import BadInput
from render_service.runtime.settings import Settings
from render_service.session.history import StreamHistory

A = TypeVar("A", ApprovalGranted, ApprovalRefused)


@dataclass(frozen=True)
class Pending:
    """What waits for an answer: its records, the rules it waits for, and who asked and approved so far.

    `under` are the policy and catalog in force, by which the answer is judged. `approved` are those who
    count now: a signature holds, its key is named still, and the approval has not expired.
    """

    history: StreamHistory
    pending: Record
    rules: tuple[ApprovalRule, ...]
    under: Rules
    requester: Identity
    approved: tuple[Identity, ...]

    @property
    def name(self) -> str:
        """The job or change."""
        return self.pending.stream

    def missing_after(self, identity: Identity) -> int:
        """Return how many approvals are missing once `identity` has approved."""
        return missing(self.rules, self.requester, [*self.approved, identity])


def read_pending(
    ledger: Ledger,
    history: StreamHistory,
    pending: Record,
    rules: tuple[ApprovalRule, ...],
    under: Rules,
    now: str,
) -> Pending:
    """Return what waits as `pending`, with who asked and whose approval counts at `now`."""
    asked = requester(ledger, history, under.policy)
    valid = [
        approval for approval in history.approvals_since(pending) if not has_expired(approval.event, now)
    ]
    who = [answerer(ledger, history, answer, under.policy) for answer in valid]
    return Pending(history, pending, rules, under, asked, tuple(that_count(asked, who)))


def has_expired(approval: ApprovalGranted, now: str) -> bool:
    """Say whether an approval counts no longer at `now`; those of version 1 had no end."""
    return approval.expires_at is not None and approval.expires_at <= now


def answered(
    settings: Settings, ledger: Ledger, case: Pending, answer: A, who: Provenance, signer: Signer | None
) -> tuple[A, Provenance]:
    """Return `answer` with login, policy and signature, and who records it; `BadInput` if they may not."""
    policy = case.under.policy
    answer = answer.model_copy(update={"login": settings.login, "policy_sha256": policy.digest})
    if signer is not None:
        actor = _owner(settings, policy, signer)
        who = replace(who, actor=actor, actor_source=ActorSource.SIGNATURE)
    identity = Identity(who.actor, who.actor_source, settings.login)
    _check_another(case, identity)
    _check_wanted(case, identity)
    if signer is not None:
        text = answer_statement(ledger.ledger_id, case.history.first, case.pending, who.actor, answer)
        key_id, signature = sign(signer, text)
        answer = answer.model_copy(update={"key_id": key_id, "signature": signature})
    return answer, who


def _owner(settings: Settings, policy: Policy, signer: Signer) -> str:
    owner = owner_of(str(signer.verifier), policy.approvers or {})
    if owner is None:
        raise BadInput(
            f"the key of {signer.name} ({signer.verifier.key_id.hex()}) is not one the policy "
            f"{policy.name} names under [approvers], so it does not say who you are"
        )
    claimed = settings.actor if settings.actor_source is ActorSource.FLAG else owner
    if claimed != owner:
        raise BadInput(f"--actor {claimed}, but the key is that of {owner}; leave out --actor")
    return owner


def _check_another(case: Pending, identity: Identity) -> None:
    policy, requested_by = case.under.policy, case.requester
    if requested_by.actor == identity.actor:
        raise BadInput(
            f"{case.name} was requested by {requested_by.actor}: another person has to answer; "
            f"`sora-ledger cancel {case.name}` withdraws it"
        )
    if identity.claimed:
        also = (
            f", and {case.name} was requested in the same way, as {requested_by.actor}"
            if requested_by.claimed
            else ""
        )
        instead = "" if requested_by.claimed else "leave it out and answer under your own login, or "
        raise BadInput(
            f"{_claim(identity)} says who you want to be, not who you are{also}: "
            f"{instead}{how_to_sign(policy)}"
        )
    if requested_by.claimed and not identity.signed:
        raise BadInput(
            f"{case.name} was requested as {requested_by.actor}, a name that anybody can take with --actor "
            f"or SORA_LEDGER_ACTOR, {identity.actor} included: {how_to_sign(policy)}"
        )
    if not requested_by.claimed and not identity.is_another_than(requested_by):
        raise BadInput(_same_login(case.name, "requested", requested_by, identity, policy))
    for other in case.approved:
        if identity.actor == other.actor:
            raise BadInput(f"{identity.actor} has approved {case.name} already; it takes another person")
        if not identity.is_another_than(other):
            raise BadInput(_same_login(case.name, "approved", other, identity, policy))


def _same_login(name: str, done: str, before: Identity, identity: Identity, policy: Policy) -> str:
    """Say that two actions under one login are one person's, unless both are signed."""
    where = (
        f"under the login {before.login}, like this answer"
        if before.login == identity.login
        else "under no login"
    )
    signing = "the request too (--key FILE where it is made)" if done == "requested" else "both answers"
    return (
        f"{name} was {done} by {before.actor} {where}, so nothing shows that {identity.actor} is another "
        f"person: answer under another login, or sign {signing}; {how_to_sign(policy)}"
    )


def how_to_sign(policy: Policy) -> str:
    """Say how an answer is signed, and what is missing for it where the policy names nobody's key."""
    if policy.approvers:
        return f"sign with --key FILE (keys of: {', '.join(sorted(policy.approvers))})"
    return (
        f"sign with --key FILE, once the policy names your key under [approvers] ({policy.name} names none): "
        "`sora-ledger key new FILE --name NAME` makes one, `sora-ledger policy activate` names it"
    )


def takes_signature(asked: Record, hold: RenderHeld, policy: Policy) -> bool:
    """Return whether an approval of what is held has to be signed."""
    rules = (rule for rule in policy.approvals or () if rule.code in hold.reason_codes)
    source = asked.envelope["actor_source"]
    return source in {*CLAIMED, ActorSource.SIGNATURE} or any(rule.wants_signature for rule in rules)


def who_may_answer(request: Record, hold: RenderHeld, policy: Policy) -> str:
    """Say in a sentence who may answer for what is held, and how."""
    if request.envelope["actor_source"] in CLAIMED:
        return (
            f"it was requested as {request.actor}, a name that anybody can take with --actor or "
            f"SORA_LEDGER_ACTOR, so it takes {hold.approvals_needed} signed approvals: "
            f"{how_to_sign(policy)}; "
            "requested under a login, or signed with --key FILE, it takes one fewer"
        )
    if takes_signature(request, hold, policy):
        return f"another person has to approve it and {how_to_sign(policy)}"
    return f"another person has to approve it, under another login than {request.actor}"


def _claim(identity: Identity) -> str:
    flag = identity.source is ActorSource.FLAG
    return f"--actor {identity.actor}" if flag else f"SORA_LEDGER_ACTOR={identity.actor}"


def _check_wanted(case: Pending, identity: Identity) -> None:
    """Refuse an answer that no rule waits for."""
    open_rules = [rule for rule in case.rules if lacking(rule, case.requester, case.approved)] or case.rules
    after = [*case.approved, identity]
    if any(identity.satisfies(rule) or _brings(rule, case, after) for rule in open_rules):
        return
    rule = open_rules[0]
    people = (
        " or ".join(rule.signed_by or sorted(case.under.policy.approvers or ()))
        or "a person under [approvers]"
    )
    raise BadInput(
        f"rule {rule.code} wants the signature of {people}: sign with --key FILE; nothing was recorded"
    )


def _brings(rule: ApprovalRule, case: Pending, after: Sequence[Identity]) -> bool:
    return lacking(rule, case.requester, after) < lacking(rule, case.requester, case.approved)
