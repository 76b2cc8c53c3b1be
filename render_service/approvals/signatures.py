"""Check recorded signatures: the policy named the key for this person, and it signed exactly this text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from decision.rules.policy import Policy, default_policy
from ledger.events import AnswerEvent, PolicyActivated, RenderHeld, RequestSigned
from ledger.log.ledger import Ledger
from ledger.record import Entry, Record
from ledger.store.filters import RecordFilter
from render_service.approvals.statements import (
    BINDS_LEAVES,
    answer_statement,
    answer_statement_1,
    recorded_request_statement,
    verify_signature,
)
from render_service.rules.policies import STREAM, kept_document
from render_service.session.history import StreamHistory


@dataclass(frozen=True)
class Signed:
    """A signed answer or request, and the result of checking its signature."""

    record: Record
    key_id: str
    signature_valid: bool
    binds_request: bool
    """False for version 1 of an answer, which names only ids and not the content of the request."""


def signed_answer(ledger: Ledger, history: StreamHistory, answer: Entry[AnswerEvent]) -> Signed | None:
    """Check the signature of `answer`, an entry of `history`; None if it is unsigned."""
    event, record = answer.event, answer.record
    if event.signature is None:
        return None
    valid = any(
        _signed_by((policy.approvers or {}).get(record.actor, ()), event, text)
        for text, policies in _statements(ledger, history, answer)
        for policy in policies
    )
    return Signed(record, event.key_id or "", valid, record.schema_version >= BINDS_LEAVES)


def _statements(
    ledger: Ledger, history: StreamHistory, answer: Entry[AnswerEvent]
) -> Iterator[tuple[str, Iterator[Policy]]]:
    """Yield the text that `answer` had to sign, and the policies that may have named the key."""
    event, record = answer.event, answer.record
    waiting = history.waiting_before(record)
    if waiting is None:
        return
    if record.schema_version >= BINDS_LEAVES:
        text = answer_statement(ledger.ledger_id, history.first, waiting.record, record.actor, event)
        yield text, _in_force(ledger, record, event.policy_sha256)
    elif isinstance(waiting.event, RenderHeld):
        text = answer_statement_1(ledger.ledger_id, waiting.record, waiting.event, record.actor, event)
        yield text, _since(ledger, waiting.record, waiting.event, record)


def signed_request(ledger: Ledger, history: StreamHistory) -> Signed | None:
    """Check the signature of the request that `history` begins with; None if it is unsigned."""
    signed = history.signed_request
    if signed is None:
        return None
    event, record = signed.event, signed.record
    text = recorded_request_statement(ledger.ledger_id, history.first, signed)
    valid = False
    if event.policy_sha256 in _digests_before(ledger, record.position):
        policy = kept_document(ledger, Policy, event.policy_sha256)
        valid = _signed_by(policy.request_keys(record.actor), event, text)
    return Signed(record, event.key_id, valid and record.actor == history.first.actor, binds_request=True)


def _signed_by(keys: Sequence[str], event: AnswerEvent | RequestSigned, text: str) -> bool:
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


def _in_force(ledger: Ledger, answer: Record, cited: str | None) -> Iterator[Policy]:
    """Yield the policy that an answer cites, if it was in force at that position."""
    if cited == _digests_before(ledger, answer.position)[-1]:
        yield kept_document(ledger, Policy, cited)


def _since(ledger: Ledger, held: Record, hold: RenderHeld, answer: Record) -> Iterator[Policy]:
    """Yield the policies that may have named the key of version 1: from the hold up to the answer.

    A policy activated later cannot make an answer valid.
    """
    digests = {hold.basis.policy_sha256}
    for activated in ledger.entries(PolicyActivated, RecordFilter(stream=STREAM)):
        if held.position < activated.record.position < answer.position:
            digests.add(activated.event.policy_sha256)
    return (kept_document(ledger, Policy, digest) for digest in sorted(digests))
