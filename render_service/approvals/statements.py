"""The statements that requesters and approvers sign, and the check of a signature.

A statement is canonical JSON and a newline, signed with Ed25519 or by a passkey, as in `docs/FORMAT.md`.
Version 2 of an answer contains the leaves of the request and of the record that made it pending, so it binds
prompt, files, model and cost. Version 1 contained only ids, which a rewritten ledger could assign to another
request.
"""

import base64
import binascii
from typing import Literal

from decision.rules.passkeys import is_passkey
from ledger.canonical import canonical_json, leaf_hash
from ledger.events import AnswerEvent, ApprovalGranted, PasskeyAssertion, RenderHeld, RequestSigned
from ledger.record import Entry, Record
from ledger.tree.checkpoint import CheckpointInvalid, Signature, Signer, Verifier
from render_service.approvals.passkeys import has_signed

ANSWER_1 = "sora-ledger/approval/1"
ANSWER_2 = "sora-ledger/approval/2"
REQUEST_1 = "sora-ledger/request/1"
BINDS_LEAVES = 2
"""The first schema version of an answer whose statement contains the leaves."""

Verdict = Literal["granted", "refused"]


def answer_statement(
    ledger_id: str, requested: Record, pending: Record, actor: str, answer: AnswerEvent
) -> str:
    """Return the statement that `actor` signs for `answer`, in version 2.

    `requested` is the first record of the stream, `pending` the record that is answered: the last
    ``render.held``, or the ``change.proposed`` itself.
    """
    return _text(
        {
            "actor": actor,
            "expires_at": answer.expires_at,
            "ledger_id": ledger_id,
            "login": answer.login,
            "pending_leaf": leaf_hash(pending.record).hex(),
            "policy_sha256": answer.policy_sha256,
            "requested_leaf": leaf_hash(requested.record).hex(),
            "statement": ANSWER_2,
            "stream": pending.stream,
            "verdict": verdict_of(answer),
        }
    )


def answer_statement_1(
    ledger_id: str, held: Record, hold: RenderHeld, actor: str, answer: AnswerEvent
) -> str:
    """Return the statement that `actor` signed for `answer` in version 1, which is only verified."""
    return _text(
        {
            "actor": actor,
            "decision_id": hold.basis.decision_id,
            "held_event_id": held.event_id,
            "job_id": held.stream,
            "ledger_id": ledger_id,
            "statement": ANSWER_1,
            "verdict": verdict_of(answer),
        }
    )


def request_statement(  # one parameter per key
    ledger_id: str,
    *,
    stream: str,
    event_id: str,
    payload_sha256: str,
    actor: str,
    login: str,
    policy_sha256: str,
) -> str:
    """Return the statement that `actor` signs for the request in the first record of `stream`."""
    return _text(
        {
            "actor": actor,
            "event_id": event_id,
            "ledger_id": ledger_id,
            "login": login,
            "payload_sha256": payload_sha256,
            "policy_sha256": policy_sha256,
            "statement": REQUEST_1,
            "stream": stream,
        }
    )


def read_request_statement(ledger_id: str, requested: Record, signed: Entry[RequestSigned]) -> str:
    """Return the statement of the recorded ``request.signed`` about `requested`, the record before it."""
    return request_statement(
        ledger_id,
        stream=requested.stream,
        event_id=requested.event_id,
        payload_sha256=requested.envelope.payload_sha256,
        actor=requested.actor,
        login=signed.event.login,
        policy_sha256=signed.event.policy_sha256,
    )


def verdict_of(answer: AnswerEvent) -> Verdict:
    """Return the verdict of an answer, named as in statements."""
    return "granted" if isinstance(answer, ApprovalGranted) else "refused"


def sign(signer: Signer, text: str) -> tuple[str, str]:
    """Sign `text`; return key id (hex) and signature (base64), encoded as in events."""
    signed = signer.sign(text)
    return signed.key_id.hex(), base64.b64encode(signed.signature).decode()


def verify_signature(key: str, text: str, signature: str, passkey: PasskeyAssertion | None = None) -> bool:
    """Return whether `signature` (base64) is a valid signature of `text` by the public `key`.

    `passkey` is the other data that a passkey signed; other kinds of keys never sign that.
    """
    if passkey is not None or is_passkey(key):
        return passkey is not None and is_passkey(key) and has_signed(key, text, signature, passkey)
    try:
        verifier = Verifier.parse(key)
        raw = base64.b64decode(signature, validate=True)
        signed = Signature(verifier.name, verifier.key_id, raw)
        return not verifier.is_witness and verifier.has_signed(text, signed)
    except (CheckpointInvalid, binascii.Error):
        return False


def _text(content: dict[str, str | None]) -> str:
    return canonical_json(content).decode() + "\n"
