"""One record: its fields in words, its exact bytes and digests, and the proof that it is in the log.

The JSON of this page is the evidence that `static/verify.js` checks in the browser: the bytes, the private
text with its salts, the path to the root, and for each size in ``extends`` the proof that the log of today
begins with the one of that size.
"""

import base64
import json
from itertools import islice
from typing import Any

from msgspec.structs import asdict

from ledger.errors import LedgerUnusable
from ledger.log.ledger import Ledger
from ledger.log.tiles import origin_of
from ledger.record import Record
from ledger.store.filters import RecordFilter
from ledger.tree.checkpoint import Checkpoint
from ledger.tree.merkle import Frontier, ProofInvalid, consistency_proof, inclusion_proof
from render_service.runtime.documents import record_document
from render_service.server.console.log_reader import Jobs, LogReader, may_see_records
from render_service.server.console.pages import NotHere, Page, View, Visit
from render_service.server.console.security import WITH_WASM
from render_service.server.console.views.log import LAST, Row, row_of

MOST_EXTENDED = 4
EVERYTHING = RecordFilter()


class Body(View):
    """A private text, with what shows that it is the one the record commits to."""

    commitment: str
    field: str
    salt: str
    text: str


class Extension(View):
    """The path that shows that the log begins with the one of an older size, in hex."""

    old_size: int
    path: tuple[str, ...]


class RecordView(View):
    """The page; `record` and `payload` are the exact bytes in base64."""

    position: int
    row: Row
    envelope: dict[str, Any]
    content: dict[str, Any] | None
    content_text: str
    erased: tuple[str, ...]
    record: str
    payload: str
    record_text: str
    payload_text: str
    leaf: str
    bodies: tuple[Body, ...]
    checkpoint: str
    size: int
    root: str
    path: tuple[str, ...]
    extensions: tuple[Extension, ...]
    trouble: str | None
    previous: int | None
    next: int | None


def read(visit: Visit) -> RecordView:
    """Read the record at a position, and prove it; `NotHere` if the person may not see it."""
    ledger = visit.session.ledger
    record = _find(visit)
    edge = ledger.store.head()
    path, trouble = _path(ledger, record.position - 1, edge)
    reader = LogReader(ledger, visit.caller, EVERYTHING)
    earlier = reader.latest(record.position, 1).records
    later = reader.following(record.position, 1).records
    content, erased = _content(record)
    return RecordView(
        position=record.position,
        row=row_of(record),
        envelope=asdict(record.envelope),
        content=content,
        content_text=json.dumps(content, indent=2, ensure_ascii=False),
        erased=erased,
        record=base64.b64encode(record.record).decode(),
        payload=base64.b64encode(record.payload).decode(),
        record_text=record.record.decode(errors="replace"),
        payload_text=record.payload.decode(errors="replace"),
        leaf=record.leaf.hex(),
        bodies=_bodies(record),
        checkpoint=Checkpoint(origin_of(ledger), edge.size, edge.root()).to_text(),
        size=edge.size,
        root=edge.root().hex(),
        path=path,
        extensions=_extensions(visit, ledger, edge.size),
        trouble=trouble,
        previous=earlier[0].position if earlier else None,
        next=later[0].position if later else None,
    )


def _find(visit: Visit) -> Record:
    text, ledger = visit.part("position"), visit.session.ledger
    absent = NotHere(f"there is no record at position {text[:40]!r} that you may see")
    if not text.isascii() or not text.isdecimal() or not 0 < int(text[:20]) <= LAST:
        raise absent
    record = next(ledger.read(after=int(text) - 1, limit=1), None)
    if record is None or record.position != int(text):
        raise absent
    if not may_see_records(visit.caller, Jobs(ledger)(record.stream)):
        raise absent
    return record


def _path(ledger: Ledger, index: int, edge: Frontier) -> tuple[tuple[str, ...], str | None]:
    """Return the path to the root; where the stored tree has none, nothing, and why."""
    try:
        return tuple(item.hex() for item in inclusion_proof(ledger.store, index, edge.size, edge)), None
    except ProofInvalid as error:
        return (), f"{error}; verifying all records on the page Operations says what is wrong"


def _extensions(visit: Visit, ledger: Ledger, size: int) -> tuple[Extension, ...]:
    """Prove that the log extends those of the sizes in the address, as far as there is a proof."""
    extensions = []
    for text in islice(visit.queries("extends"), MOST_EXTENDED):
        old = int(text[:20]) if text.isascii() and text.isdecimal() else -1
        try:
            path = consistency_proof(ledger.store, old, size) if old else []
        except ProofInvalid:  # the browser says that there is none
            continue
        extensions.append(Extension(old_size=old, path=tuple(item.hex() for item in path)))
    return tuple(extensions)


def _content(record: Record) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """Return the payload with its private text, and the paths of what was erased."""
    try:
        content = record_document(record)["payload"]
    except LedgerUnusable:
        return None, ()
    erased = [path for path, part in _commitments(json.loads(record.payload)) if part not in record.bodies]
    return content, tuple(sorted(erased))


def _commitments(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Return path and commitment of each private text of a stored payload."""
    commitments: list[tuple[str, str]] = []
    rest: list[tuple[str, Any]] = list(document.items())
    while rest:
        path, value = rest.pop()
        if isinstance(value, list):
            rest += [(f"{path}.{index}", item) for index, item in enumerate(value)]
        elif isinstance(value, dict) and value.keys() == {"commitment"}:
            commitments.append((path, str(value["commitment"])))
        elif isinstance(value, dict):
            rest += [(f"{path}.{key}", item) for key, item in value.items()]
    return commitments


def _bodies(record: Record) -> tuple[Body, ...]:
    return tuple(
        Body(commitment=body.commitment, field=body.field, salt=body.salt.hex(), text=body.text)
        for body in record.bodies.values()
        if not body.is_secret and body.commitment in record.payload.decode(errors="replace")
    )


PAGES = (
    Page("/log/{position}", "Record", "record.html", read, menu=False),
    Page(
        "/check",
        "Check a file",
        "check.html",
        lambda _: View(),
        menu=False,
        headers={"content-security-policy": WITH_WASM},
    ),
)
