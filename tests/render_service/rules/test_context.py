"""What a decision has to know besides the request is gathered in one place."""

from collections.abc import Callable
from typing import Any

import pytest

from ledger.events import ReviewRecorded
from ledger.job import Job
from render_service.rules.measurements import LEAST_RENDERS
from render_service.session.session import Desk
from render_service.submission.submit import place

pytestmark = pytest.mark.anyio
Reviewed = Callable[[str], Any]


@pytest.fixture
def reviewed(desk: Desk, stored: Callable[[Desk], Any]) -> Reviewed:
    async def reviewed(verdict: str) -> Job:
        job = await stored(desk)
        review = ReviewRecorded(verdict=verdict)  # type: ignore[arg-type]  # one of the three
        return await desk.advance(job, [desk.draft(review)])

    return reviewed


@pytest.mark.parametrize(("verdict", "promoted"), [("approved", True), ("rejected", False)])
async def test_a_final_is_promoted_from_a_draft_once_that_is_approved(
    desk: Desk, reviewed: Reviewed, request_for: Any, verdict: str, *, promoted: bool
) -> None:
    draft = await reviewed(verdict)
    placed = await place(desk, request_for(promotes=draft.job_id, purpose="final"))
    assert placed.ruling.basis.inputs["promotes_approved"] is promoted


async def test_the_draft_of_a_final_is_its_source_in_the_lineage(
    desk: Desk, reviewed: Reviewed, request_for: Any
) -> None:
    draft = await reviewed("approved")
    placed = await place(desk, request_for(promotes=draft.job_id, purpose="final"))
    assert placed.job.source_job == draft.job_id


async def test_a_deadline_stands_in_the_inputs(desk: Desk, request_for: Any) -> None:
    placed = await place(desk, request_for(deadline_minutes=30))
    assert placed.ruling.basis.inputs["deadline_minutes"] == 30


async def test_what_was_measured_here_decides(
    desk: Desk, at: Callable[[str], Desk], stored: Any, request_for: Any
) -> None:
    done = await stored(desk)
    rows = [done.model_copy(update={"job_id": f"job_{n:04}"}) for n in range(LEAST_RENDERS)]
    desk.ledger.store.replace_jobs([done, *rows], desk.ledger.head().size)
    placed = await place(at(str(desk.settings.base_url)), request_for())
    assert placed.ruling.basis.inputs["failure_ppm"] == "sora-2:0"
