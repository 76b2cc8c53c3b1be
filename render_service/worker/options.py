"""Options of a worker, and the limits it shares with other workers."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ledger.job import Job
from ledger.store.interface import Limit
from render_service.recovery.attempts import GRACE_S
from render_service.runtime.errors import BadInput

MOST_AT_ONCE = 1_000
_LIMIT = re.compile(r"(?P<model>[^=\s]+)=(?P<number>[1-9][0-9]{0,5})")


@dataclass(frozen=True)
class WorkerOptions:
    """The options of a worker; `drain` ends it once no job is due, waiting or leased.

    `at_once` limits the jobs in hand; running ones are polled every `interval_s`. A lease lasts `lease_s` and
    is renewed three times in that time. If no job is due, the queue is read again after `idle_s`. An attempt
    that was cut off is searched for after `grace_s`.
    """

    at_once: int = 100
    interval_s: float = 10.0
    lease_s: float = 60.0
    idle_s: float = 1.0
    grace_s: float = GRACE_S
    drain: bool = False
    per_minute: Mapping[str, int] = field(default_factory=dict)
    running: Mapping[str, int] = field(default_factory=dict)

    def limit_of(self, job: Job) -> Limit:
        """Return the limit that all workers share for jobs of this kind: one model at one server."""
        model = job.model or ""
        return Limit(f"{job.profile}/{model}", self.per_minute.get(model), self.running.get(model))

    def next_look_s(self, now_s: float) -> float:
        """Return the seconds until running jobs are next polled, a half to one and a half intervals.

        All of them get the same moment, so that one list shows many.
        """
        ahead_s = self.interval_s - now_s % self.interval_s
        return ahead_s if ahead_s > self.interval_s / 2 else ahead_s + self.interval_s


def read_limits(flag: str, options: Iterable[str]) -> dict[str, int]:
    """Read ``MODEL=N`` limits; `BadInput` names an invalid one."""
    limits: dict[str, int] = {}
    for text in options:
        match = _LIMIT.fullmatch(text)
        if match is None:
            raise BadInput(
                f"{flag} {text}: expected MODEL=N with N from 1 to 999999, such as {flag} sora-2=5"
            )
        limits[match["model"]] = int(match["number"])
    return limits
