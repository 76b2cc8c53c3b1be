"""Erasing in a session: the texts and files go, jobs, costs and proofs stay."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from PIL import Image

from decision.request.request import RenderRequest
from ledger.events import AssetLost, PrivateErased, ReviewRecorded
from ledger.job import Job
from ledger.log.opening import open_ledger
from ledger.private import Private, private_values
from ledger.record import timestamp
from ledger.store.interface import ANY
from ledger.store.sqlite.snapshot import SqliteSnapshot
from ledger.terms import State, Variant
from ledger.tree.merkle import root_at
from ledger.verify import verify
from render_service.assets.fit import Fit, first_frame
from render_service.assets.inputs import Material
from render_service.maintenance import erase as erase_module
from render_service.maintenance.erase import Plan, Selection, erase, plan
from render_service.runtime.errors import NotReady
from render_service.runtime.settings import Settings
from render_service.runtime.telemetry import Log
from render_service.session.session import Session
from render_service.settlement.settle import settle
from render_service.submission.submit import place
from tests.render_service.conftest import LastEvent

pytestmark = pytest.mark.anyio
PROMPT = "a zebracorn by the canal"
NOTES = "the quixotic mane is too long"


@pytest.fixture
async def job(session: Session, stored: Callable[..., Awaitable[Job]]) -> Job:
    """Return a finished job whose prompt is `PROMPT`."""
    done: Job = await stored(session, prompt=PROMPT)
    return done


async def carry_out(session: Session, *, with_files: bool = False, **which: Any) -> Plan:
    planned = plan(session.ledger, Selection(**which), session.assets if with_files else None)
    await erase(session, planned, "subject_request")
    return planned


def texts(session: Session) -> list[str | None]:
    return [value.text for record in session.ledger.read() for _, value in private_values(record.event)]


async def review(session: Session, job: Job, by: str) -> None:
    reviewer = replace(session, settings=replace(session.settings, actor=by))
    event = ReviewRecorded(verdict="rejected", notes=Private.seal("notes", NOTES))
    await session.append(job.job_id, ANY, [reviewer.draft(event)])


async def test_no_file_of_the_ledger_holds_the_text(session: Session, job: Job, settings: Settings) -> None:
    await carry_out(session, job_id=job.job_id)
    assert settings.ledger_path
    files = [file for file in settings.ledger_path.parent.iterdir() if file.is_file()]
    assert [file.name for file in files if b"zebracorn" in file.read_bytes()] == []


async def test_the_log_lines_of_erasing_hold_no_text(
    settings: Settings, session: Session, job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    talkative = replace(session, log=Log(session.trace, quiet=False))
    await carry_out(talkative, job_id=job.job_id)
    text = capsys.readouterr().err
    assert ("private.erased" in text, "zebracorn" in text) == (True, False)


async def test_the_job_is_as_it_was(session: Session, job: Job) -> None:
    await carry_out(session, job_id=job.job_id)
    now = session.ledger.job(job.job_id)
    facts = {"version": now.version, "position": now.position, "updated_at": now.updated_at}
    assert now == structs.replace(job, **facts)


async def test_the_ledger_verifies(session: Session, job: Job, intact: Callable[[], bool]) -> None:
    await carry_out(session, job_id=job.job_id, with_files=True)
    assert intact()


async def test_the_root_from_before_is_still_that_of_its_size(
    session: Session, job: Job, settings: Settings
) -> None:
    size, root = session.ledger.head()
    await carry_out(session, job_id=job.job_id)
    assert settings.ledger_path
    with SqliteSnapshot(settings.ledger_path) as tables:
        recomputed = verify(tables, roots_at=[size]).roots[size]
    assert (recomputed, root_at(session.ledger.store, size)) == (root, root)


async def test_erasing_again_records_nothing(session: Session, job: Job) -> None:
    await carry_out(session, job_id=job.job_id, with_files=True)
    size = session.ledger.head().size
    again = await carry_out(session, job_id=job.job_id, with_files=True)
    assert (session.ledger.head().size, again.texts) == (size, 0)


async def test_the_texts_of_an_actor_are_found_in_every_job(session: Session, job: Job) -> None:
    await review(session, job, "bo")
    await carry_out(session, actor="bo")
    left = texts(session)
    assert (PROMPT in left, NOTES in left) == (True, False)


async def test_the_texts_of_others_in_a_job_stay_where_an_actor_is_named_too(
    session: Session, job: Job
) -> None:
    await review(session, job, "bo")
    await carry_out(session, job_id=job.job_id, actor="ana")
    left = texts(session)
    assert (PROMPT in left, NOTES in left) == (False, True)


async def test_only_what_is_older_is_erased(session: Session, job: Job) -> None:
    later = datetime.now(UTC) + timedelta(days=400)
    await review(replace(session, clock=lambda: later), job, "ana")
    await carry_out(session, before=timestamp(later - timedelta(days=365)))
    left = texts(session)
    assert (PROMPT in left, NOTES in left) == (False, True)


async def test_many_texts_of_a_stream_are_named_in_several_events(
    session: Session,
    job: Job,
    types: Callable[[Job], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    intact: Callable[[], bool],
) -> None:
    for _ in range(4):
        await review(session, job, "ana")
    monkeypatch.setattr(erase_module, "MOST_IN_ONE_EVENT", 2)
    planned = await carry_out(session, job_id=job.job_id)
    assert types(job).count(PrivateErased.type) == (planned.texts + 1) // 2 >= 2
    assert intact()


async def test_many_streams_are_erased_in_several_appends(
    session: Session,
    stored: Callable[..., Awaitable[Job]],
    monkeypatch: pytest.MonkeyPatch,
    intact: Callable[[], bool],
) -> None:
    for _ in range(3):
        await stored(session, prompt=PROMPT)
    monkeypatch.setattr(erase_module, "STREAMS_TOGETHER", 2)
    await carry_out(session, actor="ana")
    assert set(texts(session)) == {None}
    assert intact()


# --- text that is still needed ---


@pytest.fixture
async def waiting(session: Session, request_for: Callable[..., RenderRequest]) -> Job:
    """Return a job that is decided and not submitted yet."""
    return (await place(session, request_for(prompt=PROMPT), queue=True)).job


async def test_a_job_that_is_not_submitted_keeps_its_text(session: Session, waiting: Job) -> None:
    with pytest.raises(NotReady, match=r"its text is still needed: `sora-ledger cancel .*` withdraws"):
        plan(session.ledger, Selection(job_id=waiting.job_id))


async def test_among_many_a_job_that_is_not_submitted_is_kept_and_named(
    session: Session, waiting: Job
) -> None:
    planned = await carry_out(session, actor="ana")
    assert (planned.needed, PROMPT in texts(session)) == ([waiting.job_id], True)


# --- files ---


async def test_files_stay_unless_they_are_named_too(session: Session, job: Job) -> None:
    await carry_out(session, job_id=job.job_id)
    assert session.assets.path(job.assets[Variant.VIDEO].storage_uri).is_file()


async def test_the_stored_video_is_deleted(session: Session, job: Job) -> None:
    await carry_out(session, job_id=job.job_id, with_files=True)
    assert not session.assets.path(job.assets[Variant.VIDEO].storage_uri).exists()


async def test_its_loss_is_recorded(session: Session, job: Job, event: LastEvent) -> None:
    await carry_out(session, job_id=job.job_id, with_files=True)
    assert event(job, AssetLost) == AssetLost(variant=Variant.VIDEO, cause="deleted")
    assert session.ledger.job(job.job_id).state is State.LOST


async def test_a_file_that_another_job_has_too_stays_and_is_named(
    session: Session, job: Job, stored: Callable[..., Awaitable[Job]]
) -> None:
    other: Job = await stored(session, prompt=PROMPT)
    asset = job.assets[Variant.VIDEO]
    same = asset.sha256 == other.assets[Variant.VIDEO].sha256
    planned = await carry_out(session, job_id=job.job_id, with_files=True)
    expected = {asset.storage_uri: other.job_id} if same else {}
    assert (planned.shared, session.assets.path(asset.storage_uri).exists()) == (expected, same)


async def test_the_images_given_with_a_request_are_deleted_too(
    session: Session, request_for: Callable[..., RenderRequest], tmp_path: Path
) -> None:
    picture = tmp_path / "boat.jpg"
    Image.new("RGB", (640, 360), "teal").save(picture)
    frame = first_frame(picture, "1280x720", Fit.COVER)
    material = Material(reference=frame.content, original=frame.original)
    placed = await place(session, request_for(input_reference=frame.image), material)
    kept = list(session.assets.folder.glob("sha256/*/*"))
    job = await settle(session, placed.job, interval_s=0.05, timeout_s=30)
    await carry_out(session, job_id=job.job_id, with_files=True)
    assert (len(kept), [file for file in kept if file.exists()]) == (2, [])


async def test_a_file_that_came_back_is_deleted_by_erasing_again(session: Session, job: Job) -> None:
    """So does a crash between the record and the deletion leave it."""
    path = session.assets.path(job.assets[Variant.VIDEO].storage_uri)
    content = path.read_bytes()
    await carry_out(session, job_id=job.job_id, with_files=True)
    size = session.ledger.head().size
    path.write_bytes(content)
    await carry_out(session, job_id=job.job_id, with_files=True)
    assert (path.exists(), session.ledger.head().size) == (False, size)


async def test_planning_changes_nothing(session: Session, job: Job, settings: Settings) -> None:
    size = session.ledger.head().size
    with open_ledger(settings.ledger_url) as ledger:
        planned = plan(ledger, Selection(job_id=job.job_id), session.assets)
    assert (planned.texts >= 1, len(planned.uris), session.ledger.head().size) == (True, 1, size)
    assert session.assets.path(planned.uris[0]).is_file()
