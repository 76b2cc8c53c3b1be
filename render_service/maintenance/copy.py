"""Copy a ledger to another store: the same rows, the same bodies and documents, the same root.

The source is read in one snapshot, so the copy is a consistent ledger however fast the source grows. Rows are
copied in order, a thousand per transaction: a copy interrupted anywhere, by Ctrl-C or ``kill -9``, leaves a
prefix of the ledger, and the next run continues at its end. Documents are copied first, so no row names a
missing one. Job rows, holds and tiles are derived from the rows. Leases and due times, which are not part of
the record, and stored files are not copied.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from ledger.errors import LedgerUnusable
from ledger.log.opening import open_snapshot, open_store
from ledger.log.urls import file_of, label_of
from ledger.private import PrivateBody
from ledger.record import StoredRow
from ledger.store.interface import Document, EventStore
from ledger.tree.merkle import Frontier, root_at
from render_service.runtime.errors import BadInput

if TYPE_CHECKING:
    from ledger.verify.checks import Snapshot

STEP = 1_000
"""Rows between two progress reports."""

Progress = Callable[[int, int], object]
"""Called with the number of records copied so far and in total."""

Row = tuple[StoredRow, Sequence[PrivateBody]]


@dataclass(frozen=True)
class Copy:
    """The result: `copied` records were new in the target; `grown` were added to the source meanwhile."""

    source: str
    target: str
    size: int
    root: str
    copied: int
    documents: int
    grown: int

    def document(self) -> dict[str, Any]:
        """Return the result as a JSON object."""
        return asdict(self)


def copy_ledger(source_url: str, target_url: str, progress: Progress) -> Copy:
    """Copy a ledger to `target_url`, or continue a copy; `LedgerUnusable` if that is another ledger."""
    _check_target(source_url, target_url)
    with closing(open_store(source_url, read_only=True)) as source, open_snapshot(source_url) as snapshot:
        source.head()  # raises if the source cannot be read
        tree = Frontier.from_bytes(*snapshot.head())
        if tree.size == 0:
            raise LedgerUnusable(f"ledger {label_of(source_url)}: it has no records; nothing was copied")
        with closing(open_store(target_url, read_only=False)) as target:
            copied_so_far = _count_common(
                source, tree.size, target, (label_of(source_url), label_of(target_url))
            )
            documents = _copy_documents(snapshot, target)
            rows = _with_progress(_read_rows(snapshot, copied_so_far), copied_so_far, tree.size, progress)
            # A crash here leaves a prefix of the source, itself a valid ledger: the same command continues.
            copied = target.import_rows(rows)
            _check_copy(tree, target.head(), label_of(target_url))
        grown = source.head().size - tree.size
    return Copy(
        source=label_of(source_url),
        target=label_of(target_url),
        size=tree.size,
        root=tree.root().hex(),
        copied=copied,
        documents=documents,
        grown=grown,
    )


def _check_target(source_url: str, target_url: str) -> None:
    source, target = file_of(source_url), file_of(target_url)
    same_file = source and target and source.resolve() == target.resolve()
    if same_file or source_url == target_url:
        raise BadInput(
            f"ledger {label_of(target_url)}: source and target are the same: name another target",
            param="to",
            expected="another ledger",
            found="the source itself",
        )


def _count_common(source: EventStore, size: int, target: EventStore, names: tuple[str, str]) -> int:
    """Return the number of records in the target, which must be a prefix of the source."""
    there = target.head().size
    common = min(size, there)
    if root_at(source, common) != root_at(target, common):
        raise LedgerUnusable(
            f"ledger {names[1]}: it contains {there} records of a ledger other than {names[0]}, "
            "so nothing was copied: name an empty database or a new file"
        )
    if there > size:
        raise LedgerUnusable(
            f"ledger {names[1]}: it is {there - size} records ahead of {names[0]}, so nothing was copied: "
            "copy in the other direction, or name an empty database or a new file"
        )
    return there


def _copy_documents(snapshot: "Snapshot", target: EventStore) -> int:
    """Copy the missing documents; return their number."""
    missing = [
        Document(_bytes(body, f"document {sha256}"))
        for sha256, body in snapshot.documents()
        if target.document(sha256) is None
    ]
    if missing:
        target.append([], documents=missing)
    return len(missing)


def _read_rows(snapshot: "Snapshot", after: int) -> Iterator[Row]:
    """Yield the rows after position `after`, each with its bodies that were not erased."""
    bodies = snapshot.bodies(after)
    body = next(bodies, None)
    for position, *_, record, payload, leaf in snapshot.events(after):
        own = []
        while body is not None and body[1] <= position:
            salt = _bytes(body[3], f"a private text of position {position}")
            own.append(PrivateBody(body[0], body[2], salt, _text(body[4])))
            body = next(bodies, None)
        yield StoredRow(*(_bytes(stored, f"position {position}") for stored in (record, payload, leaf))), own


def _bytes(stored: object, what: str) -> bytes:
    """Return a value of a bytes column, checked because SQLite stores any type."""
    if not isinstance(stored, bytes):
        raise LedgerUnusable(f"{what} of the source is damaged: `sora-ledger verify` has details")
    return stored


def _text(stored: str | bytes) -> str:
    text = stored.decode(errors="surrogateescape") if isinstance(stored, bytes) else stored
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise LedgerUnusable("a private text of the source is damaged: `sora-ledger verify` has details")
    return text


def _with_progress(rows: Iterable[Row], copied_so_far: int, size: int, progress: Progress) -> Iterator[Row]:
    left = iter(rows)
    progress(copied_so_far, size)
    while part := list(islice(left, STEP)):
        yield from part
        copied_so_far += len(part)
        progress(copied_so_far, size)


def _check_copy(expected: Frontier, edge: Frontier, name: str) -> None:
    if (expected.size, expected.root()) != (edge.size, edge.root()):
        raise LedgerUnusable(
            f"ledger {name}: after copying it has {edge.size} records and root {edge.root().hex()}, "
            f"expected {expected.size} and {expected.root().hex()}: run `sora-ledger verify` on both",
            expected=f"{expected.size} and {expected.root().hex()}: run `sora-ledger verify` on both",
        )
