"""An answer that waits in a file is recorded once, whatever became of its attempt meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from decision.request.request import RenderRequest
from ledger.errors import LedgerUnusable
from ledger.events import (
    SubmissionAbsent,
    SubmissionAccepted,
    SubmissionIntended,
    SubmissionRecovered,
    SubmissionSpooled,
    SubmissionUnknown,
)
from ledger.job import Job
from ledger.store.interface import Fence
from ledger.terms import State
from render_service.api.sessions import drain, open_session
from render_service.runtime.errors import AnsweredTooLate, AnswerSpooled
from render_service.session.session import Session
from render_service.submission import spool
from render_service.submission.outcomes import record_outcome
from render_service.submission.submit import place

pytestmark = pytest.mark.anyio


@pytest.fixture
def session(at: Callable[[str], Session], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Session:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    session = at("http://127.0.0.1:9/v1")
    return replace(session, settings=replace(session.settings, retry_seconds=0.0))


@pytest.fixture
def submitting(session: Session, request_for: Callable[..., RenderRequest]) -> Callable[..., Awaitable[Job]]:
    """Bring a job to where its call is under way."""

    async def begin(prompt: str = "a fox runs") -> Job:
        job = (await place(session, request_for(prompt=prompt), queue=True)).job
        attempt_id = f"attempt_{job.job_id}"
        intent = SubmissionIntended(
            attempt_id=attempt_id,
            request_sha256="0" * 64,
            profile=job.profile or "",
            server="http://127.0.0.1:9/v1",
            model="sora-2",
        )
        return await session.advance(job, [session.draft(intent)])

    return begin


@pytest.fixture
def spooled(
    session: Session, submitting: Callable[..., Awaitable[Job]], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Awaitable[tuple[Job, AnswerSpooled]]]:
    """Have an answer come while the ledger cannot be written."""

    async def answered(prompt: str = "a fox runs", video_id: str = "video_1") -> tuple[Job, AnswerSpooled]:
        job = await submitting(prompt)

        def full(*_: Any, **__: Any) -> Any:
            raise LedgerUnusable("the disk is full")

        with monkeypatch.context() as broken:
            broken.setattr(session.ledger.store, "append", full)
            with pytest.raises(AnswerSpooled) as said:
                await record_outcome(session, job, accepted(job, video_id), goes_on=False)
        return job, said.value

    return answered


def accepted(job: Job, video_id: str = "video_1") -> SubmissionAccepted:
    return SubmissionAccepted(attempt_id=job.attempt_id or "", video_id=video_id, status="queued")


def waiting(session: Session) -> list[spool.Waiting]:
    return list(spool.waiting(session.settings, session.ledger))


def last(session: Session, job: Job) -> Any:
    return session.ledger.history(job.job_id)[-1].event


async def test_the_error_says_what_came_where_it_is_and_what_to_run(
    session: Session, spooled: Callable[..., Awaitable[tuple[Job, AnswerSpooled]]]
) -> None:
    job, said = await spooled()
    [one] = waiting(session)
    named = (job.job_id, job.attempt_id, "video_1", str(one.path), f"sora-ledger poll --id {job.job_id}")
    assert [name for name in named if name not in str(said)] == []


async def test_it_is_recorded_once_with_the_events_that_were_drafted(
    session: Session, spooled: Callable[..., Awaitable[tuple[Job, AnswerSpooled]]], intact: Callable[[], bool]
) -> None:
    job, _ = await spooled()
    [one] = waiting(session)
    content = one.path.read_bytes()
    assert [done.applied for done in drain(session)] == [True]
    one.path.write_bytes(content)  # as if the process had been killed before it deleted the file
    size = session.ledger.head().size
    assert [done.applied for done in drain(session)] == [True]
    now = session.ledger.job(job.job_id)
    assert (now.state, now.video_id, session.ledger.head().size, waiting(session)) == (
        State.RUNNING,
        "video_1",
        size,
        [],
    )
    assert one.spooled is not None
    assert (
        session.ledger.event(one.spooled.drafts[0].event_id).occurred_at == one.spooled.drafts[0].occurred_at
    )
    assert intact()


async def test_it_is_recorded_before_a_session_that_is_opened_next_does_anything(
    session: Session, spooled: Callable[..., Awaitable[tuple[Job, AnswerSpooled]]]
) -> None:
    job, _ = await spooled()
    opened = await asyncio.to_thread(open_session, session.settings, session.trace, session.log)
    try:
        assert (opened.ledger.job(job.job_id).video_id, waiting(session)) == ("video_1", [])
    finally:
        await opened.close()


async def test_it_follows_on_an_attempt_that_was_taken_for_lost(
    session: Session, spooled: Callable[..., Awaitable[tuple[Job, AnswerSpooled]]]
) -> None:
    job, _ = await spooled()
    await session.advance(job, [session.draft(SubmissionUnknown(attempt_id=job.attempt_id, lost="crash"))])
    assert [done.applied for done in drain(session)] == [True]
    assert session.ledger.job(job.job_id).video_id == "video_1"


async def test_a_video_that_was_found_in_a_list_meanwhile_is_not_recorded_again(
    session: Session, spooled: Callable[..., Awaitable[tuple[Job, AnswerSpooled]]], intact: Callable[[], bool]
) -> None:
    job, _ = await spooled()
    found = SubmissionRecovered(attempt_id=job.attempt_id, video_id="video_1", how="list", status="queued")
    lost = SubmissionUnknown(attempt_id=job.attempt_id, lost="crash")
    await session.advance(job, [session.draft(lost), session.draft(found)])
    assert [done.applied for done in drain(session)] == [False]
    assert (last(session, job).type, session.ledger.job(job.job_id).video_id) == (
        "submission.spooled",
        "video_1",
    )
    assert intact()


async def test_a_video_of_an_attempt_that_was_declared_absent_is_named_in_the_record(
    session: Session, spooled: Callable[..., Awaitable[tuple[Job, AnswerSpooled]]], intact: Callable[[], bool]
) -> None:
    job, _ = await spooled()
    absent = SubmissionAbsent(attempt_id=job.attempt_id, how="person")
    await session.advance(job, [session.draft(absent)])
    drain(session)
    event = last(session, job)
    assert isinstance(event, SubmissionSpooled)
    assert (event.applied, event.video_id, waiting(session)) == (False, "video_1", [])
    assert intact()


async def test_a_video_that_another_job_has_leaves_the_outcome_unknown(
    session: Session,
    spooled: Callable[..., Awaitable[tuple[Job, AnswerSpooled]]],
    submitting: Callable[..., Awaitable[Job]],
    intact: Callable[[], bool],
) -> None:
    job, _ = await spooled()
    other = await submitting("an owl flies")
    await record_outcome(session, other, accepted(other), goes_on=False)
    drain(session)
    assert (session.ledger.job(job.job_id).state, waiting(session)) == (State.UNKNOWN, [])
    assert intact()


async def test_an_acceptance_after_its_lease_was_lost_is_kept_and_recorded(
    session: Session, submitting: Callable[..., Awaitable[Job]]
) -> None:
    job = await submitting()
    session.fences[job.job_id] = Fence(job.job_id, 99)
    with pytest.raises(AnsweredTooLate, match="the lease was lost"):
        await record_outcome(session, job, accepted(job), goes_on=False)
    session.fences.clear()
    assert [done.applied for done in drain(session)] == [True]
    assert session.ledger.job(job.job_id).video_id == "video_1"


async def test_a_job_that_is_not_in_this_copy_of_the_ledger_keeps_its_file(
    session: Session,
    spooled: Callable[..., Awaitable[tuple[Job, AnswerSpooled]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await spooled()
    monkeypatch.setattr(session.ledger.store, "job", lambda _: None)
    assert (drain(session), len(waiting(session))) == ([], 1)


async def test_where_the_folder_beside_the_ledger_takes_nothing_the_users_own_does(
    session: Session, spooled: Callable[..., Awaitable[tuple[Job, AnswerSpooled]]], tmp_path: Path
) -> None:
    assert session.settings.ledger_path is not None
    session.settings.ledger_path.with_name(f"{session.settings.ledger_path.name}.spool").write_text(
        "in the way"
    )
    await spooled()
    [one] = waiting(session)
    assert one.path.parent == tmp_path / "data" / "sora-ledger" / "spool" / session.ledger.ledger_id
    assert [done.applied for done in drain(session)] == [True]


async def test_where_no_folder_takes_it_both_ids_are_shown_with_the_command(
    session: Session, spooled: Callable[..., Awaitable[tuple[Job, AnswerSpooled]]], tmp_path: Path
) -> None:
    assert session.settings.ledger_path is not None
    session.settings.ledger_path.with_name(f"{session.settings.ledger_path.name}.spool").write_text(
        "in the way"
    )
    (tmp_path / "data").write_text("in the way too")
    job, said = await spooled()
    named = (str(job.attempt_id), f"sora-ledger reconcile {job.job_id} --video-id video_1")
    assert [name for name in named if name not in str(said)] == []
