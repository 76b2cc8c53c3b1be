"""A review of a video: recorded with its scores, the last verdict counts."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from decision.request.request import RenderRequest
from ledger.events import ReviewRecorded
from ledger.job import Job
from render_service.approvals.reviews import NoteAt, agreement, read_note, review, reviews_in
from render_service.runtime.errors import BadInput, NotReady
from render_service.session.history import JobHistory
from render_service.session.session import Session
from render_service.submission.submit import place
from tests.render_service.conftest import LastEvent

pytestmark = pytest.mark.anyio


async def test_a_review_keeps_verdict_scores_and_notes(
    session: Session, stored: Callable[..., Awaitable[Job]], event: LastEvent
) -> None:
    job = await review(session, await stored(session), "approved", {"clarity": 90}, "good light")
    recorded = event(job, ReviewRecorded)
    assert (recorded.verdict, recorded.scores, recorded.notes.text) == (
        "approved",
        {"clarity": 90},
        "good light",
    )


async def test_the_last_verdict_counts(session: Session, stored: Callable[..., Awaitable[Job]]) -> None:
    job = await review(session, await stored(session), "approved")
    assert (await review(session, job, "rejected")).verdict == "rejected"


async def test_a_review_beside_another_is_recorded_as_well(
    session: Session, stored: Callable[..., Awaitable[Job]], types: Callable[[Job], list[str]]
) -> None:
    job = await stored(session)
    await review(session, job, "approved")
    await review(session, job, "changes_requested")
    assert types(job)[-2:] == ["review.recorded"] * 2


async def test_a_denied_job_has_nothing_to_review(
    session: Session, request_for: Callable[..., RenderRequest]
) -> None:
    placed = await place(session, request_for(max_cost_usd_micros=1))
    with pytest.raises(NotReady, match="no video to review"):
        await review(session, placed.job, "approved")


@pytest.mark.parametrize("scores", [{"clarity": 101}, {"clarity": -1}, {"beauty": 50}])
async def test_a_score_out_of_range_records_nothing(
    session: Session,
    stored: Callable[..., Awaitable[Job]],
    types: Callable[[Job], list[str]],
    scores: dict[str, int],
) -> None:
    job = await stored(session)
    with pytest.raises(BadInput, match="expected 0 to 100"):
        await review(session, job, "approved", scores)
    assert "review.recorded" not in types(job)


async def test_notes_about_moments_are_recorded_in_their_order(
    session: Session, stored: Callable[..., Awaitable[Job]], event: LastEvent
) -> None:
    notes = [read_note("0:03.25=the logo"), read_note("2.5 = hands")]
    job = await review(session, await stored(session), "changes_requested", timed_notes=notes)
    recorded = event(job, ReviewRecorded).timed_notes
    assert [(note.at_ms, note.text.text) for note in recorded] == [(2_500, "hands"), (3_250, "the logo")]


@pytest.mark.parametrize(
    "text", ["hands", "2.5=", "=hands", "-1=hands", "two=hands", "1:2:3=hands", "2.5555=x"]
)
def test_a_note_without_a_moment_or_a_text_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="expected a time in the clip and a text"):
        read_note(text)


async def test_a_note_after_the_end_of_the_clip_records_nothing(
    session: Session, stored: Callable[..., Awaitable[Job]], types: Callable[[Job], list[str]]
) -> None:
    job = await stored(session)
    with pytest.raises(BadInput, match=r"note at 9\.5 s: the clip of job_\w+ is 4(\.\d+)? s long"):
        await review(session, job, "approved", timed_notes=[NoteAt(9_500, "too late")])
    assert "review.recorded" not in types(job)


async def test_the_last_review_of_each_person_says_how_far_they_agree(
    session: Session, stored: Callable[..., Awaitable[Job]]
) -> None:
    job = await stored(session)
    for name, verdict, clarity in (("ana", "rejected", 20), ("bob", "approved", 60), ("ana", "approved", 90)):
        acting = replace(session, settings=replace(session.settings, actor=name))
        job = await review(acting, job, verdict, {"clarity": clarity})
    agreed = agreement(reviews_in(JobHistory.of(session.ledger, job)))
    assert agreed.words == "2 reviewers agree: approved"
    assert agreed.scores == {"clarity": (60, 75, 90)}
    acting = replace(session, settings=replace(session.settings, actor="eve"))
    job = await review(acting, job, "changes_requested")
    agreed = agreement(reviews_in(JobHistory.of(session.ledger, job)))
    assert agreed.words == "3 reviewers do not agree: 2 approved, 1 changes_requested"
