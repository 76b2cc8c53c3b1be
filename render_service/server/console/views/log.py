"""Log: the records that the person may see, the newest first, filtered as `sora-ledger log` filters them.

With scripts enabled, new records arrive automatically; otherwise a link leads to them. `views.record` shows
one record.

`Live` sends new records as server-sent events. One thread follows the log for all browsers of this process,
as `sora-ledger log --follow` does; it runs while a page is open. Each record is rendered once. A browser has
a queue of the records that match its filter and that its person may see; every `FLUSH_S` the queue is sent as
one event, whose id is the last position in it. A browser that is too slow is dropped, so that memory stays
flat: it reconnects automatically, reports its last position in `Last-Event-ID`, and gets the missed records
from the log.
"""

import asyncio
import threading
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import urlencode

from starlette.responses import Response, StreamingResponse

from decision.rules.roles import Permission
from ledger.errors import LedgerUnusable
from ledger.events import EVENT_TYPES
from ledger.job import JOB_PREFIX, Job
from ledger.record import Record, timestamp
from ledger.store.filters import RecordFilter
from render_service.access.callers import Caller
from render_service.reports.record_words import what
from render_service.runtime.errors import BadInput
from render_service.server.console.log_reader import Jobs, LogReader, may_see_records
from render_service.server.console.pages import PREFIX, Endpoint, NotHere, Page, View, Visit
from render_service.server.console.rendering import Templates
from render_service.session.session import Session
from sora_adapter.errors import loggable

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
    """The page; `older`, `newer` and `live` are addresses, None if there is no such page."""

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
    """Return a record as a row; an unknown one is shown without its summary."""
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


FLUSH_S = 0.25
WAKE_S = 1.0
"""Maximum delay until a stream ends when the server stops, and until the thread ends without readers."""

HEARTBEAT_S = 15.0
SIGNED_IN_S = 30.0
"""How often a stream checks that its person is still signed in."""

MOST_WAITING = 1_000
"""Records that may wait for one browser."""

MOST_MISSED = 200
"""Maximum records that a reconnecting browser gets: the newest."""

_BATCH = 100
_JOBS = 5_000


class Entry(NamedTuple):
    """A record as sent to browsers, and the properties that decide who gets it."""

    record: Record
    job: Job | None
    html: str


@dataclass(eq=False)
class Browser:
    """One open page: its filter, its person, and its queue."""

    caller: Caller
    where: RecordFilter
    waiting: deque[Entry] = field(default_factory=deque)
    has_some: asyncio.Event = field(default_factory=asyncio.Event)
    is_dropped: bool = False

    def offer(self, entries: Sequence[Entry]) -> None:
        """Queue the entries that match and are visible; too many drop the browser."""
        for entry in entries:
            if matches(self.where, entry.record) and may_see_records(self.caller, entry.job):
                self.waiting.append(entry)
        if len(self.waiting) > MOST_WAITING:
            self.drop()
        if self.waiting:
            self.has_some.set()

    def drop(self) -> None:
        """Clear the queue; the stream ends."""
        self.is_dropped = True
        self.waiting.clear()
        self.has_some.set()

    def take(self) -> list[Entry]:
        """Return the queued entries."""
        entries = list(self.waiting)
        self.waiting.clear()
        self.has_some.clear()
        return entries


class _NobodyReads(Exception):
    """The last page was closed."""


class Follower:
    """The thread that follows the log, for as long as there are browsers."""

    def __init__(self, session: Session, templates: Templates, position: int) -> None:
        self.browsers: set[Browser] = set()
        self.position = position
        self.has_ended = False
        self._session, self._templates = session, templates
        self._jobs: OrderedDict[str, Job | None] = OrderedDict()
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._follow, name="console-live", daemon=True).start()

    def _follow(self) -> None:
        ledger, batch = self._session.ledger, list[Entry]()

        def flush() -> None:
            if batch:
                asyncio.run_coroutine_threadsafe(self._publish(batch), self._loop).result()
                batch.clear()

        def wait(_: float) -> None:
            if self.has_ended:
                raise _NobodyReads
            flush()
            ledger.store.wait_for_append(WAKE_S)

        try:
            for record in ledger.follow(after=self.position, wait=wait):
                batch.append(self._entry(record))
                if len(batch) == _BATCH:
                    flush()
        except _NobodyReads:
            return
        except Exception as error:  # noqa: BLE001  # browsers come back, and a new thread begins
            if self.has_ended:  # the server stops, and has closed the ledger
                return
            self._session.log.warning("console.live_failed", **loggable(error))
        with suppress(RuntimeError):  # the server has stopped
            self._loop.call_soon_threadsafe(self._end)

    async def _publish(self, entries: Sequence[Entry]) -> None:
        self.position = entries[-1].record.position
        for browser in list(self.browsers):
            browser.offer(entries)

    def _end(self) -> None:
        self.has_ended = True
        for browser in self.browsers:
            browser.drop()

    def leave(self, browser: Browser) -> None:
        """Forget a browser; without any, the thread ends."""
        self.browsers.discard(browser)
        self.has_ended = self.has_ended or not self.browsers

    def _entry(self, record: Record) -> Entry:
        return Entry(
            record, self._job(record.stream), self._templates.render(ROWS_TEMPLATE, records=[row_of(record)])
        )

    def _job(self, stream: str) -> Job | None:
        """Return the job of a stream: its actor and team, which never change, determine its visibility."""
        if not stream.startswith(JOB_PREFIX):
            return None
        if stream not in self._jobs:
            self._jobs[stream] = self._session.ledger.store.job(stream)
            if len(self._jobs) > _JOBS:
                self._jobs.popitem(last=False)
        return self._jobs[stream]


ROWS_TEMPLATE = "log_rows.html"


class Live:
    """Answers ``/log/live`` for all browsers of this process."""

    def __init__(self, session: Session, templates: Templates, stopping: asyncio.Event) -> None:
        self._session, self._templates, self._stopping = session, templates, stopping
        self._follower: Follower | None = None
        self._starting = asyncio.Lock()

    def endpoints(self) -> tuple[Endpoint, ...]:
        """Return what answers."""
        return (Endpoint("/log/live", Permission.READ, self.answer),)

    async def answer(self, visit: Visit) -> Response:
        """Send the records that match the filter in the address, from now on or from where it left off."""
        where = await asyncio.to_thread(filter_of, visit)
        browser = Browser(visit.caller, where)
        follower = await self._join(browser)
        since = _position_of(visit, follower.position)
        try:
            missed = await asyncio.to_thread(self._missed, browser, since, follower.position)
        except BaseException:
            follower.leave(browser)
            raise
        return StreamingResponse(
            self._stream(visit, follower, browser, missed),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )

    async def _join(self, browser: Browser) -> Follower:
        async with self._starting:
            if self._follower is None or self._follower.has_ended:
                size = (await asyncio.to_thread(self._session.ledger.head)).size
                self._follower = Follower(self._session, self._templates, size)
            self._follower.browsers.add(browser)
            return self._follower

    def _missed(self, browser: Browser, since: int, until: int) -> str:
        """Return the records between two positions as an event."""
        if since >= until:
            return ": connected\n\n"
        ledger = self._session.ledger
        reader = LogReader(ledger, browser.caller, browser.where)
        part = reader.latest(until + 1, MOST_MISSED, after=since)
        rows = self._templates.render(ROWS_TEMPLATE, records=[row_of(record) for record in part.records])
        more = self._templates.render("log_more.html") if part.has_older and part.first > since + 1 else ""
        return _event(until, rows + more) if rows or more else f"id: {until}\ndata:\n\n"

    async def _stream(
        self, visit: Visit, follower: Follower, browser: Browser, missed: str
    ) -> AsyncIterator[str]:
        loop = asyncio.get_running_loop()
        beat = checked = loop.time()
        try:
            yield missed
            while not self._stopping.is_set():
                try:
                    await asyncio.wait_for(browser.has_some.wait(), WAKE_S)
                except TimeoutError:
                    if loop.time() - beat > HEARTBEAT_S:
                        beat = loop.time()
                        yield ": still here\n\n"
                if browser.is_dropped:
                    return
                if loop.time() - checked > SIGNED_IN_S:
                    checked = loop.time()
                    if not await visit.still_signed_in():
                        return
                if entries := browser.take():
                    newest_first = "".join(entry.html for entry in reversed(entries))
                    yield _event(entries[-1].record.position, newest_first)
                    await asyncio.sleep(FLUSH_S)
        finally:
            follower.leave(browser)


def matches(where: RecordFilter, record: Record) -> bool:
    """Return whether a record matches a filter, with the same result as in the store."""
    return (
        where.stream in (None, record.stream)
        and where.type in (None, record.type)
        and where.actor in (None, record.actor)
        and where.trace_id in (None, record.trace_id)
        and (where.since is None or record.recorded_at >= where.since)
        and (where.until is None or record.recorded_at < where.until)
    )


def _position_of(visit: Visit, now: int) -> int:
    """Return the position from which a browser continues."""
    text = visit.request.headers.get("last-event-id") or visit.query("after") or ""
    return min(int(text[:16]), now) if text.isascii() and text.isdecimal() else now


def _event(position: int, html: str) -> str:
    lines = "".join(f"data: {line}\n" for line in html.splitlines())
    return f"event: records\nid: {position}\n{lines}\n"
