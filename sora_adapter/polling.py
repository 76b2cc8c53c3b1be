"""Wait for a video: poll its status until it is completed or failed, or until the deadline.

The SDK's own ``poll`` has no deadline, ends on any unknown status, and forgets every hint but the first.
Here:

- the pause is the caller's interval; ``openai-poll-after-ms`` of the last answer, or its ``Retry-After``,
  takes precedence, within 0.1 to 60 seconds (it is a hint, and must neither flood nor stall us);
- a temporary failure (no answer, 429, 5xx) doubles the pause, with jitter, up to 60 seconds; its
  ``Retry-After`` is always respected;
- every other error is final and raised: 401, 403, 404, an answer that cannot be read;
- an unknown status word is not final (`Profile.status_of`).

At the deadline the video is polled once more. If the server demanded a longer wait, polling ends immediately.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

from ledger.errors import Retry
from sora_adapter.errors import AdapterError, ServerTrouble
from sora_adapter.models import Observation

SHORTEST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 60.0
SHORTEST_POLL_S = 5.0
MOST_DOUBLINGS = 10


class PollTimeout(AdapterError):
    """The deadline for `video_id` has passed; `last` is the latest observation, None if there was none."""

    retry: ClassVar[Retry] = "same_key"

    def __init__(self, message: str, *, video_id: str, last: Observation | None) -> None:
        super().__init__(
            message,
            param="timeout",
            expected="a video that is completed or failed",
            found=last.status if last else "no answer",
        )
        self.video_id = video_id
        self.last = last


class Observer(Protocol):
    """Anything that can retrieve the status of a video, such as `sora_adapter.client.VideosClient`."""

    async def observe(self, video_id: str) -> Observation:
        """Retrieve the status once."""
        ...


@dataclass(frozen=True)
class Pace:
    """The pause before the next poll, in seconds; a demanded pause may not be cut short."""

    pause_s: float
    demanded: bool = False


@dataclass(frozen=True)
class Clock:
    """The clock for polling: monotonic seconds, sleep, and a random number in [0, 1)."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    jitter: Callable[[], float] = random.random


async def poll(
    client: Observer,
    video_id: str,
    *,
    interval_s: float,
    timeout_s: float,
    on_observation: Callable[[Observation], Awaitable[None]],
    clock: Clock | None = None,
) -> Observation:
    """Return the final observation of a video; `on_observation` is awaited for each one, including the final.

    Raises `PollTimeout` `timeout_s` seconds after the start, or an `AnswerError` that waiting cannot fix.
    """
    clock = clock or Clock()
    deadline = clock.now() + timeout_s
    last: Observation | None = None
    trouble: ServerTrouble | None = None
    failures = 0
    while True:
        try:
            last = await _poll_once(client, video_id, deadline - clock.now())
        except TimeoutError:
            raise make_timeout(video_id, timeout_s, last, trouble) from None
        except ServerTrouble as error:
            trouble, failures = error, failures + 1
            pace = pace_after_trouble(error, failures, interval_s, clock.jitter())
        else:
            trouble, failures = None, 0
            await on_observation(last)
            if last.is_final:
                return last
            pace = pace_after_look(last, interval_s)
        left_s = deadline - clock.now()
        if left_s <= 0 or (pace.demanded and pace.pause_s > left_s):
            raise make_timeout(video_id, timeout_s, last, trouble)
        await clock.sleep(min(pace.pause_s, left_s))


def pace_after_look(observation: Observation, interval_s: float) -> Pace:
    """Return the pause after an answer: the server's hint, within bounds, or else the interval."""
    hints_ms = (observation.poll_after_ms, observation.retry_after_ms)
    hint_ms = next((hint for hint in hints_ms if hint is not None), None)
    if hint_ms is None:
        return Pace(interval_s)
    return Pace(min(max(hint_ms / 1000, SHORTEST_PAUSE_S), LONGEST_PAUSE_S))


def pace_after_trouble(trouble: ServerTrouble, failures: int, interval_s: float, jitter: float) -> Pace:
    """Return the pause after this many failures in a row; `jitter` in [0, 1) subtracts up to half."""
    doubled = max(interval_s, SHORTEST_PAUSE_S) * 2 ** min(failures, MOST_DOUBLINGS)
    backoff_s = min(doubled, LONGEST_PAUSE_S) * (1 - jitter / 2)
    if trouble.retry_after_ms is None:
        return Pace(backoff_s)
    return Pace(max(backoff_s, trouble.retry_after_ms / 1000), demanded=True)


async def _poll_once(client: Observer, video_id: str, left_s: float) -> Observation:
    """Retrieve the status; the last poll may overrun the deadline a little, but a hanging server may not."""
    async with asyncio.timeout(max(left_s, SHORTEST_POLL_S)):
        return await client.observe(video_id)


def make_timeout(
    video_id: str, timeout_s: float, last: Observation | None, trouble: ServerTrouble | None
) -> PollTimeout:
    """Return the error for a timeout, with the last known status of the video."""
    known = f"last seen {last.status}" if last else "never seen"
    progress = f" at {last.progress} %" if last and last.progress is not None else ""
    because = f" (now: {trouble})" if trouble else ""
    return PollTimeout(
        f"{video_id} was not done within {timeout_s:g} s, {known}{progress}{because}; "
        "the server keeps rendering: poll again, with a longer timeout",
        video_id=video_id,
        last=last,
    )
