"""Record that the ledger was verified or a checkpoint published, and read when that was last done.

Both are recorded only on request (``--record``). People without write access can verify too. And a checkpoint
that is republished at the same size keeps its witness signatures, which a record in between would end. A
verification with findings records nothing, so that the evidence stays as it was found. The record says who
checked and when; it proves nothing about the other records.

The digest of the job rows is recorded by workers every `PROJECTION_EVERY` records, and by ``replay
--record``.
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ledger.errors import WrongExpectedVersion
from ledger.events import (
    CheckpointPublished,
    CheckpointTimestamped,
    CheckpointWitnessed,
    LedgerVerified,
    ProjectionRecorded,
)
from ledger.log.ledger import Ledger
from ledger.log.projection import STREAM as PROJECTIONS
from ledger.log.replay import digest_live_rows
from ledger.private import Private
from ledger.record import E, Entry, entries
from ledger.store.filters import RecordFilter
from ledger.store.interface import ANY, NEW, Batch
from ledger.tree.head import TreeHead
from render_service.session.session import Session

if TYPE_CHECKING:
    from render_service.evidence.verify import VerifyResult

STREAM = "checks"
PROJECTION_EVERY = 10_000
"""Records after which a worker records the digest of the job rows again."""


@dataclass(frozen=True)
class LastChecks:
    """The last recorded verification, publication and cosigned checkpoint; None if there was none."""

    verified: Entry[LedgerVerified] | None
    published: Entry[CheckpointPublished] | None
    witnessed: Entry[CheckpointWitnessed] | None
    timestamped: Entry[CheckpointTimestamped] | None


def find_last_checks(ledger: Ledger) -> LastChecks:
    """Return the last of each kind."""
    return LastChecks(
        _last(ledger, LedgerVerified),
        _last(ledger, CheckpointPublished),
        find_last_witnessed(ledger),
        _last(ledger, CheckpointTimestamped),
    )


def find_last_witnessed(ledger: Ledger) -> Entry[CheckpointWitnessed] | None:
    """Return the last recorded checkpoint that witnesses cosigned."""
    return _last(ledger, CheckpointWitnessed)


def _last(ledger: Ledger, kind: type[E], stream: str = STREAM) -> Entry[E] | None:
    where = RecordFilter(stream=stream, type=kind.type)
    return next(entries(ledger.newest(where, before=ledger.head().size + 1, limit=1), kind), None)


def record_verified(session: Session, checked: "VerifyResult") -> None:
    """Record a full verification that found the ledger intact; one with findings records nothing."""
    report = checked.report
    assert checked.since is None  # a part of the ledger is not the whole
    if not report.clean:
        return
    event = LedgerVerified(
        size=report.size,
        root=report.root,
        jobs=report.jobs,
        files=checked.files,
        extends=checked.held.size if checked.held else None,
    )
    session.ledger.append([Batch(STREAM, ANY, [session.draft(event)])])


def record_projection(session: Session) -> ProjectionRecorded:
    """Record the digest of the live job rows, so that a later replay can date a drift of them."""
    event = digest_live_rows(session.ledger)
    session.ledger.append([Batch(PROJECTIONS, ANY, [session.draft(event)])])
    return event


def record_projection_if_due(session: Session) -> None:
    """Record the digest if `PROJECTION_EVERY` records were appended since the last time.

    If several workers find it due at the same time, only one records it.
    """
    ledger = session.ledger
    last = _last(ledger, ProjectionRecorded, PROJECTIONS)
    if ledger.head().size - (last.event.position if last else 0) < PROJECTION_EVERY:
        return
    version = last.record.version if last else NEW
    with suppress(WrongExpectedVersion):
        ledger.append([Batch(PROJECTIONS, version, [session.draft(digest_live_rows(ledger))])])


def record_published(session: Session, head: TreeHead, there: TreeHead, target: str) -> None:
    """Record that `head` was published at `target`, where it is `there`, with the signatures of others."""
    own, all_of_them = _signers(head), _signers(there)
    event = CheckpointPublished(
        size=head.checkpoint.size,
        root=head.checkpoint.root.hex(),
        target=Private.seal("target", target),
        signed_by=own,
        cosigned_by=all_of_them[len(own) :],
    )
    session.ledger.append([Batch(STREAM, ANY, [session.draft(event)])])


def _signers(head: TreeHead) -> tuple[str, ...]:
    return tuple(signature.name for signature in head.note.signatures) if head.note else ()
