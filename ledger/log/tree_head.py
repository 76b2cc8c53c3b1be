"""The head of a ledger's tree: size and root under the name of the log, signed if there are keys."""

from collections.abc import Sequence

from ledger.errors import LedgerUnusable
from ledger.events import LedgerCreated
from ledger.log.ledger import Ledger
from ledger.tree.checkpoint import Checkpoint, Signer
from ledger.tree.head import TreeHead
from ledger.tree.merkle import root_at


def head_of(ledger: Ledger, signers: Sequence[Signer] = (), size: int | None = None) -> TreeHead:
    """Return the head of `ledger`, or the one it had at `size`, signed by `signers`."""
    head = ledger.head()
    root = head.root if size is None else root_at(ledger.store, size)
    checkpoint = Checkpoint(origin_of(ledger), head.size if size is None else size, root)
    return TreeHead(checkpoint, checkpoint.signed(*signers) if signers else None)


def origin_of(ledger: Ledger) -> str:
    """Return the name of the log: the origin recorded at position 1."""
    first = next(ledger.read(limit=1), None)
    if first is None or not isinstance(first.event, LedgerCreated):
        raise LedgerUnusable(
            "position 1 is not a ledger.created event: `sora-ledger verify` shows what is there instead"
        )
    return first.event.origin
