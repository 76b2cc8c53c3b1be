"""`Session`: the shared context of all use cases.

The ledger is synchronous and is called in threads, so that concurrent appends are committed together and the
event loop never waits for a disk.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from decision.rules.catalog import Catalog
from decision.rules.policy import Policy
from ledger.errors import LedgerError
from ledger.events import Event
from ledger.job import JOB_PREFIX, Job
from ledger.log.ledger import Ledger
from ledger.record import Authority, Draft, Provenance, Record, draft
from ledger.store.filters import RecordFilter
from ledger.store.interface import AnyVersion, AppendCall, Batch, Document, Fence
from render_service.assets.store import AssetStore
from render_service.rules.measurements import Measuring
from render_service.rules.policies import InForce, Rules
from render_service.runtime.coalesce import Coalescer
from render_service.runtime.settings import Settings
from render_service.runtime.spans import INTERNAL, Kind, Span, SpanStart, Telemetry, Work
from render_service.runtime.telemetry import Log, Trace
from render_service.session.connections import Connections, find_usable_profile
from render_service.session.jobs import fold_records
from render_service.session.servers import check_server, is_bound
from sora_adapter.profiles import Profile

if TYPE_CHECKING:
    from sora_adapter.client import VideosClient

T = TypeVar("T")
_MOST_CHECKED = 20_000
CLOCKS_AGREE = timedelta(seconds=1)
"""Clock skew below this is ignored, because the query itself takes time."""


def utc_now() -> datetime:
    """Return the time; the only place where the service reads the clock."""
    return datetime.now(UTC)


def clock_of(ledger: Ledger) -> Callable[[], datetime]:
    """Return the clock for `ledger`: this machine's, corrected by that of its database.

    Grace periods and the age of attempts are measured between times that several machines recorded, whose
    clocks may differ.
    """
    ahead = ledger.store.now() - utc_now()
    if abs(ahead) < CLOCKS_AGREE:
        return utc_now
    return lambda: utc_now() + ahead


class Append(NamedTuple):
    """One task's append, after `check`, which raises to prevent it."""

    call: AppendCall
    check: Callable[[], None] | None = None

    def raise_if_refused(self) -> None:
        """Raise what `check` raises."""
        if self.check is not None:
            self.check()


def append_each(ledger: Ledger, group: Sequence[Append]) -> list[list[Record] | Exception]:
    """Make the appends of many tasks; return the records of each, or why its append failed.

    This lets a hundred tasks share one thread and one transaction. They are decided in order, and a refusal
    does not affect the others. Any other error (a full disk, a lost database) is returned for every task.
    """
    if len(group) == 1:
        ((batches, fence, documents), _) = group[0]
        try:
            group[0].raise_if_refused()
            return [ledger.append(batches, fence=fence, documents=documents)]
        except Exception as error:  # noqa: BLE001  # raised in the task that waits for it
            return [error]
    errors: dict[int, Exception] = {}
    for number, append in enumerate(group):
        try:
            append.raise_if_refused()
        except Exception as error:  # noqa: BLE001  # raised in the task that waits for it
            errors[number] = error
    outcomes = iter(
        ledger.append_each([append.call for number, append in enumerate(group) if number not in errors])
    )
    return [errors[number] if number in errors else next(outcomes) for number in range(len(group))]


def appends_to(ledger: Ledger) -> Coalescer[Append, list[Record]]:
    """Return a batcher for the appends of many tasks to `ledger`."""
    return Coalescer(lambda group: asyncio.to_thread(append_each, ledger, group))


@dataclass(frozen=True)
class Session:
    """The ledger, the assets, the rules, the actor, and the connections to servers.

    A session derived with `dataclasses.replace` acts as another caller and shares everything else: ledger,
    rules, appends, measurements and connections. Closing one closes them all.
    """

    settings: Settings
    trace: Trace
    log: Log
    ledger: Ledger
    assets: AssetStore
    in_force: InForce
    """The policy and catalog in force."""
    appends: Coalescer[Append, list[Record]]
    """The appends of its event loop, batched by `render_service.runtime.coalesce`."""
    measuring: Measuring
    """The measurements of servers in this ledger."""
    connections: Connections = field(repr=False)
    """The connections to servers."""
    clock: Callable[[], datetime] = utc_now
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    even_if_retired: bool = False
    authority: Authority = Authority.HUMAN
    fences: dict[str, Fence] = field(default_factory=dict)
    """Fences of the leased jobs; records about a job are refused once its lease is lost."""
    held_until: dict[str, float] = field(default_factory=dict)
    """When the leases expire, by `submission.retry.elapsing`; nothing is sent for a job after that."""
    checked: set[tuple[str, str | None, str | None]] = field(default_factory=set, repr=False)
    """Job, attempt and video known to belong to the server in use."""
    telemetry: Telemetry = field(default_factory=Telemetry, repr=False)
    """The listener for the work of this session and those derived from it."""

    @property
    def policy(self) -> Policy:
        """The policy in force, as last read."""
        return self.in_force.rules.policy

    @property
    def catalog(self) -> Catalog:
        """The catalog in force, as last read."""
        return self.in_force.rules.catalog

    @cached_property
    def provenance(self) -> Provenance:
        """The actor and trace to record."""
        return replace(self.settings.provenance(self.trace), authority=self.authority)

    def draft(self, event: Event, *, event_id: str | None = None, causation_id: str | None = None) -> Draft:
        """Prepare an event for recording, now."""
        return draft(event, self.provenance, self.clock(), event_id=event_id, causation_id=causation_id)

    async def append(
        self,
        stream: str,
        expected_version: int | AnyVersion,
        drafts: Sequence[Draft],
        *,
        under: Rules | None = None,
        also: Sequence[Batch] = (),
        check: Callable[[], None] | None = None,
    ) -> list[Record]:
        """Record `drafts` in one stream; durable on return. `StaleFence` if its lease was lost.

        `also` are conditions and records of other streams in the same transaction, returned after `drafts`.
        `check` may read the ledger, in the appending thread; its exceptions are raised here, and nothing is
        recorded.

        `under` marks a decision or an answer made under these rules: the rules are stored with it, and
        `WrongExpectedVersion` means that other rules are in force.
        """
        batches = [Batch(stream, expected_version, drafts), *also, *([under.unchanged] if under else [])]
        documents = under.documents if under else []
        call = AppendCall(batches, self.fences.get(stream), documents)
        with self.span("append") as span:
            records = await self.appends.do(Append(call, check))
            name = "job_id" if stream.startswith(JOB_PREFIX) else "stream"
            span.note({f"sora_ledger.{name}": stream, "sora_ledger.records": len(records)})
        return self._log(records)

    async def append_together(
        self, batches: Sequence[Batch], *, documents: Sequence[Document] = ()
    ) -> list[Record]:
        """Record in several streams together, all or nothing; durable on return."""
        with self.span("append") as span:
            records = await asyncio.to_thread(self.ledger.append, batches, documents=documents)
            span.note({"sora_ledger.records": len(records)})
        return self._log(records)

    def _log(self, records: list[Record]) -> list[Record]:
        for record in records:
            self.log.info(record.type, job_id=record.stream, position=record.position, version=record.version)
        return records

    async def advance(
        self,
        job: Job,
        drafts: Sequence[Draft],
        *,
        under: Rules | None = None,
        also: Sequence[Batch] = (),
        check: Callable[[], None] | None = None,
    ) -> Job:
        """Record `drafts` in the stream of `job` and return the job after them, without reading it again.

        `under`, `also` and `check` are passed to `append`.
        """
        records = await self.append(job.job_id, job.version, drafts, under=under, also=also, check=check)
        return fold_records(job, records[: len(drafts)])

    async def job(self, name: str) -> Job:
        """Return the job called `name`; ``@last`` is the acting person's last job."""
        return await asyncio.to_thread(self.ledger.job, name, self.settings.actor)

    async def finish_uninterrupted(self, work: Coroutine[Any, Any, T]) -> T:
        """Finish `work` even after Ctrl-C: an answer in progress is recorded first."""
        task = asyncio.ensure_future(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self.log.warning("submission.finishing", hint="press Ctrl-C again to leave the outcome unknown")
            await task
            raise

    async def close(self) -> None:
        """Close servers and ledger; before the ledger, since the last metrics are read from it, telemetry."""
        await self.connections.close()
        await asyncio.to_thread(self.telemetry.stop)
        await asyncio.to_thread(self.ledger.close)

    # --- telemetry ---

    def span(self, work: Work, how: SpanStart = INTERNAL) -> Span:
        """Return a span of this session's trace, for a ``with`` (`render_service.runtime.spans`)."""
        return self.telemetry.span(work, self.trace, how)

    async def span_of(self, work: Work, job: Job, kind: Kind = "internal") -> Span:
        """Return a span for work on `job`, linked to its request if that was made in another trace."""
        if self.telemetry.exporter is None:
            return self.telemetry.span(work, self.trace)
        linked = await self._origin(job) if job.trace_id not in {"", self.trace.trace_id} else None
        return self.span(work, SpanStart(kind, [linked] if linked else []))

    async def _origin(self, job: Job) -> Trace | None:
        """Return the span in which `job` was requested; the job's row has only its trace."""
        known = self.telemetry.origins
        if job.job_id not in known:
            where = RecordFilter(stream=job.job_id)
            try:
                first = await asyncio.to_thread(lambda: next(self.ledger.read(where, limit=1), None))
            except LedgerError:  # the work itself sets its links
                return None
            if first is None:
                return None
            if len(known) >= _MOST_CHECKED:
                known.clear()
            known[job.job_id] = Trace(first.envelope.trace_id, first.envelope.span_id)
        return known[job.job_id]

    # --- servers ---

    def profile(self, name: str | None = None) -> Profile:
        """Return the profile `name`, or the one for new requests; refuse one whose server was shut down."""
        return find_usable_profile(self.settings, name, even_if_retired=self.even_if_retired)

    async def check_server(self, job: Job) -> None:
        """Refuse a `job` of another server than the one in use; `WrongServer` says what to set."""
        if is_bound(job) and (job.job_id, job.attempt_id, job.video_id) not in self.checked:
            await asyncio.to_thread(check_server, self.settings, self.ledger, job)
            self.note_server(job)

    def note_server(self, job: Job) -> None:
        """Note that `job`, in its current state, is known to belong to the server in use."""
        if not is_bound(job):
            return
        if len(self.checked) >= _MOST_CHECKED:
            self.checked.clear()
        self.checked.add((job.job_id, job.attempt_id, job.video_id))

    @asynccontextmanager
    async def connect_to(self, job: Job) -> AsyncIterator["VideosClient"]:
        """Connect to the server `job` belongs to; `WrongServer` before anything is sent to another."""
        await self.check_server(job)
        async with self.connect(self.profile(job.profile)) as client:
            yield client

    @asynccontextmanager
    async def connect(self, profile: Profile) -> AsyncIterator["VideosClient"]:
        """Connect to the server of `profile`; the connection stays open until the session is closed."""
        if profile.name not in self.connections:  # before paying for a result that could not be stored
            await asyncio.to_thread(self.assets.check_owner)
            await asyncio.to_thread(lambda: self.ledger.ledger_id)  # cached for when the ledger is away
        yield await self.connections.get(self.settings, self.trace, profile, self.telemetry)
