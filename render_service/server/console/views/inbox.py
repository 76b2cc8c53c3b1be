"""The Inbox: items that wait for the reader, and their actions on them.

People see the items that their permissions let them act on: requests to approve, finished videos to review,
outcomes to settle, findings of an audit, and budgets that are nearly used up.
"""

import asyncio
import base64
import binascii
from collections.abc import Mapping
from datetime import datetime, timedelta
from weakref import WeakKeyDictionary

from starlette.datastructures import FormData

from decision.rules.roles import Permission
from ledger.errors import JobNotFound
from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.record import timestamp
from ledger.store.filters import JobFilter, Unreviewed
from ledger.terms import State, Variant
from render_service.approvals.answer_changes import AnswerOnPage, answer_on_page, read_proposed
from render_service.approvals.approvals import VALID_FOR, AnswerResult, read_case
from render_service.approvals.changes import PREFIX as CHANGE
from render_service.approvals.changes import OpenChanges, read_change
from render_service.approvals.passkeys import PasskeySignature
from render_service.recovery.attempts import GRACE_S, OPEN, attempt_of
from render_service.recovery.audit import list_indexed_findings
from render_service.recovery.findings import LASTING, Finding, deal_with
from render_service.recovery.reconcile import declare_absent, reconcile_job, take_video
from render_service.rules.budgets import KnownLimits, RemainingBudget, list_remaining
from render_service.runtime.documents import format_count
from render_service.runtime.errors import BadInput, NotReady
from render_service.server.console.pages import Action, Done, Page, View, Visit, text_of
from render_service.server.console.views.waiting import (
    MOST_COUNTED,
    MOST_SHOWN,
    Waiting,
    held_jobs,
    prompt_of,
    visible_jobs,
    waiting_change,
    waiting_changes,
    waiting_job,
    waiting_jobs,
)
from render_service.session.history import StreamHistory

NEARLY_USED_PERCENT = 80
WHOLE_PERCENT = 100


class Final(View):
    """A finished video for a final purpose that nobody has reviewed."""

    job_id: str
    title: str | None
    purpose: str | None
    model: str | None
    requester: str
    finished_at: str
    has_poster: bool
    has_film: bool


class Unknown(View):
    """A submission whose answer was lost: a video may exist, and its money is reserved.

    `lost` is how the answer was lost; None if there was no news since the attempt began.
    """

    job_id: str
    title: str | None
    requester: str
    lost: str | None
    since: datetime
    server: str
    model: str
    reserved_usd_micros: int


class Problem(View):
    """A finding of an audit, with the next step: as a command (`do`), and on these pages.

    `step` is the action, at the address `page` unless it is None; with `may_end`, the reader may record here
    how the finding was dealt with.
    """

    code: str
    subject: str
    found: str
    do: str
    job_id: str | None
    step: str
    page: str | None
    may_end: bool


STEPS: Mapping[str, tuple[str, str | None]] = {
    "OUTCOME_UNKNOWN": ("An operator settles the request", "/inbox/{job_id}"),
    "INTENT_OPEN": ("An operator settles the request", "/inbox/{job_id}"),
    "ATTEMPTS_DO_NOT_ADD_UP": ("Verify all records", "/operations"),
    "RENDER_OVERDUE": ("Open the video; an operator can give it up there", "/videos/{job_id}"),
    "ASSET_EXPIRED": ("Request it again, then say how this was dealt with", "/videos/{job_id}"),
    "SPLIT_STOPPED": ("Open the remix; the command continues or ends the split", "/videos/{job_id}"),
    "ANSWER_NOT_RECORDED": (
        "It is recorded once the ledger can be written; if the finding remains, call the operator",
        None,
    ),
}
"""The actions for a finding on these pages, by its code, and their addresses."""


class Budget(View):
    """A budget that is mostly used."""

    budget: str
    limit_usd_micros: int
    held_usd_micros: int
    percent: int


class Inbox(View):
    """Everything that waits for the reader; parts they may not act on are empty."""

    to_answer: list[Waiting]
    waiting_for_others: list[Waiting]
    more_waiting: int
    finals: list[Final]
    more_finals: bool
    unknown: list[Unknown]
    more_unknown: int
    findings: list[Problem]
    more_findings: int
    budgets: list[Budget]
    may: list[str]
    """The permissions of the reader, which determine the parts of the page."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits for the reader."""
        parts = (self.to_answer, self.finals, self.unknown, self.findings, self.budgets)
        return not any(parts)


class Request(View):
    """One request, or one unknown outcome, on its own page; both are None once there is nothing to do."""

    name: str
    state: str
    is_change: bool
    waiting: Waiting | None = None
    unknown: Unknown | None = None


class Known:
    """The cached state of one ledger, updated from new records."""

    def __init__(self, ledger: Ledger) -> None:
        self.changes = OpenChanges(ledger)
        self.limits = KnownLimits(ledger)


_KNOWN: WeakKeyDictionary[Ledger, Known] = WeakKeyDictionary()


def known(ledger: Ledger) -> Known:
    """Return this process's cached state of a ledger."""
    return _KNOWN.get(ledger) or _KNOWN.setdefault(ledger, Known(ledger))


# --- pages ---


def count(visit: Visit) -> int:
    """Return the number of items that the reader can act on, for the menu; from indexes alone."""
    total = 0
    if visit.may(Permission.APPROVE):
        total += sum(_is_for(visit, job) for job in held_jobs(visit))
        total += len(known(visit.session.ledger).changes.names()) if visit.caller.team is None else 0
    if visit.may(Permission.OPERATE):
        total += len(_lost_jobs(visit))
    return total


def _is_for(visit: Visit, job: Job) -> bool:
    """Return whether the reader may have to answer a held job: not their own, nor one they approved."""
    me = visit.caller.name
    if job.actor == me or job.state is not State.APPROVED:
        return job.actor != me
    answers = StreamHistory(visit.session.ledger.history(job.job_id)).answers
    return all(entry.record.actor != me for entry in answers)


def read(visit: Visit) -> Inbox:
    """Read the items that wait for the reader."""
    ledger = visit.session.ledger
    held = held_jobs(visit) if visit.may(Permission.APPROVE) else []
    shown = [*waiting_changes(visit, known(ledger).changes), *waiting_jobs(visit, held[:MOST_SHOWN])]
    finals = _finals(visit) if visit.may(Permission.REVIEW) else []
    findings = _findings(visit)
    lost = _lost_jobs(visit) if visit.may(Permission.OPERATE) else []
    return Inbox(
        to_answer=[row for row in shown if row.obstacle is None],
        waiting_for_others=[row for row in shown if row.obstacle is not None],
        more_waiting=max(0, len(held) - MOST_SHOWN),
        finals=[_final(visit, job) for job in finals[:MOST_SHOWN]],
        more_finals=len(finals) > MOST_SHOWN,
        unknown=[_unknown(visit, job) for job in lost[:MOST_SHOWN]],
        more_unknown=max(0, len(lost) - MOST_SHOWN),
        findings=[_problem(visit, finding) for finding in findings[:MOST_SHOWN]],
        more_findings=max(0, len(findings) - MOST_SHOWN),
        budgets=_budgets(visit),
        may=sorted(visit.caller.permissions),
    )


def read_request(visit: Visit) -> Request:
    """Read one request: its whole prompt, and whether the reader may answer it."""
    name = visit.part("name")
    if name.startswith(CHANGE):
        return _change(visit, name)
    job = visible_job(visit, name)
    about = {"name": job.job_id, "state": job.state.value, "is_change": False}
    if job.state in OPEN:
        return Request(**about, unknown=_unknown(visit, job))
    try:
        case = read_case(visit.session, job.job_id)
    except NotReady:
        return Request(**about)
    return Request(**about, waiting=waiting_job(visit, case.job, case.pending))


def visible_job(visit: Visit, name: str) -> Job:
    """Return the job with the id `name`; `JobNotFound` if the reader may not see one."""
    job = visit.session.ledger.store.job(name)
    if job is None or not visit.may_see(job):
        raise JobNotFound(f"{name!r} is not the id of a request that you may see")
    return job


def _findings(visit: Visit) -> list[Finding]:
    """Return the findings about jobs that the reader may see, and those of no job if they are of no team."""
    if not (visit.may(Permission.AUDIT) or visit.may(Permission.OPERATE)):
        return []
    findings = list_indexed_findings(visit.session.ledger, visit.session.settings, visit.now)
    shown_apart = {"OUTCOME_UNKNOWN", "INTENT_OPEN"} if visit.may(Permission.OPERATE) else set()
    return [finding for finding in findings if finding.code not in shown_apart and _may_see(visit, finding)]


def _budgets(visit: Visit) -> list[Budget]:
    ledger = visit.session.ledger
    limits = {
        name: limit for name, limit in known(ledger).limits.get().items() if visit.caller.may_see_budget(name)
    }
    standings = list_remaining(ledger, visit.now, known=limits)
    return [used for left in standings if (used := _nearly_used(left)) is not None]


def _change(visit: Visit, name: str) -> Request:
    if visit.caller.team is not None or not visit.may(Permission.APPROVE):
        raise JobNotFound(f"{name!r} is not the id of a request that you may see")
    try:
        pending, proposed = read_proposed(visit.session.ledger, name, visit.now)
    except NotReady:
        state = read_change(visit.session.ledger, name).state
        return Request(name=name, state=state, is_change=True)
    waiting = waiting_change(visit, pending, proposed)
    return Request(name=name, state=proposed.state, is_change=True, waiting=waiting)


def _finals(visit: Visit) -> list[Job]:
    where = JobFilter(unreviewed=Unreviewed.FINALS)
    return visible_jobs(visit.session, visit.caller, where, MOST_SHOWN + 1)


def _final(visit: Visit, job: Job) -> Final:
    return Final(
        job_id=job.job_id,
        title=prompt_of(visit.session, job),
        purpose=job.purpose,
        model=job.model,
        requester=job.actor,
        finished_at=job.updated_at,
        has_poster=Variant.THUMBNAIL in job.assets,
        has_film=Variant.VIDEO in job.assets,
    )


def _lost_jobs(visit: Visit) -> list[Job]:
    """Return the jobs whose outcome a person may have to settle; not those whose answer may still come."""
    where = JobFilter(states=OPEN, oldest_first=True)
    jobs = visible_jobs(visit.session, visit.caller, where, MOST_COUNTED)
    before = timestamp(visit.now - timedelta(seconds=GRACE_S))
    return [job for job in jobs if job.state is State.UNKNOWN or job.updated_at < before]


def _unknown(visit: Visit, job: Job) -> Unknown:
    attempt = attempt_of(visit.session.ledger, job)
    return Unknown(
        job_id=job.job_id,
        title=attempt.requested.prompt.text,
        requester=job.actor,
        lost=attempt.lost.lost if attempt.lost else None,
        since=attempt.heard_at,
        server=attempt.intent.server,
        model=attempt.intent.model,
        reserved_usd_micros=job.reserved_usd_micros,
    )


def _may_see(visit: Visit, finding: Finding) -> bool:
    if finding.job_id is None:
        return visit.caller.team is None
    job = visit.session.ledger.store.job(finding.job_id)
    return job is not None and visit.may_see(job)


def _problem(visit: Visit, finding: Finding) -> Problem:
    step, page = STEPS.get(finding.code, ("Open the video", "/videos/{job_id}"))
    about_job = page if page is None or finding.job_id or "{" not in page else None
    return Problem(
        **finding.document(),
        step=step,
        page=about_job and about_job.format(job_id=finding.job_id),
        may_end=finding.code in LASTING and visit.may(Permission.OPERATE),
    )


def _nearly_used(left: RemainingBudget) -> Budget | None:
    limit = left.limit_usd_micros
    if not limit or left.held_usd_micros * WHOLE_PERCENT < limit * NEARLY_USED_PERCENT:
        return None
    return Budget(
        budget=left.budget,
        limit_usd_micros=limit,
        held_usd_micros=left.held_usd_micros,
        percent=left.held_usd_micros * WHOLE_PERCENT // limit,
    )


PAGES = (
    Page("/inbox", "Inbox", "inbox.html", read, count=count),
    Page("/inbox/{name}", "Request", "inbox_request.html", read_request, menu=False),
)


async def answer(visit: Visit, form: FormData) -> Done:
    """Approve or refuse a request, as the person who reads it, with a reason."""
    verdict, name = text_of(form, "verdict"), visit.part("name")
    if verdict not in {"approve", "refuse"}:
        raise BadInput("choose whether you approve or refuse the request; nothing was recorded")
    approves = verdict == "approve"
    submitted = AnswerOnPage(
        name,
        approves,
        text_of(form, "reason"),
        text_of(form, "as_shown"),
        signed=_passkey(form),
        until=_until(form, visit.now) if approves and form.get("signature") else None,
    )
    answered = await answer_on_page(visit.session, visit.caller, submitted)
    if answered is None:
        return Done("/inbox", f"Your answer to {name} was already recorded.")
    if not approves:
        return Done("/inbox", f"You refused {name}.")
    if isinstance(answered, AnswerResult) and answered.job.state in {State.DENIED, State.HELD}:
        then = (
            "denied"
            if answered.job.state is State.DENIED
            else "held again, because it would differ from what was approved"
        )
        return Done("/inbox", f"You approved {name}; decided again, it was {then}.")
    if answered.needed:
        return Done(
            "/inbox", f"You approved {name}; {format_count(answered.needed, 'more approval')} needed."
        )
    done = "it is queued" if isinstance(answered, AnswerResult) else "the change is applied"
    return Done("/inbox", f"You approved {name}; {done}.")


def _passkey(form: FormData) -> PasskeySignature | None:
    """Return a passkey's signature; None if the form is not signed."""
    names = ("credential_id", "signature", "authenticator_data", "client_data")
    texts = [text_of(form, name) for name in names]
    if not any(texts):
        return None
    try:
        return PasskeySignature(*(base64.b64decode(text, altchars=b"-_", validate=True) for text in texts))
    except binascii.Error:
        raise BadInput("the passkey signature arrived incomplete; nothing was recorded") from None


def _until(form: FormData, now: datetime) -> datetime:
    """Return the expiry of a signed approval, as the page proposed it."""
    try:
        until = datetime.fromisoformat(text_of(form, "until"))
    except ValueError:
        until = None
    if until is None or until.tzinfo is None or until > now + VALID_FOR:
        raise BadInput("the page has no usable expiry for this approval: open it again; nothing was recorded")
    return until


async def settle_outcome(visit: Visit, form: FormData) -> Done:
    """Settle an unknown outcome: ask the server again, name its video, or declare that there is none."""
    job = await asyncio.to_thread(visible_job, visit, visit.part("name"))
    choice = text_of(form, "choice")
    if choice == "look":
        settlement = await reconcile_job(visit.session, job)
    elif choice == "found":
        video_id = text_of(form, "video_id")
        if not video_id:
            raise BadInput("enter the id of the video that the server created; nothing was recorded")
        settlement = await take_video(visit.session, job, video_id, force=bool(form.get("force")))
    elif choice == "absent":
        reason = text_of(form, "reason")
        if not reason:
            raise BadInput("say how you know that nothing was created; nothing was recorded")
        settlement = await declare_absent(visit.session, job, reason)
    else:
        raise BadInput("choose what to record about the outcome; nothing was recorded")
    return Done("/inbox", f"{job.job_id}: {settlement.verdict.replace('_', ' ')}; {settlement.why}.")


async def end_finding(visit: Visit, form: FormData) -> Done:
    """Record how the findings of an audit about a job were dealt with."""
    job = await asyncio.to_thread(visible_job, visit, visit.part("name"))
    reason = text_of(form, "reason")
    if not reason:
        raise BadInput("say how the finding was dealt with; nothing was recorded")
    if job.outcome is None:
        raise BadInput(f"{job.job_id} is {job.state}, not over: open the video first; nothing was recorded")
    try:
        ended = await deal_with(visit.session, job.job_id, reason)
    except BadInput:
        return Done("/inbox", f"{job.job_id}: nothing is left to deal with.")
    return Done("/inbox", f"{job.job_id}: {format_count(len(ended), 'finding')} dealt with.")


ACTIONS = (
    Action("/inbox/{name}/dealt-with", "/inbox", Permission.OPERATE, end_finding),
    Action("/inbox/{name}/answer", "/inbox/{name}", Permission.APPROVE, answer),
    Action("/inbox/{name}/settle", "/inbox/{name}", Permission.OPERATE, settle_outcome),
)
