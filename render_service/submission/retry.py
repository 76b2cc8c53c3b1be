"""Decide when a request may be retried, and how long an intent may still be sent.

A server at capacity is retried, but only after a rejection that is known to have created nothing.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TypeVar

from ledger.events import SubmissionAbsent, SubmissionRejected
from sora_adapter.errors import ServerTrouble
from sora_adapter.messages import Submission, needs_a_person
from sora_adapter.polling import pace_after_trouble
from sora_adapter.profiles import Profile

T = TypeVar("T")

TRIES = 4


FIRST_PAUSE_S = 0.5


async def patiently(
    ask: Callable[[], Awaitable[T]], sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> T:
    """Return the answer of `ask`, called up to four times; the last `ServerTrouble` is raised.

    The pause doubles, with jitter, and is never shorter than the server demands (``Retry-After``).
    """
    for failures in range(1, TRIES):
        try:
            return await ask()
        except ServerTrouble as trouble:
            pace = pace_after_trouble(trouble, failures, FIRST_PAUSE_S, random.random())  # jitter
            await sleep(pace.pause_s)
    return await ask()


FIRST_WAIT_S = 2.0


LONGEST_WAIT_S = 60.0


@dataclass
class Patience:
    """How long and how often to retry; by default not at all.

    `timeout_s` counts from the first attempt, `attempts` includes it (None: as often as time allows). With
    `outlasts_absence` an unreachable server is retried too: nothing was sent to it. `over` is called once no
    attempt will follow, before the last outcome is recorded.
    """

    timeout_s: float = 0.0
    attempts: int | None = None
    outlasts_absence: bool = False
    now: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random
    over: Callable[[], None] = lambda: None
    made: int = field(default=0, init=False)
    _began: float | None = field(default=None, init=False)

    def wait_after(self, outcome: Submission, profile: Profile) -> float | None:
        """Return the seconds to wait before the next attempt, or None to give up."""
        wait_s = self._wait_after(outcome, profile)
        if wait_s is None:
            self.over()
        return wait_s

    def _wait_after(self, outcome: Submission, profile: Profile) -> float | None:
        self.made += 1
        began = self._began = self._began if self._began is not None else self.now()
        if self.attempts is not None and self.made >= self.attempts:
            return None
        absent = self.outlasts_absence and isinstance(outcome, SubmissionAbsent)
        if not absent and not is_at_capacity(outcome, profile):
            return None
        demanded_s = (outcome.retry_after_ms or 0) / 1000 if isinstance(outcome, SubmissionRejected) else 0.0
        backoff = min(FIRST_WAIT_S * 2 ** (self.made - 1), LONGEST_WAIT_S) * (1 - self.jitter() / 2)
        wait_s = max(demanded_s, backoff)
        return wait_s if self.now() + wait_s <= began + self.timeout_s else None


def is_at_capacity(outcome: Submission, profile: Profile) -> bool:
    """Return whether `outcome` is a temporary 429 that, according to the profile, created nothing."""
    return (
        isinstance(outcome, SubmissionRejected)
        and outcome.error.http_status == HTTPStatus.TOO_MANY_REQUESTS
        and not needs_a_person(outcome.error)
        and profile.is_free(outcome)
    )


LATEST_S = 30.0
"""An attempt is sent within this time after its intent, or not at all; less than the grace period."""


def elapsing() -> float:
    """Return monotonic seconds, including time while the machine is suspended if the system can tell."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


def may_send(
    job_id: str, held_until: Mapping[str, float], now: Callable[[], float] = elapsing
) -> Callable[[], bool]:
    """Return a function that tells whether an attempt that begins now may still be sent.

    An intent is immediately followed by its call. A process that is stopped in between (by a signal, or with
    its machine) may wake up long after others have declared the attempt absent and retried it; then it must
    not send. So the connection calls this function right before the first byte of the request. `held_until`
    are the expiry times of the leases held, by the clock `now`; they may be extended.

    BUG: a process that is stopped between this last check and the write, a matter of microseconds, still
    sends. Only a server with idempotency keys could prevent that; the protocol has none.
    """
    latest = now() + LATEST_S
    return lambda: now() < min(latest, held_until.get(job_id, latest))
