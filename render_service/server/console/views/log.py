"""Log: the records that the person may see, the newest first, filtered as `sora-ledger log` filters them.

New records arrive by themselves where a script runs (`views.live`); without one,
a link leads to them. `views.record` shows one record.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from ledger.errors import LedgerUnusable
from ledger.events import EVENT_TYPES
from ledger.job import JOB_PREFIX
from ledger.record import Record, timestamp
from ledger.store.filters import RecordFilter
from render_service.reports.record_words import what
from render_service.runtime.errors import BadInput
from render_service.server.console.log_reader import Jobs, LogReader, may_see_records
from render_service.server.console.pages import PREFIX, NotHere, Page, View, Visit

ROWS = 100
PATH = "/log"
FILTERS = ("job", "stream", "type", "actor", "trace", "since", "until")
LAST = 2**53 - 1


IDENTIFIED = {
    "flag": "typed name",
    "environment": "typed name",
    "operating_system": "login of a machine",
    "access_key": "access key",
    "oidc": "signed in",
    "signature": "signature",
}
"""How an actor was identified, in words."""


class Row(View):
    """A record, as a row of the table."""

    position: int
    recorded_at: str
    type: str
    words: str
    stream: str
    job_id: str | None
    actor: str
    actor_source: str
    identified: str
    authority: str
    trace_id: str


class LogView(View):
    """The page; `older`, `newer` and `live` are addresses, None if there is nothing to lead to."""

    records: tuple[Row, ...]
    first_looked: int
    last_looked: int
    size: int
    filters: dict[str, str]
    types: tuple[str, ...]
    sees_all: bool
    older: str | None
    newer: str | None
    live: str | None


def read(visit: Visit) -> LogView:
    """Read a page of the log: the newest records, or those before or after a position."""
    ledger = visit.session.ledger
    filters = {name: text for name in FILTERS if (text := visit.query(name)) is not None}
    reader = LogReader(ledger, visit.caller, filter_of(visit))
    before, after = position_in(visit, "before"), position_in(visit, "after")
    part = reader.latest(before, ROWS) if after is None else reader.following(after, ROWS)
    newest = part.records[0].position if part.records else part.last
    return LogView(
        records=tuple(map(row_of, part.records)),
        first_looked=part.first,
        last_looked=part.last,
        size=ledger.head().size,
        filters=filters,
        types=tuple(sorted(EVENT_TYPES)),
        sees_all=visit.caller.sees_ledger,
        older=address(filters, before=part.first) if part.has_older else None,
        newer=address(filters, after=part.last if part.has_newer else newest) if before or after else None,
        live=None if part.has_newer else address(filters, after=part.last, path="/log/live"),
    )


def filter_of(visit: Visit) -> RecordFilter:
    """Return the filter in the address; `NotHere` if it is about a job that the person may not see."""
    ledger, stream, type_ = visit.session.ledger, visit.query("stream"), visit.query("type")
    for setting in FILTERS:
        if "\0" in (visit.query(setting) or ""):  # not every database can compare it
            raise BadInput(f"{setting}: expected text without the character U+0000")
    if name := visit.query("job"):
        job = ledger.job(name)
        if not visit.may_see(job):
            raise NotHere(f"there is no job {name!r} that you may see")
        stream = job.job_id
    if stream is not None and not may_see_records(visit.caller, Jobs(ledger)(stream)):
        raise NotHere(f"there is no stream {stream!r} that you may see")
    if type_ is not None and type_ not in EVENT_TYPES:
        raise BadInput(f"type: {type_!r} is not the name of an event: choose one of the list")
    return RecordFilter(
        stream=stream,
        type=type_,
        actor=visit.query("actor"),
        trace_id=visit.query("trace"),
        since=moment_in(visit, "since"),
        until=moment_in(visit, "until"),
    )


def row_of(record: Record) -> Row:
    """Return a record as a row; one that this version does not know is shown without its words."""
    try:
        words = what(record.event)
    except LedgerUnusable:
        words = "not readable by this version"
    envelope, stream = record.envelope, record.stream
    return Row(
        position=record.position,
        recorded_at=record.recorded_at,
        type=record.type,
        words=words,
        stream=stream,
        job_id=stream if stream.startswith(JOB_PREFIX) else None,
        actor=record.actor,
        actor_source=envelope.actor_source,
        identified=IDENTIFIED.get(envelope.actor_source, ""),
        authority=envelope.authority,
        trace_id=record.trace_id,
    )


def address(filters: Mapping[str, str], path: str = PATH, **positions: int) -> str:
    """Return the address of a page of the log."""
    query = urlencode({**filters, **positions})
    return f"{PREFIX}{path}" + (f"?{query}" if query else "")


def rows(view: LogView) -> Sequence[Mapping[str, object]]:
    """Return the table."""
    return [row.model_dump() for row in view.records]


def position_in(visit: Visit, name: str) -> int | None:
    """Read a position of the address; None if there is none."""
    text = visit.query(name)
    if text is None:
        return None
    if not text.isascii() or not text.isdecimal() or not int(text[:20]) <= LAST:
        raise BadInput(f"{name}: expected a position such as 120, found {text[:40]!r}")
    return int(text)


def moment_in(visit: Visit, name: str) -> str | None:
    """Read a time of the address; without a zone it is UTC, as all times of the console."""
    text: Any = visit.query(name)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return timestamp(moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment)
    except (ValueError, OverflowError):
        raise BadInput(
            f"{name}: expected a time such as 2026-11-20 or 2026-11-20T14:00, found {text[:40]!r}"
        ) from None


PAGES = (Page(PATH, "Log", "log.html", read, rows=rows),)
