"""Adopting looks at open submissions first; nothing that may be theirs becomes another job."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from decision.request.request import RenderRequest
from ledger.events import NoteRecorded, SubmissionRecovered
from ledger.job import Job
from ledger.private import Private
from ledger.store.interface import ANY
from ledger.terms import State
from render_service.adoption.adopt import adopt, archive, take_in
from render_service.recovery.reconcile import reconcile, reconcile_job
from render_service.recovery.search import find_known_job, with_prompts
from render_service.runtime.errors import MayBeOurs
from render_service.session.session import Session
from render_service.submission.submit import place
from sora_adapter.models import Observation
from sora_adapter.sandbox.server import SandboxServer
from tests.render_service.conftest import LastEvent

pytestmark = pytest.mark.anyio


async def seen_at(session: Session, video_id: str) -> Observation:
    async with session.connect(session.profile()) as client:
        return await client.observe(video_id)


async def test_adopting_the_video_of_a_lost_answer_recovers_its_job(
    session: Session,
    lost: Callable[..., Awaitable[Job]],
    created: Callable[[], list[dict[str, Any]]],
    event: LastEvent,
) -> None:
    job = await lost(session)
    [video] = created()
    found, now = await adopt(session, video["id"])
    assert (found.job_id, found.state, now) == (job.job_id, State.RUNNING, False)
    assert event(found, SubmissionRecovered).video_id == video["id"]


async def test_adopting_what_a_call_under_way_may_have_created_names_the_command(
    session: Session, cut_off: Callable[..., Awaitable[Job]], someone_else: Callable[..., str]
) -> None:
    job, video_id = await cut_off(session), someone_else()
    with pytest.raises(
        MayBeOurs, match=rf"sora-ledger reconcile {job.job_id} --video-id {video_id}`"
    ) as ours:
        await adopt(session, video_id)
    assert "its answer may still come" in str(ours.value)
    assert await find_known_job(session, session.profile(), video_id) is None


@pytest.mark.parametrize("changes", [{"prompt": "a fox"}, {"size": "720x1280"}, {"seconds": "8"}])
async def test_a_video_that_differs_in_one_thing_is_not_adopted(
    session: Session,
    lost: Callable[..., Awaitable[Job]],
    someone_else: Callable[..., str],
    changes: dict[str, str],
) -> None:
    await lost(session, kept=False)
    with pytest.raises(MayBeOurs, match="it differs in"):
        await adopt(session, someone_else(**changes))


async def test_a_video_that_differs_in_text_and_shape_is_adopted_and_keeps_absence_from_counting(
    session: Session,
    lost: Callable[..., Awaitable[Job]],
    someone_else: Callable[..., str],
    later: Callable[..., Session],
) -> None:
    job = await lost(session, kept=False)
    _, now = await adopt(session, someone_else(prompt="a horse", size="720x1280"))
    assert now
    assert (await reconcile_job(later(session, seconds=601), job)).verdict == "needs_person"


async def test_an_attempt_at_another_server_keeps_nobody_from_adopting(
    at: Callable[[str], Session],
    session: Session,
    request_for: Callable[..., RenderRequest],
    sandbox: Callable[..., SandboxServer],
    someone_else: Callable[..., str],
    tmp_path: Path,
) -> None:
    elsewhere = at(sandbox(data_dir=tmp_path / "elsewhere", faults=("create=lost:1",)).base_url)
    assert (await place(elsewhere, request_for())).job.state is State.UNKNOWN
    assert (await adopt(session, someone_else()))[1]


async def test_an_attempt_under_another_profile_of_the_server_counts(
    session: Session, lost: Callable[..., Awaitable[Job]], created: Callable[[], list[dict[str, Any]]]
) -> None:
    job = await lost(session, profile="custom")
    [video] = created()
    found, _ = await adopt(session, video["id"])
    assert (found.job_id, len(session.ledger.jobs())) == (job.job_id, 1)


async def test_a_settled_attempt_keeps_nobody_from_adopting(
    session: Session,
    lost: Callable[..., Awaitable[Job]],
    someone_else: Callable[..., str],
    later: Callable[..., Session],
) -> None:
    job = await lost(session, kept=False)
    await reconcile_job(later(session, seconds=601), job)
    assert (await adopt(session, someone_else(prompt="a horse")))[1]


async def test_a_video_that_fits_what_was_taken_for_absent_is_not_adopted(
    session: Session,
    lost: Callable[..., Awaitable[Job]],
    someone_else: Callable[..., str],
    later: Callable[..., Session],
) -> None:
    job = await lost(session, kept=False)
    await reconcile_job(later(session, seconds=601), job)
    with pytest.raises(MayBeOurs, match=f"{job.job_id}, which was presumed to have created nothing"):
        await adopt(session, someone_else())


async def test_an_archive_leaves_a_video_to_the_submission_it_may_belong_to(
    session: Session, lost: Callable[..., Awaitable[Job]], created: Callable[[], list[dict[str, Any]]]
) -> None:
    job = await lost(session)
    [video] = created()
    done = await archive(session)
    assert (done.listed, done.adopted, done.left) == (1, 0, [{"video_id": video["id"], "job_id": job.job_id}])


async def test_a_video_that_another_job_gets_in_between_leaves_the_attempt_waiting(
    session: Session,
    lost: Callable[..., Awaitable[Job]],
    created: Callable[[], list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = await lost(session)
    [video] = created()
    observation = await seen_at(session, video["id"])

    async def be_late(client: Any, attempts: Any, sightings: Any) -> Any:
        monkeypatch.setattr("render_service.adoption.adopt._find_unsettled", lambda *_: [])
        await take_in(session, session.profile(), observation, source="poll")
        note = NoteRecorded(text=Private.seal("text", "said in between"))
        await session.append(job.job_id, ANY, [session.draft(note)])
        return await with_prompts(client, attempts, sightings)

    monkeypatch.setattr("render_service.recovery.reconcile.with_prompts", be_late)
    settlement = await reconcile_job(session, job)
    assert (settlement.verdict, settlement.why, settlement.job.state) == (
        "waiting",
        "another job has just claimed its video",
        State.UNKNOWN,
    )
    assert settlement.job == session.ledger.job(job.job_id)


async def test_a_server_that_cannot_be_asked_leaves_only_its_own_jobs_waiting(
    session: Session, lost: Callable[..., Awaitable[Job]], tmp_path: Path
) -> None:
    profiles = tmp_path / "own.toml"
    profiles.write_text('[gone]\nlike = "custom"\n')
    had_it = replace(session, settings=replace(session.settings, profiles_file=profiles))
    here, there = await lost(session), await lost(had_it, profile="gone", prompt="an owl")
    ended = await reconcile(session, [here, there])
    assert [(one.job.job_id, one.verdict) for one in ended] == [
        (here.job_id, "recovered"),
        (there.job_id, "waiting"),
    ]
    assert ended[1].why.startswith("no server profile is called 'gone'")
