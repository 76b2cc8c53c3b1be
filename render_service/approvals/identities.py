"""Who asked and who approved, by what establishes it, and whether two of them are two people.

A name that was typed establishes nothing. What does:

- a signature, by a key that the policy names for a person;
- the login of the operating system, which is asked of the system.

Two signatures are compared by the people whose keys they are. Where one of two has no signature, the login is
all there is to compare, so a signature that was made under the requester's login is the requester's: whoever
sits there may have found the key.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from decision.rules.approvals import ApprovalRule
from decision.rules.policy import Policy
from ledger.log.ledger import Ledger
from ledger.record import ActorSource, Entry, Record
from render_service.approvals.requesters import CLAIMED
from render_service.approvals.signatures import Signed, signed_answer, signed_request
from render_service.session.history import AnswerEvent, StreamHistory


@dataclass(frozen=True)
class Identity:
    """Somebody who asks or answers; `login` is None where none was recorded."""

    actor: str
    source: ActorSource
    login: str | None = None

    @property
    def signed(self) -> bool:
        """Whether a signature establishes who it is."""
        return self.source is ActorSource.SIGNATURE

    @property
    def claimed(self) -> bool:
        """Whether nothing establishes who it is."""
        return self.source in CLAIMED

    def is_another_than(self, other: Self) -> bool:
        """Say whether these two are established to be two people."""
        if self.claimed or other.claimed or self.actor == other.actor:
            return False
        if self.signed and other.signed:
            return True
        return self.login is not None and other.login is not None and self.login != other.login

    def satisfies(self, rule: ApprovalRule) -> bool:
        """Say whether theirs is an approval that `rule` wants."""
        if rule.wants_signature and not self.signed:
            return False
        return rule.signed_by is None or self.actor in rule.signed_by


def requester(ledger: Ledger, history: StreamHistory, policy: Policy) -> Identity:
    """Return who asked for what `history` begins with; a signature that does not hold is a typed name."""
    request = history.first
    source = ActorSource(request.envelope["actor_source"])
    if source is not ActorSource.SIGNATURE:
        return Identity(request.actor, source, _login_of(request, source))
    signed = signed_request(ledger, history)
    if signed is None or not _holds(signed, policy.request_keys(request.actor)):
        return Identity(request.actor, ActorSource.FLAG)
    return Identity(request.actor, source, getattr(signed.record.event, "login", None))


def answerer(ledger: Ledger, history: StreamHistory, answer: Entry[AnswerEvent], policy: Policy) -> Identity:
    """Return who gave `answer`; a signature that does not hold, or no longer, is a typed name."""
    record = answer.record
    source = ActorSource(record.envelope["actor_source"])
    signed = signed_answer(ledger, history, answer)
    if (source is ActorSource.SIGNATURE) != (signed is not None):
        return Identity(record.actor, ActorSource.FLAG)
    if signed is not None and not _holds(signed, (policy.approvers or {}).get(record.actor, ())):
        return Identity(record.actor, ActorSource.FLAG)
    return Identity(record.actor, source, answer.event.login or _login_of(record, source))


def _holds(signed: Signed, keys: Sequence[str]) -> bool:
    return signed.signature_stands and any(key.split("+")[1] == signed.key_id for key in keys)


def _login_of(record: Record, source: ActorSource) -> str | None:
    return record.actor if source is ActorSource.OPERATING_SYSTEM else None


def that_count(requester: Identity, approvals: Sequence[Identity]) -> list[Identity]:
    """Return those of `approvals` that are by people other than the requester and each other.

    Where a typed name asked, that may have been any of them, so only those count who signed; and one of
    them counts for nobody, see `lacking`.
    """
    counting: list[Identity] = []
    for identity in approvals:
        somebody_else = identity.signed if requester.claimed else identity.is_another_than(requester)
        if somebody_else and all(identity.is_another_than(other) for other in counting):
            counting.append(identity)
    return counting


def lacking(rule: ApprovalRule, requester: Identity, counting: Sequence[Identity]) -> int:
    """Return how many more approvals `rule` wants, one more than its people where a typed name asked."""
    wanted = sum(identity.satisfies(rule) for identity in counting)
    return max(rule.people - wanted, rule.people + requester.claimed - len(counting), 0)


def missing(rules: Sequence[ApprovalRule], requester: Identity, counting: Sequence[Identity]) -> int:
    """Return how many more approvals it takes until every rule has those it wants."""
    return max((lacking(rule, requester, counting) for rule in rules), default=0)
