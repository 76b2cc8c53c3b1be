"""Request a render: decide, record, call once, record the outcome.

The order is the guarantee. Request, decision and intent are durable before the call; a crash between the call
and its outcome leaves the job ``submitting``, which means that a video may exist. Nothing is sent a second
time unless the last attempt is known to have created nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import structs

from decision.engine.approval import consider, set_aside
from decision.engine.guardrails import ModerationResult
from decision.errors import BadRequest
from decision.one_change.verdict import JudgeResult
from decision.request.request import RenderRequest
from ledger.errors import BudgetExceeded, EventIdConflict, LedgerUnusable
from ledger.events import (
    RenderClosed,
    RenderDecided,
    RenderDenied,
    RenderRequested,
    SubmissionAbsent,
    SubmissionAccepted,
    SubmissionIntended,
    SubmissionRejected,
)
from ledger.job import Job
from ledger.record import Draft, new_job_id, timestamp
from ledger.store.interface import NEW
from ledger.terms import Outcome, State
from render_service.approvals.requesters import find_author
from render_service.assets.inputs import NOTHING, Material
from render_service.rules.budgets import NOTHING as NOTHING_TAKEN
from render_service.rules.budgets import PolicyReplaced, Races, translate_refusal
from render_service.rules.overrides import Override
from render_service.rules.policies import Rules
from render_service.runtime.errors import BadInput, BudgetGone, NotReady
from render_service.session.event_ids import request_id
from render_service.session.history import JobHistory
from render_service.session.jobs import make_closed
from render_service.session.session import Session
from render_service.submission.context import context_of
from render_service.submission.intent import intended, requested
from render_service.submission.judge import judge_of
from render_service.submission.moderation import moderated
from render_service.submission.outcomes import record_outcome
from render_service.submission.recorded_call import Files, call_of
from render_service.submission.result import Opening, Placed, answered_repeat, find_repeated
from render_service.submission.retry import Patience, may_send
from sora_adapter.errors import AdapterError
from sora_adapter.messages import Submission
from sora_adapter.requests import PreparedPost, SubmitCall

if TYPE_CHECKING:
    from sora_adapter.client import SubmissionResult, VideosClient

T = TypeVar("T")

NOTHING_ELSE = Opening()

GENERATES = "generate_content"
"""The operation in OpenTelemetry's conventions for generative models; they have none for video."""

QUEUED_BY_MS = 30_000
"""Time by which a request left to a worker is recorded, if it ever will be."""


def decide(
    session: Session,
    request: RenderRequest,
    event: RenderRequested,
    override: Override | None = None,
    taken: Mapping[str, int] = NOTHING_TAKEN,
    moderation: ModerationResult | None = None,
    judge: JudgeResult | None = None,
) -> Placed:
    """Decide on `request` by the policy in force; nothing is recorded.

    `taken` is the amount that unrecorded decisions take from each budget, `moderation` is the server's
    moderation of the prompt: None if it was not asked, which a policy that requires it never ignores. `judge`
    is the verdict of the policy's judge on a remix. `BadInput` or `BadRequest` if the request itself is
    invalid.
    """
    profile = session.profile(request.profile)

    def decided(under: Rules) -> Placed:
        who = find_author(session.settings, under.policy)
        context = who.add_to(context_of(session, request, profile, taken, who.actor))
        context = context.model_copy(update={"moderation": moderation, "judge": judge})
        with session.span("decide") as span:
            ruling = consider(request, catalog=under.catalog, policy=under.policy, context=context)
            span.label(outcome=ruling.type.rpartition(".")[2])
            span.note({"gen_ai.request.model": request.model, "sora_ledger.profile": profile.name})
        placed = _overridden(Placed(unrecorded(), event, ruling, under=under), under, override)
        who.check(placed.ruling)
        return placed

    return session.in_force.judge(decided, (BadInput, BadRequest))


async def place(
    session: Session,
    request: RenderRequest,
    material: Material = NOTHING,
    patience: Patience | None = None,
    *,
    queue: bool = False,
    override: Override | None = None,
    opening: Opening = NOTHING_ELSE,
) -> Placed:
    """Decide on `request`, record it, and submit it if it is allowed; `material` are its files.

    If the policy requires approval, it is held. With `queue`, an allowed request is left to `resume` or a
    worker. A denial is overridden as `override` says; if the policy does not permit that, the denial is
    recorded and `Placed.override_refused` says why. `BadRequest`, without any record, if there is no denial
    to override. The records of `opening` are appended with a new request.

    An idempotency key that was used before returns its job, or raises `RequestKeyTaken` if that was a
    different request; if the first caller is still waiting for the server, this one waits too, for some
    seconds. A server at capacity is retried as `patience` allows.
    """
    patience = patience or Patience()
    repeated = await find_repeated(session, request)
    if repeated is None:
        event = await _requested(session, request, material)
        try:
            new = _NewRequest(session, request, event, material, override, opening)
            return await new.place(patience, queue=queue)
        except EventIdConflict:  # another process used the key in between
            repeated = await find_repeated(session, request)
            if repeated is None:
                raise
    repeated = await answered_repeat(session, request, repeated)
    if queue or not may_try_again(session, repeated.job, repeated.outcome):
        return repeated
    return await submit(session, repeated, patience, material)


async def record(
    session: Session, request: RenderRequest, material: Material = NOTHING, opening: Opening = NOTHING_ELSE
) -> Placed:
    """Decide on `request` and record it; an allowed one is neither sent nor queued: see `submit`."""
    event = await _requested(session, request, material)
    return await _NewRequest(session, request, event, opening=opening).place(None)


async def _requested(session: Session, request: RenderRequest, material: Material) -> RenderRequested:
    """Return the event of `request`; its files are stored in a thread."""
    if material == NOTHING and not request.further_images:
        return requested(session.assets, request, material, session.settings)
    return await asyncio.to_thread(requested, session.assets, request, material, session.settings)


@dataclass(frozen=True)
class _NewRequest:
    """A request without a record so far."""

    session: Session
    request: RenderRequest
    event: RenderRequested
    material: Material = NOTHING
    override: Override | None = None
    opening: Opening = NOTHING_ELSE

    async def place(self, patience: Patience | None, *, queue: bool = False) -> Placed:
        """Decide, record, and submit what is allowed; without `patience` nothing is sent, nor with `queue`.

        It is decided again if another render took the money in between, or if another policy is in force at
        the append, which comes before anything is sent.
        """
        races, moderation, judge = Races(self.session.log), None, None
        while True:
            moderation = moderation or await moderated(self.session, self.request)
            judge = judge or await judge_of(self.session, self.request)
            answers: dict[str, Any] = {"moderation": moderation, "judge": judge}
            try:
                placed = await asyncio.to_thread(
                    decide, self.session, self.request, self.event, self.override, **answers
                )
                placed = replace(placed, opening=self.opening)
                if patience is None or queue or not isinstance(placed.ruling, RenderDecided):
                    return await _record(self.session, placed, queue=queue)
                return await submit(self.session, placed, patience, self.material)
            except (BudgetExceeded, PolicyReplaced) as race:
                races.log_lost(race)


def _overridden(placed: Placed, under: Rules, wish: Override | None) -> Placed:
    """Return `placed` with its denial overridden, or with the reason why it cannot be."""
    if wish is None:
        return placed
    try:
        ruling = set_aside(placed.ruling, wish.codes, catalog=under.catalog, policy=under.policy)
    except BadRequest as refused:
        if not isinstance(placed.ruling, RenderDenied):
            raise
        return replace(placed, override_refused=str(refused))
    return replace(placed, ruling=ruling, override=wish)


def may_try_again(session: Session, job: Job, outcome: Submission | None) -> bool:
    """Return whether there was no attempt, or the last one is known to have created and cost nothing."""
    if job.outcome is not None:
        return False
    if job.state in {State.DECIDED, State.ABSENT}:
        return True
    rejected = job.state is State.REJECTED and isinstance(outcome, SubmissionRejected)
    return rejected and session.profile(job.profile).is_free(outcome)  # type: ignore[arg-type]  # checked by `rejected`


def unrecorded() -> Job:
    """Return a job that is not in the ledger yet: version 0 of a new stream."""
    return Job(
        job_id=new_job_id(),
        version=NEW,
        position=0,
        state=State.REQUESTED,
        created_at="",
        updated_at="",
        actor="",
        trace_id="",
    )


def opening(session: Session, placed: Placed, same: Draft | None = None) -> list[Draft]:
    """Return the first events of a session: the request, overrides, its decision, and the end after a denial.

    `same` is a draft of an identical ruling, made for another request.
    """
    request, ruling = placed.requested, placed.ruling
    assert placed.under is not None  # it was decided just now
    request_drafts = find_author(session.settings, placed.under.policy).drafts(
        session.ledger,
        placed.job.job_id,
        request,
        session.provenance,
        session.clock(),
        request_id(request.request_key),
        placed.opening.caused_by,
    )
    first = request_drafts[0]
    set_aside_now = placed.override.events() if placed.override else []
    overrides = [session.draft(event, causation_id=first.event_id) for event in set_aside_now]
    cause = (overrides or [first])[-1].event_id
    decided = (
        same.again(session.clock(), causation_id=cause) if same else session.draft(ruling, causation_id=cause)
    )
    planned = [session.draft(plan, causation_id=first.event_id)] if (plan := placed.opening.plan) else []
    drafts = [*request_drafts, *overrides, decided, *planned]
    if isinstance(ruling, RenderDenied):
        end = RenderClosed(outcome=Outcome.DENIED, duration_ms=0, cost_usd_micros=0)
        drafts.append(session.draft(end))
    return drafts


async def _record(session: Session, placed: Placed, *, queue: bool) -> Placed:
    """Record a request that is not submitted now; with `queue`, an allowed one becomes due for a worker."""
    work, job_id = session.ledger.store.queue, placed.job.job_id
    queued = queue and isinstance(placed.ruling, RenderDecided)
    if queued:  # first: a crash before the append leaves a due id without a job, which a worker drops
        await asyncio.to_thread(work.schedule, job_id, QUEUED_BY_MS)
    job = await _open(session, placed)
    if queued:
        # A crash here leaves the job due a little later, and a worker submits it then.
        await asyncio.to_thread(work.wake, [job_id])
    return replace(placed, job=job)


async def _open(session: Session, placed: Placed, intent: SubmissionIntended | None = None) -> Job:
    """Record the first events of a job, with its first intent if it is sent now, and what goes beside them.

    `PolicyReplaced` if rules other than those of the decision are in force.
    """
    assert placed.under is not None  # it was decided just now
    drafts = opening(session, placed)
    if intent is not None:
        drafts.append(session.draft(intent, causation_id=drafts[-1].event_id))
    also = placed.opening.batches(placed.job.job_id)
    with translate_refusal(session.in_force, placed.under):
        job = await session.advance(placed.job, drafts, under=placed.under, also=also)
    placed.opening.opened(job)
    return job


async def submit(
    session: Session, placed: Placed, patience: Patience, material: Material = NOTHING
) -> Placed:
    """Attempt an allowed request until an outcome is final; every attempt has its own intent.

    `placed` is not in the ledger yet, or was never attempted, or `may_try_again`. The call is built from its
    recorded request; `material` are its files, if available. A request that was not allowed is returned
    unchanged.
    """
    if not isinstance(placed.ruling, RenderDecided):
        return placed
    call = await recorded_call(session, placed, material)
    while True:
        placed, wait_s = await attempt(session, placed, call, patience)
        if wait_s is None:
            break
        session.log.warning("submission.at_capacity", job_id=placed.job.job_id, wait_s=round(wait_s, 1))
        await _wait(session, placed.job, wait_s)
    return placed


async def recorded_call(session: Session, placed: Placed, material: Material = NOTHING) -> SubmitCall:
    """Return the call for an allowed request; `NotReady` if a text or a file that it needs is gone."""
    files = Files(placed.job.job_id, session.assets, material)
    if placed.requested.input_reference is None and placed.requested.source_file is None:
        return call_of(placed.requested, placed.allowed, files)
    return await asyncio.to_thread(call_of, placed.requested, placed.allowed, files)


async def attempt(
    session: Session, placed: Placed, call: SubmitCall, patience: Patience
) -> tuple[Placed, float | None]:
    """Make one attempt of an allowed request; return its outcome, and the seconds to wait before a retry.

    None means that the outcome is final. Otherwise the session stays open.
    """
    ruling, job = placed.allowed, placed.job
    profile = session.profile(placed.requested.profile)
    if job.version != NEW and (overridden := str(ruling.basis.inputs.get("overridden") or "")):
        await asyncio.to_thread(_check_overrides, session, job, overridden.split(","))
    if job.version != NEW and ruling.basis.inputs.get("approved"):
        await asyncio.to_thread(_check_approvals, session, job)
    if job.version != NEW:
        await session.check_server(job)
    async with session.connect(profile) as client:
        prepared = await _prepared(client, call)
        sent_sha256 = prepared.sent_sha256 if isinstance(prepared, PreparedPost) else None
        fence = session.fences.get(job.job_id)
        intent = intended(client, profile, placed.requested, ruling, fence, sent_sha256)
        in_time = may_send(job.job_id, session.held_until)
        is_first = job.version == NEW
        recording = _open(session, placed, intent) if is_first else _intend_again(session, job, intent)
        attempt = _attempt(session, client, recording, intent, prepared, patience, in_time)
        job, outcome, wait_s = await session.finish_uninterrupted(attempt)
    session.note_server(job)
    return replace(placed, job=job, outcome=outcome), wait_s


async def _prepared(client: "VideosClient", call: SubmitCall) -> PreparedPost | AdapterError:
    """Return what will be sent, or why nothing can be; the latter is recorded like a failed connection."""
    try:
        return await client.prepare(call)
    except AdapterError as error:
        return error


def _check_overrides(session: Session, job: Job, overridden: Sequence[str]) -> None:
    """Refuse to submit on the basis of an expired override."""
    lapsed = set(JobHistory.of(session.ledger, job).list_lapsed_overrides(session.clock()))
    over = [code for code in overridden if code in lapsed]
    if over:
        raise NotReady(
            f"{job.job_id} was allowed by an override of {', '.join(over)} that has expired: "
            f"`sora-ledger cancel {job.job_id}`, and make a new request",
            param="job",
            expected="a valid override",
            found="an expired one",
        )


def _check_approvals(session: Session, job: Job) -> None:
    """Refuse to submit on the basis of an expired approval."""
    until = JobHistory.of(session.ledger, job).approved_until
    if until is not None and until <= timestamp(session.clock()):
        raise NotReady(
            f"{job.job_id} was approved until {until[:19]}Z, which is past: "
            f"`sora-ledger cancel {job.job_id}`, and make a new request",
            param="job",
            expected="a valid approval",
            found=f"one until {until[:19]}Z",
        )


async def _intend_again(session: Session, job: Job, intent: SubmissionIntended) -> Job:
    """Record another intent; its money was free in between, and another render may have taken it."""
    try:
        return await session.advance(job, [session.draft(intent)])
    except BudgetExceeded as gone:
        if job.state is State.REJECTED and job.request_key is None:
            await session.advance(job, [session.draft(make_closed(session.clock(), job, Outcome.REJECTED))])
        raise BudgetGone(
            f"{job.job_id} was not sent again: {gone}; `sora-ledger budget list`",
            param="job",
            expected="money in the budget",
            found=gone,
        ) from gone


async def _wait(session: Session, job: Job, wait_s: float) -> None:
    """Wait before a retry; if the wait is cancelled, end the session unless its key can reopen it."""
    try:
        await session.sleep(wait_s)
    except asyncio.CancelledError:
        if job.request_key is None:
            await session.advance(job, [session.draft(make_closed(session.clock(), job, Outcome.REJECTED))])
        raise


async def _attempt(  # the parts of one attempt
    session: Session,
    client: "VideosClient",
    recording: Awaitable[Job],
    intent: SubmissionIntended,
    prepared: PreparedPost | AdapterError,
    patience: Patience,
    in_time: Callable[[], bool],
) -> tuple[Job, Submission, float | None]:
    """Record the intent, call once, record the outcome; a crash in between leaves the job ``submitting``."""
    # A crash before the intent is recorded leaves the job unchanged, or no job: nothing was sent.
    try:
        job = await recording
    except LedgerUnusable as error:  # for an answer that cannot be recorded, see `Keeping`
        raise LedgerUnusable(f"{error}; nothing was sent: then repeat the command") from error
    try:
        if isinstance(prepared, AdapterError):
            raise prepared
        # A crash from here on leaves the job submitting: a video may exist, so nothing is sent again, and
        # `reconcile` or a worker looks for it on the server.
        submitted = await _sent(session, client, job, intent, prepared, in_time)
    except AdapterError:  # raised only before anything was sent
        absent = SubmissionAbsent(attempt_id=intent.attempt_id, how="never_connected")
        await record_outcome(session, job, absent, goes_on=False)
        raise
    outcome = submitted.outcome
    if isinstance(outcome, SubmissionAccepted) and submitted.reported_cost_usd_micros is not None:
        outcome = structs.replace(outcome, reported_cost_usd_micros=submitted.reported_cost_usd_micros)
    wait_s = patience.wait_after(outcome, client.profile)
    return await record_outcome(session, job, outcome, goes_on=wait_s is not None), outcome, wait_s


async def _sent(
    session: Session,
    client: "VideosClient",
    job: Job,
    intent: SubmissionIntended,
    prepared: PreparedPost,
    in_time: Callable[[], bool],
) -> "SubmissionResult":
    """Send the request once, in a span that has the attributes of a call to a generative model."""
    profile = client.profile
    with await session.span_of("submit", job, "client") as span:
        span.label(profile=profile.name)
        span.rename(f"{GENERATES} {job.model}")
        span.note(
            {
                "gen_ai.operation.name": GENERATES,
                "gen_ai.output.type": "video",
                "gen_ai.provider.name": profile.name,
                "gen_ai.request.model": job.model,
                "sora_ledger.job_id": job.job_id,
                "sora_ledger.attempt_id": intent.attempt_id,
                "sora_ledger.operation": job.operation,
                "sora_ledger.size": job.size,
                "sora_ledger.seconds": job.seconds,
                "sora_ledger.estimate_usd_micros": job.estimate_usd_micros,
            }
        )
        submitted = await client.submit_prepared(intent, prepared, in_time)
        outcome = submitted.outcome
        how = outcome.type.rpartition(".")[2]
        span.label(outcome=how)
        if isinstance(outcome, SubmissionAccepted):
            span.note({"gen_ai.response.id": outcome.video_id})
        else:
            span.fail(how)
    return submitted
