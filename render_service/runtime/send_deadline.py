"""Until when what was intended may be sent.

An intent is followed by its call at once. A process that is stopped in between (by a signal, with its
machine) may wake up long after others have declared the attempt absent and sent it again; it must not send it
then. So the connection asks here, right before the first byte of the request.

BUG: a process that is stopped after this last look and before the write, some microseconds, sends what it
should not. Only a server that knows idempotency keys could close that; the protocol has none.
"""

import time
from collections.abc import Callable, Mapping

LATEST_S = 30.0
"""An attempt is sent this soon after its intent, or not at all; well within the grace of `reconcile`."""


def elapsing() -> float:
    """Return seconds that never jump, and go on while a machine is suspended where the system can tell."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


def may_send(
    job_id: str, held_until: Mapping[str, float], now: Callable[[], float] = elapsing
) -> Callable[[], bool]:
    """Return what says whether an attempt that begins now may still be sent.

    `held_until` are the ends of the leases that are held, by the clock `now`; they may be moved.
    """
    latest = now() + LATEST_S
    return lambda: now() < min(latest, held_until.get(job_id, latest))
