"""Several changes as several remixes, one after the other, each of the result of the last.

Each is a job of its own, placed under a request key made from one key and its number; so the same split with
the same key goes on where it stopped, and nothing is rendered twice. The first one that does not come to a
video ends it.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from decision.one_change.split import split_request
from decision.one_change.verdict import FIELD_ASPECTS
from decision.request.request import RenderRequest, Source
from ledger.job import State
from render_service.runtime.errors import ServiceError
from render_service.session.session import Session
from render_service.settlement.settle import settle
from render_service.submission.result import Placed
from render_service.submission.sources import source_of
from render_service.submission.submit import place
from sora_adapter.errors import AdapterError

UNDER_WAY = (State.RUNNING, State.COMPLETED, State.STORED)

RequestFrom = Callable[[Source, str, str, str], RenderRequest]
"""Makes a remix of a source, for a profile, with a prompt, under a request key."""


@dataclass(frozen=True)
class Split:
    """The prompts, in order, what the remixes have in common, and the key they are made under."""

    prompts: tuple[str, ...]
    fields: dict[str, str]
    key: str


@dataclass
class Progress:
    """How far it came: a job for each prompt that was asked for, `rest` the prompts that were not done.

    `trouble` is what kept it from waiting for the last job, as a waiting time that is over: that render goes
    on, and so does the split with the same key.
    """

    split: Split
    placed: list[Placed] = field(default_factory=list)
    last_video: str = ""
    trouble: Exception | None = None

    @property
    def rest(self) -> tuple[str, ...]:
        """What is still to do, that of the last job included where it came to no video."""
        done = sum(each.job.state is State.STORED for each in self.placed)
        return self.split.prompts[done:]


def split_of(prompt: str, fields: dict[str, str], key: str | None) -> Split:
    """Return the remixes that `prompt` and `fields` ask for; `key` None begins a new split."""
    kept = {name: text for name, text in fields.items() if name not in FIELD_ASPECTS}
    return Split(split_request(prompt, fields), kept, key or f"split-{uuid.uuid4().hex[:12]}")


async def remix_one_by_one(
    session: Session,
    name: str,
    split: Split,
    request_from: RequestFrom,
    *,
    interval_s: float,
    timeout_s: float,
) -> Progress:
    """Make the remixes of `split`, the first of the video called `name`; return how far it came."""
    progress = Progress(split, last_video=name)
    for number, prompt in enumerate(split.prompts, 1):
        source, profile = await source_of(session, progress.last_video)
        request = request_from(source, profile, prompt, f"{split.key}/{number}")
        placed = await place(session, request)
        progress.placed.append(placed)
        if placed.job.state not in UNDER_WAY:
            break
        try:
            job = await settle(session, placed.job, interval_s=interval_s, timeout_s=timeout_s)
        except (AdapterError, ServiceError) as trouble:
            progress.trouble = trouble
            job = await session.job(placed.job.job_id)
        progress.placed[-1] = Placed(job, placed.requested, placed.ruling, placed.outcome, placed.repeated)
        if progress.trouble or job.state is not State.STORED:
            break
        progress.last_video = job.job_id
    return progress
