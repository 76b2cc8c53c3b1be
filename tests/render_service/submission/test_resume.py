"""Submitting what was decided before, from its record alone."""

import io
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from decision.request.request import RenderRequest
from decision.rules.policy import Policy, default_policy
from ledger.events import PrivateErased, RenderHeld, RenderRequested
from ledger.job import Job
from ledger.private import private_values
from ledger.store.interface import ANY
from ledger.terms import State
from render_service.assets.fit import first_frame
from render_service.assets.inputs import NOTHING, Material
from render_service.runtime.errors import NotReady
from render_service.session.session import Session
from render_service.settlement.settle import settle
from render_service.submission.result import placed_in
from render_service.submission.resume import cancel, resume
from render_service.submission.sources import source_of
from render_service.submission.submit import place, recorded_call
from tests.conftest import Faults
from tests.render_service.conftest import LastEvent, decide_by

pytestmark = pytest.mark.anyio

PEOPLE = Policy.model_validate(
    {**default_policy().model_dump(), "approvals": [{"code": "ALL_FINALS", "purposes": ["final"]}]}
)


async def queued(session: Session, request: Any, material: Material = NOTHING) -> Job:
    return (await place(session, request, material, queue=True)).job


async def test_a_queued_render_is_decided_and_not_sent(
    session: Session, request_for: Callable[..., RenderRequest], types: Callable[[Job], list[str]]
) -> None:
    job = await queued(session, request_for())
    assert job.state is State.DECIDED
    assert types(job) == ["render.requested", "render.decided"]


async def test_a_queued_render_is_due_for_a_worker(
    session: Session, request_for: Callable[..., RenderRequest]
) -> None:
    job = await queued(session, request_for())
    assert [lease.job_id for lease in session.ledger.store.queue.claim("w1", 1000)] == [job.job_id]


async def test_a_queued_render_is_submitted_once(
    session: Session, request_for: Callable[..., RenderRequest], intact: Callable[[], bool]
) -> None:
    job = await queued(session, request_for())
    resumed = await resume(session, job)
    assert resumed.job.state is State.RUNNING
    with pytest.raises(NotReady, match="was submitted already"):
        await resume(session, resumed.job)
    assert intact()


async def test_what_is_sent_is_what_would_have_been_sent_at_once(
    session: Session, request_for: Callable[..., RenderRequest], tmp_path: Path
) -> None:
    picture = tmp_path / "frame.png"
    picture.write_bytes(png(1280, 720))
    frame = first_frame(picture)
    request = request_for(
        prompt="a fox", fields={"camera": "wide"}, augment=True, seconds=8, input_reference=frame.image
    )
    job = await queued(session, request, Material(reference=frame.content))
    placed = placed_in(session.ledger, job)
    call = await recorded_call(session, placed)
    assert (call.prompt, call.size, call.seconds) == (request.sent_prompt, "1280x720", 8)
    assert call.input_reference.content == frame.content
    assert (await resume(session, placed.job)).job.state is State.RUNNING


async def test_an_extension_is_asked_for_what_it_adds(
    session: Session, request_for: Callable[..., RenderRequest], stored: Callable[..., Awaitable[Job]]
) -> None:
    source, _ = await source_of(session, (await stored(session)).job_id)
    job = await queued(session, request_for(operation="extend", prompt="on", source=source, seconds=8))
    call = await recorded_call(session, placed_in(session.ledger, job))
    assert (job.seconds, call.seconds, call.source_video_id) == (12, 8, source.video_id)
    resumed = await resume(session, job)
    assert (await settle(session, resumed.job, interval_s=0.05, timeout_s=30)).state is State.STORED


async def test_a_request_whose_text_was_erased_is_not_sent(
    session: Session, request_for: Callable[..., RenderRequest], types: Callable[[Job], list[str]]
) -> None:
    job = await queued(session, request_for())
    [request] = [r.event for r in session.ledger.history(job.job_id) if isinstance(r.event, RenderRequested)]
    commitments = tuple(private.commitment for _, private in private_values(request))
    await session.append(
        "ledger", ANY, [session.draft(PrivateErased(commitments=commitments, reason_code="asked"))]
    )
    with pytest.raises(NotReady, match="the prompt was erased"):
        await resume(session, job)
    assert "submission.intended" not in types(job)


async def test_a_stored_file_that_was_changed_is_not_sent(
    session: Session, request_for: Callable[..., RenderRequest], tmp_path: Path
) -> None:
    picture = tmp_path / "frame.png"
    picture.write_bytes(png(1280, 720))
    frame = first_frame(picture)
    job = await queued(session, request_for(input_reference=frame.image), Material(reference=frame.content))
    [stored_file] = (path for path in session.settings.assets_folder.rglob("*.png"))
    stored_file.write_bytes(b"something else")
    with pytest.raises(NotReady, match="differs from that of its request"):
        await resume(session, job)
    stored_file.unlink()
    with pytest.raises(NotReady, match="no longer in asset storage"):
        await resume(session, job)


async def test_what_may_exist_is_never_sent_again(
    at: Callable[[str], Session], faults: Faults, request_for: Callable[..., RenderRequest]
) -> None:
    session = at(faults.then(500).base_url)
    lost = (await place(session, request_for())).job
    assert lost.state is State.UNKNOWN
    with pytest.raises(NotReady, match="may have been submitted already"):
        await resume(session, lost)


async def test_what_is_known_to_have_created_nothing_is_sent_again(
    at: Callable[[str], Session], session: Session, request_for: Callable[..., RenderRequest]
) -> None:
    absent = (await place(at("http://127.0.0.1:9/v1"), request_for(request_key="k"))).job
    assert absent.state is State.ABSENT
    assert (await resume(session, absent)).job.state is State.RUNNING


async def test_a_denied_or_closed_job_says_so(
    session: Session, request_for: Callable[..., RenderRequest]
) -> None:
    denied = (await place(session, request_for(max_cost_usd_micros=1))).job
    with pytest.raises(NotReady, match="is closed \\(denied\\)"):
        await resume(session, denied)


# --- held ---


async def test_what_the_policy_wants_a_person_for_is_held_with_the_rules_it_cites(
    session: Session,
    request_for: Callable[..., RenderRequest],
    types: Callable[[Job], list[str]],
    event: LastEvent,
    intact: Callable[[], bool],
) -> None:
    session = decide_by(session, PEOPLE)
    placed = await place(session, request_for(purpose="final"))
    assert placed.job.state is State.HELD
    assert types(placed.job) == ["render.requested", "render.held"]
    basis = event(placed.job, RenderHeld).basis
    assert session.ledger.store.document(basis.policy_sha256) == PEOPLE.canonical
    assert session.ledger.store.document(basis.catalog_sha256) == session.catalog.canonical
    assert intact()


async def test_what_is_held_is_not_submitted(
    session: Session, request_for: Callable[..., RenderRequest]
) -> None:
    session = decide_by(session, PEOPLE)
    held = (await place(session, request_for(purpose="final"))).job
    with pytest.raises(NotReady, match="is pending approval"):
        await resume(session, held)


async def test_a_held_request_repeated_under_its_key_is_the_same_job(
    session: Session, request_for: Callable[..., RenderRequest]
) -> None:
    session = decide_by(session, PEOPLE)
    first, again = [await place(session, request_for(purpose="final", request_key="k")) for _ in range(2)]
    assert (again.job, again.repeated) == (first.job, True)


# --- withdrawn ---


@pytest.mark.parametrize("purpose", ["final", "draft"])
async def test_what_is_held_or_queued_can_be_withdrawn(
    session: Session,
    request_for: Callable[..., RenderRequest],
    types: Callable[[Job], list[str]],
    intact: Callable[[], bool],
    purpose: str,
) -> None:
    session = decide_by(session, PEOPLE)
    job = await queued(session, request_for(purpose=purpose))
    gone = await cancel(session, job, "another concept")
    assert (gone.state, gone.outcome, gone.reserved_usd_micros) == (State.CANCELLED, "cancelled", 0)
    assert types(gone)[-2:] == ["render.cancelled", "render.closed"]
    assert intact()


async def test_what_was_submitted_meanwhile_is_not_withdrawn(
    session: Session, request_for: Callable[..., RenderRequest]
) -> None:
    job = await queued(session, request_for())
    await resume(session, job)
    with pytest.raises(NotReady, match="there is a video"):
        await cancel(session, job)


async def test_what_is_over_is_not_withdrawn(
    session: Session, request_for: Callable[..., RenderRequest]
) -> None:
    denied = (await place(session, request_for(max_cost_usd_micros=1))).job
    with pytest.raises(NotReady, match="there is nothing to withdraw"):
        await cancel(session, denied)


def png(width: int, height: int) -> bytes:
    from PIL import Image  # noqa: PLC0415

    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(buffer, "PNG")
    return buffer.getvalue()
