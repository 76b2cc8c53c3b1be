"""What somebody signs who approves or refuses: which render, in which ledger, and the answer.

The statement is canonical JSON and a newline, signed with Ed25519, as in `docs/FORMAT.md`. It names the hold
it answers, so that a signature cannot be carried over to another hold, job, ledger or answer.
"""

import base64
import binascii
from typing import Literal

from ledger.canonical import canonical_json
from ledger.checkpoint import CheckpointInvalid, Signature, Signer, Verifier
from ledger.events import LedgerCreated, RenderHeld
from ledger.ledger import Ledger
from ledger.record import Record

KIND = "sora-ledger/approval/1"

Verdict = Literal["granted", "refused"]


def statement(ledger: Ledger, held: Record, verdict: Verdict, actor: str) -> str:
    """Return what `actor` signs to answer the hold that is recorded as `held`."""
    first = next(ledger.read(limit=1)).event
    assert isinstance(first, LedgerCreated)  # noqa: S101  # every ledger begins with it
    assert isinstance(held.event, RenderHeld)  # noqa: S101  # the caller has looked
    content = {
        "actor": actor,
        "decision_id": held.event.basis.decision_id,
        "held_event_id": held.event_id,
        "job_id": held.stream,
        "ledger_id": first.ledger_id,
        "statement": KIND,
        "verdict": verdict,
    }
    return canonical_json(content).decode() + "\n"


def sign(signer: Signer, text: str) -> tuple[str, str]:
    """Return key id (hex) and signature (base64) of `text`, as the events have them."""
    signed = signer.sign(text)
    return signed.key_id.hex(), base64.b64encode(signed.signature).decode()


def stands(key: str, text: str, signature: str) -> bool:
    """Say whether `signature` (base64) over `text` is that of the public `key`."""
    verifier = Verifier.parse(key)
    try:
        raw = base64.b64decode(signature, validate=True)
        return verifier.has_signed(text, Signature(verifier.name, verifier.key_id, raw))
    except (CheckpointInvalid, binascii.Error):
        return False
