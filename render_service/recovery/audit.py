"""Audit whether every attempt is accounted for, every video has a job, and every expense a file.

The audit reads the ledger and asks the server for its list; it records nothing. Each problem is a `Finding`,
unless a person has recorded how it was resolved (`dealt_with`). Servers without a list, or that were not
asked, are reported as unknown: only one server is asked, the one that the key is for.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.record import timestamp
from ledger.store.filters import JobFilter
from ledger.terms import State
from render_service.recovery.assignment import may_be_of
from render_service.recovery.attempt_counts import Attempts, count_attempts
from render_service.recovery.attempts import GRACE_S, Attempt, attempt_of, open_attempts
from render_service.recovery.findings import (
    Finding,
    check_attempts,
    check_jobs,
    check_missing,
    check_open_attempts,
    check_overdue,
    check_splits,
    check_spool,
    check_unclaimed,
    is_dealt_with,
)
from render_service.recovery.listing import read_list
from render_service.runtime.errors import BadInput
from render_service.runtime.settings import SANDBOX, Settings
from render_service.runtime.telemetry import Trace
from render_service.session.connecting import connection
from render_service.session.connections import find_usable_profile
from render_service.session.servers import is_at, is_same_server, job_of_video
from render_service.session.session import clock_of
from render_service.settlement.overdue import find_overdue_jobs
from render_service.submission.spool import Waiting, waiting
from sora_adapter.errors import ServerUnreadable, SettingsUnusable, VideoNotFound
from sora_adapter.models import Observation


@dataclass(frozen=True)
class Scope:
    """The scope of an audit: all jobs, or those begun `since` (RFC 3339 UTC); `grace_s` for open intents."""

    since: str | None = None
    grace_s: float = GRACE_S
    offline: bool = False


@dataclass(frozen=True)
class ServerLook:
    """Whether a server was asked for its list, and how many videos it listed, or why it was not asked.

    `server` is its address; None if unknown, or for the embedded sandbox. `doubt` is why its list may be
    incomplete.
    """

    profile: str
    listed: int | None = None
    because: str | None = None
    server: str | None = None
    doubt: str | None = None

    def document(self) -> dict[str, Any]:
        """Return the entry as JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Audit:
    """The result of an audit up to the end of the ledger; `findings` exclude `dealt_with`."""

    attempts: Attempts
    open: Sequence[Attempt]
    servers: Sequence[ServerLook]
    findings: Sequence[Finding]
    dealt_with: Sequence[Finding]
    now: datetime
    settled_usd_micros: int
    reserved_usd_micros: int

    def document(self) -> dict[str, Any]:
        """Return the audit as JSON."""
        return {
            "clean": not self.findings,
            "position": self.attempts.position,
            "attempts": self.attempts.document(),
            "open": [
                {
                    "job_id": attempt.job.job_id,
                    "attempt_id": attempt.intent.attempt_id,
                    "state": attempt.job.state.value,
                    "age_s": round(max(0.0, (self.now - attempt.intended_at).total_seconds())),
                    "server": attempt.intent.server,
                }
                for attempt in self.open
            ],
            "settled_usd_micros": self.settled_usd_micros,
            "reserved_usd_micros": self.reserved_usd_micros,
            "servers": [server.document() for server in self.servers],
            "findings": [finding.document() for finding in self.findings],
            "dealt_with": [finding.document() for finding in self.dealt_with],
        }


async def audit(ledger: Ledger, settings: Settings, trace: Trace, scope: Scope) -> Audit:
    """Audit `ledger` and the server in `settings`; raises `AdapterError` if the server cannot be asked.

    The server is asked before the ledger is read, so that renders that begin meanwhile are not reported as
    unknown.
    """
    before = (await asyncio.to_thread(ledger.head)).size
    look, listed = await _ask_server(settings, trace, scope)
    spooled = await asyncio.to_thread(lambda: list(waiting(settings, ledger)))
    longest_s = settings.longest_render_s
    return await asyncio.to_thread(_audit_ledger, ledger, scope, before, look, listed, longest_s, spooled)


async def _ask_server(
    settings: Settings, trace: Trace, scope: Scope
) -> tuple[ServerLook, Sequence[Observation]]:
    name = settings.chosen_profile()
    if scope.offline:
        return ServerLook(name, because="not asked (--offline)"), []
    if name == SANDBOX and not settings.sandbox_folder.exists():
        return ServerLook(name, because="this ledger has no sandbox"), []
    try:
        profile = find_usable_profile(settings, None, even_if_retired=False)
        if not profile.can_list:
            return ServerLook(name, because=profile.unsupported.get("list") or "it offers no list"), []
        async with connection(settings, trace, profile) as client:
            listing = await read_list(client)
            server = None if name == SANDBOX else client.base_url
    except (BadInput, SettingsUnusable, VideoNotFound, ServerUnreadable) as error:
        return ServerLook(name, because=str(error).splitlines()[0]), []
    return ServerLook(name, len(listing.videos), server=server, doubt=listing.doubt), listing.videos


def _audit_ledger(
    ledger: Ledger,
    scope: Scope,
    before: int,
    look: ServerLook,
    listed: Sequence[Observation],
    longest_render_s: float,
    spooled: Sequence[Waiting],
) -> Audit:
    now = clock_of(ledger)()
    attempts = count_attempts(ledger, ledger.head().size)
    tally = _Tally(scope)
    about_jobs = list(check_jobs(tally.count_begun(ledger.iterate_jobs()), now))
    still_open = [attempt for name in tally.profiles for attempt in open_attempts(ledger, name)]
    absent = [attempt_of(ledger, job) for job in tally.absent]
    live = [
        open_attempt
        for open_attempt in still_open
        if open_attempt.lost is None and open_attempt.measure_silence_s(now) < scope.grace_s
    ]
    overdue = find_overdue_jobs(ledger, now, longest_render_s)
    unclaimed = _find_unclaimed(ledger, look, listed, scope, live)
    findings = [
        *check_attempts(attempts),
        *check_spool(spooled),
        *check_open_attempts(
            (open_attempt for open_attempt in still_open if _is_in(scope, open_attempt.job.created_at)),
            now,
            scope.grace_s,
        ),
        *check_unclaimed(look.profile, unclaimed, still_open, absent),
        *check_missing(_missing(ledger, look, listed, scope, before), now),
        *about_jobs,
        *check_overdue((job for job in overdue if _is_in(scope, job.created_at)), longest_render_s),
        *check_splits(ledger, now, scope.since),
    ]
    done = [finding for finding in findings if is_dealt_with(ledger, finding)]
    return Audit(
        attempts=attempts,
        open=still_open,
        servers=[look, *_list_unasked({*attempts.servers, *((name, None) for name in tally.profiles)}, look)],
        findings=[finding for finding in findings if finding not in done],
        dealt_with=done,
        now=now,
        settled_usd_micros=tally.settled_usd_micros,
        reserved_usd_micros=tally.reserved_usd_micros,
    )


class _Tally:
    """Aggregates over all jobs, of which only some are in memory at a time."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self.profiles: dict[str, None] = {}
        self.absent: list[Job] = []
        self.settled_usd_micros = self.reserved_usd_micros = 0

    def count_begun(self, jobs: Iterable[Job]) -> Iterator[Job]:
        """Yield the jobs that were begun in the scope, and count all of them."""
        for job in jobs:
            if job.profile:
                self.profiles[job.profile] = None
            if job.state is State.ABSENT and job.outcome is None:
                self.absent.append(job)
            if _is_in(self._scope, job.created_at):
                self.settled_usd_micros += job.settled_usd_micros or 0
                self.reserved_usd_micros += job.reserved_usd_micros
                yield job


def _is_in(scope: Scope, created_at: str) -> bool:
    return scope.since is None or created_at >= scope.since


def _list_unasked(used: Iterable[tuple[str, str | None]], covered: ServerLook) -> list[ServerLook]:
    """Return the servers of this ledger that were not asked: a command has one server and one key."""
    by_profile: dict[str, set[str]] = defaultdict(set)
    for profile, server in used:
        by_profile[profile] |= {server} if server and profile != SANDBOX else set()
    looks = []
    for profile, servers in sorted(by_profile.items()):
        if profile != covered.profile:
            because = f"not asked; --profile {profile} asks it"
            looks += [
                ServerLook(profile, because=because, server=address) for address in sorted(servers) or (None,)
            ]
        elif covered.server is not None:
            others = sorted(address for address in servers if not is_same_server(address, covered.server))
            because = "not asked; OPENAI_BASE_URL names another server"
            looks += [ServerLook(profile, because=because, server=address) for address in others]
    return looks


def _missing(
    ledger: Ledger, look: ServerLook, listed: Sequence[Observation], scope: Scope, before: int
) -> list[Job]:
    """Return the jobs that wait for a video which the list does not show.

    A list proves nothing if it may be incomplete or shows none of our videos (another account). Jobs on
    another server are skipped, and so are jobs with records after `before`, made while the list was read.
    """
    shown = {video.video_id for video in listed}
    if look.doubt is not None or not shown:
        return []
    waiting, shows_ours = [], False
    for job in ledger.iterate_jobs(JobFilter(profile=look.profile)):
        if job.video_id is None or not _is_in(scope, job.created_at):
            continue
        shows_ours = shows_ours or job.video_id in shown
        waits = job.state in {State.RUNNING, State.COMPLETED} and job.position <= before
        if waits and job.video_id not in shown:
            waiting.append(job)
    return [job for job in waiting if is_at(ledger, job, look.profile, look.server)] if shows_ours else []


def _find_unclaimed(
    ledger: Ledger, look: ServerLook, listed: Sequence[Observation], scope: Scope, live: Sequence[Attempt]
) -> list[Observation]:
    """Return the videos without a job, except those that may belong to an attempt still under way."""
    return [
        video
        for video in listed
        if _is_in(scope, timestamp(datetime.fromtimestamp(video.created_at or 0, UTC)))
        and job_of_video(ledger, look.profile, look.server, video.video_id) is None
        and not any(may_be_of(attempt, video) for attempt in live)
    ]


MOST_LOST = 200
"""Maximum number of lost renders checked for findings that need no audit, the newest first."""


def list_indexed_findings(ledger: Ledger, settings: Settings, now: datetime) -> list[Finding]:
    """Return the findings available from indexes, without asking a server or reading every job.

    An audit also compares the ledger with the list of its server, and counts all attempts.
    """
    longest_s = settings.longest_render_s
    lost = list(check_jobs(ledger.jobs(JobFilter(states=(State.LOST,)), MOST_LOST), now))
    return [
        *check_spool(list(waiting(settings, ledger))),
        *check_open_attempts(open_attempts(ledger, None), now, GRACE_S),
        *check_overdue(find_overdue_jobs(ledger, now, longest_s), longest_s),
        *check_splits(ledger, now),
        *(finding for finding in lost if not is_dealt_with(ledger, finding)),
    ]


def count_attempts_at(ledger: Ledger, position: int) -> Attempts:
    """Count the attempts as of `position`; `BadInput` if the ledger is not that long."""
    size = ledger.head().size
    if position > size:
        raise BadInput(
            f"--as-of {position}: expected at most {size}, the end of the ledger",
            param="as_of",
            expected=f"at most {size}, the end of the ledger",
            found=position,
        )
    return count_attempts(ledger, position)
