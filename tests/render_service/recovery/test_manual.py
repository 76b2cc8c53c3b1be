"""A person may name the video of a lost submission, or say that there is none."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from decision.request.request import RenderRequest
from ledger.events import NoteRecorded, SubmissionRecovered
from ledger.job import Job
from ledger.terms import State
from render_service.recovery.reconcile import declare_absent, take_video
from render_service.runtime.errors import BadInput
from render_service.session.session import Session
from render_service.settlement.settle import settle
from render_service.submission.submit import place
from sora_adapter.errors import VideoNotFound
from tests.render_service.conftest import LastEvent

pytestmark = pytest.mark.anyio


async def test_the_video_a_person_names_is_taken(
    session: Session,
    lost: Callable[..., Awaitable[Job]],
    created: Callable[[], list[dict[str, Any]]],
    event: LastEvent,
) -> None:
    job = await lost(session)
    taken = (await take_video(session, job, created()[0]["id"])).job
    assert (taken.state, event(taken, SubmissionRecovered).how) == (State.RUNNING, "person")


async def test_a_video_the_server_does_not_have_is_refused(
    session: Session, lost: Callable[..., Awaitable[Job]]
) -> None:
    with pytest.raises(VideoNotFound):
        await take_video(session, await lost(session), "video_none")


async def test_a_video_of_another_prompt_is_refused(
    session: Session, lost: Callable[..., Awaitable[Job]], someone_else: Callable[..., str]
) -> None:
    with pytest.raises(BadInput, match=r"differs from the request of job_.* in the prompt"):
        await take_video(session, await lost(session), someone_else(prompt="a horse"))


async def test_a_person_may_insist(
    session: Session, lost: Callable[..., Awaitable[Job]], someone_else: Callable[..., str]
) -> None:
    other = someone_else(size="720x1280")
    taken = await take_video(session, await lost(session), other, force=True)
    assert taken.job.video_id == other


async def test_a_video_of_another_job_is_refused_also_to_who_insists(
    session: Session, lost: Callable[..., Awaitable[Job]], request_for: Callable[..., RenderRequest]
) -> None:
    other = (await place(session, request_for())).job
    with pytest.raises(BadInput, match=f"belongs to {other.job_id}: see"):
        await take_video(session, await lost(session), other.video_id or "", force=True)


async def test_of_two_who_name_one_video_for_two_jobs_one_gets_it(
    session: Session, lost: Callable[..., Awaitable[Job]], someone_else: Callable[..., str]
) -> None:
    jobs, video = [await lost(session, kept=False) for _ in range(2)], someone_else()
    taken = await asyncio.gather(*(take_video(session, job, video) for job in jobs), return_exceptions=True)
    assert sorted(type(one).__name__ for one in taken) == ["BadInput", "Settlement"]


async def test_an_attempt_that_was_cut_off_can_be_given_its_video(
    session: Session,
    cut_off: Callable[..., Awaitable[Job]],
    someone_else: Callable[..., str],
    types: Callable[[Job], list[str]],
) -> None:
    taken = await take_video(session, await cut_off(session), someone_else())
    assert types(taken.job)[-2:] == ["submission.unknown", "submission.recovered"]


async def test_a_person_may_say_that_there_is_none_and_why(
    session: Session, lost: Callable[..., Awaitable[Job]], event: LastEvent
) -> None:
    job = (await declare_absent(session, await lost(session, kept=False), "the operator sees none")).job
    assert (job.state, event(job, NoteRecorded).text.text) == (State.ABSENT, "the operator sees none")


async def test_what_was_said_to_be_absent_can_still_be_found(
    session: Session, lost: Callable[..., Awaitable[Job]], created: Callable[[], list[dict[str, Any]]]
) -> None:
    absent = await declare_absent(session, await lost(session), "by mistake")
    taken = await take_video(session, absent.job, created()[0]["id"])
    job = await settle(session, taken.job, interval_s=0.05, timeout_s=30)
    assert (job.state, job.settled_usd_micros) == (State.STORED, job.estimate_usd_micros)


@pytest.mark.parametrize("settle_by_hand", [take_video, declare_absent])
async def test_a_job_with_nothing_lost_cannot_be_settled_by_hand(
    session: Session, request_for: Callable[..., RenderRequest], settle_by_hand: Any
) -> None:
    job = (await place(session, request_for())).job
    with pytest.raises(BadInput, match="there is no lost submission to settle"):
        await settle_by_hand(session, job, "video_1")
