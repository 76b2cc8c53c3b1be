"""The events of a job, found once, each of its type."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from decision.request.request import RenderRequest
from ledger.events import AssetLost, AssetStored, NoteRecorded, SubmissionAbsent, SubmissionIntended
from ledger.job import Job
from ledger.private import Private
from ledger.terms import Variant
from render_service.session.history import JobHistory
from render_service.session.session import Session
from render_service.settlement.settle import record
from render_service.submission.submit import place

pytestmark = pytest.mark.anyio


async def test_a_history_says_what_was_asked_decided_attempted_and_answered(
    session: Session, stored: Callable[..., Awaitable[Job]]
) -> None:
    job = await stored(session)
    history = JobHistory.of(session.ledger, job)
    assert history.requested is not None
    assert history.requested.prompt.text == "a fox runs"
    assert history.adopted is None
    assert [entry.event.type for entry in history.decisions] == ["render.decided"]
    assert history.intent is not None
    assert history.outcome is not None
    assert history.outcome.event.type == "submission.accepted"
    assert history.server == history.intent.event.server
    assert history.began_at == history.intent.record.recorded_at
    assert history.version == job.version


async def test_a_job_that_was_only_decided_has_no_attempt(
    session: Session, request_for: Callable[..., RenderRequest]
) -> None:
    placed = await place(session, request_for(), queue=True)
    history = JobHistory.of(session.ledger, placed.job)
    assert (history.intent, history.outcome, history.lost, history.server) == (None, None, None, None)
    assert history.decision is not None


async def test_the_answer_to_an_earlier_attempt_is_not_that_of_the_last(
    session: Session, request_for: Callable[..., RenderRequest]
) -> None:
    job = (await place(session, request_for(request_key="k"), queue=True)).job
    first, second = attempt("attempt_1"), attempt("attempt_2")
    absent = SubmissionAbsent(attempt_id="attempt_1", how="never_connected")
    job = await record(session, job, first, absent)
    assert JobHistory.of(session.ledger, job).outcome is not None
    job = await record(session, job, second)
    history = JobHistory.of(session.ledger, job)
    assert (history.outcome, len(history.outcomes)) == (None, 1)
    assert history.intent is not None
    assert history.intent.event.attempt_id == "attempt_2"


def attempt(attempt_id: str) -> SubmissionIntended:
    return SubmissionIntended(
        attempt_id=attempt_id, request_sha256="0" * 64, profile="openai", server="http://a/v1", model="sora-2"
    )


async def test_a_file_that_was_stored_again_is_not_lost(
    session: Session, stored: Callable[..., Awaitable[Job]]
) -> None:
    job = await stored(session)
    [asset] = JobHistory.of(session.ledger, job).all_of(AssetStored)
    job = await record(session, job, AssetLost(variant=Variant.VIDEO, cause="deleted"))
    assert JobHistory.of(session.ledger, job).lost_variants == {Variant.VIDEO}
    job = await record(session, job, asset.event)
    assert JobHistory.of(session.ledger, job).lost_variants == set()


async def test_what_is_noted_about_a_job_changes_nothing_of_it(
    session: Session, stored: Callable[..., Awaitable[Job]]
) -> None:
    job = await record(session, await stored(session), NoteRecorded(text=Private.seal("text", "fine")))
    history = JobHistory.of(session.ledger, job)
    assert history.records[-1].type == "note.recorded"
    assert history.list_lapsed_overrides(datetime.now(UTC)) == []
    assert history.approved_until is None
    assert history.by_people == []
