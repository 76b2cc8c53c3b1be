"""The audit: whether every attempt is accounted for, every video has a job, and every dollar a file.

Reads the ledger and asks the server for its list; records nothing. What somebody has to look at is a
`Finding`. What cannot be known, because a server has no list or was not asked, is said beside them.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ledger.job import State
from ledger.ledger import Ledger
from ledger.record import timestamp
from render_service.desk import connection, usable_profile, utc_now
from render_service.errors import BadInput
from render_service.library import pages
from render_service.recovery.attempts import GRACE_S, Attempt, attempt_of, open_attempts
from render_service.recovery.counting import Attempts, count_attempts
from render_service.recovery.findings import Finding, of_attempts, of_jobs, of_open_attempts, of_unclaimed
from render_service.recovery.matching import likeness
from render_service.recovery.sightings import is_claimed
from render_service.settings import SANDBOX, Settings
from render_service.telemetry import Trace
from sora_adapter.errors import SettingsUnusable
from sora_adapter.observation import Observation


@dataclass(frozen=True)
class Scope:
    """What is audited: all, or what was begun `since` (RFC 3339 UTC); an intent may be open for `grace_s`."""

    since: str | None = None
    grace_s: float = GRACE_S
    offline: bool = False


@dataclass(frozen=True)
class ServerLook:
    """Whether a server was asked for its list, how many videos it has, or why it was not asked."""

    profile: str
    listed: int | None = None
    because: str | None = None


@dataclass(frozen=True)
class Audit:
    """What an audit found, up to the ledger's end at `attempts.position`."""

    attempts: Attempts
    open: Sequence[Attempt]
    servers: Sequence[ServerLook]
    findings: Sequence[Finding]
    now: datetime
    settled_usd_micros: int
    reserved_usd_micros: int

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
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
            "servers": [
                {"profile": one.profile, "listed": one.listed, "because": one.because} for one in self.servers
            ],
            "findings": [finding.document() for finding in self.findings],
        }


async def audit(ledger: Ledger, settings: Settings, trace: Trace, scope: Scope) -> Audit:
    """Audit `ledger`, and the server that `settings` name; raises `AdapterError` where it cannot be asked.

    The server is asked before the ledger is read, so that what begins meanwhile is not taken for unknown.
    """
    servers, listed = await _asked(settings, trace, scope)
    return await asyncio.to_thread(_audited, ledger, scope, servers, listed)


async def _asked(
    settings: Settings, trace: Trace, scope: Scope
) -> tuple[list[ServerLook], list[Observation]]:
    name = settings.chosen_profile()
    if scope.offline:
        return [ServerLook(name, because="not asked (--offline)")], []
    if name == SANDBOX and not settings.sandbox_folder.exists():
        return [ServerLook(name, because="there is no sandbox beside this ledger")], []
    try:
        profile = usable_profile(settings, None, even_if_retired=False)
        if not profile.can_list:
            return [ServerLook(name, because=profile.unsupported.get("list") or "it has no list")], []
        async with connection(settings, trace, profile) as client:
            seen = [video async for page in pages(client) for video in page.observations]
    except (BadInput, SettingsUnusable) as error:
        return [ServerLook(name, because=str(error).splitlines()[0])], []
    return [ServerLook(name, listed=len(seen))], seen


def _audited(
    ledger: Ledger, scope: Scope, servers: Sequence[ServerLook], listed: Sequence[Observation]
) -> Audit:
    now = utc_now()
    attempts = count_attempts(ledger, ledger.head().size)
    jobs = ledger.jobs()
    named = dict.fromkeys(job.profile for job in jobs if job.profile)
    still_open = [attempt for name in named for attempt in open_attempts(ledger, name)]
    absent = [attempt_of(ledger, job) for job in jobs if job.state is State.ABSENT and job.outcome is None]
    live = [one for one in still_open if one.lost is None and one.silent_s(now) < scope.grace_s]
    begun = [job for job in jobs if _is_in(scope, job.created_at)]
    profile = servers[0].profile
    unclaimed = _unclaimed(ledger, profile, listed, scope, live)
    findings = [
        *of_attempts(attempts),
        *of_open_attempts(
            (one for one in still_open if _is_in(scope, one.job.created_at)), now, scope.grace_s
        ),
        *of_unclaimed(profile, unclaimed, still_open, absent),
        *of_jobs(begun, now),
    ]
    return Audit(
        attempts=attempts,
        open=still_open,
        servers=[*servers, *_not_asked(named, profile)],
        findings=findings,
        now=now,
        settled_usd_micros=_sum(job.settled_usd_micros for job in begun),
        reserved_usd_micros=_sum(job.reserved_usd_micros for job in begun),
    )


def _is_in(scope: Scope, created_at: str) -> bool:
    return scope.since is None or created_at >= scope.since


def _sum(amounts: Iterator[int | None]) -> int:
    return sum(amount or 0 for amount in amounts)


def _not_asked(named: Iterable[str], asked: str) -> list[ServerLook]:
    """Say which servers have jobs in this ledger and were not asked: a command has one server."""
    others = sorted(name for name in named if name != asked)
    return [ServerLook(name, because=f"not asked; --profile {name} asks it") for name in others]


def _unclaimed(
    ledger: Ledger, profile: str, listed: Sequence[Observation], scope: Scope, live: Sequence[Attempt]
) -> list[Observation]:
    """Return the videos no job has, but for those that may belong to an attempt still under way."""
    return [
        seen
        for seen in listed
        if _is_in(scope, timestamp(datetime.fromtimestamp(seen.created_at or 0, UTC)))
        and not is_claimed(ledger, profile, seen.video_id)
        and all(likeness(one, seen).verdict == "other" for one in live)
    ]


def audited_at(ledger: Ledger, position: int) -> Attempts:
    """Count the attempts as they stood at `position`; `BadInput` if the ledger is not that long."""
    size = ledger.head().size
    if position > size:
        raise BadInput(f"--as-of {position}: expected at most {size}, where the ledger ends")
    return count_attempts(ledger, position)
