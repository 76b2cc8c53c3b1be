"""Checking bundles that others exported, by the same independent code that lies in them."""

from collections.abc import Sequence
from pathlib import Path

from ledger.verify.verify_bundle import NotABundle, Outcome, check_bundle, read_head, read_key
from render_service.errors import BadInput
from render_service.evidence.heads import read_head as read_checkpoint
from render_service.evidence.keys import read_verifier


def check_received(path: Path, verifiers: Sequence[str], checkpoint: Path | None) -> Outcome:
    """Check the bundle at `path` against public keys and a checkpoint held; `BadInput` if it is none."""
    keys = [read_key(str(read_verifier(text))) for text in verifiers]
    held = read_head(read_checkpoint(checkpoint).to_bytes()) if checkpoint else None
    try:
        return check_bundle(str(path), keys, held)
    except NotABundle as error:
        raise BadInput(f"bundle {error}; name a file that `sora-ledger export` wrote") from None
