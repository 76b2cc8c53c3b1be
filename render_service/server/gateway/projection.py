"""Look up jobs and show them as video objects: the only reads of a polling client.

A video's public id is ``video_`` and the 32 hex digits of its job id, so it exists before the server's id
does, and each can be computed from the other. The job id and the server's id are accepted as well.

Each lookup reads the job's row, so an answer is never older than the ledger, whichever process wrote. The
object built from it is cached under the job's version: while that is the same, no record is read. Concurrent
lookups share one thread (`render_service.runtime.coalesce`).
"""

import asyncio
import json
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from ledger.errors import LedgerError
from ledger.job import JOB_PREFIX, Job
from ledger.log.ledger import Ledger
from ledger.store.filters import JobFilter
from ledger.terms import State
from render_service.access.callers import Caller
from render_service.runtime.coalesce import Coalescer
from render_service.server.gateway.resources import show

PUBLIC_PREFIX = "video_"
LONGEST_NAME = 512
"""Gateways encode their routing into ids; LiteLLM's have about 300 characters."""

_HALF_CHARACTER = re.compile("[\ud800-\udfff]")
_ID = re.compile(rf"(?:{PUBLIC_PREFIX}|{JOB_PREFIX})(?P<digits>[0-9a-f]{{32}})")

MOST_CACHED = 10_000
"""Number of cached video objects; one has about 600 bytes, and at most 32,000 characters of prompt."""

MOST_CACHED_BYTES = 64 << 20
PATIENCE_S = 10.0
"""How long a client waits for a silent ledger, as in a fail-over; then it gets a 503."""

HIDDEN = frozenset({State.DENIED, State.DELETED})
"""States of jobs that no list shows: the client got a denial as an error, and the API forgets deletions."""

LISTED = tuple(state for state in State if state not in HIDDEN)


def job_id_of(name: str) -> str | None:
    """Return the job id for a public id or job id; None for a name of another form."""
    match = _ID.fullmatch(name)
    return JOB_PREFIX + match["digits"] if match else None


def may_be_id(name: str) -> bool:
    """Return whether a server may have assigned this id; lone surrogates cannot even be looked up."""
    return 0 < len(name) <= LONGEST_NAME and not _HALF_CHARACTER.search(name)


def visible_job(ledger: Ledger, caller: Caller, name: str) -> Job | None:
    """Return the job that `name` refers to for `caller`: a public id, a job id, or the server's video id.

    A public id has precedence: another server, such as a gateway behind this one, may use ids of the form.
    """
    job_id = job_id_of(name)
    job = ledger.store.job(job_id) if job_id else None
    if job is not None and caller.may_see(job):
        return job
    if not may_be_id(name):
        return None
    return next(filter(caller.may_see, ledger.jobs(JobFilter(video_id=name))), None)


class Found(NamedTuple):
    """A job, and its video object as JSON."""

    job: Job
    body: bytes


@dataclass(frozen=True)
class Lookup:
    """A name, and the caller who used it."""

    caller: Caller
    name: str


@dataclass(frozen=True)
class Page:
    """The video objects of one page of a list, and whether there are more."""

    videos: list[Found]
    has_more: bool


def encode(document: Any) -> bytes:
    """Return JSON in its shortest form."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


class Projection:
    """The jobs of one ledger as video objects."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._cached: dict[str, tuple[int, bytes]] = {}
        self._cached_bytes = 0
        self._caching = threading.Lock()
        self._lookups: Coalescer[Lookup, Found | None] = Coalescer(
            lambda group: asyncio.to_thread(self._find_each, group)
        )

    async def find(self, caller: Caller, name: str) -> Found | None:
        """Return the job for `name`; None if the caller sees no such job."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._lookups.do(Lookup(caller, name))

    async def show(self, job: Job) -> bytes:
        """Return the video object of `job`."""
        return await asyncio.to_thread(self._body, job)

    async def page(self, caller: Caller, *, limit: int, after: Job | None, oldest_first: bool) -> Page:
        """Return up to `limit` video objects that `caller` sees, in order of creation, after `after`."""
        async with asyncio.timeout(PATIENCE_S):
            return await asyncio.to_thread(self._page, caller, limit, after, oldest_first)

    def _find_each(self, group: Sequence[Lookup]) -> "list[Found | Exception | None]":
        outcomes: list[Found | Exception | None] = []
        for lookup in group:
            try:
                job = visible_job(self._ledger, lookup.caller, lookup.name)
                outcomes.append(Found(job, self._body(job)) if job else None)
            except LedgerError as error:  # raised in the task that waits for it
                outcomes.append(error)
        return outcomes

    def _page(self, caller: Caller, limit: int, after: Job | None, oldest_first: bool) -> Page:  # noqa: FBT001
        beyond = after.job_id if after else None
        jobs: list[Job] = []
        for permitted in caller.sees:
            where = replace(
                permitted,
                states=LISTED,
                before=None if oldest_first else beyond,
                after=beyond if oldest_first else None,
                oldest_first=oldest_first,
            )
            jobs += self._ledger.jobs(where, limit + 1)
        jobs.sort(key=lambda job: job.job_id, reverse=not oldest_first)
        return Page([Found(job, self._body(job)) for job in jobs[:limit]], len(jobs) > limit)

    def _body(self, job: Job) -> bytes:
        """Return the video object of `job`, from the cache if it was made from this version."""
        cached = self._cached.get(job.job_id)
        if cached is not None and cached[0] == job.version:
            return cached[1]
        shown = show(self._ledger, job)
        body = encode(shown.resource)
        if shown.is_settled:
            self._cache(job, body)
        return body

    def _cache(self, job: Job, body: bytes) -> None:
        with self._caching:
            _, old = self._cached.pop(job.job_id, (0, b""))
            self._cached[job.job_id] = (job.version, body)
            self._cached_bytes += len(body) - len(old)
            while len(self._cached) > MOST_CACHED or self._cached_bytes > MOST_CACHED_BYTES:
                _, oldest = self._cached.pop(next(iter(self._cached)))
                self._cached_bytes -= len(oldest)
