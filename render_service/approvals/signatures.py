"""Checking recorded signatures: whether the key was named for this person, and signed exactly this."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from decision.rules.policy import Policy, default_policy
from ledger.events import ChangeProposed, PolicyActivated, RenderHeld, RequestSigned
from ledger.log.ledger import Ledger
from ledger.record import Record
from ledger.store.interface import RecordFilter
from render_service.approvals.statements import (
    BINDS_LEAVES,
    AnswerEvent,
    ledger_id_of,
    recorded_answer_statement,
    recorded_request_statement,
    stands,
)
from render_service.rules.policies import STREAM, kept_document


@dataclass(frozen=True)
class Signed:
    """A recorded answer or request and what its signature is worth."""

    record: Record
    key_id: str
    signature_stands: bool
    binds_request: bool
    """False for version 1 of an answer, which names ids and nothing of what was asked."""


def signed_answer(ledger: Ledger, history: Sequence[Record], answer: Record) -> Signed | None:
    """Return what the signature of `answer`, one of `history`, is worth; None where there is none."""
    event = answer.event
    assert isinstance(event, AnswerEvent)  # noqa: S101  # the caller has looked
    if event.signature is None:
        return None
    pending = pending_before(history, answer)
    binds = answer.schema_version >= BINDS_LEAVES
    good = False
    if pending is not None:
        text = recorded_answer_statement(ledger_id_of(ledger), history[0], pending, answer)
        policies = (
            _in_force(ledger, answer, event.policy_sha256) if binds else _since(ledger, pending, answer)
        )
        keys = {key for policy in policies for key in (policy.approvers or {}).get(answer.actor, ())}
        good = _signed_by(keys, event.key_id, text, event.signature)
    return Signed(answer, event.key_id or "", good, binds)


def signed_request(ledger: Ledger, history: Sequence[Record]) -> Signed | None:
    """Return what the signature of the request that `history` begins with is worth; None without one."""
    signed = history[1] if len(history) > 1 else None
    if signed is None or not isinstance(signed.event, RequestSigned):
        return None
    event = signed.event
    text = recorded_request_statement(ledger_id_of(ledger), history[0], signed)
    good = False
    if event.policy_sha256 in _digests_before(ledger, signed.position):
        policy = kept_document(ledger, Policy, event.policy_sha256)
        good = _signed_by(policy.request_keys(signed.actor), event.key_id, text, event.signature)
    return Signed(signed, event.key_id, good and signed.actor == history[0].actor, binds_request=True)


def pending_before(history: Sequence[Record], answer: Record) -> Record | None:
    """Return what `answer` answers: the last hold before it, or the proposed change."""
    before = [
        record
        for record in history
        if record.version < answer.version and isinstance(record.event, RenderHeld | ChangeProposed)
    ]
    return before[-1] if before else None


def _signed_by(keys: set[str] | Sequence[str], key_id: str | None, text: str, signature: str) -> bool:
    return any(stands(key, text, signature) for key in keys if key.split("+")[1] == key_id)


def _digests_before(ledger: Ledger, position: int) -> list[str]:
    """Return the digests of the policies that were in force before `position`, in order."""
    activated = [
        record.event.policy_sha256
        for record in ledger.read(RecordFilter(stream=STREAM))
        if isinstance(record.event, PolicyActivated) and record.position < position
    ]
    return [default_policy().digest, *activated]


def _in_force(ledger: Ledger, answer: Record, cited: str | None) -> Iterator[Policy]:
    """Yield the policy an answer cites, if it was in force there."""
    if cited == _digests_before(ledger, answer.position)[-1]:
        yield kept_document(ledger, Policy, cited)


def _since(ledger: Ledger, held: Record, answer: Record) -> Iterator[Policy]:
    """Yield the policies that may have named the key of version 1: the hold's, and those up to the answer.

    One that came later makes no answer good.
    """
    digests = {held.event.basis.policy_sha256} if isinstance(held.event, RenderHeld) else set()
    for record in ledger.read(RecordFilter(stream=STREAM)):
        if isinstance(record.event, PolicyActivated) and held.position < record.position < answer.position:
            digests.add(record.event.policy_sha256)
    return (kept_document(ledger, Policy, digest) for digest in sorted(digests))
