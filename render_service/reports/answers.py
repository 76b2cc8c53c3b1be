"""Report who made a request and who answered it, how they were identified, and whether signatures are valid.

Reads only. No person is reported as identified by a signature that was not checked.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from ledger.events import AnswerEvent, ApprovalGranted, DecisionOverridden
from ledger.log.ledger import Ledger
from ledger.record import Entry, Record
from render_service.approvals.identities import (
    CheckedSignature,
    check_answer_signature,
    check_request_signature,
)
from render_service.session.history import StreamHistory

HOW = {
    "flag": "a typed name, which anyone can use",
    "environment": "a name in the environment, which anyone can set",
    "operating_system": "identified by their login",
    "access_key": "identified by an access key",
    "oidc": "identified by their identity provider",
    "signature": "identified by their signature",
}
NOT_IDENTIFIED = "NOT IDENTIFIED: the record says signed, but there is no signature"
_NOT_BOUND = "; version 1, which binds neither prompt, files and cost nor policy and time"


class Answer(NamedTuple):
    """One answer, or a signed request; `signature_stands` is None if there is no signature."""

    record: Record
    verb: str
    """The action: approved, refused, requested, or the denial that was overridden."""
    key_id: str | None = None
    signature_stands: bool | None = None
    binds_request: bool | None = None
    expires_at: str | None = None

    @property
    def how(self) -> str:
        """How the person was identified; in capitals if the record says signed but no signature is valid."""
        source = self.record.envelope.actor_source
        if self.signature_stands is None:
            return NOT_IDENTIFIED if source == "signature" else HOW[source]
        if not self.signature_stands:
            return (
                f"NOT IDENTIFIED: the signature with key {self.key_id} IS NOT VALID under any key that "
                "a policy in force named"
            )
        bound = "" if self.binds_request else _NOT_BOUND
        return f"{HOW[source]} (key {self.key_id}; valid{bound})"

    @property
    def is_proven(self) -> bool:
        """Whether the signature is valid."""
        return bool(self.signature_stands)

    @property
    def sentence(self) -> str:
        """The answer as one line."""
        until = f", until {self.expires_at[:16]}Z" if self.expires_at else ""
        return f"{self.verb} by {self.record.actor}{until}, {self.how}"

    def document(self) -> dict[str, Any]:
        """Return the answer as JSON."""
        return {
            "position": self.record.position,
            "said": self.verb,
            "actor": self.record.actor,
            "actor_source": self.record.envelope.actor_source,
            "key_id": self.key_id,
            "signature_stands": self.signature_stands,
            "binds_request": self.binds_request,
            "expires_at": self.expires_at,
            "sentence": self.sentence,
        }


def answers(ledger: Ledger, history: StreamHistory) -> list[Answer]:
    """Return the answers in the history of a job or change, in order; first its request if that is signed."""
    answered = [
        *(_answer(ledger, history, entry) for entry in history.answers),
        *(_set_aside(entry) for entry in history.overrides),
    ]
    return [*_request(ledger, history), *sorted(answered, key=lambda answer: answer.record.position)]


def _request(ledger: Ledger, history: StreamHistory) -> Iterator[Answer]:
    """Yield the request if it is signed, or recorded as signed."""
    if history.signed_request is not None:
        yield _with(
            check_request_signature(ledger, history), Answer(history.signed_request.record, "requested")
        )
    elif history.first.envelope.actor_source == "signature":
        yield Answer(history.first, "requested")


def _answer(ledger: Ledger, history: StreamHistory, entry: Entry[AnswerEvent]) -> Answer:
    event = entry.event
    verdict = "approved" if isinstance(event, ApprovalGranted) else "refused"
    answer = Answer(entry.record, verdict, event.key_id, expires_at=event.expires_at)
    return _with(check_answer_signature(ledger, history, entry), answer)


def _set_aside(entry: Entry[DecisionOverridden]) -> Answer:
    event = entry.event
    return Answer(entry.record, f"{event.detail_code} set aside until {event.expires_at[:16]}Z")


def _with(signed: CheckedSignature | None, answer: Answer) -> Answer:
    if signed is None:
        return answer
    return answer._replace(
        key_id=signed.key_id, signature_stands=signed.signature_valid, binds_request=signed.binds_request
    )
