"""Make several changes as a chain of remixes, each of the result of the previous one.

Each remix is a separate job whose request key consists of the key of the split and its number, so the same
split with the same key continues where it stopped, and nothing is rendered twice. The first remix without a
video ends the chain. A queued split does not wait: it queues the first remix and records the others with it,
and the worker that stores a video requests the next remix (`submission.request_again`).
"""

import asyncio
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from decision.errors import BadRequest
from decision.one_change.lexicon import FIELD_ASPECTS
from decision.one_change.split import declared, split_request
from decision.request.request import RenderRequest, Source
from ledger.terms import State
from render_service.rules.overrides import Override
from render_service.runtime.errors import ServiceError
from render_service.session.session import Session
from render_service.session.splits import SplitProgress, find_split_progress, plan_split, step_key
from render_service.settlement.settle import settle
from render_service.submission.request_again import request_next_remix
from render_service.submission.result import Opening, Placed
from render_service.submission.sources import source_of
from render_service.submission.submit import place
from sora_adapter.errors import AdapterError

UNDER_WAY = (State.RUNNING, State.COMPLETED, State.STORED)

RequestFrom = Callable[[Source, str, str, str], RenderRequest]
"""Returns a remix request for a source, a profile, a prompt, and a request key."""


@dataclass(frozen=True)
class Split:
    """The prompts in order, the fields that all remixes share, and the key of the split."""

    prompts: tuple[str, ...]
    fields: dict[str, str]
    key: str


@dataclass(frozen=True)
class SplitOptions:
    """How the remixes of a split are placed.

    With `queue`, all are left to workers, without waiting. `override` is applied to denied remixes, if the
    policy allows that; in a queued split only to the first.
    """

    interval_s: float = 10.0
    timeout_s: float = 1_800.0
    queue: bool = False
    override: Override | None = None


@dataclass
class Progress:
    """The progress of a split: a job for each prompt that was submitted, and the remaining prompts in `rest`.

    `trouble` is the error that interrupted the wait for the last job, such as a timeout: that render
    continues, and the split continues with the same key. `standing` is the state of a queued split.
    """

    split: Split
    placed: list[Placed] = field(default_factory=list)
    last_video: str = ""
    trouble: Exception | None = None
    standing: SplitProgress | None = None

    @property
    def rest(self) -> tuple[str, ...]:
        """The remaining prompts, including the last job's if it has no video."""
        done = sum(placed.job.state is State.STORED for placed in self.placed)
        return self.split.prompts[done:]


def split_of(prompt: str, fields: dict[str, str], key: str | None) -> Split:
    """Return the split of `prompt` and `fields` into remixes; `key` None starts a new split."""
    shared = {name: text for name, text in fields.items() if name not in FIELD_ASPECTS}
    return Split(split_request(prompt, fields), shared, key or f"split-{uuid.uuid4().hex[:12]}")


async def remix_one_by_one(
    session: Session, name: str, split: Split, request_from: RequestFrom, terms: SplitOptions
) -> Progress:
    """Make the remixes of `split`, starting from the video `name`; return the progress."""
    progress = Progress(split, last_video=name)
    for number, prompt in enumerate(split.prompts, 1):
        source, profile = await source_of(session, progress.last_video)
        request = request_from(source, profile, prompt, step_key(split.key, number))
        placed = await _placed(session, request, terms, Opening())
        progress.placed.append(placed)
        if placed.job.state not in UNDER_WAY:
            break
        try:
            job = await settle(session, placed.job, interval_s=terms.interval_s, timeout_s=terms.timeout_s)
        except (AdapterError, ServiceError) as trouble:
            progress.trouble = trouble
            job = await session.job(placed.job.job_id)
        progress.placed[-1] = replace(placed, job=job)
        if progress.trouble or job.state is not State.STORED:
            break
        progress.last_video = job.job_id
    return progress


async def queue_one_by_one(
    session: Session, name: str, split: Split, request_from: RequestFrom, terms: SplitOptions
) -> Progress:
    """Queue the first remix of `split` that is not stored, with the rest recorded beside it.

    A split that was queued before is continued, unless a worker has already done that.
    """
    progress = Progress(split, last_video=name)
    following: Placed | None = None
    for number, prompt in enumerate(split.prompts, 1):
        if following is None:
            source, profile = await source_of(session, progress.last_video)
            request = request_from(source, profile, prompt, step_key(split.key, number))
            plan = plan_split(split.key, number, [(rest, declared(rest)) for rest in split.prompts[number:]])
            # A crash after this leaves a queued job, which a worker continues and the same command finds.
            following = await _placed(session, request, terms, Opening(plan=plan))
        progress.placed.append(following)
        job = following.job
        if job.state is not State.STORED:
            break
        progress.last_video = job.job_id
        following = await request_next_remix(session, job)
    progress.standing = await asyncio.to_thread(find_split_progress, session.ledger, progress.placed[0].job)
    return progress


async def _placed(session: Session, request: RenderRequest, terms: SplitOptions, opening: Opening) -> Placed:
    """Place one remix; an allowed one needs no override, and is placed without it."""
    if terms.override is not None:
        with suppress(BadRequest):  # there is no denial to override, and nothing was recorded
            return await place(session, request, queue=terms.queue, override=terms.override, opening=opening)
    return await place(session, request, queue=terms.queue, opening=opening)
