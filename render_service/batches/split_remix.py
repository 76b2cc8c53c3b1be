"""Make several changes as a chain of remixes, each of the result of the previous one.

Each remix is a separate job whose request key consists of the key of the split and its number, so the same
split with the same key continues where it stopped, and nothing is rendered twice. The first remix without a
video ends the chain.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from decision.one_change.aspects import FIELD_ASPECTS
from decision.one_change.split import split_request
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
"""Returns a remix request for a source, a profile, a prompt, and a request key."""


@dataclass(frozen=True)
class Split:
    """The prompts in order, the fields that all remixes share, and the key of the split."""

    prompts: tuple[str, ...]
    fields: dict[str, str]
    key: str


@dataclass
class Progress:
    """The progress of a split: a job for each prompt that was submitted, and the remaining prompts in `rest`.

    `trouble` is the error that interrupted the wait for the last job, such as a timeout: that render
    continues, and the split continues with the same key.
    """

    split: Split
    placed: list[Placed] = field(default_factory=list)
    last_video: str = ""
    trouble: Exception | None = None

    @property
    def rest(self) -> tuple[str, ...]:
        """The remaining prompts, including that of a last job without a video."""
        done = sum(placed.job.state is State.STORED for placed in self.placed)
        return self.split.prompts[done:]


def split_of(prompt: str, fields: dict[str, str], key: str | None) -> Split:
    """Return the split of `prompt` and `fields` into remixes; `key` None starts a new split."""
    shared = {name: text for name, text in fields.items() if name not in FIELD_ASPECTS}
    return Split(split_request(prompt, fields), shared, key or f"split-{uuid.uuid4().hex[:12]}")


async def remix_one_by_one(
    session: Session,
    name: str,
    split: Split,
    request_from: RequestFrom,
    *,
    interval_s: float,
    timeout_s: float,
) -> Progress:
    """Make the remixes of `split`, starting from the video `name`; return the progress."""
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
