"""Waiting for a video: ask, wait, ask again, until it is completed or failed or the time is over.

The SDK's own ``poll`` has no deadline, ends on any status it does not know, and forgets every hint but the
first. Here:

- the pause is the person's interval; ``openai-poll-after-ms`` of the last answer, or its ``Retry-After``,
  wins over it, between 0.1 and 60 seconds (advice: a server must neither drive us nor put us to sleep);
- passing trouble (no answer, 429, 5xx) doubles the pause, with jitter, up to 60 seconds; ``Retry-After`` is a
  demand and never undercut;
- everything else a server may say is final and raised: 401, 403, 404, an answer that is none;
- an unknown status word is not final (`Profile.status_of`).

At the deadline there is one last look, unless the server demanded a longer wait: then waiting ends at once.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from sora_adapter.errors import PollTimeout, ServerTrouble
from sora_adapter.models import Observation

SHORTEST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 60.0
SHORTEST_LOOK_S = 5.0
MOST_DOUBLINGS = 10


class Observer(Protocol):
    """Whoever can ask a server about a video: `sora_adapter.client.VideosClient`."""

    async def observe(self, video_id: str) -> Observation:
        """Ask once."""
        ...


@dataclass(frozen=True)
class Pace:
    """When the next look is due, in seconds; a demanded pause may not be cut short."""

    pause_s: float
    demanded: bool = False


@dataclass(frozen=True)
class Clock:
    """Time as polling sees it: monotonic seconds, sleep, and a random number in [0, 1)."""

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
    """Return the final observation of a video; `on_observation` is awaited for each one, the final included.

    Raises `PollTimeout` `timeout_s` seconds after the start, or an `AnswerError` that waiting cannot cure.
    """
    clock = clock or Clock()
    deadline = clock.now() + timeout_s
    last: Observation | None = None
    trouble: ServerTrouble | None = None
    failures = 0
    while True:
        try:
            last = await _look(client, video_id, deadline - clock.now())
        except TimeoutError:
            raise timed_out(video_id, timeout_s, last, trouble) from None
        except ServerTrouble as passing:
            trouble, failures = passing, failures + 1
            pace = pace_after_trouble(passing, failures, interval_s, clock.jitter())
        else:
            trouble, failures = None, 0
            await on_observation(last)
            if last.is_final:
                return last
            pace = pace_after_look(last, interval_s)
        left_s = deadline - clock.now()
        if left_s <= 0 or (pace.demanded and pace.pause_s > left_s):
            raise timed_out(video_id, timeout_s, last, trouble)
        await clock.sleep(min(pace.pause_s, left_s))


def pace_after_look(observation: Observation, interval_s: float) -> Pace:
    """Return the pause after an answer: the server's hint within its bounds, or else the interval."""
    hints_ms = (observation.poll_after_ms, observation.retry_after_ms)
    hint_ms = next((hint for hint in hints_ms if hint is not None), None)
    if hint_ms is None:
        return Pace(interval_s)
    return Pace(min(max(hint_ms / 1000, SHORTEST_PAUSE_S), LONGEST_PAUSE_S))


def pace_after_trouble(trouble: ServerTrouble, failures: int, interval_s: float, jitter: float) -> Pace:
    """Return the pause after this many failures in a row; `jitter` in [0, 1) takes off up to a half."""
    doubled = max(interval_s, SHORTEST_PAUSE_S) * 2 ** min(failures, MOST_DOUBLINGS)
    backoff_s = min(doubled, LONGEST_PAUSE_S) * (1 - jitter / 2)
    if trouble.retry_after_ms is None:
        return Pace(backoff_s)
    return Pace(max(backoff_s, trouble.retry_after_ms / 1000), demanded=True)


async def _look(client: Observer, video_id: str, left_s: float) -> Observation:
    """Ask once; the last look may outlast the deadline a little, a server that hangs may not."""
    async with asyncio.timeout(max(left_s, SHORTEST_LOOK_S)):
        return await client.observe(video_id)


def timed_out(
    video_id: str, timeout_s: float, last: Observation | None, trouble: ServerTrouble | None
) -> PollTimeout:
    """Return the error that says so, with what is known of the video."""
    known = f"last seen {last.status}" if last else "never seen"
    progress = f" at {last.progress} %" if last and last.progress is not None else ""
    because = f" (now: {trouble})" if trouble else ""
    return PollTimeout(
        f"{video_id} was not done within {timeout_s:g} s, {known}{progress}{because}; "
        "the server goes on with it: wait again, with a longer timeout",
        video_id=video_id,
        last=last,
    )
