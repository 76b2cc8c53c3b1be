"""What a decision has to know besides the request is gathered in one place."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec import structs

from decision.request.request import RenderRequest
from ledger.events import ReviewRecorded
from ledger.job import Job
from render_service.rules.measurements import LEAST_RENDERS
from render_service.session.session import Session
from render_service.submission.submit import place

pytestmark = pytest.mark.anyio
Reviewed = Callable[[str], Any]


@pytest.fixture
def reviewed(session: Session, stored: Callable[..., Awaitable[Job]]) -> Reviewed:
    async def reviewed(verdict: str) -> Job:
        job = await stored(session)
        review = ReviewRecorded(verdict=verdict)  # one of the three
        return await session.advance(job, [session.draft(review)])

    return reviewed


@pytest.mark.parametrize(("verdict", "promoted"), [("approved", True), ("rejected", False)])
async def test_a_final_is_promoted_from_a_draft_once_that_is_approved(
    session: Session,
    reviewed: Reviewed,
    request_for: Callable[..., RenderRequest],
    verdict: str,
    *,
    promoted: bool,
) -> None:
    draft = await reviewed(verdict)
    placed = await place(session, request_for(promotes=draft.job_id, purpose="final"))
    assert placed.ruling.basis.inputs["promotes_approved"] is promoted


async def test_the_draft_of_a_final_is_its_source_in_the_lineage(
    session: Session, reviewed: Reviewed, request_for: Callable[..., RenderRequest]
) -> None:
    draft = await reviewed("approved")
    placed = await place(session, request_for(promotes=draft.job_id, purpose="final"))
    assert placed.job.source_job == draft.job_id


async def test_a_deadline_stands_in_the_inputs(
    session: Session, request_for: Callable[..., RenderRequest]
) -> None:
    placed = await place(session, request_for(deadline_minutes=30))
    assert placed.ruling.basis.inputs["deadline_minutes"] == 30


async def test_what_was_measured_here_decides(
    session: Session,
    at: Callable[[str], Session],
    stored: Callable[..., Awaitable[Job]],
    request_for: Callable[..., RenderRequest],
) -> None:
    done = await stored(session)
    rows = [structs.replace(done, job_id=f"job_{n:04}") for n in range(LEAST_RENDERS)]
    session.ledger.store.replace_jobs([done, *rows], session.ledger.head().size)
    placed = await place(at(str(session.settings.base_url)), request_for())
    assert placed.ruling.basis.inputs["failure_ppm"] == "sora-2:0"
