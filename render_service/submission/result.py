"""The result of a request, its explanation for people, and the result of a repeated request.

Idempotency keys: the same key returns the same job; a different request under it is refused.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from decision.engine.explain import find_denied_field, list_reasons, what_now
from decision.request.request import RenderRequest
from ledger.errors import argv_of
from ledger.events import (
    ApprovalGranted,
    Considered,
    RenderDecided,
    RenderDenied,
    RenderHeld,
    RenderRequested,
    SplitPlanned,
)
from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.store.interface import Batch
from ledger.terms import State
from render_service.approvals.approvers import explain_who_may_answer, takes_signature
from render_service.assets.inputs import NOTHING
from render_service.rules.overrides import Override
from render_service.rules.policies import Rules, read_active_rules
from render_service.runtime.errors import NotReady, RequestKeyTaken
from render_service.session.event_ids import request_id
from render_service.session.history import JobHistory
from render_service.session.session import Session
from render_service.submission.fix_commands import commands_after
from render_service.submission.intent import requested
from render_service.submission.recorded_call import comparable, sent_prompt
from sora_adapter.errors import AnswerError
from sora_adapter.messages import Server, Submission, trouble
from sora_adapter.profiles import profile


@dataclass(frozen=True)
class Opening:
    """Records to append with a new request, all or nothing, and a function to call afterwards.

    `batches` returns conditions and records of other streams for the id of the new job. If they are refused,
    nothing is recorded, and `WrongExpectedVersion` or `EventIdConflict` is raised. `opened` gets the job as
    it was first recorded, before anything is sent. `caused_by` is the event id of the record that the request
    follows from, if there is one. `plan` is recorded with the request: the remixes to follow it.
    """

    batches: Callable[[str], Sequence[Batch]] = lambda _: ()
    opened: Callable[[Job], None] = lambda _: None
    caused_by: str | None = None
    plan: SplitPlanned | None = None


@dataclass(frozen=True)
class Placed:
    """A placed request: the job, the request, and the ruling.

    `under` are the rules of the ruling, None if it was read from the ledger. `override` is the applied
    override; `override_refused` says why a requested one was not applied. `opening` is what is appended with
    a request that is not recorded yet.
    """

    job: Job
    requested: RenderRequested
    ruling: Considered
    outcome: Submission | None = None
    repeated: bool = False
    under: Rules | None = None
    override: Override | None = None
    override_refused: str | None = None
    opening: Opening = Opening()

    @property
    def allowed(self) -> RenderDecided:
        """The decision that allows the request; `NotReady` if it was not allowed."""
        if isinstance(self.ruling, RenderDecided):
            return self.ruling
        raise NotReady(
            f"{self.job.job_id} was not allowed: `sora-ledger show {self.job.job_id}` says why",
            param="job",
            expected="a job that was allowed",
            found=self.job.state,
        )


def placed_in(ledger: Ledger, job: Job, *, repeated: bool = False) -> Placed:
    """Return the recorded request of `job`, from which it can be continued.

    `NotReady` for a video that another tool made.
    """
    history = JobHistory.of(ledger, job)
    if history.requested is None or history.decision is None:
        raise NotReady(
            f"{job.job_id} was made by another tool: there is no request to submit",
            param="job",
            expected="a request of this ledger",
            found="a video of another tool",
        )
    outcome = history.outcome.event if history.outcome else None
    return Placed(job, history.requested, history.decision.event, outcome, repeated=repeated)


def denial(ledger: Ledger, job: Job) -> str:
    """Return the first reason for the denial of `job`, and the first alternative that would be allowed."""
    history = JobHistory.of(ledger, job)
    ruling = history.all_of(RenderDenied)[-1].event
    sent = sent_prompt(history.requested).text if history.requested else None
    reasons, steps = (
        list_reasons(ruling),
        what_now(ruling, job_id=job.job_id, draft=job.source_job, sent=sent),
    )
    return "; ".join([reasons[0], *steps[:1]])


def held_for(ledger: Ledger, job: Job) -> str:
    """Return who must approve `job`, which is pending approval, and with which commands."""
    history = JobHistory.of(ledger, job)
    hold = history.all_of(RenderHeld)[-1].event
    policy = read_active_rules(ledger).policy
    who = explain_who_may_answer(history.first, hold, policy)
    key = " --key FILE" if takes_signature(history.first, hold, policy) else ""
    return (
        f"{who}: `sora-ledger approve {job.job_id}{key}`; "
        f"`sora-ledger cancel {job.job_id}` withdraws the request"
    )


@dataclass(frozen=True)
class Shortfall:
    """Why a job has no video, for programs: the field concerned, and the commands that help."""

    param: str | None
    expected: str
    found: str
    commands: tuple[tuple[str, ...], ...] = ()


def shortfall(ledger: Ledger, job: Job) -> Shortfall:
    """Return why `job` was not allowed, not sent or not rendered."""
    if job.state is State.DENIED:
        return _denied(JobHistory.of(ledger, job))
    if job.state in {State.HELD, State.APPROVED}:
        history = JobHistory.of(ledger, job)
        hold = history.all_of(RenderHeld)[-1].event
        approved = len(history.all_of(ApprovalGranted))
        needed = f"{hold.approvals_needed} approvals by the rule {', '.join(hold.reason_codes)}"
        return Shortfall("approval", needed, str(approved))
    found = f"{job.state}: {job.error_code}" if job.error_code else job.state.value
    if job.state in {State.SUBMITTING, State.UNKNOWN}:
        return Shortfall("job", "an answer of the server", found)
    wanted = "a submission" if job.state in {State.ABSENT, State.REJECTED, State.REFUSED} else "a video"
    return Shortfall("job", wanted, found)


def _denied(history: JobHistory) -> Shortfall:
    denied = history.all_of(RenderDenied)[-1].event
    trace, requested = denied.denial_trace, history.requested
    commands = commands_after(denied, requested, with_keys=True) if requested else []
    if trace.detail_code == "BUDGET_EXHAUSTED":
        commands = ["sora-ledger budget list"]
    argv = tuple(tuple(argv_of(command)) for command in commands)
    return Shortfall(find_denied_field(trace), trace.expected, trace.found, argv)


def submission_trouble(ledger: Ledger, job: Job, profiles_file: Path | None) -> AnswerError | None:
    """Return the error of the last submission of `job`; None if it was accepted or never made."""
    history = JobHistory.of(ledger, job)
    if history.outcome is None:
        return None
    profile_used = profile(job.profile or "", profiles_file)
    server = Server(history.server or "", profile_used.key_variable, profile_used.can_list)
    return trouble(history.outcome.event, server)


ANSWER_S = 5.0
LOOK_S = 0.1
LONGEST_CALL_S = 60.0


async def find_repeated(session: Session, request: RenderRequest) -> Placed | None:
    """Return the result of the earlier request under this key; `RequestKeyTaken` if that one differs."""
    if request.request_key is None:
        return None
    return await asyncio.to_thread(repeated_in, session.ledger, request)


async def answered_repeat(session: Session, request: RenderRequest, repeated: Placed) -> Placed:
    """Return `repeated` once its call is answered, if another caller is making it; waits briefly.

    An intent older than the longest call belongs to a caller that is gone, and is not waited for.
    """
    looks = round(ANSWER_S / LOOK_S)
    while looks and repeated.job.state is State.SUBMITTING and _is_recent(session, repeated.job):
        await session.sleep(LOOK_S)
        repeated = await find_repeated(session, request) or repeated
        looks -= 1
    return repeated


def _is_recent(session: Session, job: Job) -> bool:
    age = session.clock() - datetime.fromisoformat(job.updated_at)
    return age.total_seconds() < LONGEST_CALL_S


def repeated_in(ledger: Ledger, request: RenderRequest) -> Placed | None:
    """Return the same from a ledger alone."""
    repeated = placed_under(ledger, request.request_key)
    if repeated is not None and (differing := differences(repeated.requested, request)):
        raise RequestKeyTaken(
            f"request key {request.request_key!r} belongs to {repeated.job.job_id}, which was requested with "
            f"other {', '.join(differing)}: use another --request-key, or repeat that request exactly",
            param="request_key",
            expected=f"a new key, or the same {', '.join(differing)}",
            found=request.request_key,
        )
    return repeated


def placed_under(ledger: Ledger, request_key: str | None) -> Placed | None:
    """Return the result of the request under this key, whatever it requests."""
    first = ledger.event(request_id(request_key)) if request_key else None
    return placed_in(ledger, ledger.job(first.stream), repeated=True) if first else None


def differences(before: RenderRequested, now: RenderRequest) -> list[str]:
    """Return the fields that differ in `now`; erased text always differs.

    If both have the same prompt and only the added template lines differ, they are the same: a newer version
    may word those lines differently, and what is sent is built from the record (`recorded_call`).
    """
    then, today = comparable(before), comparable(requested(None, now, NOTHING))
    if before.remix_video_id is not None:  # the video is compared; its job may have become known since
        then["source_job"] = today["source_job"]
    changed = [name for name in then if then[name] != today[name] and name not in _COMPARED_APART]
    differing = list(dict.fromkeys(_WORDS.get(name, name.replace("_", " ")) for name in changed))
    is_augmented = before.augmented_prompt is not None
    if not {"prompt", "fields"}.intersection(differing) and is_augmented != (now.sent_prompt != now.prompt):
        differing.append("augmentation")  # --no-augment, now or then
    return differing


_COMPARED_APART = frozenset(
    {"request_key", "augmented_prompt", "attested", "team", "project", "access_key_id"}
)
_WORDS: Mapping[str, str] = {
    "requested_model": "model",
    "max_cost_usd_micros": "cost limit",
    "remix_video_id": "source",
    "source_job": "draft",
    "reference_url": "reference",
    "reference_file_id": "reference",
    "character_ids": "characters",
}
