"""Check recorded signatures, identify requesters and approvers, and decide whether two are two people.

A typed name proves nothing. An identity is established by

- a signature with a key that the policy names for a person,
- the login, as reported by the operating system, or
- an access key or an identity provider, which name the caller of a server.

Two signed identities are compared by the owners of the keys. If one of the two is not signed, only the logins
can be compared, so a signature made under the requester's login counts as the requester's: anyone at that
login may have had access to the key. A passkey is not in a file, and signs only for its owner: any other name
is another person. A caller of a server has no login, and is compared by name: all keys granted for one name
are one person's. The rules for ``access.grant`` determine who may grant a key under another name.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from decision.rules.approvals import ApprovalRule
from decision.rules.policy import Policy, default_policy
from ledger.events import AnswerEvent, PolicyActivated, RenderHeld, RequestSigned
from ledger.log.ledger import Ledger
from ledger.record import BY_ACCESS, ActorSource, Entry, Record
from ledger.store.filters import RecordFilter
from render_service.approvals.statements import (
    BINDS_LEAVES,
    answer_statement,
    answer_statement_1,
    read_request_statement,
    verify_signature,
)
from render_service.rules.policies import STREAM, restore_document
from render_service.session.history import StreamHistory


@dataclass(frozen=True)
class CheckedSignature:
    """A signed answer or request, and the result of verifying its signature."""

    record: Record
    key_id: str
    signature_valid: bool
    binds_request: bool
    """False for version 1 of an answer, which names only ids and not the content of the request."""


def check_answer_signature(
    ledger: Ledger, history: StreamHistory, answer: Entry[AnswerEvent]
) -> CheckedSignature | None:
    """Check the signature of `answer`, an entry of `history`; None if it is unsigned."""
    event, record = answer.event, answer.record
    if event.signature is None:
        return None
    valid = any(
        _is_signed_by((policy.approvers or {}).get(record.actor, ()), event, text)
        for text, policies in _statements(ledger, history, answer)
        for policy in policies
    )
    return CheckedSignature(record, event.key_id or "", valid, record.schema_version >= BINDS_LEAVES)


def _statements(
    ledger: Ledger, history: StreamHistory, answer: Entry[AnswerEvent]
) -> Iterator[tuple[str, Iterator[Policy]]]:
    """Yield the text that `answer` had to sign, and the policies that may have named the key."""
    event, record = answer.event, answer.record
    waiting = history.find_waiting_before(record)
    if waiting is None:
        return
    if record.schema_version >= BINDS_LEAVES:
        text = answer_statement(ledger.ledger_id, history.first, waiting.record, record.actor, event)
        yield text, _find_policies_in_force(ledger, record, event.policy_sha256)
    elif isinstance(waiting.event, RenderHeld):
        text = answer_statement_1(ledger.ledger_id, waiting.record, waiting.event, record.actor, event)
        yield text, _find_policies_since(ledger, waiting.record, waiting.event, record)


def check_request_signature(ledger: Ledger, history: StreamHistory) -> CheckedSignature | None:
    """Check the signature of the request that `history` begins with; None if it is unsigned."""
    signed = history.signed_request
    if signed is None:
        return None
    event, record = signed.event, signed.record
    text = read_request_statement(ledger.ledger_id, history.first, signed)
    valid = False
    if event.policy_sha256 in _digests_before(ledger, record.position):
        policy = restore_document(ledger, Policy, event.policy_sha256)
        valid = _is_signed_by(policy.request_keys(record.actor), event, text)
    return CheckedSignature(
        record, event.key_id, valid and record.actor == history.first.actor, binds_request=True
    )


def _is_signed_by(keys: Sequence[str], event: AnswerEvent | RequestSigned, text: str) -> bool:
    passkey = None if isinstance(event, RequestSigned) else event.passkey
    named = (key for key in keys if key.split("+")[1] == event.key_id)
    return any(verify_signature(key, text, event.signature or "", passkey) for key in named)


def _digests_before(ledger: Ledger, position: int) -> list[str]:
    """Return the digests of the policies that were in force before `position`, in order."""
    activations = ledger.entries(PolicyActivated, RecordFilter(stream=STREAM))
    return [
        default_policy().digest,
        *(entry.event.policy_sha256 for entry in activations if entry.record.position < position),
    ]


def _find_policies_in_force(ledger: Ledger, answer: Record, cited: str | None) -> Iterator[Policy]:
    """Yield the policy that an answer cites, if it was in force at that position."""
    if cited == _digests_before(ledger, answer.position)[-1]:
        yield restore_document(ledger, Policy, cited)


def _find_policies_since(ledger: Ledger, held: Record, hold: RenderHeld, answer: Record) -> Iterator[Policy]:
    """Yield the policies that may have named the key of version 1: from the hold up to the answer.

    A policy activated later cannot make an answer valid.
    """
    digests = {hold.basis.policy_sha256}
    for activated in ledger.entries(PolicyActivated, RecordFilter(stream=STREAM)):
        if held.position < activated.record.position < answer.position:
            digests.add(activated.event.policy_sha256)
    return (restore_document(ledger, Policy, digest) for digest in sorted(digests))


CLAIMED = (ActorSource.FLAG, ActorSource.ENVIRONMENT)
"""The sources of merely typed names."""


@dataclass(frozen=True)
class Identity:
    """The identity of a requester or approver; `login` is None if none was recorded."""

    actor: str
    source: ActorSource
    login: str | None = None
    by_passkey: bool = False

    @property
    def signed(self) -> bool:
        """Whether a signature establishes the identity."""
        return self.source is ActorSource.SIGNATURE

    @property
    def claimed(self) -> bool:
        """Whether the name was only typed, so that nothing establishes the identity."""
        return self.source in CLAIMED

    def is_another_than(self, other: Self) -> bool:
        """Return whether the two identities are established to be two people."""
        if self.claimed or other.claimed or self.actor == other.actor:
            return False
        if (self.signed and other.signed) or {self.source, other.source} & BY_ACCESS:
            return True
        if self.by_passkey or other.by_passkey:
            return True
        return self.login is not None and other.login is not None and self.login != other.login

    def satisfies(self, rule: ApprovalRule) -> bool:
        """Return whether an approval by this identity satisfies `rule`."""
        if rule.wants_signature and not self.signed:
            return False
        return rule.signed_by is None or self.actor in rule.signed_by


def requester(ledger: Ledger, history: StreamHistory, policy: Policy) -> Identity:
    """Return the requester of the stream; an invalid signature counts as a typed name."""
    request = history.first
    source = ActorSource(request.envelope.actor_source)
    if source is not ActorSource.SIGNATURE:
        return Identity(request.actor, source, _login_of(request, source))
    signed = check_request_signature(ledger, history)
    if signed is None or not _is_valid(signed, policy.request_keys(request.actor)):
        return Identity(request.actor, ActorSource.FLAG)
    return Identity(request.actor, source, getattr(signed.record.event, "login", None))


def answerer(ledger: Ledger, history: StreamHistory, answer: Entry[AnswerEvent], policy: Policy) -> Identity:
    """Return the author of `answer`; a signature that is not valid (any more) counts as a typed name."""
    record = answer.record
    source = ActorSource(record.envelope.actor_source)
    signed = check_answer_signature(ledger, history, answer)
    if (source is ActorSource.SIGNATURE) != (signed is not None):
        return Identity(record.actor, ActorSource.FLAG)
    if signed is not None and not _is_valid(signed, (policy.approvers or {}).get(record.actor, ())):
        return Identity(record.actor, ActorSource.FLAG)
    by_passkey = signed is not None and answer.event.passkey is not None
    return Identity(record.actor, source, answer.event.login or _login_of(record, source), by_passkey)


def _is_valid(signed: CheckedSignature, keys: Sequence[str]) -> bool:
    return signed.signature_valid and any(key.split("+")[1] == signed.key_id for key in keys)


def _login_of(record: Record, source: ActorSource) -> str | None:
    return record.actor if source is ActorSource.OPERATING_SYSTEM else None


def select_counting(requested_by: Identity, approvals: Sequence[Identity]) -> list[Identity]:
    """Return the approvals by people other than the requester and other than each other.

    If the requester is a typed name, it may be any of the approvers, so only signed approvals count, and one
    more approval is needed, see `count_lacking`.
    """
    counted: list[Identity] = []
    for approver in approvals:
        is_another = approver.signed if requested_by.claimed else approver.is_another_than(requested_by)
        if is_another and all(approver.is_another_than(other) for other in counted):
            counted.append(approver)
    return counted


def count_lacking(rule: ApprovalRule, requested_by: Identity, approved: Sequence[Identity]) -> int:
    """Return how many more approvals `rule` needs; a request under a typed name needs one extra."""
    satisfying = sum(approver.satisfies(rule) for approver in approved)
    return max(rule.people - satisfying, rule.people + requested_by.claimed - len(approved), 0)


def count_missing(rules: Sequence[ApprovalRule], requested_by: Identity, approved: Sequence[Identity]) -> int:
    """Return how many more approvals are needed to satisfy all rules."""
    return max((count_lacking(rule, requested_by, approved) for rule in rules), default=0)
