"""A policy may want an approved draft before a final."""

from collections.abc import Callable
from typing import Any

import pytest

from decision.engine.explain import what_now
from decision.request.request import RenderRequest
from decision.rules.policy import Policy, default_policy
from ledger.events import RenderDenied, ReviewRecorded
from ledger.job import Job
from ledger.terms import State
from render_service.reports.explain import explain_denial
from render_service.session.session import Session
from render_service.settlement.settle import record, settle
from render_service.submission.result import denial
from render_service.submission.sources import source_of
from render_service.submission.submit import place
from tests.render_service.conftest import LastEvent, decide_by

pytestmark = pytest.mark.anyio

DRAFTS_FIRST = Policy.model_validate({**default_policy().model_dump(), "require_approved_draft": ["final"]})


@pytest.fixture
def strict(session: Session) -> Session:
    """A policy that wants an approved draft before a final."""
    return decide_by(session, DRAFTS_FIRST)


async def drafted(session: Session, request: Any) -> Job:
    return await settle(session, (await place(session, request)).job, interval_s=0.05, timeout_s=30)


async def reviewed(session: Session, job: Job, verdict: Any = "approved") -> Job:
    return await record(session, job, ReviewRecorded(verdict=verdict))


async def test_a_final_of_no_draft_is_denied_with_the_way_to_one(
    strict: Session, request_for: Callable[..., RenderRequest], event: LastEvent
) -> None:
    placed = await place(strict, request_for(purpose="final"))
    assert placed.job.detail_code == "DRAFT_NOT_APPROVED"
    assert "--promotes JOB" in what_now(event(placed.job, RenderDenied))[0]


async def test_a_draft_needs_no_draft(strict: Session, request_for: Callable[..., RenderRequest]) -> None:
    assert (await place(strict, request_for())).job.state is State.RUNNING


async def test_a_final_of_an_approved_draft_is_allowed(
    strict: Session,
    request_for: Callable[..., RenderRequest],
    event: LastEvent,
    intact: Callable[[], bool],
) -> None:
    draft = await drafted(strict, request_for())
    final = request_for(purpose="final", promotes=draft.job_id)
    denied = (await place(strict, final)).job
    assert denied.detail_code == "DRAFT_NOT_APPROVED"
    message = f"have the draft reviewed: sora-ledger review {draft.job_id} --verdict approved"
    assert what_now(event(denied, RenderDenied), draft=denied.source_job) == [message]
    assert denial(strict.ledger, denied).endswith(message)
    assert explain_denial(strict.ledger, denied.job_id).document["what_now"] == [message]
    await reviewed(strict, draft, "changes_requested")
    assert (await place(strict, final)).job.state is State.DENIED
    await reviewed(strict, await strict.job(draft.job_id))
    assert (await place(strict, final)).job.state is State.RUNNING
    assert intact()


async def test_an_approval_further_back_in_the_lineage_counts(
    strict: Session, request_for: Callable[..., RenderRequest]
) -> None:
    first = await drafted(strict, request_for())
    source, _ = await source_of(strict, first.job_id)
    second = await drafted(strict, request_for(operation="remix", prompt="make it dusk", source=source))
    await reviewed(strict, first)
    source, _ = await source_of(strict, second.job_id)
    final = request_for(operation="remix", prompt="make it night", source=source, purpose="final")
    assert (await place(strict, final)).job.state is State.RUNNING
