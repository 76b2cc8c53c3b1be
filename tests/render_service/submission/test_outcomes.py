"""What came of an attempt is recorded, whatever was said about the job during the call."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec import structs

from decision.request.request import RenderRequest
from ledger.events import (
    NoteRecorded,
    SubmissionAbsent,
    SubmissionAccepted,
    SubmissionIntended,
    SubmissionRecovered,
    SubmissionUnknown,
)
from ledger.job import Job
from ledger.private import Private
from ledger.record import Draft
from ledger.store.interface import ANY
from ledger.terms import State
from render_service.runtime.errors import AnsweredTooLate
from render_service.session.event_ids import claim_id
from render_service.session.servers import server_name
from render_service.session.session import Session
from render_service.submission import outcomes
from render_service.submission.outcomes import Keeping, record_outcome
from render_service.submission.submit import place
from tests.conftest import Faults
from tests.render_service.conftest import LastEvent

pytestmark = pytest.mark.anyio


@pytest.fixture
def submitting(
    at: Callable[[str], Session], faults: Faults, request_for: Callable[..., RenderRequest]
) -> Callable[..., Awaitable[tuple[Session, Job]]]:
    """Bring a job to where its call is under way, in a session."""
    session = at(faults.base_url)

    async def begin(prompt: str = "a fox runs") -> tuple[Session, Job]:
        faults.then(0)
        placed = await place(session, request_for(prompt=prompt))
        again = await session.advance(
            await session.advance(placed.job, [session.draft(absent(placed.job))]),
            [session.draft(intent_of(session, placed.job))],
        )
        return session, again

    return begin


def absent(job: Job) -> SubmissionAbsent:
    return SubmissionAbsent(attempt_id=job.attempt_id or "", how="person")


def intent_of(session: Session, job: Job) -> SubmissionIntended:
    first = next(
        r.event for r in session.ledger.history(job.job_id) if isinstance(r.event, SubmissionIntended)
    )
    return structs.replace(first, attempt_id="attempt_2", sent_sha256=None, key_digest=None)


def accepted(video_id: str = "video_1") -> SubmissionAccepted:
    return SubmissionAccepted(attempt_id="attempt_2", video_id=video_id, status="queued")


async def test_an_acceptance_claims_its_video(
    submitting: Callable[..., Awaitable[tuple[Session, Job]]],
) -> None:
    session, job = await submitting()
    await record_outcome(session, job, accepted(), goes_on=False)
    server = server_name("openai", session.settings.base_url)
    claim = session.ledger.event(claim_id(server, "video_1"))
    assert (claim.type, claim.stream) == ("submission.accepted", job.job_id)


async def test_an_answer_with_the_video_of_another_job_leaves_the_outcome_unknown(
    submitting: Callable[..., Awaitable[tuple[Session, Job]]],
    intact: Callable[[], bool],
    event: LastEvent,
) -> None:
    session, first = await submitting("a fox")
    _, second = await submitting("an owl")
    jobs = [await record_outcome(session, job, accepted(), goes_on=False) for job in (first, second)]
    assert [(job.state, job.video_id) for job in jobs] == [
        (State.RUNNING, "video_1"),
        (State.UNKNOWN, None),
    ]
    error = event(jobs[1], SubmissionUnknown).error
    assert (error.code, error.message.text) == (
        "video_of_another_job",
        f"video_1 belongs to {first.job_id}, so it may have made another video, or none",
    )
    assert intact()


async def test_an_older_claim_that_names_the_profile_is_respected(
    submitting: Callable[..., Awaitable[tuple[Session, Job]]],
    event: LastEvent,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session, first = await submitting("a fox")
    _, second = await submitting("an owl")
    with monkeypatch.context() as older:
        older.setattr("render_service.submission.outcomes.server_name_in_use", lambda _, profile: profile)
        await record_outcome(session, first, accepted(), goes_on=False)
    job = await record_outcome(session, second, accepted(), goes_on=False)
    assert (job.state, event(job, SubmissionUnknown).error.code) == (State.UNKNOWN, "video_of_another_job")


async def test_an_acceptance_follows_on_an_attempt_that_was_taken_for_lost(
    submitting: Callable[..., Awaitable[tuple[Session, Job]]],
) -> None:
    session, job = await submitting()
    await session.advance(job, [session.draft(SubmissionUnknown(attempt_id="attempt_2", lost="crash"))])
    assert (await record_outcome(session, job, accepted(), goes_on=False)).state is State.RUNNING


async def test_an_acceptance_is_recorded_however_often_the_job_is_annotated_meanwhile(
    submitting: Callable[..., Awaitable[tuple[Session, Job]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    session, job = await submitting()
    advance, notes = Session.advance, ["one", "two", "three"]

    async def annotated(self: Session, job: Job, drafts: Any, **more: Any) -> Job:
        if notes:
            note = self.draft(NoteRecorded(text=Private.seal("text", notes.pop())))
            await self.append(job.job_id, ANY, [note])
        return await advance(self, job, drafts, **more)

    monkeypatch.setattr(Session, "advance", annotated)
    recorded = await record_outcome(session, job, accepted(), goes_on=False)
    assert (recorded.state, recorded.video_id, notes) == (State.RUNNING, "video_1", [])


async def test_an_acceptance_of_what_was_declared_absent_says_how_to_take_it_in(
    submitting: Callable[..., Awaitable[tuple[Session, Job]]],
) -> None:
    session, job = await submitting()
    await session.advance(job, [session.draft(SubmissionAbsent(attempt_id="attempt_2", how="person"))])
    with pytest.raises(AnsweredTooLate, match=r"reconcile job_.* --video-id video_1` claims it"):
        await record_outcome(session, job, accepted(), goes_on=False)


async def test_an_acceptance_of_a_video_that_was_found_meanwhile_changes_nothing(
    submitting: Callable[..., Awaitable[tuple[Session, Job]]], types: Callable[[Job], list[str]]
) -> None:
    session, job = await submitting()
    lost = SubmissionUnknown(attempt_id="attempt_2", lost="crash")
    unknown = await session.advance(job, [session.draft(lost)])
    await session.advance(unknown, [found(session, "video_1")])
    recorded = await record_outcome(session, job, accepted(), goes_on=False)
    assert (recorded.state, recorded.video_id) == (State.RUNNING, "video_1")
    assert types(job)[-1] == "submission.recovered"


async def test_an_acceptance_of_an_attempt_that_got_another_video_says_how_to_adopt_its_own(
    submitting: Callable[..., Awaitable[tuple[Session, Job]]],
) -> None:
    session, job = await submitting()
    lost = SubmissionUnknown(attempt_id="attempt_2", lost="crash")
    unknown = await session.advance(job, [session.draft(lost)])
    await session.advance(unknown, [found(session, "video_9")])
    with pytest.raises(AnsweredTooLate, match="`sora-ledger adopt --id video_1` claims it"):
        await record_outcome(session, job, accepted(), goes_on=False)
    assert session.ledger.event(claim_id(server_name("openai", session.settings.base_url), "video_1")) is None


def found(session: Session, video_id: str) -> Draft:
    recovered = SubmissionRecovered(attempt_id="attempt_2", video_id=video_id, how="list", status="queued")
    server = server_name("openai", session.settings.base_url)
    return session.draft(recovered, event_id=claim_id(server, video_id))


@pytest.mark.parametrize("slow", [False, True])
async def test_an_answer_is_kept_in_a_file_only_while_its_ledger_is_slow(
    submitting: Callable[..., Awaitable[tuple[Session, Job]]], monkeypatch: pytest.MonkeyPatch, *, slow: bool
) -> None:
    session, job = await submitting()
    stored: list[str] = []
    keep = Keeping.keep

    async def noted(keeping: Keeping, why: str) -> None:
        stored.append(why)
        await keep(keeping, why)

    monkeypatch.setattr(Keeping, "keep", noted)
    if slow:
        monkeypatch.setattr(outcomes, "SLOW_S", 0.0)
    recorded = await record_outcome(session, job, accepted(), goes_on=False)
    reasons = ["the ledger takes more than 0 s to record it"] if slow else []
    assert (recorded.state, stored) == (State.RUNNING, reasons)
