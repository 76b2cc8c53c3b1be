"""What waits for workers, as a document."""

from typing import Any

from ledger.ledger import Ledger


def queue_document(ledger: Ledger) -> dict[str, Any]:
    """Return depth, age and lease holders; times are Unix milliseconds of the store's clock."""
    tally = ledger.store.tally()
    return {
        "due": tally.due,
        "oldest_due_s": tally.overdue_ms / 1000,
        "waiting": tally.waiting,
        "leased": tally.leased,
        "leases": [lease._asdict() for lease in ledger.store.leases()],
    }
