"""Check whether a server's video times can be compared with ours. Pure.

A server stamps videos with its own clock. Its times are trusted only once it has stamped one of our
submissions correctly and none incorrectly. The HTTP header ``Date`` proves neither: a proxy with another
clock may have written it (docs/decisions/0134).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from render_service.recovery.attempts import CLOCKS_DIFFER

ROUNDED = timedelta(seconds=60)
"""What the times of two videos may be rounded by; a clock is proven right with this much to spare."""

COARSE_S = 300
"""Times that are all multiples of this are rounded to it, or to hours or days."""


@dataclass(frozen=True)
class Flight:
    """A submission and the creation time its listed video shows.

    The video was created between `intended_at` and `until`, which is when its answer was recorded or, if the
    answer was lost (`is_answered` is False), when the call could no longer take effect.
    """

    job_id: str
    video_id: str
    created_at: int
    intended_at: datetime
    until: datetime
    is_answered: bool

    @property
    def is_impossible(self) -> bool:
        """Whether a clock that agrees with ours cannot have shown this time."""
        since = int((self.intended_at - CLOCKS_DIFFER).timestamp())
        return not since <= self.created_at <= (self.until + CLOCKS_DIFFER).timestamp()

    @property
    def proves_the_clock(self) -> bool:
        """Whether the clock agreed with ours, at whatever moment of the flight the video was created."""
        may_differ = (CLOCKS_DIFFER - ROUNDED).total_seconds()
        behind, ahead = (
            self.until.timestamp() - self.created_at,
            self.created_at - self.intended_at.timestamp(),
        )
        return self.is_answered and behind <= may_differ and ahead <= may_differ


def doubt_times(flights: Sequence[Flight], times: Iterable[int], now: datetime) -> str | None:
    """Return why the times of a server prove nothing; None if they can be trusted.

    `flights` are all submissions whose videos it lists with a time, `times` those of all videos it lists.
    """
    times = list(times)
    for flight in flights:
        if flight.is_impossible:
            shown, sent = _utc(flight.created_at), _utc(flight.intended_at.timestamp())
            return f"{flight.video_id} was requested by {flight.job_id} at {sent}, and it says {shown}"
    latest = max(times, default=0)
    if latest > (now + CLOCKS_DIFFER).timestamp():
        return f"it says that a video was created at {_utc(latest)}, which is in the future"
    if times and all(time % COARSE_S == 0 for time in times):
        return f"all of them are multiples of {COARSE_S} s, so they may be rounded"
    if not any(flight.proves_the_clock for flight in flights):
        return "none of this ledger's videos in its list proves that its clock agrees with ours"
    return None


def _utc(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
