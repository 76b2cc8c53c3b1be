"""Who answered for a job, how they were identified, and whether what they signed stands. Reads only."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from decision.policy import Policy
from ledger.events import (
    ApprovalGranted,
    ApprovalRefused,
    DecisionOverridden,
    PolicyActivated,
    RenderHeld,
)
from ledger.ledger import Ledger
from ledger.record import Record
from ledger.store.interface import RecordFilter
from render_service.governance.policies import STREAM, kept_document

HOW = {
    "flag": "named with --actor, which anybody can",
    "environment": "named in the environment, which anybody can",
    "operating_system": "identified by their login",
    "signature": "identified by their signature",
}


class Answer(NamedTuple):
    """One answer; `signature_stands` is None where there is no signature."""

    record: Record
    said: str
    key_id: str | None = None
    signature_stands: bool | None = None

    @property
    def sentence(self) -> str:
        """The answer in one line."""
        how = HOW[self.record.envelope["actor_source"]]
        if self.key_id is None:
            return f"{self.said} by {self.record.actor}, {how}"
        stands = (
            "stands" if self.signature_stands else "DOES NOT STAND under any key this ledger's policies name"
        )
        return f"{self.said} by {self.record.actor}, {how} (key {self.key_id}; it {stands})"

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "position": self.record.position,
            "said": self.said,
            "actor": self.record.actor,
            "actor_source": self.record.envelope["actor_source"],
            "key_id": self.key_id,
            "signature_stands": self.signature_stands,
            "sentence": self.sentence,
        }


def answers(ledger: Ledger, history: Sequence[Record]) -> Iterator[Answer]:
    """Yield the answers in the history of a job, in order."""
    held: Record | None = None
    for record in history:
        match record.event:
            case RenderHeld():
                held = record
            case ApprovalGranted() | ApprovalRefused():
                said = "approved" if isinstance(record.event, ApprovalGranted) else "refused"
                stands = None
                if record.event.signature is not None and held is not None:
                    stands = _stands(ledger, held, record, record.event)
                yield Answer(record, said, record.event.key_id, stands)
            case DecisionOverridden():
                until = record.event.expires_at[:16]
                yield Answer(record, f"{record.event.detail_code} set aside until {until}Z")
            case _:
                pass


def _stands(ledger: Ledger, held: Record, record: Record, event: ApprovalGranted | ApprovalRefused) -> bool:
    from render_service.governance.statements import Verdict, stands, statement  # noqa: PLC0415  # cryptography

    verdict: Verdict = "granted" if isinstance(event, ApprovalGranted) else "refused"
    text = statement(ledger, held, verdict, record.actor)
    named = (policy.approvers or {} for policy in _policies(ledger, held, record.position))
    keys = {key for approvers in named for key in approvers.get(record.actor, ())}
    return any(stands(key, text, event.signature or "") for key in keys if f"+{event.key_id}+" in key)


def _policies(ledger: Ledger, held: Record, answered: int) -> Iterator[Policy]:
    """Yield the policies that may have named the key: that of the hold, and those from there to `answered`.

    One that came later makes no answer good.
    """
    digests = {held.event.basis.policy_sha256} if isinstance(held.event, RenderHeld) else set()
    for record in ledger.read(RecordFilter(stream=STREAM)):
        if isinstance(record.event, PolicyActivated) and held.position < record.position < answered:
            digests.add(record.event.policy_sha256)
    return (kept_document(ledger, Policy, digest) for digest in sorted(digests))
