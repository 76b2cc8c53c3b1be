"""`Session`: what every use case works with, and the connection to a server, made when a call is made.

The ledger is synchronous; here it is reached through threads, so that concurrent appends are committed
together and the event loop never waits for a disk.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from decision.rules.catalog import Catalog
from decision.rules.policy import Policy
from ledger.events import Event
from ledger.job import Job, fold
from ledger.log.ledger import Ledger
from ledger.record import Authority, Draft, Provenance, Record, draft
from ledger.store.interface import NEW, AnyVersion, Batch, Document, Fence
from render_service.assets.store import AssetStore
from render_service.rules.measurements import Measuring
from render_service.rules.policies import InForce, Rules
from render_service.runtime.errors import KeyMissing, ProfileRetired
from render_service.runtime.settings import SANDBOX, Settings
from render_service.runtime.telemetry import Log, Trace
from render_service.session.appender import Recorder
from render_service.session.servers import check_server, is_bound
from sora_adapter.profiles import Profile, profile, profiles

if TYPE_CHECKING:
    from sora_adapter.client import VideosClient

KEY_MISSING = """\
OPENAI_API_KEY is not set.
  1. Create a key: for OpenAI at https://platform.openai.com/api-keys, for another server with its operator.
  2. Set it in your own shell, and never paste it into a chat or a prompt:
       export OPENAI_API_KEY=…          (or a line OPENAI_API_KEY=… in .env)
  3. Name the server if it is not OpenAI's: export OPENAI_BASE_URL=https://host/v1
OpenAI switched its own Videos API off on 2026-09-24. To try everything now, without key or network:
       add --profile sandbox"""

CLOCKS_AGREE = timedelta(seconds=1)
"""How much of a difference is none: asking takes time too."""


def utc_now() -> datetime:
    """Return the time; the one place where the service reads the clock."""
    return datetime.now(UTC)


def clock_of(ledger: Ledger) -> Callable[[], datetime]:
    """Return the clock for whoever works on `ledger`: this machine's, put right by that of its database.

    What is left to a later process (a grace period, the age of an attempt) is measured between times that
    several machines recorded, and theirs need not agree.
    """
    ahead = ledger.store.now() - utc_now()
    if abs(ahead) < CLOCKS_AGREE:
        return utc_now
    return lambda: utc_now() + ahead


class Connections:
    """One client per profile, made when it is first needed."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._stack = AsyncExitStack()
        self._clients: dict[str, VideosClient] = {}

    def __contains__(self, name: object) -> bool:
        """Say whether there is a client for the profile of this name."""
        return name in self._clients

    async def get(self, settings: Settings, trace: Trace, profile: Profile) -> "VideosClient":
        """Return the client for `profile`."""
        async with self._lock:
            if profile.name not in self._clients:
                made = connection(settings, trace, profile)
                self._clients[profile.name] = await self._stack.enter_async_context(made)
            return self._clients[profile.name]

    async def close(self) -> None:
        """Close all of them."""
        self._clients.clear()
        await self._stack.aclose()


@dataclass(frozen=True)
class Session:
    """The ledger, the assets, the rules, who is asking, and how to reach servers."""

    settings: Settings
    trace: Trace
    log: Log
    ledger: Ledger
    assets: AssetStore
    in_force: InForce
    """The policy and catalog that decide; shared by the desks made from this one."""
    clock: Callable[[], datetime] = utc_now
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    even_if_retired: bool = False
    authority: Authority = Authority.HUMAN
    fences: dict[str, Fence] = field(default_factory=dict)
    """Of the jobs it holds a lease on; what it says about one of them is refused once the lease is lost."""
    held_until: dict[str, float] = field(default_factory=dict)
    """When those leases end, by `sending.elapsing`; nothing is sent for a job after that."""
    checked: set[tuple[str, str | None, str | None]] = field(default_factory=set, repr=False)
    """Job, attempt and video that are known to belong to the server in use."""
    connections: Connections = field(default_factory=Connections, repr=False)
    """Shared by the desks made from this one with `dataclasses.replace`, so that closing one closes them."""

    @classmethod
    def open(
        cls,
        settings: Settings,
        trace: Trace,
        log: Log,
        *,
        even_if_retired: bool = False,
        authority: Authority = Authority.HUMAN,
    ) -> "Session":
        """Open the ledger for writing, beginning it if there is none; nothing is called.

        What an earlier process could not record still waits in the spool: `render_service.api.sessions`
        records that first.
        """
        AssetStore.of(settings)  # wrong: begin no ledger
        ledger = Ledger.open_or_create(settings.ledger_url, settings.provenance(trace), utc_now())
        in_force = InForce(ledger)
        return cls(
            settings=settings,
            trace=trace,
            log=log,
            ledger=ledger,
            assets=AssetStore.of(settings, ledger),
            in_force=in_force,
            clock=clock_of(ledger),
            even_if_retired=even_if_retired,
            authority=authority,
        )

    @property
    def policy(self) -> Policy:
        """The policy in force, as it was last read."""
        return self.in_force.rules.policy

    @property
    def catalog(self) -> Catalog:
        """The catalog in force, as it was last read."""
        return self.in_force.rules.catalog

    @property
    def provenance(self) -> Provenance:
        """Who records, in which trace."""
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
    ) -> list[Record]:
        """Record `drafts` in one stream; durable on return. `StaleFence` where its lease was lost.

        With `under` it is a decision or an answer made by these rules: they are kept with it, and
        `WrongExpectedVersion` says that others are in force.
        """
        batches = [Batch(stream, expected_version, drafts), *([under.unchanged] if under else [])]
        documents = under.documents if under else []
        if fence := self.fences.get(stream):
            return await self.append_together(batches, documents=documents, fence=fence)
        return self._logged(await self._recorder.append(batches, documents))

    async def append_together(
        self,
        batches: Sequence[Batch],
        *,
        documents: Sequence[Document] = (),
        fence: Fence | None = None,
    ) -> list[Record]:
        """Record in several streams at once, all or nothing; durable on return."""
        append = self.ledger.append
        return self._logged(await asyncio.to_thread(append, batches, documents=documents, fence=fence))

    def _logged(self, records: list[Record]) -> list[Record]:
        for record in records:
            self.log.info(record.type, job_id=record.stream, position=record.position, version=record.version)
        return records

    @cached_property
    def measuring(self) -> Measuring:
        """What this ledger has measured of its servers."""
        return Measuring(self.ledger)

    @cached_property
    def _recorder(self) -> Recorder:
        return Recorder(self.ledger)

    async def advance(self, job: Job, drafts: Sequence[Draft], *, under: Rules | None = None) -> Job:
        """Record `drafts` in the stream of `job` and return the job after them, without reading it again.

        `under` is passed to `append`.
        """
        return after(job, await self.append(job.job_id, job.version, drafts, under=under))

    async def job(self, name: str) -> Job:
        """Return a job by id, video id or prefix."""
        return await asyncio.to_thread(self.ledger.job, name)

    async def close(self) -> None:
        """Let go of servers and ledger."""
        await self.connections.close()
        await asyncio.to_thread(self.ledger.close)

    # --- servers ---

    def profile(self, name: str | None = None) -> Profile:
        """Return the profile `name`, or the one for new requests; refuse one whose server is gone."""
        return usable_profile(self.settings, name, even_if_retired=self.even_if_retired)

    async def check_server(self, job: Job) -> None:
        """Refuse a `job` of another server than the one in use; `WrongServer` says what to set."""
        bound = (job.job_id, job.attempt_id, job.video_id)
        if is_bound(job) and bound not in self.checked:
            await asyncio.to_thread(check_server, self.settings, self.ledger, job)
            self.checked.add(bound)

    @asynccontextmanager
    async def connect_to(self, job: Job) -> AsyncIterator["VideosClient"]:
        """Connect to the server `job` belongs to; `WrongServer` before anything is sent to another."""
        await self.check_server(job)
        async with self.connect(self.profile(job.profile)) as client:
            yield client

    @asynccontextmanager
    async def connect(self, profile: Profile) -> AsyncIterator["VideosClient"]:
        """Connect to the server of `profile`; one connection serves the session until it is closed."""
        if profile.name not in self.connections:  # before anything is paid for that could not be kept
            await asyncio.to_thread(self.assets.check_owner)
        yield await self.connections.get(self.settings, self.trace, profile)


def after(job: Job | None, records: Iterable[Record]) -> Job:
    """Return `job` after `records`, which are next in its stream: the fold of which its row is made."""
    folded = None if job is None or job.version == NEW else job
    for record in records:
        folded = fold(folded, record)
    if folded is None:
        raise ValueError("a job begins with a record; there was none")
    return folded


@asynccontextmanager
async def connection(settings: Settings, trace: Trace, profile: Profile) -> AsyncIterator["VideosClient"]:
    """Connect to the server of `profile`; the embedded sandbox runs for as long as the connection."""
    async with AsyncExitStack() as stack:
        base_url, key = settings.base_url, settings.api_key
        _check_key_goes_to(settings, profile)
        if profile.name == SANDBOX:
            base_url, key = await stack.enter_async_context(embedded_sandbox(settings)), None
        from sora_adapter.client import VideosClient  # noqa: PLC0415  # openai takes half a second

        client = VideosClient(profile, base_url, key, traceparent=lambda: trace.traceparent)
        yield await stack.enter_async_context(client)


def usable_profile(settings: Settings, name: str | None, *, even_if_retired: bool) -> Profile:
    """Return the profile `name` (None: the one for new requests); say what to do where it cannot be used."""
    chosen = profile(name or settings.chosen_profile(), settings.profiles_file)
    retired = chosen.is_retired_at(settings.base_url) and not even_if_retired
    needs_key = chosen.needs_key and not settings.api_key
    if needs_key and not (
        retired and chosen.base_url is None
    ):  # what is said of the key tells of OpenAI's end
        raise KeyMissing(KEY_MISSING)
    _check_key_goes_to(settings, chosen)
    if retired:
        raise ProfileRetired(
            f"profile {chosen.name}: {chosen.retired_because} (--even-if-retired tries all the same)"
        )
    return chosen


def _check_key_goes_to(settings: Settings, profile: Profile) -> None:
    if profile.name != SANDBOX:
        settings.check_key_goes_to(own_profile=profile.name not in profiles())


@asynccontextmanager
async def embedded_sandbox(settings: Settings) -> AsyncIterator[str]:
    """Run the sandbox inside this process, its state kept beside the ledger; yield its base URL."""
    from sora_adapter.sandbox.server import SandboxServer  # noqa: PLC0415  # a web server: only where it runs
    from sora_adapter.sandbox.settings import SandboxSettings  # noqa: PLC0415

    sandbox = SandboxSettings(data_dir=settings.sandbox_folder, render_seconds=settings.sandbox_seconds)
    server = SandboxServer(sandbox)
    await asyncio.to_thread(server.__enter__)
    try:
        yield server.base_url
    finally:
        await asyncio.to_thread(server.__exit__, None, None, None)
