"""An attempt with an unknown outcome: its request, its time, and how long there has been no news."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from ledger.errors import LedgerUnusable
from ledger.events import RenderRequested, SubmissionIntended, SubmissionUnknown
from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.store.filters import JobFilter
from ledger.terms import State
from render_service.runtime.settings import SANDBOX
from render_service.session.event_ids import CLAIMED
from render_service.session.history import JobHistory
from render_service.session.servers import is_same_server
from sora_adapter.profiles import TAKES_EFFECT_S

OPEN = (State.SUBMITTING, State.UNKNOWN)
GRACE_S = 300.0
"""Attempts without news for this long count as lost."""

CLOCKS_DIFFER = timedelta(seconds=300)


@dataclass(frozen=True)
class Attempt:
    """One open attempt of a job; `position` is the position of its intent.

    `lost` is its ``submission.unknown``; without one, a process may still be waiting for the answer.
    `takes_effect_s` is how long after its intent a call may still create a video, and the server list it.
    `got_anothers_late` means that an answer with the video of another job came after it was lost.
    """

    job: Job
    requested: RenderRequested
    intent: SubmissionIntended
    position: int
    intended_at: datetime
    heard_at: datetime
    lost: SubmissionUnknown | None
    takes_effect_s: float = TAKES_EFFECT_S
    got_anothers_late: bool = False

    @property
    def got_anothers(self) -> bool:
        """Whether the server answered it with another job's video."""
        error = self.lost.error if self.lost else None
        return self.got_anothers_late or (error is not None and error.code == CLAIMED)

    @property
    def prompt(self) -> str | None:
        """The prompt that was sent; None once it is erased."""
        return (self.requested.augmented_prompt or self.requested.prompt).text

    def measure_silence_s(self, now: datetime) -> float:
        """Return the seconds since the last record about it; 0 if a clock was set back.

        An attempt whose recorded start is in the future, because of a wrong clock, counts as begun long ago:
        that time is not waited for. Its loss is recorded, and time is measured from that record.
        """
        if self.lost is None and self.intended_at > now + CLOCKS_DIFFER:
            return math.inf
        return max(0.0, (now - self.heard_at).total_seconds())

    def may_have_created_at(self, created_at: int) -> bool:
        """Return whether a video created at `created_at` (Unix seconds) may come from this attempt.

        The window starts at the intent. It ends when the call can no longer take effect or when its answer
        was given up, whichever is later; after a crash, no giving up is recorded. Clocks are trusted to
        within `CLOCKS_DIFFER`.
        """
        gave_up = self.heard_at if self.lost and self.lost.lost != "crash" else self.intended_at
        until = max(self.intended_at + timedelta(seconds=self.takes_effect_s), gave_up)
        since_s = int((self.intended_at - CLOCKS_DIFFER).timestamp())
        return since_s <= created_at <= (until + CLOCKS_DIFFER).timestamp()

    def measure_unproven_s(self, now: datetime, grace_s: float) -> float:
        """Return the seconds until a list without its video can prove absence; 0 from then on.

        The call may take effect until then, regardless of the `grace_s` for its answer.
        """
        begun_at = min(self.intended_at, self.heard_at)  # the clock of the intent may have been ahead
        effect_s = self.takes_effect_s - (now - begun_at).total_seconds()
        return max(0.0, effect_s, grace_s - self.measure_silence_s(now))


def open_attempts(
    ledger: Ledger, profile: str | None, takes_effect_s: float = TAKES_EFFECT_S
) -> list[Attempt]:
    """Return the open attempts of a profile's jobs, or of all jobs, oldest first."""
    jobs = ledger.jobs(JobFilter(states=OPEN, profile=profile))
    attempts = (attempt_of(ledger, job, takes_effect_s) for job in jobs)
    return sorted(attempts, key=lambda attempt: attempt.position)


def was_sent_to(attempt: Attempt, profile: str, base_url: str) -> bool:
    """Return whether an attempt was sent to `base_url`; the port of the embedded sandbox does not matter."""
    if SANDBOX in {attempt.intent.profile, profile}:
        return attempt.intent.profile == profile
    return is_same_server(attempt.intent.server, base_url)


def attempt_of(ledger: Ledger, job: Job, takes_effect_s: float = TAKES_EFFECT_S) -> Attempt:
    """Return the last attempt of a job that has made one."""
    history = JobHistory.of(ledger, job)
    requested, intent, lost = history.requested, history.intent, history.lost
    if requested is None or intent is None:
        raise LedgerUnusable(f"{job.job_id} has made no attempt: run `sora-ledger verify`")
    return Attempt(
        job=job,
        requested=requested,
        intent=intent.event,
        position=intent.record.position,
        intended_at=datetime.fromisoformat(intent.record.recorded_at),
        heard_at=datetime.fromisoformat((lost or intent).record.recorded_at),
        lost=lost.event if lost else None,
        takes_effect_s=takes_effect_s,
        got_anothers_late=history.got_anothers_late,
    )
