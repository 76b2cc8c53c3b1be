"""Drafts of jobs, derived from the request and the source; pure.

A draft is a job without id, time and caller, which `service` adds. An extension consists of the source's acts
and one more: each at most 20 seconds, at most six of them, at most 120 seconds in total.
"""

import math
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from sora_adapter.sandbox.state.jobs import Act, Job, sha256_of
from sora_adapter.sandbox.state.uploads import Character
from sora_adapter.sandbox.wire.media import Film
from sora_adapter.sandbox.wire.refusals import too_many_requests, too_many_running
from sora_adapter.sandbox.wire.requests import CreateRequest
from sora_adapter.serving.errors import ApiError

_MINUTE_S = 60.0


class Limits:
    """Admits new jobs; `running` counts the jobs of a model that have not ended."""

    def __init__(
        self, requests_per_minute: int | None, running_jobs: int | None, running: Callable[[str, float], int]
    ) -> None:
        self._requests_per_minute, self._running_jobs, self._running = (
            requests_per_minute,
            running_jobs,
            running,
        )
        self._asked: dict[str, deque[float]] = defaultdict(deque)
        self._door = threading.Lock()

    @contextmanager
    def admitted(self, model: str, now: float) -> Iterator[None]:
        """Admit one job, which must be in the store when the block ends; raises ApiError."""
        with self._door:
            if self._requests_per_minute is not None:
                self._check_minute(model, now, self._requests_per_minute)
            if self._running_jobs is not None and self._running(model, now) >= self._running_jobs:
                raise too_many_running()
            yield

    def _check_minute(self, model: str, now: float, most: int) -> None:
        arrivals = self._asked[model]
        while arrivals and arrivals[0] <= now - _MINUTE_S:
            arrivals.popleft()
        if len(arrivals) >= most:
            wait_s = arrivals[0] + _MINUTE_S - now if arrivals else _MINUTE_S
            raise too_many_requests(model, most, math.ceil(wait_s))
        arrivals.append(now)


MAX_EXTENSIONS = 6
MAX_SECONDS = 120


def drawn_up(wanted: CreateRequest, cast: Sequence[Character]) -> Job:
    """Return a draft of a clip made from the prompt alone or from an image."""
    draft = _blank(wanted.model, wanted.size, wanted.seconds, (wanted.prompt,))
    return replace(
        draft,
        reference_sha256=sha256_of(wanted.reference),
        cast_ids=tuple(character.id for character in cast),
        cast_names=tuple(character.name for character in cast),
    )


def drawn_from(film: Film, model: str) -> Job:
    """Return a draft of an upload as the source of another job: it has no prompt, and never becomes a job."""
    draft = _blank(model, film.size, str(film.whole_seconds), ())
    return replace(draft, footage_sha256=sha256_of(film.body or None))


def changed(source: Job, prompt: str) -> Job:
    """Return a draft that changes the whole source: the same acts, each with one more prompt."""
    return replace(
        source,
        prompts=(*source.prompts, prompt),
        earlier=tuple(Act((*act.prompts, prompt), act.seconds) for act in source.earlier),
        remixed_from_video_id=source.id,
    )


def extended(source: Job, prompt: str, seconds: int) -> Job:
    """Return a draft of a source and its continuation; raises ApiError beyond the limits."""
    total = int(source.seconds) + seconds
    if len(source.earlier) >= MAX_EXTENSIONS:
        message = f"A video can be extended at most {MAX_EXTENSIONS} times; '{source.id}' was."
        raise ApiError.invalid(message, code="too_many_extensions", param="video.id")
    if total > MAX_SECONDS:
        message = (
            f"An extended video can be at most {MAX_SECONDS} seconds long; {source.seconds} and {seconds} "
            f"are {total}."
        )
        raise ApiError.invalid(message, code="video_too_long", param="seconds")
    return replace(
        source,
        prompts=(*source.prompts, prompt),
        seconds=str(total),
        earlier=source.acts,
        remixed_from_video_id=None,
    )


def _blank(model: str, size: str, seconds: str, prompts: tuple[str, ...]) -> Job:
    return Job(
        id="",
        model=model,
        size=size,
        seconds=seconds,
        prompts=prompts,
        reference_sha256=None,
        remixed_from_video_id=None,
        created_at=0.0,
        render_seconds=0.0,
        expire_seconds=0,
        request_id="",
    )
