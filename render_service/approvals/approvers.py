"""Check who may answer a pending request, and complete the answer that is recorded.

`identities` decides whether two identities are two people.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from msgspec import structs

from decision.rules.approvals import ApprovalRule, owner_of
from decision.rules.passkeys import Passkey, is_passkey
from decision.rules.policy import Policy
from ledger.events import ApprovalGranted, ApprovalRefused, RenderHeld
from ledger.log.ledger import Ledger
from ledger.record import ActorSource, Provenance, Record
from ledger.tree.checkpoint import Signer
from render_service.approvals.identities import (
    CLAIMED,
    Identity,
    answerer,
    count_lacking,
    count_missing,
    requester,
    select_counting,
)
from render_service.approvals.passkeys import PasskeySignature, what_is_wrong
from render_service.approvals.statements import answer_statement, sign
from render_service.rules.policies import Rules
from render_service.runtime.errors import BadInput, ChangedSinceShown, WrongPerson
from render_service.runtime.settings import Settings
from render_service.session.history import StreamHistory

A = TypeVar("A", ApprovalGranted, ApprovalRefused)


@dataclass(frozen=True)
class Pending:
    """A pending request: its records, the rules that require approval, its requester and its approvers.

    `under` are the policy and catalog in force, by which an answer is judged. `approved` are the approvers
    who count now: the signature is valid, its key is still in the policy, and the approval has not expired.
    """

    history: StreamHistory
    pending: Record
    rules: tuple[ApprovalRule, ...]
    under: Rules
    requester: Identity
    approved: tuple[Identity, ...]

    @property
    def name(self) -> str:
        """The id of the job or change."""
        return self.pending.stream

    @property
    def as_shown(self) -> str:
        """The versions that a page showed to the person answering: of the request and of the policy."""
        return f"{self.history.version}-{self.under.version}"

    def check_shown(self, as_shown: str | None) -> None:
        """Raise `ChangedSinceShown` unless this is still the version shown; None means that none was."""
        if as_shown is None or as_shown == self.as_shown:
            return
        last = self.history.records[-1]
        what = f"it has a new record: {last.type} by {last.actor} at {last.recorded_at[:19]}Z"
        if as_shown.partition("-")[0] == str(self.history.version):
            what = f"another policy is in force: {self.under.policy.name}"
        raise ChangedSinceShown(
            f"{self.name} is no longer as it was shown to you, so your answer was not recorded ({what}): "
            "look at it again, then answer it",
            param="job",
            expected="what was shown",
            found=what,
        )

    def count_missing_after(self, approver: Identity) -> int:
        """Return the number of approvals still missing after `approver` has approved."""
        return count_missing(self.rules, self.requester, [*self.approved, approver])


def read_pending(
    ledger: Ledger,
    history: StreamHistory,
    pending: Record,
    rules: tuple[ApprovalRule, ...],
    under: Rules,
    now: str,
) -> Pending:
    """Return the pending request with its requester and the approvers who count at `now`."""
    requested_by = requester(ledger, history, under.policy)
    valid = [entry for entry in history.approvals_since(pending) if not has_expired(entry.event, now)]
    approvers = [answerer(ledger, history, answer, under.policy) for answer in valid]
    return Pending(
        history, pending, rules, under, requested_by, tuple(select_counting(requested_by, approvers))
    )


def has_expired(approval: ApprovalGranted, now: str) -> bool:
    """Return whether an approval has expired at `now`; approvals of version 1 do not expire."""
    return approval.expires_at is not None and approval.expires_at <= now


Signing = Signer | PasskeySignature
"""How an answer is signed: with a key in a file, or by a passkey in a browser."""


def sign_answer(
    settings: Settings, ledger: Ledger, case: Pending, answer: A, who: Provenance, signer: Signing | None
) -> tuple[A, Provenance]:
    """Return `answer` with login, policy and signature, and its actor; `BadInput` if they may not answer."""
    policy = case.under.policy
    answer = structs.replace(answer, login=settings.login, policy_sha256=policy.digest)
    identity = identity_of(settings, policy, signer)
    who = replace(who, actor=identity.actor, actor_source=identity.source)
    _check_is_another(case, identity)
    _check_rules(case, identity)
    if isinstance(signer, PasskeySignature):
        text = answer_statement(ledger.ledger_id, case.history.first, case.pending, who.actor, answer)
        key_id, signature = _check_passkey(policy, who.actor, text, signer)
        answer = structs.replace(answer, key_id=key_id, signature=signature, passkey=signer.assertion)
    elif signer is not None:
        text = answer_statement(ledger.ledger_id, case.history.first, case.pending, who.actor, answer)
        key_id, signature = sign(signer, text)
        answer = structs.replace(answer, key_id=key_id, signature=signature)
    return answer, who


def statement_to_sign(settings: Settings, ledger: Ledger, case: Pending, answer: A) -> str:
    """Return the statement that the actor of `settings` signs for `answer`, under the policy in force."""
    answer = structs.replace(answer, login=settings.login, policy_sha256=case.under.policy.digest)
    return answer_statement(ledger.ledger_id, case.history.first, case.pending, settings.actor, answer)


def identity_of(settings: Settings, policy: Policy, signer: Signing | None) -> Identity:
    """Return who answers: the owner of the key, or the actor of `settings`, who may sign with a passkey."""
    if isinstance(signer, PasskeySignature):
        return identify_by_passkey(settings)
    if signer is not None:
        return Identity(_owner(settings, policy, signer), ActorSource.SIGNATURE, settings.login)
    return Identity(settings.actor, settings.actor_source, settings.login)


def identify_by_passkey(settings: Settings) -> Identity:
    """Return the actor of `settings` as someone who signs with a passkey."""
    return Identity(settings.actor, ActorSource.SIGNATURE, settings.login, by_passkey=True)


def passkeys_of(policy: Policy, person: str) -> list[Passkey]:
    """Return a person's passkeys in a policy."""
    return [Passkey.parse(key) for key in (policy.approvers or {}).get(person, ()) if is_passkey(key)]


def _check_passkey(
    policy: Policy, actor: str, text: str, passkey_signature: PasskeySignature
) -> tuple[str, str]:
    """Return key id and signature, encoded as in events; `BadInput` unless `actor` signed `text`."""
    passkey = passkey_signature.key_among((policy.approvers or {}).get(actor, ()))
    if passkey is None:
        raise BadInput(
            f"the policy {policy.name} does not name this passkey for {actor}; nothing was recorded: the "
            "page Passkey of the console shows the line to add under [approvers]",
            param="passkey",
            expected=f"a passkey that the policy names for {actor}",
            found="another one",
        )
    if (wrong := what_is_wrong(passkey, text, passkey_signature)) is not None:
        raise BadInput(
            f"the passkey of {actor} did not sign this answer: {wrong}; nothing was recorded",
            param="passkey",
            expected="the signature of this answer",
            found=wrong,
        )
    return passkey.key_id, base64.b64encode(passkey_signature.signature).decode()


def _owner(settings: Settings, policy: Policy, signer: Signer) -> str:
    owner = owner_of(str(signer.verifier), policy.approvers or {})
    if owner is None:
        raise BadInput(
            f"the key of {signer.name} ({signer.verifier.key_id.hex()}) is not one of the keys "
            f"that the policy {policy.name} names under [approvers], so it does not identify you",
            param="key",
            expected="a key under [approvers]",
            found=signer.name,
        )
    claimed = settings.actor if settings.actor_source is ActorSource.FLAG else owner
    if claimed != owner:
        raise BadInput(
            f"--actor {claimed}, but the key belongs to {owner}; leave out --actor",
            param="actor",
            expected=owner,
            found=claimed,
        )
    return owner


def obstacle(case: Pending, identity: Identity) -> str | None:
    """Return why a person may not answer, in the words of a page; None if they may."""
    try:
        _check_is_another(case, identity)
        _check_rules(case, identity)
    except WrongPerson as refused:
        return refused.on_page
    return None


def _check_is_another(case: Pending, approver: Identity) -> None:
    """Raise `WrongPerson` unless `approver` is established to be another person than the previous ones."""
    policy, requested_by = case.under.policy, case.requester
    if requested_by.actor == approver.actor:
        raise WrongPerson(
            f"{case.name} was requested by {requested_by.actor}: another person has to answer it; "
            f"`sora-ledger cancel {case.name}` withdraws it",
            "You requested it: another person has to answer it.",
            found=approver.actor,
        )
    if approver.claimed:
        also = (
            f", and {case.name} was requested in the same way, as {requested_by.actor}"
            if requested_by.claimed
            else ""
        )
        alternative = "" if requested_by.claimed else "leave it out and answer under your own login, or "
        raise WrongPerson(
            f"{_format_claim(approver)} does not prove who you are{also}: "
            f"{alternative}{explain_signing(policy)}",
            f"Nothing proves that you are {approver.actor}: anyone can type this name. Sign in with an "
            f"access key or at the identity provider. {explain_signing_on_page(policy)}",
            found=approver.actor,
        )
    if requested_by.claimed and not approver.signed:
        raise WrongPerson(
            f"{case.name} was requested as {requested_by.actor}, a name that anyone, including "
            f"{approver.actor}, can set with --actor or SORA_LEDGER_ACTOR: {explain_signing(policy)}",
            f"It was requested as {requested_by.actor}, a name that anyone can type, so it takes a "
            f"signature. {explain_signing_on_page(policy)}",
            found=approver.actor,
        )
    if not requested_by.claimed and not approver.is_another_than(requested_by):
        raise _same_login(case.name, "requested", requested_by, approver, policy)
    for other in case.approved:
        if approver.actor == other.actor:
            raise WrongPerson(
                f"{approver.actor} has already approved {case.name}; another person has to",
                "You have approved it already: another person has to, too.",
                found=approver.actor,
            )
        if not approver.is_another_than(other):
            raise _same_login(case.name, "approved", other, approver, policy)


def _same_login(name: str, done: str, before: Identity, approver: Identity, policy: Policy) -> WrongPerson:
    """Return the error for two actions under one login, which count as one person's unless signed."""
    where = (
        f"under the login {before.login}, like this answer"
        if before.login == approver.login
        else "without a login"
    )
    signing = "the request too (with its own --key FILE)" if done == "requested" else "both answers"
    return WrongPerson(
        f"{name} was {done} by {before.actor} {where}, so nothing proves that {approver.actor} is another "
        f"person: answer under another login, or sign {signing}; {explain_signing(policy)}",
        f"It was {done} by {before.actor} {where}, so nothing proves that you are another person. "
        f"{explain_signing_on_page(policy)}",
        found=approver.actor,
    )


def explain_signing(policy: Policy) -> str:
    """Return how to sign an answer, including the setup if the policy names no keys yet."""
    people = sorted((policy.approvers or {}).items())
    files = [person for person, keys in people if not all(map(is_passkey, keys))]
    passkeys = [person for person, keys in people if any(map(is_passkey, keys))]
    ways = [f"with --key FILE (keys of: {', '.join(files)})"] if files else []
    ways += [f"with a passkey in the console (passkeys of: {', '.join(passkeys)})"] if passkeys else []
    if ways:
        return f"sign {' or '.join(ways)}"
    return (
        f"sign with --key FILE, once the policy names your key under [approvers] ({policy.name} names none): "
        "`sora-ledger key new FILE --name NAME` creates one, `sora-ledger policy activate` activates a "
        "policy that names it"
    )


def explain_signing_on_page(policy: Policy) -> str:
    """Return who can sign an answer, for readers in the console."""
    people = sorted(policy.approvers or {})
    if not people:
        return f"The policy {policy.name} names no key of anyone yet; a passkey would be one."
    with_passkeys = [person for person in people if passkeys_of(policy, person)]
    here = f"{' or '.join(with_passkeys)} with a passkey, here" if with_passkeys else ""
    files = [person for person in people if not all(map(is_passkey, (policy.approvers or {})[person]))]
    elsewhere = f"{' or '.join(files)} with a key in a file, in a terminal" if files else ""
    return f"The policy names who can sign: {'; '.join(filter(None, (here, elsewhere)))}."


def takes_signature(requested: Record, hold: RenderHeld, policy: Policy) -> bool:
    """Return whether approving a held job requires a signature."""
    rules = (rule for rule in policy.approvals or () if rule.code in hold.reason_codes)
    source = requested.envelope.actor_source
    return source in {*CLAIMED, ActorSource.SIGNATURE} or any(rule.wants_signature for rule in rules)


def explain_who_may_answer(request: Record, hold: RenderHeld, policy: Policy) -> str:
    """Return a sentence that says who may approve a held job, and how."""
    if request.envelope.actor_source in CLAIMED:
        return (
            f"it was requested as {request.actor}, a name that anyone can set with --actor or "
            f"SORA_LEDGER_ACTOR, so it needs {hold.approvals_needed} signed approvals: "
            f"{explain_signing(policy)}; "
            "a request under a login, or signed with --key FILE, needs one fewer"
        )
    if takes_signature(request, hold, policy):
        return f"another person has to approve it and {explain_signing(policy)}"
    return f"another person has to approve it, under a login other than {request.actor}"


def _format_claim(approver: Identity) -> str:
    flag = approver.source is ActorSource.FLAG
    return f"--actor {approver.actor}" if flag else f"SORA_LEDGER_ACTOR={approver.actor}"


def _check_rules(case: Pending, approver: Identity) -> None:
    """Raise `WrongPerson` for an answer that satisfies no rule."""
    open_rules = [
        rule for rule in case.rules if count_lacking(rule, case.requester, case.approved)
    ] or case.rules
    after = [*case.approved, approver]
    if any(approver.satisfies(rule) or _reduces_missing(rule, case, after) for rule in open_rules):
        return
    rule = open_rules[0]
    people = (
        " or ".join(rule.signed_by or sorted(case.under.policy.approvers or ()))
        or "a person under [approvers]"
    )
    raise WrongPerson(
        f"rule {rule.code} requires the signature of {people}: {explain_signing(case.under.policy)}; "
        "nothing was recorded",
        f"Rule {rule.code} requires the signature of {people}. {explain_signing_on_page(case.under.policy)}",
        found=approver.actor,
    )


def _reduces_missing(rule: ApprovalRule, case: Pending, after: Sequence[Identity]) -> bool:
    return count_lacking(rule, case.requester, after) < count_lacking(rule, case.requester, case.approved)
