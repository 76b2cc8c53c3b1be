"""One position of the log: its record with the inclusion proof, and the jobs as of that position.

A record is shown with its fields in words, its exact bytes and its digests.

The JSON of this page is the evidence that `static/verify.js` checks in the browser: the bytes, the private
text with its salts, the path to the root, and for each size in ``extends`` the proof that today's log begins
with the log of that size.

The jobs as of a position, or of a time, are the same as in `sora-ledger replay --as-of`: the number in each
state, and the jobs themselves, among those that the person may see.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any
from urllib.parse import urlencode

from msgspec.structs import asdict

from ledger.errors import LedgerUnusable
from ledger.log.ledger import Ledger
from ledger.log.replay import PastJob, PastJobs, position_at
from ledger.log.tiles import origin_of
from ledger.record import Record
from ledger.store.filters import RecordFilter
from ledger.terms import State
from ledger.tree.checkpoint import Checkpoint
from ledger.tree.merkle import Frontier, ProofInvalid, consistency_proof, inclusion_proof
from render_service.runtime.documents import record_document
from render_service.runtime.errors import BadInput
from render_service.server.console.log_reader import Jobs, LogReader, may_see_records
from render_service.server.console.pages import NotHere, Page, View, Visit
from render_service.server.console.security import WITH_WASM
from render_service.server.console.views.log import LAST, Row, moment_in, position_in, row_of
from render_service.server.console.views.waiting import prompt_of

MOST_EXTENDED = 4
EVERYTHING = RecordFilter()


class Body(View):
    """A private text, with the data that shows that the record commits to it."""

    commitment: str
    field: str
    salt: str
    text: str


class Extension(View):
    """The path that proves that the log begins with the one of an older size, in hex."""

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
    """Return the path to the root; if the stored tree has none, nothing and the reason."""
    try:
        return tuple(item.hex() for item in inclusion_proof(ledger.store, index, edge.size, edge)), None
    except ProofInvalid as error:
        return (), f"{error}; verifying all records on the page Operations says what is wrong"


def _extensions(visit: Visit, ledger: Ledger, size: int) -> tuple[Extension, ...]:
    """Prove that the log extends its sizes in the address, as far as proofs exist."""
    extensions = []
    for text in islice(visit.queries("extends"), MOST_EXTENDED):
        old = int(text[:20]) if text.isascii() and text.isdecimal() else -1
        try:
            path = consistency_proof(ledger.store, old, size) if old else []
        except ProofInvalid:  # the browser reports that there is none
            continue
        extensions.append(Extension(old_size=old, path=tuple(item.hex() for item in path)))
    return tuple(extensions)


def _content(record: Record) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """Return the payload with its private text, and the paths of erased texts."""
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


AS_OF_PATH = "/operations/as-of"
JOBS_SHOWN = 50


class JobRow(View):
    """A past job; `state_now` is its current state, and `title` its prompt, None once it is erased."""

    job_id: str
    title: str | None
    state: str
    state_now: str
    requester: str
    changed_at: str
    position: int


class AsOfView(View):
    """The page; `older` is the query of the rest of the list, `recorded_at` the time of the position."""

    position: int
    size: int
    recorded_at: str | None
    states: Mapping[str, int]
    state: str | None
    jobs: tuple[JobRow, ...]
    older: str | None

    @property
    def total(self) -> int:
        """The number of jobs."""
        return sum(self.states.values())


def read_as_of(visit: Visit) -> AsOfView:
    """Read the jobs as of the position or the time in the address; the end of the log without either."""
    ledger = visit.session.ledger
    size = ledger.head().size
    position = _position(visit, ledger, size)
    state, before = _state(visit), position_in(visit, "before")
    then = PastJobs(ledger, position, visit.caller.sees)
    jobs = then.newest(JOBS_SHOWN + 1, state=state, before=before)
    shown = jobs[:JOBS_SHOWN]
    chosen = {"position": position} | ({"state": state.value} if state else {})
    here = ledger.newest(RecordFilter(), before=position + 1, limit=1)
    return AsOfView(
        position=position,
        size=size,
        recorded_at=here[0].recorded_at if here else None,
        states={state.value: then.states[state] for state in State if then.states.get(state)},
        state=state,
        jobs=tuple(_row(visit, row) for row in shown),
        older=urlencode(chosen | {"before": shown[-1].began}) if len(jobs) > JOBS_SHOWN else None,
    )


def _position(visit: Visit, ledger: Ledger, size: int) -> int:
    if (moment := moment_in(visit, "time")) is not None:
        return min(position_at(ledger, moment), size)
    position = position_in(visit, "position")
    if position is None:
        return size
    if position > size:
        raise BadInput(f"position: expected at most {size:,}, the end of the log; found {position:,}")
    return position


def _state(visit: Visit) -> State | None:
    text = visit.query("state")
    if text is None:
        return None
    try:
        return State(text)
    except ValueError:
        raise BadInput(f"state: {text[:40]!r} is not the state of a job") from None


def _row(visit: Visit, then: PastJob) -> JobRow:
    job = then.job
    now = visit.session.ledger.store.job(job.job_id)
    return JobRow(
        job_id=job.job_id,
        title=prompt_of(visit.session, job),
        state=job.state,
        state_now=now.state if now else job.state,
        requester=job.actor,
        changed_at=job.updated_at,
        position=job.position,
    )


def rows(view: AsOfView) -> Sequence[Mapping[str, object]]:
    """Return the jobs of the list."""
    return [job.model_dump() for job in view.jobs]


AS_OF_PAGE = Page(AS_OF_PATH, "Jobs as of a position", "as_of.html", read_as_of, rows=rows, menu=False)
