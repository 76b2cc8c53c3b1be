"""An answer that waits in a file is recorded once, whatever became of its attempt meanwhile."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ledger.errors import LedgerUnusable
from ledger.events import (
    SubmissionAbsent,
    SubmissionAccepted,
    SubmissionIntended,
    SubmissionRecovered,
    SubmissionSpooled,
    SubmissionUnknown,
)
from ledger.job import Job, State
from ledger.store.interface import Fence
from render_service.runtime.errors import AnsweredTooLate, AnswerSpooled
from render_service.session.session import Desk
from render_service.submission import spool
from render_service.submission.drain import drain
from render_service.submission.outcomes import record_outcome
from render_service.submission.submit import place

pytestmark = pytest.mark.anyio


@pytest.fixture
def desk(at: Callable[[str], Desk], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Desk:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    desk = at("http://127.0.0.1:9/v1")
    return replace(desk, settings=replace(desk.settings, retry_seconds=0.0))


@pytest.fixture
def submitting(desk: Desk, request_for: Callable[..., Any]) -> Any:
    """Bring a job to where its call is under way."""

    async def begin(prompt: str = "a fox runs") -> Job:
        job = (await place(desk, request_for(prompt=prompt), queue=True)).job
        attempt_id = f"attempt_{job.job_id}"
        intent = SubmissionIntended(
            attempt_id=attempt_id,
            request_sha256="0" * 64,
            profile=job.profile or "",
            server="http://127.0.0.1:9/v1",
            model="sora-2",
        )
        return await desk.advance(job, [desk.draft(intent)])

    return begin


@pytest.fixture
def spooled(desk: Desk, submitting: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have an answer come while the ledger cannot be written."""

    async def answered(prompt: str = "a fox runs", video_id: str = "video_1") -> tuple[Job, AnswerSpooled]:
        job = await submitting(prompt)

        def full(*_: Any, **__: Any) -> Any:
            raise LedgerUnusable("the disk is full")

        with monkeypatch.context() as broken:
            broken.setattr(desk.ledger.store, "append", full)
            with pytest.raises(AnswerSpooled) as said:
                await record_outcome(desk, job, accepted(job, video_id), goes_on=False)
        return job, said.value

    return answered


def accepted(job: Job, video_id: str = "video_1") -> SubmissionAccepted:
    return SubmissionAccepted(attempt_id=job.attempt_id or "", video_id=video_id, status="queued")  # type: ignore[arg-type]


def waiting(desk: Desk) -> list[spool.Waiting]:
    return list(spool.waiting(desk.settings, desk.ledger))


def last(desk: Desk, job: Job) -> Any:
    return desk.ledger.history(job.job_id)[-1].event


async def test_the_error_says_what_came_where_it_is_and_what_to_run(desk: Desk, spooled: Any) -> None:
    job, said = await spooled()
    [one] = waiting(desk)
    named = (job.job_id, job.attempt_id, "video_1", str(one.path), f"sora-ledger poll --id {job.job_id}")
    assert [name for name in named if name not in str(said)] == []


async def test_it_is_recorded_once_with_the_events_that_were_drafted(
    desk: Desk, spooled: Any, intact: Any
) -> None:
    job, _ = await spooled()
    [one] = waiting(desk)
    content = one.path.read_bytes()
    assert [done.applied for done in drain(desk)] == [True]
    one.path.write_bytes(content)  # as if the process had been killed before it deleted the file
    size = desk.ledger.head().size
    assert [done.applied for done in drain(desk)] == [True]
    now = desk.ledger.job(job.job_id)
    assert (now.state, now.video_id, desk.ledger.head().size, waiting(desk)) == (
        State.RUNNING,
        "video_1",
        size,
        [],
    )
    assert one.spooled is not None
    assert desk.ledger.event(one.spooled.drafts[0].event_id).occurred_at == one.spooled.drafts[0].occurred_at
    assert intact()


async def test_it_follows_on_an_attempt_that_was_taken_for_lost(desk: Desk, spooled: Any) -> None:
    job, _ = await spooled()
    await desk.advance(job, [desk.draft(SubmissionUnknown(attempt_id=job.attempt_id, lost="crash"))])
    assert [done.applied for done in drain(desk)] == [True]
    assert desk.ledger.job(job.job_id).video_id == "video_1"


async def test_a_video_that_was_found_in_a_list_meanwhile_is_not_recorded_again(
    desk: Desk, spooled: Any, intact: Any
) -> None:
    job, _ = await spooled()
    found = SubmissionRecovered(attempt_id=job.attempt_id, video_id="video_1", how="list", status="queued")
    lost = SubmissionUnknown(attempt_id=job.attempt_id, lost="crash")
    await desk.advance(job, [desk.draft(lost), desk.draft(found)])
    assert [done.applied for done in drain(desk)] == [False]
    assert (last(desk, job).type, desk.ledger.job(job.job_id).video_id) == ("submission.spooled", "video_1")
    assert intact()


async def test_a_video_of_an_attempt_that_was_declared_absent_is_named_in_the_record(
    desk: Desk, spooled: Any, intact: Any
) -> None:
    job, _ = await spooled()
    absent = SubmissionAbsent(attempt_id=job.attempt_id, how="person")
    await desk.advance(job, [desk.draft(absent)])
    drain(desk)
    event = last(desk, job)
    assert isinstance(event, SubmissionSpooled)
    assert (event.applied, event.video_id, waiting(desk)) == (False, "video_1", [])
    assert intact()


async def test_a_video_that_another_job_has_leaves_the_outcome_unknown(
    desk: Desk, spooled: Any, submitting: Any, intact: Any
) -> None:
    job, _ = await spooled()
    other = await submitting("an owl flies")
    await record_outcome(desk, other, accepted(other), goes_on=False)
    drain(desk)
    assert (desk.ledger.job(job.job_id).state, waiting(desk)) == (State.UNKNOWN, [])
    assert intact()


async def test_an_acceptance_after_its_lease_was_lost_is_kept_and_recorded(
    desk: Desk, submitting: Any
) -> None:
    job = await submitting()
    desk.fences[job.job_id] = Fence(job.job_id, 99)
    with pytest.raises(AnsweredTooLate, match="the lease was lost"):
        await record_outcome(desk, job, accepted(job), goes_on=False)
    desk.fences.clear()
    assert [done.applied for done in drain(desk)] == [True]
    assert desk.ledger.job(job.job_id).video_id == "video_1"


async def test_a_job_that_is_not_in_this_copy_of_the_ledger_keeps_its_file(
    desk: Desk, spooled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await spooled()
    monkeypatch.setattr(desk.ledger.store, "job", lambda _: None)
    assert (drain(desk), len(waiting(desk))) == ([], 1)


async def test_where_the_folder_beside_the_ledger_takes_nothing_the_users_own_does(
    desk: Desk, spooled: Any, tmp_path: Path
) -> None:
    assert desk.settings.ledger_path is not None
    desk.settings.ledger_path.with_name(f"{desk.settings.ledger_path.name}.spool").write_text("in the way")
    await spooled()
    [one] = waiting(desk)
    assert one.path.parent == tmp_path / "data" / "sora-ledger" / "spool" / desk.ledger.ledger_id
    assert [done.applied for done in drain(desk)] == [True]


async def test_where_no_folder_takes_it_both_ids_are_told_with_the_command(
    desk: Desk, spooled: Any, tmp_path: Path
) -> None:
    assert desk.settings.ledger_path is not None
    desk.settings.ledger_path.with_name(f"{desk.settings.ledger_path.name}.spool").write_text("in the way")
    (tmp_path / "data").write_text("in the way too")
    job, said = await spooled()
    named = (str(job.attempt_id), f"sora-ledger reconcile {job.job_id} --video-id video_1")
    assert [name for name in named if name not in str(said)] == []
