"""Recorded decisions made again: the same, drifted, or not to be told any more."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from msgspec import structs

from decision.request.attachments import Source
from decision.request.request import RenderRequest
from ledger.events import PrivateErased, RenderDecided, RenderRequested
from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.store.interface import ANY
from render_service.assets.inputs import NOTHING
from render_service.reports.redecide import Remade, Verdict, remake_all, remake_summary
from render_service.session.session import Session
from render_service.submission.intent import requested
from render_service.submission.submit import decide, opening, place
from tests.render_service.conftest import decide_by

pytestmark = pytest.mark.anyio
Rewrite = Callable[[RenderDecided], RenderDecided]


@pytest.fixture
def ledger(session: Session) -> Ledger:
    return session.ledger


@pytest.fixture
def remix_of(request_for: Callable[..., RenderRequest]) -> Callable[[Job, str], RenderRequest]:
    def remix_of(job: Job, prompt: str) -> RenderRequest:
        source = Source(
            job_id=job.job_id,
            video_id=str(job.video_id),
            status=job.status,
            model=str(job.model),
            size=str(job.size),
            seconds=int(job.seconds or 0),
        )
        return request_for(operation="remix", source=source.model_dump(), prompt=prompt)

    return remix_of


@pytest.fixture
def recorded_as(
    session: Session, request_for: Callable[..., RenderRequest]
) -> Callable[[Rewrite], Awaitable[Job]]:
    """Record a decision that is not what the rules make of its inputs."""

    async def recorded_as(rewrite: Rewrite) -> Job:
        request = request_for()
        placed = decide(session, request, requested(session.assets, request, NOTHING))
        assert isinstance(placed.ruling, RenderDecided)
        drafts = opening(session, replace(placed, ruling=rewrite(placed.ruling)))
        return await session.advance(placed.job, drafts, under=placed.under)

    return recorded_as


def only(ledger: Ledger) -> Remade:
    (remade,) = remake_all(ledger)
    return remade


async def test_decisions_come_out_as_they_are_recorded(
    session: Session,
    ledger: Ledger,
    stored: Callable[..., Awaitable[Job]],
    request_for: Callable[..., RenderRequest],
    remix_of: Callable[[Job, str], RenderRequest],
) -> None:
    job = await stored(session)
    await place(session, request_for(purpose="final", max_cost_usd_micros=1))
    await place(session, remix_of(job, "Make it night and add a dog"))
    assert [remade.verdict for remade in remake_all(ledger)] == [Verdict.SAME] * 3


async def test_a_decision_its_inputs_do_not_lead_to_is_drift(
    ledger: Ledger, recorded_as: Callable[[Rewrite], Awaitable[Job]]
) -> None:
    await recorded_as(lambda ruling: structs.replace(ruling, cost_usd_micros=1))
    assert only(ledger).differences == {"cost_usd_micros": (1, 400_000)}


async def test_inputs_that_were_changed_are_drift(
    ledger: Ledger, recorded_as: Callable[[Rewrite], Awaitable[Job]]
) -> None:
    def rewrite(ruling: RenderDecided) -> RenderDecided:
        inputs = {**ruling.basis.inputs, "purpose": "final"}
        return structs.replace(ruling, basis=structs.replace(ruling.basis, inputs=inputs))

    await recorded_as(rewrite)
    assert only(ledger).verdict is Verdict.DECISION_DRIFT


async def test_a_decision_of_another_engine_cannot_be_made_again(
    ledger: Ledger, recorded_as: Callable[[Rewrite], Awaitable[Job]]
) -> None:
    def rewrite(ruling: RenderDecided) -> RenderDecided:
        return structs.replace(ruling, basis=structs.replace(ruling.basis, engine="decide/0", inputs={}))

    await recorded_as(rewrite)
    assert only(ledger).verdict is Verdict.NOT_RECOMPUTABLE


async def test_a_change_that_the_prompt_does_not_ask_for_is_drift(
    session: Session,
    ledger: Ledger,
    stored: Callable[..., Awaitable[Job]],
    remix_of: Callable[[Job, str], RenderRequest],
) -> None:
    request = remix_of(await stored(session), "Make it night")
    another = remix_of(session.ledger.jobs()[0], "Make it night and add a dog")
    placed = decide(session, request, requested(session.assets, another, NOTHING))
    await session.advance(placed.job, opening(session, placed), under=placed.under)
    *_, remade = remake_all(ledger)
    assert remade.differences["change_verdict"] == ("single", "multiple")


@pytest.mark.parametrize("prompt", ["Make it night", "Make it night and add a dog"])
async def test_where_the_text_was_erased_the_change_cannot_be_known_any_more(
    session: Session,
    ledger: Ledger,
    stored: Callable[..., Awaitable[Job]],
    remix_of: Callable[[Job, str], RenderRequest],
    prompt: str,
) -> None:
    placed = await place(session, remix_of(await stored(session), prompt))
    request = ledger.history(placed.job.job_id)[0].event
    assert isinstance(request, RenderRequested)
    erased = PrivateErased(commitments=(request.prompt.commitment,), reason_code="asked_to")
    await session.append("ledger", ANY, [session.draft(erased)])
    *_, remade = remake_all(ledger)
    assert remade.verdict is Verdict.NOT_RECOMPUTABLE


@pytest.mark.parametrize("searched", [False, True], ids=["no terms", "terms"])
async def test_a_new_render_can_be_decided_again_without_its_text(
    session: Session, ledger: Ledger, stored: Callable[..., Awaitable[Job]], *, searched: bool
) -> None:
    policy = session.policy if searched else session.policy.model_copy(update={"guardrails": None})
    request = ledger.history((await stored(decide_by(session, policy))).job_id)[0].event
    assert isinstance(request, RenderRequested)
    erased = PrivateErased(commitments=(request.prompt.commitment,), reason_code="asked_to")
    await session.append("ledger", ANY, [session.draft(erased)])
    remade = only(ledger)
    assert remade.verdict is (Verdict.NOT_RECOMPUTABLE if searched else Verdict.SAME)
    assert not searched or remade.why.endswith("with its recorded analysis, the decision is the same")


async def test_all_are_counted(
    ledger: Ledger,
    recorded_as: Callable[[Rewrite], Awaitable[Job]],
    session: Session,
    request_for: Callable[..., RenderRequest],
) -> None:
    await recorded_as(lambda ruling: structs.replace(ruling, cost_usd_micros=1))
    await place(session, request_for())
    counts = remake_summary(ledger).document()["counts"]
    assert counts == {"SAME": 1, "DECISION_DRIFT": 1, "NOT_RECOMPUTABLE": 0}
