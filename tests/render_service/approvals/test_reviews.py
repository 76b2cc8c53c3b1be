"""A review of a video: recorded with its scores, the last verdict counts."""

from typing import Any

import pytest

from ledger.events import ReviewRecorded
from render_service.approvals.approvals import review
from render_service.runtime.errors import BadInput, NotReady
from render_service.session.session import Session
from render_service.submission.submit import place

pytestmark = pytest.mark.anyio


async def test_a_review_keeps_verdict_scores_and_notes(session: Session, stored: Any, event: Any) -> None:
    job = await review(session, await stored(session), "approved", {"clarity": 90}, "good light")
    said = event(job, ReviewRecorded)
    assert (said.verdict, said.scores, said.notes.text) == ("approved", {"clarity": 90}, "good light")


async def test_the_last_verdict_counts(session: Session, stored: Any) -> None:
    job = await review(session, await stored(session), "approved")
    assert (await review(session, job, "rejected")).verdict == "rejected"


async def test_a_review_beside_another_is_recorded_as_well(session: Session, stored: Any, types: Any) -> None:
    job = await stored(session)
    await review(session, job, "approved")
    await review(session, job, "changes_requested")
    assert types(job)[-2:] == ["review.recorded"] * 2


async def test_a_denied_job_has_nothing_to_review(session: Session, request_for: Any) -> None:
    placed = await place(session, request_for(max_cost_usd_micros=1))
    with pytest.raises(NotReady, match="no video to review"):
        await review(session, placed.job, "approved")


@pytest.mark.parametrize("scores", [{"clarity": 101}, {"clarity": -1}, {"beauty": 50}])
async def test_a_score_out_of_range_records_nothing(
    session: Session, stored: Any, types: Any, scores: dict[str, int]
) -> None:
    job = await stored(session)
    with pytest.raises(BadInput, match="expected 0 to 100"):
        await review(session, job, "approved", scores)
    assert "review.recorded" not in types(job)
