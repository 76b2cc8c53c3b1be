"""The state of a job over time: a pure function of its creation time, its duration, and now.

Only time changes the state of a job, so it needs no worker and survives every restart. The first tenth of the
duration is spent in the queue. A prompt that contains "[fail]" makes a job that is blocked at the moment it
would have completed.
"""

import math
from dataclasses import dataclass
from typing import Literal

Status = Literal["queued", "in_progress", "completed", "failed"]

FAIL_MARKER = "[fail]"
BLOCKED = {"code": "moderation_blocked", "message": "Your request was blocked by our moderation system."}
_QUEUED_SHARE = 0.1
_LAST_PROGRESS = 99
_POLL_MS = 1000
_RENDER_S = 0.25  # until a late clip is requested again


@dataclass(frozen=True)
class Moment:
    """The state of one job at one time; `remaining_s` is 0 once it ended, `done_at` None unless it completed.

    `is_held_back` is True if only its clip is missing.
    """

    status: Status
    progress: int
    remaining_s: float
    done_at: float | None
    is_held_back: bool = False

    @property
    def is_over(self) -> bool:
        """Whether nothing about the job will change any more."""
        return self.status in ("completed", "failed")

    @property
    def held_back(self) -> "Moment":
        """The same state while the clip is still being rendered."""
        return Moment("in_progress", _LAST_PROGRESS, _RENDER_S, None, is_held_back=True)

    @property
    def poll_after_ms(self) -> int:
        """When to poll again: in a second, or as soon as the job ends."""
        return max(1, min(_POLL_MS, math.ceil(self.remaining_s * 1000)))


BIRTH = Moment("queued", 0, 0.0, None)


def moment_of(*, created_at: float, render_seconds: float, will_fail: bool, now: float) -> Moment:
    """Return the state of a job at `now`; all times in seconds since 1970."""
    done_at = created_at + render_seconds
    if now >= done_at:
        return (
            Moment("failed", _LAST_PROGRESS, 0.0, None)
            if will_fail
            else Moment("completed", 100, 0.0, done_at)
        )
    lived = max(0.0, now - created_at) / render_seconds
    if lived < _QUEUED_SHARE:
        return Moment("queued", 0, done_at - now, None)
    share = (lived - _QUEUED_SHARE) / (1 - _QUEUED_SHARE)
    return Moment("in_progress", min(_LAST_PROGRESS, int(share * 100)), done_at - now, None)
