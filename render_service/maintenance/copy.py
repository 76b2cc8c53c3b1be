"""Moving a ledger to another store: the same rows, the same bodies and documents, the same root.

The source is read at one moment, so what is copied is a whole ledger however fast the source grows. Rows go
in order, a thousand to a transaction: what a copy leaves behind that was stopped at any line, by Ctrl-C or
``kill -9``, is the beginning of the ledger, and the next one goes on from its end. Documents go first, so no
row names one that is not there. Job rows, holds and tiles follow from the rows; leases and due times, which
are no part of the record, stay behind, and so do stored files.
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
"""How many rows go between two reports of progress."""

Progress = Callable[[int, int], object]
"""Is told how many records are there, and how many there will be."""

Row = tuple[StoredRow, Sequence[PrivateBody]]


@dataclass(frozen=True)
class Copy:
    """What a copy came to: `copied` records were new there, `grown` came to the source meanwhile."""

    source: str
    target: str
    size: int
    root: str
    copied: int
    documents: int
    grown: int

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


def copy_ledger(source_url: str, target_url: str, progress: Progress) -> Copy:
    """Copy the ledger at `source_url` to `target_url`, or go on; `LedgerUnusable` if that holds another."""
    _refuse_itself(source_url, target_url)
    with closing(open_store(source_url, read_only=True)) as source, open_snapshot(source_url) as snapshot:
        source.head()  # says what is wrong with one that cannot be read
        tree = Frontier.from_bytes(*snapshot.head())
        if tree.size == 0:
            raise LedgerUnusable(f"ledger {label_of(source_url)}: it has no records; nothing was copied")
        with closing(open_store(target_url, read_only=False)) as target:
            begun = _common(source, tree.size, target, (label_of(source_url), label_of(target_url)))
            documents = _documents(snapshot, target)
            rows = _reporting(_rows(snapshot, begun), begun, tree.size, progress)
            # A crash here leaves the beginning of the source, a ledger of its own: the same command goes on.
            copied = target.import_rows(rows)
            _compare(tree, target.head(), label_of(target_url))
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


def _refuse_itself(source_url: str, target_url: str) -> None:
    source, target = file_of(source_url), file_of(target_url)
    same_file = source and target and source.resolve() == target.resolve()
    if same_file or source_url == target_url:
        raise BadInput(f"ledger {label_of(target_url)}: it is source and target: name another target")


def _common(source: EventStore, size: int, target: EventStore, names: tuple[str, str]) -> int:
    """Return how many records are there already; they have to be the beginning of the source."""
    there = target.head().size
    common = min(size, there)
    if root_at(source, common) != root_at(target, common):
        raise LedgerUnusable(
            f"ledger {names[1]}: it holds {there} records of another ledger than {names[0]}, "
            "so nothing was copied: name an empty database or a new file"
        )
    if there > size:
        raise LedgerUnusable(
            f"ledger {names[1]}: it is {there - size} records ahead of {names[0]}, so nothing was copied: "
            "copy in the other direction, or name an empty database or a new file"
        )
    return there


def _documents(snapshot: "Snapshot", target: EventStore) -> int:
    """Copy the documents that are missing; return how many those were."""
    missing = [
        Document(_bytes(body, f"document {sha256}"))
        for sha256, body in snapshot.documents()
        if target.document(sha256) is None
    ]
    if missing:
        target.append([], documents=missing)
    return len(missing)


def _rows(snapshot: "Snapshot", after: int) -> Iterator[Row]:
    """Yield the rows after position `after`, each with the bodies that are still there."""
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
    """Return what a column of bytes holds; SQLite lets it hold anything."""
    if not isinstance(stored, bytes):
        raise LedgerUnusable(f"{what} of the source is damaged: `sora-ledger verify` says how")
    return stored


def _text(stored: str | bytes) -> str:
    text = stored.decode(errors="surrogateescape") if isinstance(stored, bytes) else stored
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise LedgerUnusable("a private text of the source is damaged: `sora-ledger verify` says which")
    return text


def _reporting(rows: Iterable[Row], begun: int, size: int, progress: Progress) -> Iterator[Row]:
    left = iter(rows)
    progress(begun, size)
    while part := list(islice(left, STEP)):
        yield from part
        begun += len(part)
        progress(begun, size)


def _compare(expected: Frontier, found: Frontier, name: str) -> None:
    if (expected.size, expected.root()) != (found.size, found.root()):
        raise LedgerUnusable(
            f"ledger {name}: after copying it has {found.size} records and root {found.root().hex()}, "
            f"expected {expected.size} and {expected.root().hex()}: run `sora-ledger verify` on both"
        )
