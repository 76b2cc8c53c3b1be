"""Idempotency keys: the same key returns the same job; a different request under it is refused."""

import asyncio
from collections.abc import Mapping
from datetime import datetime

from decision.request.request import RenderRequest
from ledger.events import RenderRequested
from ledger.job import Job, State
from ledger.log.ledger import Ledger
from render_service.assets.inputs import NOTHING
from render_service.runtime.errors import RequestKeyTaken
from render_service.session.event_ids import request_id
from render_service.session.session import Session
from render_service.submission.intent import requested
from render_service.submission.recorded_call import comparable
from render_service.submission.result import Placed, placed_in

ANSWER_S = 5.0
LOOK_S = 0.1
LONGEST_CALL_S = 60.0


async def find_repeated(session: Session, request: RenderRequest) -> Placed | None:
    """Return the result of the earlier request under this key; `RequestKeyTaken` if that one differs."""
    if request.request_key is None:
        return None
    return await asyncio.to_thread(repeated_in, session.ledger, request)


async def answered_repeat(session: Session, request: RenderRequest, repeated: Placed) -> Placed:
    """Return `repeated` once its call is answered, if another caller is in the middle of it; waits briefly.

    An intent older than the longest call belongs to a caller that is gone, and is not waited for.
    """
    looks = round(ANSWER_S / LOOK_S)
    while looks and repeated.job.state is State.SUBMITTING and _is_recent(session, repeated.job):
        await session.sleep(LOOK_S)
        repeated = await find_repeated(session, request) or repeated
        looks -= 1
    return repeated


def _is_recent(session: Session, job: Job) -> bool:
    age = session.clock() - datetime.fromisoformat(job.updated_at)
    return age.total_seconds() < LONGEST_CALL_S


def repeated_in(ledger: Ledger, request: RenderRequest) -> Placed | None:
    """Return the same from a ledger alone."""
    repeated = placed_under(ledger, request.request_key)
    if repeated is not None and (differing := differences(repeated.requested, request)):
        raise RequestKeyTaken(
            f"request key {request.request_key!r} belongs to {repeated.job.job_id}, which was requested with "
            f"other {', '.join(differing)}: use another --request-key, or repeat that request exactly"
        )
    return repeated


def placed_under(ledger: Ledger, request_key: str | None) -> Placed | None:
    """Return the result of the request under this key, whatever it requests."""
    first = ledger.event(request_id(request_key)) if request_key else None
    return placed_in(ledger, ledger.job(first.stream), repeated=True) if first else None


def differences(before: RenderRequested, now: RenderRequest) -> list[str]:
    """Return the fields that differ in `now`; erased text always differs.

    If both have the same prompt and only the added template lines differ, they are the same: a newer version
    may word those lines differently, and what is sent is built from the record (`recorded_call`).
    """
    then, today = comparable(before), comparable(requested(None, now, NOTHING))
    if before.remix_video_id is not None:  # the video is compared; its job may have become known since
        then["source_job"] = today["source_job"]
    changed = [name for name in then if then[name] != today[name] and name not in _COMPARED_APART]
    differing = list(dict.fromkeys(_WORDS.get(name, name.replace("_", " ")) for name in changed))
    is_augmented = before.augmented_prompt is not None
    if not {"prompt", "fields"}.intersection(differing) and is_augmented != (now.sent_prompt != now.prompt):
        differing.append("augmentation")  # --no-augment, now or then
    return differing


_COMPARED_APART = frozenset(
    {"request_key", "augmented_prompt", "attested", "team", "project", "access_key_id"}
)
_WORDS: Mapping[str, str] = {
    "requested_model": "model",
    "max_cost_usd_micros": "cost limit",
    "remix_video_id": "source",
    "source_job": "draft",
    "reference_url": "reference",
    "reference_file_id": "reference",
    "character_ids": "characters",
}
