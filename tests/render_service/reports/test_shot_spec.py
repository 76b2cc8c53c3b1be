"""The spec of a shot, followed along its remixes."""

from collections.abc import Awaitable, Callable

import pytest

from decision.one_change.shot_spec import change_spec
from decision.request.request import RenderRequest
from ledger.job import Job
from render_service.session.session import Session
from render_service.settlement.settle import settle
from render_service.submission.sources import source_of, spec_at
from render_service.submission.submit import place

pytestmark = pytest.mark.anyio
SHOT = {"lighting": "golden hour", "palette": "teal, sand"}


@pytest.fixture
def remixed(
    session: Session, request_for: Callable[..., RenderRequest]
) -> Callable[[Job, str, dict[str, str]], Awaitable[Job]]:
    async def remixed(job: Job, prompt: str, fields: dict[str, str]) -> Job:
        source, _ = await source_of(session, job.job_id)
        request = request_for(
            operation="remix", source=source.model_dump(), prompt=prompt, fields=fields, augment=True
        )
        placed = await place(session, request)
        return await settle(session, placed.job, interval_s=0.05, timeout_s=30)

    return remixed


async def test_a_new_render_has_the_spec_it_was_asked_for_with(
    session: Session, stored: Callable[..., Awaitable[Job]]
) -> None:
    job = await stored(session, fields=SHOT, augment=True)
    assert spec_at(session.ledger, job) == {"prompt": "a fox runs", **SHOT}


async def test_a_structured_remix_changes_its_line(
    session: Session,
    stored: Callable[..., Awaitable[Job]],
    remixed: Callable[[Job, str, dict[str, str]], Awaitable[Job]],
) -> None:
    job = await stored(session, fields=SHOT, augment=True)
    request = change_spec(spec_at(session.ledger, job), "palette", "crimson, rust")
    after = await remixed(job, request.prompt, request.fields)
    assert spec_at(session.ledger, after) == request.spec


async def test_after_a_remix_in_other_words_the_line_is_not_known(
    session: Session,
    stored: Callable[..., Awaitable[Job]],
    remixed: Callable[[Job, str, dict[str, str]], Awaitable[Job]],
) -> None:
    job = await stored(session, fields=SHOT, augment=True)
    after = await remixed(job, "Shift the palette to crimson and rust", {})
    assert spec_at(session.ledger, after) == {"prompt": "a fox runs", "lighting": "golden hour"}
