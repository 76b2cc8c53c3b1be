"""Asking for a render: what is recorded before and after the one call."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from msgspec import structs

from decision.request.request import RenderRequest
from ledger.canonical import sha256_hex
from ledger.errors import BudgetExceeded, EventIdConflict
from ledger.events import (
    RenderClosed,
    RenderDenied,
    RenderRequested,
    SubmissionAccepted,
    SubmissionIntended,
    SubmissionRejected,
    SubmissionUnknown,
)
from ledger.job import Job
from ledger.terms import Outcome, State
from render_service.assets.inputs import Material
from render_service.assets.probe import read_image
from render_service.runtime.errors import BudgetGone, KeyMissing, ProfileRetired
from render_service.session.session import Session
from render_service.submission import submit
from render_service.submission.result import Placed
from render_service.submission.submit import place
from sora_adapter.errors import UnknownProfile, VideoNotFound
from tests.conftest import Faults
from tests.render_service.conftest import LastEvent

pytestmark = pytest.mark.anyio

INTENDED = ["render.requested", "render.decided", "submission.intended"]


def counts(session: Session) -> Any:
    origin = str(session.settings.base_url).removesuffix("/v1")
    return httpx2.get(f"{origin}/_sandbox/requests").json()


async def test_request_decision_and_intent_come_before_the_outcome(
    session: Session, request_for: Callable[..., RenderRequest], types: Callable[[Job], list[str]]
) -> None:
    placed = await place(session, request_for())
    assert types(placed.job) == [*INTENDED, "submission.accepted"]


async def test_request_decision_and_intent_are_one_append(
    at: Callable[[str], Session], request_for: Callable[..., RenderRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    session, appends = at("http://127.0.0.1:9/v1"), list[list[str]]()
    append = session.ledger.append

    def noting(batches: Any, **rest: Any) -> Any:
        appends.append([draft.event.type for batch in batches for draft in batch.drafts])
        return append(batches, **rest)

    monkeypatch.setattr(session.ledger, "append", noting)
    await place(session, request_for())
    assert appends == [INTENDED, ["submission.absent", "render.closed"]]


async def test_ctrl_c_while_the_intent_is_recorded_still_finishes_the_submission(
    session: Session, request_for: Callable[..., RenderRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, append = asyncio.get_running_loop(), session.ledger.append

    def interrupting(*batches: Any, **rest: Any) -> Any:
        monkeypatch.undo()  # one Ctrl-C
        loop.call_soon_threadsafe(task.cancel)
        return append(*batches, **rest)

    monkeypatch.setattr(session.ledger, "append", interrupting)
    task = asyncio.ensure_future(place(session, request_for()))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [job.state for job in session.ledger.jobs()] == [State.RUNNING]


async def test_an_accepted_request_runs_under_the_servers_id(
    session: Session, request_for: Callable[..., RenderRequest], event: LastEvent
) -> None:
    placed = await place(session, request_for())
    assert placed.job.state is State.RUNNING
    assert placed.job.video_id == event(placed.job, SubmissionAccepted).video_id


async def test_the_attempt_id_is_what_the_server_was_given(
    session: Session, request_for: Callable[..., RenderRequest], event: LastEvent
) -> None:
    placed = await place(session, request_for())
    origin = str(session.settings.base_url).removesuffix("/v1")
    [job] = httpx2.get(f"{origin}/_sandbox/jobs").json()["data"]
    assert job["client_request_id"] == event(placed.job, SubmissionIntended).attempt_id


async def test_a_denial_is_recorded_and_closed(
    session: Session, request_for: Callable[..., RenderRequest], types: Callable[[Job], list[str]]
) -> None:
    placed = await place(session, request_for(max_cost_usd_micros=10_000))
    assert types(placed.job) == ["render.requested", "render.denied", "render.closed"]
    assert (placed.job.state, placed.job.outcome) == (State.DENIED, Outcome.DENIED)


async def test_a_denial_names_the_invariant_and_a_way_out(
    session: Session, request_for: Callable[..., RenderRequest], event: LastEvent
) -> None:
    placed = await place(session, request_for(max_cost_usd_micros=10_000))
    trace = event(placed.job, RenderDenied).denial_trace
    assert (trace.code, trace.minimal_fix[0].value) == ("COST_BOUND_EXCEEDED", 400_000)


async def test_a_denied_request_reaches_no_server(
    session: Session, request_for: Callable[..., RenderRequest]
) -> None:
    await place(session, request_for(max_cost_usd_micros=10_000))
    assert counts(session)["creates"] == 0


@pytest.mark.parametrize("status", [400, 403, 404])
async def test_a_rejection_closes_the_job_without_cost(
    at: Callable[[str], Session],
    faults: Faults,
    request_for: Callable[..., RenderRequest],
    types: Callable[[Job], list[str]],
    event: LastEvent,
    status: int,
) -> None:
    faults.then(status, b'{"error": {"code": "no", "message": "not like this"}}')
    placed = await place(at(faults.base_url), request_for())
    assert types(placed.job) == [*INTENDED, "submission.rejected", "render.closed"]
    assert event(placed.job, RenderClosed).cost_usd_micros == 0
    assert event(placed.job, SubmissionRejected).error.http_status == status


@pytest.mark.parametrize("status", [0, 500, 503, 408])
async def test_a_lost_answer_leaves_the_outcome_unknown_and_the_money_reserved(
    at: Callable[[str], Session],
    faults: Faults,
    request_for: Callable[..., RenderRequest],
    types: Callable[[Job], list[str]],
    status: int,
) -> None:
    placed = await place(at(faults.then(status).base_url), request_for())
    assert types(placed.job) == [*INTENDED, "submission.unknown"]
    assert (placed.job.state, placed.job.reserved_usd_micros) == (State.UNKNOWN, 400_000)


async def test_a_page_of_html_leaves_the_outcome_unknown(
    at: Callable[[str], Session],
    faults: Faults,
    request_for: Callable[..., RenderRequest],
    event: LastEvent,
) -> None:
    placed = await place(at(faults.then(200, b"<html>", kind="text/html").base_url), request_for())
    assert event(placed.job, SubmissionUnknown).lost == "unreadable"


async def test_a_lost_answer_is_asked_for_once(
    at: Callable[[str], Session], faults: Faults, request_for: Callable[..., RenderRequest]
) -> None:
    await place(at(faults.then(503).base_url), request_for())
    assert faults.asked == ["POST /v1/videos"]


async def test_no_connection_proves_that_nothing_was_created(
    at: Callable[[str], Session], request_for: Callable[..., RenderRequest], types: Callable[[Job], list[str]]
) -> None:
    placed = await place(at("http://127.0.0.1:9/v1"), request_for())
    assert types(placed.job) == [*INTENDED, "submission.absent", "render.closed"]
    assert (placed.job.outcome, placed.job.reserved_usd_micros) == (Outcome.ABSENT, 0)


async def test_what_cannot_be_sent_is_recorded_as_absent(
    at: Callable[[str], Session], request_for: Callable[..., RenderRequest], types: Callable[[Job], list[str]]
) -> None:
    session = at("http://127.0.0.1:9/v1")
    source = {"video_id": "..", "status": "completed", "model": "sora-2", "size": "1280x720", "seconds": 4}
    with pytest.raises(VideoNotFound):
        await place(session, request_for(operation="remix", prompt="make it red", source=source))
    [job] = session.ledger.jobs()
    assert types(job)[-2:] == ["submission.absent", "render.closed"]


async def test_a_missing_key_is_reported_before_anything_is_recorded(
    at: Callable[[str], Session], request_for: Callable[..., RenderRequest]
) -> None:
    session = at("http://127.0.0.1:9/v1")
    keyless = replace(session, settings=replace(session.settings, api_key=None))
    with pytest.raises(KeyMissing, match="--profile sandbox"):
        await place(keyless, request_for())
    assert session.ledger.jobs() == []


async def test_a_server_that_was_switched_off_is_not_called(
    at: Callable[[str], Session], request_for: Callable[..., RenderRequest]
) -> None:
    session = at("https://api.openai.com/v1")
    with pytest.raises(ProfileRetired, match="--even-if-retired"):
        await place(session, request_for())
    assert session.ledger.jobs() == []


async def test_an_unknown_profile_is_not_recorded(
    session: Session, request_for: Callable[..., RenderRequest]
) -> None:
    with pytest.raises(UnknownProfile, match=r"there are: openai, sandbox, .*custom"):
        await place(session, request_for(profile="nowhere"))
    assert session.ledger.jobs() == []


async def test_the_reference_image_is_stored_under_its_digest(
    session: Session,
    request_for: Callable[..., RenderRequest],
    picture: Callable[..., bytes],
    event: LastEvent,
    tmp_path: Path,
) -> None:
    path = tmp_path / "first.png"
    path.write_bytes(picture())
    content, media_type, width, height = read_image(path)
    image = {
        "name": path.name,
        "sha256": sha256_hex(content),
        "media_type": media_type,
        "width": width,
        "height": height,
        "bytes": len(content),
    }
    placed = await place(session, request_for(input_reference=image), Material(reference=content))
    reference = event(placed.job, RenderRequested).input_reference
    assert session.assets.path(reference.storage_uri).read_bytes() == content


async def test_a_placed_request_leaves_an_intact_ledger(
    session: Session, request_for: Callable[..., RenderRequest], intact: Callable[[], bool]
) -> None:
    placed: Placed = await place(session, request_for())
    assert placed.job.attempts == 1
    assert intact()


@pytest.mark.parametrize("key", [None, "teaser"])
async def test_a_conflict_that_no_repeated_request_explains_is_raised(
    session: Session,
    request_for: Callable[..., RenderRequest],
    monkeypatch: pytest.MonkeyPatch,
    key: str | None,
) -> None:
    def conflict(*_: Any, **__: Any) -> Any:
        raise EventIdConflict("this event is recorded otherwise")

    monkeypatch.setattr(session.ledger, "append", conflict)
    with pytest.raises(EventIdConflict, match="recorded otherwise"):
        await place(session, request_for(request_key=key), queue=True)


@pytest.mark.parametrize(
    ("state", "key", "is_closed"),
    [
        (State.REJECTED, None, True),
        (State.REJECTED, "teaser", False),
        (State.ABSENT, None, False),
        (State.ABSENT, "teaser", False),
    ],
)
async def test_only_a_rejected_job_without_a_key_ends_where_its_money_is_gone(
    session: Session,
    request_for: Callable[..., RenderRequest],
    monkeypatch: pytest.MonkeyPatch,
    *,
    state: State,
    key: str | None,
    is_closed: bool,
) -> None:
    queued = (await place(session, request_for(), queue=True)).job
    job = structs.replace(queued, state=state, request_key=key)
    intent = SubmissionIntended(
        attempt_id="attempt_2", request_sha256="0" * 64, profile="openai", server="", model="sora-2"
    )
    recorded: list[str] = []

    async def advance(_: Session, job: Job, drafts: Any, **__: Any) -> Job:
        if drafts[0].event.type == "submission.intended":
            raise BudgetExceeded("budget all is used up")
        recorded.extend(draft.event.type for draft in drafts)
        return job

    monkeypatch.setattr(Session, "advance", advance)
    with pytest.raises(BudgetGone, match="was not sent again: budget all is used up"):
        await submit._intend_again(session, job, intent)
    assert recorded == (["render.closed"] if is_closed else [])
